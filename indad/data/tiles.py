"""Where the tiles of a large photo lie, and how much each of them says about a pixel.

Shrunk to the size a network likes, a photo of 2,048 pixels loses a scratch of 20. Cut into tiles,
it keeps it. Tiles overlap, so that what lies across a cut is seen whole by one of them.
"""

from itertools import pairwise

import numpy as np


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one side of a photo: as few as cover it, evenly spread.

    Neighbours share `overlap` pixels at least, which is less than `tile`, as that is than `length`.

    Example:
        >>> tile_starts(1000, 512, 64)
        [0, 244, 488]
    """
    more = -(-(length - tile) // (tile - overlap))  # tiles after the first
    return [round(i * (length - tile) / more) for i in range(more + 1)] if more else [0]


def blend_weights(starts: list[int], tile: int) -> np.ndarray:
    """`(tiles, tile)` weights along one side: 1 where a tile is alone, rising and falling linearly
    where two meet. Over each pixel they add up to 1."""
    shared = max([tile - (after - before) for before, after in pairwise(starts)], default=0)
    inward = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 0.5
    ramp = np.minimum(inward / max(shared, 1), 1.0)
    total = np.zeros(starts[-1] + tile)
    for start in starts:
        total[start:start + tile] += ramp
    return np.stack([ramp / total[start:start + tile] for start in starts])
