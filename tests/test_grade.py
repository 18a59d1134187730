"""The grader: planted submissions end as they should, and hostile ones reach nothing."""

import ast
import csv
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import handed_in
import nbformat
import numpy as np
import pytest
import torch

from notebooks import checks, grade
from notebooks.course import LESSONS
from notebooks.grading import referee, submission, wire
from notebooks.grading.submission import NotANotebook

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="answers run on Linux")
ROOT = Path(__file__).resolve().parents[1]
FIRST = LESSONS[0]
SOLUTIONS = handed_in.solutions(FIRST)
FUNCTIONS = {number: next(node.name for node in ast.parse(source).body[::-1]
                          if isinstance(node, ast.FunctionDef))
             for number, source in SOLUTIONS.items() if "def " in source}
ONE, LAST = [*FUNCTIONS][0], [*FUNCTIONS][-1]  # hostile answers are given to the first


def hostile(body):
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return {ONE: f"def {FUNCTIONS[ONE]}(*all, **named):\n{lines}"}


# Body of an answer, what becomes of it, and what is said.
HOSTILE = {
    "wrong": ("return 'no such thing'", "wrong", "it returned"),
    "raises": ("raise KeyError('x')", "wrong", "it raised KeyError"),
    "loop": ("import time\nwhile True:\n    time.sleep(0.01)", "stopped", "longer than 6 s"),
    "memory": ("return bytearray(50 << 30)", "stopped", "MemoryError"),
    "exit": ("import sys\nsys.exit(0)", "stopped", "SystemExit"),
    "gone": ("import os\nos._exit(0)", "stopped", "ended its process without an answer"),
    "crash": ("import ctypes\nctypes.string_at(0)", "stopped", "SIGSEGV"),
    "forks": ("import os\nwhile True:\n    os.fork()", "stopped", "PermissionError"),
    "shell": ("import subprocess\nsubprocess.run(['sh', '-c', 'true'])", "stopped", "Permission"),
    "network": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')", "stopped",
                "Operation not permitted"),
    "killer": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "stopped", "Permission"),
    "curious": ("return open('{folder}/open.ipynb').read()", "stopped", "PermissionError"),
    "deletes": ("import os\nos.remove('{folder}/open.ipynb')", "stopped", "PermissionError"),
    "endless": ("import os\nwhile True:\n    for place in range(3, 64):\n        try:\n"
                "            os.write(place, bytes(1 << 20))\n        except OSError:\n"
                "            pass", "stopped", "more than 64 MB"),
    "strange": ("return object()", "wrong", "a object, which cannot be handed over"),
    "patches": ("""
import notebooks.checks as checks
checks.difference = lambda *all: None
checks.judge = lambda *all: checks.Outcome(True, "passed")
print("passed")
return 'no such thing'""", "wrong", "its own process said that it passed, but it returned"),
    "forges": ("""
import os
from notebooks.grading import wire
told = {"result": "passed", "reason": "", "calls": True, "values": [wire.encode(1)] * 99}
for place in range(3, 64):
    try:
        os.write(place, wire.encode(told))
    except OSError:
        pass
os._exit(0)""", "wrong", "its own process said that it passed"),
    "garbles": ("import os\nfor place in range(3, 64):\n    try:\n        os.write(place, b'[' * "
                "100_000)\n    except OSError:\n        pass\nos._exit(0)", "stopped", "no answer"),
}


def plant(folder):
    half = dict(list(SOLUTIONS.items())[:len(SOLUTIONS) // 2])
    for lesson in LESSONS:
        handed_in.write(folder / "right" / f"{lesson.name}.ipynb", lesson,
                        handed_in.solutions(lesson))
    handed_in.write(folder / "open.ipynb", FIRST)
    handed_in.write(folder / f"{FIRST.name}.ipynb", FIRST, half, student="=half")
    for name, (body, *_) in HOSTILE.items():
        handed_in.write(folder / f"{FIRST.name}_{name}.ipynb", FIRST,
                        hostile(body.replace("{folder}", str(folder))),
                        kept=[ONE, LAST] if name in ("killer", "forges") else [ONE])
    handed_in.write(folder / "floods.ipynb", FIRST, {
        number: source.replace(f"def {FUNCTIONS.get(number)}(", "def _right(") + f"""

def {FUNCTIONS.get(number)}(**named):
    print('x' * 5_000_000)
    return _right(**named)""" if number == ONE else source for number, source in SOLUTIONS.items()})
    handed_in.write(folder / "syntax.ipynb", FIRST, {ONE: "def broken(:"})
    handed_in.write(folder / "magic.ipynb", FIRST, {
        number: f"%matplotlib inline\n{source}" for number, source in SOLUTIONS.items()})
    (folder / "none.ipynb").write_text("no notebook", encoding="utf-8")
    (folder / "empty.ipynb").write_text('{"cells": []}', encoding="utf-8")
    (folder / "link.ipynb").symlink_to(folder / "open.ipynb")
    (folder / "pipe.ipynb").mkdir()


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Rows of the CSV by student, and the folder that was graded."""
    folder = tmp_path_factory.mktemp("handed_in")
    plant(folder)
    done = subprocess.run([sys.executable, "-m", "notebooks.grade", str(folder), "--seconds", "6",
                           "--output", str(folder / "grades.csv")], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr.startswith("files: "), done.stderr
    found = {}
    with open(folder / "grades.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["student"], []).append(row)
    return found, folder


def results(rows):
    return {row["exercise"]: row["result"] for row in rows if row["exercise"] != "total"}


@linux
@pytest.mark.slow
def test_who_solves_all_of_the_course_gets_all_points(graded):
    rows = graded[0]["right"]
    wrong = [(row["exercise"], row["reason"]) for row in rows[:-1] if row["result"] != "passed"]
    assert not wrong
    assert len(rows) - 1 == sum(len(handed_in.solutions(lesson)) for lesson in LESSONS)
    total = rows[-1]
    assert total["result"] == f"{len(rows) - 1} of {len(rows) - 1} passed"
    assert total["points"] == total["of"] == str(sum(int(row["points"]) for row in rows[:-1]))


@linux
@pytest.mark.slow
def test_open_half_and_odd_submissions(graded):
    found, _ = graded
    numbers = list(SOLUTIONS)
    assert results(found["open"]) == dict.fromkeys(numbers, "open")
    half = len(numbers) // 2
    assert results(found["'=half"]) == {number: "passed" if place < half else "open"
                                        for place, number in enumerate(numbers)}
    for name in ("floods", "magic"):
        assert results(found[name]) == dict.fromkeys(numbers, "passed"), name
    assert results(found["syntax"]) == dict.fromkeys(numbers, "open") | {ONE: "wrong"}
    assert re.search(r"code cell \d+ cannot be read: SyntaxError, line \d",
                     next(row["reason"] for row in found["syntax"] if row["exercise"] == ONE))
    for name, said in {"none": "not a notebook", "empty": "no exercise of the course",
                       "link": "a link or no plain file", "pipe": "a link or no"}.items():
        assert results(found[name]) == {"": "stopped"} and said in found[name][0]["reason"]
        assert found[name][-1]["points"] == "0"


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_a_row(graded, name):
    """One row; all others of the same notebook are judged as if nothing had happened."""
    found, folder = graded
    _, result, said = HOSTILE[name]
    assert results(found[name]) == dict.fromkeys(SOLUTIONS, "open") | {ONE: result}
    reason = next(row["reason"] for row in found[name] if row["exercise"] == ONE)
    assert said in reason
    assert (folder / "open.ipynb").exists()


CONFINED = """
import os, sys, tempfile, threading
from pathlib import Path
from notebooks.grading import confine
import socket, subprocess
home, parent = Path(tempfile.mkdtemp()), os.getppid()
other = Path(tempfile.mkdtemp())
(other / "file").write_text("theirs")
confine.limit(seconds=5, memory=1 << 30, file_size=1 << 20)
confine.shut_in(home, [Path(sys.prefix), Path(sys.base_prefix)])
held = []
def refused(what, action):
    try:
        action()
    except (OSError, MemoryError):
        held.append(what)
refused("a socket", socket.socket)
refused("a socket of this machine", lambda: socket.socket(socket.AF_UNIX))
refused("a process", os.fork)
refused("a program", lambda: os.execv("/bin/true", ["true"]))
refused("a signal", lambda: os.kill(parent, 0))
refused("all signals", lambda: os.kill(-1, 0))
refused("reading", lambda: (other / "file").read_text())
refused("listing", lambda: os.listdir(other))
refused("writing", lambda: (other / "new").write_text(""))
refused("removing", lambda: (other / "file").unlink())
refused("a mode", lambda: (other / "file").chmod(0))
refused("a way out", lambda: (home / "out").symlink_to(other) or (home / "out/file").read_text())
refused("memory of others", lambda: open(f"/proc/{parent}/mem", "rb"))
refused("names of others", lambda: open(f"/proc/{parent}/environ", "rb"))
refused("a large file", lambda: (home / "large").write_bytes(bytes(2 << 20)))
refused("much memory", lambda: bytearray(4 << 30))
refused("a limit of another's", lambda: __import__("resource").prlimit(parent, 0, (1, 1)))
ran = []
thread = threading.Thread(target=lambda: ran.append(1))
thread.start(); thread.join()
(home / "folder").mkdir(); (home / "folder/file").write_text("mine")
print(len(held), ran, (home / "folder/file").read_text())
"""


@linux
def test_a_confined_process_reaches_nothing():
    from notebooks.grading import confine

    if confine.lacking():
        pytest.skip(f"this kernel does not confine {confine.lacking()}")
    done = subprocess.run([sys.executable, "-c", CONFINED], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.stdout == f"{CONFINED.count('refused(') - 1} [1] mine\n", done.stderr


def answers(*cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return submission.read(nbformat.writes(notebook))


def needed(*cells):
    return [ast.unparse(node).split("\n")[0]
            for node in answers(*cells).answers["03.1"].needed]


def test_only_what_an_answer_needs_is_run():
    assert needed("import torch\nimport os\nSIZE = 3\nrows = slow()", "def helper(x):\n    "
                  "return x + SIZE + LATE", "for f in range(3):\n    slow(f)",
                  "def f(x):\n    return torch.add(helper(x), 1)", "LATE = 2\nslow(f)",
                  'go = check("03.1", f, otherwise=slow)', "def f(x): pass") == [
        "import torch", "SIZE = 3", "def helper(x):", "def f(x):", "LATE = 2"]


def test_a_report_is_taken_with_what_was_written_into_it():
    assert needed("import numpy as np\nreport = dict(old=1)\nnp.seed(0)\nreport = {}",
                  "scores = [1, 2]\nreport['mean'] = np.mean(scores)\nreport.update(a=1)",
                  "other = report\nscores = []", 'check("3.1", report)') == [
        "import numpy as np", "report = {}", "scores = [1, 2]",
        "report['mean'] = np.mean(scores)", "report.update(a=1)"]


def test_the_last_check_counts_and_a_cell_that_is_broken_is_said():
    found = answers('f = 1\ncheck("03.1", f)', 'f = 2\ncheck("03.1", f)', 'g(:\ncheck("03.2", g)',
                    'student = "Ada"')
    assert [ast.unparse(node) for node in found.answers["03.1"].needed] == ["f = 2"]
    assert found.broken == {"03.2": "code cell 3 cannot be read: SyntaxError, line 1"}
    assert (found.student, found.lessons) == ("Ada", ["03"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [{}]}', "[" * 100_000,
                                  '{"cells": [{"cell_type": "code", "source": 3}]}'])
def test_what_is_no_notebook(text):
    with pytest.raises(NotANotebook, match="not a notebook"):
        submission.read(text)


@pytest.mark.parametrize("name, student", [
    ("ada.ipynb", "ada"), ("ada/03_coreset.ipynb", "ada"), ("03_coreset_ada.ipynb", "ada"),
    ("ada_l-03_coreset.ipynb", "ada_l"), ("03_coreset.ipynb", ""), ("a/b/c.ipynb", "a"),
    ("report_1234.json", ""), ("ada_report_1234.json", "ada"), ("ada/report_1.json", "ada")])
def test_whose_a_file_is(name, student):
    assert submission.student_of(Path("folder") / name, Path("folder")) == student


@pytest.mark.parametrize("value", [
    None, True, 7, -3, 10 ** 40, 0.1, float("inf"), "text", b"bytes", [1, [2]], (1, "a"), {1, 2},
    {"a": 1, 2: (3,)}, Path("a/b"), ..., np.float32(0.5), np.bool_(True),
    np.arange(6.).reshape(2, 3), np.array(["a", "bc"]),
    torch.arange(4).reshape(2, 2), torch.tensor([True]),
    torch.ones(2, dtype=torch.bfloat16), torch.zeros(0, 3)], ids=str)
def test_a_value_comes_out_as_it_went_in(value):
    back = wire.decode(wire.encode(value))
    if isinstance(value, (np.ndarray, torch.Tensor)):
        assert back.dtype == value.dtype and back.shape == value.shape and (back == value).all()
    else:
        assert back == value and (type(back) is type(value) or isinstance(value, Path))


@pytest.mark.parametrize("value", [object(), [len], np.array([object()]), lambda: 1])
def test_a_value_that_could_run_something_is_not_sent(value):
    with pytest.raises(wire.Unsendable):
        wire.encode(value)
    nested = []
    nested.append(nested)
    with pytest.raises(wire.Unsendable, match="nested"):
        wire.encode(nested)


@pytest.mark.parametrize("body, sizes", [
    (["x"], []), ({"array": ["<f8", [2], 0]}, []), ({"array": ["O", [1], 0]}, [8]),
    ({"tensor": ["Tensor", ["<f8", [1], 0]]}, [8]), ({"set": [{"list": []}]}, []),
    ({"int": "1" * 10_000}, []), ({"array": ["<f8", [10 ** 30], 0]}, [8]), (1, [10 ** 9]),
    ({"a": 1, "b": 2}, []), ({"eval": "1"}, []), ({"bytes": -1}, [8])])
def test_a_garbled_message_is_no_value(body, sizes):
    with pytest.raises(ValueError, match="not a value"):
        wire.decode(json.dumps([body, sizes]).encode() + b"\n" + bytes(8))


@pytest.mark.parametrize("sent, result, said", [
    ([{"seed": 3, "cost": 2.5}], "passed", ""), ([{"seed": 3}], "wrong", "'cost' is missing"),
    ([3], "wrong", "expected a dict"), ([], "stopped", "IndexError")])
def test_a_report_is_judged_by_its_value(monkeypatch, sent, result, said):
    """As the capstone's is: what is handed in need not be a function."""
    exercise = checks.Exercise(lambda: [checks.Case({}, {"seed": 3, "cost": 2.5})])
    monkeypatch.setattr(checks, "find", lambda number: exercise)
    found = referee.again("99.1", {"calls": False}, [wire.encode(one) for one in sent], 5)
    assert found[0] == result and said in found[1]


@pytest.mark.parametrize("text, rows", [
    ('{"name": "Ada", "words": 1}', [("12.report", "passed", "made out by Ada")]),
    ('{"name": "Ada"}', [("12.report", "wrong", "missing: words")]),
    ("[" * 100_000, [("", "stopped", "no report: a dict with a name is wanted")]),
    ("{}", [("", "stopped", "no report: a dict with a name is wanted")])])
def test_a_report_handed_in_as_a_file(tmp_path, monkeypatch, text, rows):
    monkeypatch.setitem(sys.modules, "notebooks.checks.lesson_12", types.SimpleNamespace(
        grade_report=lambda report: [] if "words" in report else ["missing: words"]))
    (tmp_path / "report_7.json").write_text(text)
    found = [*referee.judge_submission({"file": str(tmp_path / "report_7.json")})]
    assert [row for row in found if row[0] not in ("student", "end")] == rows
    assert found[-1][0] == "end"


def test_an_exercise_handed_in_twice_counts_once_and_cells_are_text():
    one = next(iter(SOLUTIONS))
    rows = list(csv.DictReader(grade.table([
        grade.Row("@ada", one, "passed", "", "a.ipynb"),
        grade.Row("@ada", one, "wrong", '=HYPERLINK("x")\n\x1b[1mred', "b.ipynb")]).splitlines()))
    assert [row["student"] for row in rows] == ["'@ada"] * 3
    assert rows[1]["reason"] == "'=HYPERLINK(\"x\") [1mred"
    assert rows[2]["result"] == "1 of 1 passed" and rows[2]["points"] == rows[0]["points"]


def test_a_referee_that_ends_is_a_row_and_not_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    files = [tmp_path / "a.ipynb", tmp_path / "b.ipynb"]
    rows = list(grade.grade(files, tmp_path, seconds=1, memory=1))
    assert [(row.student, row.result) for row in rows] == [("a", "stopped"), ("b", "stopped")]


@linux
@pytest.mark.parametrize("words, said", [
    (["nowhere"], "there is no folder nowhere"), (["."], "there is no notebook (.ipynb) in ."),
    (["{full}", "--seconds", "0"], "--seconds is 0, --memory 2; both are above 0"),
    (["{full}", "--output", "{full}"], "give a file in a folder that is there"),
    (["{full}", "--output", "{full}/no/x.csv"], "give a file in a folder that is there")])
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, said):
    full = tmp_path / "full"
    full.mkdir()
    (full / "a.ipynb").write_text("{}")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sys.argv", ["grade", *(word.replace("{full}", str(full))
                                                for word in words)])
    assert grade.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert [file.name for file in full.iterdir()] == ["a.ipynb"]
