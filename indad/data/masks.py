"""Ground-truth masks: which file is that of which photo, and what does it mark?"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ImageOps

from ..errors import InputError
from .folders import folders_in, images_in, is_mask_folder, masks_beside, photo_stem
from .images import MOST_PIXELS, opened


def read_mask(path: str | Path, *, above: int = 0) -> np.ndarray:
    """Read a ground-truth mask as `(h, w)` bool: every grey value above `above` is defect.

    Raises `InputError` for what is no readable picture.
    """
    return mask_levels(path) > above


def mask_levels(path: str | Path) -> np.ndarray:
    """The grey values of a mask, `(h, w)` uint8; of a coloured one, the brightest channel.

    What is transparent is background. If nothing else was painted than black on transparency, that
    is what is marked. Numbers of more than 8 bits, which may count defect types, are 255 unless 0.
    """
    with opened(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise InputError(f"{path}: {image.width} x {image.height} pixels are too many for a "
                             f"mask; at most {MOST_PIXELS / 1e6:.0f} million are read")
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            return np.where(np.nan_to_num(np.asarray(image)) > 0, 255, 0).astype(np.uint8)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            pixels = np.asarray(image.convert("RGBA"))
            visible = pixels[..., 3] > 0
            levels = pixels[..., :3].max(axis=-1) * visible
            return levels if levels.any() or visible.all() else visible.astype(np.uint8) * 255
        if image.mode in ("1", "L"):
            return np.asarray(image.convert("L"))
        return np.asarray(image.convert("RGB")).max(axis=-1)


def find_masks(homes: Sequence[Path], photos: Sequence[Path]) -> dict[Path, tuple[Path, ...]]:
    """The masks of photos `<home>/<defect type>/.../NAME.jpg`: none, one, or (LOCO) several each.

    They are looked for, in this order, in `ground_truth/<defect type>/`, `ground_truth/`,
    `<defect type>/masks/`, `<defect type>_masks/` and beside the photo, in folders as deep below
    these as the photo is, and right in them; `ground_truth` and `masks` stand for all that
    `folders.is_mask_folder` knows. There a mask is `NAME_mask.png`, `NAME.png` or what else
    `folders.photo_stem` knows, or a folder NAME of masks. What photos of several folders could
    claim is nobody's.

    Args:
        homes: the folder of the defect types, and others that may have folders of masks.
    """
    places = [place for home in homes for place in folders_in(home) if is_mask_folder(place.name)]
    places.sort(key=lambda place: place.name != "ground_truth")
    index, found, owners = cache(_Index), {}, defaultdict(set)
    roots = cache(lambda folder: _roots(homes[0], places, folder))
    for photo in photos:
        masks = (index(place).of(photo) for place in roots(photo.parent))
        found[photo] = next(filter(None, masks), ()) or index(photo.parent).beside(photo)
        for mask in found[photo]:
            owners[mask].add(photo.parent)
    return {photo: tuple(mask for mask in masks if len(owners[mask]) == 1)
            for photo, masks in found.items()}


def _roots(home: Path, places: Sequence[Path], folder: Path) -> list[Path]:
    """Where masks of the photos in `folder`, below a defect type's in `home`, are looked for."""
    kind, *inner = folder.relative_to(home).parts
    roots = [root for place in places for root in (
        *(sub for sub in folders_in(place) if sub.name.casefold() == kind.casefold()), place)]
    roots += [sub for sub in folders_in(home / kind) if is_mask_folder(sub.name)]
    roots += [place for place in places if photo_stem(place.name) == kind.casefold()]
    return list(dict.fromkeys([*(root.joinpath(*inner) for root in roots), *roots]))


class _Index:
    """The images right in a folder, by the names that photos could have them under."""

    def __init__(self, folder: Path):
        self.images = images_in(folder)
        self.folders = {sub.name: sub for sub in folders_in(folder)}
        self.by_stem: dict[str, Path] = {}
        self.by_photo: dict[str, Path] = {}
        self._beside: set[Path] | None = None
        for image in self.images:
            self.by_stem.setdefault(image.stem.casefold(), image)
            if (photo := photo_stem(image.stem)) != image.stem.casefold():
                self.by_photo.setdefault(photo, image)

    def of(self, photo: Path) -> tuple[Path, ...]:
        if photo.stem in self.folders:
            return tuple(images_in(self.folders[photo.stem]))
        stem, name = photo.stem.casefold(), photo.name.casefold()
        one = self.by_photo.get(stem) or self.by_stem.get(stem) or self.by_stem.get(name)
        return (one,) if one else ()

    def beside(self, photo: Path) -> tuple[Path, ...]:
        """The mask of a photo in its own folder."""
        if self._beside is None:
            self._beside = masks_beside(self.images)
        stem = photo.stem.casefold()
        return tuple(mask for mask in sorted(self._beside)
                     if stem in (photo_stem(mask.stem), mask.stem.casefold()))[:1]
