"""Exercises of lesson 05: thresholds that good parts promise, what they cost, what alarms mean."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from . import Case, Exercise, brief


def _mistaking() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, scores, labels, threshold in (
            ("a good image above the threshold", [3.0], [0], 2.0),
            ("a defective image below it", [1.0], [1], 2.0),
            ("one mistake of each kind, and two right verdicts", [1.0, 3.0, 1.0, 3.0],
             [0, 0, 1, 1], 2.0),
            ("scores that are at the threshold: not above it", [2.0, 2.0, 2.0], [0, 1, 1], 2.0),
            ("forty images", generator.integers(0, 9, 40), generator.integers(0, 2, 40), 4.0)):
        alarms = sum(s > threshold and not one for s, one in zip(scores, labels, strict=True))
        misses = sum(s <= threshold and one for s, one in zip(scores, labels, strict=True))
        yield Case({"scores": np.array(scores, float), "labels": np.array(labels, int),
                    "threshold": threshold}, (alarms, misses), says)


def promised(good_scores: np.ndarray, rate: str) -> float:
    """The smallest good score that few enough of n + 1 parts can exceed, or the largest of all."""
    n = len(good_scores)
    for place, score in enumerate(sorted(good_scores), start=1):
        if Fraction(n + 1 - place, n + 1) <= Fraction(rate):
            return float(score)
    return float(max(good_scores))


def _promising() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, scores, rate in (
            ("three scores and a rate of one half: the 2nd of 3", [1.0, 2.0, 3.0], "0.5"),
            ("scores that are not sorted", [3.0, 1.0, 2.0], "0.5"),
            ("three scores and 25 %: the largest is just enough", [1.0, 2.0, 3.0], "0.25"),
            ("three scores and 10 %: too few, so the largest", [1.0, 2.0, 3.0], "0.1"),
            ("a single score and a rate of one half", [5.0], "0.5"),
            ("nineteen scores and 20 %: the 16th", list(range(19, 0, -1)), "0.2"),
            ("negative scores", [-1.0, -2.0, -3.0, -4.0], "0.3"),
            ("98 scores and 1 %: one short, so the largest", generator.random(98), "0.01"),
            ("100 random scores and 5 %", generator.random(100), "0.05")):
        scores = np.array(scores, float)
        yield Case({"good_scores": scores, "rate": float(rate)}, promised(scores, rate), says)


def _needing() -> Iterator[Case]:
    for says, rate in (("one half: one part", "0.5"), ("a quarter: three parts", "0.25"),
                       ("30 %, which is no 1 / (n + 1)", "0.3"), ("5 %", "0.05"),
                       ("one in a thousand", "0.001"), ("7 %", "0.07")):
        n = 0
        while Fraction(1, n + 1) > Fraction(rate):
            n += 1
        yield Case({"rate": float(rate)}, n, says)


def nearly_certain(good_scores: np.ndarray, rate: str, confidence: str) -> float:
    """The lowest good score that keeps to the rate in so many cases, in exact fractions."""
    n, above = len(good_scores), Fraction(rate)
    for r, score in enumerate(sorted(good_scores), start=1):
        fewer = sum(math.comb(n, k) * (1 - above)**k * above**(n - k) for k in range(r))
        if fewer >= Fraction(confidence):
            return float(score)
    return math.inf


def _making_certain() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, scores, rate, confidence in (
            ("one score, rate 60 %: below it in 40 % of all cases, so 60 % sure", [5.0], "0.6",
             "0.55"),
            ("one score, the same rate, 65 % sure: not to be had", [5.0], "0.6", "0.65"),
            ("two scores and one half, 70 % sure: the larger", [1.0, 2.0], "0.5", "0.7"),
            ("scores that are not sorted", [3.0, 1.0, 2.0, 4.0], "0.5", "0.6"),
            ("28 scores, 10 %, 95 % sure: one short", generator.random(28), "0.1", "0.95"),
            ("29 scores, 10 %, 95 % sure: just enough", generator.random(29), "0.1", "0.95"),
            ("59 scores, 10 %, 95 % sure", generator.random(59), "0.1", "0.95"),
            ("300 scores, 5 %, 90 % sure", generator.random(300), "0.05", "0.9")):
        scores = np.array(scores, float)
        yield Case({"good_scores": scores, "rate": float(rate), "confidence": float(confidence)},
                   nearly_certain(scores, rate, confidence), says)


def total_cost(scores: np.ndarray, labels: np.ndarray, threshold: float, cost_miss: float,
               cost_alarm: float) -> float:
    return (cost_miss * np.sum((scores <= threshold) & (labels == 1))
            + cost_alarm * np.sum((scores > threshold) & (labels == 0)))


def _as_cheap(case: dict) -> Callable[[object], str | None]:
    def find(returned: object) -> str | None:
        try:
            threshold = float(returned)
        except (TypeError, ValueError):
            return f"it returned {brief(returned)}, expected a number"
        if math.isnan(threshold):
            return "it returned nan"
        levels = [-math.inf, *np.unique(case["scores"])]
        costs = [total_cost(threshold=level, **case) for level in levels]
        lowest, found = min(costs), total_cost(threshold=threshold, **case)
        if found <= lowest + 1e-9:
            return None
        return (f"threshold {threshold:.6g} costs {found:.6g}, but "
                f"{levels[int(np.argmin(costs))]:.6g} costs {lowest:.6g}")
    return find


def _pricing() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    rare = generator.random(60) < 0.2
    random = np.round(generator.normal(size=60) + 1.5 * rare, 1)
    for says, scores, labels, cost_miss, cost_alarm in (
            ("two images that can be told apart", [1.0, 2.0], [0, 1], 20, 1),
            ("a good image with the higher score: better an alarm than a miss",
             [1.0, 2.0], [1, 0], 20, 1),
            ("the same, when alarms are dear: flag nothing", [1.0, 2.0], [1, 0], 1, 20),
            ("a tie of a good and a defective image: they get the same verdict",
             [1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1], 1, 5),
            ("60 images, misses dear", random, rare, 20, 1),
            ("60 images, both alike", random, rare, 1, 1),
            ("60 images, misses a little dearer", random, rare, 4, 1),
            ("60 images, alarms dear", random, rare, 1, 3)):
        case = {"scores": np.array(scores), "labels": np.array(labels, int),
                "cost_miss": cost_miss, "cost_alarm": cost_alarm}
        yield Case(case, says=says, judge=_as_cheap(case))


def _ranking() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, good, new in (
            ("one good score, and a higher one", [1.0], [2.0]),
            ("one good score, and a lower one", [2.0], [1.0]),
            ("a score level with a good one: that one is at least as high", [1.0, 2.0], [2.0]),
            ("three new scores", [1.0, 2.0, 3.0], [0.5, 2.5, 9.0]),
            ("good scores that are not sorted", [3.0, 1.0, 2.0], [1.5]),
            ("fifty good scores and twenty new ones", np.round(generator.normal(size=50), 1),
             np.round(generator.normal(size=20), 1))):
        ranks = [(1 + sum(one >= score for one in good)) / (len(good) + 1) for score in new]
        yield Case({"good_scores": np.array(good, float), "new_scores": np.array(new, float)},
                   ranks, says)


def _affording() -> Iterator[Case]:
    for says, found, defective, wanted in (
            ("half of the parts defective, all found, half of the alarms true", "1", "0.5", "0.5"),
            ("one part in ten defective, all found, half of the alarms true", "1", "0.1", "0.5"),
            ("the same, but nine of ten alarms shall be true", "1", "0.1", "0.9"),
            ("one part in 200 defective, 90 % of them found", "0.9", "0.005", "0.5"),
            ("every alarm true", "0.8", "0.1", "1"),
            ("so many defects that flagging all is good enough", "1", "0.5", "0.2")):
        found_, defective_, wanted_ = map(Fraction, (found, defective, wanted))
        true = found_ * defective_  # true / (true + false) is to be `wanted`
        false = true / wanted_ - true
        yield Case({"found": float(found), "defective": float(defective), "wanted": float(wanted)},
                   float(min(Fraction(1), false / (1 - defective_))), says)


EXERCISES = {
    "05.1": Exercise(_mistaking, hint="flagged means strictly above; first false alarms (good and "
                     "flagged), then misses (defective and not flagged)"),
    "05.2": Exercise(_promising, hint="the new part is one of n + 1: take the "
                     "ceil((n + 1)(1 - a))-th smallest, and the largest if there is none"),
    "05.3": Exercise(_needing, hint="the promise is 1 / (n + 1), not 1 / n; round up"),
    "05.4": Exercise(_making_certain, hint="fewer than r heads are 0 to r - 1 heads; a head, a "
                     "score among the low ones, has the probability 1 - rate"),
    "05.5": Exercise(_pricing, hint="try each score as threshold, and one below all of them; "
                     "flagged means strictly above"),
    "05.6": Exercise(_ranking, hint="at least as high includes level scores, and the new part "
                     "counts among the n + 1"),
    "05.7": Exercise(_affording, hint="the false alarms are a share of the good parts, which are "
                     "1 - defective of all"),
}
