"""Spots on a photo: where its anomaly map is above a level."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Region:
    """A spot on a photo where the map is above a level.

    Attributes:
        box: left, top, right, bottom in pixels; right and bottom are the first beyond it.
        area: pixels above the level.
        peak: the highest value of the map there.
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float


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
        values = anomaly_map[window][y, x][labels[y, x] == number]
        found.append(Region((int(left + x.start), int(top + y.start), int(left + x.stop),
                             int(top + y.stop)), len(values), float(values.max())))
    return sorted(found, key=lambda region: (-region.peak, region.box))
