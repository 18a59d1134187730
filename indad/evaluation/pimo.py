"""PIMO and AUPIMO: the recall of each defective image at the few false positives anybody accepts.

J. P. C. Bertoldo, D. Ameln, A. Vaidya, S. Akcay, "AUPIMO: Redefining Anomaly Localization
Benchmarks with High Speed and Low Tolerance", BMVC 2024, arXiv 2401.01984: a threshold is told by
the mean over the *good* test images of the share of their pixels that are above it (the shared
false-positive rate), and the area below each image's recall is taken over the logarithm of
that rate, between two bounds, and divided by the area of a recall of 1.

The authors' code, which anomalib has, lays a grid of 300,000 thresholds over the good scores and
sums trapezoids over the logarithm of the rates there, between the grid's points nearest to the
bounds. Here the steps are taken where they are, at each good score, and cut at the bounds: what
that comes to as the grid gets finer (tests/test_pimo.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.arguments import LIST, MANY, SHARE, either, numbers, several, takes
from ..engine.ranks import check_finite
from ..errors import InputError

BOUNDS = (1e-5, 1e-4)


@dataclass(frozen=True)
class Pimo:
    """The curves up to the upper bound; thresholds are good scores, the highest first.

    Attributes:
        thresholds: `(k,)`; a pixel counts as found if it scores at least this.
        rates: `(k,)`, the shared false-positive rate at each.
        recalls: `(n, k)`, the share of each image's defect that is found.
        areas: `(n,)`, the AUPIMO of each defective image, in [0, 1].
    """

    thresholds: np.ndarray
    rates: np.ndarray
    recalls: np.ndarray
    areas: np.ndarray

    @property
    def aupimo(self) -> float:
        """The mean over the defective images, as published tables have it."""
        return float(self.areas.mean())


@takes(good=either(LIST, numbers(2), numbers(3)), defects=MANY, bounds=several(SHARE, 2))
def pimo(good: Sequence[np.ndarray], defects: Iterable[np.ndarray], *,
         bounds: tuple[float, float] = BOUNDS) -> Pimo:
    """PIMO curves and their areas.

    Where the good images have too few pixels for a rate, the recall without any false positive
    counts. It holds the good scores up to the upper bound only: 1 in 10,000 of all.

    Args:
        good: the scores of all pixels of each good image, of any shape; asked for one by one.
        defects: the scores of the defect's pixels of each defective image, likewise.
        bounds: the lowest and the highest shared false-positive rate.

    Raises `InputError` without good or without defective images, and for scores not finite.
    """
    low, high = bounds
    if not low < high:
        raise InputError(f"bounds are {low:g} and {high:g}; the first must be the smaller one")
    if not len(good):
        raise InputError("no good images; they alone define the false-positive rate of AUPIMO")
    levels, rates = _highest(good, high)
    found = [_recalls(defect, levels) for defect in defects]
    if not found:
        raise InputError("no defective images with a mask; AUPIMO is theirs")
    at_least, above = (np.stack(recalls) for recalls in zip(*found, strict=True))
    return Pimo(levels, rates, at_least, _areas(rates, above, at_least, low, high))


def _highest(good: Sequence[np.ndarray], limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Distinct good scores, highest first, and their shared rates; none after the first rate
    beyond the limit."""
    scores, shares = np.empty(0), np.empty(0)
    for index, image in enumerate(good):
        numbers().check(f"good image {index}", image)
        check_finite(image)
        pixels = np.ravel(image)
        share = 1 / (len(good) * pixels.size)
        if len(scores) and shares.sum() >= limit:
            pixels = pixels[pixels >= scores[-1]]
        scores = np.concatenate([scores, pixels])
        shares = np.concatenate([shares, np.full(len(pixels), share)])
        order = np.argsort(-scores, kind="stable")
        scores, shares = scores[order], shares[order]
        enough = min(int(np.searchsorted(np.cumsum(shares), limit)), len(scores) - 1)
        kept = int(np.searchsorted(-scores, -scores[enough], side="right"))  # with all its equals
        scores, shares = scores[:kept], shares[:kept]
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    return scores[last], np.cumsum(shares)[last]


def _recalls(defect: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of a defect's pixels that score at least each level, and above it."""
    numbers().check("a defect", defect)
    check_finite(defect)
    pixels = np.sort(np.ravel(defect))
    if not len(pixels):
        raise InputError("a defect without a single pixel has no recall")
    return tuple(1 - np.searchsorted(pixels, levels, side=side) / len(pixels)  # type: ignore
                 for side in ("left", "right"))


def _areas(rates: np.ndarray, above: np.ndarray, at_least: np.ndarray, low: float,
           high: float) -> np.ndarray:
    """`(n,)`: below segments over the logarithm of the rate, between the bounds.

    Segment j leads from (rate of the next higher level, recall above level j) to (rate of level j,
    recall at least at it): it climbs only if defect pixels score just as high as good ones.
    """
    before = np.append(0, rates[:-1])
    begin, end = np.clip(before, low, high), np.clip(rates, low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        length = np.log(rates) - np.log(before)
        shares = [np.where(before > 0, (np.log(x) - np.log(before)) / length, 0)
                  for x in (begin, end)]
    middle = np.clip(sum(shares) / 2, 0, 1)
    width = np.log(end) - np.log(begin)
    heights = above + middle * (at_least - above)
    return heights @ width / (np.log(high) - np.log(low))
