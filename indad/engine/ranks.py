"""Exact ranking metrics in bounded memory: counts of good scores at each distinct defect score.

Every metric depends on the good scores only through how many of them lie above each distinct
defect score. Defect pixels are few, so they are sorted once, and the good pixels are counted
against them chunk by chunk: no histogram, no thinning of thresholds, no array of all pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.arguments import LIST, either, numbers, shown
from ..errors import InputError

CHUNK_PIXELS = 1 << 23


@dataclass(frozen=True)
class RankCounts:
    """Counts at each distinct defect score, highest first; `(t,)` arrays.

    Attributes:
        hits: share of the positives, by weight, that score at least this.
        true_positives: how many positives score at least this.
        alarms_above, alarms: how many negatives score above this, and at least this.
        negatives: how many there are in all.
    """

    hits: np.ndarray
    true_positives: np.ndarray
    alarms_above: np.ndarray
    alarms: np.ndarray
    negatives: int

    def weighted(self, hits: np.ndarray) -> "RankCounts":
        return RankCounts(hits, self.true_positives, self.alarms_above, self.alarms,
                          self.negatives)

    def area(self, limit: float = 1.0) -> float:
        """Area under hits against the false-positive rate from 0 to `limit`, over `limit`.

        With all positives weighing the same and limit 1 it is the AUROC (ties count half); with
        each defect region weighing the same it is the AUPRO.
        """
        steps = len(self.hits)
        rate, height = np.zeros(2 * steps + 2), np.zeros(2 * steps + 2)
        rate[1:-1:2], rate[2:-1:2] = self.alarms_above, self.alarms  # level, then up the tie
        rate[:-1] /= self.negatives
        height[2:-1:2], height[3:-1:2] = self.hits, self.hits[:-1]
        rate[-1] = height[-1] = 1.0
        inside = int(np.searchsorted(rate, limit, side="right"))
        if inside < len(rate):  # cut the segment that crosses the limit
            share = (limit - rate[inside - 1]) / (rate[inside] - rate[inside - 1])
            cut = height[inside - 1] + share * (height[inside] - height[inside - 1])
            rate = np.append(rate[:inside], limit)
            height = np.append(height[:inside], cut)
        return float(np.sum(np.diff(rate) * (height[1:] + height[:-1]) / 2) / limit)

    def average_precision(self) -> float:
        """Precision averaged over recall, step by step, as scikit-learn defines it."""
        precision = self.true_positives / (self.true_positives + self.alarms)
        gained = np.diff(self.true_positives, prepend=0)
        return float(np.sum(precision * gained) / self.true_positives[-1])

    def f1_max(self) -> float:
        """The best F1 that any threshold reaches: an oracle's figure, not a decision rule."""
        positives = self.true_positives[-1]
        return float(np.max(2 * self.true_positives
                            / (positives + self.true_positives + self.alarms)))


def count_ranks(positives: np.ndarray, negative_chunks: Iterable[np.ndarray],
           weights: np.ndarray | None = None) -> tuple[RankCounts, np.ndarray]:
    """Count negatives against the distinct positive scores; also hits `(t,)` by `weights`."""
    levels, level_of, ties = np.unique(positives, return_inverse=True, return_counts=True)
    above, at_least, total = alarms_at(levels, negative_chunks)
    true_positives = np.cumsum(ties[::-1])
    by_weight = true_positives / len(positives)
    if weights is not None:
        by_weight = np.cumsum(np.bincount(level_of, weights, len(levels))[::-1])
    counts = RankCounts(true_positives / len(positives), true_positives, above[::-1],
                        at_least[::-1], total)
    return counts, by_weight


def alarms_at(levels: np.ndarray,
              negative_chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """How many negatives score above each level and at least it, `(t,)`; how many there are."""
    above, at_least = np.zeros(len(levels), np.int64), np.zeros(len(levels), np.int64)
    total = 0
    for chunk in negative_chunks:
        chunk = np.sort(chunk)
        above += len(chunk) - np.searchsorted(chunk, levels, side="right")
        at_least += len(chunk) - np.searchsorted(chunk, levels, side="left")
        total += len(chunk)
    return above, at_least, total


def defect_pixels(maps: Sequence[np.ndarray],
               masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all defect pixels and their weights: 1 / (region's size x number of regions)."""
    for name, given in (("maps", maps), ("masks", masks)):
        either(LIST, numbers(3)).check(name, given)
    if len(maps) != len(masks):
        raise InputError(f"{len(maps)} maps, but {len(masks)} masks")
    scores, weights, regions = [], [], 0
    for index, mask in enumerate(masks):
        numbers(2).check(f"map {index}", maps[index])
        if not isinstance(mask, np.ndarray) or mask.dtype.kind != "b":
            raise InputError(f"mask {index} is {shown(mask)}; it must be an array of bool")
        if mask.shape != np.shape(maps[index]):
            raise InputError(f"map {index} is {np.shape(maps[index])}, but its mask is "
                             f"{mask.shape}")
        if not mask.any():
            continue
        share, found = region_shares(mask)
        scores.append(maps[index][mask])
        weights.append(share)
        regions += found
    if not scores:
        return np.empty(0), np.empty(0)
    return np.concatenate(scores), np.concatenate(weights) / regions


def region_shares(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """1 / (its region's size) for each pixel of a mask, `(p,)`, and how many regions there are."""
    from scipy import ndimage

    labels, found = ndimage.label(mask, structure=np.ones((3, 3)))  # 8-connected
    labels = labels[mask]
    return 1 / np.bincount(labels)[labels], found


def good_pixels(maps: Sequence[np.ndarray],
                     masks: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
    """The scores of all good pixels, in pieces of about `CHUNK_PIXELS`."""
    def each() -> Iterable[np.ndarray]:
        for index, mask in enumerate(masks):
            check_finite(maps[index])
            yield maps[index][~mask]

    return in_chunks(each())


def in_chunks(pieces: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """The same `(m,)` arrays, put together to about `CHUNK_PIXELS`."""
    held, size = [], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK_PIXELS:
            yield np.concatenate(held)
            held, size = [], 0
    if size:
        yield np.concatenate(held)


def check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise InputError("scores must be finite; there is a nan or an infinity among them")
