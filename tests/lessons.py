"""A lesson's cells, run in this process with something chosen in its form.

Sooner than in a kernel, and inside of whatever the test pretends. Pictures are made and not
rendered, and all is smaller.
"""

import re

from matplotlib import pyplot
from smaller import make_smaller

from notebooks import build


def cells_of(lesson, solved=False, **choice):
    """Sources of all code cells but the setup, with these values typed into the form.

    If `solved`, as of a reader who has pasted each solution into its exercise, above the check.
    """
    cells = build.assemble(lesson, {}).cells
    for place, cell in enumerate(cells):
        if cell.cell_type != "code" or "setup" in cell.metadata.get("tags", ()):
            continue
        source = cell.source
        if solved and "exercise" in cell.metadata.get("tags", ()):
            folded = next(one.source for one in cells[place:]
                          if "solution" in one.metadata.get("tags", ()))
            solution = re.search(r"```python\n(.*?)\n```", folded, re.S)[1]
            above, checked, below = re.split(r"(?m)^(?=(?:\w+ = )?(check)\()", source)
            source = f"{above}{solution}\n\n{below}"
        if "choose" in cell.metadata.get("tags", ()):
            for name, value in choice.items():
                source, count = re.subn(rf'^{name} = ".*?"', lambda _, line=f'{name} = "{value}"':
                                        line, source, flags=re.M)
                assert count == 1, f"the form of lesson {lesson.number} has no field {name}"
        yield source


def run_lesson(lesson, monkeypatch, *, solved=False, **choice):
    """Run all; an error is raised as it is. -> the names that the cells left."""
    def made(figure, alt):
        pyplot.close(figure)
        return {"text/plain": alt}, {}

    make_smaller(monkeypatch)
    monkeypatch.setattr("indad.notebook.widgets.picture", made)
    monkeypatch.setattr("IPython.display.display", lambda *things, **how: None)
    monkeypatch.chdir(build.HERE)
    names = {"__name__": "__main__"}
    for number, source in enumerate(cells_of(lesson, solved, **choice)):
        exec(compile(source, f"cell {number} of lesson {lesson.number}", "exec"), names)
    return names
