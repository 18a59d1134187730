"""What a built notebook keeps of its outputs: what a reader needs, in few bytes."""

import base64
import io
import re
from pathlib import Path

import numpy as np
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
QUALITY, MOST_OFF = 85, 3  # of JPEG, and levels of 255 for PNG


def tidy(notebook: NotebookNode) -> None:
    """Leave in the outputs what a reader needs: no widgets, no progress bars, no folder of ours."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                continue
            for kind in [kind for kind in output.get("data", {}) if "widget" in kind]:
                del output.data[kind]
            if output.output_type == "display_data" and not output.data:
                continue
            output.pop("transient", None)
            make_small(output)
            if output.output_type == "stream":
                output.text = output.text.replace(str(HERE.parent), ".")
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = re.sub(r" at 0x[0-9a-f]+", "",
                                               value.replace(str(HERE.parent), "."))
            kept.append(output)
        cell.outputs = kept


def make_small(output: NotebookNode) -> None:
    """Exchange an output's PNG for one of few colours, or a JPEG where that would have bands."""
    png = output.get("data", {}).pop("image/png", None)
    if png is None:
        return
    packed, kind = smaller(base64.b64decode(png))
    output.data[kind] = base64.b64encode(packed).decode()
    words = output.get("metadata", {}).pop("image/png", None)
    if words is not None:
        output.metadata[kind] = words


def smaller(png: bytes) -> tuple[bytes, str]:
    """A picture in a third to a fifth of its bytes, so that a notebook of photos stays below 1 MB.

    Lines and letters go with 256 colours, far apart, as the most frequent ones would have no room
    for a thin outline. A heat map over a coloured photo has more colours: there these are bands, up
    to 15 of 255 levels wide, and as many bytes as a JPEG, whose mean over 5 x 5 pixels is off by 4.
    """
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    few = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    off = np.abs(np.asarray(few.convert("RGB"), np.int16) - np.asarray(whole))
    made = io.BytesIO()
    if np.quantile(off, 0.98) <= MOST_OFF:
        few.save(made, "PNG", optimize=True)
        return made.getvalue(), "image/png"
    whole.save(made, "JPEG", quality=QUALITY, subsampling=0, optimize=True)  # sharp letters
    return made.getvalue(), "image/jpeg"
