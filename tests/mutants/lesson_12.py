"""Wrong answers to the exercises of lesson 12, which their checks must refuse."""

from pathlib import Path

import numpy as np

from indad.calibration import conformal_threshold
from indad.data.synthetic.capstone import Costs, seed_of
from notebooks.checks import lesson_12


def not_weighted(misses, alarms, share, miss, alarm):
    """Forgets how rare defects are."""
    return misses * miss + alarms * alarm


def all_may_alarm(misses, alarms, share, miss, alarm):
    """Takes the rate of alarms for one of all parts."""
    return share * misses * miss + alarms * alarm


def swapped(misses, alarms, share, miss, alarm):
    """Takes the price of the other mistake."""
    return share * misses * alarm + (1 - share) * alarms * miss


def _left_out(faults, kinds=("duplicate", "near_duplicate", "train_test_leak"), *, pick,
              unique=True, whole=False):
    unreadable, copies = [], []
    for fault in faults:
        names = [path if whole else Path(path).name for path in fault.paths]
        if fault.kind == "unreadable":
            unreadable += names
        elif fault.kind in kinds:
            copies += pick(names)
    return {"unreadable": sorted(unreadable), "copies": sorted({*copies} if unique else copies)}


def as_they_come(faults):
    """Takes the second of a pair, whichever comes first by name."""
    return _left_out(faults, pick=lambda names: names[1:])


def both_go(faults):
    """Leaves nothing of a picture that is there twice."""
    return _left_out(faults, pick=lambda names: names)


def exact_only(faults):
    """Forgets copies of other kinds."""
    return _left_out(faults, ("duplicate",), pick=lambda names: sorted(names)[1:])


def named_twice(faults):
    """Names a file once for each pair."""
    return _left_out(faults, pick=lambda names: sorted(names)[1:], unique=False)


def with_folders(faults):
    """Returns paths, not file names."""
    return _left_out(faults, pick=lambda names: sorted(names)[1:], whole=True)


def mean_and_deviation(scores):
    """What a single outlier moves."""
    return float(np.mean(scores) + 6 * np.std(scores))


def no_quarter(scores):
    """Calls as many strange as are beyond."""
    middle = np.median(scores)
    return float(middle + 6 * np.median(np.abs(np.array(scores) - middle)))


def rounded_up(scores):
    """One more than a quarter."""
    numbers = sorted(scores, reverse=True)
    return max(no_quarter(scores), numbers[max(len(numbers) // 4 - 1, 0)])


def quarter_only(scores):
    """Always a quarter."""
    return sorted(scores, reverse=True)[len(scores) // 4]


def _threshold(good, bad, share, miss, alarm, missed=lambda score, one: score <= one, lowest=True):
    def cost(one):
        return (share * miss * np.mean([missed(score, one) for score in bad])
                + (1 - share) * alarm * np.mean([score > one for score in good]))

    return min([min(*good, *bad) - 1] * lowest + [*good, *bad], key=cost)


def without_share(good, bad, share, miss, alarm):
    """As if every second part were defective."""
    return _threshold(good, bad, 0.5, miss, alarm)


def equal_is_above(good, bad, share, miss, alarm):
    """Counts a defect at the threshold as found."""
    return _threshold(good, bad, share, miss, alarm, lambda score, one: score < one)


def never_everything(good, bad, share, miss, alarm):
    """Never throws everything away."""
    return _threshold(good, bad, share, miss, alarm, lowest=False)


def highest_good(good, bad, share, miss, alarm):
    """No alarms, whatever a miss costs."""
    return max(good)


def by_a_rate(good, bad, share, miss, alarm):
    """A rate instead of costs."""
    return conformal_threshold(np.array(good), 0.1)


def made(name, left_out, bad, good_scores, bad_scores, scores, costs, words):
    """What is right; the answers below change one thing."""
    good, defective = np.array(good_scores), np.array(bad_scores)
    threshold, cost = lesson_12.cheapest(good, defective, costs)
    return {"name": name, "seed": seed_of(name), "audit": {**left_out, "bad": bad},
            "good_scores": good_scores, "bad_scores": bad_scores, "scores": scores,
            "threshold": threshold, "expected_cost": cost, "words": words,
            "verdicts": {file: "defective" if score > threshold else "good"
                         for file, score in scores.items()}}


def nothing(**work):
    """An empty report."""
    return {}


def of_somebody_else(**work):
    """A report that passes, of another name."""
    return made(**lesson_12.work_of("Barbara"))


def renamed(**work):
    """A report of somebody else, under one's own name and seed."""
    return made(**lesson_12.work_of("Barbara")) | {"name": work["name"],
                                                    "seed": seed_of(work["name"])}


def hash_of_the_name(**work):
    """Another seed in each process."""
    return made(**work) | {"seed": hash(work["name"])}


def all_good(**work):
    """Sells everything."""
    return made(**work) | {"verdicts": dict.fromkeys(work["scores"], "good")}


def turned_round(**work):
    """Takes high scores for good."""
    report = made(**work)
    return report | {"verdicts": {file: "good" if verdict == "defective" else "defective"
                                  for file, verdict in report["verdicts"].items()}}


def as_booleans(**work):
    """Verdicts as truth values."""
    report = made(**work)
    return report | {"verdicts": {file: verdict == "defective"
                                  for file, verdict in report["verdicts"].items()}}


def cost_of_all_parts(**work):
    """The cost of everything, not of a part."""
    report = made(**work)
    return report | {"expected_cost": 100 * report["expected_cost"] + 1}


def highest_threshold(**work):
    """Misses everything, and says what that costs."""
    costs: Costs = work["costs"]
    return made(**work) | {"threshold": 1e9, "expected_cost": costs.share * costs.miss,
                           "verdicts": dict.fromkeys(work["scores"], "good")}


def bad_ones_forgotten(**work):
    """Leaves out that there were bad parts."""
    report = made(**work)
    report["audit"].pop("bad")
    return report


def without_words(**work):
    """Says nothing."""
    return made(**work) | {"words": ""}


def first_ten(**work):
    """Judges half of the parts."""
    report = made(**work)
    return report | {"verdicts": dict([*report["verdicts"].items()][:10])}


MUTANTS = {
    "12.1": [not_weighted, all_may_alarm, swapped],
    "12.2": [as_they_come, both_go, exact_only, named_twice, with_folders],
    "12.3": [mean_and_deviation, no_quarter, rounded_up, quarter_only],
    "12.4": [without_share, equal_is_above, never_everything, highest_good, by_a_rate],
    "12.5": [nothing, of_somebody_else, renamed, hash_of_the_name, all_good, turned_round,
             as_booleans, cost_of_all_parts, highest_threshold, bad_ones_forgotten, without_words,
             first_ten],
}
