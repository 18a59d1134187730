"""Wrong answers to the exercises of lesson 05, which their checks must refuse."""

import math

import numpy as np


def without_the_new_part(good_scores, rate):
    """n instead of n + 1."""
    rank = math.ceil(len(good_scores) * (1 - rate))
    return float(np.sort(good_scores)[rank - 1])


def quantile(good_scores, rate):
    """What everybody writes first."""
    return float(np.quantile(good_scores, 1 - rate))


def off_by_one(good_scores, rate):
    """The rank taken for a position."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(np.sort(good_scores)[rank]) if rank < len(good_scores) else math.inf


def largest_if_too_few(good_scores, rate):
    """A promise that cannot be kept is made."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(np.sort(good_scores)[min(rank, len(good_scores)) - 1])


def not_sorted(good_scores, rate):
    """The scores as they come."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(good_scores[rank - 1]) if rank <= len(good_scores) else math.inf


def rate_of_good(good_scores, rate):
    """The rate taken for the share that passes."""
    rank = math.ceil((len(good_scores) + 1) * rate)
    return float(np.sort(good_scores)[rank - 1]) if rank <= len(good_scores) else math.inf


def _cheapest(levels, scores, labels, cost_miss, cost_alarm):
    costs = [cost_miss * np.sum((scores <= level) & (labels == 1))
             + cost_alarm * np.sum((scores > level) & (labels == 0)) for level in levels]
    return float(levels[np.argmin(costs)])


def costs_swapped(scores, labels, cost_miss=20, cost_alarm=1):
    """A miss priced as an alarm."""
    return _cheapest(np.append(np.unique(scores), scores.min() - 1), scores, labels, cost_alarm,
                     cost_miss)


def never_all(scores, labels, cost_miss=20, cost_alarm=1):
    """The threshold that flags everything is not tried."""
    return _cheapest(np.unique(scores), scores, labels, cost_miss, cost_alarm)


def never_none(scores, labels, cost_miss=20, cost_alarm=1):
    """The threshold that flags nothing is not tried."""
    levels = np.append(np.unique(scores)[:-1], scores.min() - 1)
    return _cheapest(levels, scores, labels, cost_miss, cost_alarm)


def at_least(scores, labels, cost_miss=20, cost_alarm=1):
    """Flags what is at the threshold, too."""
    levels = np.append(np.unique(scores), scores.max() + 1)
    costs = [cost_miss * np.sum((scores < level) & (labels == 1))
             + cost_alarm * np.sum((scores >= level) & (labels == 0)) for level in levels]
    return float(levels[np.argmin(costs)])


def default_costs(scores, labels, cost_miss=20, cost_alarm=1):
    """The prices are ignored."""
    return _cheapest(np.append(np.unique(scores), scores.min() - 1), scores, labels, 20, 1)


def rates_not_counts(scores, labels, cost_miss=20, cost_alarm=1):
    """Shares of each label instead of images."""
    levels = np.append(np.unique(scores), scores.min() - 1)
    return _cheapest(levels, scores, labels, cost_miss / max(labels.sum(), 1),
                     cost_alarm / max((1 - labels).sum(), 1))


MUTANTS = {
    "05.1": [without_the_new_part, quantile, off_by_one, largest_if_too_few, not_sorted,
             rate_of_good],
    "05.2": [costs_swapped, never_all, never_none, at_least, default_costs, rates_not_counts],
}
