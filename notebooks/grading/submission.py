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

    `ada.ipynb`, `ada/03_coreset.ipynb`, `03_coreset_ada.ipynb` and `ada_03_coreset.ipynb` are Ada's.
    """
    inside = file.relative_to(folder).parts
    if len(inside) > 1:
        return inside[0]
    name = file.stem
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
    node: ast.stmt
    binds: set[str]
    uses: set[str]

    @classmethod
    def of(cls, node: ast.stmt) -> "_Statement":
        table = symtable.symtable(ast.unparse(node), "cell", "exec")
        imported = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported()}
        binds = imported | {symbol.get_name() for symbol in table.get_symbols()
                            if symbol.is_assigned()}
        if any(isinstance(one, ast.ImportFrom) and one.names[0].name == "*"
               for one in ast.walk(node)):
            binds.add("*")
        return cls(node, binds | {name for name in _changed(node) if name}, _uses(table))


def _uses(table: symtable.SymbolTable) -> set[str]:
    """Names of the notebook that a statement looks up, inside its functions as well."""
    top = table.get_type() == "module"
    found = {symbol.get_name() for symbol in table.get_symbols()
             if symbol.is_referenced() and (top or symbol.is_global())}
    return found.union(*(_uses(inside) for inside in table.get_children()))


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
    wanted = {node.id for node in ast.walk(answer) if isinstance(node, ast.Name)}
    modules = {name for one in before if isinstance(one.node, (ast.Import, ast.ImportFrom))
               for name in one.binds}
    taken: set[int] = set()
    while True:
        more = {place for place, one in enumerate(before) if place not in taken
                and one.binds & (wanted | {"*"})
                and not (isinstance(one.node, ast.Expr) and one.binds <= modules)}
        if not more:
            return [before[place].node for place in sorted(taken)]
        taken |= more
        wanted |= set().union(*(before[place].uses for place in more))
