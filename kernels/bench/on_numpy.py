"""Peers that take NumPy arrays: numba, C, Rust."""

import importlib
import importlib.metadata
import importlib.util
import pickle
import subprocess
import sys
import weakref
from typing import Any

import numpy as np

from tempalign.kernels.bench.contenders import Arrays, Call, Peer
from tempalign.kernels.bench.specs import (
    SOFT_BARYCENTER_TOLERANCE,
    AlignmentSpec,
    BarycenterSpec,
)


class Aeon(Peer):
    """Numba, threads over pairs."""

    name = distribution = "aeon"
    modules = ("aeon.distances", "aeon.clustering.averaging")

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard and soft values; it has no gradients."""
        distances = importlib.import_module("aeon.distances")
        if spec.gradient:
            return None
        x, y = channels_first(x), channels_first(y)  # float32 is its faster one, where it is asked
        if spec.all_pairs:
            if spec.gamma is None:
                run = lambda: distances.dtw_pairwise_distance(x, y, n_jobs=-1)  # noqa: E731
                how = "dtw_pairwise_distance(n_jobs=-1)"
            else:
                run = lambda: distances.soft_dtw_pairwise_distance(  # noqa: E731
                    x, y, gamma=spec.gamma, n_jobs=-1
                )
                how = "soft_dtw_pairwise_distance(n_jobs=-1)"
            return Call(run, values, spec.dtype, how)
        if spec.num_x == 1 and spec.gamma is None:
            window = None if spec.band is None else (spec.band + 0.5) / spec.num_frames
            return Call(
                lambda: distances.dtw_distance(x[0], y[0], window=window),
                values,
                spec.dtype,
                "dtw_distance" if window is None else "dtw_distance(window)",
            )
        return None

    def barycenter(self, spec: BarycenterSpec, series: np.ndarray) -> Call | None:
        """Its Petitjean averaging, without the early stop; no minimiser of soft-DTW."""
        averaging = importlib.import_module("aeon.clustering.averaging")
        cases = channels_first(wide(series))
        if spec.gamma is not None:
            return Call(
                lambda: averaging.subgradient_barycenter_average(
                    cases,
                    distance="soft_dtw",
                    gamma=spec.gamma,
                    init_barycenter=cases.mean(0),
                    max_iters=spec.num_iters,
                    tol=SOFT_BARYCENTER_TOLERANCE,
                    random_state=0,
                ),
                lambda center: (center.T,),
                "float64",
                "subgradient_barycenter_average(distance='soft_dtw'): along hard paths",
            )
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
        x, y = wide(x), wide(y)
        if spec.gamma is None:
            if spec.num_frames > 5000:
                return None  # gigabytes
            if spec.all_pairs:
                return Call(lambda: metrics.cdist_dtw(x, y), squared, "float64", "cdist_dtw")
            if spec.band is None:
                return Call(lambda: metrics.dtw(x[0], y[0]), squared, "float64", "dtw")
            return Call(
                lambda: metrics.dtw(
                    x[0],
                    y[0],
                    global_constraint="sakoe_chiba",
                    sakoe_chiba_radius=spec.band,
                ),
                squared,
                "float64",
                "dtw(sakoe_chiba_radius)",
            )
        if spec.all_pairs:
            return Call(
                lambda: metrics.cdist_soft_dtw(x, y, gamma=spec.gamma),
                values,
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
        """Its majorize-minimize DBA, without the early stop; L-BFGS of scipy for soft-DTW."""
        barycenters = importlib.import_module("tslearn.barycenters")
        series = wide(series)
        if spec.gamma is not None:
            return Call(
                lambda: barycenters.softdtw_barycenter(
                    series,
                    gamma=spec.gamma,
                    max_iter=spec.num_iters,
                    tol=SOFT_BARYCENTER_TOLERANCE,
                    init=series.mean(0),
                ),
                lambda center: (center,),
                "float64",
                "softdtw_barycenter",
            )
        return Call(
            lambda: barycenters.dtw_barycenter_averaging(
                series, init_barycenter=series[0], max_iter=spec.num_iters, tol=0.0
            ),
            lambda center: (center,),
            "float64",
            "dtw_barycenter_averaging(tol=0)",
        )


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
        x, y = wide(x), wide(y)
        flat = spec.num_features == 1
        if flat:
            x, y = x[..., 0], y[..., 0]
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        if not spec.all_pairs:
            distance = one.distance_fast if flat else many.distance_fast
            band = {} if spec.band is None else {"window": spec.band + 1}
            how = f"C distance_fast{'(window)' if band else ''}"
            return Call(lambda: distance(x[0], y[0], **band), squared, "float64", how)
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
        if spec.gamma is not None:
            return None
        averaging = importlib.import_module("dtaidistance.dtw_barycenter")
        series = wide(series)
        return Call(
            lambda: averaging.dba_loop(
                series, series[0].copy(), max_it=spec.num_iters, thr=None, use_c=True
            ),
            lambda center: (center,),
            "float64",
            "C dba_loop(thr=None)",
        )


class Tsdistances(Peer):
    """Rust, threads over pairs; one feature."""

    name = distribution = "tsdistances"
    modules = ("tsdistances",)

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard values of all pairs."""
        if spec.gamma is not None or spec.num_features > 1 or spec.band is not None:
            return None
        distances = importlib.import_module("tsdistances")
        x, y = (np.ascontiguousarray(wide(side)[..., 0]) for side in (x, y))
        return Call(
            lambda: distances.dtw_distance(x, y), values, "float64", "dtw_distance, all pairs"
        )


class DtwPython(Peer):
    """C behind R's interface, in a process of its own.

    It is under the GPL, and nothing of the project imports it: another Python does, which is told
    what to compute through a pipe (some tens of microseconds a call).
    """

    name = distribution = "dtw-python"
    modules = ()

    def __init__(self) -> None:
        """Looks for it, without importing it."""
        if importlib.util.find_spec("dtw") is None:
            raise ImportError("No module named 'dtw'")
        try:
            importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError as error:
            raise ImportError(str(error)) from None

    def alignment(self, spec: AlignmentSpec, x: np.ndarray, y: np.ndarray) -> Call | None:
        """Hard values of one pair; it has no others, and long pairs would take gigabytes."""
        fits = 10 < spec.num_frames <= 5000 and spec.num_pairs == 1
        if spec.gamma is not None or not fits:
            return None
        apart = Apart(_DTW_PYTHON)
        apart.ask((wide(x[0]), wide(y[0]), spec.band))
        return Call(
            lambda: apart.ask(None),
            lambda found: (np.reshape(found, (1,)),),
            "float64",
            "dtw(distance_only=True) in another process",
        )


# Keeps what it is sent, and answers None with the distance of that.
_DTW_PYTHON = """
import contextlib, pickle, sys
answers, sys.stdout = sys.stdout.buffer, sys.stderr
with contextlib.redirect_stdout(sys.stderr):
    import dtw
while True:
    try:
        asked = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    if asked is None:
        x, y, band = given
        window = {} if band is None else {
            "window_type": "sakoechiba", "window_args": {"window_size": band}}
        answer = dtw.dtw(x, y, distance_only=True, step_pattern="symmetric1",
                         dist_method="sqeuclidean", **window).distance
    else:
        given, answer = asked, None
    pickle.dump(answer, answers)
    answers.flush()
"""


class Apart:
    """Another Python that runs a program and is talked to in pickles."""

    def __init__(self, program: str) -> None:
        """Starts it; it ends with this process, or before."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, self._process.terminate)

    def ask(self, question: Any) -> Any:
        """Its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        pickle.dump(question, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


def wide(array: np.ndarray) -> np.ndarray:
    """As float64."""
    return array.astype(np.float64)


def values(result: Any) -> Arrays:
    """One array of values."""
    return (np.atleast_1d(result),)


def squared(result: Any) -> Arrays:
    """Likewise, of those who take the square root."""
    return (np.atleast_1d(np.square(result)),)


def channels_first(series: np.ndarray) -> np.ndarray:
    """``[N, F, T]``."""
    return np.ascontiguousarray(series.transpose(0, 2, 1))
