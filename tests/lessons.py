"""A lesson's cells, run in this process with something chosen in its form.

Sooner than in a kernel, and inside of whatever the test pretends. Pictures are made and not
rendered, images are half as large, and there are no more than `FEW` to learn from.
"""

import re

from matplotlib import pyplot

from indad.notebook import chosen as choosing
from indad.notebook.chosen import Chosen
from notebooks import build

FEW = 16


def cells_of(lesson, **choice):
    """Sources of all code cells but the setup, with these values typed into the form."""
    for cell in build.assemble(lesson, {}).cells:
        if cell.cell_type != "code" or "setup" in cell.metadata.get("tags", ()):
            continue
        source = cell.source
        if "choose" in cell.metadata.get("tags", ()):
            for name, value in choice.items():
                source, count = re.subn(rf'^{name} = ".*?"', lambda _, line=f'{name} = "{value}"':
                                        line, source, flags=re.M)
                assert count == 1, f"the form of lesson {lesson.number} has no field {name}"
        yield source


def run_lesson(lesson, monkeypatch, **choice):
    """Run all; an error is raised as it is. -> the names that the cells left."""
    def made(figure, alt):
        pyplot.close(figure)
        return {"text/plain": alt}, {}

    def fewer(*key):
        train, test = get_images(*key)
        return train.replaced(train[:FEW]), test

    get_images, size, options = choosing.get_images, Chosen.size, Chosen.options
    monkeypatch.setattr(choosing, "get_images", fewer)
    monkeypatch.setattr(Chosen, "size", lambda chosen, resize, backbone=None:
                        size(chosen, resize // 2, backbone))
    monkeypatch.setattr(Chosen, "options", lambda chosen, *, resize=None, **more:
                        options(chosen, resize=resize or 256, **more))
    monkeypatch.setattr("indad.notebook.widgets.picture", made)
    monkeypatch.setattr("IPython.display.display", lambda *things, **how: None)
    monkeypatch.chdir(build.HERE)
    names = {"__name__": "__main__"}
    for number, source in enumerate(cells_of(lesson, **choice)):
        exec(compile(source, f"cell {number} of lesson {lesson.number}", "exec"), names)
    return names
