"""The classes of one new image, by the newest checkpoint of a run."""

from pathlib import Path

import numpy as np
from flax import nnx

from experiments.seq.features import encode_image
from experiments.seq.results import main_variant, run_folder
from experiments.seq.settings import Settings
from experiments.seq.steps import Scaling, classify
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.job_folder import read_job
from experiments.shared.tables import Table
from experiments.vision import image_folder
from tempalign import heads

_SHOWN = 5


def predict_file(request: Settings) -> str:
    """Classifies the image `request.predict` with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`.

    Returns:
        What to print: a table of the most probable classes.

    Raises:
        FileNotFoundError: the image, or a run, is not there.
        ValueError: the image does not decode, or the checkpoint is damaged.
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
    folder = run_folder(out_dir, main_variant(settings, method), seed)
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
    path = Path(request.predict)
    if not path.is_file():
        raise FileNotFoundError(f"--predict={path}: no such file")
    size = (settings.image_size, settings.image_size)
    images, _, _ = image_folder.decode([image_folder.ImageFile(path, 0, "test")], size=size)
    frames = encode_image(images[0], settings)[:, None]
    params = {"linear": {n: arrays[f"state.params.linear.{n}"] for n in ("kernel", "bias")}}
    num_features, num_classes = params["linear"]["kernel"].shape
    if frames.shape[2] != num_features:
        raise ValueError(
            f"--encoder={settings.encoder}: returns {frames.shape[2]} features, but the run was "
            f"trained on {num_features}"
        )
    head = heads.SeqClassifier(num_features, num_classes, rngs=nnx.Rngs(0))
    scaling = Scaling(arrays["scaling.mean"], arrays["scaling.std"])
    probabilities = classify(nnx.split(head)[0], params, frames, scaling)[0]
    names = job["data"]["class_names"]
    best = np.argsort(-probabilities, kind="stable")[:_SHOWN]
    table = Table(
        ("class", "probability"),
        tuple((names[label], f"{probabilities[label]:.4f}") for label in best),
    )
    return f"{path}: by {method} seed {seed}, epoch {step}\n\n{table.to_text()}"
