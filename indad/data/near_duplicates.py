"""Which pictures are one and the same shot: saved again, resized, brightened, turned or mirrored?

Two photos of two good parts look alike to any coarse fingerprint, for that is what good parts do.
What they do not share is the fine detail: grain, scratches, a shift by a pixel. So detail is
compared, by correlation; and once more without what all of a set have in common, such as the bars
of solar cells, which lie alike in every photo.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 64  # pixels: small enough to forgive compression, large enough to hold detail
BLUR = 2.0  # pixels of standard deviation; what is smoother than that is not detail
# Copies correlate at 0.98 and more; different shots stay well below on the synthetic parts and on
# hazelnuts (tests/test_checks.py), while two exposures of one magnetic tile can reach it.
ALIKE = 0.98
# Without what is common. Solar cells saved again stay above it; of their pairs that pass the first
# test, four of five do not.
OWN_ALIKE = 0.95
ENOUGH = 8  # pictures to tell what is common; among fewer, copies would hide themselves
ROWS = 512


def fine_detail(image: Image.Image) -> np.ndarray:
    """`(4096,)` float32 of length 1: the detail of a picture, whatever its size and brightness.

    A picture of one colour has none: it gives zeros, and is like no other.
    """
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    pixels = np.asarray(grey, dtype=np.float32)
    detail = (pixels - gaussian_filter(pixels, BLUR)).ravel()
    detail -= detail.mean()
    length = float(np.linalg.norm(detail))
    return detail / length if length > 1e-3 * SIDE else np.zeros_like(detail)


def alike(details: np.ndarray, *, threshold: float = ALIKE) -> list[tuple[int, int, bool]]:
    """Pairs i < j of `(n, 4096)` details that correlate above `threshold`, in any orientation.

    The third entry says that one of the two is turned by a quarter or half, or mirrored.
    """
    common = np.median(details, axis=0) if len(details) >= ENOUGH else np.zeros(SIDE * SIDE)
    own = _without(details, common)
    pairs: dict[tuple[int, int], bool] = {}
    squares = details.reshape(-1, SIDE, SIDE)
    for mirrored in (False, True):
        for quarters in range(4):
            seen = np.rot90(squares[:, :, ::-1] if mirrored else squares, quarters, axes=(1, 2))
            seen = np.ascontiguousarray(seen).reshape(len(details), -1)
            seen_own = _without(seen, common)
            for first in range(0, len(details), ROWS):
                some = slice(first, first + ROWS)
                found = np.argwhere((details[some] @ seen.T > threshold)
                                    & (own[some] @ seen_own.T > OWN_ALIKE))
                for i, j in (found + (first, 0)).tolist():
                    pairs.setdefault((i, j), mirrored or quarters > 0)
    # From both sides: what is common is known for pictures as they stand, and not for turned ones.
    return sorted((i, j, turned) for (i, j), turned in pairs.items() if i < j and (j, i) in pairs)


def _without(details: np.ndarray, common: np.ndarray) -> np.ndarray:
    """`(n, 4096)` details less their part along what is common, of length 1 again."""
    along = details @ common / max(float(common @ common), 1e-9)
    own = details - np.outer(along, common)
    length = np.linalg.norm(own, axis=1, keepdims=True)
    return (own / np.maximum(length, 1e-6)).astype(np.float32)
