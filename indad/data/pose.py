"""Where the part lies in a photo, against where a reference has it; and the photo as if it lay
there.

A pose is in shares of the photo's longer side, about its centre, so the pose of a small copy is
that of the photo. What OpenCV is needed for, `Reference` and warps, asks for it when it is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import InputError
from .arguments import maybe, number, several

ALIGNMENTS = ("shift", "rigid", "similarity")
SIDE = 256  # longer side, in pixels, of the copies that are registered
# Of an offset, a turn, a scale; fewer of them, but in this order.
_AMOUNTS = several(number(0, 10 ** 6), least=1)
TOLERANCE = maybe(replace(
    _AMOUNTS, holds=lambda value: _AMOUNTS.holds(value) and len(value) <= 3,
    wanted="one to three numbers from 0: share of the longer side, degrees, scale"))
COLUMNS = ("offset_x", "offset_y", "angle", "size", "confidence", "pose")


@dataclass(frozen=True)
class Pose:
    """How a photo's part lies, against the reference's.

    Attributes:
        x, y: how far to the right and down, as shares of the photo's longer side.
        angle: how far it is turned, in degrees, counter-clockwise as one sees it.
        scale: how many times as large it is.
        confidence: correlation with the reference once both lie alike, from -1 to 1.
        used: was the photo aligned by it? Not if confidence is too low: then it means nothing.
        misplaced: in words, what of it is beyond the tolerance; "" if nothing is.
    """

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    scale: float = 1.0
    confidence: float = 1.0
    used: bool = True
    misplaced: str = ""

    def matrix(self, size: Sequence[int]) -> np.ndarray:
        """`(2, 3)`: from pixels (x, y) of the aligned photo to those of the photo of `size`
        (h, w)."""
        height, width = size
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        turn = np.radians(self.angle)
        linear = self.scale * np.array([[np.cos(turn), np.sin(turn)],
                                        [-np.sin(turn), np.cos(turn)]])
        offset = np.array([self.x, self.y]) * max(height, width)
        return np.column_stack([linear, centre + offset - linear @ centre])

    def row(self) -> dict[str, Any]:
        """What tables say of it, under the names of `COLUMNS`."""
        said = self.misplaced or "in place" if self.used else "uncertain, not used"
        return dict(zip(COLUMNS, (*(round(number, 6) for number in (
            self.x, self.y, self.angle, self.scale, self.confidence)), said), strict=True))


def pose_of(matrix: np.ndarray, size: Sequence[int]) -> Pose:
    """The other way round: of any affine matrix, the nearest turn and scale."""
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = matrix[:, :2]
    cosine, sine = linear[0, 0] + linear[1, 1], linear[0, 1] - linear[1, 0]
    x, y = (linear @ centre + matrix[:, 2] - centre) / max(height, width)
    return Pose(float(x), float(y), float(np.degrees(np.arctan2(sine, cosine))),
                float(np.hypot(cosine, sine) / 2))


def opencv() -> ModuleType:
    """OpenCV; raises `InputError` that says how to get it."""
    if find_spec("cv2") is None:
        raise InputError("align needs OpenCV, which is not installed; run: pip install "
                         "opencv-python-headless")
    import cv2

    return cv2


def aligned_pixels(pixels: np.ndarray, pose: Pose) -> np.ndarray:
    """`(h, w)` or `(h, w, 3)` uint8 -> the same as if the part lay where the reference's does; what
    lay outside continues the border."""
    cv2, (height, width) = opencv(), pixels.shape[:2]
    return cv2.warpAffine(pixels, pose.matrix((height, width)), (width, height),
                          flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_REPLICATE)


def aligned_mask(mask: np.ndarray, pose: Pose | None) -> np.ndarray:
    """The same of a `(h, w)` bool mask; what lay outside the photo is not in it."""
    if pose is None:
        return mask
    cv2, (height, width) = opencv(), mask.shape
    return cv2.warpAffine(mask.astype(np.uint8), pose.matrix(mask.shape), (width, height),
                          flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0


def laid_back(canvas: np.ndarray, pose: Pose | None) -> np.ndarray:
    """A map `(h, w)` of the aligned photo -> of the photo as it is, the lowest value where there is
    none."""
    if pose is None:
        return canvas
    cv2, (height, width) = opencv(), canvas.shape
    return cv2.warpAffine(canvas, pose.matrix(canvas.shape), (width, height),
                          flags=cv2.INTER_LINEAR, borderValue=float(canvas.min()))


def in_photo(points: np.ndarray, pose: Pose | None, size: Sequence[int]) -> np.ndarray:
    """Points (x, y) `(n, 2)`, as edges of pixels, of the aligned photo -> of the photo."""
    if pose is None:
        return points
    matrix = pose.matrix(size)
    return (points - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5


def check_align(options: Mapping[str, Any]) -> None:
    """Raise `InputError` for a tolerance without an alignment, or an alignment without OpenCV."""
    if options["align"] is not None:
        opencv()
    elif options["align_tolerance"] is not None:
        raise InputError(f"align_tolerance is {options['align_tolerance']!r}, but means nothing "
                         f"without align; choose one of {', '.join(ALIGNMENTS)}")
