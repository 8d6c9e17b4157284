"""Few-shot episodes: TAM (CVPR 2020), its matching types and baselines, on TSEs or frames."""
