"""Is one model's AUROC on the same images really higher than another's? DeLong's test.

E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the Areas under Two or More Correlated
Receiver Operating Characteristic Curves: A Nonparametric Approach", Biometrics 44 (1988); by ranks
in O(n log n) as X. Sun, W. Xu, "Fast Implementation of DeLong's Algorithm for Comparing the Areas
Under Correlated Receiver Operating Characteristic Curves", IEEE Signal Processing Letters 21
(2014).
"""

import math
from dataclasses import dataclass

import numpy as np

from ..data.arguments import LABELS, SHARE, numbers, takes
from ..engine.ranks import check_finite
from ..errors import InputError


@dataclass(frozen=True)
class DeLong:
    """AUROCs of a and b, their difference b - a with its interval, and the two-sided p-value of
    there being none (1 where the two rank all pairs alike)."""

    auroc_a: float
    auroc_b: float
    difference: float
    low: float
    high: float
    p: float


@takes(scores=numbers(2), labels=LABELS)
def delong_covariance(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs `(k,)` of k models on the same images, and the covariance `(k, k)` of their errors.

    Args:
        scores: `(k, n)`, finite; labels: `(n,)`, 1 is defective.

    Raises `InputError` with fewer than two good or two defective images: there is no variance.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    if scores.shape[1] != len(labels):
        raise InputError(f"{scores.shape[1]} scores, but {len(labels)} labels; give one each")
    check_finite(scores)
    bad, good = scores[:, labels], scores[:, ~labels]
    m, n = bad.shape[1], good.shape[1]
    if min(m, n) < 2:
        raise InputError(f"{m} defective and {n} good images; DeLong's test takes two of each")
    ranks = np.stack([_midranks(np.concatenate([b, g])) for b, g in zip(bad, good, strict=True)])
    own_bad = np.stack([_midranks(row) for row in bad])
    own_good = np.stack([_midranks(row) for row in good])
    placed_bad = (ranks[:, :m] - own_bad) / n  # of each defect: the share of good ones below it
    placed_good = 1 - (ranks[:, m:] - own_good) / m
    covariance = np.cov(placed_bad) / m + np.cov(placed_good) / n
    return placed_bad.mean(axis=1), np.atleast_2d(covariance)


@takes(a=numbers(1), b=numbers(1), labels=LABELS, level=SHARE)
def delong_test(a: np.ndarray, b: np.ndarray, labels: np.ndarray, *,
                level: float = 0.95) -> DeLong:
    """Compare two models' scores `(n,)` of the same images, in the same order.

    The interval is the normal one, of `level`: right for tens of images of each kind, and too
    narrow where an AUROC is 1 or nearly so.

    Raises `InputError` for scores that are not the same number, and as `delong_covariance` does.
    """
    if len(a) != len(b):
        raise InputError(f"{len(a)} scores of one model and {len(b)} of the other; both must be of "
                         "the same images")
    areas, covariance = delong_covariance(np.stack([a, b]), labels)
    variance = max(float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]), 0.0)
    difference, low, high, p = normal_interval(float(areas[1] - areas[0]), variance, level)
    return DeLong(float(areas[0]), float(areas[1]), difference, low, high, p)


def normal_interval(value: float, variance: float,
                    level: float = 0.95) -> tuple[float, float, float, float]:
    """A value, its normal interval's ends, and the two-sided p-value of its being zero."""
    from statistics import NormalDist

    if variance < 1e-18:  # rounding apart, the two never differ by chance
        return value, value, value, 1.0 if abs(value) < 1e-9 else 0.0
    deviation = math.sqrt(variance)
    half = NormalDist().inv_cdf((1 + level) / 2) * deviation
    return value, value - half, value + half, math.erfc(abs(value) / deviation / math.sqrt(2))


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, level, ties = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(ties) - (ties - 1) / 2)[level]
