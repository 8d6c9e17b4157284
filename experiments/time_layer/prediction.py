"""`--predict`: new videos, classified with the newest checkpoint of a run."""

import jax
import numpy as np

from experiments.shared.checkpoints import fill
from experiments.shared.prediction import open_run, predict_inputs, say_classes
from experiments.shared.progress import progress
from experiments.time_layer.dataset import Batch, read_video
from experiments.time_layer.settings import Settings
from experiments.time_layer.training import make_spec, methods, run_name, score_step
from experiments.vision.video import SUFFIXES


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`.

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
    chosen = next(one for one in methods(run.settings) if one.key == run.method)
    spec, params = make_spec(run.settings, chosen, len(run.data["class_names"]))
    where = f"{run.folder}, {run.method} seed {run.seed}"
    params = fill(params, run.arrays, where, below="state.params.")
    ids, scores, about = [], [], ""
    for name, file in progress(predict_inputs(request, SUFFIXES), desc="predicting", unit="video"):
        video = read_video(file, run.settings)
        about = f"{len(video)} frames, "
        short = run.settings.source_frames - len(video)
        padded = np.pad(video, ((0, short), (0, 0), (0, 0), (0, 0)))[None]
        ones = np.ones(1, np.int32)
        batch = Batch(padded, len(video) * ones, 0 * ones, ones.astype(np.float32))
        ids.append(name)
        scores.append(np.asarray(score_step(spec, params, batch))[0])
    return say_classes(run, ids, np.asarray(jax.nn.softmax(np.stack(scores))), about)
