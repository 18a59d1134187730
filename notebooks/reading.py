"""How long a lesson takes, worked out from its source: no guess, and never out of date.

Reading is counted at the rates below, and exercises take what each says of itself. The rate of
words lies between those at which text is learnt (200 a minute) and memorised (138) in R. P. Carver,
Reading Rate, 1990; the others are set by hand. Nobody has yet been timed with all of the course.
"""

import ast
import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import jupytext
from nbformat import NotebookNode

WORDS = 150  # read in a minute
LINES = 20  # of code
PICTURE = 0.5  # minutes to look at one
THINK = 1  # minute for a question, before its answer is unfolded
SHOWS = re.compile(r"show|explore|browse(_\w+)?|paint_defect")  # functions whose call is a picture
UNREAD = {"setup", "choose", "teacher"}  # what is folded, or not in a learner's notebook
EXERCISE = {"exercise", "hint", "solution"}  # read in the time that the exercise states

HEADING = re.compile(r"^#{2,3} Exercise (\d\d\.\d+): (.+)$", re.M)
DIFFICULTY = re.compile(r"^\*Difficulty (●+)(○*), (\d+) minutes\.\*", re.M)


@dataclass(frozen=True)
class Stated:
    """An exercise as its heading and its line of difficulty say it: points are filled dots."""

    number: str
    name: str
    points: int
    minutes: int


@dataclass(frozen=True)
class Minutes:
    """To read and to do, each rounded to five, so that totals of totals add up."""

    reading: int
    exercises: int

    @property
    def total(self) -> int:
        return self.reading + self.exercises


def cells_of(text: str) -> list[NotebookNode]:
    """The cells of a source, a percent script; their tags are in `metadata["tags"]`."""
    return copy.deepcopy(_read(text))


@cache
def _read(text: str) -> list[NotebookNode]:
    """Once for each text: a tenth of a second, and whoever asks for cells asks for minutes too."""
    return jupytext.reads(text, fmt="py:percent").cells


def minutes(text: str) -> Minutes:
    """What a lesson takes, from its source."""
    cells = cells_of(text)
    return Minutes(_rounded(reading(cells)),
                   _rounded(sum(one.minutes for one in exercises(cells))))


def total(lessons: Iterable[Minutes]) -> Minutes:
    lessons = list(lessons)
    return Minutes(sum(one.reading for one in lessons), sum(one.exercises for one in lessons))


def hours(taken: Minutes) -> str:
    """In words for a plan, to the half hour: "7.5 hours"."""
    halves = max(round(taken.total / 30), 1)
    return {1: "half an hour", 2: "an hour"}.get(halves, f"{halves / 2:g} hours")


def reading(cells: Iterable[NotebookNode]) -> float:
    """Minutes to read these cells, exercises left out."""
    return sum(_minutes_of(cell) for cell in cells)


def sections(cells: Iterable[NotebookNode]) -> Iterator[tuple[str, float]]:
    """Each heading of the second order, and the minutes to its next, those of exercises too."""
    heading, held = "", []
    for cell in [*cells, None]:
        found = "" if cell is None else section(cell)
        if cell is None or found:
            if heading:
                yield heading, reading(held) + sum(one.minutes for one in exercises(held))
            heading, held = found, []
        held.append(cell)


def section(cell: NotebookNode) -> str:
    """The heading of the second order that a cell begins, or ""."""
    found = cell.cell_type == "markdown" and re.search(r"^## (.+)$", cell.source, re.M)
    return found[1] if found else ""


def exercises(cells: Iterable[NotebookNode]) -> list[Stated]:
    """All exercises of these cells, in their order. A heading without its line is an error."""
    found = []
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        for heading in HEADING.finditer(cell.source):
            line = DIFFICULTY.search(cell.source, heading.end())
            if not line or len(line[1]) + len(line[2]) != 5:
                raise ValueError(f"exercise {heading[1]} lacks a line like *Difficulty ●●○○○, 10 "
                                 "minutes.* in its heading's cell")
            found.append(Stated(heading[1], heading[2], len(line[1]), int(line[3])))
    return found


def pictures(code: str) -> int:
    """Calls of functions that show a figure; not those inside a function of the cell's own."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return 0
    tree.body = [one for one in tree.body if not isinstance(one, (ast.FunctionDef, ast.ClassDef))]
    return sum(isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
               and bool(SHOWS.fullmatch(node.func.id)) for node in ast.walk(tree))


def words(markdown: str) -> int:
    """Words of a text as they are read: without addresses, marks and rules of tables."""
    plain = re.sub(r"\]\([^)]*\)|<[^>]*>|`{3}\w*", " ", markdown)
    return sum(bool(re.search(r"\w", word)) for word in plain.split())


def _minutes_of(cell: NotebookNode) -> float:
    tags = set(cell.metadata.get("tags", ()))
    if tags & (UNREAD | EXERCISE) or DIFFICULTY.search(cell.source):
        return 0
    if cell.cell_type == "code":
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        return lines / LINES + pictures(cell.source) * PICTURE
    return words(cell.source) / WORDS + ("answer" in tags) * THINK


def _rounded(taken: float) -> int:
    """To five minutes; what takes any time takes five."""
    return max(5 * round(taken / 5), 5) if taken else 0
