"""`--predict`: scores of the frames of new videos, by the newest checkpoint of a run."""

import re
from pathlib import Path

import numpy as np

from experiments.seq.results import Variant
from experiments.seq.training import saved_head
from experiments.seq_anomaly.dataset import frame_scores, prepare
from experiments.seq_anomaly.settings import Settings
from experiments.seq_anomaly.training import probability, score_rows
from experiments.shared.errors import UserError
from experiments.shared.prediction import open_run, predict_inputs, write_scores
from experiments.shared.progress import progress
from experiments.shared.tables import Table
from experiments.tse.npy_file import read_npy

_THRESHOLD = 0.5
_SHOWN = 5
_LONGEST_NAME = 120


def predict(request: Settings) -> str:
    """Scores the videos that `request.predict` names with a run in `request.out_dir`.

    For each, a file is written there, named by its whole id, with a line a frame: its score (the
    probability of an anomaly) and the log-odds, in which no two frames are ties by rounding. A
    snippet's score counts for all its frames.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`.

    Returns:
        What to print: of one video the frames above 0.5, of several a table.

    Raises:
        UserError: the files, or the run, are not there; a file does not hold features as the run
            was trained on; the scores cannot be written.
    """
    run = open_run(
        request,
        methods=lambda settings: settings.methods,
        run_name=lambda settings, method, seed: Variant.of(settings, method).run_name(seed),
        prefer=("seq",),
    )
    settings = run.settings
    graphdef, params, scaling = saved_head(run.arrays)
    expected = len(scaling.mean) // (2 if settings.motion else 1)
    done: list[tuple[str, np.ndarray, Path]] = []
    for name, file in progress(
        predict_inputs(request, (".npy",)), desc="predicting", unit="videos"
    ):
        features = read_npy(file)
        if features.shape[1] != expected:
            raise UserError(
                f"--predict: {file} has {features.shape[1]} features a row, but the run was "
                f"trained on {expected}"
            )
        features = prepare(features, center=settings.center, motion=settings.motion)
        rows = score_rows(graphdef, params, features, scaling)
        log_odds = frame_scores(rows, len(rows) * settings.frames_per_row, settings.frames_per_row)
        scores = probability(log_odds)
        lines = [
            (frame, f"{score:.6f}", odds)
            for frame, (score, odds) in enumerate(zip(scores, log_odds, strict=True))
        ]
        path = write_scores(run.folder / _file_name(name), ("frame", "score", "log_odds"), lines)
        done.append((name, scores, path))
    if len(done) == 1:
        return _say_one(*done[0], run.about)
    table = Table(
        ("video", "frames", f"above {_THRESHOLD}", "highest", "at frame", "scores"),
        tuple(
            (
                name,
                f"{len(scores):,}",
                f"{int((scores > _THRESHOLD).sum()):,}",
                f"{scores.max():.4f}",
                str(scores.argmax()),
                path.name,
            )
            for name, scores, path in done[:_SHOWN]
        ),
    )
    more = f"\n... and {len(done) - _SHOWN} more" if len(done) > _SHOWN else ""
    head = f"{len(done)} videos, {run.about}; the scores are in {run.folder}"
    return f"{head}\n\n{table.to_text()}{more}"


def _say_one(name: str, scores: np.ndarray, path: Path, about: str) -> str:
    above = [f"  frames {start} to {end - 1}" for start, end in _stretches(scores > _THRESHOLD)]
    return "\n".join(
        [
            f"{name}: {len(scores)} frames, {about}",
            f"highest score {scores.max():.4f} at frame {scores.argmax()}; scores in {path}",
            f"above {_THRESHOLD}:" if above else f"no frame is above {_THRESHOLD}",
            *above,
        ]
    )


def _file_name(name: str) -> str:
    """The name of a file of scores: the whole id, as far as file systems allow."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("_.")
    return f"scores-{plain[-_LONGEST_NAME:]}.csv"


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (not counted) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
