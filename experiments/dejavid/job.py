"""The job: data, baselines, a run for each variant and seed, the report."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from experiments.dejavid.baselines import run_baselines
from experiments.dejavid.prediction import predict_file, run_folder
from experiments.dejavid.report import write_report
from experiments.dejavid.results import BaselineResult
from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import batch_mesh
from experiments.dejavid.throughput import measure_throughput
from experiments.dejavid.training import num_bytes, train_run
from experiments.shared import command
from experiments.shared.job_folder import open_job
from experiments.shared.metrics_log import MetricsLog
from experiments.tse import dejavid_layout, index_folder, spoken_digits
from experiments.tse.dataset import TseDataset, check_finite


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of a DejaVid experiment, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, the prediction or the throughput.

    Raises:
        ValueError: settings, data or checkpoints that cannot be used; the message names which.
        OSError: a file is missing, or cannot be written.
    """
    if settings.predict:
        return predict_file(settings)
    if settings.synthetic:
        return measure_throughput(settings)

    batch_mesh(settings.batch_size)  # an error is better early
    dataset = load_dataset(settings)
    out_dir = open_job(
        settings.out_dir,
        settings,
        _describe(dataset),
        resume=settings.resume,
        num_bytes=num_bytes(dataset, settings),
    )
    if settings.check_data:
        for name, split in (("training", dataset.train), ("test", dataset.test)):
            check_finite(split, desc=f"checking the {name} split")
    with MetricsLog(out_dir / "metrics.jsonl") as log:
        baselines = _baselines(dataset, settings, log)
        runs = [
            train_run(dataset, settings, variant, seed, run_folder(out_dir, variant, seed), log)
            for seed in settings.seeds
            for variant in settings.variants
        ]
    return write_report(out_dir, dataset, settings, baselines, runs)


def load_dataset(settings: Settings) -> TseDataset:
    """Opens the data set that the settings name.

    Raises:
        ValueError: it is not usable, see the layouts.
        FileNotFoundError: it is not there.
    """
    if settings.layout == "index":
        return index_folder.load(settings.data_dir)
    if settings.layout == "dejavid":
        return dejavid_layout.load(settings.data_dir, feats_dir=settings.feats_dir or None)
    return spoken_digits.load(split_seed=settings.split_seed)


def _describe(dataset: TseDataset) -> dict[str, Any]:
    """What identifies the data; not where it lies, nor its numbers."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        digest.update("\0".join(split.ids).encode())
        digest.update(split.labels.tobytes() + split.lengths.tobytes())
    return {
        "num_features": dataset.num_features,
        "num_train": len(dataset.train),
        "num_test": len(dataset.test),
        "class_names": list(dataset.class_names),
        "ids_labels_lengths": digest.hexdigest()[:16],
    }


def _baselines(dataset: TseDataset, settings: Settings, log: MetricsLog) -> list[BaselineResult]:
    """The baselines: those in the log, if they were finished before, else computed now."""
    lines = log.lines()
    if any(line["event"] == "baselines_end" for line in lines):
        names = ("name", "num_parameters", "seconds", "top1", "top5")
        return [
            BaselineResult(**{name: line[name] for name in names})
            for line in lines
            if line["event"] == "baseline"
        ]
    results = run_baselines(dataset, settings)
    for result in results:
        log.write("baseline", **asdict(result))
    log.write("baselines_end")
    return results
