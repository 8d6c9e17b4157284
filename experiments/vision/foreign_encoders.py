"""Encoders that others made, by the name that `--encoder` has for them.

- `onnx:FILE` needs onnxruntime. The axes are told by where the input has its three colours; a
  fixed batch is filled up. The first output is the embedding, another (or one called "logits") the
  class scores.
- `torchscript:FILE` needs torch. With the number of frames a model of clips, else of pictures. The
  order of the axes is found by trial, ``[B, 3, T, H, W]`` or ``[B, T, 3, H, W]``. Returns a tensor,
  or a pair of embedding and class scores. (torch reads such files with a warning that it will not
  for ever; ONNX or a function of your own last longer.)
- `torch:FILE` is likewise, of a module that was pickled whole. To unpickle it runs whatever code
  the file names, so it wants `--allow_pickle`, and the module's classes must be importable. Better
  is TorchScript, or a function of your own that builds the model and loads its tensors.
- `transformers:FOLDER` needs transformers and torch: a model saved by `save_pretrained`; nothing is
  fetched, and no code in the folder is run. The embedding is what the classifier takes, of a model
  without one the mean of the last hidden states.
- `MODULE:FUNCTION` is code of your own. A function of one argument is called with float32
  ``[B, frames, H, W, 3]`` in [0, 1] (one frame where the number of frames is not given) and
  returns ``[B, F]``. A function whose arguments are among weights, size, frames and logits is
  called once with those that were given, and returns such a function or an `Encoder`, whose `spec`
  says frames and size (`experiments.vision.recipes` has three).

An embedding ``[B, tokens, F]`` of a file is averaged over its tokens. What is done with pictures
before a file sees them: `experiments.vision.preprocessing`.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests, encoder_identity
from experiments.vision.checked_encoder import CheckedEncoder, EncoderSpec
from experiments.vision.foreign_model import (
    SIZE,
    Wish,
    agreed,
    digest_of,
    file_of,
    identity_of,
    joined,
    layout_key,
    package,
    tried,
)
from experiments.vision.preprocessing import layout_of
from experiments.vision.torch_encoders import open_torch, open_torchscript, open_transformers

FORMS = (
    "onnx:FILE",
    "torchscript:FILE",
    "torch:FILE",
    "transformers:FOLDER",
    "MODULE:FUNCTION",
)
_OPTIONS = ("weights", "size", "frames", "logits")


def opener(name: str) -> Callable[[Wish], CheckedEncoder] | None:
    """Returns what opens an encoder of such a name, None where it has no form of ours."""
    kind, _, rest = name.partition(":")
    if not kind or not rest:
        return None
    return _OPENERS.get(kind, _open_function)


def _open_onnx(wish: Wish) -> CheckedEncoder:
    path, preprocessing = file_of(wish)
    onnxruntime = package("onnxruntime", wish)
    available = onnxruntime.get_available_providers()
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    try:
        session = onnxruntime.InferenceSession(
            str(path), providers=[provider for provider in wanted if provider in available]
        )
    except Exception as error:  # onnxruntime has one class for each of its codes
        raise wish.failed("cannot be loaded", error) from error
    if len(session.get_inputs()) != 1:
        listed = ", ".join(one.name for one in session.get_inputs())
        raise wish.error(f"must have one input, has {listed or 'none'}")
    (taken,) = session.get_inputs()
    dtypes = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    if taken.type not in dtypes:
        raise wish.error(f"its input is {taken.type}; allowed: {', '.join(dtypes)}")
    layout = preprocessing.layout or layout_of(taken.shape)
    if len(layout) != len(taken.shape) or not layout:
        raise wish.error(
            f"the axes of its input {taken.shape} are not clear: export it with the three colours "
            f"fixed, or name them as {layout_key(path)}"
        )
    fixed = {
        axis: size for axis, size in zip(layout, taken.shape, strict=True) if type(size) is int
    }
    frames = agreed(wish, "frames", wish.frames, fixed.get("T", 0)) if "T" in layout else 0
    if wish.frames and not frames:
        raise wish.error(f"encodes single pictures, not {wish.frames}")
    if "T" in layout and not frames:
        raise wish.error("takes clips of any length: say how many frames a window has")
    height, width = (
        agreed(wish, "size", wish.size, fixed.get(axis, 0)) or side
        for axis, side in zip("HW", preprocessing.size or SIZE, strict=True)
    )
    names = [output.name for output in session.get_outputs()]
    order = sorted(range(len(names)), key=lambda index: names[index] == "logits")

    def run(frames: np.ndarray) -> np.ndarray:
        values = preprocessing(frames, layout).astype(dtypes[taken.type])
        step = fixed.get("B", 0) or len(values)
        parts = []
        for start in range(0, len(values), step):
            part = values[start : start + step]
            filled = np.pad(part, [(0, step - len(part))] + [(0, 0)] * (part.ndim - 1), mode="edge")
            outputs = session.run(None, {taken.name: filled})
            parts.append(joined([outputs[index] for index in order], wish)[: len(part)])
        return np.concatenate(parts)

    # Weights may stand in files beside it, whose names begin with its own.
    files = sorted(one for one in path.parent.iterdir() if one.name.startswith(path.name))
    identity = identity_of(wish, files, preprocessing, ["onnxruntime"])
    spec = EncoderSpec(
        wish.name, None, frames or None, (height, width), identity, logits=wish.logits
    )
    return tried(wish, spec, run)


def _open_function(wish: Wish) -> CheckedEncoder:
    module_name, _, name = wish.name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # whatever the module does when it is imported
        raise wish.failed("cannot be imported", error) from error
    if not callable(function):
        raise wish.error("is not a function")
    given = {key: getattr(wish, key) for key in _OPTIONS if getattr(wish, key)}
    if makes_encoder(function):
        try:
            inspect.signature(function).bind(**given)
        except TypeError as error:
            raise wish.error(f"options {sorted(given) or 'none'}: {error}") from error
        try:
            function = function(**given)
        except UserError:
            raise
        except Exception as error:  # the user's code
            raise wish.failed("fails when it is made", error) from error
        if not callable(function):
            raise wish.error(f"must return a function or an encoder, not {function!r:.100}")
    elif wish.weights or wish.logits:
        raise wish.error("takes neither weights nor logits")
    spec = getattr(function, "spec", None)
    if spec is None:
        spec = EncoderSpec(wish.name, None, wish.frames or None, wish.shape or SIZE)
        plain, function = function, lambda frames: plain(frames.astype(np.float32) / 255)
    elif not isinstance(spec, EncoderSpec):
        raise wish.error(f"its spec must be an EncoderSpec, not a {type(spec).__name__}")
    identity = {**spec.identity, **encoder_identity(wish.name, Digests())}
    if wish.weights:
        identity["weights"] = weights_identity(wish.weights)
    spec = dataclasses.replace(spec, name=wish.name, identity=identity)
    return tried(wish, spec, function)


def is_encoder(function: Any) -> bool:
    """Whether an object is an encoder already."""
    return hasattr(function, "spec") and not inspect.isclass(function)


def makes_encoder(function: Any) -> bool:
    """Whether a function makes an encoder, and is none itself."""
    return not is_encoder(function) and _is_factory(function)


def weights_identity(weights: str) -> str:
    """Returns the digest of the file or folder with the weights of MODULE:FUNCTION.

    Where there is none of that name, the name: it may mean anything to the function.
    """
    path = Path(weights).expanduser()
    return digest_of(_files(path)) if path.exists() else weights


_OPENERS = {
    "onnx": _open_onnx,
    "torchscript": open_torchscript,
    "torch": open_torch,
    "transformers": open_transformers,
}


def _files(path: Path) -> list[Path]:
    """A file, or all those in a folder."""
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _is_factory(function: Callable[..., Any]) -> bool:
    """Whether a function makes an encoder: it needs nothing but options."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of C
        return False
    named = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [one for one in parameters if one.default is one.empty and one.kind not in named]
    return all(one.name in _OPTIONS for one in needed)
