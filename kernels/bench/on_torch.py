"""Peers that take torch tensors."""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tempalign.kernels.bench.contenders import Call, Peer
from tempalign.kernels.bench.specs import AlignmentSpec


class _OnTorch(Peer):
    """Soft-DTW as a torch module: batched, values and gradients.

    In float32 and in float64: the faster one, but float32 gradients of long sequences are wrong.
    """

    how: str
    dtype = "float32"

    def module(self, gamma: float, device: str) -> Callable[[Any, Any], Any]:
        """The loss: ``[B, T, F], [B, T, F] -> [B]``."""
        raise NotImplementedError

    def device(self) -> str:
        """Where it runs."""
        return "cpu"

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Soft values and gradients."""
        if spec.gamma is None or (spec.dtype, self.dtype) == ("float64", "float32"):
            return None
        torch = importlib.import_module("torch")
        device = self.device()
        loss = self.module(spec.gamma, device)
        pairs = paired(x, y) if spec.all_pairs else (x, y)
        dtype = getattr(torch, self.dtype)
        a, b = (torch.tensor(side, device=device, dtype=dtype) for side in pairs)

        def finished() -> None:
            if device == "cuda":
                torch.cuda.synchronize()

        def values() -> Any:
            with torch.no_grad():
                result = loss(a, b)
            finished()
            return result

        def value_and_gradients() -> Any:
            left, right = a.detach().requires_grad_(), b.detach().requires_grad_()
            total = loss(left, right).sum()
            total.backward()
            finished()
            return total.detach(), left.grad, right.grad

        if spec.gradient:
            run, arrays = value_and_gradients, lambda all_: tuple(_to_numpy(t) for t in all_)
        else:
            shape = (spec.num_x, spec.num_y) if spec.all_pairs else (spec.num_x,)
            run, arrays = values, lambda one: (_to_numpy(one).reshape(shape),)
        return Call(run, arrays, self.dtype, f"{self.how} on {device}")


class TslearnTorch(_OnTorch):
    """tslearn's loss for torch: numba on the CPU, threads over the batch."""

    name, distribution = "tslearn-torch", "tslearn"
    modules = ("torch", "tslearn.metrics")
    how = "SoftDTWLossPyTorch, distances by a matrix product"

    def module(self, gamma: float, device: str) -> Callable[[Any, Any], Any]:
        """The loss. Its own distances hold all differences at once and take most of its time."""
        loss = importlib.import_module("tslearn.metrics").SoftDTWLossPyTorch
        return loss(gamma=gamma, dist_func=_by_product)


class TslearnTorch64(TslearnTorch):
    """The same in float64."""

    name, dtype = "tslearn-torch f64", "float64"


class Pysdtw(_OnTorch):
    """Numba on the CPU, threads over the batch; its own CUDA kernel on a GPU."""

    name = distribution = "pysdtw"
    modules = ("torch", "pysdtw")
    how = "SoftDTW"

    def device(self) -> str:
        """CUDA where torch and jax both have it."""
        cuda = importlib.import_module("torch").cuda.is_available()
        return "cuda" if cuda and jax.default_backend() == "gpu" else "cpu"

    def module(self, gamma: float, device: str) -> Callable[[Any, Any], Any]:
        """The loss."""
        return importlib.import_module("pysdtw").SoftDTW(gamma=gamma, use_cuda=device == "cuda")


class Pysdtw64(Pysdtw):
    """The same in float64."""

    name, dtype = "pysdtw f64", "float64"


class Ddtw(_OnTorch):
    """The dDTW toolbox: numba on the CPU, threads over the batch; its own CUDA kernel on a GPU."""

    name = distribution = "ddtw"
    modules = ("torch", "ddtw", "numba")
    how = "SDTW(C), distances by a matrix product"

    def module(self, gamma: float, device: str) -> Callable[[Any, Any], Any]:
        """The loss, which is the mean over the batch; its own costs are means over features."""
        torch = importlib.import_module("torch")
        sdtw = importlib.import_module("ddtw").SDTW(
            gamma=gamma, normalization="none", dtype_float=getattr(torch, self.dtype)
        )
        return lambda a, b: sdtw(C=_by_product(a, b)) * len(a)

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Sums and their gradients: it has no values of single pairs."""
        return super().alignment(spec, x, y) if spec.gradient else None


class Ddtw64(Ddtw):
    """The same in float64."""

    name, dtype = "ddtw f64", "float64"


class Torchdtw(Peer):
    """Hard DTW of given distances, C++ with threads over pairs."""

    name = distribution = "torchdtw"
    modules = ("torch", "torchdtw")

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard values; the distances of long pairs would take gigabytes."""
        if spec.gamma is not None or spec.band is not None or spec.num_frames > 5000:
            return None
        torch, torchdtw = map(importlib.import_module, ("torch", "torchdtw"))
        a, b = torch.tensor(x), torch.tensor(y)
        left, right = (torch.full((len(side),), spec.num_frames) for side in (a, b))

        def all_pairs() -> Any:
            flat = _by_product(a.flatten(0, 1)[None], b.flatten(0, 1)[None])[0]
            distances = flat.unflatten(0, a.shape[:2]).unflatten(2, b.shape[:2]).transpose(1, 2)
            return torchdtw.dtw_batch(distances.contiguous(), left, right, symmetric=False)

        def one_pair() -> Any:
            return torchdtw.dtw(_by_product(a, b)[0])

        return Call(
            all_pairs if spec.all_pairs else one_pair,
            lambda found: (np.atleast_1d(_to_numpy(found)),),
            spec.dtype,
            "dtw_batch" if spec.all_pairs else "dtw",
        )


def _by_product(a: Any, b: Any) -> Any:
    """Squared distances by a matrix product, which is the quickest way on torch."""
    own = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None]
    return own - 2 * a @ b.transpose(1, 2)


def _to_numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def paired(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs as two batches of the same length, left slowest."""
    return np.repeat(x, len(y), axis=0), np.tile(y, (len(x), 1, 1))
