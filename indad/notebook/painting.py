"""Paint a defect on a good photo, and watch anomaly map and score follow."""

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ..data.images import as_rgb
from ..deploy.pictures import ColourScale
from ..errors import unknown
from ..patchcore import PatchCore
from .drawing import Sheet, address_of
from .pictures import canvas, heated, panel
from .widgets import instead_of, picture, put

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAINTS = {"dark": (28, 28, 28), "bright": (240, 240, 240), "colour": (213, 94, 0)}
BRUSHES = {"thin": 0.012, "thick": 0.04}  # widths, in parts of a photo's longer side
BRUSH = files("indad.notebook") / "pages" / "brush.js"
SHOWN = 400  # pixels of that side in the page
Stroke = Mapping  # {"paint": of PAINTS, "brush": of BRUSHES, "points": [(x, y), ...] in fractions}
SCRATCH: tuple[Stroke, ...] = ({"paint": "dark", "brush": "thin", "points": (
    (0.40, 0.34), (0.45, 0.42), (0.53, 0.47), (0.58, 0.56), (0.66, 0.60))},)


def painted(photo: object, strokes: Sequence[Stroke]) -> Image.Image:
    """The photo with strokes of a brush on it, their ends round and their edges a little soft.

    Each stroke is a dict: "paint" of `PAINTS`, "brush" of `BRUSHES`, and "points" (x, y) in
    fractions of width and height. Raises `InputError` for another paint or brush.
    """
    image = as_rgb(photo).copy()
    finer = max(2048 // max(image.size), 1)  # lines of few pixels are jagged otherwise
    size = (image.width * finer, image.height * finer)
    for stroke in strokes:
        if stroke["paint"] not in PAINTS:
            raise unknown("paint", stroke["paint"], PAINTS)
        if stroke["brush"] not in BRUSHES:
            raise unknown("brush", stroke["brush"], BRUSHES)
        width = max(round(BRUSHES[stroke["brush"]] * max(size)), 1)
        points = [(x * size[0], y * size[1]) for x, y in stroke["points"]]
        mask = Image.new("L", size)
        pen = ImageDraw.Draw(mask)
        pen.line(points, fill=255, width=width)
        for x, y in points:  # round ends and bends
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
        soft = mask.reduce(finer).filter(ImageFilter.GaussianBlur(max(image.size) / 512))
        image.paste(PAINTS[stroke["paint"]], mask=soft)
    return image


class Painting:
    """A photo and what was painted on it so far, as a model sees it."""

    def __init__(self, model: PatchCore, photo: object, strokes: Sequence[Stroke]):
        self.model, self.untouched = model, as_rgb(photo, model.levels_)
        self.before = model.predict(self.untouched)
        self.sheet = Sheet(list(strokes))
        peaks = model.calibration_peaks_
        self.scale = ColourScale.of(peaks if len(peaks) else self.before.peaks,
                                    1.2 * float(self.before.peaks[0]))

    @property
    def photo(self) -> Image.Image:
        """The photo as it is now."""
        return painted(self.untouched, self.sheet.drawn)

    def judged(self) -> tuple[np.ndarray, str]:
        """Heat over the photo as it is now, as large as it is shown, `(h, w, 3)` uint8, and the
        verdict in words."""
        photo, limit = self.photo, self.model.threshold_
        prediction = self.model.predict(photo)
        score = float(prediction.scores[0])
        words = f"score {score:.2f}, untouched {self.before.scores[0]:.2f}" + (
            "" if limit is None else f", limit {limit:.2f}: "
            f"{'defective' if score > limit else 'good'}")
        size = _shown(photo.size)
        small_map = np.asarray(Image.fromarray(prediction.maps[0]).resize(size))
        return heated(photo.resize(size), small_map, self.scale), words

    def figure(self) -> "Figure":
        """Both pictures, for where nobody can paint."""
        hot, words = self.judged()
        figure, axes = canvas(2, size=3.2)
        panel(axes[0, 0], self.photo, "a good image, and what was painted on it")
        panel(axes[0, 1], hot, "anomaly map")
        figure.suptitle(words, fontsize=10)
        return figure


def paint_defect(model: PatchCore, photo: object, strokes: Sequence[Stroke] = SCRATCH) -> Painting:
    """Show a good photo to paint a defect on, beside its anomaly map and score, which follow.

    Where nobody can click, there are just the two pictures, with `strokes` painted, see `painted`.

    Args:
        model: fitted; it judges the photo anew at each stroke, so a small one answers sooner.
        photo: whatever `PatchCore.predict` takes, a single one.

    Example:
        >>> painting = paint_defect(model, test[0])
        >>> model.predict(painting.photo).scores                        # in a later cell
    """
    painting = Painting(model, photo, strokes)
    data, metadata = picture(painting.figure(), "an image of a good part with a painted defect, "
                             "and the anomaly map")
    put(data, metadata)
    if painting.sheet.field is not None:
        _alive(painting, data)
    return painting


def _alive(painting: Painting, before: dict) -> None:
    """The page to paint on, and a widget beside it that shows what the model says."""
    import ipywidgets
    from IPython.display import display

    answer, name = ipywidgets.HTML(), painting.sheet.name

    def judge(_change: object = None) -> None:
        hot, words = painting.judged()
        shown = address_of(Image.fromarray(hot))
        answer.value = instead_of(before, shown, f"anomaly map, {words}") + (
            f"<p><b>{html.escape(words)}</b></p>")

    painting.sheet.field.observe(judge, "value")
    row = ipywidgets.HBox([answer], layout=ipywidgets.Layout(flex_flow="row wrap"))
    row.add_class(f"{name}-row")
    display(row)
    photo = painting.untouched
    painting.sheet.show(photo.resize(_shown(photo.size)), label=LABEL, tools=TOOLS,
                        script=BRUSH.read_text(encoding="utf-8"),
                        paints={paint: f"rgb{colour}" for paint, colour in PAINTS.items()},
                        brushes=BRUSHES)
    judge()


def _shown(size: tuple[int, int]) -> tuple[int, int]:
    by = SHOWN / max(size)
    return max(round(size[0] * by), 1), max(round(size[1] * by), 1)


LABEL = "Photo to paint a defect on with a mouse or a finger; a button below paints one by chance"
TOOLS = """<p><span></span><br><button type="button">a scratch by chance</button>
<button type="button">undo</button> <button type="button">clear</button></p>"""
