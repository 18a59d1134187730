"""From a score to a verdict. Everywhere, an image is flagged if its score is above the threshold.

The F1-best threshold of the test set, which most projects report, needs the answers it is about
to give. `conformal_threshold` needs good images only, which the memory bank had not seen; the
others are for those who have labelled images beside the test set.
"""

import math

import numpy as np

from .errors import InputError


def conformal_threshold(good_scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score above which an image is called defective, for a wanted false-alarm rate a.

    Among n + 1 exchangeable good images, the new one exceeds the ceil((n + 1)(1 - a))-th smallest
    of the other n with probability at most a: split conformal prediction (Vovk et al. 2005; Lei
    et al. 2018, Theorem 2.2). The promise holds on average over calibration images and new ones;
    the rate of a single threshold scatters around it (if scores are continuous, as a Beta
    distribution with a standard deviation of about sqrt(a / n)). Whether scores are exchangeable
    with those of new images depends on how they were found, see calibration.py.

    With n < 1/a - 1 no finite threshold can promise a; the largest score is taken, and the rate
    that it does promise is `lowest_false_alarm_rate(n)`.

    Args:
        good_scores: `(n,)` scores of good images that the model had not seen, n >= 1.
        false_alarm_rate: a, in (0, 1).
    """
    if not 0 < false_alarm_rate < 1:
        raise InputError(f"false_alarm_rate is {false_alarm_rate}; it must be in (0, 1)")
    good_scores = _good(good_scores)
    n = len(good_scores)
    rank = math.ceil(round((n + 1) * (1 - false_alarm_rate), 9))  # 58.00000000000001 is 58
    return float(np.sort(good_scores)[min(rank, n) - 1])


def lowest_false_alarm_rate(n: int) -> float:
    """The lowest rate that n good scores can promise: of n + 1 images, each may be the worst."""
    return 1 / (n + 1)


def decide(good_scores: np.ndarray, good_peaks: np.ndarray, false_alarm_rate: float) -> dict:
    """Thresholds of scores and of maps, from good images alone, and what they can promise.

    All are None without good images: a single training image leaves nothing to judge it by.

    Args:
        good_scores, good_peaks: `(n,)` scores and map peaks of good images, not seen by the model.
    """
    n = len(good_scores)
    return {"threshold": conformal_threshold(good_scores, false_alarm_rate) if n else None,
            "map_threshold": conformal_threshold(good_peaks, false_alarm_rate) if n else None,
            "calibrated_on": n,
            "lowest_false_alarm_rate": lowest_false_alarm_rate(n) if n else None}


def how_decided(calibration: str, count: int, false_alarm_rate: float) -> str:
    """Where a threshold comes from, in words, and what it cannot promise."""
    if not count:
        return "none where no good image was left to take a threshold from"
    lowest = lowest_false_alarm_rate(count)
    at_best = f"; so few can promise {lowest:.2g} at best" if lowest > false_alarm_rate else ""
    return (f"{calibration} on {count} good images, for a false-alarm rate of "
            f"{false_alarm_rate:.2g}{at_best}")


def verdict(score: float, threshold: float | None) -> str:
    """"defective" above the threshold, else "good"; "n/a" if there is none."""
    if threshold is None:
        return "n/a"
    return "defective" if score > threshold else "good"


def told(name: str, score: float, threshold: float | None) -> str:
    """What a picture of an image is headed with: its score, the limit and the verdict."""
    known = "" if threshold is None else f" (limit {threshold:.3g})"
    return f"{name}: score {score:.3g}{known}, verdict {verdict(score, threshold)}"


def conformal_rank(good_scores: np.ndarray, score: float | np.ndarray) -> np.ndarray:
    """How unusual a score is among good ones: (1 + #{good >= score}) / (n + 1), in (0, 1].

    Up to ties it is uniform for a good image and small for a defective one, whatever the scale of
    the scores; P(rank <= a) <= a for a good one. So it is a p-value, and "rank <= a" is the verdict
    of `conformal_threshold`, as long as n can promise a.

    Args:
        good_scores: `(n,)` scores of good images that the model had not seen, n >= 1.
        score: of any shape, which is the shape of the result.

    Example:
        >>> conformal_rank(np.array([1.0, 2.0, 3.0]), [0.5, 2.0, 9.0])
        array([1.  , 0.75, 0.25])
    """
    good_scores = np.sort(_good(good_scores))
    at_least = len(good_scores) - np.searchsorted(good_scores, score, side="left")
    return (1 + at_least) / (len(good_scores) + 1)


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
    for name, cost in (("cost_miss", cost_miss), ("cost_alarm", cost_alarm)):
        if not 0 <= cost < math.inf:
            raise InputError(f"{name} is {cost}; it must be a number, 0 or more")
    if cost_miss == cost_alarm == 0:
        raise InputError("cost_miss and cost_alarm are both 0; then every threshold costs the same")
    if defect_rate is not None and not 0 < defect_rate < 1:
        raise InputError(f"defect_rate is {defect_rate}; it must be in (0, 1)")
    thresholds, hits, alarms, defective, good = at_all_thresholds(scores, labels)
    # Times the number of images: with the labels' own rate, whole costs stay whole numbers.
    weight_miss, weight_alarm = 1.0, 1.0
    if defect_rate is not None:
        weight_miss = defect_rate * (defective + good) / defective
        weight_alarm = (1 - defect_rate) * (defective + good) / good
    cost = (defective - hits) * (weight_miss * cost_miss) + alarms * (weight_alarm * cost_alarm)
    return float(thresholds[np.argmin(cost)])


def _good(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    if len(scores) == 0:
        raise InputError("no good scores to take a threshold from; give at least one")
    if not np.isfinite(scores).all():
        raise InputError("good scores must be finite; there is a nan or an infinity among them")
    return scores


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
