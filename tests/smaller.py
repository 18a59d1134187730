"""Lessons in less time: images a third as large, no more than `FEW` to learn from, plain pictures.

In a module of its own, because a notebook's kernel takes it too, and nothing else of the tests.
"""

from dataclasses import replace

import pytest

from indad.notebook import chosen as choosing
from indad.notebook import getting, widgets
from indad.notebook.chosen import Chosen

CELL = """import sys
if "smaller" not in sys.modules:
    import pytest, smaller
    smaller.lay_out_plainly(pytest.MonkeyPatch())
    smaller.make_smaller(pytest.MonkeyPatch())"""  # before all others of a notebook
FEW = 16
PATCH = 16  # pixels, of the transformers in the lessons: what sizes are multiples of


def lay_out_plainly(patch: pytest.MonkeyPatch) -> None:
    """Each picture is drawn once, and not twice before to find places for all that is in it."""
    from matplotlib.figure import Figure

    save = Figure.savefig

    def saved(figure, *arguments, bbox_inches=None, **options):
        figure.set_layout_engine("none")
        save(figure, *arguments, **options)

    patch.setattr(Figure, "savefig", saved)


def make_smaller(patch: pytest.MonkeyPatch) -> None:
    """What `chosen` says of images and sizes from now on."""
    get_images, size, options = choosing.get_images, Chosen.size, Chosen.options
    solar_cells = getting.solar_cells

    def fewer(*key):
        train, test = get_images(*key)
        return train.replaced(train[:FEW]), test

    def fewer_cells():
        cells = solar_cells()
        return replace(cells, train=cells.train.replaced(cells.train[:FEW]))

    def smaller(chosen, resize, backbone=None):
        return size(chosen, max(resize // 3 // PATCH, 2) * PATCH, backbone)

    patch.setattr(choosing, "get_images", fewer)
    patch.setattr(getting, "solar_cells", fewer_cells)
    patch.setattr(Chosen, "size", smaller)
    patch.setattr(widgets, "DPI", 30)
    patch.setattr(Chosen, "options", lambda chosen, *, resize=None, **more:
                  options(chosen, resize=resize or (None if "tiles" in more else 256), **more))
