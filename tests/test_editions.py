"""Editions of the course: students get no answers, instructors all, and the course stays."""

import ast
import subprocess

import nbformat
import pytest
from cases import few

from notebooks import build, course, editions, reading
from notebooks.checks import find
from notebooks.course import LESSONS

SOME = [lesson for lesson in LESSONS if lesson.number in ("00", "03", "08")]
CASES, IDS = few(SOME, [SOME[1]]), [lesson.number for lesson in SOME]
# Kinds of cell that a lesson may have, whatever the lessons of today have.
EXTRA = '''
# %% [markdown]
# **Think:** what if
# it were not?
#
# More.

# %% [markdown] tags=["answer"]
# It is, see [the map](README.md) and [a file](../indad/coreset.py#x).

# %% [markdown] tags=["teacher"]
# - Ask who has seen one.
'''


def source_cells(lesson, tag):
    return [cell.source for cell in reading.cells_of(build.source_of(lesson))
            if tag in cell.metadata.get("tags", ())]


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


@pytest.fixture
def extra(monkeypatch):
    source = build.source_of
    monkeypatch.setattr(build, "source_of", lambda lesson: source(lesson) + EXTRA)


@pytest.mark.parametrize("lesson", CASES, ids=IDS)
def test_students_get_hints_and_no_answers(lesson, extra):
    notebook = editions.assemble(lesson, "student")
    text = text_of(notebook)
    for hidden in (*source_cells(lesson, "solution"), *source_cells(lesson, "answer"),
                   *source_cells(lesson, "teacher")):
        assert hidden not in text
    assert "<summary>Solution" not in text and "<summary>Answer" not in text
    for hint in source_cells(lesson, "hint"):
        assert hint in text
    for exercise in source_cells(lesson, "exercise"):
        assert exercise in text
    assert "**Think:** what if" in text
    assert "colab" not in notebook.cells[0].source  # it would open the course, answers and all
    kept = nbformat.read(build.HERE / f"{lesson.name}.ipynb", as_version=4)
    code = [[cell for cell in one.cells if cell.cell_type == "code"] for one in (notebook, kept)]
    assert [cell.outputs for cell in code[0]] == [cell.outputs for cell in code[1]]


@pytest.mark.parametrize("lesson", CASES, ids=IDS)
def test_instructors_get_everything(lesson, extra):
    notebook = editions.assemble(lesson, "instructor", outputs=False)
    text = text_of(notebook)
    for tag in ("solution", "answer"):
        for source in source_cells(lesson, tag):
            assert editions._at_home(source) in text
    boxes = "\n".join(cell.source for cell in notebook.cells
                      if cell.source.startswith("> **For teachers:**"))
    cells = reading.cells_of(build.source_of(lesson))
    stated = reading.exercises(cells)
    for one in stated:
        assert f"Exercise {one.number}, {one.minutes} minutes, {one.points} of 5" in boxes
        assert find(one.number).hint in boxes
    assert boxes.count(" of the lesson.") == len(list(reading.sections(cells)))
    assert "> - what if it were not?" in boxes and "> - Ask who has seen one." in boxes
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    home = f"https://github.com/{course.REPOSITORY}/blob/main/"
    assert f"[the map]({home}notebooks/README.md) and [a file]({home}indad/coreset.py#x)" in text
    for cell in notebook.cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)


def test_the_course_has_no_teachers_cells(extra):
    assert "Ask who has seen one" not in text_of(build.assemble(LESSONS[0], {}))


def build_with(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["build", *words])
    build.main()


def test_an_edition_is_written_where_one_says(tmp_path, monkeypatch, capsys):
    before = {file: file.stat().st_mtime_ns for file in build.HERE.glob("*")}
    build_with(monkeypatch, "--student", "00", "03", "--output", str(tmp_path / "out"))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "00_find_your_first_defect.ipynb", "03_coreset.ipynb"]
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert {file: file.stat().st_mtime_ns for file in build.HERE.glob("*")} == before
    if (build.HERE.parent / ".git").exists():  # and not what was unpacked from an archive
        ignored = subprocess.run(["git", "check-ignore", "-q", editions.FOLDER / "student/x.ipynb"],
                                 cwd=build.HERE)
        assert ignored.returncode == 0


@pytest.mark.parametrize("words, said", [
    (["--student", "--output", str(build.HERE)], "holds the course itself; give another"),
    (["--instructor", "--output", str(build.SOURCES)], "holds the course itself; give another"),
    (["--student", "--output", __file__], "File exists"),
    (["--student", "77"], "there is no lesson 77; they are numbered 00, 01"),
    (["--student", "--instructor"], "not allowed with"),
    (["--no-outputs"], "--output and --no-outputs go with --student or --instructor")])
def test_what_cannot_be_written_is_one_line(words, said, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        build_with(monkeypatch, *words)
    assert stopped.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1]
