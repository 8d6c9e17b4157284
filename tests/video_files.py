"""Videos on disk for tests, written by PyAV."""

from fractions import Fraction

import av


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
