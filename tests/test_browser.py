"""The notebooks in a real browser: JupyterLab, headless Chromium, and a reader who clicks."""

import ast
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from browsing import keep_picture, need_browser, running_browser
from smaller import CELL

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE = 240  # seconds for a notebook to run
SETTINGS = {  # all cells in the page at once, and nothing fetched from elsewhere
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
CELLS = ("""import numpy as np
from indad.notebook.region import draw_region
drawing = draw_region(np.full((60, 100, 3), 200, np.uint8))""", "drawing.region", """
from indad import PatchCore
from indad.notebook.painting import paint_defect
photos = np.random.default_rng(0).integers(90, 130, (5, 64, 64, 3), np.uint8)
model = PatchCore(resize=64, map_kernel_size=9, coreset_ratio=0.2).fit(list(photos[:4]))
painting = paint_defect(model, photos[4], strokes=[])""", "painting.sheet.drawn", """
from indad import load_dataset
from indad.data.synthetic.categories import write_category
from indad.notebook.moving import browse_moved
write_category("drawn/tiles", "tiles", train=4, good=1, per_defect=1)
train, test = load_dataset("drawn", "tiles")
moving = PatchCore(resize=64, map_kernel_size=9, coreset_ratio=0.2).fit(train)
browse_moved(moving, train, test[0])""", """
from indad.notebook.costs import browse_costs
browse_costs(np.array([1.0, 2, 3, 4]), np.array([0, 1, 0, 1]), 2.5, steps=4)""", """
import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
from indad.notebook.pictures import canvas
from indad.notebook.widgets import explore

def draw(k):
    figure, _ = canvas(4)
    figure.suptitle(f"picture {k}")
    return figure

explore(draw, alt="a picture", k=["one", "two"])""")  # of a notebook of our own
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab over a copy of the notebooks without outputs, their images smaller; nothing it
    saves lands here."""
    need_browser()
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    for file in (folder / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(file, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        notebook.cells.insert(0, nbformat.v4.new_code_cell(CELL))
        nbformat.write(notebook, file)
    nbformat.write(nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL}, cells=[
        nbformat.v4.new_code_cell(text) for text in CELLS]), folder / "notebooks" / "widgets.ipynb")
    (folder / "indad").symlink_to(REPOSITORY / "indad")
    for name, text in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"INDAD_DATASETS": str(REPOSITORY / "datasets"), **os.environ,
                   "HF_HUB_OFFLINE": "1",
                   "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))}
    environment.pop("INDAD_STATIC", None)
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ip=127.0.0.1",
         "--allow-root", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
         "--LabApp.expose_app_in_browser=True",
         f"--ServerApp.root_dir={folder}", f"--LabApp.user_settings_dir={folder / 'settings'}",
         f"--LabApp.workspaces_dir={folder / 'workspaces'}", "--LabApp.extension_manager=readonly"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    _wait(lambda: urllib.request.urlopen(f"{address}/api/status", timeout=5), 60)
    yield address
    server.terminate()
    server.wait(timeout=30)


def _wait(attempt, seconds):
    until = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


@pytest.fixture(scope="module")
def page(lab):
    """JupyterLab, loaded once: that takes as long as what a notebook has to compute."""
    with running_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{lab}/lab?reset")
        page.wait_for_function("() => window.jupyterapp && jupyterapp.shell")
        yield page


def opened(page, name, *, upto=None):
    """The page with a notebook alone in it, whose cells, all or up to one, have run in a fresh
    kernel without an error."""
    set_width(page, 1280)
    page.evaluate("""async path => {
        await jupyterapp.restored;
        for (const widget of [...jupyterapp.shell.widgets('main')]) widget.dispose();
        const panel = await jupyterapp.commands.execute('docmanager:open', {path});
        await panel.sessionContext.ready;
    }""", f"notebooks/{name}.ipynb")
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell")
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
    cells = page.query_selector_all(".jp-CodeCell")
    last = next((place for place, cell in enumerate(cells) if upto and upto in cell.inner_text()),
                len(cells) - 1)
    if upto:  # the cell below it is chosen
        cells[last + 1].query_selector(".jp-InputPrompt").click()
    page.click(".lm-MenuBar-item:has-text('Run')")
    page.click(".lm-Menu-item:has-text('"
               f"{'Run All Above Selected Cell' if upto else 'Run All Cells'}') >> nth=0")
    page.wait_for_function(
        """last => {
            const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
            return /\\d+/.test(prompts[last].textContent);
        }""", arg=last, timeout=PATIENCE * 1000)
    assert not page.query_selector('[data-mime-type="application/vnd.jupyter.error"]')
    return page


def changes(page, cell, act):
    """What a click does in a cell: the picture and its words, before and after."""
    before = cell.query_selector("img").get_attribute("src")
    words = cell.query_selector(".widget-html-content").inner_text()
    act()
    page.wait_for_function("([cell, old]) => cell.querySelector('img').src !== old",
                           arg=[cell, before])
    return words, cell.query_selector(".widget-html-content").inner_text()


def test_category_and_backbone_change_picture_and_score(page):
    opened(page, "00_find_your_first_defect")
    menus = page.locator(".jp-CodeCell:has(select)").first
    menus.get_by_label("category").select_option("gear")
    menus.get_by_text("chosen: synthetic, gear, efficientnet_lite0 on cpu").wait_for()
    cell = page.query_selector_all(".jp-CodeCell:has(select)")[-1]
    cell.scroll_into_view_if_needed()
    keep_picture(page, "00-before")
    category, backbone = cell.query_selector_all("select")
    before, after = changes(page, cell, lambda: category.select_option("weave"))
    assert "score" in before and "score" in after and before != after
    again, other = changes(page, cell, lambda: backbone.select_option("efficientnet_lite1"))
    assert again == after and other != after
    keep_picture(page, "00-after")
    set_width(page, 480)
    keep_picture(page, "00-narrow")


def test_the_threshold_slides(page):
    opened(page, "05_thresholds", upto="browse_thresholds(")
    cell = page.query_selector_all(".jp-CodeCell:has(.widget-slider)")[0]
    cell.scroll_into_view_if_needed()
    keep_picture(page, "05-before")
    handle = cell.query_selector(".noUi-handle, .ui-slider-handle")

    def drag():
        box = handle.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] - 90, box["y"] + box["height"] / 2, steps=6)
        page.mouse.up()

    before, after = changes(page, cell, drag)
    assert "threshold" in before and before != after
    keep_picture(page, "05-after")
    set_width(page, 480)
    keep_picture(page, "05-narrow")


@pytest.fixture(scope="module")
def widgets(page):
    """The page with what `CELLS` show; each test has cells of its own in it."""
    return opened(page, "widgets")


def output_of(page, number):
    """What a cell gives if it is run once more."""
    cell = page.locator(".jp-CodeCell").nth(number)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    prompt.click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function("([prompt, before]) => /\\d/.test(prompt.textContent) && "
                           "prompt.textContent !== before", arg=[prompt.element_handle(), before])
    shown = cell.locator(".jp-OutputArea-output")
    shown.wait_for()
    return ast.literal_eval(shown.inner_text())


def set_width(page, width):
    """Of the page; where it is narrow, the list of files makes room."""
    page.set_viewport_size({"width": width, "height": 900})
    if (width < 600) == page.locator(".jp-FileBrowser").is_visible():
        page.keyboard.press("Control+b")


def test_a_region_is_drawn_on_a_photo(widgets):
    set_width(widgets, 1280)
    canvas = widgets.locator(".jp-CodeCell >> nth=0 >> canvas")
    widgets.wait_for_function(
        "() => document.querySelector('.jp-CodeCell canvas').width === 100")
    for x, y in ((10, 6), (90, 6), (50, 54), (10, 6)):
        canvas.click(position={"x": x, "y": y})
    polygons = output_of(widgets, 1)
    keep_picture(widgets, "region-notebook")
    assert len(polygons) == 1 and len(polygons[0]) == 3
    for (x, y), wanted in zip(polygons[0], ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9)), strict=True):
        assert abs(x - wanted[0]) < 0.03 and abs(y - wanted[1]) < 0.03


def test_a_defect_is_painted_and_score_and_map_follow(widgets):
    set_width(widgets, 1280)
    cell = widgets.locator(".jp-CodeCell").nth(2)
    answer, pictures = cell.locator(".widget-html-content:has(img)"), cell.locator("img")
    answer.wait_for()
    kept, beside = pictures.all()
    assert not kept.is_visible() and beside.is_visible()  # the picture for the saved notebook
    untouched, src = answer.inner_text(), beside.get_attribute("src")
    score = float(untouched.split()[1].rstrip(","))
    assert untouched.startswith(f"score {score:.2f}, untouched {score:.2f}, limit ")
    canvas = cell.locator("canvas")
    cell.get_by_label("thick").check()
    cell.get_by_label("bright").check()
    canvas.scroll_into_view_if_needed()
    box, place = canvas.bounding_box(), beside.bounding_box()
    assert box["width"] == 400
    assert place["x"] >= box["x"] + box["width"] and abs(place["y"] - box["y"]) < 20
    canvas.hover(position={"x": 100, "y": 200})
    widgets.mouse.down()
    canvas.hover(position={"x": 300, "y": 200})
    widgets.mouse.up()
    widgets.wait_for_function("old => ![...document.images].some((image) => image.src === old)",
                              arg=src)
    [stroke] = output_of(widgets, 3)
    keep_picture(widgets, "paint")
    assert (stroke["paint"], stroke["brush"]) == ("bright", "thick")
    assert stroke["points"][0] == pytest.approx([0.25, 0.5], abs=0.02)
    assert stroke["points"][-1] == pytest.approx([0.75, 0.5], abs=0.02)
    assert float(answer.inner_text().split()[1].rstrip(",")) > score
    cell.get_by_role("button", name="clear").click()
    widgets.wait_for_function("([answer, text]) => answer.innerText === text",
                              arg=[answer.element_handle(), untouched])
    set_width(widgets, 390)
    canvas.scroll_into_view_if_needed()
    keep_picture(widgets, "paint-narrow")
    assert beside.bounding_box()["y"] > canvas.bounding_box()["y"] + 100  # below it


def slid(page, cell, title):
    """What a cell says before and after a key is pressed on the slider of that title."""
    handle = cell.query_selector(f".widget-slider:has-text('{title}') .noUi-handle")
    handle.scroll_into_view_if_needed()
    return changes(page, cell, lambda: handle.press("ArrowRight"))


def test_a_photo_is_moved_and_turned(widgets):
    set_width(widgets, 1280)
    cell = widgets.query_selector_all(".jp-CodeCell")[4]
    before, after = slid(widgets, cell, "right")
    assert before.startswith("moved 0 % right, 0 % down, turned 0°: largest distance ")
    assert after.startswith("moved 5 % right, 0 % down, turned 0°: largest distance ")
    assert slid(widgets, cell, "turn")[1].startswith("moved 5 % right, 0 % down, turned 15°: ")
    keep_picture(widgets, "moved")


def test_what_a_threshold_costs(widgets):
    set_width(widgets, 1280)
    cell = widgets.query_selector_all(".jp-CodeCell")[5]
    before, after = slid(widgets, cell, "cost of a miss")
    assert before == ("threshold 2.50: 1,000 parts cost 975 (misses 500, alarms 475); "
                      "cheapest at 1.00: 475")
    assert after.startswith("threshold 2.50: 1,000 parts cost 1,725 (misses 1,250, alarms 475)")
    assert slid(widgets, cell, "threshold")[1].startswith("threshold 3.")
    keep_picture(widgets, "costs")


def test_in_colab_a_click_exchanges_the_picture_where_it_stands(widgets):
    """As far as it can be imitated: the way through widgets, which Colab takes, in JupyterLab."""
    set_width(widgets, 390)
    cell = widgets.locator(".jp-CodeCell").nth(6)
    cell.locator("img").first.wait_for()
    cell.scroll_into_view_if_needed()

    def seen():
        """Places in the cell of the pictures to be seen, which are inside of it."""
        outer = cell.bounding_box()
        boxes = [one.bounding_box() for one in (*cell.locator("img").all(), cell.locator("select"))
                 if one.is_visible()]
        assert all(box["x"] + box["width"] <= outer["x"] + outer["width"] for box in boxes)
        return [box["y"] - outer["y"] for box in boxes[:-1]]

    [first] = seen()
    for choice in ("two", "one"):
        cell.locator("select").select_option(choice)
        cell.locator(f"img.indad-alive[alt='a picture; picture {choice}']").wait_for()
        [now] = seen()
        assert abs(now - first) < 30
    keep_picture(widgets, "colab-explore")
