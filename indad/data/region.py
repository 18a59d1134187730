"""Where a model looks: one fixed part of every photo, in fractions of its height and width.

What lies outside, and farther than a margin, is painted over with one colour before anything else
sees the photo. So nothing there can change a score, however far a network looks, but by the pose,
if photos are aligned first: that is found in all of the photo.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from PIL import Image

from ..errors import InputError, first_line
from .arguments import shown

PICTURE = "region.png"  # of what a model looks at, for people, beside it
MOST_SIDE = 1024  # pixels of a kept mask
ASPECTS = 0.02    # by which a photo's may differ from a mask's: sizes are rounded


class Frame(Protocol):
    """Of an `images.Placement`, what says where it lies in a photo as it is resized."""

    @property
    def resized(self) -> tuple[int, int]: ...

    @property
    def top(self) -> int: ...

    @property
    def left(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Region:
    """What a model looks at, as text and numbers that any file can hold.

    Attributes:
        inside: a PNG in base64, of any size, white where the model looks: it lies over the whole
            photo. `seen` is the same and the margin around it, which is left as it is.
        fill: what all else is painted with, RGB.
        aspect: width by height of the photos that it goes with; any if None.
    """

    inside: str
    seen: str
    fill: tuple[int, int, int]
    aspect: float | None = None

    def painted(self, photo: Image.Image) -> Image.Image:
        """The photo, RGB, without what nobody is to see."""
        photo = photo.copy()
        photo.paste(self.fill, mask=_outside(self.seen, photo.size))
        return photo

    def within(self, placement: Frame) -> np.ndarray:
        """`(h, w)` bool: the pixels of a frame that are looked at."""
        (height, width), top, left = placement.size, placement.top, placement.left
        whole = _resized(self.inside, placement.resized[::-1])
        return whole[top:top + height, left:left + width]

    def over(self, size: tuple[int, int]) -> np.ndarray:
        """`(h, w)` bool of a photo of that size: what is looked at."""
        return _resized(self.inside, size[::-1])

    def seen_over(self, size: tuple[int, int]) -> np.ndarray:
        """The same, of what is not painted over."""
        return np.asarray(_outside(self.seen, size[::-1])) == 0

    def check(self, original: tuple[int, int], name: str) -> None:
        """Raise `InputError` for a photo of `original` (h, w) pixels that the mask is none of."""
        height, width = original
        if self.aspect and abs(width / height / self.aspect - 1) > ASPECTS:
            raise InputError(f"{name}: {width} x {height} pixels, but the region's mask is "
                             f"{self.aspect:.3g} times as wide as high; give a mask of the photos' "
                             "own size, or polygons")


def region_of(inside: np.ndarray, fill: Sequence[int], margin: float,
              aspect: float | None = None) -> Region:
    """Of a mask `(h, w)` and a margin in its pixels. Raises `InputError` for an empty one."""
    from scipy.ndimage import distance_transform_edt

    if not inside.any():
        raise InputError("the region leaves nothing to look at; draw what is to be seen in white")
    near = distance_transform_edt(~inside) <= margin
    red, green, blue = (int(one) for one in fill)
    return Region(_as_text(inside), _as_text(near), (red, green, blue), aspect)


def region_in(part: Mapping, file: object) -> Region | None:
    """The region in the record of a saved model, checked."""
    found = part.get("region")
    if found is None:
        return None
    fill, aspect = found["fill"], found["aspect"]
    if not (isinstance(fill, list) and len(fill) == 3
            and all(type(one) is int and 0 <= one <= 255 for one in fill)):
        raise InputError(f"{file}: the region's fill is {shown(fill)}; it must be three numbers "
                         "from 0 to 255")
    if aspect is not None and not (isinstance(aspect, float) and 0 < aspect < float("inf")):
        raise InputError(f"{file}: the region's aspect is {shown(aspect)}; it must be a number "
                         "above 0, or null")
    for name in ("inside", "seen"):
        try:
            whole = mask_in(found[name])
        except Exception as error:  # there is hardly a type that no decoder raises
            raise InputError(f"{file}: the region is no picture ({first_line(error)})") from error
        if not whole.getbbox():
            raise InputError(f"{file}: the region leaves nothing to look at")
    return Region(found["inside"], found["seen"], tuple(fill), aspect)


def check_alike(found: Region | None, known: Region | None) -> None:
    """Raise `InputError` if features are not of the region that a model looks at."""
    if found != known:
        raise InputError("these features are of another region than the model's; extract them "
                         "again with region=model.region_")


def _as_text(mask: np.ndarray) -> str:
    kept = io.BytesIO()
    Image.fromarray(mask).save(kept, "PNG", optimize=True)
    return base64.b64encode(kept.getvalue()).decode()


def mask_in(text: str) -> Image.Image:
    """The mask that a text holds: 0 and 255."""
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
    if max(image.size) > MOST_SIDE or image.mode != "1":
        raise InputError(f"it is {image.size} pixels of mode {image.mode}")
    return image.convert("L")


@lru_cache(maxsize=8)
def _resized(text: str, size: tuple[int, int]) -> np.ndarray:
    """`(h, w)` bool, True where any of the mask is: thin lines stay."""
    whole = np.asarray(mask_in(text).resize(size, Image.Resampling.BOX)) > 0
    whole.flags.writeable = False
    return whole


@lru_cache(maxsize=4)
def _outside(text: str, size: tuple[int, int]) -> Image.Image:
    """White where the mask is black."""
    return mask_in(text).resize(size, Image.Resampling.NEAREST).point(lambda value: 255 - value)
