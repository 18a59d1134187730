"""Move and turn a photo, and see map, score and nearest remembered patches follow."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.augmentation import turned
from ..data.datasets import ImageSet
from ..data.images import as_rgb, read_image
from ..deploy.explanation import Box, explain, explain_worst
from ..deploy.pictures import ColourScale
from ..patchcore import PatchCore
from .pictures import canvas, heated, mark_box, match_panels, panel
from .widgets import explore

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

MOST = 3  # patches that are looked at
MARGIN = 0.04  # of a photo's side: so near to what is not counted nothing is


def moved_figure(model: PatchCore, train: ImageSet, photo: "Image", scale: ColourScale, *,
                 right: int = 0, down: int = 0, turn: int = 0,
                 unmoved: float | None = None) -> "Figure":
    """A photo moved by so many per cent of its sides and turned by so many degrees to the left, its
    anomaly map, and its worst patches, each beside the remembered patch nearest to it.

    What comes in at the border is the photo in a mirror: it is dark in the pictures, and no patch
    in it or next to it counts. `unmoved`: the largest distance before, to be said beside this one.
    """
    from scipy.ndimage import minimum_filter

    shift = (down * photo.height / 100, right * photo.width / 100)
    moved = turned(photo, turn, shift=shift)
    white = as_rgb(np.full((photo.height, photo.width, 3), 255, np.uint8))
    seen = np.asarray(turned(white, turn, shift=shift, border="constant"))[..., 0] > 250
    rim = max(round(MARGIN * max(photo.size)), 1)  # a patch sees beyond its box
    counted = minimum_filter(seen, 2 * rim + 1, mode="nearest")

    def is_counted(box: Box) -> bool:
        left, top, end, bottom = (max(round(value), 0) for value in box)
        return bool(counted[top:bottom, left:end].all())

    prediction, worst = model.predict(moved), explain_worst(model, moved, MOST, among=is_counted)
    hot = heated(moved, prediction.maps[0], scale)
    figure, axes = canvas(4, rows=2, size=2.3)
    pixels = np.asarray(moved)
    panel(axes[0, 0], np.where(seen[..., None], pixels, pixels // 3), "the image, moved")
    panel(axes[0, 1], np.where(seen[..., None], hot, pixels // 3), "anomaly map")
    for number, match in enumerate(worst, 1):
        mark_box(axes[0, 0], match.box)
        axes[0, 0].annotate(str(number), match.box[:2], color="#00FFFF", fontsize=11, ha="right",
                            va="bottom", weight="bold")
        patch, nearest = axes.flat[2 * number:2 * number + 2]
        partner = train[match.train_image]
        match_panels(patch, nearest, moved, match, read_image(partner.path, model.levels_), model)
        patch.set_title(f"{number}: its distance is {match.distance:.2f}", fontsize=9)
        nearest.set_title(f"to this, of training image {partner.path.stem}", fontsize=9)
    figure.suptitle(f"moved {right} % right, {down} % down, turned {turn}°: largest distance "
                    + (f"{worst[0].distance:.2f}" if worst else "unknown")
                    + ("" if unmoved is None else f", unmoved {unmoved:.2f}"), fontsize=10)
    return figure


def browse_moved(model: PatchCore, train: ImageSet, image: object, *, right: int = 0, down: int = 0,
                 turn: int = 0) -> None:
    """Move and turn a photo, and see what of it is nearest to what; `right`, `down` and `turn` of
    the first picture are among -20 to 20 (per cent, in steps of 5) and -90 to 90 (degrees, of 15).

    Args:
        model, train: fitted, and what on.
        image: whatever `PatchCore.predict` takes, a single one.
    """
    photo = as_rgb(image, model.levels_)
    peaks, unmoved = model.predict(photo).peaks, explain(model, photo).distance
    scale = ColourScale.of(peaks, 1.2 * float(peaks[0]))
    explore(lambda **how: moved_figure(model, train, photo, scale, unmoved=unmoved, **how),
            alt="an image that was moved, its anomaly map, and its worst patches beside the "
                "training patches nearest to them",
            start={"right": right, "down": down, "turn": turn},
            right=range(-20, 21, 5), down=range(-20, 21, 5), turn=range(-90, 91, 15))
