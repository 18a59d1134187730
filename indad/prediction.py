"""What a model says about images, and how its maps come back onto the photos."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

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
