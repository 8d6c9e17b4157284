"""Makes `surveillance.mp4` from OpenCV's `vtest.avi`; see the README beside it.

Usage: python experiments/data/make_surveillance.py path/to/opencv-doc/examples/data/vtest.avi
"""

import hashlib
import sys
from pathlib import Path

import av

SOURCE_SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
TARGET = Path(__file__).resolve().parent / "surveillance.mp4"
WIDTH, HEIGHT = 192, 144


def make(source: Path, target: Path) -> str:
    """Writes the small video and returns its sha256.

    Args:
        source: OpenCV's `vtest.avi`.
        target: where to write.

    Raises:
        ValueError: `source` is another file than the one of OpenCV 4.6.0.
    """
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"{source}: sha256 {found}, that of OpenCV 4.6.0 is {SOURCE_SHA256}")
    # No dates and no encoder's name in the file, one thread: the same library, the same bytes.
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "24", "preset": "veryslow", "threads": "1"}
        count = 0
        for frame in old.decode(video=0):
            small = frame.reformat(WIDTH, HEIGHT, "yuv420p", interpolation="AREA")
            small.pts = None
            new.mux(stream.encode(small))
            count += 1
        new.mux(stream.encode())
    print(f"{count} frames, {target.stat().st_size:,} bytes")
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{make(Path(sys.argv[1]), TARGET)}  {TARGET.name}")
