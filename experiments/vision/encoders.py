"""Encoders of windows of a video: the pictures of each to one row of features.

Every script takes them by the same name, `--encoder`:

- `thumbnail`: mean colours of 8 x 8 cells of each frame (192 features); needs no weights.
- `mobilenet_v2`: comes with this repository (1280 features), of each frame.
- `onnx:FILE`, `torchscript:FILE`, `torch:FILE`, `transformers:FOLDER`: models of others, from a
  local path, and `MODULE:FUNCTION`: code of your own; see `experiments.vision.foreign_encoders`.

`experiments.vision.recipes` has VideoMAE V2 (of the DejaVid paper), V-JEPA 2 and VideoPrism.
"""

from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests, encoder_identity
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers
from experiments.vision.checked_encoder import (
    CheckedEncoder,
    Encoder,
    EncoderSpec,
    NotFiniteError,
)
from experiments.vision.foreign_encoders import FORMS, opener
from experiments.vision.foreign_model import Wish
from experiments.vision.mobilenet import NUM_FEATURES, SMALLEST_SIDE, WEIGHTS_FILE, MobileNet

__all__ = ["FORMS", "Encoder", "EncoderSpec", "NotFiniteError", "open_encoder"]

BUILT_IN = ("thumbnail", "mobilenet_v2")
_GRID = 8
_THUMBNAIL_SIDE, _MOBILENET_SIDE = 64, 224


def open_encoder(
    name: str,
    *,
    weights: str = "",
    size: int = 0,
    frames: int = 0,
    logits: bool = False,
    allow_pickle: bool = False,
) -> Encoder:
    """Opens an encoder by its name; one that is not ours is tried once, on black pictures.

    Args:
        name: see above.
        weights: a file or folder with its weights: of mobilenet_v2 others than those that come with
            it, and whatever MODULE:FUNCTION makes of them.
        size: height and width of its pictures; 0: its own.
        frames: frames of a window; 0: its own, or single pictures where it has none.
        logits: append its class scores to the embedding, as the DejaVid paper has it.
        allow_pickle: `torch:FILE` may run whatever code the file names.

    Returns:
        An encoder whose `spec.num_features` is known.

    Raises:
        MissingFileError: the model or its weights are not there.
        UserError: an unknown name (it lists what is allowed), a package that is not installed (it
            says what installs it), options that the encoder does not have, a file that is damaged
            or of another kind, an encoder that fails or returns anything but finite ``[B, F]``.
    """
    if size < 0 or frames < 0:
        raise UserError(f"--encoder={name}: size and frames must not be negative")
    if name in BUILT_IN:
        if frames:
            raise UserError(f"--encoder={name}: encodes every frame of a window, not {frames}")
        if name == "thumbnail":
            return _thumbnail(weights, size, logits)
        return _mobilenet(weights, size or _MOBILENET_SIDE, logits)
    opened = opener(name)
    if opened is None:
        raise UserError(f"--encoder={name}: allowed: {', '.join([*BUILT_IN, *FORMS])}")
    return opened(Wish(name, weights, size, frames, logits, allow_pickle))


def _thumbnail(weights: str, size: int, logits: bool) -> CheckedEncoder:
    side = size or _THUMBNAIL_SIDE
    if weights or logits:
        raise UserError("--encoder=thumbnail: has neither weights nor logits")
    if side % _GRID:
        raise UserError(f"--encoder=thumbnail: the size must be a multiple of {_GRID}, not {side}")
    cell = side // _GRID

    def means(frames: np.ndarray) -> np.ndarray:
        # Whole rows first, which is several times faster; sums of whole numbers are exact.
        rows = frames.reshape(len(frames), _GRID, cell, -1).sum(axis=2, dtype=np.int64)
        sums = rows.reshape(len(frames), _GRID, _GRID, cell, 3).sum(axis=3)
        return (sums / (255 * cell * cell)).reshape(len(frames), -1)

    identity = {"encoder": "thumbnail", "cells": f"{_GRID} x {_GRID}", "size": f"{side} x {side}"}
    spec = EncoderSpec("thumbnail", 3 * _GRID * _GRID, None, (side, side), identity)
    return CheckedEncoder(spec, means)


def _mobilenet(weights: str, side: int, logits: bool) -> CheckedEncoder:
    name = "mobilenet_v2"
    if side < SMALLEST_SIDE:
        raise UserError(f"--encoder={name}: pictures of at least {SMALLEST_SIDE}, not {side}")
    path = Path(weights).expanduser() if weights else WEIGHTS_FILE
    net = MobileNet.load(path)
    identity = encoder_identity(name, Digests(), path)
    classifier = _classifier(path) if logits else None
    num_features = NUM_FEATURES + (0 if classifier is None else len(classifier[1]))
    # The devices of this process: another one has videos of its own.
    mesh = Mesh(np.array(jax.local_devices()), ("batch",))
    whole = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("batch"))
    net = MobileNet(jax.device_put(net.layers, whole))

    def encode(frames: np.ndarray) -> np.ndarray:
        # As bytes, of which there are a quarter as many to send.
        divides = len(frames) % mesh.size == 0
        pictures = jax.device_put(frames[:, 0], split if divides else whole)
        features = np.asarray(net(pictures.astype(jnp.float32) / 255))
        if classifier is None:
            return features
        kernel, bias = classifier
        # einsum and not a product of matrices, whose sums depend on the number of rows.
        scores = np.einsum("nf,cf->nc", features, kernel) + bias
        return np.concatenate([features, scores], axis=1)

    identity |= {"size": f"{side} x {side}", "versions": f"jax {version('jax')}"}
    spec = EncoderSpec(name, num_features, None, (side, side), identity, logits)
    return CheckedEncoder(spec, encode)


def _classifier(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Kernel ``[classes, 1280]`` and bias of the last layer, which torchvision's files have."""
    headers = tensor_headers(path) if path.suffix != ".npz" else {}
    found = []
    for part in ("weight", "bias"):
        header = headers.get(f"classifier.1.{part}") if isinstance(headers, dict) else None
        if not isinstance(header, StoredTensor):
            raise UserError(
                f"--encoder=mobilenet_v2: {path} has no classifier, so there are no logits; "
                "torchvision's own file of weights has one"
            )
        found.append(read_tensor(path, header).astype(np.float32))
    kernel, bias = found
    if kernel.shape != (*bias.shape, NUM_FEATURES):
        raise UserError(f"{path}: a classifier of shape {kernel.shape}, {bias.shape}")
    return kernel, bias
