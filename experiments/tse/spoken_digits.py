"""`--layout=spoken_digits`: the embedded demo data, 3000 spoken digits as sequences of 13 MFCC.

The data is the Free Spoken Digit Dataset, CC BY-SA 4.0; `experiments/data/README.md` has the
attribution and says how the file was made.
"""

from pathlib import Path

import numpy as np

from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.sources import ArraySource

DATA_FILE = Path(__file__).resolve().parents[1] / "data" / "spoken_digits.npz"

NUM_CLASSES = 10
TRAIN_PER_CLASS = 200
"""Of 300 recordings of each digit; the other 100 are the test split."""


def load(*, split_seed: int = 0) -> TseDataset:
    """Loads the spoken digits: 2000 train, 1000 test, every digit equally often in both.

    Args:
        split_seed: which recordings of a digit are trained on.

    Returns:
        The data set, in memory as float32; ids are the numbers of the recordings in the file.

    Raises:
        FileNotFoundError: the file is not there: not run from a checkout.
        ValueError: `split_seed` is negative.
    """
    if split_seed < 0:
        raise ValueError(f"split_seed: must not be negative, got {split_seed}")
    if not DATA_FILE.is_file():
        raise FileNotFoundError(f"{DATA_FILE}: no such file; the demo data is in the checkout only")
    with np.load(DATA_FILE, allow_pickle=False) as stored:
        frames, labels = stored["frames"].astype(np.float32), stored["labels"]
        lengths = stored["lengths"].astype(np.int32)
    sequences = np.split(frames, np.cumsum(lengths)[:-1])
    rng = np.random.default_rng(split_seed)
    orders = [rng.permutation(np.flatnonzero(labels == k)) for k in range(NUM_CLASSES)]

    def split(chosen: list[np.ndarray]) -> TseSplit:
        rows = np.sort(np.concatenate(chosen))
        ids = tuple(f"digits/{row:04d}" for row in rows)
        source = ArraySource([sequences[row] for row in rows], ids)
        return TseSplit(ids, labels[rows], source.lengths, source)

    return TseDataset(
        name="spoken digits",
        train=split([order[:TRAIN_PER_CLASS] for order in orders]),
        test=split([order[TRAIN_PER_CLASS:] for order in orders]),
        class_names=tuple(str(k) for k in range(NUM_CLASSES)),
        num_features=frames.shape[1],
        note=(
            f"seeded split (split_seed={split_seed}), stratified by digit. The same 6 speakers are "
            "in both halves, so this measures new recordings of known speakers, not new speakers; "
            "the file does not say who speaks."
        ),
    )
