"""A defect painted on a good photo: the strokes, what the model says of them, and what is shown."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from indad import PatchCore
from indad.errors import InputError
from indad.notebook import drawing, painting, region
from indad.notebook.painting import BRUSHES, PAINTS, SCRATCH, paint_defect, painted

GREY = np.full((100, 200, 3), 128, np.uint8)


def stroke(*points, paint="dark", brush="thick"):
    return {"paint": paint, "brush": brush, "points": points}


def changed(strokes):
    return (np.asarray(painted(GREY, strokes)) != GREY).any(2)


def test_a_stroke_has_its_place_width_and_colour():
    pixels = np.asarray(painted(GREY, [stroke((0.25, 0.5), (0.75, 0.5), paint="colour")]))
    assert tuple(pixels[50, 100]) == PAINTS["colour"]
    touched = changed([stroke((0.25, 0.5), (0.75, 0.5))])
    rows, columns = (np.flatnonzero(touched.any(axis)) for axis in (1, 0))
    width = BRUSHES["thick"] * 200
    assert abs(rows.mean() - 49.5) < 1 and width <= len(rows) <= width + 4  # with a soft edge
    assert abs(columns.mean() - 99.5) < 1 and 100 + width <= len(columns) <= 104 + width
    thin = changed([stroke((0.25, 0.5), (0.75, 0.5), brush="thin")])
    assert thin.any(1).sum() < touched.any(1).sum()


def test_a_dot_is_round_and_later_strokes_lie_above():
    dot = changed([stroke((0.5, 0.5))])
    assert 0 < dot.sum() < 0.9 * dot.any(1).sum() * dot.any(0).sum()
    both = painted(GREY, [stroke((0.5, 0.5)), stroke((0.5, 0.5), paint="bright")])
    assert both.getpixel((100, 50)) == PAINTS["bright"]
    assert np.array_equal(painted(GREY, []), GREY)


@pytest.mark.parametrize("wrong, told", [({"paint": "blak"}, "unknown paint 'blak'"),
                                         ({"brush": "wide"}, "unknown brush 'wide'")])
def test_a_paint_or_brush_that_there_is_not(wrong, told):
    with pytest.raises(InputError, match=told):
        painted(GREY, [stroke((0, 0), **wrong)])


@pytest.fixture(scope="module")
def fitted():
    photos = np.random.default_rng(0).integers(90, 130, (5, 64, 64, 3), np.uint8)
    return PatchCore(resize=64, map_kernel_size=9, coreset_ratio=0.2).fit(list(photos[:4])), \
        photos[4]


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, in order."""
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda thing, **how: calls.append(thing))
    return calls


def test_without_a_front_end_a_picture_says_score_and_limit(fitted, shown):
    model, photo = fitted
    kept = paint_defect(model, photo)
    [data] = shown
    score, clean = (float(model.predict(one).scores[0]) for one in (kept.photo, photo))
    assert data["text/plain"].endswith(
        f"; score {score:.2f}, untouched {clean:.2f}, limit {model.threshold_:.2f}: "
        f"{'defective' if score > model.threshold_ else 'good'}")
    assert np.array_equal(kept.photo, painted(photo, SCRATCH)) and score > clean


@pytest.mark.parametrize("tool", [region, painting])
def test_where_no_script_runs_there_is_a_sentence_and_nothing_dead(shown, tool):
    drawing.Sheet([]).show(Image.fromarray(GREY), label=tool.LABEL, tools=tool.TOOLS, script="")
    [page] = shown
    without = re.sub(r"<script>.*?</script>", "", page.data, flags=re.DOTALL)
    assert re.sub(r"<[^>]*>", "", without).strip() == drawing.WITHOUT_SCRIPT
    assert set(re.findall(r"<(\w+)", without)) == {"div", "p"}  # no button, no empty canvas
    assert "<canvas" in page.data and "<button" in page.data  # a script makes them


@pytest.mark.slow
def test_what_the_page_writes_is_judged(fitted, shown, monkeypatch):
    monkeypatch.setattr(drawing, "interactive", lambda: True)
    model, photo = fitted
    kept = paint_defect(model, photo, strokes=[])
    picture, row, field, page = shown
    [answer] = row.children
    clean = model.predict(photo).scores[0]
    assert f"<b>score {clean:.2f}, untouched {clean:.2f}, limit " in answer.value
    assert picture["image/png"][-120:-20] in answer.value  # hidden where the widget is alive
    assert f'id="{kept.sheet.name}"' in page.data and "pointerdown" in page.data
    assert field.layout.display == "none"
    field.value = json.dumps([stroke((0.2, 0.2), (0.8, 0.8), paint="bright")])
    score = model.predict(kept.photo).scores[0]
    assert f"<b>score {score:.2f}, untouched {clean:.2f}, limit " in answer.value
    assert score > clean
    field.value = "[]"
    assert f"<b>score {clean:.2f}," in answer.value


@pytest.mark.slow
def test_the_scale_is_that_of_good_photos(fitted):
    model, photo = fitted
    kept = painting.Painting(model, photo, [])
    peak = float(model.predict(photo).peaks[0])
    assert kept.scale.low < peak < kept.scale.high
