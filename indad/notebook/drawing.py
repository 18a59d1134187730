"""A photo in a page to draw on, and how Python hears of what was drawn; in Jupyter and in Colab."""

import base64
import io
import json
import uuid
from typing import Any

from PIL import Image

from .widgets import FITS, interactive

SIDE = 640  # pixels that a photo has in the page, at most


class Sheet:
    """What is drawn in a page, as JSON in a field of text: what any front end brings to Python.

    Args:
        start: what is drawn at first, as JSON can hold it.
        title: of the field, where it is to be seen.
    """

    def __init__(self, start: Any, *, title: str = ""):
        self.start, self.name = start, f"indad-{uuid.uuid4().hex[:8]}"
        self.field: Any = None  # an ipywidgets.Text, which the page writes into
        if interactive():
            import ipywidgets

            self.field = ipywidgets.Text(
                value=json.dumps(start), description=title,
                layout=ipywidgets.Layout(width=f"{SIDE}px", max_width=FITS,
                                         display=None if title else "none"))
            self.field.add_class(self.name)

    @property
    def drawn(self) -> Any:
        return json.loads(self.field.value) if self.field is not None else self.start

    def show(self, photo: Image.Image, *, label: str, tools: str, script: str,
             **values: Any) -> None:
        """Put the field and the photo into the notebook.

        A script puts canvas and tools into the page, so that where none runs (on GitHub, in a
        notebook that is not trusted) there is a sentence instead, and nothing that is dead.

        Args:
            photo: in the pixels that the page shows.
            label: of the canvas, for those who do not see it.
            tools: what to click, in HTML, below the photo.
            script: finds in `whole`, `canvas`, `start` and `source` (an address) what is in the
                page, in `values` what else it is given, and calls `tell(drawn)` at every change.
        """
        from IPython.display import HTML, display

        if self.field is not None:
            display(self.field)
        display(HTML(PAGE % {
            "name": self.name, "script": script, "without": WITHOUT_SCRIPT,
            "inside": json.dumps(INSIDE % {"label": label, "tools": tools}).replace("</", "<\\/"),
            "start": json.dumps(self.start), "source": json.dumps(address_of(photo)),
            "values": json.dumps(values)}))


def address_of(photo: Image.Image) -> str:
    """A picture as an address that holds all of it."""
    packed = io.BytesIO()
    photo.save(packed, "PNG")
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()


WITHOUT_SCRIPT = "No script runs here, so nothing can be drawn: what the code gives is taken."
INSIDE = """
<canvas tabindex="0" style="max-width:100%%;cursor:crosshair" aria-label="%(label)s"></canvas>
%(tools)s
"""
PAGE = """
<div id="%(name)s" style="max-width:100%%"><p>%(without)s</p></div>
<script>(() => {
const whole = document.getElementById("%(name)s");
whole.innerHTML = %(inside)s;
const canvas = whole.querySelector("canvas");
const start = %(start)s, source = %(source)s, values = %(values)s;
const tell = (drawn) => {
  const field = document.querySelector(".%(name)s input");
  if (!field) return;
  field.value = JSON.stringify(drawn);
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
};
%(script)s
})();</script>
"""
