"""Which frames each row of an embedding sequence stands for: a plan from the video's length alone.

A length is a number of frames ("16"), or a part of the video ("L/5"; "L" is all of it). There are
two arrangements:

- one width (`--window`): windows of that width, the first at frame 0 and the next each a stride
  later, up to the one that reaches the end of the video; the last may be cut there. A width of L/5
  and a stride of L/40 make T = 33 windows of any video; of one with fewer than 40 frames some
  windows are the same, and T stays 33.
- several widths (`--windows`): every stride there is a row, and for each width a window around that
  frame, cut at the ends of the video. With a stride of 1, T = L. A width of L is the whole video at
  every row.

The same window may come many times (all rows share the whole video). A plan lists every different
window once, in the order in which they are complete while the video is decoded.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from experiments.shared.errors import UserError

_LENGTH = re.compile(r"0*([1-9][0-9]{0,8})|L(?:/0*([1-9][0-9]{0,8}))?")


class Length(NamedTuple):
    """Frames as a fraction of the video and a number: `parts` is 0, or the length is L / parts."""

    frames: int
    parts: int = 0

    @classmethod
    def parse(cls, text: str, flag: str) -> "Length":
        """Reads "16", "L" or "L/5".

        Raises:
            UserError: it is none of them; names the flag.
        """
        match = _LENGTH.fullmatch(text.strip())
        if match is None:
            raise UserError(
                f"--{flag}={text}: must be a number of frames such as 16, L (the whole video) or a "
                "part of it such as L/5"
            )
        number, parts = match.groups()
        return cls(int(number)) if number else cls(0, int(parts or 1))

    def of(self, length: int) -> tuple[int, int]:
        """Returns the length in a video of L frames as numerator and denominator."""
        return (length, self.parts) if self.parts else (self.frames, 1)


@dataclass(frozen=True)
class Windows:
    """How windows are laid over a video of any length.

    Attributes:
        widths: of the windows of each row.
        stride: from one row to the next.
        centered: whether windows stand around the frame of their row, as several widths do.
    """

    widths: tuple[Length, ...]
    stride: Length
    centered: bool

    @classmethod
    def parse(cls, window: str, windows: tuple[str, ...], stride: str) -> "Windows":
        """Reads the three flags; `windows` wins over `window` where it is not empty.

        Raises:
            UserError: one of them is no length.
        """
        flag = "windows" if windows else "window"
        widths = tuple(Length.parse(text, flag) for text in windows or (window,))
        return cls(widths, Length.parse(stride, "stride"), bool(windows))

    def ends(self, length: int) -> np.ndarray:
        """Returns the first and the last frame of every window.

        Args:
            length: L, the number of frames of the video, at least 1.

        Returns:
            int64 ``[T, W, 2]``; first <= last, both in 0..L-1, neither ever decreases from one row
            to the next.
        """
        if self.centered:
            return self._centered(length)
        (width, width_by), (stride, stride_by) = self.widths[0].of(length), self.stride.of(length)
        rest = length * width_by - width  # over width_by: how far the first window can move
        count = 1 + max(-(-rest * stride_by // (width_by * stride)), 0)
        count = min(count, -(-length * stride_by // stride))  # strides may be wider than windows
        begin = np.arange(count, dtype=np.int64) * stride  # over stride_by
        first = begin // stride_by
        last = (begin * width_by + width * stride_by) // (width_by * stride_by) - 1
        return np.stack([first, np.clip(last, first, length - 1)], axis=-1)[:, None]

    def _centered(self, length: int) -> np.ndarray:
        stride, stride_by = self.stride.of(length)
        count = -(-length * stride_by // stride)
        middle = np.arange(count, dtype=np.int64) * stride // stride_by
        found = []
        for wanted in self.widths:
            number, by = wanted.of(length)
            width = max(number // by, 1)
            first = np.zeros_like(middle) if wanted.parts == 1 else middle - width // 2
            found.append(np.stack([first, first + width - 1], axis=-1).clip(0, length - 1))
        return np.stack(found, axis=1)


@dataclass(frozen=True)
class Plan:
    """What to decode of one video, and how its rows come of it.

    Attributes:
        length: L, its number of frames.
        ends: int64 ``[T, W, 2]``, see `Windows.ends`.
        windows: int64 ``[U, 2]``, every different window once, in the order of `ready`.
        rows: int64 ``[T, W]``, which of them each place of each row is.
        samples: int32 ``[U, k]``, the frames that stand for a window; None: all of them do.
        ready: int64 ``[U]``, the frame with which a window is complete.
    """

    length: int
    ends: np.ndarray
    windows: np.ndarray
    rows: np.ndarray
    samples: np.ndarray | None
    ready: np.ndarray

    @classmethod
    def of(cls, windows: Windows, length: int, frames: int | None) -> "Plan":
        """Plans a video of `length` frames for an encoder that takes `frames` of each window.

        The k frames of a window are the middles of its k equal parts; of a window of fewer than k
        frames some come more than once.
        """
        ends = windows.ends(length)
        names = ends[..., 0] * length + ends[..., 1]
        different, rows = np.unique(names, return_inverse=True)
        first, last = np.divmod(different, length)
        samples, ready = None, last
        if frames is not None:
            odd = 2 * np.arange(frames) + 1
            samples = first[:, None] + odd * (last - first + 1)[:, None] // (2 * frames)
            samples, ready = samples.astype(np.int32), samples[:, -1]
        order = np.lexsort((first, last, ready))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(
            length,
            ends,
            np.stack([first, last], axis=-1)[order],
            place[rows.reshape(ends.shape[:2])],
            None if samples is None else samples[order],
            ready[order],
        )

    def shared_ends(self) -> np.ndarray:
        """Returns int64 ``[T, 2]``: the frames that all windows of a row have in common."""
        first, last = self.ends[..., 0].max(axis=1), self.ends[..., 1].min(axis=1)
        return np.stack([first, np.maximum(first, last)], axis=-1)

    def covered(self) -> list[int]:
        """Returns the frames that are in a window, in order."""
        change = np.zeros(self.length + 1, np.int64)
        np.add.at(change, self.windows[:, 0], 1)
        np.subtract.at(change, self.windows[:, 1] + 1, 1)
        return np.flatnonzero(change.cumsum()).tolist()

    def last_users(self) -> np.ndarray:
        """Returns int64 ``[L]``: after which window a frame is of no more use; -1: it never is."""
        users = np.full(self.length, -1, np.int64)
        if self.samples is not None:
            numbers = np.arange(len(self.windows))
            np.maximum.at(users, self.samples, numbers[:, None])
        return users

    def most_kept(self) -> int:
        """Returns how many pictures must be held at once while the video is decoded."""
        users = self.last_users()
        frames = np.flatnonzero(users >= 0)
        change = np.zeros(self.length + 1, np.int64)
        change[frames] += 1
        np.subtract.at(change, self.ready[users[frames]] + 1, 1)
        return int(change.cumsum().max())
