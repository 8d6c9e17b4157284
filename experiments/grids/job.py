"""The job: data, a run for each variant and seed, the report."""

import hashlib
from collections.abc import Sequence
from typing import Any, NoReturn

from experiments.grids.dataset import VideoDataset, check_readable, load
from experiments.grids.report import write_report
from experiments.grids.settings import Settings
from experiments.grids.training import train_run, variants
from experiments.shared import command
from experiments.shared.job_folder import open_job
from experiments.shared.metrics_log import MetricsLog


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of the TIME layer, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Trains, evaluates and reports.

    Returns:
        The report, to print at the end.

    Raises:
        ValueError: settings, videos or checkpoints that cannot be used; the message names which.
        OSError: a file is missing, or cannot be written.
    """
    dataset = load(settings)
    out_dir = open_job(settings.out_dir, settings, _describe(dataset), resume=settings.resume)
    check_readable(dataset)
    with MetricsLog(out_dir / "metrics.jsonl") as log:
        results = [
            train_run(
                dataset,
                settings,
                variant,
                seed,
                out_dir / "checkpoints" / f"{variant.folder}-seed{seed}",
                log,
            )
            for seed in settings.seeds
            for variant in variants(settings)
        ]
    return write_report(out_dir, dataset, settings, results)


def _describe(dataset: VideoDataset) -> dict[str, Any]:
    """What identifies the data."""
    labels = dataset.train.labels.tobytes() + dataset.test.labels.tobytes()
    return {
        "num_train": len(dataset.train),
        "num_test": len(dataset.test),
        "class_names": list(dataset.class_names),
        "labels": hashlib.sha256(labels).hexdigest()[:16],
        **dataset.identity,
    }
