"""One form for the data, the backbone and the device of a lesson, with menus on top of it.

The form is a cell of plain Python, written by `form`, so that Run all works anywhere. It calls
`choose`, which also shows menus where somebody can click; in them, each data set has only its own
categories. A click changes what `choose` returned, and nothing waits for one: the cells below read
it when they are run next.
"""

from ..backbones.registry import OFFLINE
from ..data.catalog import CATALOG
from .chosen import DATASETS, DEVICES, IMAGES, Choice, Chosen, offered
from .getting import AUTO, FOLDERS
from .menus import show_menus
from .widgets import interactive


def choose(dataset: str = "synthetic", category: str = AUTO, *, images: str = "whole",
           folder: str = "", backbone: str = OFFLINE, weights: str = "", device: str = AUTO,
           drawn: str = "gear", needs_defects: bool = True) -> Chosen:
    """Check what a form says, get what is missing, say what there is, and show menus.

    Args:
        dataset: a name of the catalogue, "folder" for photos of one's own, or "drive" for those on
            a Google Drive.
        category: one that the data set has; "auto" for `drawn` where parts are drawn, and for the
            first of any other data set.
        images: "whole", or "reduced" for a fixed part, see `data.datasets.reduced`.
        folder: where one's own photos are: a folder or an archive; on a Drive, its path below
            MyDrive. For other data sets, a folder with their archives.
        backbone: a name, or several with commas between them.
        weights: a file of weights of one's own; the published ones if empty.
        device: "auto", or a name that torch knows.
        needs_defects: refuse photos among which there are no defective ones.

    Raises `Unavailable`, with one line that names what was typed and says what to change.

    Example:
        >>> chosen = choose("elpv", "mono", images="reduced")
        >>> PatchCore(**chosen.options(resize=192)).fit(chosen.train)
    """
    chosen = Chosen(Choice(dataset, category.strip(), images, folder.strip(), backbone.strip(),
                           weights.strip(), device.strip()), drawn, needs_defects)
    chosen.load()
    print(chosen)
    if interactive():
        show_menus(chosen)
    return chosen


def form(*, drawn: str = "gear", needs_defects: bool = True, backbone: str = OFFLINE) -> str:
    """The source of a lesson's form, with all that may be chosen, as the catalogue has it.

    Args:
        drawn, needs_defects: of the lesson, see `choose`.
        backbone: the one, or several with commas between them, that is chosen at first.
    """
    known = {name: CATALOG[name].categories for name in DATASETS if name in CATALOG}
    categories = dict.fromkeys([AUTO, *(one for several in known.values() for one in several)])
    typed = " {allow-input: true}"
    fields = {"dataset": ("synthetic", [*known, *FOLDERS], typed),
              "category": (AUTO, categories, typed), "images": ("whole", IMAGES, ""),
              "folder": ("", (), ""),
              "backbone": (backbone, offered(backbone), typed),
              "weights": ("", (), ""), "device": (AUTO, DEVICES, typed)}
    lines = ['#@title Choose: data, backbone, device { display-mode: "form" }',
             *(f"#@markdown - {name}: {', '.join(several)}" for name, several in known.items())]
    for name, (value, options, more) in fields.items():
        listed = ", ".join(f'"{option}"' for option in options)
        lines.append(f'{name} = "{value}"  #@param '
                     + (f"[{listed}]{more}" if listed else '{type: "string"}'))
    lesson = f'drawn="{drawn}"' + ("" if needs_defects else ", needs_defects=False")
    return "\n".join([
        *lines, "", "from indad.notebook.choose import choose", "",
        "chosen = choose(dataset, category, images=images, folder=folder, backbone=backbone,",
        f"                weights=weights, device=device, {lesson})"])
