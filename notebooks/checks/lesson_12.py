"""Exercises of lesson 12, and the grader of its report: it finds the truth by the seed again."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from indad.data.audit import Finding
from indad.data.synthetic.capstone import KNOWN_BAD, Costs, Week, week_of
from indad.errors import InputError

from . import Case, Exercise

PARTS = {"name": "what you typed", "seed": "what seed_of(name) gives",
         "audit": "what you left out of the photos to learn from",
         "good_scores": "of the photos learned from", "bad_scores": "of the inspector's defects",
         "scores": "of the parts to be judged", "threshold": "of the verdicts",
         "expected_cost": "per part", "verdicts": "on the parts to be judged",
         "words": "thirty of yours at least"}
FORGIVEN = 2  # good parts among those that were called bad
BEAT = 0.75  # of the cheaper one of selling everything and throwing everything away
WORDS = 30


def grade_report(report: object) -> list[str]:
    """What is missing or wrong in a report, a line each; empty if nothing is.

    The truth comes from the report's own name: another's report has another's files.
    """
    if not isinstance(report, dict) or not report:
        return ["missing: there is no report yet (exercise 12.5 makes one)"]
    problems = [f"missing: {part}, {what}" for part, what in PARTS.items()
                if report.get(part) is None]
    try:
        if not isinstance(report.get("name"), (str, int)):
            raise InputError("a name or number is needed: your photos are drawn from it")
        week = week_of(report["name"])
    except InputError as error:
        return [*problems, f"wrong: name: {error}"]
    if week.name.casefold() == "anyone":
        problems.append("wrong: name: 'anyone' is nobody's; type yours, and run all again")
    for part, grade in GRADES.items():
        if report.get(part) is None:
            continue
        try:
            problems += [f"wrong: {part}: {problem}" for problem in grade(report, week)]
        except Exception:  # the report may hold anything
            problems.append(f"wrong: {part}: it, or what it is compared with, has not the form "
                            "that was asked for")
    return problems


def _seed(report: dict, week: Week) -> Iterator[str]:
    if report["seed"] != week.seed:
        yield f"it is {report['seed']}, but not that of {week.name!r}"


def _audit(report: dict, week: Week) -> Iterator[str]:
    unreadable, copies, bad = (set(report["audit"][kind])
                               for kind in ("unreadable", "copies", "bad"))
    foreign = (unreadable | copies | bad) - set(week.learn)
    if foreign:
        yield f"{_some(foreign)}: not among your photos to learn from"
    if week.unreadable - unreadable:
        yield "a file that cannot be read is not in the list"
    if (unreadable - week.unreadable) & set(week.learn):
        yield f"{_some(unreadable - week.unreadable)}: can be read"
    for group in week.copies:
        if len(group & copies) < len(group) - 1:
            yield f"a picture that is there {len(group)} times still is there more than once"
        if group <= copies:
            yield f"{_some(group)}: of this picture nothing is left"
    alone = copies & set(week.learn) - frozenset().union(*week.copies)
    if alone:
        yield f"{_some(alone)}: no copy of anything"
    missed = len(week.bad - bad)
    if missed:
        yield f"{missed} bad part{'s' * (missed > 1)} stayed among those to learn from"
    if len(bad - week.bad) > FORGIVEN:
        yield f"{len(bad - week.bad)} good parts are called bad; {FORGIVEN} are forgiven"


def _good(report: dict, week: Week) -> Iterator[str]:
    scores, fewest = _numbers(report["good_scores"]), usable(week) - FORGIVEN
    if not fewest <= len(scores) <= len(week.learn):
        yield f"there are {len(scores)}, of {fewest} photos at least that can be learned from"
    if len(np.unique(scores)) < len(scores) / 2:
        yield "most of them are the same number"


def _bad(report: dict, week: Week) -> Iterator[str]:
    if len(_numbers(report["bad_scores"])) != KNOWN_BAD:
        yield f"there are {len(report['bad_scores'])}, but {KNOWN_BAD} parts known to be defective"


def _scores(report: dict, week: Week) -> Iterator[str]:
    if set(report["scores"]) != set(week.judged):
        yield from _files(report["scores"], week)
        return
    _numbers([*report["scores"].values()])


def _threshold(report: dict, week: Week) -> Iterator[str]:
    good, bad = _numbers(report["good_scores"]), _numbers(report["bad_scores"])
    if cost(float(report["threshold"]), good, bad, week.costs) > 1.01 * cheapest(
            good, bad, week.costs)[1]:
        yield "from your own scores, another one costs less"


def _expected(report: dict, week: Week) -> Iterator[str]:
    good, bad = _numbers(report["good_scores"]), _numbers(report["bad_scores"])
    right = cost(float(report["threshold"]), good, bad, week.costs)
    if not math.isclose(float(report["expected_cost"]), right, rel_tol=0.01, abs_tol=1e-6):
        yield (f"it is {float(report['expected_cost']):.4g}, which is not what this threshold "
               "costs, from your scores")


def _verdicts(report: dict, week: Week) -> Iterator[str]:
    verdicts, threshold = report["verdicts"], float(report["threshold"])
    if set(verdicts) != set(week.judged):
        yield from _files(verdicts, week)
        return
    odd = {str(verdict) for verdict in verdicts.values()} - {"good", "defective"}
    if odd:
        yield f'{_some(odd)}: say "good" or "defective"'
        return
    against = [file for file, verdict in verdicts.items()
               if (verdict == "defective") != (report["scores"][file] > threshold)]
    if against:
        yield f"{_some(against)}: not what score and threshold say"
    flagged = np.array([verdicts[file] == "defective" for file in week.judged])
    truth, costs = np.array([*week.judged.values()]), week.costs
    spent = (costs.share * costs.miss * np.mean(~flagged[truth])
             + (1 - costs.share) * costs.alarm * np.mean(flagged[~truth]))
    if spent > BEAT * min(costs.share * costs.miss, (1 - costs.share) * costs.alarm):
        yield ("with these, mistakes cost more than three quarters of the cheaper one of selling "
               "everything and throwing everything away")


def _words(report: dict, week: Week) -> Iterator[str]:
    words = re.findall(r"\w+", str(report["words"]).casefold())
    if len(words) < WORDS:
        yield f"there are {len(words)}, of {WORDS} at least"
    elif len(set(words)) < WORDS / 2:
        yield "they repeat themselves"


GRADES: dict[str, Callable[[dict, Week], Iterator[str]]] = {
    "seed": _seed, "audit": _audit, "good_scores": _good, "bad_scores": _bad, "scores": _scores,
    "threshold": _threshold, "expected_cost": _expected, "verdicts": _verdicts, "words": _words}


def _numbers(values: object) -> np.ndarray:
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise ValueError("not a row of numbers")
    return found


def _files(by_file: dict, week: Week) -> Iterator[str]:
    missing, foreign = set(week.judged) - set(by_file), set(by_file) - set(week.judged)
    if missing:
        yield f"{len(missing)} of your {len(week.judged)} parts are missing"
    if foreign:
        yield f"{_some(foreign)}: none of your parts to be judged"


def _some(names: object, most: int = 3) -> str:
    listed = sorted(map(str, names))  # type: ignore[call-overload]
    return ", ".join(listed[:most]) + f" and {len(listed) - most} more" * (len(listed) > most)


def usable(week: Week) -> int:
    """How many good photos, each a picture of its own, there are to learn from."""
    copies = sum(len(group) - 1 for group in week.copies)
    return len(week.learn) - len(week.bad) - len(week.unreadable) - copies


def cost(threshold: float, good: np.ndarray, bad: np.ndarray, costs: Costs) -> float:
    """Euros per part, where parts above the threshold are thrown away."""
    misses = sum(score <= threshold for score in bad) / len(bad)
    alarms = sum(score > threshold for score in good) / len(good)
    return float(costs.share * misses * costs.miss + (1 - costs.share) * alarms * costs.alarm)


def cheapest(good: np.ndarray, bad: np.ndarray, costs: Costs) -> tuple[float, float]:
    """A threshold of the least cost, and that cost."""
    every = [min(*good, *bad) - 1, *good, *bad]
    return min(((one, cost(one, good, bad, costs)) for one in every), key=lambda pair: pair[1])


def _expectations() -> Iterator[Case]:
    for misses, alarms, share, says in ((0.0, 0.0, 0.02, "a detector without mistakes"),
                                        (1.0, 0.0, 0.02, "everything is sold"),
                                        (0.0, 1.0, 0.02, "everything is thrown away"),
                                        (0.25, 0.1, 0.1, "some mistakes of both kinds")):
        yield Case({"misses": misses, "alarms": alarms, "share": share, "miss": 100, "alarm": 4},
                   share * misses * 100 + (1 - share) * alarms * 4, says)


def _faults() -> Iterator[Case]:
    def fault(kind: str, *names: str) -> Finding:
        return Finding(kind, kind, tuple(f"good/{name}" for name in names))

    for faults, unreadable, copies, says in (
            ([], [], [], "a folder without faults"),
            ([fault("unreadable", "c.png")], ["c.png"], [], "a file that cannot be read"),
            ([fault("duplicate", "a.png", "b.png")], [], ["b.png"], "two files of one picture"),
            ([fault("train_test_leak", "d.png", "b.png")], [], ["d.png"],
             "a pair whose second name comes first"),
            ([fault("odd_name", "x y.png"), fault("odd_size", "z.png")], [], [],
             "faults of other kinds"),
            ([fault("duplicate", "a.png", "b.png"), fault("near_duplicate", "a.png", "c.png"),
              fault("train_test_leak", "c.png", "b.png")], [], ["b.png", "c.png"],
             "three files of one picture: two go, each named once"),
            ([fault("unreadable", "q.png"), fault("near_duplicate", "s.png", "r.png"),
              fault("unreadable", "p.png")], ["p.png", "q.png"], ["s.png"], "all of it")):
        expected = {"unreadable": unreadable, "copies": copies}
        yield Case({"faults": faults}, says=says, judge=_same_lists(expected))


def _same_lists(expected: dict[str, list[str]]) -> Callable[[object], str | None]:
    def judge(returned: object) -> str | None:
        return None if returned == expected else f"it returned {returned!r}, expected {expected!r}"
    return judge


def _limits() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    usual = generator.uniform(4, 6, 20).round(2).tolist()
    for scores, says in (([5.0, 5.0, 5.0, 5.0], "four scores that are all the same"),
                         ([4.0, 5.0, 6.0, 5.5, 4.5], "five scores close together"),
                         ([*usual, 40.0], "a single score far away, which must not hide itself"),
                         ([1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 8.0, 7.0],
                          "three of eight scores far away: only two may be strange"),
                         ([5.0, 1.0, 1.0, 1.0, 1.0, 4.0, 3.0], "a quarter of seven, rounded down")):
        numbers = sorted(scores, reverse=True)
        middle = float(np.median(scores))
        spread = float(np.median([abs(score - middle) for score in scores]))
        yield Case({"scores": scores}, max(middle + 6 * spread, numbers[len(numbers) // 4]), says)


def _thresholds() -> Iterator[Case]:
    generator = np.random.default_rng(1)
    good, bad = generator.normal(10, 1, 30).round(2), generator.normal(12, 1.5, 8).round(2)
    for ours, theirs, share, miss, alarm, says in (
            ([1.0, 2.0], [3.0, 4.0], 0.02, 100, 4, "scores that do not mix"),
            ([1.0, 2.0, 5.0], [4.0, 6.0], 0.02, 1000, 4, "a dear miss: one alarm is due"),
            ([1.0, 2.0, 5.0], [4.0, 6.0], 0.001, 100, 4, "few defects: better to miss one"),
            ([1.0, 2.0], [0.5, 4.0], 0.5, 100, 1, "so dear a miss that everything goes"),
            ([1.0, 2.0], [2.0, 3.0], 0.1, 100, 4, "a defect that scores as high as a good part"),
            (good.tolist(), bad.tolist(), 0.03, 150, 4, "thirty good and eight defective parts")):
        costs = Costs(miss, alarm, share)

        def judge(returned: object, ours: list = ours, theirs: list = theirs, costs: Costs = costs,
                  ) -> str | None:
            try:
                threshold = float(returned)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                return f"it returned {returned!r}, expected a number"
            spent = cost(threshold, np.array(ours), np.array(theirs), costs)
            best = cheapest(np.array(ours), np.array(theirs), costs)[1]
            return None if spent <= best + 1e-9 else (
                f"it returned {threshold:.4g}, which costs {spent:.3g} a part; it goes for "
                f"{best:.3g}")
        yield Case({"good": ours, "bad": theirs, "share": share, "miss": miss, "alarm": alarm},
                   says=says, judge=judge)


def work_of(name: str) -> dict[str, Any]:
    """What a student of this name may have before the report: all that is true, and clear scores.
    """
    week, generator = week_of(name), np.random.default_rng(week_of(name).seed)
    copies = [sorted(group)[1:] for group in week.copies]
    return {"name": name, "bad": sorted(week.bad),
            "left_out": {"unreadable": sorted(week.unreadable), "copies": sorted(sum(copies, []))},
            "good_scores": generator.normal(8, 1, usable(week)).round(3).tolist(),
            "bad_scores": generator.normal(14, 1, KNOWN_BAD).round(3).tolist(),
            "scores": {file: round(float(generator.normal(14 if defective else 8, 0.5)), 3)
                       for file, defective in week.judged.items()},
            "costs": week.costs, "words": " ".join(
                f"Of {len(week.learn)} photos I left out {place}, because {why};" for place, why in
                enumerate(("it could not be read", "its picture was there twice already",
                           "its surface shows a defect", "nobody knew where it was from")))}


def _reports() -> Iterator[Case]:
    for name, says in (("Ada", "a report for Ada, from numbers of hers"),
                       ("4711", "a report for number 4711"),
                       ("Grace  HOPPER", "a name with two spaces and capitals")):
        work = work_of(name)

        def judge(returned: object, work: dict = work) -> str | None:
            if not isinstance(returned, dict):
                return f"it returned {returned!r:.80}, expected a dict"
            for part in ("name", "scores", "good_scores", "bad_scores", "words"):
                if part in returned and returned[part] != work[part]:
                    return f"{part} is not what was given"
            return "; ".join(grade_report(returned)) or None
        yield Case(work, says=says, judge=judge)


EXERCISES = {
    "12.1": Exercise(_expectations, hint="share * misses of all parts are missed defects, and "
                     "(1 - share) * alarms are false alarms"),
    "12.2": Exercise(_faults, hint="of each pair the name that comes later goes; collect them in a "
                     "set, and sort it"),
    "12.3": Exercise(_limits, hint="medians, not means; and the score at place n // 4 from above, "
                     "if that is larger"),
    "12.4": Exercise(_thresholds, hint="try each score, and a number below all: missed is what is "
                     "not above the threshold"),
    "12.5": Exercise(_reports, hint="take everything from the arguments: nothing of your own week "
                     "belongs into the function"),
}
