"""What a notebook that was handed in answers: for each exercise, the code that its answer needs.

Not the whole notebook is run: that would take minutes, need its photos, and stop at the first cell
that fails. Of all statements before the last `check("03.1", answer)`, those are taken that define a
name which the answer uses, or that one of these uses, and so on: functions, constants, imports.
"""

import ast
import json
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..course import LESSONS

LARGEST = 20_000_000  # bytes of a notebook
REPORT = "12.report"  # the capstone's, handed in as a file of its own
CHECK = re.compile(r"""\bcheck\(\s*["'](\d\d?\.\d+)["']""")


class NotANotebook(ValueError):
    """A file that cannot be read as one, with the reason in words."""


@dataclass(frozen=True)
class Answer:
    """The statements that an answer needs, in their order, and the expression that it is."""

    needed: list[ast.stmt]
    answer: ast.expr


@dataclass
class Submission:
    """What is in a notebook: answers by number, and what is wrong with cells that do not parse."""

    answers: dict[str, Answer] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    student: str = ""  # as a cell or the notebook's metadata says it

    @property
    def lessons(self) -> list[str]:
        return sorted({number.split(".")[0] for number in {**self.answers, **self.broken}})


def student_of(file: Path, folder: Path) -> str:
    """Whose a file is by its name or folder; "" if they say only which lesson it is.

    `ada.ipynb`, `ada/03_coreset.ipynb`, `03_coreset_ada.ipynb`, `ada_03_coreset.ipynb`: Ada's.
    A capstone's `report_1234.json` is by its folder, or by the name in it.
    """
    inside = file.relative_to(folder).parts
    if len(inside) > 1:
        return inside[0]
    name = re.sub(r"report_\d+", " ", file.stem)
    for lesson in LESSONS:
        name = name.replace(lesson.name, " ")
    return name.strip(" _-")


def read(text: str) -> Submission:
    """The answers of a notebook. Raises `NotANotebook`."""
    cells, student = _code_cells(text)
    found, before = Submission(student=student), list[_Statement]()
    for place, source in enumerate(cells, 1):
        try:
            body = ast.parse(_plain(source)).body
        except (SyntaxError, ValueError) as error:
            where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            for number in CHECK.findall(source):
                found.broken[number.zfill(4)] = (f"code cell {place} cannot be read: "
                                                 f"{type(error).__name__}{where}")
            continue
        for node in body:
            for number, answer in _checks(node):
                found.broken.pop(number, None)
                found.answers[number] = Answer(_needed(answer, before), answer)
            if (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                    and [getattr(one, "id", "") for one in node.targets] == ["student"]):
                found.student = found.student or str(node.value.value)
            before.append(_Statement.of(node))
    return found


def _code_cells(text: str) -> tuple[list[str], str]:
    try:
        notebook = json.loads(text)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
        student = notebook.get("metadata", {}).get("student", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotANotebook(f"not a notebook ({type(error).__name__})") from None
    return sources, student if isinstance(student, str) else ""


def _plain(source: str) -> str:
    """Without lines for IPython alone, such as `%timeit` and `!pip`."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)


def _checks(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    for call in ast.walk(node):
        if (isinstance(call, ast.Call) and len(call.args) >= 2
                and getattr(call.func, "id", getattr(call.func, "attr", "")) == "check"
                and isinstance(call.args[0], ast.Constant)):
            found = re.fullmatch(r"\s*(\d\d?)\.(\d+)\s*", str(call.args[0].value))
            if found:
                yield f"{found[1].zfill(2)}.{found[2]}", call.args[1]


@dataclass(frozen=True)
class _Statement:
    """A statement of the notebook's, and the names that it has to do with."""

    node: ast.stmt
    binds: set[str]
    whole: bool  # what it binds, it binds anew, whatever was there
    uses: set[str]  # when it is run
    later: set[str]  # when functions of it are called

    @classmethod
    def of(cls, node: ast.stmt) -> "_Statement":
        table = symtable.symtable(ast.unparse(node), "cell", "exec")
        symbols = table.get_symbols()
        binds = {one.get_name() for one in symbols if one.is_assigned() or one.is_imported()}
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            binds.add("*")
        defines = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        uses = {one.get_name() for one in symbols if one.is_referenced()}
        inside = set().union(*(_looked_up(one) for one in table.get_children()))
        changed = set(_changed(node)) - binds
        return cls(node, binds | changed, not changed and (defines or isinstance(
            node, (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom))),
            uses | (set() if defines else inside) | changed, inside)


def _looked_up(table: symtable.SymbolTable) -> set[str]:
    """Names of the notebook that are used in a function, and in functions in it."""
    mine = {one.get_name() for one in table.get_symbols() if one.is_referenced()
            and one.is_global()}
    return mine.union(*(_looked_up(inside) for inside in table.get_children()))


def _changed(node: ast.stmt) -> Iterator[str]:
    """Names whose things are changed: `rows[0] = 1`, `report.update(...)`."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        return
    for one in ast.walk(node):
        target: Any = None
        if isinstance(one, (ast.Subscript, ast.Attribute)) and isinstance(one.ctx, ast.Store):
            target = one
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
            target = one.value.func if isinstance(one.value.func, ast.Attribute) else None
        while isinstance(target, (ast.Subscript, ast.Attribute)):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id


def _needed(answer: ast.expr, before: list[_Statement]) -> list[ast.stmt]:
    """Followed back from the answer: each name to its last definition, and what changed it since.

    What a function looks up when it is called is as it stands at the end.
    """
    end = len(before)
    modules = {name for one in before if isinstance(one.node, (ast.Import, ast.ImportFrom))
               for name in one.binds}
    todo = [(node.id, end) for node in ast.walk(answer) if isinstance(node, ast.Name)]
    seen: set[tuple[str, int]] = set()
    taken = {place for place, one in enumerate(before) if "*" in one.binds}
    while todo:
        wanted = todo.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        name, place = wanted
        while place:
            place -= 1
            one = before[place]
            if name not in one.binds or (isinstance(one.node, ast.Expr) and name in modules):
                continue
            taken.add(place)
            todo += [(other, place) for other in one.uses] + [(other, end) for other in one.later]
            if one.whole:
                break
    return [before[place].node for place in sorted(taken)]
