"""Videos on disk for tests, written by PyAV."""

from fractions import Fraction

import av
import numpy as np


def write_video(
    path, frames, *, codec="ffv1", pixels="bgr0", rate=5, stamps=None, options=None, title=""
):
    """Writes uint8 [T, H, W, 3], without loss by default; returns the path.

    `stamps` are hundredths of seconds, `options` those of the container.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps is not None:
                stream.codec_context.time_base = frame.time_base = Fraction(1, 100)
                frame.pts = stamps[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_grey(path, frames, *, pixels="gray16le", rate=5):
    """Writes whole numbers [T, H, W] as they are, without loss; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = pixels
        for number, picture in enumerate(frames):
            frame = av.VideoFrame(picture.shape[1], picture.shape[0], pixels)
            dtype = np.uint8 if pixels == "gray" else np.uint16
            rows = np.zeros((len(picture), frame.planes[0].line_size // dtype().itemsize), dtype)
            rows[:, : picture.shape[1]] = picture
            frame.planes[0].update(rows.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
