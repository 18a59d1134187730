"""Why is an image flagged? Because no remembered patch is near its worst: here is the nearest."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.arguments import kind, maybe, several, takes, whole
from ..data.images import Placement, as_rgb, digest_of, read_image
from ..data.pose import in_photo
from ..data.region import PICTURE
from ..engine.extraction import PatchFeatures
from ..errors import InputError
from ..patchcore import PatchCore
from .pictures import match_picture, region_picture, save_picture

Box = tuple[float, float, float, float]  # left, top, right, bottom in the pixels of a photo


@dataclass(frozen=True)
class Match:
    """A patch, and what the memory bank has nearest to it.

    Attributes:
        place: (row, column) of the patch in the grid, of one tile if the photo is cut into
            `tile`s; `box` is where that lies in the photo.
        distance: to the nearest bank entry, before any averaging or squaring.
        train_image: position among the images given to `fit`, and after those to `update`.
        train_place: (row, column) there; None if the entry came from an augmented view. Of
            `train_tile`.
    """

    place: tuple[int, int]
    box: Box
    distance: float
    train_image: int
    train_place: tuple[int, int] | None
    tile: int = 0
    train_tile: int = 0


@takes(model=kind(PatchCore, "a PatchCore"), place=maybe(several(whole(0), 2)))
def explain(model: PatchCore, image: object, *, place: tuple[int, int] | None = None,
            tile: int | None = None) -> Match:
    """Find the bank entry nearest to one patch of an image: its worst patch, if none is given.

    Args:
        model: fitted.
        image: whatever `PatchCore.predict` takes, a single one.
        place: (row, column) of the patch in `model.grid_`, of the worst tile or this one.

    Raises `InputError` for a model without a bank, an unreadable image, and a place or tile that
    there is not.

    Example:
        >>> match = explain(model, test[0])
        >>> train[match.train_image].path, match.train_place
    """
    return explain_features(model, model.extract(image), place=place, tile=tile)


@torch.inference_mode()
def explain_features(model: PatchCore, features: PatchFeatures, number: int = 0, *,
                     place: tuple[int, int] | None = None, tile: int | None = None) -> Match:
    """The same for one of several images whose features were extracted before."""
    found = _nearest(model, features, number)
    tiles = range(len(found))
    if tile is not None:
        if not 0 <= tile < len(found):
            raise InputError(f"tile is {tile}, but the image has {len(found)}: 0 to "
                             f"{len(found) - 1}")
        tiles = range(tile, tile + 1)
    worst = max(tiles, key=lambda one: float(found[one][0].max()))
    return _match(model, features, number, found, worst, place)


@takes(model=kind(PatchCore, "a PatchCore"), most=whole(1))
@torch.inference_mode()
def explain_worst(model: PatchCore, image: object, most: int, *,
                  among: Callable[[Box], bool] = lambda box: True) -> list[Match]:
    """The worst patches of an image, each explained, the worst first; so many or fewer.

    None is within two cells of a worse one: neighbours share most of what they see, and so their
    reasons.

    Args:
        model, image: as for `explain`.
        among: asked of a patch's box in the photo: is it to be looked at?
    """
    features, matches = model.extract(image), list[Match]()
    found = _nearest(model, features)
    left = [distances.view(features.grid).clone() for distances, _ in found]
    while len(matches) < most:
        tile = max(range(len(left)), key=lambda one: float(left[one].max()))
        if float(left[tile].max()) < 0:
            break
        row, column = divmod(int(left[tile].argmax()), features.grid[1])
        match = _match(model, features, 0, found, tile, (row, column))
        if among(match.box):
            matches.append(match)
            left[tile][max(row - 2, 0):row + 3, max(column - 2, 0):column + 3] = -1
        left[tile][row, column] = -1
    return matches


def _nearest(model: PatchCore, features: PatchFeatures, number: int = 0) -> list[tuple]:
    """Of each tile of an image: distances of its patches to the bank `(p,)`, below 0 where a patch
    lies outside of what is looked at, and the nearest entries `(p,)`."""
    fitted, patches, outside, found = model.fitted_, features.patches, features.outside(), []
    first = sum(features.tiles[:number])
    for frame in range(first, first + features.tiles[number]):
        rows = slice(frame * patches, (frame + 1) * patches)
        distances, nearest = fitted.index.search(fitted.scaled(features.rows[rows]))
        if outside is not None:  # says nothing
            distances[outside[rows].to(distances.device)] = -1
        found.append((distances[:, 0], nearest[:, 0]))
    return found


def _match(model: PatchCore, features: PatchFeatures, number: int, found: list[tuple], tile: int,
           place: tuple[int, int] | None) -> Match:
    fitted, (height, width), (distances, nearest) = model.fitted_, features.grid, found[tile]
    if place is None:
        place = divmod(int(distances.argmax()), width)
    if not (0 <= place[0] < height and 0 <= place[1] < width):
        raise InputError(f"place is {place}, outside the grid of {height} x {width} patches")
    patch = place[0] * width + place[1]
    read, frame, inside = fitted.origin(int(fitted.coreset_indices[nearest[patch]]))
    which_view, train_tile = divmod(frame, fitted.tiles[read] if fitted.tiles else 1)
    placement = features.placements[sum(features.tiles[:number]) + tile]
    return Match(place, box_in_photo(place, features.grid, placement),
                 float(distances[patch]), fitted.fitted_on[read],
                 divmod(inside, width) if which_view == 0 else None, tile, train_tile)


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
    box = train_box(model, match, partner)
    view = "" if box else "a view of "
    return match_picture(f"{title} {view}training image {Path(file).name}",
                         (photo, match.box), (partner, box))


def write_region(folder: Path, model: PatchCore) -> None:
    """What a model looks at, as a picture in a folder, on the first of its photos at hand, or on
    nothing but its colour."""
    if (region := model.region_) is None:
        return
    known = chain(model.examples_, (_if_learned(model, one) for one in model.files_ or () if one))
    photo = next((as_rgb(one, model.levels_) for one in known if one is not None),
                 Image.new("RGB", (384, 384), region.fill))
    save_picture(region_picture(photo, region), folder / PICTURE)


def train_box(model: PatchCore, match: Match, partner: Image.Image) -> Box | None:
    """Where the remembered patch lies in the photo that it came from; None if in a view of it."""
    placement = model.transform_.placed(partner)
    frames = model.transform_.frames(placement.original, placement.pose)
    return match.train_place and box_in_photo(match.train_place, model.grid_,
                                              frames[match.train_tile])


def _if_learned(model: PatchCore, file: str) -> Image.Image | None:
    try:
        if digest_of(file).hex() in (model.fitted_.digests or ()):
            return read_image(file, model.levels_)
    except (InputError, OSError):  # it is gone
        pass
    return None


def box_in_photo(place: tuple[int, int], grid: tuple[int, int], placement: Placement) -> Box:
    """Where a patch lies in the photo, in pixels; its features look somewhat farther. In a photo
    that was aligned the box goes with the patch, and stays upright."""
    top, left = (np.array(place) * placement.size / grid + (placement.top, placement.left)).tolist()
    step = np.array(placement.size) / grid
    scale = np.array(placement.original) / placement.resized
    found = (left * scale[1], top * scale[0], (left + step[1]) * scale[1],
             (top + step[0]) * scale[0])
    if placement.moved is None:
        return found
    centre = np.array([[found[0] + found[2], found[1] + found[3]]]) / 2
    x, y = (in_photo(centre, placement.moved, placement.original) - centre)[0].tolist()
    return found[0] + x, found[1] + y, found[2] + x, found[3] + y
