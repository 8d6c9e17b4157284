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


DTW_PAIRS_D1 = AlignmentSpec("dtw-pairs-100x100-t100-d1", 100, 100, 100, 1, all_pairs=True)
DTW_PAIRS_D6 = AlignmentSpec("dtw-pairs-100x100-t100-d6", 100, 100, 100, 6, all_pairs=True)
DTW_ONE_T1000 = AlignmentSpec("dtw-one-t1000", 1, 1, 1000, 1)
DTW_ONE_T4000 = AlignmentSpec("dtw-one-t4000", 1, 1, 4000, 1)
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

ALIGNMENTS = (
    DTW_PAIRS_D1,
    DTW_PAIRS_D6,
    DTW_ONE_T1000,
    DTW_ONE_T4000,
    SOFT_B32_T64,
    SOFT_B32_T256,
    SOFT_B8_T1024,
    SOFT_PAIRS,
    SOFT_B32_T512,
    SOFT_B32_T2048,
)


@dataclasses.dataclass(frozen=True)
class BarycenterSpec:
    """One set of series averaged by DBA, from its first series on.

    Attributes:
        name: short name.
        num_series: series in the set.
        num_frames: frames of a series and of the barycenter.
        num_features: features of a frame.
        num_iters: updates of the barycenter.
    """

    name: str
    num_series: int
    num_frames: int
    num_features: int
    num_iters: int


DBA_20 = BarycenterSpec("dba-20-t100-d6", 20, 100, 6, 10)

BARYCENTERS = (DBA_20,)


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
