"""The capstone: weeks that differ by name, what is planted in them, and reports that are graded."""

import json
import re

import pytest
from mutants.lesson_12 import made
from PIL import Image

from indad import audit
from indad.data.synthetic.capstone import (
    KNOWN_BAD,
    KNOWN_GOOD,
    LEARN,
    draw_week,
    seed_of,
    week_of,
)
from indad.errors import InputError
from notebooks.checks import lesson_12
from notebooks.checks.lesson_12 import grade_report, work_of

NAME = "6"  # a week with bad parts, a copy and an unreadable file


def report_of(name=NAME):
    return made(**work_of(name))


def test_a_name_is_a_seed():
    assert seed_of("  Ada   Lovelace ") == seed_of("ada lovelace") != seed_of("ada")
    assert seed_of("42") == seed_of(42) == 42
    for nothing in ("", "   "):
        with pytest.raises(InputError, match="a name or number is needed"):
            seed_of(nothing)


def test_weeks_differ_and_all_hold_what_they_say():
    weeks = [week_of(number) for number in range(60)]
    assert weeks == [week_of(number) for number in range(60)]
    assert len({week.category for week in weeks}) == 4
    assert len({(*week.judged,) for week in weeks}) == len(weeks)
    for week in weeks:
        copies = sum(len(group) - 1 for group in week.copies)
        assert len({*week.learn, *week.known, *week.judged}) == (
            len(week.learn) + len(week.known) + len(week.judged))
        assert len(week.learn) == LEARN + copies
        assert len(week.known) == KNOWN_GOOD + KNOWN_BAD and sum(week.known.values()) == KNOWN_BAD
        assert 7 <= sum(week.judged.values()) <= 10
        spoiled = [week.bad, week.unreadable, *week.copies]
        assert len(frozenset().union(*spoiled)) == sum(map(len, spoiled))
        assert len([kind for kind in (week.bad, week.unreadable, week.copies) if kind]) >= 2


def test_what_is_drawn_is_what_is_said(tmp_path):
    week = week_of(NAME)
    assert week.bad and week.unreadable and week.copies
    folder = draw_week(NAME, tmp_path / "week")
    assert {path.name for path in (folder / "learn/good").iterdir()} == {*week.learn}
    assert {path.name for path in (folder / "judge").iterdir()} == {*week.judged}
    found = audit(folder / "learn").faults
    named = [{path.rpartition("/")[2] for path in fault.paths} for fault in found]
    assert sorted(map(sorted, named)) == sorted(map(sorted, [
        *({file} for file in week.unreadable), *week.copies]))
    before = (folder / "judge" / next(iter(week.judged))).stat().st_mtime_ns
    draw_week(f" {NAME} ", folder)  # is not drawn again
    assert (folder / "judge" / next(iter(week.judged))).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds other files"):
        draw_week(NAME, folder / "judge")


def test_an_honest_report_passes():
    for name in (NAME, "Ada", 4711):
        assert grade_report(report_of(name)) == []
    assert grade_report(json.loads(json.dumps(report_of()))) == []


def without(part):
    return lambda report: {key: value for key, value in report.items() if key != part}


def changed(part, value):
    return lambda report: report | {part: value(report) if callable(value) else value}


def in_audit(**parts):
    return lambda report: report | {"audit": report["audit"] | {
        kind: value(report) if callable(value) else value for kind, value in parts.items()}}


@pytest.mark.parametrize("spoil, said", [
    (lambda report: {}, "there is no report yet"),
    (lambda report: None, "there is no report yet"),
    (lambda report: report_of("Ada") | {"name": NAME}, "seed: it is .* but not that of '6'"),
    (lambda report: report_of("Ada") | {"name": NAME, "seed": 6},
     "scores: 20 of your 20 parts are missing"),
    (lambda report: report | {"name": "Ada", "seed": seed_of("Ada")}, "none of your parts"),
    (lambda report: report_of("anyone"), "'anyone' is nobody's"),
    (changed("name", "  "), "name: a name or number is needed"),
    (changed("name", ["Ada"]), "name: a name or number is needed"),
    (without("threshold"), "missing: threshold, of the verdicts"),
    (without("words"), "missing: words, thirty of yours at least"),
    (in_audit(unreadable=[]), "a file that cannot be read is not in the list"),
    (in_audit(unreadable=lambda report: [*week_of(NAME).learn]), "can be read"),
    (in_audit(copies=[]), "a picture that is there 2 times still is there more than once"),
    (in_audit(copies=lambda report: [*week_of(NAME).copies[0]]), "of this picture nothing is left"),
    (in_audit(copies=lambda report: [*report["audit"]["copies"], *week_of(NAME).bad]),
     "no copy of anything"),
    (in_audit(bad=[]), "2 bad parts stayed among those to learn from"),
    (in_audit(bad=lambda report: [*week_of(NAME).learn]), "good parts are called bad; 2 are forg"),
    (in_audit(bad=["IMG_0.png"]), "IMG_0.png: not among your photos to learn from"),
    (changed("audit", "none"), "audit: it, or what it is compared with, has not the form"),
    (changed("good_scores", [8.0] * 25), "most of them are the same number"),
    (changed("good_scores", [8.0, 9.0]), "good_scores: there are 2, of 23 photos at least"),
    (changed("bad_scores", [14.0]), "bad_scores: there are 1, but 8 parts known to be defective"),
    (changed("scores", {}), "scores: 20 of your 20 parts are missing"),
    (changed("scores", lambda report: dict.fromkeys(report["scores"], float("nan"))),
     "scores: it, or what it is compared with, has not the form"),
    (changed("threshold", 0.0), "threshold: from your own scores, another one costs less"),
    (changed("expected_cost", 55.0), "expected_cost: it is 55, which is not what this threshold"),
    (changed("verdicts", lambda report: dict.fromkeys(report["verdicts"], "bad")),
     'verdicts: bad: say "good" or "defective"'),
    (changed("verdicts", lambda report: dict.fromkeys(report["verdicts"], "good")),
     "mistakes cost more than three quarters"),
    (changed("verdicts", lambda report: dict.fromkeys(report["verdicts"], "defective")),
     "not what score and threshold say"),
    (changed("words", "fine " * 40), "words: they repeat themselves"),
    (changed("words", "All good."), "words: there are 2, of 30 at least"),
])
def test_planted_reports_are_refused_with_the_right_words(spoil, said):
    report = spoil(report_of())
    problems = "\n".join(grade_report(report))
    assert re.search(said, problems), problems


def test_anything_may_come_in():
    for value in (3, "", [], {}, {"a": 1}, object(), float("nan"), {3: []}):
        for part in lesson_12.PARTS:
            assert grade_report(report_of() | {part: value})


@pytest.mark.slow
def test_a_real_model_passes(tmp_path):
    """With the truth about the folder, and nothing but its scores about the parts."""
    from indad import PatchCore

    week, work = week_of(NAME), work_of(NAME)
    folder = draw_week(NAME, tmp_path / "week")
    out = {*week.bad, *week.unreadable, *work["left_out"]["copies"]}
    model = PatchCore(backbone="efficientnet_lite0", resize=96, seed=0).fit(
        [folder / "learn/good" / file for file in sorted({*week.learn} - out)])
    known = [folder / "known/defective" / file for file, bad in week.known.items() if bad]
    files = sorted(week.judged)
    scores = model.predict([Image.open(folder / "judge" / file) for file in files]).scores
    report = made(**work | {
        "good_scores": model.calibration_scores_.tolist(),
        "bad_scores": model.predict(known).scores.tolist(),
        "scores": dict(zip(files, scores.tolist(), strict=True))})
    assert grade_report(report) == []
