"""The job: images, features, a run for each seed and variant, the report."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from experiments.seq import encoding, training
from experiments.seq.results import RunResult
from experiments.seq_images import dataset as data
from experiments.seq_images import features
from experiments.seq_images.dataset import ImageDataset
from experiments.seq_images.episodes import Sampler
from experiments.seq_images.prediction import predict
from experiments.seq_images.report import write_report
from experiments.seq_images.settings import Settings
from experiments.seq_images.training import ImagesRun
from experiments.shared import command
from experiments.shared.fingerprint import Digests
from experiments.shared.job import Workspace, run_job


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of the experiment, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, or the classes of images.

    Raises:
        UserError: settings, data or checkpoints that cannot be used; the message names which.
    """
    if settings.predict:
        return predict(settings)
    return run_job(settings, load=_load, identify=_identify, num_bytes=_num_bytes, work=_work)


def load_dataset(settings: Settings) -> ImageDataset:
    """Loads the images that the settings name.

    Raises:
        UserError: they are not there, or not usable.
    """
    size = settings.image_size
    if settings.layout == "folder":
        return data.load_folder(
            settings.data_dir,
            image_size=size,
            skip_bad=settings.skip_bad,
            outside_paths=settings.outside_paths,
        )
    if settings.layout == "silhouettes":
        return data.load_silhouettes(image_size=size, split_seed=settings.split_seed)
    return data.load_small_digits(image_size=size, split_seed=settings.split_seed)


def _load(settings: Settings) -> ImageDataset:
    dataset = load_dataset(settings)
    data.check_classes(dataset, settings)
    if dataset.skipped:
        print(f"{len(dataset.skipped)} images do not decode and are left out", flush=True)
    return dataset


def _identify(dataset: ImageDataset, settings: Settings, digests: Digests) -> Mapping[str, Any]:
    encoding.forget()
    encoder = features.Encoder.of(settings)
    return {**data.identity(dataset), "encoder": encoder.identity(digests)}


def _num_bytes(dataset: ImageDataset, settings: Settings) -> int:
    classes, tested = len(dataset.class_names), 2 * len(dataset.test)
    count = features.Encoder.of(settings).num_features
    checkpoints = training.num_bytes(count, classes, tested, settings)
    return features.num_bytes(dataset, settings) + checkpoints


def _work(dataset: ImageDataset, settings: Settings, workspace: Workspace) -> str:
    train, test = features.compute_features(dataset, settings, workspace.folder / "features")
    runs: list[RunResult] = []
    samplers: dict[int, Sampler] = {}
    for seed in settings.seeds:
        samplers[seed] = Sampler(
            train,
            data.training_rows(dataset.train, settings, seed),
            seed=seed,
            classes_per_episode=settings.classes_per_episode,
        )
        for variant in training.variants(settings):
            one = ImagesRun(
                settings,
                variant,
                seed,
                sampler=samplers[seed],
                test=test,
                num_classes=len(dataset.class_names),
            )
            runs.append(RunResult(variant, seed, workspace.train(one, epochs=settings.epochs)))
    first = samplers[settings.seeds[0]]
    return write_report(workspace, dataset, settings, first, runs)
