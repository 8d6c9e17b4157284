"""Sizes of what the benchmark times, by name; those of DejaVid are in `kernels.gpu.specs`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class AlignmentSpec:
    """Distances between sequences.

    Attributes:
        name: short name.
        num_x: sequences on the left.
        num_y: sequences on the right.
        num_frames: frames of every sequence.
        num_features: features of a frame.
        gamma: temperature of soft-DTW; None is the hard DTW.
        all_pairs: every left sequence against every right one, else the k-th against the k-th.
        gradient: the summed value and its gradients in both sides, instead of the values.
        long: too long for a CPU; run on a GPU, or when asked for by name.
        band: largest distance from the diagonal; None: the whole matrix.
        dtype: of the sequences, and what ours computes in. Where it is float64, only peers that
            compute in float64 take part.
        on_xla: whether XLA takes part: a single pair of very long sequences needs gigabytes there.
        eager: call ours outside of `jax.jit`.
    """

    name: str
    num_x: int
    num_y: int
    num_frames: int
    num_features: int
    gamma: float | None = None
    all_pairs: bool = False
    gradient: bool = False
    long: bool = False
    band: int | None = None
    dtype: str = "float32"
    on_xla: bool = True
    eager: bool = False

    @property
    def num_pairs(self) -> int:
        """Pairs that are compared."""
        return self.num_x * self.num_y if self.all_pairs else self.num_x

    @property
    def num_cells(self) -> int:
        """Cells of all pairs, those outside of the band left out."""
        frames = self.num_frames
        if self.band is None:
            return self.num_pairs * frames**2
        outside = max(0, frames - 1 - self.band)
        return self.num_pairs * (frames**2 - outside * (outside + 1))

    @property
    def num_bytes(self) -> int:
        """Bytes that must be read and written at least: sequences, and values or gradients."""
        sides = (self.num_x + self.num_y) * self.num_frames * self.num_features
        numbers = 2 * sides + 1 if self.gradient else sides + self.num_pairs
        return numbers * (8 if self.dtype == "float64" else 4)


DTW_PAIRS_D1 = AlignmentSpec("dtw-pairs-100x100-t100-d1", 100, 100, 100, 1, all_pairs=True)
DTW_PAIRS_D6 = AlignmentSpec("dtw-pairs-100x100-t100-d6", 100, 100, 100, 6, all_pairs=True)
DTW_ONE_T1000 = AlignmentSpec("dtw-one-t1000", 1, 1, 1000, 1)
DTW_ONE_T4000 = AlignmentSpec("dtw-one-t4000", 1, 1, 4000, 1)
DTW_ONE_T20000 = AlignmentSpec("dtw-one-t20000", 1, 1, 20_000, 1, on_xla=False)
DTW_BANDED = AlignmentSpec("dtw-banded-r10-t4000", 1, 1, 4000, 1, band=10)
SOFT_B32_T64 = AlignmentSpec("soft-grad-b32-t64", 32, 32, 64, 16, 1.0, gradient=True)
SOFT_B32_T256 = AlignmentSpec("soft-grad-b32-t256", 32, 32, 256, 16, 1.0, gradient=True)
SOFT_B8_T1024 = AlignmentSpec("soft-grad-b8-t1024", 8, 8, 1024, 16, 1.0, gradient=True)
SOFT_PAIRS = AlignmentSpec("soft-pairs-64x64-t64", 64, 64, 64, 16, 1.0, all_pairs=True)
SOFT_B32_T512 = AlignmentSpec(
    "long-soft-grad-b32-t512", 32, 32, 512, 64, 1.0, gradient=True, long=True
)
SOFT_B32_T2048 = AlignmentSpec(
    "long-soft-grad-b32-t2048", 32, 32, 2048, 64, 1.0, gradient=True, long=True
)
# What a call costs where there is hardly anything to do.
CALL_JITTED = AlignmentSpec("call-dtw-8x8-jitted", 1, 1, 8, 1)
CALL_EAGER = AlignmentSpec("call-dtw-8x8-eager", 1, 1, 8, 1, eager=True)


def in_float64(spec: AlignmentSpec) -> AlignmentSpec:
    """The same in float64."""
    return dataclasses.replace(spec, name=f"{spec.name}-f64", dtype="float64")


ALIGNMENTS = (
    DTW_PAIRS_D1,
    DTW_PAIRS_D6,
    DTW_ONE_T1000,
    DTW_ONE_T4000,
    DTW_ONE_T20000,
    DTW_BANDED,
    SOFT_B32_T64,
    SOFT_B32_T256,
    SOFT_B8_T1024,
    SOFT_PAIRS,
    *map(in_float64, (DTW_PAIRS_D1, DTW_PAIRS_D6, DTW_ONE_T1000, DTW_ONE_T4000)),
    *map(in_float64, (SOFT_B32_T64, SOFT_B32_T256, SOFT_B8_T1024)),
    CALL_JITTED,
    CALL_EAGER,
    SOFT_B32_T512,
    SOFT_B32_T2048,
)


@dataclasses.dataclass(frozen=True)
class BarycenterSpec:
    """One set of series averaged, from a series of the set on.

    Attributes:
        name: short name.
        num_series: series in the set.
        num_frames: frames of a series and of the barycenter.
        num_features: features of a frame.
        num_iters: updates of the barycenter, or most iterations of L-BFGS.
        gamma: temperature of the soft-DTW barycenter, which starts from the mean; None: DBA, which
            starts from the first series.
    """

    name: str
    num_series: int
    num_frames: int
    num_features: int
    num_iters: int
    gamma: float | None = None

    @property
    def num_cells(self) -> int:
        """Cells that are visited, once for each series and iteration."""
        return self.num_series * self.num_frames**2 * self.num_iters

    @property
    def num_bytes(self) -> int:
        """Bytes of the series, read once an iteration."""
        return 4 * self.num_series * self.num_frames * self.num_features * self.num_iters


DBA_20 = BarycenterSpec("dba-20-t100-d6", 20, 100, 6, 10)
DBA_500 = BarycenterSpec("dba-500-t500-d1", 500, 500, 1, 5)
SOFT_BARYCENTER = BarycenterSpec("soft-barycenter-50-t100-d1", 50, 100, 1, 50, gamma=1.0)

SOFT_BARYCENTER_TOLERANCE = 1e-6  # of the objective, for everybody's L-BFGS

BARYCENTERS = (DBA_20, DBA_500, SOFT_BARYCENTER)


@dataclasses.dataclass(frozen=True)
class EpisodeSpec:
    """A batch of few-shot episodes: every query against every support of its episode.

    Attributes:
        name: short name.
        num_ways: classes of an episode.
        num_shots: supports of a class.
        num_queries: queries of an episode.
        num_frames: frames of every video.
        num_features: features of a frame.
        gamma: temperature.
        num_episodes: episodes of a batch on a GPU.
        gradient: the summed scores and their gradients in both sides, instead of the scores.
    """

    name: str
    num_ways: int
    num_shots: int
    num_queries: int
    num_frames: int
    num_features: int
    gamma: float
    num_episodes: int
    gradient: bool


TAM_SCORE = EpisodeSpec("tam-5way-5shot", 5, 5, 25, 8, 2048, 0.1, 512, False)
TAM_GRAD = EpisodeSpec("tam-grad-5way-5shot", 5, 5, 25, 8, 2048, 0.1, 512, True)

EPISODES = (TAM_SCORE, TAM_GRAD)
