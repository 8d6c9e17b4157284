"""Scores of one new file of features, by the newest checkpoint of a run."""

from pathlib import Path

import numpy as np
from flax import nnx

from experiments.anomaly.dataset import frame_scores, prepare
from experiments.anomaly.settings import Settings
from experiments.anomaly.steps import score_rows
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.job_folder import read_job
from experiments.tse.index_folder import read_npy
from tempalign import heads

_THRESHOLD = 0.5


def run_folder(out_dir: Path | str, method: str, seed: int) -> Path:
    """Returns the folder of a run's checkpoints in an output folder."""
    return Path(out_dir) / "checkpoints" / f"{method}-seed{seed}"


def predict_file(request: Settings) -> str:
    """Scores the file `request.predict` with a run in `request.out_dir`.

    Writes `scores-NAME.csv` there, a line a frame (a snippet's score counts for all its frames).

    Args:
        request: also says which run, with `predict_method` and `predict_seed`.

    Returns:
        What to print: the frames above 0.5.

    Raises:
        FileNotFoundError: the file, or a run, is not there.
        ValueError: the file does not hold features as the run was trained on, or the checkpoint is
            damaged.
        OSError: the scores cannot be written.
    """
    out_dir = Path(request.out_dir)
    job = read_job(out_dir, Settings)
    if job is None:
        raise FileNotFoundError(
            f"--out_dir={out_dir}: holds no settings.json, so nothing was trained there"
        )
    settings = Settings.from_json(job["settings"])
    method = request.predict_method
    if not method:
        method = "seq" if "seq" in settings.methods else settings.methods[-1]
    seed = settings.seeds[0] if request.predict_seed < 0 else request.predict_seed
    folder = run_folder(out_dir, method, seed)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--predict_method={method} --predict_seed={seed}: {folder} is not there; trained "
            f"with --methods={','.join(settings.methods)} "
            f"--seeds={','.join(map(str, settings.seeds))}"
        )
    with Checkpoints(folder, keep=settings.keep_checkpoints) as checkpoints:
        step = checkpoints.latest()
        if step is None:
            raise FileNotFoundError(f"{folder}: holds no complete checkpoint yet")
        arrays, _ = checkpoints.read(step)
    features = read_npy(request.predict)
    expected = len(arrays["mean"]) // (2 if settings.motion else 1)
    if features.shape[1] != expected:
        raise ValueError(
            f"--predict={request.predict}: has {features.shape[1]} features a row, but the run "
            f"was trained on {expected}"
        )
    features = prepare(features, center=settings.center, motion=settings.motion)
    names = ("kernel", "bias")
    params = {"linear": {name: arrays[f"state.params.linear.{name}"] for name in names}}
    graphdef, _ = nnx.split(heads.SeqClassifier(len(arrays["mean"]), 2, rngs=nnx.Rngs(0)))
    rows = score_rows(graphdef, params, features, arrays["mean"], arrays["std"])
    scores = frame_scores(rows, len(rows) * settings.frames_per_row, settings.frames_per_row)
    path = out_dir / f"scores-{Path(request.predict).stem}.csv"
    lines = [f"{frame},{score:.6f}" for frame, score in enumerate(scores.tolist())]
    path.write_text("\n".join(["frame,score", *lines, ""]))
    above = [f"  frames {start} to {end - 1}" for start, end in _stretches(scores > _THRESHOLD)]
    return "\n".join(
        [
            f"{request.predict}: {len(scores)} frames, by {method} seed {seed}, epoch {step}",
            f"highest score {scores.max():.4f} at frame {scores.argmax()}; scores in {path}",
            f"above {_THRESHOLD}:" if above else f"no frame is above {_THRESHOLD}",
            *above,
        ]
    )


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (not counted) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
