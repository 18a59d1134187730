"""What a model says about images, and how its maps come back onto the photos."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from .errors import InputError
from .images import Frame, ImageTransform, to_photo


@dataclass
class Prediction:
    """What a model says about n images; higher is more anomalous.

    Attributes:
        scores: `(n,)` float32, one number an image.
        model_maps: `(n, h, w)` float32, in the frame that the model saw; metrics use these.
        frames: where that frame lies in each photo.
        indices: positions in the source of the images that could be read.
        transform: what took the photos there; it takes their masks there too.
        skipped: (position, reason) of those that could not.
    """

    scores: np.ndarray
    model_maps: np.ndarray
    frames: list[Frame]
    indices: list[int]
    transform: ImageTransform
    skipped: list[tuple[int, str]] = field(default_factory=list)

    @property
    def maps(self) -> "PhotoMaps":
        """The maps in the pixels of the original photos, `(h_i, w_i)` each, computed on access."""
        return PhotoMaps(self)


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


def joined(parts: Iterable[Prediction]) -> Prediction:
    """One prediction from those of its batches; raises `InputError` if no image could be read."""
    parts = list(parts)
    indices = [i for part in parts for i in part.indices]
    skipped = [one for part in parts for one in part.skipped]
    if not indices:
        raise InputError("no readable image to score" + (f": {skipped[0][1]}" if skipped else ""))
    return Prediction(np.concatenate([part.scores for part in parts]),
                      np.concatenate([part.model_maps for part in parts]),
                      [frame for part in parts for frame in part.frames], indices,
                      parts[0].transform, skipped)


class PhotoMaps(Sequence):
    """A sequence of maps that are laid over their photos only when asked for."""

    def __init__(self, prediction: Prediction):
        self._prediction = prediction

    def __len__(self) -> int:
        return len(self._prediction.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return to_photo(self._prediction.model_maps[index], self._prediction.frames[index])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """`(n, h, w)`, if all photos have one size."""
        return np.stack(list(self)).astype(dtype or np.float32)
