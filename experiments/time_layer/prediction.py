"""`--predict`: new videos, classified with the newest checkpoint of a run."""

from dataclasses import replace

import jax
import numpy as np

from experiments.shared.checkpoints import fill
from experiments.shared.prediction import OpenRun, open_run, say_classes
from experiments.shared.progress import progress
from experiments.time_layer.dataset import Batch
from experiments.time_layer.reading import read_video, videos_to_predict
from experiments.time_layer.settings import Settings
from experiments.time_layer.training import make_spec, methods, run_name, score_step
from experiments.vision.trunks import RANDOM


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`. Of a run whose
            `model` is a MODULE:FACTORY it names that once more, and with `weights` where those lie
            now that the factory reads to know its own shape. All others are in the checkpoint.

    Returns:
        What to print: the most probable classes of one video; of several, the most probable one of
        the first few, and the file with all.

    Raises:
        UserError: the videos, or the run, are not there or not usable.
    """
    run = open_run(
        request,
        methods=lambda settings: [method.key for method in methods(settings)],
        run_name=run_name,
    )
    settings = _trusted(request, run)
    chosen = next(one for one in methods(run.settings) if one.key == run.method)
    spec, *parts = make_spec(settings, chosen, len(run.data["class_names"]), shapes_only=True)
    where = f"{run.folder}, {run.method} seed {run.seed}"
    params, frozen = (
        fill(part, run.arrays, where, below=f"state.{name}.")
        for part, name in zip(parts, ("params", "frozen"), strict=True)
    )
    ids, scores, about = [], [], ""
    videos = videos_to_predict(request, run.settings)
    for name, file in progress(videos, desc="predicting", unit="video"):
        video = read_video(file, run.settings)
        about = f"{len(video)} frames, "
        short = run.settings.source_frames - len(video)
        padded = np.pad(video, ((0, short), (0, 0), (0, 0), (0, 0)))[None]
        ones = np.ones(1, np.int32)
        batch = Batch(padded, len(video) * ones, 0 * ones, ones.astype(np.float32))
        ids.append(name)
        scores.append(np.asarray(score_step(spec, params, frozen, batch))[0])
    return say_classes(run, ids, np.asarray(jax.nn.softmax(np.stack(scores))), about)


def _trusted(request: Settings, run: OpenRun[Settings]) -> Settings:
    """The settings of a run; what is code or a file for that code, the command line names too.

    Raises:
        UserError: it does not.
    """
    settings, needed = run.settings, []
    if ":" in settings.model:
        if request.model != settings.model:
            needed.append(f"--model={settings.model}")
        if settings.weights not in ("", RANDOM) and not request.weights:
            needed.append(f"--weights={settings.weights}")
    run.refuse_unnamed("model", needed)
    return replace(settings, weights=request.weights or settings.weights)
