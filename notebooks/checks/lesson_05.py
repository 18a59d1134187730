"""Exercises of lesson 05: a threshold that good parts promise, and the cheapest one."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from . import Case, Exercise, brief


def promised(good_scores: np.ndarray, rate: str) -> float:
    """The smallest good score that few enough of n + 1 parts can exceed, or infinity."""
    n = len(good_scores)
    for place, score in enumerate(sorted(good_scores), start=1):
        if Fraction(n + 1 - place, n + 1) <= Fraction(rate):
            return float(score)
    return math.inf


def _promising() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, scores, rate in (
            ("three scores and a rate of one half: the 2nd of 3", [1.0, 2.0, 3.0], "0.5"),
            ("scores that are not sorted", [3.0, 1.0, 2.0], "0.5"),
            ("three scores and 25 %: the largest is just enough", [1.0, 2.0, 3.0], "0.25"),
            ("three scores and 10 %: too few for any finite threshold", [1.0, 2.0, 3.0], "0.1"),
            ("a single score and a rate of one half", [5.0], "0.5"),
            ("nineteen scores and 20 %: the 16th", list(range(19, 0, -1)), "0.2"),
            ("negative scores", [-1.0, -2.0, -3.0, -4.0], "0.3"),
            ("98 scores and 1 %: one short", generator.random(98), "0.01"),
            ("100 random scores and 5 %", generator.random(100), "0.05")):
        scores = np.array(scores, float)
        yield Case({"good_scores": scores, "rate": float(rate)}, promised(scores, rate), says)


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


EXERCISES = {
    "05.1": Exercise(_promising, hint="the new part is one of n + 1: take the "
                     "ceil((n + 1)(1 - a))-th smallest, and infinity if there is none"),
    "05.2": Exercise(_pricing, hint="try each score as threshold, and one below all of them; "
                     "flagged means strictly above"),
}
