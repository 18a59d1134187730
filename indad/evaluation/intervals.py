"""How sure is a metric? Its interval over test sets like this one, by the bootstrap over images.

B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), Ch. 13: images are drawn with
replacement, good ones from the good and defective ones from the defective, each with all of its
pixels (pixels of one image are no independent witnesses), and the metric is taken again; the middle
95 % of what it comes to is its interval. Of one image of a kind, nothing can be said: None.

A replicate needs no pixel again. What all metrics of ranks need is, for each image, how many of its
pixels score at least each level (`Curves`); drawing an image twice doubles its row. So a thousand
replicates are a few products of matrices. Above `MOST_LEVELS` distinct defect scores the levels are
thinned evenly, which moves an end by less than the thousand draws do.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.arguments import SHARE, numbers, takes, whole
from ..engine.ranks import RankCounts

MOST_LEVELS = 1 << 12
MOST_CELLS = 1 << 21  # of each of the four tables: 16 MB
LEVEL, REPLICATES = 0.95, 1000

# Of an image: scores `(p,)` of its positives, their weights, what all their weights come to.
Positives = tuple[np.ndarray, np.ndarray, int]
# Of the counts of a replicate, and of the same with the positives' weights.
Metric = Callable[[RankCounts, RankCounts], float]


@takes(strata=numbers(1), count=whole(1), seed=whole(0))
def draws(strata: np.ndarray, count: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """`(count, n)` int: how often each replicate has each of n images; of each stratum `(n,)` as
    many as there are."""
    strata, generator = np.asarray(strata), np.random.default_rng(seed)
    found = np.zeros((count, len(strata)), np.int64)
    for stratum in np.unique(strata):
        places = np.flatnonzero(strata == stratum)
        found[:, places] = generator.multinomial(
            len(places), np.full(len(places), 1 / len(places)), count)
    return found


@takes(level=SHARE)
def middle(values: np.ndarray, level: float = LEVEL) -> list[float] | None:
    """The ends of the middle `level` of values `(count,)`; None if there are none, or none other
    than a number."""
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


@dataclass(frozen=True, eq=False)
class Curves:
    """For each of n images, at each of t levels, the highest first, what RankCounts are made of.

    Attributes:
        hits: `(n, t)` positives that score at least the level.
        overlaps: `(n, t)` the same, each positive with its weight.
        above, alarms: `(n, t)` negatives that score above it, and at least it.
        regions: `(n,)` what the weights of an image's positives come to.
        negatives: `(n,)`.
    """

    hits: np.ndarray
    overlaps: np.ndarray
    above: np.ndarray
    alarms: np.ndarray
    regions: np.ndarray
    negatives: np.ndarray

    @classmethod
    def of(cls, positives: Sequence[Positives], negatives: Iterable[np.ndarray]) -> "Curves":
        """From each image's positives, some of which there must be, and its negative scores."""
        levels = np.unique(np.concatenate([scores for scores, _, _ in positives]))[::-1]
        most = max(min(MOST_LEVELS, MOST_CELLS // len(positives)), 2)
        if len(levels) > most:
            levels = levels[np.linspace(0, len(levels) - 1, most).round().astype(int)]
        rows = []
        for (scores, weights, regions), others in zip(positives, negatives, strict=True):
            order = np.argsort(-scores, kind="stable")
            # How many are at least a level: -scores ascend, as -levels do.
            count = np.searchsorted(-scores[order], -levels, side="right")
            summed = np.append(0, np.cumsum(weights[order]))
            others = np.sort(-np.ravel(others))
            rows.append((count, summed[count], np.searchsorted(others, -levels, side="left"),
                         np.searchsorted(others, -levels, side="right"), regions, len(others)))
        return cls(*(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)))

    def resampled(self, times: np.ndarray, **metrics: Metric) -> dict[str, np.ndarray]:
        """Each metric `(count,)` where the images are there so many times, `(count, n)`."""
        found = {name: np.empty(len(times)) for name in metrics}
        for number, row in enumerate(times.astype(np.float64)):
            hits, overlaps, above, alarms = (row @ table for table in (
                self.hits, self.overlaps, self.above, self.alarms))
            there = hits + alarms > 0  # else the level is that of an image that was not drawn
            if not hits[-1]:
                for name in metrics:
                    found[name][number] = np.nan
                continue
            counts = RankCounts(hits[there] / hits[-1], hits[there], above[there], alarms[there],
                                int(row @ self.negatives))
            by_region = counts.weighted(overlaps[there] / (row @ self.regions))
            for name, metric in metrics.items():
                found[name][number] = metric(counts, by_region)
        return found
