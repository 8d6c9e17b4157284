"""`--predict`: new images, classified with the newest checkpoint of a run."""

import jax.numpy as jnp
import numpy as np

from experiments.seq import encoding
from experiments.seq.results import Variant
from experiments.seq.training import saved_head
from experiments.seq_images.features import Encoder
from experiments.seq_images.settings import Settings
from experiments.seq_images.training import classify
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests
from experiments.shared.prediction import OpenRun, open_run, predict_inputs, say_classes
from experiments.shared.progress import progress
from experiments.vision import image_folder

_AT_ONCE = 32


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`, and which encoder,
            where that is code of the user's.

    Returns:
        What to print: the most probable classes of one image; of several, the most probable one of
        the first few, and the file with all.

    Raises:
        UserError: the images, the run or its encoder are not there or not usable.
    """
    run = open_run(
        request,
        methods=lambda settings: settings.methods,
        run_name=lambda settings, method, seed: Variant.of(settings, method).run_name(seed),
        prefer=("seq",),
    )
    encoder = _encoder(request, run)
    graphdef, params, scaling = saved_head(run.arrays)
    inputs = predict_inputs(request, image_folder.SUFFIXES)
    size = (run.settings.image_size, run.settings.image_size)
    found = []
    for start in progress(range(0, len(inputs), _AT_ONCE), desc="predicting", unit="batches"):
        files = [
            image_folder.ImageFile(path, 0, "test") for _, path in inputs[start : start + _AT_ONCE]
        ]
        images, _, _ = image_folder.decode(files, size=size)
        features = encoder(jnp.asarray(images, jnp.float32) / 255)
        if features.shape[1] != len(scaling.mean):
            raise UserError(
                f"--encoder={run.settings.encoder}: returns {features.shape[1]} features, but the "
                f"run was trained on {len(scaling.mean)}"
            )
        found.append(classify(graphdef, params, features[:, None], scaling))
    return say_classes(run, [name for name, _ in inputs], np.concatenate(found))


def _encoder(request: Settings, run: OpenRun[Settings]) -> Encoder:
    """The encoder of the run. A run folder may come from anyone, so it cannot name code to run."""
    name = run.settings.encoder
    given, weights = name, request.encoder_weights or run.settings.encoder_weights
    if name not in encoding.WITHOUT_CODE:
        # A file may lie elsewhere by now; its digest tells whether it is the same. Weights that
        # code of the user's reads are not taken from the run either.
        given, weights = request.encoder, request.encoder_weights
        one_of_files = not encoding.is_code(name) and given not in encoding.WITHOUT_CODE
        if given != name and not one_of_files:
            raise UserError(
                f"--predict: the run in {run.folder} says that its encoder is {name}, a file or "
                f"code that a run folder cannot ask for; where you trust it, add --encoder={name} "
                "to the command line, and what else it was opened with"
            )
    encoding.forget()
    encoder = Encoder(
        given, weights, size=run.settings.image_size, allow_pickle=request.allow_pickle
    )
    if encoder.identity(Digests()) != run.data["encoder"]:
        raise UserError(
            f"--encoder={given}: its source or weights are not those that the run in {run.folder} "
            "was trained with"
        )
    return encoder
