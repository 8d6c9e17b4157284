"""The job: images, features, a run for each seed and variant, the report."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.seq import dataset as data
from experiments.seq.dataset import ImageDataset
from experiments.seq.episodes import Sampler
from experiments.seq.features import compute_features, weights_digest
from experiments.seq.features import num_bytes as feature_bytes
from experiments.seq.prediction import predict_file
from experiments.seq.report import write_report
from experiments.seq.results import RunResult, Variant, main_variant, run_folder
from experiments.seq.settings import Settings
from experiments.seq.training import num_bytes, train_run
from experiments.shared import command
from experiments.shared.job_folder import open_job
from experiments.shared.metrics_log import MetricsLog


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of the experiment, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, or the classes of an image.

    Raises:
        ValueError: settings, data or checkpoints that cannot be used; the message names which.
        OSError: a file is missing, or cannot be written.
    """
    if settings.predict:
        return predict_file(settings)
    dataset = load_dataset(settings)
    data.check_classes(dataset, settings)
    variants = list_variants(settings)
    out_dir = open_job(
        settings.out_dir,
        settings,
        _describe(dataset, settings),
        resume=settings.resume,
        num_bytes=feature_bytes(dataset, settings)
        + num_bytes(
            1280,
            len(dataset.class_names),
            len(dataset.test),
            len(variants) * len(settings.seeds),
            settings.keep_checkpoints,
        ),
    )
    if dataset.skipped:
        print(f"{len(dataset.skipped)} images do not decode and are left out", flush=True)
    with MetricsLog(out_dir / "metrics.jsonl") as log:
        for name in dataset.skipped:
            log.write("skipped_image", path=name)
        train, test = compute_features(dataset, settings, Path(out_dir) / "features")
        runs: list[RunResult] = []
        samplers = {}
        for seed in settings.seeds:
            samplers[seed] = Sampler(
                train,
                data.training_rows(dataset.train, settings, seed),
                seed=seed,
                classes_per_episode=settings.classes_per_episode,
            )
            runs += [
                train_run(
                    test,
                    samplers[seed],
                    settings,
                    variant,
                    seed,
                    len(dataset.class_names),
                    run_folder(out_dir, variant, seed),
                    log,
                )
                for variant in variants
            ]
    return write_report(out_dir, dataset, settings, samplers[settings.seeds[0]], runs)


def load_dataset(settings: Settings) -> ImageDataset:
    """Loads the images that the settings name.

    Raises:
        ValueError: they are not usable.
        OSError: they are not there.
    """
    size = settings.image_size
    if settings.layout == "folder":
        return data.load_folder(settings.data_dir, image_size=size, skip_bad=settings.skip_bad)
    if settings.layout == "silhouettes":
        return data.load_silhouettes(image_size=size, split_seed=settings.split_seed)
    return data.load_small_digits(image_size=size, split_seed=settings.split_seed)


def list_variants(settings: Settings) -> list[Variant]:
    """Returns what to train with each seed: the methods, then the other values of a sweep."""
    variants = [main_variant(settings, method) for method in settings.methods]
    for name in settings.swept:
        base = main_variant(settings, "seq")
        variants += [
            dataclasses.replace(base, **{name: value}, swept=name)
            for value in getattr(settings, f"sweep_{name}")
            if value != getattr(base, name)
        ]
    return variants


def _describe(dataset: ImageDataset, settings: Settings) -> dict[str, Any]:
    """What identifies the data; not where it lies."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        digest.update("\0".join(split.ids).encode() + split.labels.tobytes())
        digest.update(split.images.tobytes())
    return {
        "num_train": len(dataset.train),
        "num_test": len(dataset.test),
        "class_names": list(dataset.class_names),
        "ids_labels_pixels": digest.hexdigest()[:16],
        "encoder_weights": weights_digest(settings),
    }
