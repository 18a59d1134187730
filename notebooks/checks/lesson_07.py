"""Exercises of lesson 07: shots that can be compared, views, pairs, and how many are enough."""

import math
from collections.abc import Callable, Iterator
from operator import index
from statistics import fmean, stdev

import numpy as np
from scipy.stats import t as student

from . import Case, Exercise, brief, difference
from .lesson_04 import as_resampled, in_order


class _Asked:
    """What the reader's function answered so far: nesting needs several answers."""

    def __init__(self) -> None:
        self.answers: dict[tuple[int, int, int], list] = {}

    def judge(self, count: int, k: int, seed: int) -> Callable[[object], str | None]:
        def find(returned: object) -> str | None:
            try:
                returned = [index(i) for i in returned]  # type: ignore[attr-defined]
            except TypeError:
                return f"it returned {brief(returned)}, expected a list of int"
            if len(returned) != k:
                return f"it returned {len(returned)} positions, expected {k}"
            if len(set(returned)) < k:
                return f"a position occurs twice in {brief(returned)}"
            if not all(0 <= i < count for i in returned):
                return f"{brief(returned)} has positions outside 0 to {count - 1}"
            return self._among_others(returned, count, k, seed)
        return find

    def _among_others(self, returned: list, count: int, k: int, seed: int) -> str | None:
        before = self.answers.setdefault((count, k, seed), returned)
        if set(before) != set(returned):
            return f"called again, it returned {brief(returned)} instead of {brief(before)}"
        for (other_count, _, other_seed), other in self.answers.items():
            small, large = sorted((returned, other), key=len)
            if (other_count, other_seed) == (count, seed) and not set(small) <= set(large):
                return (f"the {len(small)} shots {brief(small)} are not among the {len(large)} "
                        f"shots {brief(large)} of the same seed")
        same_k = [frozenset(other) for (n, m, _), other in self.answers.items()
                  if (n, m) == (count, k) and k < count]
        if len(same_k) >= 5 and len(set(same_k)) == 1:
            return f"{len(same_k)} seeds all see the same images, {brief(returned)}"
        seen = {i for other in same_k for i in other}
        if len(same_k) >= 20 and len(seen) < count:
            return f"20 seeds never see the images {sorted(set(range(count)) - seen)}"
        return None


def _choosing() -> Iterator[Case]:
    asked = _Asked()

    def case(count: int, k: int, seed: int, says: str) -> Case:
        return Case({"count": count, "k": k, "seed": seed}, says=says,
                    judge=asked.judge(count, k, seed))

    yield case(1, 1, 0, "the only image there is")
    yield case(5, 5, 0, "all images")
    yield case(5, 2, 0, "2 of 5 images")
    yield case(5, 2, 0, "the same question again: the same seed must give the same images")
    for k in (1, 2, 4, 8, 16, 17):
        yield case(30, k, 1, f"{k} of 30 images: they must be nested in those asked before")
    for seed in range(20):
        yield case(6, 3, seed, "twenty seeds, which must not all see the same images")


def _summing() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, values in (
            ("two seeds", [[1.0, 2.0], [3.0, 2.5]]),
            ("two seeds that agree", [[0.5, 0.7], [0.5, 0.7]]),
            ("three seeds and two numbers of shots", [[0.1, 0.8], [0.3, 0.9], [0.5, 1.0]]),
            ("as many seeds as numbers of shots", [[0.1, 0.8, 1.0], [0.3, 0.9, 1.0],
                                                   [0.5, 1.0, 1.0]]),
            ("twenty seeds", generator.random((20, 5)))):
        values = np.array(values)
        columns = [[float(value) for value in column] for column in values.T]
        yield Case({"values": values}, says=says, judge=_mean_and_spread(
            [sum(one) / len(one) for one in columns],
            [(sum((v - sum(one) / len(one)) ** 2 for v in one) / (len(one) - 1)) ** 0.5
             for one in columns]))


def _mean_and_spread(means: list, spreads: list) -> Callable[[object], str | None]:
    def find(returned: object) -> str | None:
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            return f"it returned {brief(returned)}, expected two arrays, mean and spread"
        for name, found, wanted in zip(("mean", "spread"), returned, (means, spreads), strict=True):
            problem = difference(found, wanted, 1e-6)
            if problem:
                return f"the {name}: {problem}"
        return None
    return find


def _turning() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, shape in (("a picture of 2 x 2 pixels", (2, 2, 3)),
                        ("a picture of 3 x 3 pixels: as wide as it has colours", (3, 3, 3)),
                        ("a wide picture: it stands upright after 90 degrees", (2, 4, 3)),
                        ("a picture of 8 x 5 pixels", (8, 5, 3))):
        picture = generator.integers(0, 256, shape).astype(np.uint8)
        yield Case({"picture": picture}, says=says, judge=_four_views(picture))


def _four_views(picture: np.ndarray) -> Callable[[object], str | None]:
    height, width = picture.shape[:2]
    upright = np.empty((width, height, 3), np.uint8)  # by 90 degrees counter-clockwise
    for row in range(height):
        for column in range(width):
            upright[width - 1 - column, row] = picture[row, column]
    wanted = (picture, upright, picture[::-1, ::-1], upright[::-1, ::-1])

    def find(returned: object) -> str | None:
        if not isinstance(returned, (list, tuple)) or len(returned) != 4:
            return f"it returned {brief(returned)}, expected a list of four pictures"
        for degrees, view, expected in zip((0, 90, 180, 270), returned, wanted, strict=True):
            problem = difference(view, expected, 1e-6)
            if problem:
                return f"the view turned by {degrees} degrees: {problem}"
        return None
    return find


def _comparing() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    labels = np.array([0, 0, 1, 1])
    one = np.array([1.0, 2.0, 3.0, 4.0])
    cases = [("two detectors that agree: every draw says 0", one, one * 2, labels),
             ("b right on every pair, a wrong on every pair: every draw says 1", -one, one, labels),
             ("a right on every pair, b tied on every pair", one, one * 0, labels)]
    labels = np.repeat([0, 1], [15, 50])
    hard = generator.normal(size=65)  # what makes an image hard for both
    a = 1.2 * labels + hard + 0.5 * generator.normal(size=65)
    b = 1.5 * labels + hard + 0.5 * generator.normal(size=65)
    order = generator.permutation(65)
    cases += [("65 images in any order, hard for both alike: the interval is narrow",
               a[order], b[order], labels[order]),
              ("rounded scores: many ties", np.round(a), np.round(b), labels)]
    for says, a, b, labels in cases:
        yield Case({"a": a, "b": b, "labels": labels, "draws": 2000}, says=says,
                   judge=as_resampled(in_order(b, labels) - in_order(a, labels)))


def enough(curve: np.ndarray, counts: list[int], margin: float) -> int:
    """Count by count, with the standard library's mean and standard deviation."""
    found = counts[-1]
    for place in reversed(range(len(counts) - 1)):
        missing = [row[-1] - row[place] for row in curve.tolist()]
        quantile = student.ppf(0.95, len(missing) - 1)
        if fmean(missing) + quantile * stdev(missing) / math.sqrt(len(missing)) > margin:
            break
        found = counts[place]
    return found


def _sufficing() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.02, (20, 5)) * [1, 1, 1, 0.5, 0]
    steps = np.array([0.8, 0.9, 0.95, 0.98, 0.99]) + noise
    for says, curve, counts, margin in (
            ("two seeds that lose nothing with one shot", [[0.9, 0.9], [0.8, 0.8]], [1, 2], 0.01),
            ("two seeds that lose 0.2 with one shot", [[0.7, 0.9], [0.6, 0.8]], [1, 2], 0.1),
            ("one of three counts is just enough", [[0.5, 0.9, 0.95], [0.5, 0.9, 0.95]],
             [1, 4, 8], 0.06),
            ("on average within 0.05, but not surely", [[0.80, 0.95], [0.98, 0.99],
                                                        [0.97, 0.98]], [4, 8], 0.06),
            ("seeds that differ a lot, but each by the same from its own best",
             [[0.50, 0.54], [0.70, 0.74], [0.90, 0.94]], [4, 8], 0.05),
            ("a lucky count among worse ones", [[0.9, 0.6, 0.9], [0.9, 0.6, 0.9]], [1, 2, 4],
             0.05),
            ("twenty seeds, margin 0.05", steps, [1, 2, 4, 8, 16], 0.05),
            ("twenty seeds, margin 0.015", steps, [1, 2, 4, 8, 16], 0.015)):
        curve = np.array(curve)
        yield Case({"curve": curve, "counts": counts, "margin": margin},
                   enough(curve, counts, margin), says)


def _choosing_ways() -> Iterator[Case]:
    for count, k in ((1, 1), (3, 3), (5, 2), (32, 1), (32, 4), (50, 8)):
        ways = 1
        for i in range(k):
            ways = ways * (count - i) // (i + 1)
        yield Case({"count": count, "k": k}, ways, f"{k} of {count} photos")


EXERCISES = {
    "07.1": Exercise(_choosing_ways, hint="the order does not matter, and no photo comes twice"),
    "07.2": Exercise(_choosing, hint="shuffle all images once for each seed, and take the first k"),
    "07.3": Exercise(_summing, hint="over the seeds, axis 0; divide by the number of seeds less 1"),
    "07.4": Exercise(_turning, hint="turn rows and columns, not the colours; counter-clockwise"),
    "07.5": Exercise(_comparing, hint="the same drawn images serve both detectors; take "
                     "percentiles of the differences, b less a; all alike: nan and nan"),
    "07.6": Exercise(_sufficing, hint="differences seed by seed, mean + t s / sqrt(n); from the "
                     "last count backwards, up to the first that is not within the margin"),
}
