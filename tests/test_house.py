"""The house stands as indad/README.md draws it: arrows run one way, and the core stays small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "indad"
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = ("features", "coreset", "neighbors", "scores", "calibration", "metrics", "presets")
# The lowest first. Of one floor, core files may import each other, but not in a circle.
FLOORS = (("errors",), ("data",), ("engine",), ("backbones",), CORE, ("evaluation",), ("learned",),
          ("patchcore",), ("deploy",), ("experiments",), ("cli",), ("notebook", "__main__"))
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imports_of(file: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it; `indad` for its version."""
    package = list(file.relative_to(PACKAGE.parent).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.split(".")[0] == "indad"}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            if base[:1] == ["indad"]:
                name = ".".join(base)
                inside = {f"{name}.{one.name}" for one in node.names} & set(MODULES)
                found |= inside or {name}
    return found


def room_of(module: str) -> str:
    return (module.split(".") + [""])[1]


def test_every_file_has_a_floor():
    assert {room_of(module) for module in MODULES} - {""} == set(FLOOR_OF)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_run_downwards(file):
    room = room_of(module_of(file))
    for other in imports_of(file) - {"indad"}:
        theirs = room_of(other)
        if room and theirs != room:
            below = FLOOR_OF[theirs] < FLOOR_OF[room] or (room in CORE and theirs in CORE)
            assert below, f"{file.relative_to(PACKAGE)} imports {other}"


def test_no_imports_run_in_a_circle():
    """Also inside a room. An `__init__` that hands names on counts as what it hands on."""
    graph = {name: imports_of(file) & set(MODULES) - {"indad"} for name, file in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_core_can_be_read_in_one_sitting():
    top = [file for file in PACKAGE.glob("*.py") if not file.stem.startswith("__")]
    lines = {file.stem: len(file.read_text(encoding="utf-8").splitlines()) for file in top}
    assert len(top) <= 10
    assert sum(lines.values()) < 1500
    assert lines["patchcore"] < 300


def test_a_room_says_in_a_sentence_what_it_is_for():
    for folder in {file.parent for file in FILES} - {PACKAGE}:
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert said and "\n" not in said and said.endswith("."), folder


def test_no_file_holds_two_ideas():
    long = {file.relative_to(PACKAGE).as_posix(): count for file in FILES
            if (count := len(file.read_text(encoding="utf-8").splitlines())) > 360}
    assert not long


def test_a_planted_arrow_upwards_would_be_seen(tmp_path):
    """`imports_of` knows each way in which Python can import."""
    file = PACKAGE / "engine" / "planted.py"
    ways = {"from ..patchcore import PatchCore": "indad.patchcore",
            "from .. import patchcore": "indad.patchcore",
            "from indad.patchcore import PatchCore": "indad.patchcore",
            "import indad.patchcore": "indad.patchcore",
            "from . import search": "indad.engine.search",
            "def f():\n    from ..deploy.export import export_onnx": "indad.deploy.export"}

    class Planted(type(file)):
        def read_text(self, *arguments, **options):
            return text

    for text, module in ways.items():
        assert module in imports_of(Planted(file)), text
