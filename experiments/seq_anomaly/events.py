"""Events planted in a real video, and clips with such events: seeded, pure NumPy.

Two kinds of event. Those of time change which frame of the video is shown: `fast` (three at a
time), `rewind` (two at a time, backwards) and `freeze`; the clip goes on from where they end, so
nothing jumps. Those of the picture change the pixels: `dim` (sudden darkness), `shake` (the camera
is jolted) and `vehicle` (a parked van of the same video, cut out, drives across it).
"""

from typing import NamedTuple

import numpy as np

from experiments.seq_anomaly.dataset import Event

KINDS = ("fast", "rewind", "freeze", "dim", "shake", "vehicle")
CLIP_FRAMES = 64
SHORTEST, LONGEST = 8, 14  # frames of an event
_SPEED = {"fast": 3, "rewind": -2, "freeze": 0}
_BRIGHTNESS = 0.55
_JOLT = 3  # pixels
_VAN = (slice(10, 24), slice(162, 178))  # rows and columns of the parked van, of 144 x 192
_VAN_SCALE = 2


class Clip(NamedTuple):
    """What to show.

    Attributes:
        id: its name.
        frames: int [T], the frame of the video that is shown at each time.
        events: what is planted.
        seed: of the details of the events.
    """

    id: str
    frames: np.ndarray
    events: tuple[Event, ...]
    seed: int


def make_clips(name: str, first: int, last: int, count: int, seed: int) -> list[Clip]:
    """Cuts clips from a part of the video; every third has no event, the others have two.

    All kinds are equally frequent, up to one. Clips of one part overlap in the video's frames.

    Args:
        name: begins the ids.
        first: first frame of the part.
        last: its last frame.
        count: number of clips.
        seed: of everything that is drawn.

    Returns:
        The clips.
    """
    rng = np.random.default_rng(seed)
    clips = []
    kinds: list[str] = []
    for index in range(count):
        if index % 3 == 2:
            events: tuple[Event, ...] = ()
        else:
            if len(kinds) < 2:  # all kinds once before any of them again
                kinds += rng.permutation(KINDS).tolist()
            events = _place(kinds[:2], rng)
            kinds = kinds[2:]
        frames = positions(events)
        low, high = first - frames.min(), last - frames.max()
        start = int(rng.integers(low, high + 1))
        clips.append(Clip(f"{name}{index:02d}", start + frames, events, int(rng.integers(2**31))))
    return clips


def _place(kinds: list[str], rng: np.random.Generator) -> tuple[Event, ...]:
    """One event in each half of a clip, normal frames before, between and behind."""
    half = CLIP_FRAMES // 2
    events = []
    for index, kind in enumerate(kinds):
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        start = half * index + int(rng.integers(4, half - length - 3))
        events.append(Event(kind, start, start + length))
    return tuple(events)


def positions(events: tuple[Event, ...]) -> np.ndarray:
    """Returns the frames [T] of the video that a clip shows, from 0 at its start."""
    speed = np.ones(CLIP_FRAMES - 1, int)  # from each frame of the clip to the next
    for event in events:
        speed[event.start - 1 : event.end - 1] = _SPEED.get(event.kind, 1)
    return np.concatenate([[0], np.cumsum(speed)])


def render(clip: Clip, video: np.ndarray) -> np.ndarray:
    """Returns the pictures uint8 [T, H, W, 3] of a clip.

    Args:
        clip: what to show.
        video: uint8 [N, 144, 192, 3].
    """
    shown = video[clip.frames]
    rng = np.random.default_rng(clip.seed)
    for event in clip.events:
        part = shown[event.start : event.end]
        if event.kind == "dim":
            part[:] = (part * _BRIGHTNESS).astype(np.uint8)
        elif event.kind == "shake":
            for frame, (dy, dx) in zip(part, _jolts(len(part), rng), strict=True):
                frame[:] = _shifted(frame, dy, dx)
        elif event.kind == "vehicle":
            _drive(part, rng)
    return shown


def _jolts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Shifts [count, 2] in pixels, none of them 0 in both directions."""
    shifts = rng.integers(-_JOLT, _JOLT + 1, (count, 2))
    shifts[(shifts == 0).all(axis=1)] = _JOLT
    return shifts


def _shifted(frame: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The frame moved by whole pixels; its edge is repeated."""
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(height) - dy, 0, height - 1)
    columns = np.clip(np.arange(width) - dx, 0, width - 1)
    return frame[rows][:, columns]


def _drive(part: np.ndarray, rng: np.random.Generator) -> None:
    """Pastes the van, enlarged, into consecutive frames, on a straight way across the picture."""
    van = part[0][_VAN].repeat(_VAN_SCALE, axis=0).repeat(_VAN_SCALE, axis=1)
    height, width = part.shape[1:3]
    top = int(rng.integers(height // 3, height - van.shape[0]))
    speed = int(rng.integers(5, 9)) * int(rng.choice((-1, 1)))
    left = int(rng.integers(0, width - van.shape[1] - abs(speed) * len(part)))
    if speed < 0:
        left = width - van.shape[1] - left
        van = van[:, ::-1]
    for step, frame in enumerate(part):
        x = left + speed * step
        frame[top : top + van.shape[0], x : x + van.shape[1]] = van
