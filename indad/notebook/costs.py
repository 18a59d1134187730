"""What a threshold costs: slide it, and what a miss and an alarm cost, and how rare defects are."""

from typing import TYPE_CHECKING

import numpy as np

from ..experiments.thresholds import at_all_thresholds
from .pictures import DEFECTIVE, GOOD, levels_of
from .widgets import explore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
ALARM = (1, 2, 5, 10, 20, 50)
DEFECTIVE_PER_1000 = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def cost_figure(scores: np.ndarray, labels: np.ndarray, threshold: float, *, miss: float,
                alarm: float, share: float) -> "Figure":
    """Scores, and below them what 1,000 parts cost at each threshold, the cheapest marked.

    Args:
        scores, labels: `(n,)`, 1 for defective; both must occur.
        threshold: the one to look at: parts that score above it are flagged.
        miss, alarm: the cost of a defective part that passes, and of a good one that is flagged.
        share: of all parts that are defective, in (0, 1): where the parts are made, not here.
    """
    from matplotlib import pyplot

    levels, hits, alarms, defective, good = at_all_thresholds(scores, labels)
    misses_cost = 1000 * share * miss * (defective - hits) / defective
    alarms_cost = 1000 * (1 - share) * alarm * alarms / good
    costs = misses_cost + alarms_cost
    best = int(np.argmin(costs))
    here = int(np.argmax(levels <= threshold)) if threshold >= levels[-1] else len(levels) - 1
    figure, (upper, lower) = pyplot.subplots(2, sharex=True, figsize=(9, 4.6), layout="constrained",
                                             height_ratios=(1, 2.4))
    for label, colour, marker in ((0, GOOD, "o"), (1, DEFECTIVE, "^")):
        upper.plot(scores[labels == label], np.full(np.sum(labels == label), label), marker,
                   color=colour, alpha=0.5)
    upper.set_yticks((0, 1), ("good", "defective"))
    upper.set_ylim(-0.6, 1.6)
    steps = np.append(levels, levels[-1] - 0.03 * np.ptp(levels))
    for values, colour, style, name in (
            (costs, "black", "-", "both"), (misses_cost, DEFECTIVE, "--", "of misses"),
            (alarms_cost, GOOD, ":", "of alarms")):
        lower.step(steps[::-1], np.append(values, values[-1])[::-1], style, where="post",
                   color=colour, label=name)
    for axes in (upper, lower):
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
    lower.plot(levels[best], costs[best], "v", color="black", markersize=10, label="the cheapest")
    lower.set(xlabel="threshold (anomaly score)", ylabel="cost of 1,000 parts")
    lower.legend(loc="upper center", ncols=4, fontsize=9)
    lower.set_ylim(-0.04 * costs.max(), 1.25 * max(costs[0], costs[-1], costs.min() * 2))
    figure.suptitle(
        f"threshold {threshold:.2f}: 1,000 parts cost {costs[here]:,.0f} (misses "
        f"{misses_cost[here]:,.0f}, alarms {alarms_cost[here]:,.0f}); cheapest at "
        f"{levels[best]:.2f}: {costs[best]:,.0f}", fontsize=10)
    return figure


def browse_costs(scores: np.ndarray, labels: np.ndarray, start: float, *, miss: int = 20,
                 alarm: int = 1, defective_per_1000: int = 50, steps: int = 41) -> None:
    """Slide the threshold, both costs and the share of defective parts, and see what 1,000 parts
    cost; what is shown first is one of `MISS`, `ALARM` and `DEFECTIVE_PER_1000`."""
    start = round(float(start), 3)

    def draw(threshold: float, cost_of_a_miss: float, cost_of_an_alarm: float,
             defective_per_1000: int) -> "Figure":
        return cost_figure(scores, labels, threshold, miss=cost_of_a_miss, alarm=cost_of_an_alarm,
                           share=defective_per_1000 / 1000)

    explore(draw, threshold=levels_of(scores, start, steps), cost_of_a_miss=MISS,
            cost_of_an_alarm=ALARM, defective_per_1000=DEFECTIVE_PER_1000,
            start={"threshold": start, "cost_of_a_miss": miss, "cost_of_an_alarm": alarm,
                   "defective_per_1000": defective_per_1000},
            alt="scores of good and defective images, and below them the cost of 1,000 parts over "
                "the threshold, in all and of misses and of alarms, the cheapest one marked")
