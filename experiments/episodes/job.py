"""The job: data, a training for each matching, temperature and seed, evaluations, the report."""

import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import NoReturn

from experiments.episodes import evaluation
from experiments.episodes.data import MetaData, load
from experiments.episodes.evaluation import Row
from experiments.episodes.report import write_report
from experiments.episodes.results import Run, RunResult, Score
from experiments.episodes.settings import ORDER_BLIND, Settings
from experiments.episodes.training import num_bytes, train_run
from experiments.shared import command
from experiments.shared.job_folder import open_job
from experiments.shared.metrics_log import MetricsLog
from tempalign.heads import FewShotHead


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of few-shot, see `experiments.shared.command.main`."""
    command.main(description, Settings, run, argv)


def run(settings: Settings) -> str:
    """Trains, evaluates and reports.

    Returns:
        The report, to print at the end.

    Raises:
        ValueError: settings, data or checkpoints that cannot be used; the message names which.
        OSError: a file is missing, or cannot be written.
    """
    data = load(settings)
    planned = plan(settings)
    out_dir = open_job(
        settings.out_dir,
        settings,
        data.describe(),
        resume=settings.resume,
        num_bytes=num_bytes(data, settings, len(planned)),
    )
    with MetricsLog(out_dir / "metrics.jsonl") as log:
        scores = _evaluate(data, settings, None, log)
        results = []
        for one in planned:
            result = train_run(data, settings, one, out_dir / "checkpoints" / one.name, log)
            scores += _evaluate(data, settings, result, log)
            results.append(result)
    return write_report(out_dir, data, settings, scores, results)


def plan(settings: Settings) -> list[Run]:
    """Returns the trainings of a job, seed by seed."""
    if not settings.trained:
        return []
    return [
        Run(through, gamma, seed)
        for seed in settings.seeds
        for through in settings.train_through
        for gamma in (settings.gammas if through == "tam" else settings.gammas[:1])
    ]


def rows_of(settings: Settings, run: Run | None) -> list[Row]:
    """Returns what the features of a training (None: as they are) are evaluated by."""
    if run is not None and run.gamma != settings.gamma:
        return [Row("tam", run.gamma)]  # of the sweep
    rows = [Row(ORDER_BLIND, settings.gamma)]
    rows += [Row(matching, settings.gamma) for matching in settings.matchings]
    if run is None:
        rows += [Row("tam", gamma) for gamma in settings.gammas[1:]]
    return rows


def _evaluate(
    data: MetaData, settings: Settings, result: RunResult | None, log: MetricsLog
) -> list[Score]:
    """The scores of one kind of features: those in the log, if they were finished, else new."""
    run = None if result is None else result.run
    source = (run.through, run.gamma, run.seed) if run else ("", 0.0, -1)
    names = [field.name for field in fields(Score)]
    for line in log.lines():
        if line["event"] == "evaluation" and tuple(line["source"]) == source:
            return [Score(**{name: score[name] for name in names}) for score in line["scores"]]
    began = time.monotonic()
    model = FewShotHead() if result is None else result.model
    encoded = evaluation.encode(model, data.test.features)
    rows = rows_of(settings, run)
    found = evaluation.evaluate(
        encoded,
        data.test,
        rows,
        settings,
        num_episodes=settings.episodes,
        shots=settings.shots,
        desc=f"evaluating {run.name if run else 'features'}",
    )
    scores = [
        Score(*source, row.matching, row.gamma, shots, one.mean, one.interval)
        for (row, shots), one in found.items()
    ]
    seconds = time.monotonic() - began
    log.write(
        "evaluation",
        source=source,
        seconds=seconds,
        episodes_per_second=settings.episodes / seconds,
        scores=[asdict(score) for score in scores],
    )
    return scores
