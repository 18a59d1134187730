"""Faults of ground-truth masks, as `audit` lists them: (kind, what is wrong, files)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .datasets import ImageSet
from .folders import images_in
from .layouts import Item, masks_of_good
from .left_out import Remark
from .masks import mask_levels
from .orientation import turned_apart

MOST = 0.5  # a mask that marks more of its image than this was probably drawn the other way round


def mask_faults(test: Sequence[Item], layout: str, sizes: Mapping[Path, str],
                name: Callable[[Path], str]) -> Iterable[tuple]:
    """Of masks that images claim; `sizes` of the images, "" of what cannot be read."""
    defective = [item for item in test if item.label]
    anyone = any(item.mask_paths for item in defective)
    for item in defective:
        if anyone and not item.mask_paths:
            yield "image_without_mask", f"{name(item.path)} has no mask", item.path
        drawn = False
        for mask in item.mask_paths:
            levels = _look(mask)
            if levels is None:
                yield "unreadable", f"{name(mask)}: cannot be read", mask
                drawn = True
                continue
            marked = float((levels > item.mask_above).mean())
            drawn |= marked > 0
            size, expected = f"{levels.shape[1]}x{levels.shape[0]}", sizes[item.path]
            turned = turned_apart(item.path, mask)
            if expected and size != expected:
                yield ("mask_size", f"{name(mask)} is {size}, its image {expected}"
                       + (f": {turned}" if turned else ""), mask, item.path)
            elif turned:
                yield "mask_turned", f"{name(mask)}: {turned}", mask, item.path
            # MTD's rims are blurred and VisA's values number the defect types, by design; and a
            # defect of MTD may be as large as its tile.
            greys = len(np.unique(levels))
            if greys > 2 and layout not in ("mtd", "visa"):
                yield ("mask_not_binary", f"{name(mask)} has {greys} grey values instead of two: "
                       "a photo, or saved as JPEG?", mask)
            if marked > MOST and layout != "mtd":
                yield ("mask_of_most", f"{name(mask)} marks {marked:.0%} of its image: drawn the "
                       "other way round?", mask)
        if item.mask_paths and not drawn:
            yield ("mask_empty", f"{name(item.mask_paths[0])} marks nothing, though the image is "
                   "filed as defective", item.mask_paths[0])


def lost_masks(root: Path, layout: str, category: str, test: Sequence[Item],
               remarks: Sequence[Remark], name: Callable[[Path], str]) -> Iterable[tuple]:
    """Masks of good images that mark something, and masks that no image claims."""
    for mask in sorted(set(masks_of_good(root, layout, category, test))):
        levels = _look(mask)
        if levels is not None and levels.any():
            yield ("mask_of_good", f"{name(mask)} marks something on an image filed as good", mask)
    lost = {path for remark in remarks if remark.kind == "unused_masks" for path in remark.paths}
    if layout in ("mtd", "visa"):
        claimed = {mask for item in test for mask in item.mask_paths}
        lost = {mask for folder in {mask.parent for mask in claimed}
                for mask in images_in(folder) if mask not in claimed
                and (layout == "visa" or mask.suffix.lower() == ".png")}
    for mask in sorted(lost):
        yield ("mask_without_image", f"{name(mask)} has no image: the mask of <defect>/NAME.jpg is "
               "read from ground_truth/<defect>/NAME_mask.png", mask)


def covering_most(images: ImageSet) -> list[Remark]:
    """What is to be said of masks that mark most of their image; MTD's defects may be so large."""
    marked = [(images.name_of(item), float(mask.mean())) for item in images
              if item.label and not item.mask_above and (mask := item.mask()) is not None]
    most = [(name, share) for name, share in marked if share > MOST]
    if not most:
        return []
    return [Remark("mask_of_most", f"{most[0][0]}: its mask marks {most[0][1]:.0%} of it: drawn "
                   "the other way round? As it is, pixel metrics mean little "
                   f"({len(most)} of {len(marked)} masks {'is' if len(most) == 1 else 'are'} like "
                   "that)")]


def _look(mask: Path) -> np.ndarray | None:
    try:
        return mask_levels(mask)
    except InputError:
        return None
