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
DPI = 110
FITS = "98%"  # of a narrow page, a phone's


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
    """A figure as a notebook's output: a picture, and in words for those who do not see it.

    The words are `alt` and the figure's own title. Returns the data and metadata that
    `IPython.display.display(..., raw=True)` takes; the picture is a PNG.
    """
    import base64

    from matplotlib import pyplot

    title = figure.get_suptitle()
    alt = f"{alt}; {title}" if title else alt
    drawn, kind = io.BytesIO(), "image/png"
    figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight")
    pyplot.close(figure)
    packed = base64.b64encode(drawn.getvalue()).decode()
    return {kind: packed, "text/plain": alt}, {kind: {"alt": alt}, "alt": alt}


def show(figure: "Figure", alt: str) -> None:
    """Put a figure into the notebook, with `alt` saying what is to be seen in it."""
    put(*picture(figure, alt))


def put(data: dict, metadata: dict) -> None:
    """Put what `picture` returned into the notebook."""
    from IPython.display import display

    display(data, metadata=metadata, raw=True)


def instead_of(before: dict, source: str, words: str) -> str:
    """For a widget below a picture: another one, in its place wherever the widget is alive.

    The saved notebook keeps the picture that was `put`, as a page without widgets shows it: what
    hides it is a rule of style in the widget.

    Args:
        before: the data of that picture, as `picture` returned them.
        source, words: the address of the other one, and what is to be seen in it.
    """
    part = before["image/png"][-120:-20]  # the very end is the same in every PNG
    return (f'<style>img[src*="{part}"]:not(.indad-alive) {{ display: none }}</style>'
            f'<img class="indad-alive" style="max-width:100%" alt="{html.escape(words)}" '
            f'src="{source}">')


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
        put(data, metadata)
        return
    import ipywidgets

    shown = display(data, metadata=metadata, raw=True, display_id=True)
    place, words = [], ipywidgets.HTML()
    if "google.colab" in sys.modules:  # where an output cannot be exchanged from a click
        place = [ipywidgets.HTML()]
    controls = {name: control(name, options, values[name]) for name, options in choices.items()}

    def say(data: dict) -> None:
        """What the figure's own title says; `alt` does not change from click to click."""
        words.value = html.escape(data["text/plain"].removeprefix(f"{alt}; "))

    def redraw(_change: dict) -> None:
        new, metadata = picture(draw(**{name: box.value for name, box in controls.items()}), alt)
        say(new)
        if place:
            place[0].value = instead_of(data, "data:image/png;base64," + new["image/png"],
                                        new["text/plain"])
        else:
            shown.update(new, metadata=metadata, raw=True)

    for box in controls.values():
        box.observe(redraw, "value")
    say(data)
    display(ipywidgets.VBox([*place, *controls.values(), words]))


def control(name: str, options: Sequence, value: object) -> "Dropdown | SelectionSlider":
    """The ipywidgets control for a choice; of 7 and 8 alike."""
    import ipywidgets

    title, style = name.replace("_", " "), {"description_width": "initial"}
    numbers = len(options) > 2 and all(isinstance(o, (int, float)) and not isinstance(o, bool)
                                       for o in options)
    if numbers:  # one that jumps from option to option, in equal steps or not
        return ipywidgets.SelectionSlider(options=list(options), value=value, description=title,
                                          continuous_update=False, style=style,
                                          layout=ipywidgets.Layout(width="420px", max_width=FITS))
    return ipywidgets.Dropdown(options=list(options), value=value, description=title, style=style,
                               layout=ipywidgets.Layout(max_width=FITS))
