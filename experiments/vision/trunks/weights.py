"""Files of weights by the names of their tensors: torch.save, safetensors and NumPy's .npz."""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.shared.archives import opened_npz
from experiments.shared.errors import MissingFileError, UserError
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".npz")
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
_EPSILON = 1e-5  # of batch normalisation in torchvision


class _Place(NamedTuple):
    """A tensor in a safetensors file: its type, shape and first byte."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


class Weights:
    """A file of weights; its tensors are read when they are taken."""

    def __init__(self, path: Path | str, model: str) -> None:
        """Opens a file.

        Args:
            path: a `torch.save` file of a state dict (zip format), .safetensors or .npz, with
                torchvision's names and shapes.
            model: what it should be, for messages.

        Raises:
            MissingFileError: there is no such file.
            UserError: it is damaged or of another kind.
        """
        self._path, self._model = Path(path), model
        if not self._path.is_file():
            raise MissingFileError(f"{path}: no such file with weights of {model}")
        openers = {".npz": _npz, ".safetensors": _safetensors}
        self._tensors = openers.get(self._path.suffix.lower(), _torch)(self._path)

    def __contains__(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self._tensors

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a tensor as float32.

        Raises:
            UserError: there is none of that name and shape.
        """
        if name not in self._tensors:
            raise UserError(f"{self._path}: has no tensor {name}; not torchvision's {self._model}")
        found = self._tensors[name]()
        if found.shape != shape:
            raise UserError(
                f"{self._path}: {name} has the shape {found.shape}, that of {self._model} {shape}"
            )
        return found.astype(np.float32)

    def folded(
        self, conv: str, norm: str, shape: tuple[int, int, int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns a convolution with the batch normalisation that follows it folded into it.

        Args:
            conv: name of the convolution, which has no bias.
            norm: name of the normalisation.
            shape: of the result.

        Returns:
            (kernel ``[height, width, in, out]``, bias ``[out]``).

        Raises:
            UserError: see `take`.
        """
        height, width, inputs, outputs = shape
        kernel = self.take(f"{conv}.weight", (outputs, inputs, height, width)).astype(np.float64)
        scale, bias, mean, variance = (
            self.take(f"{norm}.{part}", (outputs,)).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + _EPSILON)
        kernel = kernel.transpose(2, 3, 1, 0) * scale
        return kernel.astype(np.float32), (bias - scale * mean).astype(np.float32)


_Tensors = Mapping[str, Callable[[], np.ndarray]]


def _torch(path: Path) -> _Tensors:
    headers = tensor_headers(path)
    if isinstance(headers, StoredTensor):
        raise UserError(f"{path}: holds one tensor, not the weights of a model")
    return {
        name: partial(read_tensor, path, header)
        for name, header in headers.items()
        if isinstance(header, StoredTensor)
    }


def _npz(path: Path) -> _Tensors:
    try:
        with opened_npz(path) as stored:
            found = {name: stored[name] for name in stored.files}
    except UserError:
        raise
    except Exception as error:  # whatever NumPy and zipfile raise for a damaged file
        raise _damaged(path, error) from error
    return {name: partial(np.asarray, array) for name, array in found.items()}


def _safetensors(path: Path) -> _Tensors:
    """The format is a length, a JSON object of types, shapes and places, and the numbers."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size - 8, _LONGEST_HEADER):
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        places = {
            name: _place(described, 8 + length, size)
            for name, described in header.items()
            if name != "__metadata__" and described["dtype"] in _DTYPES
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    return {name: partial(_read, path, place) for name, place in places.items()}


def _place(described: Mapping[str, Any], begin: int, size: int) -> _Place:
    dtype, shape = np.dtype(_DTYPES[described["dtype"]]), tuple(described["shape"])
    first, last = described["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, first, last)):
        raise ValueError("a shape or place is not a whole number")
    if last - first != math.prod(shape) * dtype.itemsize or begin + last > size:
        raise ValueError("a tensor leaves the file")
    return _Place(dtype, shape, begin + first)


def _read(path: Path, place: _Place) -> np.ndarray:
    try:
        flat = np.fromfile(path, place.dtype, math.prod(place.shape), offset=place.start)
        values = flat.reshape(place.shape)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if place.dtype == np.uint16:  # bfloat16, the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _damaged(path: Path, error: Exception) -> UserError:
    # The text of the error may repeat what is in the file.
    return UserError(
        f"{path}: not a file of weights, or damaged ({type(error).__name__}); a .pth, .safetensors "
        "or .npz is expected"
    )
