"""Wrong answers to the exercises of lesson 05, which their checks must refuse."""

import math

import numpy as np


def at_least_flagged(scores, labels, threshold):
    """What is at the threshold is flagged."""
    return int(np.sum((scores >= threshold) & (labels == 0))), int(
        np.sum((scores < threshold) & (labels == 1)))


def other_order(scores, labels, threshold):
    """Misses first."""
    return int(np.sum((scores <= threshold) & (labels == 1))), int(
        np.sum((scores > threshold) & (labels == 0)))


def as_shares(scores, labels, threshold):
    """Shares instead of counts."""
    return np.mean((scores > threshold) & (labels == 0)), np.mean(
        (scores <= threshold) & (labels == 1))


def found_ones(scores, labels, threshold):
    """Defects that were found instead of those missed."""
    return int(np.sum((scores > threshold) & (labels == 0))), int(
        np.sum((scores > threshold) & (labels == 1)))


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
    return float(np.sort(good_scores)[min(rank, len(good_scores) - 1)])


def breaks_if_too_few(good_scores, rate):
    """A rank beyond n is no position."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(np.sort(good_scores)[rank - 1])


def infinite_if_too_few(good_scores, rate):
    """Flags nothing where the rank is beyond n."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(np.sort(good_scores)[rank - 1]) if rank <= len(good_scores) else math.inf


def not_sorted(good_scores, rate):
    """The scores as they come."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(good_scores[min(rank, len(good_scores)) - 1])


def rate_of_good(good_scores, rate):
    """The rate taken for the share that passes."""
    rank = math.ceil((len(good_scores) + 1) * rate)
    return float(np.sort(good_scores)[min(rank, len(good_scores)) - 1])


def one_over_n(rate):
    """The promise taken for 1 / n."""
    return math.ceil(1 / rate)


def rounded_down(rate):
    """Rounds in the wrong direction."""
    return math.floor(1 / rate) - 1


def rounded(rate):
    """Rounds to the nearest."""
    return round(1 / rate) - 1


def _by_heads(good_scores, rate, confidence, *, head, first):
    """The rank by adding up heads from 0 on; `first` heads are added for the first score."""
    n = len(good_scores)
    for r in range(1, n + 1):
        fewer = sum(math.comb(n, k) * head**k * (1 - head)**(n - k) for k in range(r + first))
        if fewer >= confidence:
            return float(np.sort(good_scores)[r - 1])
    return math.inf


def one_head_too_many(good_scores, rate, confidence):
    """P(r or fewer heads)."""
    return _by_heads(good_scores, rate, confidence, head=1 - rate, first=1)


def heads_are_alarms(good_scores, rate, confidence):
    """Heads taken for scores among the high ones."""
    return _by_heads(good_scores, rate, confidence, head=rate, first=0)


def certainty_as_rate(good_scores, rate, confidence):
    """The conformal rank, whatever the confidence."""
    rank = math.ceil((len(good_scores) + 1) * (1 - rate))
    return float(np.sort(good_scores)[rank - 1]) if rank <= len(good_scores) else math.inf


def largest_for_sure(good_scores, rate, confidence):
    """The largest score, always."""
    return float(np.max(good_scores))


def never_infinite(good_scores, rate, confidence):
    """The largest score where none is enough."""
    found = _by_heads(good_scores, rate, confidence, head=1 - rate, first=0)
    return found if math.isfinite(found) else float(np.max(good_scores))


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


def strictly_higher(good_scores, new_scores):
    """Level scores are not counted."""
    return (1 + (good_scores[None] > new_scores[:, None]).sum(1)) / (len(good_scores) + 1)


def without_itself(good_scores, new_scores):
    """The new part is not one of those in line."""
    return (good_scores[None] >= new_scores[:, None]).mean(1)


def share_below(good_scores, new_scores):
    """How many are lower: usual parts get low ranks."""
    return (1 + (good_scores[None] <= new_scores[:, None]).sum(1)) / (len(good_scores) + 1)


def other_axis(good_scores, new_scores):
    """A number for each good score."""
    return (1 + (good_scores[None] >= new_scores[:, None]).sum(0)) / (len(good_scores) + 1)


def share_of_all(found, defective, wanted):
    """False alarms as a share of all parts, not of the good ones."""
    return min(1.0, defective * found * (1 - wanted) / wanted)


def all_found(found, defective, wanted):
    """As if every defect were flagged."""
    return min(1.0, defective * (1 - wanted) / (wanted * (1 - defective)))


def upside_down(found, defective, wanted):
    """The share of false alarms taken for that of true ones."""
    return min(1.0, defective * found * wanted / max((1 - wanted) * (1 - defective), 1e-9))


def one_less_wanted(found, defective, wanted):
    """The share of alarms taken for the share of good parts."""
    return 1 - wanted


def beyond_all(found, defective, wanted):
    """More than all good parts."""
    return defective * found * (1 - wanted) / (wanted * (1 - defective))


MUTANTS = {
    "05.1": [at_least_flagged, other_order, as_shares, found_ones],
    "05.2": [without_the_new_part, quantile, off_by_one, breaks_if_too_few, infinite_if_too_few,
             not_sorted, rate_of_good],
    "05.3": [one_over_n, rounded_down, rounded],
    "05.4": [one_head_too_many, heads_are_alarms, certainty_as_rate, largest_for_sure,
             never_infinite],
    "05.5": [costs_swapped, never_all, never_none, at_least, default_costs, rates_not_counts],
    "05.6": [strictly_higher, without_itself, share_below, other_axis],
    "05.7": [share_of_all, all_found, upside_down, one_less_wanted, beyond_all],
}
