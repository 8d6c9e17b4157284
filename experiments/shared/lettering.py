"""Texts in pictures that come from the user: never parsed, with fonts that have their characters.

Matplotlib would read `$...$` in a name as a formula, leave a name that begins with `_` out of
legends, and draw boxes for characters that its font does not have.
"""

import itertools
import unicodedata
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogFormatter

from experiments.shared.tables import display_width

FONT = "DejaVu Sans"  # comes with matplotlib

_LOST: WeakKeyDictionary[Figure, set[str]] = WeakKeyDictionary()


def label(text: str, width: int = 60) -> str:
    """Returns a name for a picture: one line, shortened in the middle, kept by legends.

    Args:
        text: the name; two that differ at the end alone stay apart.
        width: how many columns it may take (a Chinese or Japanese character takes two).
    """
    plain = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text).strip()
    if display_width(plain) > width:
        half = (width - 1) // 2
        plain = f"{_start(plain, width - 1 - half)}…{_start(plain[::-1], half)[::-1]}"
    # Matplotlib leaves names out of legends that begin with an underscore.
    return f"\u200b{plain}" if plain.startswith("_") else plain


def dress(figure: Figure) -> tuple[list[str], set[str]]:
    """Makes every text of a figure safe to draw; returns (fonts, characters that none of them has).

    Nothing is parsed, every character has a font where the system has one, and its code where not.
    A figure may be dressed again after more was drawn: what it lost before is returned as well.
    """
    axes: list[Any] = figure.findobj(Axis)
    for axis in axes:
        if axis.get_scale() == "log" and isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # no formulas
        axis.get_ticklabels()  # are made, and can be read
    texts: list[Any] = figure.findobj(Text)
    families, lost = fonts_for("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(families)
        if not lost.isdisjoint(text.get_text()):
            text.set_text(_spelled(text.get_text(), lost))
    for axis in axes:
        if any(not lost.isdisjoint(one.get_text()) for one in axis.get_ticklabels()):
            axis.set_major_formatter(_Spelled(axis.get_major_formatter(), lost))
    _LOST.setdefault(figure, set()).update(char for char in lost if not _invisible(char))
    return families, _LOST[figure]


def notes(lost: Collection[str]) -> tuple[str, ...]:
    """Returns what a reader of pictures must know of characters that could not be drawn."""
    if not lost:
        return ()
    shown = " ".join(sorted(lost)[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
    return (
        f"No font of this system that pictures can use has these characters: {shown}. They are "
        "replaced by their names or Unicode numbers, in brackets; with a font such as Noto Sans "
        "CJK or Noto Emoji (not the one in colour) they are drawn.",
    )


def readable(names: Iterable[str]) -> bool:
    """Returns whether names can be read in a picture: drawn, or spelled as words, not as codes."""
    lost = fonts_for("".join(names))[1]
    return all(_invisible(char) or _word(char) for char in lost)


def fonts_for(text: str) -> tuple[list[str], set[str]]:
    """Returns (font families, characters that no font of the system has) for a text."""
    base = font_manager.findfont(FONT)
    needed = frozenset(char for char in text if char != "\n" and ord(char) not in _charmap(base))
    families, lost = _other_fonts(needed, len(font_manager.fontManager.ttflist))
    return [FONT, *families], set(lost)


class _Spelled(FuncFormatter):
    """Another formatter's labels without the characters that cannot be drawn."""

    def __init__(self, formatter: Any, lost: set[str]) -> None:
        super().__init__(lambda value, place: _spelled(formatter(value, place), lost))


def _spelled(text: str, lost: Collection[str]) -> str:
    """A text with runs of characters that cannot be drawn as [what they show or codes]."""
    parts = []
    for gone, run in itertools.groupby(text, lambda char: char in lost):
        chars = list(run)
        if not gone:
            parts.append("".join(chars))
        elif words := [_word(char) or f"{ord(char):04X}" for char in chars if not _invisible(char)]:
            parts.append(f"[{' '.join(words)}]")
    return "".join(parts)


def _word(char: str) -> str:
    """What a picture such as an emoji shows; nothing for an ideograph, whose name is a number."""
    return unicodedata.name(char, "").lower() if unicodedata.category(char) == "So" else ""


def _invisible(char: str) -> bool:
    """Joiners, selectors and skin tones between characters: little is lost without them."""
    return unicodedata.category(char) in ("Cf", "Mn", "Cc", "Sk")


def _start(text: str, width: int) -> str:
    """As much of a text as fits into so many columns."""
    widths = itertools.accumulate(map(display_width, text))
    return text[: sum(total <= width for total in widths)]


@cache
def _other_fonts(needed: frozenset[str], _: int) -> tuple[tuple[str, ...], frozenset[str]]:
    """Finds few fonts that have as many of these characters as possible.

    Opening every font of a system takes seconds; this happens once, and only where matplotlib's own
    font does not do.

    Args:
        needed: characters.
        _: how many fonts there are: new ones must be looked at.
    """
    lost, families = set(needed), []
    # A font for the last resort has a box for everything.
    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and "Resort" not in entry.name and "Blank" not in entry.name
    ]
    while any(not _invisible(char) for char in lost):
        covered = {
            entry.name: sum(ord(char) in _charmap(entry.fname) for char in lost)
            for entry in entries
        }
        best = max(covered, key=lambda name: (covered[name], "Sans" in name, -len(name)))
        if not covered[best]:
            break
        families.append(best)
        fname = next(entry.fname for entry in entries if entry.name == best)
        lost = {char for char in lost if ord(char) not in _charmap(fname)}
    return tuple(families), frozenset(lost)


@cache
def _charmap(path: str) -> frozenset[int]:
    """The characters of a font file; none of one that cannot be read."""
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except Exception:  # whatever the font library raises
        return frozenset()
