"""Minutes and hours of the course: worked out from the sources, the same wherever they stand."""

import re
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

from notebooks import build, pages, reading
from notebooks.course import LESSONS, PLANS, QUICK, TRACKS
from notebooks.reading import Minutes

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = {10: "ten", 11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen"}
SOURCE = '''# %% [markdown]
# # 99 · A lesson
# TIMES

# %% tags=["setup"]

# %% [markdown]
# ## First
# {words}

# %%
def draw():
    show(1)


show(figure, "words")
explore(draw, alt="words")

# %% [markdown]
# **Think:** why?

# %% [markdown] tags=["answer"]
# {words}

# %% [markdown] tags=["teacher"]
# {words}

# %% [markdown]
# ### Exercise 99.1: a name
#
# *Difficulty ●●○○○, 12 minutes.* {words}

# %% tags=["exercise"]
check("99.1", 1)

# %% [markdown] tags=["hint"]
# {words}
'''


def test_minutes_are_those_of_words_code_pictures_and_exercises():
    text = SOURCE.replace("{words}", "word " * 1500)
    # twice 1,500 words, a few more, five lines, two pictures, a question
    cells = reading.cells_of(text)
    few = sum(map(reading.words, ["# 99 · A lesson\nTIMES", "## First", "**Think:** why?"]))
    expected = (3000 + few) / 150 + 4 / 20 + 2 * 0.5 + 1
    assert reading.reading(cells) == pytest.approx(expected)
    assert reading.minutes(text) == Minutes(20, 10)
    assert dict(reading.sections(cells)) == {"First": pytest.approx(expected + 12 - 4 / 150)}
    [exercise] = reading.exercises(cells)
    assert exercise == reading.Stated("99.1", "a name", 2, 12)


def test_what_a_reader_does_not_see_is_no_word():
    assert reading.words("- [a link](https://x.y/z) and `code`, <img src='x'> · **bold** $x$") == 6
    assert reading.pictures("%matplotlib inline") == 0


@pytest.mark.parametrize("line", [
    "", "*Difficulty ●●○○○, ten minutes.*", "*Difficulty ●, 5 minutes.*",
    "*Difficulty ●●○○○○, 5 minutes.*"])
def test_an_exercise_without_its_minutes_is_an_error(line):
    text = SOURCE.replace("*Difficulty ●●○○○, 12 minutes.* {words}", line)
    with pytest.raises(ValueError, match="99.1 lacks a line like"):
        reading.minutes(text)


def test_hours_are_said_to_the_half():
    assert [reading.hours(Minutes(minutes, 0)) for minutes in (5, 40, 50, 85, 470)] == [
        "half an hour", "half an hour", "an hour", "1.5 hours", "8 hours"]


@pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.number for lesson in LESSONS])
def test_every_exercise_of_a_lesson_states_points_and_minutes(lesson):
    """And every picture in its outputs is one that was counted."""
    stated = reading.exercises(reading.cells_of(build.source_of(lesson)))
    known = import_module(f"notebooks.checks.lesson_{lesson.number}").EXERCISES
    assert [one.number for one in stated] == list(known)
    notebook = nbformat.read(build.HERE / f"{lesson.name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            drawn = any({"image/png", "image/jpeg"} & set(output.get("data", {}))
                        for output in cell.outputs)
            assert not drawn or reading.pictures(cell.source), cell.source
            said = "".join(output.get("text", "") for output in cell.outputs)
            assert "Run all takes" not in said  # of an earlier build; the line at the top says it


def bullets_by_chance(text):
    """Lines that begin a list in the middle of a paragraph: where a minus was wrapped, say."""
    lines = [("", ""), *zip(text.splitlines(), text.splitlines()[1:], strict=False)]
    return [line for before, line in lines if re.match(r" {0,3}([-+*]|1[.)]) ", line)
            and re.match(r"\S", before) and not re.match(r"([-+*]|\d+[.)]) |#", before)]


@pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.number for lesson in LESSONS])
def test_no_wrapped_line_becomes_a_list(lesson):
    assert bullets_by_chance("take column k\n - 1, and of that") == [" - 1, and of that"]
    assert not bullets_by_chance("Two:\n\n- one\n  and more\n- two\n\nk - 1\n# A\n- 3")
    for cell in build.assemble(lesson, {}).cells:
        if cell.cell_type == "markdown":
            assert not bullets_by_chance(cell.source), cell.source


def test_totals_of_the_page_add_up():
    page = (build.HERE / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in page.splitlines() if line.startswith("| ") and " min" in line]

    def minutes(row):
        return [int(re.search(r"(\d+) min", cell)[1]) for cell in row[2:4]]

    lessons, sums = ([row for row in rows if row[0].startswith("**") == bold] for bold in (0, 1))
    assert len(lessons) == len(LESSONS) and {lesson.track for lesson in LESSONS} <= set(TRACKS)
    together = [sum(column) for column in zip(*map(minutes, lessons), strict=True)]
    assert minutes(sums[-1]) == together
    assert [sum(column) for column in zip(*map(minutes, sums[:-1]), strict=True)] == together
    taken = {lesson.number: build.minutes_of(lesson) for lesson in LESSONS}
    assert pages.ways(taken) in page
    assert f"**Full**, {reading.hours(Minutes(*together))} (" in page
    quick = sum(taken[number].total for number in QUICK)
    assert f"**Quick**, {reading.hours(Minutes(quick, 0))} (" in page
    teaching = (build.HERE / "teaching.md").read_text(encoding="utf-8")
    for name in ("day", "week", "term"):
        assert f"<!-- {name} -->\n{pages.plan(name, taken)}\n<!-- end" in teaching
    for text in (page, teaching):
        outside = re.sub(r"<!-- (\w+) -->.*?<!-- end of \1 -->|`[^`]*`", "", text, flags=re.DOTALL)
        assert not re.search(r"\b\d+(\.\d+)? (hours|minutes|min)\b", outside)  # none by hand


def test_plans_and_map_leave_no_lesson_out():
    numbers = [lesson.number for lesson in LESSONS]
    assert sorted(numbers) == sorted({*numbers})
    week = [number for slot in PLANS["week"].values() for number in slot]
    assert [number for number in week if number in numbers] == numbers  # in the same order
    assert {*QUICK} <= {number for slot in PLANS["day"].values() for number in slot} <= {*numbers}
    drawn = [lesson.number for track in TRACKS for lesson in LESSONS if lesson.track == track]
    assert drawn == numbers  # tracks do not interleave


def test_the_page_begins_with_a_picture():
    page = (build.HERE / "README.md").read_text(encoding="utf-8")
    top = page.partition("<!-- map -->")[0]
    words, file = re.search(r"!\[([^\]]+)\]\(([\w.]+)\)", top).groups()
    assert len(words) > 40 and (build.HERE / file).stat().st_size < 100_000


@pytest.mark.parametrize("name", ["README.md", "notebooks/README.md", "CHANGELOG.md"])
def test_pages_count_the_notebooks_right(name):
    said = re.findall(rf"\b({'|'.join(NUMBERS.values())}) (?:notebooks|lessons)\b",
                      (ROOT / name).read_text(encoding="utf-8"), re.I)
    assert said and {word.lower() for word in said} == {NUMBERS[len(LESSONS)]}
