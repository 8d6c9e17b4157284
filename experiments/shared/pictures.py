"""Pictures of reports: one style, written whole, and skipped where they fail.

Names of classes, files and methods come from the user: everything drawn through `draw` or `save` is
dressed for that, see `experiments.shared.lettering`.
"""

import io
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments.shared.files import whole_file
from experiments.shared.lettering import FONT, dress, notes

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": [FONT],
    "legend.frameon": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "savefig.dpi": 140,
}


@dataclass(frozen=True)
class Picture:
    """A picture in the output folder.

    Attributes:
        file: its name there.
        title: what it shows, in a few words.
        caption: how to read it.
    """

    file: str
    title: str
    caption: str


Drawing = Callable[[], tuple[Figure, Picture]]


@dataclass(frozen=True)
class Drawn:
    """What came of drawings.

    Attributes:
        pictures: those in the folder, in their order.
        failed: one message for each of the others.
        notes: what a reader must know about all of them.
    """

    pictures: tuple[Picture, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]


def draw(folder: Path, drawings: Iterable[tuple[str, Drawing]]) -> Drawn:
    """Draws pictures; one that raises is named on stderr and skipped: results are worth more.

    Args:
        folder: where to.
        drawings: (name of the file, what makes the figure), run inside `style`. The name of the
            file stands above that in the `Picture`.
    """
    pictures: list[Picture] = []
    failed: list[str] = []
    lost: set[str] = set()
    for name, function in drawings:
        path = folder / name
        try:
            with style(), warnings.catch_warnings(record=True) as caught:
                figure, picture = function()
                lost |= save(figure, path)
            pictures.append(replace(picture, file=name))
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "")[:200]
            failed.append(f"{name} could not be drawn ({type(error).__name__}: {reason})")
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}, line {place.lineno}"
            print(f"picture {failed[-1]} in {where}; the report goes without it", file=sys.stderr)
            path.unlink(missing_ok=True)  # of an earlier report: it would not fit this one
        else:
            for text in {str(one.message) for one in caught if one.category is UserWarning}:
                print(f"picture {name}: {text}", file=sys.stderr)
    return Drawn(tuple(pictures), tuple(failed), notes(lost))


def save(figure: Figure, path: Path) -> set[str]:
    """Writes a figure that was made inside `style`, whole or not at all.

    Args:
        figure: whatever texts it has.
        path: of the PNG file.

    Returns:
        The characters that no font of this system has; the picture shows their codes.

    Raises:
        UserError: the file cannot be written.
    """
    with style():
        families, lost = dress(figure)
        mpl.rcParams["font.family"] = families  # of ticks that are made while drawing
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    with whole_file(path, "wb") as file:
        file.write(buffer.getvalue())
    return lost


@contextmanager
def style() -> Iterator[None]:
    """The style of all pictures; figures must be made inside it."""
    # Of a font that has one weight alone, matplotlib would say so for every text.
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mpl.rc_context(_STYLE):
            yield
    finally:
        logger.setLevel(level)
