"""Runs that differ in one thing only, and how sure it is what that does.

Student's interval over pairs says how sure a mean over these categories and seeds is; DeLong's how
sure it is over test images like these, of image AUROC, and it needs no second pair.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from ..errors import InputError
from ..evaluation.delong import DeLong, delong_covariance, normal_interval
from ..presets import OPTIONS
from .records import VARIANT, but_usual, read_scores

# What is compared pair by pair; of numbers, there would be too many pairs of these.
COMPARED = ("preset", *(name for name in OPTIONS if name in VARIANT and name != "coreset_ratio"))


@dataclass(frozen=True)
class Comparison:
    """How much better b is than a: the mean difference of n pairs, and its 95 % interval.

    Pairs are runs of the same category, seed and everything else. The interval is Student's, over
    pairs; None for fewer than two. It says how sure the *mean over these categories and seeds* is,
    not how the two would do on parts of another kind.
    """

    axis: str
    a: object
    b: object
    metric: str
    mean: float
    low: float | None
    high: float | None
    n: int


def partners(rows: Sequence[dict], axis: str, a: object, b: object,
             metric: str = "image_auroc") -> list[tuple[dict, dict]]:
    """Pairs of runs of the same category, seed and everything else, the first with a, the other
    with b; of those that have the metric.

    What presets or backbones bring along (layers, a number of neighbours) is not something else.
    """
    def known(value: object) -> list[tuple[list[tuple], dict]]:
        return [(_all_but(axis, row), row) for row in rows
                if row.get(axis) == value and row[metric] is not None]

    second = {key: row for keys, row in known(b) for key in keys}
    return [(row, second[key]) for keys, row in known(a)
            for key in [key for key in keys if key in second][:1]]


def _all_but(axis: str, row: dict) -> list[tuple]:
    """What two rows must share to be compared along an axis: one of these."""
    told = [row] if axis not in ("preset", "backbone") else [but_usual(row), row]
    return [(row["category"], row["seed"], *(one.get(name) for name in VARIANT if name != axis))
            for one in told]


def compare(rows: Sequence[dict], axis: str, a: object, b: object,
            metric: str = "image_auroc") -> Comparison | None:
    """b against a on the same category, seed and everything else; None without a single pair."""
    differences = [second[metric] - first[metric]
                   for first, second in partners(rows, axis, a, b, metric)]
    if not differences:
        return None
    mean, low, high = fmean(differences), None, None
    if len(differences) > 1:
        from scipy.stats import t

        half = (float(t.ppf(0.975, len(differences) - 1)) * stdev(differences)
                / math.sqrt(len(differences)))
        low, high = mean - half, mean + half
    return Comparison(axis, a, b, metric, mean, low, high, len(differences))


def comparisons(rows: Sequence[dict]) -> list[Comparison]:
    """All pairs of values of whatever was varied, of what can be compared run by run."""
    found = []
    for axis in COMPARED:
        values = list(dict.fromkeys(row.get(axis) for row in rows))
        found += [compare(rows, axis, a, b) for a, b in itertools.combinations(values, 2)]
    return [one for one in found if one is not None]


def over_images(rows: Sequence[dict], output: Path, axis: str, a: object,
                b: object) -> DeLong | None:
    """The mean difference in image AUROC of b and a, and its 95 % interval over test images.

    Seeds of a category judge the same images, so their errors go together; categories are
    independent. None where the scores below `output` are missing, where seeds judge different
    images, and where a category has fewer than two good or two defective ones.
    """
    pairs = partners(rows, axis, a, b)
    by_category: dict[tuple, list[tuple[dict, dict]]] = defaultdict(list)
    for pair in pairs:
        by_category[(pair[0].get("dataset"), pair[0]["category"])].append(pair)
    areas, variance = np.zeros(2), 0.0
    for some in by_category.values():
        try:
            scores, labels = _table([output / run["run"] for pair in some for run in pair])
            found, covariance = delong_covariance(scores, labels)
        except (InputError, KeyError):
            return None
        weight = len(some) / len(pairs)
        contrast = np.tile([-1.0, 1.0], len(some)) / len(some)
        areas += weight * found.reshape(-1, 2).mean(axis=0)
        variance += weight ** 2 * float(contrast @ covariance @ contrast)
    if not pairs:
        return None
    return DeLong(float(areas[0]), float(areas[1]),
                  *normal_interval(float(areas[1] - areas[0]), max(variance, 0.0)))


def _table(folders: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Scores `(k, n)` of k runs and their labels; `InputError` if they are of different images."""
    tables = [{row["image"]: row for row in read_scores(folder)} for folder in folders]
    names = sorted(tables[0])
    labels = [tables[0][name]["label"] for name in names]
    for table, folder in zip(tables, folders, strict=True):
        if sorted(table) != names or [table[name]["label"] for name in names] != labels:
            raise InputError(f"{folder}: scores of other images than {folders[0]}")
    scores = np.array([[table[name]["score"] for name in names] for table in tables])
    return scores, np.array(labels)
