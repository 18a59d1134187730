"""Notebooks that students might hand in: lessons with other code in the cells of their exercises."""

import re

import nbformat

from notebooks import build, reading
from notebooks.course import LESSONS


def lesson_of(number):
    return next(lesson for lesson in LESSONS if lesson.number == number.split(".")[0])


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


def notebook(lesson, answers, **metadata):
    """The lesson as a student has it, with these answers (code by number) instead of stubs."""
    made = build.assemble(lesson, {})
    made.metadata.update(metadata)
    for cell in made.cells:
        if "exercise" in cell.metadata.get("tags", ()):
            checking = re.search(r'^.*check\("([\d.]+)".*', cell.source, re.M | re.DOTALL)
            code = answers.get(checking[1])
            if code is not None:
                stub = re.search(r'^(?:\w+ = )?check\(', cell.source, re.M).start()
                cell.source = ("from notebooks.checks import check\n" + code + "\n\n"
                               + cell.source[stub:])
    return made


def write(file, lesson, answers=None, **metadata):
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(lesson, answers or {}, **metadata), file)
