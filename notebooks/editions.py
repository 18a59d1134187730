"""The course to hand out and to teach from: `python -m notebooks.build --student` (`--instructor`).

Students get hints, and neither solutions nor answers. Instructors get all of them unfolded, the
minutes of each section, the usual mistake of each exercise, what to ask, and the cells that are
theirs alone. Nothing is run: outputs are those of the course's own notebooks, where code is alike.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from . import build, course, reading
from .checks import find
from .course import LESSONS, Lesson

FOLDER = build.HERE / "editions"  # git ignores it
HIDDEN = {"solution", "answer", "teacher"}  # from students


def student(lesson: Lesson, cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    """The lesson without what gives answers away."""
    yield _head(lesson, "Students' edition: solutions are not in it.")
    for cell in cells:
        if not HIDDEN & set(cell.metadata.get("tags", ())):
            yield build.finished(cell)
    yield build.footer(lesson)


def instructor(lesson: Lesson, cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    """The lesson with all that a teacher wants to know beside what it is about."""
    yield _head(lesson, "Instructors' edition: solutions and answers are in it.")
    spent = dict(zip((title for title, _ in reading.sections(cells)), _elapsed(cells), strict=True))
    last = None
    for place, cell in enumerate(cells):
        tags, heading = set(cell.metadata.get("tags", ())), reading.section(cell)
        if "solution" in tags:
            yield new_markdown_cell(f"**Solution**\n\n```python\n{cell.source}\n```",
                                    metadata={"tags": ["solution"]})
        elif "answer" in tags:
            yield new_markdown_cell(f"**Answer**\n\n{cell.source}", metadata={"tags": ["answer"]})
        elif "teacher" in tags:
            yield box(cell.source)
        else:
            yield build.finished(cell)
        if heading in spent:
            yield box(spent[heading])
        if place == 0:
            yield box(_plan(cells))
        last = (reading.exercises([cell]) or [last])[-1]
        if "exercise" in tags and last:
            yield box(f"Exercise {last.number}, {last.minutes} minutes, {last.points} of 5 points. "
                      f"The check hints at the usual mistake: {find(last.number).hint}.")
            last = None
    yield build.footer(lesson)


def box(text: str) -> NotebookNode:
    """A text cell that nobody takes for the lesson, on any page that shows notebooks."""
    text = f"\n\n{text}" if "\n" in text or text.startswith("-") else text
    quoted = "\n".join(f"> {line}".rstrip() for line in f"**For teachers:** {text}".splitlines())
    return new_markdown_cell(quoted, metadata={"tags": ["teacher"]})


def assemble(lesson: Lesson, kind: str, *, outputs: bool = True) -> NotebookNode:
    """An edition of a lesson, from its source; with outputs of the course's notebook, or none."""
    make: Callable = {"student": student, "instructor": instructor}[kind]
    made = list(make(lesson, reading.cells_of(build.source_of(lesson))))
    notebook = build.put_together(lesson, build.read_times(), made)
    notebook.metadata["indad"] = {"edition": kind, "lesson": lesson.number}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _at_home(cell.source)
    course_file = build.HERE / f"{lesson.name}.ipynb"
    if outputs and course_file.exists():
        build.keep_outputs(notebook, nbformat.read(course_file, as_version=4))
    return notebook


def write(kind: str, lessons: list[Lesson], folder: Path | None, *, outputs: bool = True) -> Path:
    """Write an edition; -> its folder. Raises `ValueError` where the course itself lies."""
    folder = folder or FOLDER / kind
    if (folder / "course.py").exists() or folder.resolve() in (build.HERE, build.SOURCES):
        raise ValueError(f"{folder} holds the course itself; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for lesson in lessons:
        notebook = assemble(lesson, kind, outputs=outputs)
        nbformat.validate(notebook)
        (folder / f"{lesson.name}.ipynb").write_text(nbformat.writes(notebook, indent=1) + "\n",
                                                     encoding="utf-8")
    return folder


def _head(lesson: Lesson, words: str) -> NotebookNode:
    """Without badges: they open the course, with its solutions."""
    return new_markdown_cell(f"{words}\n\n{build.links(lesson)}")


def _elapsed(cells: list[NotebookNode]) -> Iterator[str]:
    gone = 0.0
    for _, taken in reading.sections(cells):
        yield f"about {max(round(taken), 1)} min, from minute {round(gone)} of the lesson."
        gone += taken


def _plan(cells: list[NotebookNode]) -> str:
    """What a lesson asks for, at its top."""
    lines = ["Minutes of the sections: " + ", ".join(
        f"{title} **{max(round(taken), 1)}**" for title, taken in reading.sections(cells))]
    asked = [" ".join(words.split()) for cell in cells if cell.cell_type == "markdown"
             for words in re.findall(r"^\*\*Think:\*\*(.*?)(?:\n\n|\Z)", cell.source,
                                     re.M | re.DOTALL)]
    if asked:
        lines += ["", "To ask:", "", *(f"- {question}" for question in asked)]
    return "\n".join(lines)


def _at_home(text: str) -> str:
    """Links to anything but lessons lead to the repository: an edition comes without it."""
    lessons = {f"{lesson.name}.ipynb" for lesson in LESSONS}
    home = f"https://github.com/{course.REPOSITORY}/blob/{course.REFERENCE}/"

    def moved(found: re.Match) -> str:
        target = found[2]
        if target in lessons or re.match(r"\w+:|#", target):
            return found[0]
        return found[1] + home + posixpath.normpath(posixpath.join("notebooks", target)) + found[3]

    return re.sub(r"""(\]\(|(?:src|href)=")([^)"\s]+)([)"])""", moved, text)
