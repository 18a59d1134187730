"""The exercises: stubs are open, solutions pass, and planted wrong answers are refused."""

import ast
import builtins
import re
from importlib import import_module

import jupytext
import numpy as np
import pytest
from cases import few

from notebooks.build import SOURCES
from notebooks.checks import Case, Exercise, brief, check, difference, find, judge
from notebooks.course import LESSONS

NUMBERS = [number for lesson in LESSONS
           for number in import_module(f"notebooks.checks.lesson_{lesson.number}").EXERCISES]


def cells_of(lesson):
    text = (SOURCES / f"{lesson.name}.py").read_text(encoding="utf-8")
    return [(cell.cell_type, cell.metadata.get("tags", []), cell.source)
            for cell in jupytext.reads(text, fmt="py:percent").cells]


def lesson_of(number):
    return next(lesson for lesson in LESSONS if lesson.number == number.split(".")[0])


def answers(number) -> tuple[object, object]:
    """The stub of an exercise and its solution, as a reader of the notebook would have them."""
    names, found, imports = [], {}, ""
    for kind, tags, source in cells_of(lesson_of(number)):
        if kind != "code":
            continue
        checked = re.search(r'^(?:\w+ = )?check\("([\d.]+)", (\w+)', source, re.M)
        if "exercise" in tags and checked:
            names.append((checked[1], checked[2]))
            if checked[1] == number:
                found["stub"] = _run(imports + source[:checked.start()], checked[2])
        elif "solution" in tags:  # nobody runs these: what they import is not there later
            if names and names[-1][0] == number:
                found["solution"] = _run(imports + source, names[-1][1])
            continue
        imports += "".join(ast.unparse(node) + "\n" for node in ast.parse(source).body
                           if isinstance(node, (ast.Import, ast.ImportFrom)))
    return found["stub"], found["solution"]


def _run(source, name):
    space: dict = {}
    exec(source, space)
    return space[name]


def test_every_lesson_has_at_least_two_exercises():
    for lesson in LESSONS:
        mine = [number for number in NUMBERS if number.startswith(lesson.number)]
        assert len(mine) >= 2, lesson.name


def loaded_and_stored(source):
    """Names that some code asks for, and names that it makes anywhere in itself."""
    loaded, stored = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            stored.add(node.name)
        elif isinstance(node, ast.arg):
            stored.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            stored.add(node.name)
        elif isinstance(node, ast.alias):
            stored.add((node.asname or node.name).partition(".")[0])
    return loaded, stored


def modules_of(source):
    """What `import` and `from ... import` call modules: np, torch, F, plt."""
    return {alias.asname or alias.name for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Import) for alias in node.names} | {
        alias.asname for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}


def missing_names(cells):
    """What exercises, hints and solutions need and no code cell above them makes."""
    codes = [source for kind, tags, source in cells if kind == "code" and "setup" not in tags]
    modules = {"np", "torch", "F", "plt", "math"}.union(*map(modules_of, codes))
    known = {*dir(builtins), "__name__"}
    for kind, tags, source in cells:
        if kind == "code" and "setup" not in tags:
            loaded, stored = loaded_and_stored(source)
            for name in sorted(loaded - stored - known):
                yield name, source
            if "solution" not in tags:
                known |= stored
        elif "hint" in tags:
            quoted = " ".join(re.findall(r"`([^`]+)`", source))
            for name in sorted({*re.findall(r"(?<![\w.])(\w+)\.\w", quoted)} & modules - known):
                yield name, source


@pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.number for lesson in LESSONS])
def test_a_reader_has_every_name_that_a_solution_or_a_hint_needs(lesson):
    assert not list(missing_names(cells_of(lesson)))


def test_a_name_that_comes_too_late_is_seen():
    """As in a first edition: the hint spoke of np, which only the folded solution imported."""
    stub = ("code", ["exercise"], "def highest(scores, k):\n    ...")
    hint = ("markdown", ["hint"], "`np.argsort(scores)` sorts; see `scores.max()`, too.")
    solution = "def highest(scores, k):\n    return set(np.argsort(scores)[-k:].tolist())"
    own = ("code", ["solution"], f"import numpy as np\n{solution}")
    before = ("code", [], "import numpy as np")
    assert [name for name, _ in missing_names([stub, hint, own])] == ["np"]
    assert [name for name, _ in missing_names([stub, ("code", ["solution"], solution)])] == ["np"]
    assert [name for name, _ in missing_names([stub, own, hint])] == ["np"]
    assert not list(missing_names([before, stub, hint, own]))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_stub_is_open_and_the_solution_passes(number):
    stub, solution = answers(number)
    assert judge(number, stub).passed is None
    outcome = judge(number, solution)
    assert outcome.passed, outcome.message


@pytest.mark.parametrize("number", few(NUMBERS, {*NUMBERS} - {"04.3", "07.5"}))
def test_wrong_answers_are_refused(number):
    mutants = import_module(f"mutants.lesson_{number.split('.')[0]}").MUTANTS[number]
    assert len(mutants) >= 3
    for mutant in mutants:
        outcome = judge(number, mutant)
        assert outcome.passed is False, f"{number}: {mutant.__doc__} was taken for right"
        assert outcome.message.startswith(f"✗ {number}: ")


@pytest.mark.parametrize("number", NUMBERS)
def test_an_answer_that_raises_is_wrong_and_stops_nothing(number, capsys):
    def breaks(*arguments, **named):
        raise RuntimeError("not today")

    check(number, breaks)
    assert "it raised RuntimeError: not today" in capsys.readouterr().out
    assert find(number).hint


def test_a_value_in_place_of_the_function_is_told(capsys):
    check("00.1", {"good": 3})
    told = capsys.readouterr().out
    assert "give the function itself" in told and "called with" not in told


@pytest.mark.parametrize("kind", [list, tuple, np.asarray])
def test_positions_may_be_numpys(kind):
    def take(count, k, seed):
        return kind(list(np.random.default_rng(seed).permutation(count)[:k]))

    outcome = judge("07.2", take)
    assert outcome.passed, outcome.message


@pytest.mark.parametrize("number", ["7.1", " 07.1", "07.1"])
def test_a_number_may_lack_its_zero(number):
    assert find(number) is find("07.1")


@pytest.mark.parametrize("number, said", [
    ("07.9", r"no exercise '07.9'; this lesson has 07.1, 07.2"), ("99.1", "no lesson '99'"),
    ("", "no exercise ''")])
def test_a_number_that_is_not_there_is_said_and_stops_nothing(number, said, capsys):
    check(number, lambda **_: 1)
    assert re.search(said, capsys.readouterr().out)


def test_a_strict_check_raises(monkeypatch):
    monkeypatch.setenv("INDAD_STRICT", "1")
    with pytest.raises(AssertionError, match="00.2"):
        check("00.2", lambda scores, k: {0})


def test_a_lesson_goes_on_with_what_is_right(capsys):
    def right(scores, k):
        return {int(i) for i in np.argsort(scores)[-k:]}

    def by_package(scores, k):
        return set()

    assert check("00.2", right, otherwise=by_package) is right
    assert "go on with yours" in capsys.readouterr().out
    for answer in (lambda scores, k: {0}, lambda scores, k: None):
        assert check("00.2", answer, otherwise=by_package) is by_package
        assert "go on with `by_package`, until this is right" in capsys.readouterr().out
    assert check("00.2", right) is None  # nothing to be printed below the cell


def test_an_answer_cannot_spoil_its_arguments_for_the_next_case(monkeypatch):
    import notebooks.checks as checks

    values = np.array([3.0, 1.0, 2.0])
    exercise = Exercise(lambda: [Case({"x": values}, 6.0), Case({"x": values}, 6.0)])
    monkeypatch.setattr(checks, "find", lambda number: exercise)

    def greedy(x):
        total = float(x.sum())
        x[:] = 0
        return total

    assert judge("99.1", greedy).passed
    assert values.tolist() == [3, 1, 2]


@pytest.mark.parametrize("returned, expected, says", [
    ([1, 2], [1, 2], None),
    (1.00001, 1.0, None),
    (float("nan"), float("nan"), None),
    ([1, 2, 3], [1, 2], r"shape \(3,\), expected \(2,\)"),
    ([[1.0, 2.0], [3.0, 5.0]], [[1.0, 2.0], [3.0, 4.0]], r"5 at \[1, 1\], expected 4"),
    (2.0, 1.0, "returned 2, expected 1"),
    ({"a": 1}, {"a": 1, "b": 2}, "'b' is missing"),
    ({"a": 1, "c": 2}, {"a": 1}, "'c' is there, but should not be"),
    ({"a": 2}, {"a": 1}, "at 'a': it returned 2, expected 1"),
    ([1], {"a": 1}, "expected a dict"),
    ({1, 2}, {1}, "expected {1}"),
    ([1], {1}, "expected {1}"),
    (1, True, "expected True"),
    (np.bool_(True), True, None),
    ({np.int64(1)}, {1}, None),
    ((1, 3), (1, 2), "value 1: it returned 3, expected 2"),
    ((1,), (1, 2), "expected 2 values"),
    ("text", 1.0, "returned 'text', expected 1"),
])
def test_what_is_wrong_is_said(returned, expected, says):
    problem = difference(returned, expected, 1e-4)
    assert (problem is None) if says is None else re.search(says, problem)


def test_long_values_are_cut():
    assert brief(np.zeros((50, 50))) == "an array of shape (50, 50)"
    assert len(brief("x" * 500)) == 120
    assert brief(np.array([0.123456, 1])) == "[0.1235, 1.0]"
