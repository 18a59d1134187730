"""The notebooks: made from their sources, whole, small, run offline, and free of what breaks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from smaller import CELL
from test_run import offline

from indad.notebook.choose import form
from notebooks import build, course
from notebooks.course import LESSONS

IDS = [lesson.number for lesson in LESSONS]
TESTS = Path(__file__).resolve().parent
LONGEST_CELL = 30  # lines; the setup is folded away


def built(lesson):
    return nbformat.read(build.HERE / f"{lesson.name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_setup(cell):
    return cell.source.startswith("#@title Setup")


def tagged(notebook, tag):
    return [cell for cell in code(notebook) if tag in cell.metadata.get("tags", ())]


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_sources_and_notebooks_agree(lesson):
    fresh, kept = build.assemble(lesson, build.read_times()), built(lesson)
    assert [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in fresh.cells] == [
        (cell.id, cell.cell_type, cell.source, cell.metadata) for cell in kept.cells]
    assert fresh.metadata == kept.metadata


def test_the_course_page_agrees():
    page = (build.HERE / "README.md").read_text(encoding="utf-8")
    taken = {lesson.number: build.minutes_of(lesson) for lesson in LESSONS}
    assert build.pages.course_map(build.read_times(), taken) in page
    for lesson in LESSONS:  # what the top of each says
        assert (f"**Time:** {taken[lesson.number].reading} minutes to read, and "
                f"{taken[lesson.number].exercises} for the exercises. Run all took "
                in "\n".join(cell.source for cell in built(lesson).cells))


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


@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_one_form_chooses_for_all_cells(lesson):
    notebook = built(lesson)
    [choosing] = tagged(notebook, "choose")
    first = 2 if lesson.number == "08" else 1  # 08 asks for photos to upload before
    assert code(notebook).index(choosing) == first and choosing.metadata["cellView"] == "form"
    drawn, needs = re.search(r'drawn="(\w+)"(, needs_defects=False)?\)$', choosing.source).groups()
    backbone = re.search(r'^backbone = "(.*?)"', choosing.source, re.M)[1]
    assert choosing.source == form(drawn=drawn, backbone=backbone, needs_defects=not needs)
    chosen = {"dataset", "category", "images", "backbone", "backbones", "device"}
    for cell in code(notebook):
        if cell is not choosing:
            assert not re.search(r"^\s*(for )?chosen\b( =|, | in )", cell.source, re.M), cell.source
            assert not chosen & set(re.findall(r"^(\w+) = .*#@param", cell.source, re.M))
            assert not re.search(r"""device\s*=\s*["']""", cell.source), cell.source


def test_colab_is_asked_for_a_gpu():
    for lesson in LESSONS:
        metadata = built(lesson).metadata
        assert metadata["accelerator"] == "GPU" and metadata["colab"]["gpuType"] == "T4"


def _outside_code(source):
    inside = False
    for line in source.splitlines():
        inside ^= line.startswith("```")
        if not inside:
            yield line


def pictures(cell):
    return [output for output in cell.outputs
            if {"image/png", "image/jpeg"} & set(output.get("data", {}))]


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


def test_what_a_lesson_says_of_stored_pairs_has_the_sign_of_their_rows():
    """A pair's difference is its second less its first, and so it must be read."""
    stored = build.HERE.parent / "results/reference/sweeps/synthetic/benchmark.json"
    rows = json.loads(stored.read_text())["rows"]
    lesson = next(one for one in LESSONS if one.number == "06")
    told = re.findall(r"^(\S+) minus (\S+): (\S+) points", "".join(
        output.get("text", "") for cell in code(built(lesson)) for output in cell.outputs), re.M)

    def mean(backbone):
        return fmean(row["image_auroc"]["mean"] for row in rows
                     if row["backbone"] == backbone and row["category"] != "mean")

    assert len(told) == 3
    for one, other, points in told:
        assert float(points) == pytest.approx(100 * (mean(one) - mean(other)), abs=0.006)


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


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """Sockets lead to this machine only. It is fresh for the first lesson, and has imported what
    lessons import for the others, which is a third of their time; names are forgotten between."""
    environment = offline(tmp_path_factory.mktemp("kernel"))
    kernel = KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([environment["PYTHONPATH"], str(TESTS)]))
        patch.setenv("INDAD_DATASETS",
                     os.environ.get("INDAD_DATASETS", str(build.HERE.parent / "datasets")))
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        yield kernel
    kernel.shutdown_kernel(now=True)


def forgetful(cells):
    """A notebook that leaves nothing of what it made but modules."""
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(
        "from matplotlib import pyplot\npyplot.close('all')\nget_ipython().reset()")])


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=IDS)
def test_run_all_without_a_network(lesson, kernel):
    """Any error in a cell fails. The first lesson runs as readers get it, others are smaller."""
    notebook = build.assemble(lesson, build.read_times())
    first = [nbformat.v4.new_code_cell(CELL)] if lesson is not LESSONS[0] else []
    build.run(forgetful([*first, *notebook.cells]), kernel=kernel)
    fresh = [[output.output_type for output in cell.outputs if output.get("name") != "stderr"]
             for cell in code(notebook)]
    kept = [[output.output_type for output in cell.outputs] for cell in code(built(lesson))]
    assert fresh == kept


@pytest.mark.slow
def test_the_guard_of_the_kernel_stops_a_connection(kernel):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "import urllib.request\ntry:\n    urllib.request.urlopen('http://192.0.2.1/')\n"
        "except BaseException as stopped:\n    print(stopped)")])
    build.run(notebook, kernel=kernel)
    assert "OFFLINE BROKEN" in json.dumps(notebook.cells[0].outputs)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A course of the test's own: the first lesson, its sources and the course page."""
    lesson, here = LESSONS[0], tmp_path / "notebooks"
    here.mkdir()
    for name in ("src", f"{lesson.name}.ipynb", "README.md", "times.json", "course.py"):
        source = build.HERE / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, here / name)
    monkeypatch.setattr(build, "HERE", here)
    monkeypatch.setattr(build, "SOURCES", here / "src")
    monkeypatch.setattr(build, "TIMES", here / "times.json")
    return lesson, here


def test_the_builder_writes_only_what_it_is_asked_for(copied, monkeypatch):
    """`--no-run` on a copy brings text up to date and keeps the outputs."""
    lesson, here = copied
    file = here / "src" / f"{lesson.name}.py"
    file.write_text(file.read_text(encoding="utf-8").replace("## Recap", "## In short"))
    monkeypatch.setattr("sys.argv", ["build", lesson.number, "--no-run"])
    build.main()
    changed = nbformat.read(here / f"{lesson.name}.ipynb", as_version=4)
    assert "## In short" in "\n".join(cell.source for cell in changed.cells)
    assert any(pictures(cell) for cell in code(changed))
    assert len(list(here.glob("*.ipynb"))) == 1


def test_one_command_writes_another_address_everywhere(copied, monkeypatch):
    lesson, here = copied
    before = course.REPOSITORY
    monkeypatch.setattr(course, "REPOSITORY", before)  # set back afterwards
    outputs = [cell.outputs for cell in code(nbformat.read(here / f"{lesson.name}.ipynb", 4))]
    (here.parent / "README.md").write_text(f"https://github.com/{before} and github.com/{before}er")
    monkeypatch.setattr("sys.argv", ["build", lesson.number, "--no-run",
                                     "--repository", "some-one/in.dad"])
    build.main()
    assert 'REPOSITORY, REFERENCE = "some-one/in.dad", "main"' in (here / "course.py").read_text()
    notebook = nbformat.read(here / f"{lesson.name}.ipynb", as_version=4)
    assert "/github/some-one/in.dad/blob/main/" in notebook.cells[0].source
    assert 'ADDRESS, REFERENCE = "https://github.com/some-one/in.dad", "main"' in \
        tagged(notebook, "setup")[0].source
    assert [cell.outputs for cell in code(notebook)] == outputs
    assert (here.parent / "README.md").read_text() == (
        f"https://github.com/some-one/in.dad and github.com/{before}er")
    for page in (here / "README.md", here / f"{lesson.name}.ipynb", here / "course.py"):
        assert not re.search(rf"\b{before}\b", page.read_text(encoding="utf-8")), page


@pytest.mark.parametrize("name", ["indad", "a/b/c", "https://github.com/a/b", "a b/c", ""])
def test_an_address_that_is_none(copied, monkeypatch, capsys, name):
    monkeypatch.setattr("sys.argv", ["build", "--no-run", "--repository", name])
    with pytest.raises(SystemExit):
        build.main()
    assert f"--repository is {name!r}; give it as OWNER/NAME" in capsys.readouterr().err


def setup_in(folder, *, colab=True, path=None, **variables):
    """Run the setup cell as Colab would, with a git of the test's own; -> what it said."""
    lines = ["import sys, types", "sys.path[:] = [p for p in sys.path if p]"]
    if colab:
        lines.append("sys.modules['google.colab'] = types.ModuleType('google.colab')")
    if path is None:
        lines.append("sys.modules['indad'] = None")  # wherever else it may be installed
    file = folder / "cell.py"
    file.write_text("\n".join([*lines, tagged(build.assemble(LESSONS[0], {}), "setup")[0].source]))
    environment = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                                "PYTHONPATH": str(path or "")} | variables
    return subprocess.run([sys.executable, file.name], cwd=folder, env=environment, text=True,
                          capture_output=True)


@pytest.fixture
def no_address(tmp_path):
    """A git that cannot clone."""
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\necho cloning >&2\necho 'fatal: repository not found' >&2\nexit 1\n")
    git.chmod(0o755)
    return tmp_path


def test_an_address_that_does_not_answer_is_one_line(no_address):
    finished = setup_in(no_address)
    last = finished.stderr.splitlines()[-1]
    assert finished.returncode and last.endswith(
        f"Stopped: https://github.com/{course.REPOSITORY} was not reached (fatal: repository not "
        "found): run pip install indad, then this cell again; or open this notebook inside a copy "
        "of the repository")
    kaggle = setup_in(no_address, colab=False, KAGGLE_KERNEL_RUN_TYPE="Interactive").stderr
    assert kaggle.splitlines()[-1] == last
    outside = setup_in(no_address, colab=False).stderr.splitlines()[-1]
    assert "was not reached (this notebook lies outside a copy of it): run pip install" in outside


def test_an_installed_package_is_the_second_way(no_address):
    """It needs no clone; only the exercises' checks are in the repository alone."""
    package = no_address / "site/indad/notebook"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "widgets.py").write_text(
        "def banner():\n    from notebooks.checks import check\n    check('00.1', None)\n")
    finished = setup_in(no_address, colab=False, path=no_address / "site")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"00.1: its check is in https://github.com/{course.REPOSITORY}\n"
