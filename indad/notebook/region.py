"""Draw where a model is to look, on a photo in a notebook; in Jupyter and in Colab."""

from collections.abc import Sequence
from importlib.resources import files

from ..data.drawn import region_from
from ..data.images import as_rgb
from .drawing import SIDE, Sheet


class RegionDrawing:
    """What was drawn so far, as `PatchCore` takes it."""

    def __init__(self, sheet: Sheet):
        self._sheet = sheet

    @property
    def region(self) -> tuple | None:
        """Polygons, each of points (x, y) in fractions of the photo; None before one is closed."""
        return tuple(tuple(tuple(point) for point in polygon)
                     for polygon in self._sheet.drawn) or None


def draw_region(photo: object, start: Sequence | str = ()) -> RegionDrawing:
    """Show a photo to click corners on: around what is to be seen, the first one again to close.

    It begins with `start`: polygons, or a text of them as the command line takes it. That stays
    where nobody can click; and where no script runs, a sentence says so.

    Example:
        >>> drawing = draw_region("bolts/good/001.png")
        >>> model = PatchCore(region=drawing.region).fit("bolts/good")    # in a later cell
    """
    sheet = Sheet(region_from(start) if isinstance(start, str) else start, title="region")
    small = as_rgb(photo).copy()
    small.thumbnail((SIDE, SIDE))
    script = (files("indad.deploy") / "pages" / "polygon.js").read_text(encoding="utf-8")
    sheet.show(small, label=LABEL, tools=TOOLS, script=script + WIRES)
    return RegionDrawing(sheet)


LABEL = "Photo to draw on: click to set corners, Enter closes, Backspace takes one back"
TOOLS = """<p><button type="button">close the polygon</button> <button type="button">undo</button>
<button type="button">clear</button> <code></code></p>"""
WIRES = """
const drawing = regionDrawing(canvas, (polygons) => {
  whole.querySelector("code").textContent = regionText(polygons);
  tell(polygons);
}, start);
const [close, undo, clear] = whole.querySelectorAll("button");
close.addEventListener("click", drawing.close);
undo.addEventListener("click", drawing.undo);
clear.addEventListener("click", drawing.clear);
drawing.over(source);
"""
