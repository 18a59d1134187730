"""A region drawn in a real browser, on the page of serve, which shows that of its model."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from browsing import keep_picture, need_browser, running_browser, watched
from PIL import Image

from indad import PatchCore
from indad.data.drawn import region_from

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(90, 130, (96, 128, 3), np.uint8)).save(
            folder / f"{number}.png")
    return folder


def test_a_region_is_drawn_and_a_model_fitted_with_it(photos, tmp_path):
    need_browser()
    PatchCore(resize=96, map_kernel_size=9, region=[[(0, 0), (1, 0), (1, 0.5)]]).fit(
        photos).save(tmp_path / "model")
    server = subprocess.Popen(
        [sys.executable, "-m", "indad", "serve", str(tmp_path / "model"), "--port", "0"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        with running_browser() as browser:
            page, complaints, _ = watched(browser, viewport={"width": 1100, "height": 1000},
                                          accept_downloads=True)
            page.goto(server.stdout.readline().split()[0])
            page.wait_for_selector("body[data-ready]")
            assert "It looks at 25." in page.inner_text("#about")
            page.set_input_files("#files", photos / "0.png")
            page.wait_for_selector(".result[data-verdict]")
            page.click("#region summary")
            page.wait_for_function(  # a function: the page's policy forbids to evaluate a text
                "() => document.querySelector('#region-canvas').width === 128")
            canvas = page.locator("#region-canvas")
            canvas.scroll_into_view_if_needed()
            for x, y in ((13, 10), (115, 10), (64, 86)):
                canvas.click(position={"x": x, "y": y})
            assert page.inner_text("#region-text").startswith("3 corners")
            canvas.click(position={"x": 14, "y": 11})  # the first again
            text = page.inner_text("#region-text")
            keep_picture(page, "region-serve")
            polygons = region_from(text.removeprefix("--region ").strip('"'))
            np.testing.assert_allclose(polygons, [[(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]], atol=0.03)
            with page.expect_download() as saved:
                page.click("#region-save")
            saved.value.save_as(tmp_path / "region.json")
            assert json.loads((tmp_path / "region.json").read_text())["region"][0][0] == list(
                polygons[0][0])
            for x, y in ((2, 2), (20, 2)):
                canvas.click(position={"x": x, "y": y})
            canvas.press("Enter")  # two corners are no polygon
            assert page.inner_text("#region-text") == text
            canvas.press("Backspace")
            canvas.press("Backspace")
            page.click("#region-undo")
            assert page.inner_text("#region-text") == "no polygon yet"
            assert complaints == []
    finally:
        server.terminate()
        server.communicate(timeout=30)
    model = PatchCore(resize=96, map_kernel_size=9, region=polygons).fit(photos)
    assert model.region_.over((96, 128))[50, 64] and not model.region_.over((96, 128))[90, 5]
