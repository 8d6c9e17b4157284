"""The job: data, baselines, a run for each seed and method, the report."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.anomaly import index_folder, planted
from experiments.anomaly.baselines import run_baselines
from experiments.anomaly.dataset import AnomalyDataset, Video, check_splits, prepare
from experiments.anomaly.prediction import predict_file, run_folder
from experiments.anomaly.report import write_report
from experiments.anomaly.settings import Settings
from experiments.anomaly.training import num_bytes, train_run
from experiments.anomaly.windows import Sampler
from experiments.shared import command
from experiments.shared.checkpoints import prepare_folder
from experiments.shared.job_folder import open_job
from experiments.shared.metrics_log import MetricsLog


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of the experiment, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, or what was found in a file.

    Raises:
        ValueError: settings, data or checkpoints that cannot be used; the message names which.
        OSError: a file is missing, or cannot be written.
    """
    if settings.predict:
        return predict_file(settings)
    dataset = load_dataset(settings)
    check_splits(dataset, settings.window)
    sampler = Sampler(dataset, settings)
    out_dir = open_job(
        settings.out_dir,
        settings,
        _describe(dataset),
        resume=settings.resume,
        num_bytes=num_bytes(dataset, settings),
    )
    with MetricsLog(out_dir / "metrics.jsonl") as log:
        own_features = dataset.num_features // (2 if settings.motion else 1)
        baselines = run_baselines(dataset, num_features=own_features)
        for result in baselines:
            log.write(
                "baseline",
                name=result.name,
                roc_auc=result.roc_auc,
                average_precision=result.average_precision,
                pr_area=result.pr_area,
            )
        runs = [
            train_run(
                dataset, sampler, settings, method, seed, run_folder(out_dir, method, seed), log
            )
            for seed in settings.seeds
            for method in settings.methods
        ]
    return write_report(out_dir, dataset, settings, baselines, runs)


def load_dataset(settings: Settings) -> AnomalyDataset:
    """Opens the data that the settings name.

    Raises:
        ValueError: it is not usable, see the layouts.
        OSError: it is not there, or the output folder cannot be written.
    """
    if settings.layout == "planted":
        prepare_folder(settings.out_dir, 0)
        found = planted.load(
            train_clips=settings.train_clips,
            test_clips=settings.test_clips,
            plant_seed=settings.plant_seed,
            encoder=settings.encoder,
            cache=Path(settings.out_dir) / "features.npz",
        )
    else:
        found = index_folder.load(settings.data_dir, frames_per_row=settings.frames_per_row)

    def prepared(video: Video) -> Video:
        features = prepare(video.features, center=settings.center, motion=settings.motion)
        return dataclasses.replace(video, features=features)

    return dataclasses.replace(
        found, train=tuple(map(prepared, found.train)), test=tuple(map(prepared, found.test))
    )


def _describe(dataset: AnomalyDataset) -> dict[str, Any]:
    """What identifies the data; not where it lies, nor its numbers."""
    digest = hashlib.sha256()
    for video in (*dataset.train, *dataset.test):
        digest.update(f"{video.id}\0{len(video.features)}\0".encode() + video.labels.tobytes())
    return {
        "num_features": dataset.num_features,
        "num_train": len(dataset.train),
        "num_test": len(dataset.test),
        "ids_lengths_labels": digest.hexdigest()[:16],
    }
