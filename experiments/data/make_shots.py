"""Makes the shots in `shots/` from videos of packages; see the README beside it.

Usage: python experiments/data/make_shots.py FOLDER

FOLDER holds, at any depth, the files that `SOURCES` names, as the packages have them.
"""

import hashlib
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

TARGET = Path(__file__).resolve().parent / "shots"
SHORTER_SIDE = 144


class Source(NamedTuple):
    """A video of a package, and what of it becomes shots.

    Attributes:
        recording: the folder of the shots. What was filmed together, and what is of the same film,
            stands together.
        file: how its path ends.
        sha256: how that of its content begins.
        every: of so many frames one is taken.
        rate: frames a second that are left.
        shots: first and last frame of each, counted in the file, without cuts, fades and titles.
    """

    recording: str
    file: str
    sha256: str
    every: int
    rate: int
    shots: tuple[tuple[int, int], ...]


def _cameras(demo: str, digests: str) -> tuple[Source, ...]:
    return tuple(
        Source("laboratory", f"{demo}/videos/cam0{number}.mp4", digest, 4, 15, ((0, 99),))
        for number, digest in enumerate(digests.split(), 1)
    )


SOURCES = (
    # The recording stalls at frame 405.
    Source("campus", "data/vtest.avi", "45cddc9490be", 1, 10, ((0, 399),)),
    Source("tree", "data/tree.avi", "4666099d0f70", 1, 15, ((0, 67),)),
    Source("garden", "Demo/demo.mp4", "d9a664171856", 2, 15, ((0, 163), (184, 229))),
    *_cameras("Demo_SinglePerson", "cf4f2816c86b 94ff87cf978b b8b329f832f1 b5c0e7863fd7"),
    *_cameras("Demo_MultiPerson", "543cee6a4c2c 8895092a7cf2 d3daf48cdf9f 1490149dc40e"),
    Source("towers", "widgets/cityCC0.mpg", "fe129d341e5b", 2, 12, ((0, 115), (116, 189))),
    Source(
        "sintel", "examples/sintel_trailer-720p.mp4", "cb0fe73fc0a7", 2, 12,
        ((146, 196), (300, 333), (334, 365), (571, 620), (621, 657), (790, 830), (870, 930)),
    ),
    Source(
        "bunny", "moviepy_10_minutes/trailer_bbb.mp4", "ce0d2ba68822", 2, 12,
        ((596, 746), (864, 899), (906, 986), (988, 1048), (1064, 1104)),
    ),
    Source("bunny", "data/bigbuckbunny.mp4", "f25b31f15597", 2, 12, ((0, 131),)),
)  # fmt: skip


def make(folder: Path, target: Path) -> list[Path]:
    """Writes all shots and returns their paths.

    Args:
        folder: holds the files of the packages.
        target: where to write.

    Raises:
        ValueError: a file is not there, or is not the one that the shots were chosen in.
    """
    written: list[Path] = []
    for source in SOURCES:
        file = _find(folder, source)
        for first, last in source.shots:
            in_folder = target / source.recording
            in_folder.mkdir(parents=True, exist_ok=True)
            number = sum(path.parent == in_folder for path in written) + 1
            written.append(in_folder / f"{number:02}.mp4")
            _write(file, written[-1], source, first, last)
    return written


def _find(folder: Path, source: Source) -> Path:
    paths = [path for path in folder.rglob("*") if path.as_posix().endswith(source.file)]
    for path in sorted(paths):
        if hashlib.sha256(path.read_bytes()).hexdigest().startswith(source.sha256):
            return path
    raise ValueError(f"{folder}: holds no {source.file} with the sha256 {source.sha256}...")


def _write(old: Path, new: Path, source: Source, first: int, last: int) -> None:
    """Writes frames of a video, smaller, each by itself.

    Frames that are predicted from others would tell the direction in which they were encoded.
    """
    # No dates and no encoder's name in the file, one thread: the same library, the same bytes.
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(old)) as reader, av.open(str(new), "w", options=options) as writer:
        stream = writer.add_stream("libx264", rate=source.rate)
        for number, frame in enumerate(reader.decode(video=0)):
            if number > last:
                break
            if number < first or (number - first) % source.every:
                continue
            scale = SHORTER_SIDE / min(frame.width, frame.height)
            width, height = (2 * round(side * scale / 2) for side in (frame.width, frame.height))
            if number == first:
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.options = {"crf": "27", "preset": "veryslow", "threads": "1", "g": "1"}
            small = frame.reformat(width, height, "yuv420p", interpolation="AREA")
            small.pts = (number - first) // source.every
            small.time_base = Fraction(1, source.rate)
            writer.mux(stream.encode(small))
        writer.mux(stream.encode())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sums = "".join(
        f"{hashlib.sha256(shot.read_bytes()).hexdigest()}  {shot.relative_to(TARGET).as_posix()}\n"
        for shot in make(Path(sys.argv[1]), TARGET)
    )
    (TARGET / "sha256.txt").write_text(sums)
    print(sums, end="")
