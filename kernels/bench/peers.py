"""Other libraries, for the benchmark: each at its best, in our terms.

None of them is needed: a peer is imported when the benchmark asks for it. Its inputs are brought
into its layout and dtype before the clock starts, and its result into ours after it stops.
"""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from tempalign.kernels.contenders import Arrays, Call, Peer, on_jax
from tempalign.kernels.specs import AlignmentSpec, BarycenterSpec


class Aeon(Peer):
    """Numba, threads over pairs."""

    name = distribution = "aeon"
    modules = ("aeon.distances", "aeon.clustering.averaging")

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard and soft values; it has no gradients."""
        distances = importlib.import_module("aeon.distances")
        if spec.gradient:
            return None
        x, y = _channels_first(x), _channels_first(y)  # float32 is its faster one
        if spec.all_pairs:
            if spec.gamma is None:
                run = lambda: distances.dtw_pairwise_distance(x, y, n_jobs=-1)  # noqa: E731
                how = "dtw_pairwise_distance(n_jobs=-1)"
            else:
                run = lambda: distances.soft_dtw_pairwise_distance(  # noqa: E731
                    x, y, gamma=spec.gamma, n_jobs=-1
                )
                how = "soft_dtw_pairwise_distance(n_jobs=-1)"
            return Call(run, _values, "float32", how)
        if spec.num_x == 1 and spec.gamma is None:
            return Call(
                lambda: distances.dtw_distance(x[0], y[0]), _values, "float32", "dtw_distance"
            )
        return None

    def barycenter(self, spec: BarycenterSpec, series: np.ndarray) -> Call | None:
        """Its Petitjean averaging, without the early stop."""
        averaging = importlib.import_module("aeon.clustering.averaging")
        cases = _channels_first(_wide(series))
        return Call(
            lambda: averaging.petitjean_barycenter_average(
                cases, init_barycenter=cases[0].copy(), max_iters=spec.num_iters, tol=0.0
            ),
            lambda center: (center.T,),
            "float64",
            "petitjean_barycenter_average(tol=0), one thread: more are slower here",
        )


class Tslearn(Peer):
    """Numba on NumPy arrays. One thread: with joblib's it takes longer at these sizes."""

    name = distribution = "tslearn"
    modules = ("tslearn.metrics", "tslearn.barycenters")

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard values (with a square root), soft values, and gradients pair by pair."""
        metrics = importlib.import_module("tslearn.metrics")
        x, y = _wide(x), _wide(y)
        if spec.gamma is None:
            if spec.all_pairs:
                return Call(lambda: metrics.cdist_dtw(x, y), _squared, "float64", "cdist_dtw")
            return Call(lambda: metrics.dtw(x[0], y[0]), _squared, "float64", "dtw")
        if spec.all_pairs:
            return Call(
                lambda: metrics.cdist_soft_dtw(x, y, gamma=spec.gamma),
                _values,
                "float64",
                "cdist_soft_dtw",
            )

        def value_and_gradients() -> Arrays:
            total, of_x, of_y = 0.0, np.empty_like(x), np.empty_like(y)
            for index, (a, b) in enumerate(zip(x, y, strict=True)):
                costs = metrics.SquaredEuclidean(a, b)
                soft = metrics.SoftDTW(costs, gamma=spec.gamma)
                total += soft.compute()
                alignment = soft.grad()
                of_x[index] = costs.jacobian_product(alignment)
                # It has the left gradient only; the right one is the same with the sides swapped.
                swapped = metrics.SquaredEuclidean(b, a)
                of_y[index] = swapped.jacobian_product(np.ascontiguousarray(alignment.T))
            return np.asarray(total), of_x, of_y

        return Call(value_and_gradients, tuple, "float64", "SoftDTW, jacobian_product")

    def barycenter(self, spec: BarycenterSpec, series: np.ndarray) -> Call | None:
        """Its majorize-minimize form of DBA, without the early stop."""
        barycenters = importlib.import_module("tslearn.barycenters")
        series = _wide(series)
        return Call(
            lambda: barycenters.dtw_barycenter_averaging(
                series, init_barycenter=series[0], max_iter=spec.num_iters, tol=0.0
            ),
            lambda center: (center,),
            "float64",
            "dtw_barycenter_averaging(tol=0)",
        )


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
        if spec.gamma is None:
            return None
        torch = importlib.import_module("torch")
        device = self.device()
        loss = self.module(spec.gamma, device)
        pairs = _paired(x, y) if spec.all_pairs else (x, y)
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

        def distances(a: Any, b: Any) -> Any:
            own = a.square().sum(-1)[:, :, None] + b.square().sum(-1)[:, None]
            return own - 2 * a @ b.transpose(1, 2)

        return loss(gamma=gamma, dist_func=distances)


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


class Dtaidistance(Peer):
    """C, with OpenMP over pairs. Refused without its C library: its Python is 100 times slower."""

    name = distribution = "dtaidistance"
    modules = ("dtaidistance.dtw", "dtaidistance.dtw_ndim", "dtaidistance.dtw_barycenter")

    def __init__(self) -> None:
        """Imports it and looks for its C library."""
        super().__init__()
        dtw = importlib.import_module("dtaidistance.dtw")
        if dtw.dtw_cc is None:
            raise ImportError("its C library is not there")
        omp = dtw.dtw_cc_omp
        self.parallel = bool(omp is not None and omp.is_openmp_supported())

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard values, with a square root."""
        if spec.gamma is not None or spec.gradient:
            return None
        one = importlib.import_module("dtaidistance.dtw")
        many = importlib.import_module("dtaidistance.dtw_ndim")
        x, y = _wide(x), _wide(y)
        flat = spec.num_features == 1
        if flat:
            x, y = x[..., 0], y[..., 0]
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        if not spec.all_pairs:
            distance = one.distance_fast if flat else many.distance_fast
            return Call(lambda: distance(x[0], y[0]), _squared, "float64", "C distance_fast")
        # It compares one set with itself; the block of it that is left against right.
        together = np.concatenate([x, y])
        block = ((0, spec.num_x), (spec.num_x, spec.num_x + spec.num_y))
        matrix = one.distance_matrix_fast if flat else many.distance_matrix_fast
        threads = "OpenMP" if self.parallel else "one thread"
        return Call(
            lambda: matrix(together, block=block, compact=True, parallel=self.parallel),
            lambda flat: (np.square(np.asarray(flat)).reshape(spec.num_x, spec.num_y),),
            "float64",
            f"C distance_matrix_fast, {threads}",
        )

    def barycenter(self, spec: BarycenterSpec, series: np.ndarray) -> Call | None:
        """Its loop around the C update, without the early stop."""
        averaging = importlib.import_module("dtaidistance.dtw_barycenter")
        series = _wide(series)
        return Call(
            lambda: averaging.dba_loop(
                series, series[0].copy(), max_it=spec.num_iters, thr=None, use_c=True
            ),
            lambda center: (center,),
            "float64",
            "C dba_loop(thr=None)",
        )


class Ott(Peer):
    """Soft-DTW on jax: vmapped and jitted, gradients by jax."""

    name, distribution = "ott-jax", "ott-jax"
    modules = ("ott.geometry.costs",)

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Soft values and gradients."""
        if spec.gamma is None:
            return None
        costs = importlib.import_module("ott.geometry.costs")
        distance = costs.SoftDTW(gamma=spec.gamma)
        batched = jax.vmap(distance)
        if spec.all_pairs:
            batched = jax.vmap(jax.vmap(distance, (None, 0)), (0, None))
        function: Callable[..., Any] = batched
        if spec.gradient:
            function = jax.value_and_grad(lambda a, b: batched(a, b).sum(), argnums=(0, 1))
        return on_jax(function, (x, y), "jit(vmap(costs.SoftDTW))")


PEERS: tuple[type[Peer], ...] = (
    Aeon,
    Tslearn,
    TslearnTorch,
    TslearnTorch64,
    Dtaidistance,
    Ott,
    Pysdtw,
    Pysdtw64,
)


def load(peers: tuple[type[Peer], ...] = PEERS) -> tuple[list[Peer], dict[str, str]]:
    """Imports what is installed.

    Returns:
        The usable peers, and for each of the others why it is not.
    """
    found, missing = [], {}
    for peer in peers:
        try:
            found.append(peer())
        except ImportError as error:
            missing[peer.name] = f"not installed ({error})"
    return found, missing


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _values(result: Any) -> Arrays:
    return (np.atleast_1d(result),)


def _squared(result: Any) -> Arrays:
    return (np.atleast_1d(np.square(result)),)


def _to_numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _channels_first(series: np.ndarray) -> np.ndarray:
    """``[N, F, T]``."""
    return np.ascontiguousarray(series.transpose(0, 2, 1))


def _paired(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs as two batches of the same length, left slowest."""
    return np.repeat(x, len(y), axis=0), np.tile(y, (len(x), 1, 1))
