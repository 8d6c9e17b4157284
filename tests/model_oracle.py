"""What a `Model` means, computed twice the slow way: by writing every path out, and by a loop.

Both read the model's moves, openings and window, share nothing with the library but that
description, and are float64. Which cells a window allows is decided cell by cell, in fractions,
from the definitions in `tempalign._engine.windows`.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from tempalign._engine import model as models
from tempalign._engine.options import resolve

ROW, COLUMN, DIAGONAL, NOWHERE = 0, 1, 2, 3
STEPS = ((1, 0), (0, 1), (1, 1))
# Of equally good ways to a cell the first of these is taken, going back from the end.
PREFERRED = (NOWHERE, DIAGONAL, COLUMN, ROW)


class Numbers(NamedTuple):
    """What is not in the model."""

    gamma: float | None = None
    penalty: float = 0.0
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mask: np.ndarray | None = None


PLAIN = Numbers()


class Found(NamedTuple):
    """Of the paths: soft or hard minimum, expected visits, entropy, and derivatives of the value.

    `slope` is the derivative in the cost matrix, `penalty` and `weights` in these. Without a path
    the value is inf and all else NaN.
    """

    value: float
    visits: np.ndarray
    slope: np.ndarray
    entropy: float
    penalty: float
    weights: np.ndarray


def model_of(options, soft, **changes):
    """The model of path options, or of TAM for ``{"boundary": ...}``."""
    if "boundary" in options:
        made = models.tam(options["boundary"])
    else:
        made = resolve(options, np.float32).model
    return made.replace(soft=soft, **changes)


def allowed_cells(model, cost, mask=None):
    """Where paths may go, bool ``[n, m]``: inside band, slope and mask, at a finite cost."""
    n, m = cost.shape
    window = model.window
    allowed = np.isfinite(cost)
    if window.masked:
        allowed = allowed & mask
    if n == 1 or m == 1:
        return allowed
    for i in range(n):
        for j in range(m):
            if window.band is not None:
                away = abs(i * (m - 1) - j * (n - 1))
                allowed[i, j] &= away <= window.band * min(n - 1, m - 1)
            if window.slope is not None:
                down, right = Fraction(i, n - 1), Fraction(j, m - 1)
                for a, b in ((down, right), (1 - down, 1 - right)):
                    allowed[i, j] &= a <= window.slope * b and b <= window.slope * a
    return allowed


def places(opening, n, m, at_end):
    """Where paths may begin (or end), with their multiplicity, in the order ties are decided."""

    def seen_from_end(i, j):
        return (n - 1 - i, m - 1 - j) if at_end else (i, j)

    found = {}
    for skipped in range(n):
        if skipped == 0 or opening.x is None or skipped <= opening.x:
            found[seen_from_end(skipped, 0)] = 1 if skipped == 0 else opening.multiplicity
    for skipped in range(1, m):
        if opening.y is None or skipped <= opening.y:
            found[seen_from_end(0, skipped)] = opening.multiplicity
    order = sorted(found, key=lambda cell: (sum(cell), cell[1] != m - 1))
    return {cell: found[cell] for cell in order}


def may_enter(move, j):
    """Whether a move may lead into column j."""
    return move.allowed == "everywhere" or (move.allowed == "first_column" and j == 0)


def prices_of(model, cost, numbers):
    """What entering cells costs by row, column and diagonal move and where a path begins."""
    made = []
    for move, weight in zip(model.moves, numbers.weights, strict=True):
        # A forbidden cell stays one even at a weight of 0.
        price = np.where(np.isfinite(cost), cost, 0) * weight if move.weighted else cost.copy()
        price[~np.isfinite(cost)] = np.inf
        made.append(price + numbers.penalty if move.penalised else price)
    return [*made, cost]


def nothing_found(n, m):
    """What is found where there is no path."""
    nan = np.full((n, m), np.nan)
    return Found(np.inf, nan, nan, np.nan, np.nan, np.full(3, np.nan))


def summary(model, cost, numbers, by_way, value):
    """`Found` from the expected visits by each way into a cell, ``[4, n, m]``."""
    visits = by_way.sum(0)
    cost = np.where(visits > 0, cost, 0)
    prices = prices_of(model, cost, numbers)
    mean = sum((by_way[way] * prices[way]).sum() for way in range(4))
    weighted = [move.weighted for move in model.moves]
    factors = [w if on else 1 for w, on in zip(numbers.weights, weighted, strict=True)]
    return Found(
        value,
        visits,
        sum(by_way[way] * factor for way, factor in enumerate([*factors, 1])),
        # Each of the paths that one counts for has the probability exp(-(total - value) / gamma).
        (mean - value) / numbers.gamma if model.soft else 0.0,
        sum(by_way[way].sum() for way, move in enumerate(model.moves) if move.penalised),
        np.array([(by_way[way] * cost).sum() * weighted[way] for way in range(3)]),
    )


def written_out(model, cost, numbers=PLAIN):
    """Every path as (cells, ways into them, multiplicity)."""
    n, m = cost.shape
    allowed = allowed_cells(model, cost, numbers.mask)
    begins = places(model.begin, n, m, at_end=False)
    ends = places(model.end, n, m, at_end=True)
    found = []

    def extend(cells, ways, count):
        i, j = cells[-1]
        if (i, j) in ends:
            found.append((cells, ways, count * ends[i, j]))
        for way, (move, (di, dj)) in enumerate(zip(model.moves, STEPS, strict=True)):
            a, b = i + di, j + dj
            if a < n and b < m and allowed[a, b] and may_enter(move, b):
                extend([*cells, (a, b)], [*ways, way], count)

    for cell, count in begins.items():
        if allowed[cell]:
            extend([cell], [NOWHERE], count)
    return found


def enumerated(model, cost, numbers=PLAIN):
    """`Found` from all paths; for small problems."""
    cost = np.asarray(cost, np.float64)
    n, m = cost.shape
    paths = written_out(model, cost, numbers)
    if not paths:
        return nothing_found(n, m)
    prices = prices_of(model, cost, numbers)
    totals = np.array(
        [sum(prices[w][c] for c, w in zip(cells, ways, strict=True)) for cells, ways, _ in paths]
    )
    least = totals.min()
    if model.soft:
        weights = np.exp(-(totals - least) / numbers.gamma) * [count for *_, count in paths]
        value = least - numbers.gamma * math.log(weights.sum())
        weights = weights / weights.sum()
    else:
        # Ties: the end first, then every step back from it.
        ends = list(places(model.end, n, m, at_end=True))
        _, chosen = min(
            ([ends.index(cells[-1]), *(PREFERRED.index(way) for way in reversed(ways))], k)
            for k, (cells, ways, _) in enumerate(paths)
            if totals[k] == least
        )
        value, weights = least, np.eye(len(paths))[chosen]
    by_way = np.zeros((4, n, m))
    for (cells, ways, _), weight in zip(paths, weights, strict=True):
        for cell, way in zip(cells, ways, strict=True):
            by_way[(way, *cell)] += weight
    return summary(model, cost, numbers, by_way, value)


def looped(model, cost, numbers=PLAIN):
    """`Found` by dynamic programming with two loops; for any size."""
    cost = np.asarray(cost, np.float64)
    n, m = cost.shape
    allowed = allowed_cells(model, cost, numbers.mask)
    prices = prices_of(model, cost, numbers)
    begins = places(model.begin, n, m, at_end=False)
    ends = {
        cell: count for cell, count in places(model.end, n, m, at_end=True).items() if allowed[cell]
    }
    # A path counted k times costs gamma log k less at its border.
    worth = numbers.gamma if model.soft else 0.0

    def ways_to(i, j):
        """(way, the cell before, cost of entering) of all ways into an allowed cell."""
        if (i, j) in begins:
            yield NOWHERE, None, cost[i, j] - worth * math.log(begins[i, j])
        for way, (move, (di, dj)) in enumerate(zip(model.moves, STEPS, strict=True)):
            a, b = i - di, j - dj
            if a >= 0 and b >= 0 and allowed[a, b] and may_enter(move, j):
                yield way, (a, b), prices[way][i, j]

    def minimum(values):
        least = min(values, default=math.inf)
        if not model.soft or least == math.inf:
            return least
        gamma = numbers.gamma
        return least - gamma * math.log(sum(math.exp((least - v) / gamma) for v in values))

    cells = [(i, j) for i in range(n) for j in range(m) if allowed[i, j]]
    reached = np.full((n, m), np.inf)
    for cell in cells:
        reached[cell] = minimum(
            [
                price + (0 if before is None else reached[before])
                for _, before, price in ways_to(*cell)
            ]
        )
    value = minimum([reached[cell] - worth * math.log(count) for cell, count in ends.items()])
    if value == math.inf:
        return nothing_found(n, m)
    by_way = np.zeros((4, n, m))
    if not model.soft:
        cell = next(cell for cell in ends if reached[cell] == value)
        while cell is not None:
            options = {
                way: (price + (0 if before is None else reached[before]), before)
                for way, before, price in ways_to(*cell)
            }
            way = next(w for w in PREFERRED if w in options and options[w][0] == reached[cell])
            by_way[(way, *cell)] = 1
            cell = options[way][1]
        return summary(model, cost, numbers, by_way, value)
    ahead = np.full((n, m), np.inf)  # what is left to pay after a cell, soft minimum
    after = {cell: [] for cell in cells}
    for cell in reversed(cells):
        leave = [-worth * math.log(ends[cell])] if cell in ends else []
        ahead[cell] = minimum(leave + after[cell])
        for way, before, price in ways_to(*cell):
            if before is not None:
                after[before].append(price + ahead[cell])
            through = price + (0 if before is None else reached[before]) + ahead[cell]
            by_way[(way, *cell)] = math.exp((value - through) / numbers.gamma)
    return summary(model, cost, numbers, by_way, value)


def draw_costs(random, kind, shape):
    """Local costs: real numbers, few integers (many ties), or with forbidden cells."""
    if kind == "ties":
        return random.integers(0, 3, shape).astype(np.float32)
    cost = random.normal(size=shape).astype(np.float32)
    if kind == "holes":
        cost[random.random(shape) < 0.1] = np.inf
    return cost


def draw_numbers(random):
    """Numbers that float32 holds exactly."""
    gamma = np.float32(random.choice([10.0, 1.0, 0.1, 0.01]))
    penalty = np.float32(random.choice([0.75, 0.0, 2.0]))
    weights = [(0.5, 2, 1.5), (1, 1, 2), (0, 1, 3)][random.integers(3)]
    return gamma, penalty, np.array(weights, np.float32)


def oracle_numbers(soft, gamma, penalty, weights, mask=None):
    """The same for the oracles."""
    weights = tuple(float(w) for w in weights)
    return Numbers(float(gamma) if soft else None, float(penalty), weights, mask)
