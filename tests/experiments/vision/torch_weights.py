"""Weights of a MobileNetV2 in files as `torch.save` writes them, made without torch."""

import collections
import io
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Of each stage: expansion, channels, blocks, stride of the first.
STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
MAGIC = 0x1950A86A20F9469CFC6C


def random_weights(seed: int) -> dict[str, np.ndarray]:
    """Returns tensors with torchvision's names, in its order, that keep the numbers in range."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def layer(conv: str, norm: str, shape: tuple[int, ...]) -> None:
        fan_in = np.prod(shape[1:])
        tensors[f"{conv}.weight"] = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        for name, values in (
            ("weight", rng.uniform(0.5, 1.5, shape[0])),
            ("bias", rng.normal(0, 0.2, shape[0])),
            ("running_mean", rng.normal(0, 0.2, shape[0])),
            ("running_var", rng.uniform(0.5, 1.5, shape[0])),
        ):
            tensors[f"{norm}.{name}"] = values.astype(np.float32)
        tensors[f"{norm}.num_batches_tracked"] = np.array(7)

    layer("features.0.0", "features.0.1", (32, 3, 3, 3))
    before, number = 32, 1
    for expansion, channels, blocks, _ in STAGES:
        for _ in range(blocks):
            conv, wide, part = f"features.{number}.conv", before * expansion, 0
            if expansion != 1:
                layer(f"{conv}.0.0", f"{conv}.0.1", (wide, before, 1, 1))
                part = 1
            layer(f"{conv}.{part}.0", f"{conv}.{part}.1", (wide, 1, 3, 3))
            layer(f"{conv}.{part + 1}", f"{conv}.{part + 2}", (channels, wide, 1, 1))
            before, number = channels, number + 1
    layer("features.18.0", "features.18.1", (1280, 320, 1, 1))
    tensors["classifier.1.weight"] = rng.normal(size=(10, 1280)).astype(np.float32)
    tensors["classifier.1.bias"] = np.zeros(10, np.float32)
    return tensors


def write(path: Path, tensors: dict[str, np.ndarray], *, legacy: bool = False) -> Path:
    """Writes what `torch.save` writes of a dict of tensors.

    Args:
        path: where to.
        tensors: float32 or int64.
        legacy: the format before torch 1.6.
    """
    torch = types.ModuleType("torch")
    utils = types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    torch.LongStorage = type("LongStorage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2(*_: Any) -> None:
        raise AssertionError("only a name")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch._utils, utils._rebuild_tensor_v2 = utils, _rebuild_tensor_v2

    class Storage:
        def __init__(self, key: str, values: np.ndarray):
            kind = torch.LongStorage if values.dtype == np.int64 else torch.FloatStorage
            self.id = ("storage", kind, key, "cpu", values.size) + (None,) * legacy

    class Tensor:
        def __init__(self, key: str, values: np.ndarray):
            strides = tuple(stride // values.itemsize for stride in values.strides)
            self.state = (Storage(key, values), 0, values.shape, strides, False)

        def __reduce__(self):
            return _rebuild_tensor_v2, (*self.state, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.id if isinstance(obj, Storage) else None

    named = collections.OrderedDict(
        (name, Tensor(str(index), values)) for index, (name, values) in enumerate(tensors.items())
    )
    keys = [str(index) for index in range(len(tensors))]
    named._metadata = collections.OrderedDict({"": {"version": 1}})  # as of a state dict
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        headers = io.BytesIO()
        Pickler(headers, protocol=2).dump(named)
    if legacy:
        with path.open("wb") as file:
            for value in (MAGIC, 1001, {"little_endian": True}):
                pickle.dump(value, file, protocol=2)
            file.write(headers.getvalue())
            pickle.dump(keys, file, protocol=2)
            for values in tensors.values():
                file.write(np.int64(values.size).tobytes() + values.tobytes())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", headers.getvalue())
            for key, values in zip(keys, tensors.values(), strict=True):
                archive.writestr(f"archive/data/{key}", values.tobytes())
    return path
