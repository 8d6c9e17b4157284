"""Makes `mobilenet_v2.npz` from torchvision's file of weights; see the README beside it.

Usage: python experiments/data/make_mobilenet_v2.py path/to/mobilenet_v2-b0353104.pth

The file is in the `torch.save` format from before torch 1.6: five pickles, then the storages.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from experiments.tse.plain_pickle import PlainUnpickler, checked_load  # noqa: E402
from experiments.vision.mobilenet import Layer, MobileNet  # noqa: E402

# torchvision names a file by the first digits of this sum.
SOURCE_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
TARGET = Path(__file__).resolve().parent / "mobilenet_v2.npz"
EPSILON = 1e-5  # of batch normalisation

DTYPES = {"torch.FloatStorage": np.dtype("<f4"), "torch.LongStorage": np.dtype("<i8")}


def make(source: Path, target: Path) -> str:
    """Writes the small file and returns its sha256.

    Args:
        source: torchvision's `mobilenet_v2-b0353104.pth`.
        target: where to write.

    Raises:
        ValueError: `source` is another file.
    """
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"{source}: sha256 {found}, that of torchvision's is {SOURCE_SHA256}")
    tensors = read_tensors(source)
    layers = tuple(Layer(jnp.asarray(k), jnp.asarray(b)) for k, b in folded(tensors))
    MobileNet(layers).save(target)
    MobileNet.load(target)  # looks at the shapes
    return hashlib.sha256(target.read_bytes()).hexdigest()


def folded(tensors: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Kernels and biases, each batch normalisation folded into the convolution before it.

    The file lists the layers as they are run: a convolution has the one tensor with four axes, and
    the four of its batch normalisation follow.
    """
    kernel = np.zeros(0)
    for name, tensor in tensors.items():
        if tensor.ndim == 4:
            kernel = tensor.astype(np.float64)  # [out, in / groups, height, width]
        elif name.endswith("running_mean"):
            norm = name.removesuffix("running_mean")
            weight, bias, mean, variance = (
                tensors[norm + part].astype(np.float64)
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = weight / np.sqrt(variance + EPSILON)
            moved = (kernel * scale[:, None, None, None]).transpose(2, 3, 1, 0)
            if moved.shape[2] == 1:
                moved = moved[:, :, 0]  # depthwise
            elif moved.shape[:2] == (1, 1):
                moved = moved[0, 0]  # pointwise
            yield moved.astype(np.float32), (bias - scale * mean).astype(np.float32)


class _Tensor(NamedTuple):
    """A tensor whose numbers come later in the file."""

    storage: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(dict):
    """Stands for an `OrderedDict`; takes no attributes (torch sets `_metadata`)."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Leaves the attributes out."""


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads a dict of tensors, by name, without torch and without running what the file names.

    Raises:
        ValueError: not such a file.
    """

    def storage(pid: Any) -> tuple[str, np.dtype]:
        _, dtype, key, _, _, _ = pid  # "storage", type, key, device, number of elements, view
        return key, dtype()

    def tensor(source: tuple[str, np.dtype], offset: int, shape: Any, strides: Any, *_: Any):
        return _Tensor(*source, offset, tuple(shape), tuple(strides))

    names: dict[str, Any] = {
        "collections.OrderedDict": _Dict,
        "torch._utils._rebuild_tensor_v2": tensor,
    }
    names.update({name: (lambda dtype=dtype: dtype) for name, dtype in DTYPES.items()})

    def unpickled(file: IO[bytes]) -> Any:
        unpickler = PlainUnpickler(file, extra_globals=names, persistent_load=storage)
        return checked_load(unpickler, str(path))

    with path.open("rb") as file:
        _magic, _version, _machine, headers, keys = (unpickled(file) for _ in range(5))
        dtypes = {header.storage: header.dtype for header in headers.values()}
        storages = {}
        for key in keys:
            (count,) = np.frombuffer(file.read(8), "<i8")
            storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[header.storage][header.offset :],
            header.shape,
            tuple(stride * header.dtype.itemsize for stride in header.strides),
            writeable=False,
        )
        for name, header in headers.items()
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{make(Path(sys.argv[1]), TARGET)}  {TARGET.name}")
