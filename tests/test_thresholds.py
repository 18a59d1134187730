"""From scores to verdicts: every promise of a docstring, against the slow obvious way."""

import itertools

import numpy as np
import pytest

from indad.calibration import conformal_rank, conformal_threshold, lowest_false_alarm_rate
from indad.errors import InputError
from indad.experiments.thresholds import best_cost_threshold, f1_max_threshold
from indad.metrics import image_metrics


def test_conformal_threshold_keeps_its_promise():
    rng = np.random.default_rng(0)
    for n, rate in ((19, 0.05), (40, 0.1), (200, 0.02)):
        alarms = np.mean([rng.normal(size=500) > conformal_threshold(rng.normal(size=n), rate)
                          for _ in range(400)])
        assert rate - 1 / (n + 1) - 0.01 <= alarms <= rate + 0.01


def test_the_promise_is_exact_over_all_orders():
    """Each of n + 1 exchangeable scores is equally often the new one: count, draw nothing."""
    for n, rate in itertools.product((1, 3, 7, 19, 32, 99), (0.05, 0.1, 0.25, 0.42, 0.5)):
        for scores in (np.arange(n + 1.0), np.arange(n + 1) // 3):  # without and with ties
            alarms = np.mean([scores[new] > conformal_threshold(np.delete(scores, new), rate)
                              for new in range(n + 1)])
            assert alarms <= max(rate, lowest_false_alarm_rate(n)) + 1e-12
        alarms = np.mean([new > conformal_threshold(np.delete(np.arange(n + 1), new), rate)
                          for new in range(n + 1)])
        if rate >= lowest_false_alarm_rate(n):  # no lower than it must be, either
            assert alarms > rate - 1 / (n + 1)


def test_too_few_scores_take_the_largest():
    assert conformal_threshold(np.array([3.0, 1.0]), 0.05) == 3.0
    assert lowest_false_alarm_rate(2) == pytest.approx(1 / 3)


def test_rounding_does_not_move_the_rank():
    assert (99 + 1) * (1 - 0.42) > 58  # in floating point
    assert conformal_threshold(np.arange(1, 100), 0.42) == 58


@pytest.mark.parametrize("scores, rate, message", [
    ([], 0.1, "no good scores"), ([1.0], 0, r"false_alarm_rate is 0; it must be in \(0, 1\)"),
    ([1.0], 1, "false_alarm_rate is 1"), ([1.0, np.nan], 0.1, "must be finite")])
def test_conformal_threshold_refuses(scores, rate, message):
    with pytest.raises(InputError, match=message):
        conformal_threshold(np.array(scores), rate)


def test_conformal_rank_is_a_count():
    rng = np.random.default_rng(1)
    good, new = rng.integers(0, 10, 30), rng.integers(-2, 13, (4, 5))
    found = conformal_rank(good, new)
    assert found.shape == (4, 5)
    for rank, score in zip(found.flat, new.flat, strict=True):
        assert rank == (1 + sum(g >= score for g in good)) / 31
    assert conformal_rank(good, 99) == lowest_false_alarm_rate(30)
    assert conformal_rank(good, -99) == 1
    with pytest.raises(InputError, match="no good scores"):
        conformal_rank(np.empty(0), 1.0)


def test_rank_and_threshold_say_the_same():
    rng = np.random.default_rng(2)
    for n, rate in itertools.product((19, 32, 100), (0.06, 0.1, 0.25, 0.42)):
        good, new = rng.integers(0, 15, n), np.arange(-1, 17)
        flagged = new > conformal_threshold(good, rate)
        assert flagged.tolist() == (conformal_rank(good, new) <= rate + 1e-12).tolist()


def test_the_rank_of_a_good_image_is_a_p_value():
    rng = np.random.default_rng(3)
    ranks = np.array([conformal_rank(*np.split(rng.exponential(size=25), [24])) for _ in
                      range(4000)])
    for rate in (0.04, 0.2, 0.6):  # multiples of 1/25: equal, not only at most
        assert np.mean(ranks <= rate + 1e-12) == pytest.approx(rate, abs=0.03)


def all_thresholds(scores):
    """One of each kind that could be wanted: between, on, below and above all scores."""
    levels = np.unique(scores).astype(float)
    return np.concatenate([[levels[0] - 1], levels, (levels[1:] + levels[:-1]) / 2])


def labelled(seed):
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, 12), [0, 1])
    scores = rng.integers(0, 6, 14) + labels * rng.integers(0, 3, 14)
    return scores.astype((np.float32, np.float64, np.int64)[seed % 3]), labels


@pytest.mark.parametrize("seed", range(30))
def test_f1_max_threshold_is_the_best_of_all(seed):
    scores, labels = labelled(seed)

    def f1(threshold):
        flagged = scores > threshold
        return 2 * (flagged & (labels == 1)).sum() / (flagged.sum() + labels.sum())

    found = f1_max_threshold(scores, labels)
    best = max(map(f1, all_thresholds(scores)))
    assert f1(found) == best == image_metrics(scores, labels)["image_f1_max"]
    assert all(f1(t) < best for t in all_thresholds(scores) if t > found
               and (scores > t).sum() < (scores > found).sum())  # the highest of the best


def test_of_equally_good_f1_thresholds_the_highest():
    """One hit alone, or both with two false alarms: 2/3 either way."""
    assert f1_max_threshold(np.array([4.0, 3, 2, 1]), np.array([1, 0, 0, 1])) == 3


@pytest.mark.parametrize("rate", [None, 0.01, 0.5, 0.9])
@pytest.mark.parametrize("costs", [(1, 1), (100, 1), (1, 30), (0, 1), (1, 0)])
def test_best_cost_threshold_is_the_best_of_all(costs, rate):
    for seed in range(12):
        scores, labels = labelled(seed)
        share = labels.mean() if rate is None else rate

        def cost(threshold, scores=scores, labels=labels, share=share):
            flagged = scores > threshold
            return (share * costs[0] * (~flagged[labels == 1]).mean()
                    + (1 - share) * costs[1] * flagged[labels == 0].mean())

        found = best_cost_threshold(scores, labels, cost_miss=costs[0], cost_alarm=costs[1],
                                    defect_rate=rate)
        best = min(map(cost, all_thresholds(scores)))
        assert cost(found) == pytest.approx(best, abs=1e-12)
        assert all(cost(t) > best - 1e-12 for t in all_thresholds(scores))


def test_costs_move_the_threshold_the_way_they_should():
    scores, labels = np.array([1.0, 2, 3, 4]), np.array([0, 1, 0, 1])
    best = lambda **costs: best_cost_threshold(scores, labels, **costs)  # noqa: E731
    assert best(cost_miss=9, cost_alarm=1) == 1
    assert best(cost_miss=1, cost_alarm=9) == 3
    assert best(cost_miss=1, cost_alarm=1) == 3  # a tie of 1 and 3: the highest
    assert best(cost_miss=0, cost_alarm=1) == 4  # nothing is flagged
    assert (scores > best(cost_miss=1, cost_alarm=0, defect_rate=0.5)).tolist() == [
        False, True, True, True]
    assert best(cost_miss=9, cost_alarm=1, defect_rate=0.01) == 3  # defects are rare
    worst_first = best_cost_threshold(scores, 1 - labels, cost_miss=99, cost_alarm=1)
    assert (scores > worst_first).all() and worst_first > 0.999  # all flagged, just below


def test_equal_scores_of_single_precision_stay_on_one_side():
    low = np.float32(0.1)
    scores = np.array([low, low, np.nextafter(low, np.float32(1))])
    threshold = f1_max_threshold(scores, np.array([0, 0, 1]))
    assert (scores > threshold).tolist() == [False, False, True]
    threshold = f1_max_threshold(scores, np.array([1, 1, 0]))
    assert (scores > threshold).all()


@pytest.mark.parametrize("scores, labels, costs, message", [
    ([1.0, 2.0], [1, 1], {}, "labels are all the same"),
    ([1.0, 2.0], [1], {}, r"scores are \(2,\) and labels \(1,\)"),
    ([1.0, np.inf], [0, 1], {}, "must be finite"),
    ([1.0, 2.0], [0, 1], {"cost_miss": -1}, "cost_miss is -1; it must be a number, 0 or more"),
    ([1.0, 2.0], [0, 1], {"cost_miss": 0, "cost_alarm": 0}, "both 0"),
    ([1.0, 2.0], [0, 1], {"cost_alarm": np.inf}, "cost_alarm is inf"),
    ([1.0, 2.0], [0, 1], {"defect_rate": 1}, r"defect_rate is 1; it must be in \(0, 1\)"),
])
def test_thresholds_from_labels_refuse(scores, labels, costs, message):
    costs = {"cost_miss": 1, "cost_alarm": 1} | costs
    with pytest.raises(InputError, match=message):
        best_cost_threshold(np.array(scores), np.array(labels), **costs)
