"""Predictions of a finished run: one new sequence, classified with its newest checkpoint."""

from pathlib import Path

import jax
import numpy as np

from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import Statistics, StepSpec, predict_step, split_head
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.job_folder import read_job
from experiments.shared.tables import Table
from experiments.tse.batches import padded_length
from experiments.tse.index_folder import read_npy
from tempalign import heads

_SHOWN = 5


def run_folder(out_dir: Path | str, variant: str, seed: int) -> Path:
    """Returns the folder of a run's checkpoints in an output folder."""
    return Path(out_dir) / "checkpoints" / f"{variant}-seed{seed}"


def predict_file(request: Settings) -> str:
    """Classifies the file `request.predict` with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_variant` and `predict_seed`.

    Returns:
        What to print: a table of the most probable classes.

    Raises:
        FileNotFoundError: the file, or a run, is not there.
        ValueError: the file is not a TSE with the features the run was trained on, or the
            checkpoint is damaged.
    """
    out_dir = Path(request.out_dir)
    job = read_job(out_dir, Settings)
    if job is None:
        raise FileNotFoundError(
            f"--out_dir={out_dir}: holds no settings.json, so nothing was trained there"
        )
    settings = Settings.from_json(job["settings"])
    variant = request.predict_variant
    if not variant:
        variant = "full" if "full" in settings.variants else settings.variants[-1]
    seed = settings.seeds[0] if request.predict_seed < 0 else request.predict_seed
    folder = run_folder(out_dir, variant, seed)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--predict_variant={variant} --predict_seed={seed}: {folder} is not there; trained "
            f"with --variants={','.join(settings.variants)} "
            f"--seeds={','.join(map(str, settings.seeds))}"
        )
    with Checkpoints(folder, keep=settings.keep_checkpoints) as checkpoints:
        step = checkpoints.latest()
        if step is None:
            raise FileNotFoundError(f"{folder}: holds no complete checkpoint yet")
        arrays, _ = checkpoints.read(step)
    x = read_npy(request.predict)
    centroids = arrays["state.params.centroids"]
    num_classes, num_steps, num_features = centroids.shape
    if x.shape[1] != num_features:
        raise ValueError(
            f"--predict={request.predict}: has {x.shape[1]} features a step, "
            f"but the run was trained on {num_features}"
        )
    head = heads.DejaVidHead(
        *(num_classes, num_steps, num_features),
        diagonal=settings.diagonal,
        fixed_paths=False,
        path_precision=settings.path_precision,
    )
    spec = StepSpec(split_head(head)[0], (), settings.pooling, 0.0)
    params = {"centroids": centroids, "log_weights": arrays["state.params.log_weights"]}
    scaling = Statistics(arrays["scaling.mean"], arrays["scaling.std"])
    padded = np.zeros((1, padded_length(len(x)), num_features), x.dtype)
    padded[0, : len(x)] = x
    logits = predict_step(spec, params, padded, np.array([len(x)], np.int32), scaling)[0]
    probabilities = np.asarray(jax.nn.softmax(logits))
    names = job["data"]["class_names"]
    best = np.argsort(-probabilities, kind="stable")[:_SHOWN]
    table = Table(
        ("class", "probability"),
        tuple((names[label], f"{probabilities[label]:.4f}") for label in best),
    )
    about = f"{request.predict}: {len(x)} steps, by {variant} seed {seed}, epoch {step}"
    return f"{about}\n\n{table.to_text()}"
