"""Real problem sizes by name, shared by tests, benchmarks and the throughput experiment."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DejaVidSpec:
    """One data set of the DejaVid paper (Ho and Madden, CVPR 2025, Sec. 4 and Table 4).

    Attributes:
        name: short name.
        num_classes: N_c.
        num_steps: T_c, steps of a centroid.
        num_features: N_f, encoder embedding and logits together.
        num_frames: T, frames of a sequence of embeddings (typical, where it varies).
        batch: training batch size.
        num_train: training videos.
        num_val: validation videos.
        log_weight_lr: learning rate of the log-weights; the centroids' is a third.
        paper_epoch_seconds: the paper's seconds per training epoch, on eight H100.
    """

    name: str
    num_classes: int
    num_steps: int
    num_features: int
    num_frames: int
    batch: int
    num_train: int
    num_val: int
    log_weight_lr: float
    paper_epoch_seconds: float

    @property
    def steps_per_epoch(self) -> int:
        """Training steps of an epoch."""
        return -(-self.num_train // self.batch)

    @property
    def cost_instructions(self) -> int:
        """Float32 instructions that the costs of a step cannot do without.

        A subtraction and a multiply-add for each feature of each centroid step and frame.
        """
        rows, columns = self.num_classes * self.num_steps, self.batch * self.num_frames
        return 2 * rows * columns * self.num_features


K400 = DejaVidSpec("k400", 400, 8, 1808, 33, 48, 240_436, 19_787, 1e-3, 156.0)
SSV2 = DejaVidSpec("ssv2", 174, 8, 6328, 40, 48, 168_913, 24_777, 1e-3, 297.0)
HMDB51 = DejaVidSpec("hmdb51", 51, 8, 1459, 33, 48, 3_570, 1_530, 8e-3, 1.01)

DEJAVID = {spec.name: spec for spec in (K400, SSV2, HMDB51)}


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


@dataclasses.dataclass(frozen=True)
class Card:
    """A GPU, as a compiler is told about it.

    Attributes:
        name: what jax calls it (``device_kind``).
        capability: compute capability.
        cores: streaming multiprocessors.
        lanes: float32 instructions that each issues a cycle.
        clock_ghz: at full speed.
        bandwidth: of memory, bytes a second.
        memory: bytes.
        l2: bytes of the last cache.
        shared_core: bytes of shared memory of a multiprocessor.
        shared_block: bytes of it that one block can have.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    clock_ghz: float
    bandwidth: int
    memory: int
    l2: int
    shared_core: int
    shared_block: int

    @property
    def float32_rate(self) -> float:
        """Float32 instructions a second, counted for each lane."""
        return self.cores * self.lanes * self.clock_ghz * 1e9


CARDS = {
    "h200": Card(
        "NVIDIA H200",
        *((9, 0), 132, 128, 1.98, 4_800_000_000_000),
        *(150_754_820_096, 52_428_800, 233_472, 232_448),
    ),
    "a100": Card(
        "NVIDIA A100-SXM4-80GB",
        *((8, 0), 108, 64, 1.41, 2_039_000_000_000),
        *(85_899_345_920, 41_943_040, 167_936, 166_912),
    ),
}
