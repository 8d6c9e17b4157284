"""The job: videos, their features, a run for each seed and variant, baselines, the report."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from experiments.seq import encoding, training
from experiments.seq.results import RunResult
from experiments.seq_anomaly import features, index_folder, planted
from experiments.seq_anomaly.baselines import run_baselines
from experiments.seq_anomaly.dataset import AnomalyDataset, check_splits, identity
from experiments.seq_anomaly.prediction import predict
from experiments.seq_anomaly.report import write_report
from experiments.seq_anomaly.settings import Settings
from experiments.seq_anomaly.training import AnomalyRun
from experiments.seq_anomaly.windows import Sampler
from experiments.shared import command
from experiments.shared.fingerprint import Digests
from experiments.shared.job import Workspace, run_job


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of the experiment, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, or what was found in files.

    Raises:
        UserError: settings, data or checkpoints that cannot be used; the message names which.
    """
    if settings.predict:
        return predict(settings)
    return run_job(settings, load=_load, identify=_identify, num_bytes=_num_bytes, work=_work)


def load_dataset(settings: Settings) -> AnomalyDataset:
    """Opens the data that the settings name.

    Raises:
        UserError: it is not there, or not usable, see the layouts.
    """
    if settings.layout == "planted":
        return planted.load(
            train_clips=settings.train_clips,
            test_clips=settings.test_clips,
            plant_seed=settings.plant_seed,
        )
    return index_folder.load(
        settings.data_dir,
        frames_per_row=settings.frames_per_row,
        outside_paths=settings.outside_paths,
    )


def _load(settings: Settings) -> AnomalyDataset:
    dataset = load_dataset(settings)
    check_splits(dataset, settings.tau)
    return dataset


def _identify(dataset: AnomalyDataset, settings: Settings, digests: Digests) -> Mapping[str, Any]:
    found = identity(dataset)
    if settings.layout == "planted":
        encoding.forget()
        found["encoder"] = features.encoder_of(settings, digests)
    return found


def _num_bytes(dataset: AnomalyDataset, settings: Settings) -> int:
    count = features.num_features(dataset, settings)
    return training.num_bytes(count, 2, len(dataset.test_labels), settings)


def _work(dataset: AnomalyDataset, settings: Settings, workspace: Workspace) -> str:
    dataset = features.compute_features(dataset, settings, workspace.folder)
    sampler = Sampler(dataset, settings)
    runs = []
    for seed in settings.seeds:
        for variant in training.variants(settings):
            one = AnomalyRun(dataset, sampler, settings, variant, seed)
            runs.append(RunResult(variant, seed, workspace.train(one, epochs=settings.epochs)))
    own_features = dataset.num_features // (2 if settings.motion else 1)
    baselines = run_baselines(dataset, num_features=own_features)
    for result in baselines:
        workspace.once("baseline", result.name, result.metrics._asdict)
    return write_report(workspace, dataset, settings, baselines, runs)
