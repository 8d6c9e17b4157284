"""Sizes of the DejaVid data sets and cards by name, shared by tests, benchmark and experiments."""

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
        link: bytes a second that it sends to other cards of its machine (NVLink).
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
    link: int

    @property
    def float32_rate(self) -> float:
        """Float32 instructions a second, counted for each lane."""
        return self.cores * self.lanes * self.clock_ghz * 1e9


CARDS = {
    "h200": Card(
        "NVIDIA H200",
        *((9, 0), 132, 128, 1.98, 4_800_000_000_000),
        *(150_754_820_096, 52_428_800, 233_472, 232_448, 450_000_000_000),
    ),
    "a100": Card(
        "NVIDIA A100-SXM4-80GB",
        *((8, 0), 108, 64, 1.41, 2_039_000_000_000),
        *(85_899_345_920, 41_943_040, 167_936, 166_912, 300_000_000_000),
    ),
}
