"""The notebooks: made from their sources, whole, small, run offline, and free of what breaks."""

import json
import os
import re
import shutil

import nbformat
import pytest
from test_run import offline

from notebooks import build
from notebooks.course import LESSONS

IDS = [lesson.number for lesson in LESSONS]
LONGEST_CELL = 30  # lines; the setup is folded away


def built(lesson):
    return nbformat.read(build.HERE / f"{lesson.name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_setup(cell):
    return cell.source.startswith("#@title Setup")


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_sources_and_notebooks_agree(lesson):
    fresh, kept = build.assemble(lesson, build.read_times()), built(lesson)
    assert [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in fresh.cells] == [
        (cell.id, cell.cell_type, cell.source, cell.metadata) for cell in kept.cells]
    assert fresh.metadata == kept.metadata


def test_the_course_page_agrees():
    page = (build.HERE / "README.md").read_text(encoding="utf-8")
    assert build.course_map(build.read_times()) in page


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_the_form_is_that_of_the_course(lesson):
    notebook = built(lesson)
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    headings = [line for source in text for line in _outside_code(source) if line.startswith("# ")]
    assert headings == [f"# {lesson.number} · {lesson.title}"]
    whole = "\n".join(text)
    for part in ("**You will learn**", "**You need**", "**Time:**", "## Recap", "**Next:**"):
        assert part in whole or (part == "**Next:**" and lesson is LESSONS[-1]), part
    assert f"/notebooks/{lesson.name}.ipynb" in notebook.cells[0].source
    for target in re.findall(r"\]\(([^)#]+\.(?:ipynb|md))\)", whole):
        assert (build.HERE / target).exists(), target
    assert sum(is_setup(cell) for cell in code(notebook)) == 1
    for cell in code(notebook):
        assert len(cell.source.splitlines()) <= LONGEST_CELL or is_setup(cell), cell.source[:80]
        assert not re.search(r"pip install.*\b(torch|numpy|torchvision)\b", cell.source)
        assert not re.search(r"^[!%]", cell.source, re.M)  # plain Python runs everywhere
    first = next(place for place, cell in enumerate(code(notebook)) if pictures(cell))
    assert first <= 6, "the first picture comes too late"


def _outside_code(source):
    inside = False
    for line in source.splitlines():
        inside ^= line.startswith("```")
        if not inside:
            yield line


def pictures(cell):
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_outputs_render_everywhere(lesson):
    file, notebook = build.HERE / f"{lesson.name}.ipynb", built(lesson)
    nbformat.validate(notebook)
    assert file.stat().st_size < 1_000_000
    assert "widgets" not in notebook.metadata
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            assert not any("widget" in kind for kind in output.get("data", {}))
    drawn = [output for cell in cells for output in pictures(cell)]
    assert drawn
    for output in drawn:
        words = output.data["text/plain"]
        assert len(words) > 15 and "Figure" not in words, f"no words for a picture: {words}"
    assert str(build.HERE.parent) not in file.read_text(encoding="utf-8")


def test_building_keeps_outputs_of_cells_that_did_not_change():
    lesson = LESSONS[0]
    before, fresh = built(lesson), build.assemble(lesson, build.read_times())
    code(before)[2].source += "\n# changed"
    build.keep_outputs(fresh, before)
    for cell, old in zip(code(fresh), code(before), strict=True):
        assert cell.outputs == ([] if old.source.endswith("# changed") else old.outputs)


def test_widgets_progress_and_our_folder_are_taken_out_of_outputs():
    cell = nbformat.v4.new_code_cell("x", outputs=[
        nbformat.v4.new_output("stream", name="stderr", text="10 %"),
        nbformat.v4.new_output("stream", name="stdout", text=f"wrote {build.HERE.parent}/x"),
        nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}),
        nbformat.v4.new_output("display_data", {"text/plain": "<thing at 0x7f12ab>"})])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}})
    build.tidy(notebook)
    assert "widgets" not in notebook.metadata
    assert [output.get("text") or output.data for output in cell.outputs] == [
        "wrote ./x", {"text/plain": "<thing>"}]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_run_all_without_a_network(lesson, tmp_path, monkeypatch):
    """In a fresh kernel, sockets lead to this machine only; any error in a cell fails."""
    datasets = os.environ.get("INDAD_DATASETS", str(build.HERE.parent / "datasets"))
    for name, value in offline(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INDAD_DATASETS", datasets)
    notebook = build.assemble(lesson, build.read_times())
    build.run(notebook)
    fresh = [[output.output_type for output in cell.outputs if output.get("name") != "stderr"]
             for cell in code(notebook)]
    kept = [[output.output_type for output in cell.outputs] for cell in code(built(lesson))]
    assert fresh == kept


@pytest.mark.slow
def test_the_guard_of_the_kernel_stops_a_connection(tmp_path, monkeypatch):
    for name, value in offline(tmp_path).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "import urllib.request\ntry:\n    urllib.request.urlopen('http://192.0.2.1/')\n"
        "except BaseException as stopped:\n    print(stopped)")])
    build.run(notebook)
    assert "OFFLINE BROKEN" in json.dumps(notebook.cells[0].outputs)


def test_the_builder_writes_only_what_it_is_asked_for(tmp_path, monkeypatch):
    """`--no-run` on a copy brings text up to date and keeps the outputs."""
    lesson = LESSONS[0]
    for name in ("src", f"{lesson.name}.ipynb", "README.md", "times.json"):
        source = build.HERE / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "SOURCES", tmp_path / "src")
    monkeypatch.setattr(build, "TIMES", tmp_path / "times.json")
    file = tmp_path / "src" / f"{lesson.name}.py"
    file.write_text(file.read_text(encoding="utf-8").replace("## Recap", "## In short"))
    monkeypatch.setattr("sys.argv", ["build", lesson.number, "--no-run"])
    build.main()
    changed = nbformat.read(tmp_path / f"{lesson.name}.ipynb", as_version=4)
    assert "## In short" in "\n".join(cell.source for cell in changed.cells)
    assert any(pictures(cell) for cell in code(changed))
    assert len(list(tmp_path.glob("*.ipynb"))) == 1
