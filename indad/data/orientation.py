"""Photos that EXIF turns, and masks that it does not: were they drawn on the same pixels?

A camera on its side stores the picture as it lies, and how to turn it. Photos are read upright; a
mask that some program drew on the stored pixels, and saved without that word, lies elsewhere.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from ..errors import InputError
from .images import image_size, opened, read_image
from .layouts import Item
from .masks import read_mask
from .pixels import ORIENTATION

TURNS = {1: "as it is", 2: "mirrored", 3: "by 180 degrees", 4: "mirrored, upside down",
         5: "mirrored, by 90 degrees", 6: "by 90 degrees", 7: "mirrored, by 90 degrees",
         8: "by 90 degrees"}
ON_SIDE = (5, 6, 7, 8)
TRANSPOSE = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
             4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
             6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
             8: Image.Transpose.ROTATE_90}
RIM, CLEARLY, LEAST = 6, 1.5, 10  # pixels; times; grey levels


def orientation_of(path: Path) -> int:
    """How EXIF says that a picture is to be turned, 1 to 8; raises `InputError` if unreadable."""
    with opened(path) as image:
        said = image.getexif().get(ORIENTATION, 1)
    return said if said in TURNS else 1


def turned_apart(photo: Path, mask: Path) -> str | None:
    """What is to be said if EXIF turns a photo otherwise than its mask, and the mask may have been
    drawn on the photo's stored pixels.

    It was not if both agree in size only as they stand upright, nor if what it marks stands out
    clearly more there than where it would lie when turned with the photo.
    """
    try:
        turn, other = orientation_of(photo), orientation_of(mask)
        height, width = image_size(photo)
        fits = image_size(mask) == (height, width)
    except InputError:  # told where it is read
        return None
    if turn == other or (fits and height != width and (turn in ON_SIDE) != (other in ON_SIDE)):
        return None
    if fits and other == 1 and _stands_out(photo, mask, turn):
        return None
    return (f"EXIF turns the photo {TURNS[turn]} and its mask {TURNS[other]}: save both upright, "
            "without EXIF, with the mask over the defect")


def _stands_out(photo: Path, mask: Path, turn: int) -> bool:
    grey = np.asarray(read_image(photo).convert("L"), dtype=np.float64)
    upright = read_mask(mask)
    turned = np.asarray(Image.fromarray(upright).transpose(TRANSPOSE[turn]))
    if turned.shape != upright.shape or np.array_equal(turned, upright):
        return True
    return _contrast(grey, upright) > CLEARLY * _contrast(grey, turned) + LEAST


def _contrast(grey: np.ndarray, mask: np.ndarray) -> float:
    """How much the inside of a mask differs from a rim around it, in brightness and roughness."""
    rim = binary_dilation(mask, iterations=RIM) & ~mask
    if not mask.any() or not rim.any():
        return 0.0
    inside, outside = grey[mask], grey[rim]
    return float(abs(inside.mean() - outside.mean()) + abs(inside.std() - outside.std()))


def masks_in_doubt(items: Iterable[Item]) -> list[str]:
    """A line for each mask that may lie elsewhere than the defect in its photo."""
    return [f"{mask}: {said}" for item in items for mask in item.mask_paths
            if (said := turned_apart(item.path, mask))]
