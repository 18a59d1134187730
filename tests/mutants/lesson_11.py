"""Wrong answers to the exercises of lesson 11, which their checks must refuse."""

import numpy as np


def farthest(whole, wholes, k):
    """The farthest ones."""
    return np.argsort(-np.linalg.norm(wholes - whole, axis=1))[:k]


def not_in_order(whole, wholes, k):
    """The right ones, in the order in which they lie."""
    return np.sort(np.argsort(np.linalg.norm(wholes - whole, axis=1))[:k])


def distances(whole, wholes, k):
    """The distances instead of the positions."""
    return np.sort(np.linalg.norm(wholes - whole, axis=1))[:k]


def by_sums(whole, wholes, k):
    """Signed differences, summed."""
    return np.argsort(np.abs((wholes - whole).sum(1)))[:k]


def by_length(whole, wholes, k):
    """One norm for all rows, as the axis is forgotten."""
    return np.argsort(np.abs(np.linalg.norm(wholes, axis=1) - np.linalg.norm(whole)))[:k]


def divided_by_n(rows, extra):
    """Divides by n."""
    off = rows - rows.mean(0)
    return rows.mean(0), off.T @ off / len(rows) + extra * np.eye(rows.shape[1])


def everywhere(rows, extra):
    """Adds extra to all entries."""
    off = rows - rows.mean(0)
    return rows.mean(0), off.T @ off / (len(rows) - 1) + extra


def forgotten(rows, extra):
    """Adds nothing."""
    off = rows - rows.mean(0)
    return rows.mean(0), off.T @ off / (len(rows) - 1)


def not_centred(rows, extra):
    """Products of the rows as they are."""
    return rows.mean(0), rows.T @ rows / (len(rows) - 1) + extra * np.eye(rows.shape[1])


def between_photos(rows, extra):
    """The covariance between photos, not between numbers."""
    off = rows - rows.mean(0)
    return rows.mean(0), off @ off.T / (len(rows) - 1) + extra * np.eye(len(rows))


def only_variances(rows, extra):
    """Numbers that do not vary together."""
    return rows.mean(0), np.diag(rows.var(0, ddof=1) + extra)


def without_penalty(seen, wanted, penalty):
    """Least squares as they are."""
    return np.linalg.lstsq(seen, wanted, rcond=None)[0]


def squared_penalty(seen, wanted, penalty):
    """The penalty squared."""
    return np.linalg.solve(seen.T @ seen + penalty ** 2 * np.eye(seen.shape[1]), seen.T @ wanted)


def penalty_everywhere(seen, wanted, penalty):
    """The penalty on all entries."""
    return np.linalg.pinv(seen.T @ seen + penalty) @ seen.T @ wanted


def transposed(seen, wanted, penalty):
    """As scikit-learn has its coefficients."""
    return np.linalg.solve(seen.T @ seen + penalty * np.eye(seen.shape[1]), seen.T @ wanted).T


def mean_squares(seen, wanted, penalty):
    """The mean of the squares instead of their sum."""
    n = len(seen)
    return np.linalg.solve(seen.T @ seen / n + penalty * np.eye(seen.shape[1]),
                           seen.T @ wanted / n)


def _megabytes(spade, padim, patchcore, unit=4e-6):
    return {"SPADE": unit * spade, "PaDiM": unit * padim, "PatchCore": unit * patchcore}


def times_photos(photos, places, numbers, drawn, share):
    """PaDiM grows with the photos."""
    return _megabytes(photos * places * numbers + photos * numbers,
                      photos * places * (drawn + drawn ** 2),
                      round(share * photos * places) * numbers)


def no_squares(photos, places, numbers, drawn, share):
    """A covariance of k numbers has k entries."""
    return _megabytes(photos * places * numbers + photos * numbers, places * 2 * drawn,
                      round(share * photos * places) * numbers)


def binary(photos, places, numbers, drawn, share):
    """Megabytes of 1,024 x 1,024."""
    return _megabytes(photos * places * numbers + photos * numbers, places * (drawn + drawn ** 2),
                      round(share * photos * places) * numbers, 4 / 1024 ** 2)


def no_wholes(photos, places, numbers, drawn, share):
    """Forgets the photos' means."""
    return _megabytes(photos * places * numbers, places * (drawn + drawn ** 2),
                      round(share * photos * places) * numbers)


def share_of_photos(photos, places, numbers, drawn, share):
    """Keeps whole photos."""
    return _megabytes(photos * places * numbers + photos * numbers, places * (drawn + drawn ** 2),
                      round(share * photos) * places * numbers)


def _edges(side, parts):
    return [(i * side // parts, -(-(i + 1) * side // parts)) for i in range(parts)]


def rows_and_columns_swapped(patches, grid, parts):
    """Takes the grid the other way round."""
    maps = patches.reshape(grid[1], grid[0], -1)
    return np.concatenate([maps[a:b, c:d].mean((0, 1)) for a, b in _edges(grid[1], parts)
                           for c, d in _edges(grid[0], parts)])


def column_by_column(patches, grid, parts):
    """Fields in another order."""
    maps = patches.reshape(*grid, -1)
    return np.concatenate([maps[a:b, c:d].mean((0, 1)) for c, d in _edges(grid[1], parts)
                           for a, b in _edges(grid[0], parts)])


def rounded_down(patches, grid, parts):
    """What does not divide evenly is cut off."""
    maps = patches.reshape(*grid, -1)
    tall, wide = grid[0] // parts, grid[1] // parts
    return np.concatenate([maps[i * tall:(i + 1) * tall, j * wide:(j + 1) * wide].mean((0, 1))
                           for i in range(parts) for j in range(parts)])


def largest(patches, grid, parts):
    """The largest instead of the mean."""
    maps = patches.reshape(*grid, -1)
    return np.concatenate([maps[a:b, c:d].max((0, 1)) for a, b in _edges(grid[0], parts)
                           for c, d in _edges(grid[1], parts)])


def number_by_number(patches, grid, parts):
    """All fields of the first number first."""
    maps = patches.reshape(*grid, -1)
    return np.array([maps[a:b, c:d].mean((0, 1)) for a, b in _edges(grid[0], parts)
                     for c, d in _edges(grid[1], parts)]).T.ravel()


def mean_of_means(old, new):
    """Both groups weigh the same."""
    return old[0] + new[0], (old[1] + new[1]) / 2, (old[2] + new[2]) / 2


def without_the_gap(old, new):
    """Forgets that the means differ."""
    count = old[0] + new[0]
    squares = sum((n - 1) * covariance for n, _, covariance in (old, new))
    return count, (old[0] * old[1] + new[0] * new[1]) / count, squares / (count - 1)


def one_too_few(old, new):
    """Divides by N - 2, as one does for a common variance."""
    count = old[0] + new[0]
    mean = (old[0] * old[1] + new[0] * new[1]) / count
    squares = sum((n - 1) * covariance + n * np.outer(one - mean, one - mean)
                  for n, one, covariance in (old, new))
    return count, mean, squares / max(count - 2, 1)


def by_n(old, new):
    """Undoes a division by n that was none."""
    count = old[0] + new[0]
    mean = (old[0] * old[1] + new[0] * new[1]) / count
    squares = sum(n * covariance + n * np.outer(one - mean, one - mean)
                  for n, one, covariance in (old, new))
    return count, mean, squares / count


def inner(old, new):
    """The inner product of the difference, for every entry."""
    count = old[0] + new[0]
    mean = (old[0] * old[1] + new[0] * new[1]) / count
    squares = sum((n - 1) * covariance + n * np.dot(one - mean, one - mean)
                  for n, one, covariance in (old, new))
    return count, mean, squares / (count - 1)


MUTANTS = {
    "11.1": [farthest, not_in_order, distances, by_sums, by_length],
    "11.2": [divided_by_n, everywhere, forgotten, not_centred, between_photos, only_variances],
    "11.3": [without_penalty, squared_penalty, penalty_everywhere, transposed, mean_squares],
    "11.4": [times_photos, no_squares, binary, no_wholes, share_of_photos],
    "11.5": [rows_and_columns_swapped, column_by_column, rounded_down, largest, number_by_number],
    "11.6": [mean_of_means, without_the_gap, one_too_few, by_n, inner],
}
