"""Where the tiles of a large photo lie, and how much each of them says about a pixel.

Shrunk to the size a network likes, a photo of 2,048 pixels loses a scratch of 20. Cut into tiles,
it keeps it. Tiles overlap, so that what lies across a cut is seen whole by one of them.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import InputError


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


def check_sizes(options: Mapping[str, Any]) -> None:
    """Raise `InputError` for tiles that do not go with the other sizes."""
    tiles, overlap = options["tiles"], options["overlap"]
    for name in ("overlap", "scale") if tiles is None else ("resize", "crop"):
        if options[name] is not None:
            raise InputError(
                f"{name} is {options[name]!r}, " + (
                    "but means nothing without tiles; say how large they are, as tiles=512"
                    if tiles is None else
                    "but tiles keep the photo's own resolution: leave it out, or use scale"))
    if tiles is not None and overlap is not None and overlap >= tiles:
        raise InputError(f"overlap is {overlap}, but must be less than the tiles of {tiles} "
                         "pixels; an eighth of them is usual")


def tiling(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options say of tiles, as `ImageTransform` takes it."""
    tiles, overlap = options["tiles"], options["overlap"]
    return {"tiles": tiles, "overlap": tiles // 8 if overlap is None else overlap,
            "scale": options["scale"] or 1.0}
