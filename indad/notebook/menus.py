"""The same choice as in a form, by menus: each data set offers only the categories that it has."""

import html
from dataclasses import replace
from typing import TYPE_CHECKING

from ..data.catalog import CATALOG
from ..engine.machine import accelerator
from ..errors import InputError
from ..presets import OPTIONS
from .chosen import DATASETS, IMAGES, Choice, Chosen, offered
from .getting import AUTO, FOLDERS, Unavailable, categories_of
from .widgets import FITS

if TYPE_CHECKING:
    from ipywidgets import VBox


def show_menus(chosen: Chosen) -> None:
    """Show what is chosen as menus that change it."""
    from IPython.display import display

    display(menus(chosen))


def menus(chosen: Chosen) -> "VBox":
    """A menu for each field, and what a click led to in words. A click changes `chosen` at once;
    what takes long, such as a download, waits for the cell that asks for it."""
    import ipywidgets

    choice = replace(chosen.choice, category=chosen.category.removesuffix("_reduced"))
    here = accelerator()
    options = {
        "dataset": [name for name in (*DATASETS, *FOLDERS) if name in CATALOG or name in FOLDERS],
        "category": _categories(choice), "images": list(IMAGES),
        "backbone": offered(choice.backbone),
        "device": [AUTO, "cpu"] + ([str(here)] if here else [])}
    boxes, layout = {}, {"max_width": FITS}
    tooltip = ("tooltip" if "tooltip" in ipywidgets.Text.class_trait_names()
               else "description_tooltip")  # before ipywidgets 8
    for name, value in vars(choice).items():
        style = {"description_width": "5em"}  # all boxes begin at the same place
        tip = {tooltip: str(OPTIONS[name])} if name in OPTIONS else {}
        if name in options:
            listed = list(dict.fromkeys([*options[name], value]))  # what was typed is among them
            boxes[name] = ipywidgets.Dropdown(options=listed, value=value, description=name,
                                              style=style, layout=layout, **tip)
        else:
            boxes[name] = ipywidgets.Text(value=value, description=name, style=style,
                                          layout=layout, continuous_update=False, **tip)
    words = ipywidgets.HTML("Menus change what the cells below read; run those again after a click")
    filling: list[bool] = []  # while the categories are exchanged, their menu clicks by itself

    def clicked(change: dict) -> None:
        if filling:
            return
        if change["owner"] in (boxes["dataset"], boxes["folder"]):
            filling.append(True)
            boxes["category"].options = found = _categories(
                Choice(boxes["dataset"].value, folder=boxes["folder"].value))
            boxes["category"].value = chosen.drawn if chosen.drawn in found else found[0]
            filling.clear()
        try:
            chosen.take(Choice(**{name: box.value for name, box in boxes.items()}))
            told = (f"chosen: {chosen.dataset}, {chosen.category}, {', '.join(chosen.backbones)} "
                    f"on {chosen.device}; now run the cells below")
        except Unavailable as error:
            told = f"{error}; nothing was changed"
        words.value = html.escape(told)

    for box in boxes.values():
        box.observe(clicked, "value")
    return ipywidgets.VBox([*boxes.values(), words])


def _categories(choice: Choice) -> list[str]:
    """What the category may be; while nobody has said where the photos are, only "auto"."""
    try:
        return categories_of(choice.dataset, choice.folder)
    except InputError:
        return [AUTO]
