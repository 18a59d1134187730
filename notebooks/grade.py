"""Grade the notebooks in a folder: `python -m notebooks.grade FOLDER [--output grades.csv]`.

Each exercise of each notebook becomes a row: passed, open, wrong or stopped, with the reason. Code
that was handed in runs in confined processes (`grading`), on Linux; what these do not stop stands
in teaching.md. The capstone's `report_*.json` is graded beside. Students are known by the names of
files, or of the folders that these lie in.
"""

import argparse
import csv
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import reading
from .course import LESSONS, Lesson
from .grading.submission import REPORT, student_of
from .reading import Stated

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("student", "exercise", "result", "reason", "minutes", "points", "of", "file")


@dataclass(frozen=True)
class Row:
    """What became of one exercise of one notebook; `exercise` is "" for a file as a whole."""

    student: str
    exercise: str
    result: str
    reason: str
    file: str


class Referee:
    """The process that judges, started anew should it ever end."""

    def __init__(self, folder: Path, *, seconds: int, memory: int) -> None:
        self.job = {"folder": str(folder), "seconds": seconds, "memory": memory, "numbers": {
            lesson.number: [one.number for one in _stated(lesson)] for lesson in LESSONS}}
        self.process: subprocess.Popen[str] | None = None

    def judge(self, file: Path) -> list[list[str]]:
        """Number, result and reason of each exercise."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(self.job | {"file": str(file)}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (ValueError, OSError):
            self.end()
            return []

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _start(self) -> subprocess.Popen:
        folder = self.job["folder"]
        kept = {name: os.environ.get(name, "") for name in ("PATH", "LD_LIBRARY_PATH")}
        environment = {**kept, "HOME": folder, "TMPDIR": folder, "INDAD_DATASETS": folder,
                       "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg",
                       "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen([sys.executable, "-m", "notebooks.grading.referee"], cwd=folder,
                                env=environment, text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)


def grade(files: Iterable[Path], folder: Path, *, seconds: int, memory: int) -> Iterator[Row]:
    """The rows of all notebooks, one notebook after the other."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        referee = Referee(Path(place), seconds=seconds, memory=memory)
        try:
            for file in files:
                found, name = referee.judge(file), file.relative_to(folder).as_posix()
                said = next((reason for number, _, reason in found if number == "student"), "")
                student = student_of(file, folder) or said or file.stem
                for number, result, reason in found:
                    if number not in ("student", "end"):
                        yield Row(student, number, result, reason, name)
                if not found or found[-1][0] != "end":
                    yield Row(student, "", "stopped", "it kept or broke the process that judges it",
                              name)
        finally:
            referee.end()


def table(rows: Iterable[Row]) -> str:
    """Rows and totals as CSV; an exercise that was handed in twice counts once, at its best."""
    stated = {one.number: one for lesson in LESSONS for one in _stated(lesson)}
    stated[REPORT] = Stated(REPORT, "the capstone's report", 5, 0)  # minutes are its exercises'
    students: dict[str, list[Row]] = {}
    for row in rows:
        students.setdefault(row.student, []).append(row)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for student, theirs in sorted(students.items()):
        for row in theirs:
            one = stated.get(row.exercise, Stated("", "", 0, 0))
            writer.writerow([_cell(student), row.exercise, row.result, _cell(row.reason),
                             one.minutes, one.points * (row.result == "passed"), one.points,
                             _cell(row.file)])
        numbers = {row.exercise for row in theirs if row.exercise}
        passed = {row.exercise for row in theirs if row.result == "passed"}
        writer.writerow([_cell(student), "total", f"{len(passed)} of {len(numbers)} passed", "",
                         sum(stated[number].minutes for number in numbers),
                         sum(stated[number].points for number in passed),
                         sum(stated[number].points for number in numbers), ""])
    return text.getvalue()


@functools.cache
def _stated(lesson: Lesson) -> list[Stated]:
    source = ROOT / "notebooks/src" / f"{lesson.name}.py"
    return reading.exercises(reading.cells_of(source.read_text(encoding="utf-8")))


def _cell(text: str, longest: int = 1000) -> str:
    """Text of a stranger as a cell: on one line, short, and no formula of a spreadsheet's."""
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return ("'" if plain[:1] in ("=", "+", "-", "@") else "") + plain[:longest]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with notebooks, or a folder for each student")
    parser.add_argument("--output", type=Path, metavar="FILE", help="printed if not given")
    parser.add_argument("--seconds", type=int, default=20, help="for an exercise (20)")
    parser.add_argument("--memory", type=float, default=2, metavar="GB", help="for an exercise (2)")
    options = parser.parse_args()
    trouble = _trouble(options)
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 2
    from .grading import confine

    for what in confine.lacking():
        print(f"this machine does not keep answers from {what}: grade in a container",
              file=sys.stderr)
    folder = options.folder.resolve()
    files = _handed_in(folder)
    rows = list(grade(files, folder, seconds=options.seconds, memory=int(options.memory * 1e9)))
    written = table(rows)
    if options.output:
        beside = options.output.with_name(f"{options.output.name}.partial")
        beside.write_text(written, encoding="utf-8")
        beside.replace(options.output)
    else:
        print(written, end="")
    passed, students = sum(row.result == "passed" for row in rows), {row.student for row in rows}
    print(f"files: {len(files)}, students: {len(students)}, passed: {passed} of {len(rows)}",
          file=sys.stderr)
    return 0


def _handed_in(folder: Path) -> list[Path]:
    found = [*folder.rglob("*.ipynb"), *folder.rglob("*report_*.json")]
    return sorted(file for file in found
                  if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _trouble(options: argparse.Namespace) -> str | None:
    """What is wrong with the command, before anything is run."""
    if not sys.platform.startswith("linux"):
        return "answers can be confined on Linux only; grade in a container, or in WSL"
    if not options.folder.is_dir():
        return f"there is no folder {options.folder}"
    if not _handed_in(options.folder):
        return f"there is no notebook (.ipynb) in {options.folder}"
    if options.seconds < 1 or not 0 < options.memory < 1e6:
        return f"--seconds is {options.seconds}, --memory {options.memory:g}; both are above 0"
    if options.output and (options.output.is_dir() or not options.output.resolve().parent.is_dir()):
        return f"--output is {options.output}; give a file in a folder that is there"
    return None


if __name__ == "__main__":
    sys.exit(main())
