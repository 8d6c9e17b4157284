"""What is true, computed the slow and obvious way in float64.

Two independent oracles: every path written out (small problems), and a plain double loop.
"""

import numpy as np


def all_paths(n, m, diagonal):
    """Every monotone path from (0, 0) to (n-1, m-1), as lists of cells."""
    steps = [(1, 0), (0, 1)] + ([(1, 1)] if diagonal else [])

    def extend(path):
        i, j = path[-1]
        if (i, j) == (n - 1, m - 1):
            yield path
        for di, dj in steps:
            if i + di < n and j + dj < m:
                yield from extend([*path, (i + di, j + dj)])

    yield from extend([(0, 0)])


def enumerated_dtw(cost, diagonal):
    """The minimum over all paths."""
    return min(sum(cost[i, j] for i, j in path) for path in all_paths(*cost.shape, diagonal))


def loop_dtw(cost, diagonal):
    """Value and 0/1 alignment by two loops; ties as documented."""
    cost = np.asarray(cost, np.float64)
    n, m = cost.shape
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            if i == j == 0:
                best = 0.0
            else:
                best = min(
                    total[i - 1, j] if i else np.inf,
                    total[i, j - 1] if j else np.inf,
                    total[i - 1, j - 1] if diagonal and i and j else np.inf,
                )
            total[i, j] = cost[i, j] + best
    alignment = np.zeros((n, m))
    i, j = n - 1, m - 1
    alignment[i, j] = 1
    while i or j:
        row = total[i - 1, j] if i else np.inf
        column = total[i, j - 1] if j else np.inf
        both = total[i - 1, j - 1] if diagonal and i and j else np.inf
        if i == 0:
            j -= 1
        elif j == 0:
            i -= 1
        elif diagonal and row < column and row < both:
            i -= 1
        elif diagonal and not column < both:
            i, j = i - 1, j - 1
        elif not diagonal and row < column:
            i -= 1
        else:
            j -= 1
        alignment[i, j] = 1
    return total[-1, -1], alignment


def local_cost(x, y, name):
    """Local costs [n, m] by broadcasting."""
    x, y = np.asarray(x, np.float64)[:, None], np.asarray(y, np.float64)[None]
    if name == "sqeuclidean":
        return ((x - y) ** 2).sum(-1)
    if name == "euclidean":
        return np.sqrt(((x - y) ** 2).sum(-1))
    if name == "manhattan":
        return np.abs(x - y).sum(-1)
    norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return 1 - (x * y).sum(-1) / norms


def weighted_dtw(x, centroid, weight, diagonal, path_from=None):
    """Distance of one pair and its gradients with respect to x, centroid and weight."""
    x, centroid, weight = (np.asarray(a, np.float64) for a in (x, centroid, weight))
    c0, w0 = (centroid, weight) if path_from is None else path_from
    deciding = (np.asarray(w0)[:, None] * np.abs(np.asarray(c0)[:, None] - x[None])).sum(-1)
    _, alignment = loop_dtw(deciding, diagonal)
    difference = centroid[:, None] - x[None]
    on_path = alignment[..., None]
    value = (on_path * weight[:, None] * np.abs(difference)).sum()
    slope = on_path * weight[:, None] * np.sign(difference)
    return value, -slope.sum(0), slope.sum(1), (on_path * np.abs(difference)).sum(1)


def dba(series, center, num_iters, diagonal=True, cost="sqeuclidean"):
    """Petitjean's averaging, one series after the other, from a given start."""
    center = np.asarray(center, np.float64)
    for _ in range(num_iters):
        total, count = np.zeros_like(center), np.zeros((len(center), 1))
        for one in series:
            _, path = loop_dtw(local_cost(center, one, cost), diagonal)
            total += path @ one
            count += path.sum(1, keepdims=True)
        updated = total / count
        if np.array_equal(updated, center):
            break
        center = updated
    return center


def delannoy(n, m, diagonal):
    """Number of paths on an n x m grid."""
    count = np.ones((n, m), dtype=object)
    for i in range(1, n):
        for j in range(1, m):
            count[i, j] = count[i - 1, j] + count[i, j - 1]
            if diagonal:
                count[i, j] += count[i - 1, j - 1]
    return count[-1, -1]


def loop_soft_dtw(cost, gamma, diagonal):
    """Soft-DTW value, expected alignment and entropy of the path distribution, by loops."""
    cost = np.asarray(cost, np.float64)
    n, m = cost.shape

    def log_weights(cost):
        """log of the summed weights of all paths from (0, 0) to each cell."""
        log_sum = np.full((n, m), -np.inf)
        for i in range(n):
            for j in range(m):
                before = [log_sum[i - 1, j]] if i else []
                before += [log_sum[i, j - 1]] if j else []
                before += [log_sum[i - 1, j - 1]] if i and j and diagonal else []
                reach = np.logaddexp.reduce(before) if before else 0.0
                log_sum[i, j] = reach - cost[i, j] / gamma
        return log_sum

    to_cell = log_weights(cost)
    from_cell = log_weights(cost[::-1, ::-1])
    from_cell = from_cell[::-1, ::-1]
    finite = np.isfinite(cost)
    log_visits = to_cell + from_cell + np.where(finite, cost, 0) / gamma - to_cell[-1, -1]
    expected = np.where(finite, np.exp(log_visits), 0)
    value = -gamma * to_cell[-1, -1]
    entropy = ((expected * np.where(finite, cost, 0)).sum() - value) / gamma
    return value, expected, entropy


def all_tam_paths(n, m, boundary):
    """Every path of TAM's Eq. 5 over the padded columns 0..m+1, as lists of cells.

    A path is counted once, wherever it enters: it starts in column 0, in any row.
    """

    def extend(path):
        i, j = path[-1]
        if (i, j) == (n - 1, m + 1):
            yield path
            return
        steps = [(0, 1)] if j <= m else []
        if i + 1 < n:
            steps += [(1, 1)] if j <= m else []
            steps += [(1, 0)] if j == m + 1 or (boundary == "edge" and j == 1) else []
        for di, dj in steps:
            yield from extend([*path, (i + di, j + dj)])

    for start in range(n):
        yield from extend([(start, 0)])


def loop_tam(cost, gamma, boundary):
    """TAM's score by two loops over the padded matrix, in float64."""
    padded = np.pad(np.asarray(cost, np.float64), ((0, 0), (1, 1)))
    n, columns = padded.shape
    total = np.full((n, columns), np.inf)
    total[:, 0] = 0
    for i in range(n):
        for j in range(1, columns):
            before = [total[i, j - 1]]
            if i:
                before.append(total[i - 1, j - 1])
                if j == columns - 1 or (boundary == "edge" and j == 1):
                    before.append(total[i - 1, j])
            least = min(before)
            if gamma:
                least -= gamma * np.log(np.exp(-(np.array(before) - least) / gamma).sum())
            total[i, j] = padded[i, j] + least
    return total[-1, -1]
