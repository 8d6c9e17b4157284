"""The job: data, a run for each method and seed, the report."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from experiments.shared import command
from experiments.shared.fingerprint import Digests
from experiments.shared.job import Workspace, run_job
from experiments.time_layer.dataset import VideoDataset, check_readable, identity, load
from experiments.time_layer.models import check_classifier
from experiments.time_layer.prediction import predict
from experiments.time_layer.report import write_report
from experiments.time_layer.settings import Settings
from experiments.time_layer.training import RunResult, TimeLayerRun, methods, num_bytes
from experiments.vision.trunks import trunk_identity


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of the TIME layer, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Trains, evaluates and reports, or predicts.

    Returns:
        What to print at the end: the report or the prediction.

    Raises:
        UserError: settings, videos or checkpoints that cannot be used; the message names which.
    """
    if settings.predict:
        return predict(settings)
    return run_job(settings, load=_load, identify=_identify, num_bytes=num_bytes, work=_work)


def _load(settings: Settings) -> VideoDataset:
    check_classifier(settings)
    dataset = load(settings)
    if settings.check_data:
        check_readable(dataset)
    return dataset


def _identify(dataset: VideoDataset, settings: Settings, digests: Digests) -> Mapping[str, Any]:
    found = identity(dataset, digests)
    if settings.has_trunk:
        found["trunk"] = trunk_identity(settings.model, settings.weights, digests)
    return found


def _work(dataset: VideoDataset, settings: Settings, workspace: Workspace) -> str:
    results = []
    for seed in settings.seeds:
        for method in methods(settings):
            run = TimeLayerRun(dataset, settings, method, seed)
            trained = workspace.train(run, epochs=settings.epochs)
            results.append(RunResult(method, seed, trained))
    return write_report(workspace, dataset, settings, results)
