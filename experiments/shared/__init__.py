"""What every experiment uses: progress bars, the metrics log, checkpoints, tables."""
