"""Makes `silhouettes.npz` from the files that animal_mnist 0.4 ships; see the README beside it.

Usage: python experiments/data/make_silhouettes.py path/to/animal_mnist/data/Animal_MNIST
"""

import gzip
import hashlib
import pickletools
import sys
from pathlib import Path

import numpy as np

SOURCES = {
    "animal_data_version_3.gz": "68a30346781a0984f839463a4615d2decb899d1ce65091bb92586311754a34ce",
    "animal_label_version_3.gz": "dec8dba7c469830989fbab46825021a08a38470753a512f27ada847eced97b57",
}
TARGET = Path(__file__).resolve().parent / "silhouettes.npz"
PER_CLASS, SIDE, LEVELS = 150, 28, 16
LEAST_DIFFERENCE = 0.05  # of two images that are kept, per pixel, also mirrored


def make(folder: Path, target: Path) -> str:
    """Writes the small file and returns its sha256.

    Args:
        folder: holds the two files of `SOURCES`.
        target: where to write.

    Raises:
        ValueError: a file is another one than that of animal_mnist 0.4.
    """
    pixels, classes = (_array(folder / name, sha256) for name, sha256 in SOURCES.items())
    images = np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
    labels = np.frombuffer(classes, "<i8")
    chosen = np.sort(np.concatenate([_choose(images, labels, label) for label in range(10)]))
    levels = np.round(images[chosen] / 255 * (LEVELS - 1)).astype(np.uint8)
    packed = levels[:, :, ::2] * LEVELS + levels[:, :, 1::2]  # two pixels a byte
    # Entries of a .npz carry no date, so the same arrays give the same bytes.
    np.savez_compressed(target, packed=packed, labels=labels[chosen].astype(np.uint8))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _array(path: Path, sha256: str) -> bytes:
    """The bytes of the array in a pickle, found by its opcodes: nothing in it is run."""
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise ValueError(f"{path}: sha256 {found}, that of animal_mnist 0.4 is {sha256}")
    arguments = (argument for _, argument, _ in pickletools.genops(gzip.decompress(raw)))
    return max((a for a in arguments if isinstance(a, bytes)), key=len)


def _choose(images: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    """Draws images of a class, none of them nearly a copy or a mirrored copy of another."""
    rows = np.random.default_rng(label).permutation(np.flatnonzero(labels == label))
    kept: list[int] = []
    for row in rows:
        image = images[row] / 255
        others = images[kept] / 255
        nearest = min(
            float(np.abs(others - one).mean(axis=(1, 2)).min(initial=1))
            for one in (image, image[:, ::-1])
        )
        if nearest >= LEAST_DIFFERENCE:
            kept.append(int(row))
        if len(kept) == PER_CLASS:
            return np.array(kept)
    raise ValueError(f"class {label}: only {len(kept)} images that differ enough")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{make(Path(sys.argv[1]), TARGET)}  {TARGET.name}")
