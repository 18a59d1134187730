"""What a report draws, as numbers: the points of its curves, and the bars of its histograms.

Whoever draws scales them to a sheet; nothing here knows colours or a page.
"""

import math
from dataclasses import dataclass

import numpy as np

from .thresholds import at_all_thresholds

BINS = 24


def roc_points(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`(k, 2)`: share of good and of defective images flagged, from (0, 0) to (1, 1).

    One point a threshold, so equal scores make a slope, and the area below the straight lines
    between the points is `image_auroc`. Raises `InputError` unless both labels occur.
    """
    _, hits, alarms, defective, good = at_all_thresholds(scores, labels)
    return np.stack([alarms / good, hits / defective], axis=1)


def precision_recall_points(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`(k, 2)` recall and precision: the corners of stairs, the area below which is `image_ap`.

    Straight lines between thresholds would promise what no threshold reaches (Davis and Goadrich,
    ICML 2006). Raises `InputError` unless both labels occur.
    """
    _, hits, alarms, defective, _ = at_all_thresholds(scores, labels)
    recall, precision = hits / defective, hits[1:] / (hits + alarms)[1:]
    return np.stack([np.stack([recall[:-1], recall[1:]], axis=1).ravel(),
                     np.repeat(precision, 2)], axis=1)


@dataclass(frozen=True)
class Histogram:
    """Images by score: `good` and `defective` `(b,)` counts between `edges` `(b + 1,)`."""

    edges: np.ndarray
    good: np.ndarray
    defective: np.ndarray


def histogram(scores: np.ndarray, labels: np.ndarray, threshold: float | None) -> Histogram:
    """Count good and defective images in the same bins, which reach to the threshold too."""
    labels = np.asarray(labels).astype(bool)
    reached = np.append(scores, [] if threshold is None else [threshold])
    low, high = float(reached.min()), float(reached.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    return Histogram(edges, *(np.histogram(scores[of], edges)[0] for of in (~labels, labels)))


def ticks(low: float, high: float, about: int = 5) -> list[tuple[float, str]]:
    """Round numbers from `low` to `high`, in steps of 1, 2 or 5 times a power of ten.

    Example:
        >>> ticks(0.0, 1.0)
        [(0.0, '0'), (0.2, '0.2'), (0.4, '0.4'), (0.6, '0.6'), (0.8, '0.8'), (1.0, '1')]
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(round(i * step, 12), f"{round(i * step, 12):g}") for i in range(first, last + 1)]
