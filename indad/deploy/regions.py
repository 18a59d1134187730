"""Spots on a photo: where its anomaly map is above a level."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Region:
    """A spot on a photo where the map is above a level.

    Attributes:
        box: left, top, right, bottom in pixels; right and bottom are the first beyond it.
        area: pixels above the level.
        peak: the highest value of the map there.
        pixels: which of the box's they are, `(h, w)` bool.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    pixels: np.ndarray = field(repr=False, compare=False)

    def plain(self) -> dict:
        """What a table says of it."""
        return {"box": self.box, "area": self.area, "peak": self.peak}


def regions_above(anomaly_map: np.ndarray, level: float) -> list[Region]:
    """The 8-connected regions of a map `(h, w)` that are above a level, the highest first."""
    above = anomaly_map > level
    if not above.any():
        return []
    # Only where something is: photos are large, and spots are small.
    (top, bottom), (left, right) = (np.flatnonzero(above.any(axis))[[0, -1]] for axis in (1, 0))
    window = slice(top, bottom + 1), slice(left, right + 1)
    labels, _ = ndimage.label(above[window], structure=np.ones((3, 3)))
    found = []
    for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
        pixels = labels[y, x] == number
        values = anomaly_map[window][y, x][pixels]
        found.append(Region((int(left + x.start), int(top + y.start), int(left + x.stop),
                             int(top + y.stop)), len(values), float(values.max()), pixels))
    return sorted(found, key=lambda region: (-region.peak, region.box))


def outlines(region: Region, tolerance: float = 0.5) -> list[np.ndarray]:
    """Polygons `(n, 2)` around a region, (x, y) in pixels from the photo's upper left corner.

    They are simplified to within `tolerance` pixels. Holes are filled; pixels that touch at corners
    only have polygons of their own.
    """
    from contourpy import contour_generator

    found = []
    lines: Any = contour_generator(z=np.pad(region.pixels, 1).astype(float)).lines(0.5)
    for line in lines:
        (x, y), (next_x, next_y) = line[:-1].T, line[1:].T
        if (x * next_y - next_x * y).sum() > 0:  # the other way round it is a hole
            found.append(_simplified(line, tolerance)[:-1] + np.array(region.box[:2]) - 0.5)
    return found


def _simplified(line: np.ndarray, tolerance: float) -> np.ndarray:
    """The points of a closed line `(n, 2)` that others are not near to (Douglas and Peucker, 1973),
    three at least."""
    kept = np.zeros(len(line), bool)
    middle = int(np.square(line - line[0]).sum(1).argmax())
    kept[[0, middle, -1]] = True
    todo = [(0, middle), (middle, len(line) - 1)]
    while todo:
        first, last = todo.pop()
        along = line[last] - line[first]
        between = line[first + 1:last] - line[first]
        if not len(between):
            continue
        at = np.clip(between @ along / max(along @ along, 1e-9), 0, 1)
        off = np.hypot(*(between - at[:, None] * along).T)
        if off.max() > tolerance:
            farthest = first + 1 + int(off.argmax())
            kept[farthest] = True
            todo += [(first, farthest), (farthest, last)]
    return line[kept] if kept.sum() > 3 else _simplified(line, tolerance / 2)
