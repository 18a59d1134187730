"""What a notebook reader sees and clicks.

A picture is always drawn first and stays in the notebook, so that GitHub, a headless run and a
front end without widgets show it too; controls that draw it anew come on top, where somebody can
click them. Later cells never wait for a control: what they need comes from forms, which are plain
Python.
"""

import html
import importlib.util
import io
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from ..data.datasets import in_notebook

if TYPE_CHECKING:
    from ipywidgets import Dropdown, SelectionSlider
    from matplotlib.figure import Figure

STATIC = "INDAD_STATIC"  # set it to draw pictures only, as builds and tests do
DPI = 80


def banner() -> None:
    """Print versions, device and mode."""
    import torch

    from .. import __version__
    from ..data.files import in_units
    from ..data.images import cores
    from ..engine.machine import accelerator, device_name, free_memory

    gpu = accelerator()
    print(f"indad {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
          f"timm {metadata.version('timm')}")
    print(f"device: {device_name(gpu)} ({gpu}), {in_units(free_memory(gpu))} of memory free" if gpu
          else f"device: CPU, {cores()} cores (for a GPU in Colab: Runtime, Change runtime "
          "type, T4 GPU)")
    print("mode: " + ("pictures, with menus and sliders" if interactive() else "pictures only")
          + "; no network is needed, unless the form below asks for real photos or other networks")


def interactive() -> bool:
    """Is this a notebook in which somebody may click?"""
    if os.environ.get(STATIC) or importlib.util.find_spec("ipywidgets") is None:
        return False
    return in_notebook()


def picture(figure: "Figure", alt: str) -> tuple[dict, dict]:
    """A figure as a notebook's output: PNG, and in words for those who do not see it.

    The words are `alt` and the figure's own title. Returns the data and metadata that
    `IPython.display.display(..., raw=True)` takes.
    """
    import base64

    from matplotlib import pyplot
    from PIL import Image

    title = figure.get_suptitle()
    alt = f"{alt}; {title}" if title else alt
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight")
    pyplot.close(figure)
    if os.environ.get(STATIC):
        # 256 colours make a notebook full of photos a third of its size. Those that are far apart:
        # the most frequent ones would have no room for a small hot spot, or a thin outline.
        few = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
        drawn = io.BytesIO()
        few.save(drawn, "PNG", optimize=True)
    png = base64.b64encode(drawn.getvalue()).decode()
    return {"image/png": png, "text/plain": alt}, {"image/png": {"alt": alt}, "alt": alt}


def show(figure: "Figure", alt: str) -> None:
    """Put a figure into the notebook, with `alt` saying what is to be seen in it."""
    from IPython.display import display

    data, metadata = picture(figure, alt)
    display(data, metadata=metadata, raw=True)


def explore(draw: Callable[..., "Figure"], *, alt: str, start: dict | None = None,
            **choices: Sequence) -> None:
    """Draw a figure, and add a control for each choice where somebody can click.

    Args:
        draw: takes a value of each choice by name, and returns a figure. Whatever takes long should
            be computed before: it is called at every click.
        alt: what is to be seen, in words.
        start: the values of the first picture, where these are not the first of their choices.
        choices: what to choose from: numbers in equal steps become a slider, all else a list.

    Example:
        >>> explore(lambda k: figure_of(curve[:k]), alt="error over k", k=range(1, 20))
    """
    from IPython.display import display

    values = {name: options[0] for name, options in choices.items()} | (start or {})
    data, metadata = picture(draw(**values), alt)
    if not interactive():
        display(data, metadata=metadata, raw=True)
        return
    import ipywidgets

    shown = display(data, metadata=metadata, raw=True, display_id=True)
    below, words = ipywidgets.Output(), ipywidgets.HTML(html.escape(_last_words(data)))
    controls = {name: control(name, options, values[name]) for name, options in choices.items()}

    def redraw(_change: dict) -> None:
        new, metadata = picture(draw(**{name: box.value for name, box in controls.items()}), alt)
        words.value = html.escape(_last_words(new))
        if "google.colab" in sys.modules:  # where a picture cannot be exchanged from a click
            with below:
                below.clear_output(wait=True)
                display(new, raw=True)
        else:
            shown.update(new, metadata=metadata, raw=True)

    for box in controls.values():
        box.observe(redraw, "value")
    display(ipywidgets.VBox([*controls.values(), words, below]))


def _last_words(data: dict) -> str:
    """What the figure's own title says; `alt` does not change from click to click."""
    return data["text/plain"].split("; ")[-1]


def control(name: str, options: Sequence, value: object) -> "Dropdown | SelectionSlider":
    """The ipywidgets control for a choice; of 7 and 8 alike."""
    import ipywidgets

    title = name.replace("_", " ")
    style = {"description_width": "initial"}
    numbers = len(options) > 2 and all(isinstance(o, (int, float)) and not isinstance(o, bool)
                                       for o in options)
    if numbers:  # one that jumps from option to option, in equal steps or not
        return ipywidgets.SelectionSlider(options=list(options), value=value, description=title,
                                          continuous_update=False, style=style,
                                          layout=ipywidgets.Layout(width="420px"))
    return ipywidgets.Dropdown(options=list(options), value=value, description=title, style=style)
