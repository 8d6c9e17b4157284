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


K400 = DejaVidSpec("k400", 400, 8, 1808, 33, 48, 240_436, 19_787, 1e-3, 156.0)
SSV2 = DejaVidSpec("ssv2", 174, 8, 6328, 40, 48, 168_913, 24_777, 1e-3, 297.0)
HMDB51 = DejaVidSpec("hmdb51", 51, 8, 1459, 33, 48, 3_570, 1_530, 8e-3, 1.01)

DEJAVID = {spec.name: spec for spec in (K400, SSV2, HMDB51)}
