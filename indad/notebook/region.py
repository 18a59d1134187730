"""Draw where a model is to look, on a photo in a notebook; in Jupyter and in Colab."""

import base64
import io
import json
import uuid
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ..data.drawn import region_from
from ..data.images import as_rgb
from .widgets import interactive

SIDE = 640  # pixels that the photo has in the page, at most


class RegionDrawing:
    """What was drawn so far, as `PatchCore` takes it."""

    def __init__(self, start: Sequence = ()):
        self._start = start
        self._text: Any = None  # an ipywidgets.Text, which the page writes into

    @property
    def region(self) -> tuple | None:
        """Polygons, each of points (x, y) in fractions of the photo; None before one is closed."""
        drawn = self._text.value if self._text is not None else ""
        polygons = json.loads(drawn) if drawn else self._start
        return tuple(tuple(tuple(point) for point in polygon) for polygon in polygons) or None


def draw_region(photo: object, start: Sequence | str = ()) -> RegionDrawing:
    """Show a photo to click corners on: around what is to be seen, the first one again to close.

    Where nobody can click, the photo is shown with what is given as `start`: polygons, or a text of
    them as the command line takes it.

    Example:
        >>> drawing = draw_region("bolts/good/001.png")
        >>> model = PatchCore(region=drawing.region).fit("bolts/good")    # in a later cell
    """
    from IPython.display import HTML, display

    polygons = region_from(start) if isinstance(start, str) else start
    drawing, name = RegionDrawing(polygons), f"indad-region-{uuid.uuid4().hex[:8]}"
    small = as_rgb(photo).copy()
    small.thumbnail((SIDE, SIDE))
    if interactive():
        import ipywidgets

        drawing._text = ipywidgets.Text(
            value=json.dumps(polygons) if polygons else "", description="region",
            layout=ipywidgets.Layout(width=f"{SIDE}px"))
        drawing._text.add_class(name)
        display(drawing._text)
    packed = io.BytesIO()
    small.save(packed, "PNG")
    source = "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()
    script = (files("indad.deploy") / "pages" / "polygon.js").read_text(encoding="utf-8")
    display(HTML(PAGE % {"name": name, "script": script, "start": json.dumps(polygons),
                         "source": json.dumps(source)}))
    return drawing


PAGE = """
<div id="%(name)s">
<canvas tabindex="0" style="max-width:100%%;cursor:crosshair" aria-label="Photo to draw on:
click to set corners, Enter closes, Backspace takes one back"></canvas>
<p><button type="button">close the polygon</button> <button type="button">undo</button>
<button type="button">clear</button> <code></code></p>
</div>
<script>(() => {
%(script)s
const whole = document.getElementById("%(name)s");
const canvas = whole.querySelector("canvas");
const drawing = regionDrawing(canvas, (polygons) => {
  whole.querySelector("code").textContent = regionText(polygons);
  const field = document.querySelector(".%(name)s input");
  if (!field) return;
  field.value = polygons.length ? JSON.stringify(polygons) : "";
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
}, %(start)s);
const [close, undo, clear] = whole.querySelectorAll("button");
close.addEventListener("click", drawing.close);
undo.addEventListener("click", drawing.undo);
clear.addEventListener("click", drawing.clear);
drawing.over(%(source)s);
})();</script>
"""
