"""Exercises of lesson 11: what PatchCore's relatives do, each against a slow oracle."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from . import Case, Exercise

Floats = NDArray[np.float64]


def nearest_photos(whole: Floats, wholes: Floats, k: int) -> list[int]:
    """The nearest that is left, again and again."""
    left, found = list(range(len(wholes))), []
    for _ in range(k):
        best = min(left, key=lambda one: math.dist(wholes[one].tolist(), whole.tolist()))
        found.append(best)
        left.remove(best)
    return found


def _wholes() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for wholes, whole, k, says in (
            ([[0.0], [4.0], [1.0]], [1.5], 1, "three photos of one number each, k = 1"),
            ([[0.0], [4.0], [1.0]], [1.5], 2, "the same, k = 2: the nearest comes first"),
            ([[0.0, 9.0], [3.0, 4.0], [6.0, 6.0]], [0.0, 0.0], 3,
             "all three of them, where the smallest sum is not the smallest distance"),
            (generator.normal(size=(20, 8)), generator.normal(size=8), 5, "twenty photos")):
        case = {"whole": np.asarray(whole), "wholes": np.asarray(wholes), "k": k}
        yield Case(case, nearest_photos(**case), says)


def gaussian(rows: Floats, extra: float) -> tuple[Floats, Floats]:
    """Entry by entry."""
    n, k = rows.shape
    mean = np.array([sum(rows[:, i]) / n for i in range(k)])
    covariance = np.array([[sum((rows[:, i] - mean[i]) * (rows[:, j] - mean[j])) / (n - 1)
                            + (extra if i == j else 0.0) for j in range(k)] for i in range(k)])
    return mean, covariance


def _gaussians() -> Iterator[Case]:
    generator = np.random.default_rng(1)
    for rows, extra, says in (
            ([[1.0], [3.0]], 0.0, "two photos of one number, extra = 0"),
            ([[1.0, 0.0], [3.0, 0.0], [5.0, 0.0]], 0.5,
             "a number that never varies: extra is all its variance"),
            ([[1.0, 2.0], [3.0, 1.0], [2.0, 6.0]], 0.1, "two numbers that vary together"),
            (generator.normal(5, 2, (4, 6)), 0.01, "fewer photos than numbers")):
        case = {"rows": np.asarray(rows), "extra": extra}
        yield Case(case, gaussian(**case), says)


def weights(seen: Floats, wanted: Floats, penalty: float) -> Floats:
    """Least squares in the ordinary way, with the penalty as rows that ask for zero."""
    width = seen.shape[1]
    more = np.vstack([seen, math.sqrt(penalty) * np.eye(width)])
    return np.linalg.lstsq(more, np.vstack([wanted, np.zeros((width, wanted.shape[1]))]),
                           rcond=None)[0]


def _students() -> Iterator[Case]:
    generator = np.random.default_rng(2)
    for seen, wanted, penalty, says in (
            ([[1.0], [2.0]], [[2.0], [4.0]], 0.0, "one number that is always doubled"),
            ([[1.0], [2.0]], [[2.0], [4.0]], 5.0, "the same, with a penalty as large as the sum "
             "of squares: half of it is left"),
            ([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [[1.0], [0.0], [3.0]], 0.1,
             "three patches, two numbers"),
            (generator.normal(size=(40, 5)), generator.normal(size=(40, 3)), 1.0,
             "forty patches, three answers"),
            (generator.normal(size=(4, 9)), generator.normal(size=(4, 2)), 0.5,
             "fewer patches than numbers: the penalty decides")):
        case = {"seen": np.asarray(seen), "wanted": np.asarray(wanted), "penalty": penalty}
        yield Case(case, weights(**case), says)


def megabytes(photos: int, places: int, numbers: int, drawn: int, share: float) -> dict:
    """The bytes of arrays that are made for it, without their memory."""
    def kept(*shape: int) -> float:
        return np.broadcast_to(np.float32(0), shape).size * 4e-6

    return {"SPADE": kept(photos, places, numbers) + kept(photos, numbers),
            "PaDiM": kept(places, drawn) + kept(places, drawn, drawn),
            "PatchCore": kept(round(share * photos * places), numbers)}


def _memories() -> Iterator[Case]:
    for values, says in (
            ((1, 1, 1, 1, 1.0), "one photo, one place, one number"),
            ((32, 576, 152, 100, 0.1), "the drawn boards"),
            ((320, 576, 152, 100, 0.1), "ten times as many photos"),
            ((209, 784, 1536, 550, 0.01), "a wide network, with 550 numbers for PaDiM"),
            ((3, 5, 1000, 20, 0.1), "a share that is no whole patch")):
        case = dict(zip(("photos", "places", "numbers", "drawn", "share"), values, strict=True))
        yield Case(case, megabytes(**case), says)


def fields(patches: Floats, grid: tuple[int, int], parts: int) -> Floats:
    """Place by place: which fields does it lie in?"""
    gathered: dict[tuple[int, int], list[Floats]] = {
        (i, j): [] for i in range(parts) for j in range(parts)}
    for place, patch in enumerate(patches):
        row, column = divmod(place, grid[1])
        for (i, j), inside in gathered.items():
            if all(field * side < (at + 1) * parts and at * parts < (field + 1) * side
                   for field, at, side in ((i, row, grid[0]), (j, column, grid[1]))):
                inside.append(patch)
    return np.concatenate([np.mean(inside, axis=0) for inside in gathered.values()])


def _fields() -> Iterator[Case]:
    generator = np.random.default_rng(3)
    for patches, grid, parts, says in (
            ([[1.0], [2.0], [3.0], [4.0]], (2, 2), 1, "one field: the mean of the whole"),
            ([[1.0], [2.0], [3.0], [4.0]], (2, 2), 2, "as many fields as places"),
            (generator.normal(size=(24, 2)), (4, 6), 2, "a grid that is not square"),
            (generator.normal(size=(25, 3)), (5, 5), 2, "an odd grid: the middle counts twice"),
            (generator.normal(size=(70, 2)), (7, 10), 3, "three by three fields of a grid 7 x 10")):
        case = {"patches": np.asarray(patches), "grid": grid, "parts": parts}
        yield Case(case, fields(**case), says)


Group = tuple[int, Floats, Floats]


def _group(rows: Floats) -> Group:
    covariance = (np.cov(rows.T).reshape(2 * rows.shape[1:]) if len(rows) > 1
                  else np.zeros(2 * rows.shape[1:]))
    return len(rows), rows.mean(0), covariance


def _merging() -> Iterator[Case]:
    generator = np.random.default_rng(4)
    for first, second, says in (
            ([[0.0], [2.0]], [[0.0], [2.0]], "the same two photos again, one number"),
            ([[0.0], [0.0]], [[6.0], [6.0]], "two groups that do not vary, at different places"),
            ([[1.0, 2.0], [3.0, 1.0], [0.0, 0.0]], [[5.0, 5.0]], "one new photo"),
            (generator.normal(0, 1, (9, 4)), generator.normal(3, 2, (30, 4)),
             "nine old ones, thirty new ones that look different")):
        old, new = np.asarray(first), np.asarray(second)
        yield Case({"old": _group(old), "new": _group(new)}, _group(np.vstack([old, new])), says)


EXERCISES = {
    "11.1": Exercise(_wholes, hint="positions, not distances; the distance is the root of the "
                     "sum of squared differences, one for each row of wholes"),
    "11.2": Exercise(_gaussians, hint="subtract the mean first; divide by n - 1; extra goes on the "
                     "diagonal only"),
    "11.3": Exercise(_students, hint="solve (seen.T @ seen + penalty * I) W = seen.T @ wanted; the "
                     "penalty goes on the diagonal of the a x a matrix"),
    "11.4": Exercise(_memories, hint="count numbers; PaDiM keeps drawn + drawn ** 2 of them at "
                     "each place, however many photos; four bytes each, 10 ** 6 a megabyte"),
    "11.5": Exercise(_fields, hint="rows first: patches.reshape(grid[0], grid[1], -1); a field "
                     "begins rounded down and ends rounded up, so neighbours may share a row"),
    "11.6": Exercise(_merging, hint="(n - 1) * covariance are sums of squares around each group's "
                     "own mean; the distance between the means adds to them"),
}
