"""The job: data, a training for each matching, temperature and seed, evaluations, the report."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import jax
import numpy as np

from experiments.extract_tse.manifest import keep_manifest
from experiments.few_shot import evaluation
from experiments.few_shot.data import Meta, MetaData, load
from experiments.few_shot.evaluation import Encoded, Row
from experiments.few_shot.frame_counts import FILE
from experiments.few_shot.prediction import predict
from experiments.few_shot.report import write_report
from experiments.few_shot.results import RunResult, Score, Scores
from experiments.few_shot.settings import ORDER_BLIND, Settings
from experiments.few_shot.training import (
    UNTRAINED,
    EpisodeRun,
    FewShotRun,
    Source,
    num_bytes,
    plan,
)
from experiments.few_shot.video_data import VideoData, load_videos
from experiments.few_shot.video_training import VideoRun, untrained_features, video_num_bytes
from experiments.shared import command
from experiments.shared.files import write_csv
from experiments.shared.fingerprint import Digests
from experiments.shared.job import SETTINGS_FILE, Workspace, run_job
from tempalign.heads import FewShotHead

_FAILED = "failed.csv"


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of few-shot, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Trains, evaluates and reports; or predicts.

    Returns:
        The report or the prediction, to print at the end.

    Raises:
        UserError: settings, data or checkpoints that cannot be used; the message names which.
    """
    if settings.predict:
        return predict(settings)
    if settings.videos:
        return run_job(
            settings,
            load=load_videos,
            identify=VideoData.identity,
            num_bytes=video_num_bytes,
            work=_work_on_videos,
        )
    return run_job(settings, load=load, identify=_identify, num_bytes=num_bytes, work=_work)


def rows_of(settings: Settings, source: Source) -> list[list[Row]]:
    """Returns what features are evaluated by: the rows of each evaluation.

    Rows of one evaluation are computed together. A temperature of the sweep has its own, so that
    another one may join a finished job.
    """
    gamma = settings.gamma
    if source.through and source.gamma != gamma:
        return [[Row("tam", source.gamma)]]
    main = [Row(ORDER_BLIND, gamma), *(Row(matching, gamma) for matching in settings.matchings)]
    sweep = [] if source.through else [[Row("tam", other)] for other in settings.gammas[1:]]
    return [main, *sweep]


def _identify(data: MetaData, settings: Settings, digests: Digests) -> Mapping[str, Any]:
    del settings, digests  # the arrays themselves are hashed
    return data.identity


def _work(data: MetaData, settings: Settings, workspace: Workspace) -> str:
    if settings.layout == "index":
        is_new = not (workspace.folder / SETTINGS_FILE).is_file()
        keep_manifest(settings.data_dir, workspace.folder, is_new=is_new)
    make = functools.partial(FewShotRun, data, settings)
    return _results(data, settings, workspace, make, lambda: data.test.features)


def _work_on_videos(data: VideoData, settings: Settings, workspace: Workspace) -> str:
    failed = workspace.folder / _FAILED
    failed.unlink(missing_ok=True)
    if data.left_out:
        write_csv(failed, ("path", "reason"), data.left_out)
    data.counts.save(workspace.folder / FILE)
    make = functools.partial(VideoRun, data, settings)
    return _results(data, settings, workspace, make, untrained_features(data, settings))


def _results(
    data: Meta,
    settings: Settings,
    workspace: Workspace,
    make: Callable[[Source], EpisodeRun],
    features: Callable[[], np.ndarray],
) -> str:
    """Trains, evaluates and reports.

    Args:
        data: the meta splits.
        settings: see `Settings`.
        workspace: of the job.
        make: a run.
        features: makes the features of the meta-test samples before any training.
    """
    found = _evaluate(data, settings, UNTRAINED, FewShotHead(), features, workspace)
    results = []
    for source in plan(settings):
        one = make(source)
        trained = workspace.train(one, epochs=settings.epochs)
        best = trained.state.best
        model = one.with_params(best)
        of_run = functools.partial(one.features, best, data.test)
        count = sum(np.size(leaf) for leaf in jax.tree.leaves(best))
        results.append(RunResult(source, count, trained, model, of_run))
        found += _evaluate(data, settings, source, model, of_run, workspace)
    scores = [Score(**score) for one in found for score in one["scores"]]
    known = Scores(tuple(scores), np.array(found[0]["asked"]))
    return write_report(workspace, data, settings, known, results, features)


def _evaluate(
    data: Meta,
    settings: Settings,
    source: Source,
    model: FewShotHead,
    features: Callable[[], np.ndarray],
    workspace: Workspace,
) -> list[dict[str, Any]]:
    """The scores of one kind of features: those in the log, if they were finished, else new."""

    @functools.cache
    def encoded() -> Encoded:
        return evaluation.encode(model, features())

    found = []
    for number, rows in enumerate(rows_of(settings, source)):
        name = f"{source.name}, tam at gamma {rows[0].gamma!r}" if number else source.name
        if source.through:
            name += f", {settings.epochs} epochs"
        compute = functools.partial(_scores, data, settings, source, rows, encoded, name)
        found.append(workspace.once("evaluation", name, compute))
    return found


def _scores(
    data: Meta,
    settings: Settings,
    source: Source,
    rows: Sequence[Row],
    encoded: Callable[[], Encoded],
    name: str,
) -> dict[str, Any]:
    found = evaluation.evaluate(
        encoded(),
        data.test,
        rows,
        settings,
        num_episodes=settings.episodes,
        shots=settings.shots,
        desc=f"evaluating {name}",
    )
    scores = [
        Score(
            *source, *row, shots, one.mean, one.interval,
            found.right[row, shots], found.confusion[row, shots],
        )
        for (row, shots), one in found.accuracies.items()
    ]  # fmt: skip
    return {"asked": found.asked, "scores": [asdict(score) for score in scores]}
