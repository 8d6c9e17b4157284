"""`--predict`: new sequences, classified with the newest checkpoint of a run."""

from pathlib import Path

import jax
import numpy as np

from experiments.dejavid.settings import Settings
from experiments.dejavid.steps import StepSpec, predict_step, split_head
from experiments.dejavid.training import run_name
from experiments.shared.errors import UserError
from experiments.shared.prediction import open_run, predict_inputs, say_classes
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.batches import padded_length
from experiments.tse.npy_file import read_npy
from experiments.tse.sources import check_tse
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers
from tempalign import heads


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also says which run, with `predict_method` and `predict_seed`.

    Returns:
        What to print: the most probable classes of one sequence; of several, the most probable one
        of the first few, and the file with all.

    Raises:
        UserError: the files, or the run, are not there or not usable; a sequence has not the
            features that the run was trained on.
    """
    run = open_run(request, methods=lambda s: s.methods, run_name=run_name, prefer=("full",))
    settings, arrays = run.settings, run.arrays
    params = {name: arrays[f"state.params.{name}"] for name in ("centroids", "log_weights")}
    shape = params["centroids"].shape
    head = heads.DejaVidHead(
        *shape,
        diagonal=settings.diagonal,
        fixed_paths=False,
        path_precision=settings.path_precision,
    )
    spec = StepSpec(split_head(head)[0], (), settings.pooling, 0.0)
    scaling = Scaling(arrays["scaling.mean"], arrays["scaling.std"])
    ids, logits, about = [], [], ""
    for name, file in progress(predict_inputs(request, (".npy", ".pt")), desc="predicting"):
        for part, x in _sequences(file).items():
            if x.shape[1] != shape[2]:
                raise UserError(
                    f"--predict: {file}{part} has {x.shape[1]} features a step, but the run was "
                    f"trained on {shape[2]}"
                )
            padded = np.zeros((1, padded_length(len(x)), shape[2]), x.dtype)
            padded[0, : len(x)] = x
            lengths = np.array([len(x)], np.int32)
            ids.append(f"{name}{part}")
            logits.append(predict_step(spec, params, padded, lengths, scaling)[0])
            about = f"{len(x)} steps, "
    return say_classes(run, ids, np.asarray(jax.nn.softmax(np.stack(logits))), about)


def _sequences(file: Path) -> dict[str, np.ndarray]:
    """The sequences of a file, by what follows its name: nothing where it holds one."""
    if file.suffix.lower() != ".pt":
        return {"": read_npy(file)}
    content = tensor_headers(file)
    if isinstance(content, StoredTensor):
        headers = {"": content}
    else:
        named = ((f"[{key}]", part) for key, part in content.items())
        headers = {key: part for key, part in named if isinstance(part, StoredTensor)}
    if not headers:
        raise UserError(f"--predict: {file} is a dict without a tensor")
    return {
        key: check_tse(read_tensor(file, header), f"{file}{key}") for key, header in headers.items()
    }
