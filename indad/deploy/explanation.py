"""Why is an image flagged? Because no remembered patch is near its worst: here is the nearest."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.arguments import kind, maybe, several, takes, whole
from ..data.images import Placement, digest_of, read_image
from ..engine.extraction import PatchFeatures
from ..errors import InputError
from ..patchcore import PatchCore
from .pictures import match_picture

Box = tuple[float, float, float, float]  # left, top, right, bottom in the pixels of a photo


@dataclass(frozen=True)
class Match:
    """A patch, and what the memory bank has nearest to it.

    Attributes:
        place: (row, column) of the patch in the grid; `box` is where that lies in the photo.
        distance: to the nearest bank entry, before any averaging or squaring.
        train_image: position among the images given to `fit`, and after those to `update`.
        train_place: (row, column) there; None if the entry came from an augmented view.
    """

    place: tuple[int, int]
    box: Box
    distance: float
    train_image: int
    train_place: tuple[int, int] | None


@takes(model=kind(PatchCore, "a PatchCore"), place=maybe(several(whole(0), 2)))
def explain(model: PatchCore, image: object, *, place: tuple[int, int] | None = None) -> Match:
    """Find the bank entry nearest to one patch of an image: its worst patch, if none is given.

    Args:
        model: fitted.
        image: whatever `PatchCore.predict` takes, a single one.
        place: (row, column) of the patch in `model.grid_`.

    Raises `InputError` for a model without a bank or an unreadable image, and `ValueError` for a
    place outside the grid.

    Example:
        >>> match = explain(model, test[0])
        >>> train[match.train_image].path, match.train_place
    """
    return explain_features(model, model.extract(image), place=place)


@torch.inference_mode()
def explain_features(model: PatchCore, features: PatchFeatures, number: int = 0, *,
                     place: tuple[int, int] | None = None) -> Match:
    """The same for one of several images whose features were extracted before."""
    height, width = features.grid
    rows = features.rows[number * features.patches:][:features.patches]
    rows = model.fitted_.scaled(rows)
    distances, nearest = model.fitted_.index.search(rows)
    if place is None:
        place = divmod(int(distances[:, 0].argmax()), width)
    if not (0 <= place[0] < height and 0 <= place[1] < width):
        raise InputError(f"place is {place}, outside the grid of {height} x {width} patches")
    patch = place[0] * width + place[1]
    view, inside = divmod(int(model.coreset_indices_[nearest[patch, 0]]), height * width)
    read, which_view = divmod(view, model.views_)
    return Match(place, box_in_photo(place, features.grid, features.placements[number]),
                 float(distances[patch, 0]), model.fitted_on_[read],
                 divmod(inside, width) if which_view == 0 else None)


def why_picture(model: PatchCore, photo: Image.Image, match: Match, name: str = "") -> Image.Image:
    """The explained patch and, if that image is still there, the one it came nearest to.

    A saved model may come from a stranger and name any picture of this disk: a file is shown only
    if it is one that was learned, byte for byte.
    """
    title = (f"{name + ': ' if name else ''}worst patch, {match.distance:.3g} from the nearest one "
             "of")
    file = model.files_[match.train_image] if model.files_ else None
    partner = _if_learned(model, file) if file else None
    if file is None or partner is None:
        return match_picture(f"{title} training image {match.train_image}, which is not at hand",
                             (photo, match.box))
    box = match.train_place and box_in_photo(
        match.train_place, model.grid_, model.transform_.placement((partner.height, partner.width)))
    view = "" if box else "a view of "
    return match_picture(f"{title} {view}training image {Path(file).name}",
                         (photo, match.box), (partner, box))


def _if_learned(model: PatchCore, file: str) -> Image.Image | None:
    try:
        if digest_of(file).hex() in (model.fitted_.digests or ()):
            return read_image(file, model.levels_)
    except (InputError, OSError):  # it is gone
        pass
    return None


def box_in_photo(place: tuple[int, int], grid: tuple[int, int], placement: Placement) -> Box:
    """Where a patch lies in the photo, in pixels; its features look somewhat farther."""
    top, left = (np.array(place) * placement.size / grid + (placement.top, placement.left)).tolist()
    step = np.array(placement.size) / grid
    scale = np.array(placement.original) / placement.resized
    return (left * scale[1], top * scale[0], (left + step[1]) * scale[1],
            (top + step[0]) * scale[0])
