"""From a score to a verdict. Everywhere, an image is flagged if its score is above the threshold.

The F1-best threshold of the test set, which most projects report, needs the answers it is about
to give. `conformal_threshold` needs good images only, which the memory bank had not seen; the
others are for those who have labelled images beside the test set.
"""


import numpy as np

from ..data.arguments import LABELS, SHARE, maybe, number, numbers, takes
from ..errors import InputError


@takes(scores=numbers(1), labels=LABELS)
def f1_max_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the best F1 of the flagged images; of equally good ones the highest.

    It is the largest score that is not flagged, so equal scores get equal verdicts, and no rounding
    can move one across. Chosen on the images it is measured on, it flatters.

    Args:
        scores: `(n,)`, finite.
        labels: `(n,)`, 1: defective; both labels must occur.
    """
    thresholds, hits, alarms, defective, _ = at_all_thresholds(scores, labels)
    f1 = 2 * hits / (defective + hits + alarms)
    return float(thresholds[np.argmax(f1)])


@takes(scores=numbers(1), labels=LABELS, cost_miss=number(0), cost_alarm=number(0),
       defect_rate=maybe(SHARE))
def best_cost_threshold(scores: np.ndarray, labels: np.ndarray, *, cost_miss: float,
                        cost_alarm: float, defect_rate: float | None = None) -> float:
    """The threshold with the lowest expected cost a part; of equally good ones the highest.

    The cost is r m cost_miss + (1 - r) f cost_alarm, with m the share of defective parts that are
    missed, f the share of good ones that are flagged, and r the share of parts that are defective.

    Args:
        scores: `(n,)`, finite.
        labels: `(n,)`, 1: defective; both labels must occur.
        cost_miss, cost_alarm: of one part, not negative, and not both zero.
        defect_rate: r in production, in (0, 1); that of `labels` if None. Test sets have far more
            defects than a production line, so say it if you know it.
    """
    if cost_miss == cost_alarm == 0:
        raise InputError("cost_miss and cost_alarm are both 0; then every threshold costs the same")
    thresholds, hits, alarms, defective, good = at_all_thresholds(scores, labels)
    # Times the number of images: with the labels' own rate, whole costs stay whole numbers.
    weight_miss, weight_alarm = 1.0, 1.0
    if defect_rate is not None:
        weight_miss = defect_rate * (defective + good) / defective
        weight_alarm = (1 - defect_rate) * (defective + good) / good
    costs = (defective - hits) * (weight_miss * cost_miss) + alarms * (weight_alarm * cost_alarm)
    return float(thresholds[np.argmin(costs)])


def at_all_thresholds(scores: np.ndarray, labels: np.ndarray,
                      ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """What all thresholds that differ do, the highest (nothing is flagged) first.

    -> thresholds, flagged defective and flagged good images `(t,)` each, and how many there are.
    Raises `InputError` unless both labels occur and all scores are finite.
    """
    scores, labels = np.asarray(scores), np.asarray(labels).astype(bool)
    if scores.shape != labels.shape or scores.ndim != 1:
        raise InputError(f"scores are {scores.shape} and labels {labels.shape}; both must be (n,)")
    if labels.all() or not labels.any():
        raise InputError("labels are all the same; good and defective images are needed")
    if not np.isfinite(scores).all():
        raise InputError("scores must be finite; there is a nan or an infinity among them")
    if scores.dtype.kind != "f":
        scores = scores.astype(float)
    levels, level_of = np.unique(scores, return_inverse=True)
    # The last threshold is just below all scores: everything is flagged.
    thresholds = np.append(levels[::-1], np.nextafter(levels[0], levels.dtype.type(-np.inf)))
    hits, alarms = (np.append(0, np.cumsum(np.bincount(level_of[of], minlength=len(levels))[::-1]))
                    for of in (labels, ~labels))
    return thresholds, hits, alarms, int(labels.sum()), int((~labels).sum())
