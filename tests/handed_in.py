"""Notebooks that students might hand in: lessons with other code in their exercises' cells."""

import copy
import functools
import re

import nbformat

from notebooks import build, reading
from notebooks.course import LESSONS


def lesson_of(number):
    return next(lesson for lesson in LESSONS if lesson.number == number.split(".")[0])


@functools.cache
def solutions(lesson):
    """Of each exercise of a lesson: its solution, without the stub's check."""
    found, number = {}, None
    for cell in reading.cells_of(build.source_of(lesson)):
        tags = cell.metadata.get("tags", ())
        if "exercise" in tags:
            number = re.search(r'check\("([\d.]+)"', cell.source)[1]
        elif "solution" in tags:
            found[number] = cell.source
    return found


@functools.cache
def assembled(lesson):
    return build.assemble(lesson, {})


def notebook(lesson, answers, kept=None, **metadata):
    """The lesson as a student has it, with these answers (code by number) instead of stubs.

    Where exercises are `kept`, the cells of all others are gone.
    """
    made = copy.deepcopy(assembled(lesson))
    made.metadata.update(metadata)
    for cell in [*made.cells]:
        if "exercise" in cell.metadata.get("tags", ()):
            checking = re.search(r'^(?:\w+ = )?check\("([\d.]+)"', cell.source, re.M)
            if kept is not None and checking[1] not in kept:
                made.cells.remove(cell)
            elif checking[1] in answers:  # below the stub, which it replaces
                place = checking.start()
                cell.source = (f"{cell.source[:place]}{answers[checking[1]]}\n\n"
                               f"{cell.source[place:]}")
    return made


def write(file, lesson, answers=None, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(lesson, answers or {}, **options), file)
