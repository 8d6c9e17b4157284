"""How the tiles of a matrix of costs, and their features, are shared out among programs."""

from collections.abc import Iterator
from typing import NamedTuple

_MOST_PARTS = 16
# In cycles of one multiprocessor, all of them busy.
_PROGRAM = 3_000  # to read the first features and write the tile: nothing is computed meanwhile
_ADDITION = 5_000  # to start one more pass over the result
_BYTE = 1e-3  # to write a byte of a part of a sum and read it again


class Form(NamedTuple):
    """What a program computes.

    Attributes:
        block: rows and columns of a lane.
        lanes: of a program: how many there are below each other, and beside.
        ahead: words that a lane reads before it needs them.
        programs: that a multiprocessor has registers for.
        cycles: of a stretch of words, on a multiprocessor with so many programs.
    """

    block: tuple[int, int]
    lanes: tuple[int, int]
    ahead: int
    programs: int
    cycles: int

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of a program."""
        return self.block[0] * self.lanes[0], self.block[1] * self.lanes[1]

    @property
    def num_lanes(self) -> int:
        """Threads of a program."""
        return self.lanes[0] * self.lanes[1]


class Plan(NamedTuple):
    """Which program computes what, and where it writes.

    Tiles are numbered row by row, and so are programs. Those of the first `whole_bands` rows of
    tiles sum all features. Of the other tiles, each has `parts` programs, which sum consecutive
    features: first the first part of every tile, then the second, and so on. Their sums lie below
    each other: first the whole matrix, then the other tiles once more for each further part.

    Attributes:
        bands: rows of tiles.
        across: tiles in a row.
        stretches: of features that make a whole sum.
        whole_bands: rows of tiles that are not divided.
        parts: of the sums of the others.
        part_stretches: of a part; the last may have fewer.
    """

    bands: int
    across: int
    stretches: int
    whole_bands: int
    parts: int
    part_stretches: int

    @property
    def whole(self) -> int:
        """Tiles that are not divided."""
        return self.whole_bands * self.across

    @property
    def divided(self) -> int:
        """Tiles that are divided."""
        return (self.bands - self.whole_bands) * self.across

    @property
    def programs(self) -> int:
        """All of them."""
        return self.whole + self.divided * self.parts

    @property
    def written_bands(self) -> int:
        """Rows of tiles that are written, parts of sums included."""
        return self.whole_bands + (self.bands - self.whole_bands) * self.parts

    def cycles(self, form: Form, cores: int) -> float:
        """How long it takes, roughly."""
        slots = form.programs * cores
        waves = -(-self.whole // slots), -(-self.divided * self.parts // slots)
        stretches = waves[0] * self.stretches + waves[1] * self.part_stretches
        total = float(sum(waves) * _PROGRAM + stretches * form.cycles)
        if self.parts > 1:
            tiles = self.programs + self.whole  # those not divided are copied
            total += _ADDITION + 4 * tiles * form.tile[0] * form.tile[1] * _BYTE
        return total


def plan(form: Form, tiles: tuple[int, int], stretches: int, cores: int) -> Plan:
    """The fastest way to share out the work.

    A multiprocessor holds few programs, and all of them take equally long. So the card is full for
    as many waves as there are, and the last wave leaves most of it idle if it is a small one: 325
    tiles on 264 places take as long as 528. Programs that sum only a part of the features are
    shorter waves, of which more are full. But parts have to be written, read and added, so only
    tiles beyond the last full wave are divided, if that is faster. The order of every addition
    follows from the shape: two runs are bit-equal.

    Args:
        form: what a program computes.
        tiles: rows of tiles, and tiles in a row.
        stretches: of features, which are not divided.
        cores: multiprocessors of the card.
    """
    bands, across = tiles
    full = bands * across // (form.programs * cores) * form.programs * cores  # in full waves

    def ways() -> Iterator[Plan]:
        yield Plan(bands, across, stretches, bands, 1, stretches)
        for whole_bands in {0, full // across} - {bands}:
            for parts in range(2, min(_MOST_PARTS, stretches) + 1):
                part_stretches = -(-stretches // parts)
                parts = -(-stretches // part_stretches)  # none is empty
                yield Plan(bands, across, stretches, whole_bands, parts, part_stretches)

    return min(ways(), key=lambda way: way.cycles(form, cores))
