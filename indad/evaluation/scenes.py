"""A prediction beside the truth, one test image at a time: maps and masks are made when asked for.

So no metric that goes over the images holds more than one of them, whatever the photos' size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.datasets import ImageSet
from ..data.layouts import Item
from ..engine.prediction import Prediction
from ..engine.ranks import check_finite, in_chunks
from ..metrics import mask_in_frame


@dataclass(frozen=True, eq=False)
class Scene:
    """One test image: what is said of it, and what is true.

    Attributes:
        item: the image; `score` is what the model says of it.
        heat: `(h, w)` floats, its map.
        mask: `(h, w)` bool, the defect; all False for a good image, None where nobody drew one.
        inside: `(h, w)` bool, the pixels that count; None if all do.
    """

    item: Item
    score: float
    heat: np.ndarray
    mask: np.ndarray | None
    inside: np.ndarray | None = None

    @property
    def defect(self) -> np.ndarray | None:
        """`(h, w)` bool: the pixels of the defect that count."""
        return self.mask if self.mask is None or self.inside is None else self.mask & self.inside

    @property
    def good(self) -> np.ndarray | None:
        """`(h, w)` bool: the good pixels that count."""
        if self.mask is None:
            return None
        return ~self.mask if self.inside is None else ~self.mask & self.inside


class Scenes(Sequence[Scene]):
    """The images of a prediction, in its order; in `frame` "model" or "original", see `evaluate`.

    Raises `InputError` on access for scores that are not finite.
    """

    def __init__(self, prediction: Prediction, images: ImageSet, frame: str = "model"):
        self.prediction, self.images, self.frame = prediction, images, frame
        self.maps = prediction.model_maps if frame == "model" else prediction.maps
        self.items = [images[i] for i in prediction.indices]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        heat = np.asarray(self.maps[index])
        check_finite(heat)
        return Scene(self.items[index], float(self.prediction.scores[index]), heat,
                     mask_in_frame(self.items[index], self.prediction, index, self.frame),
                     self.prediction.inside(index, self.frame))

    @property
    def labels(self) -> np.ndarray:
        """`(n,)` int, 0 good and 1 defective."""
        return np.array([item.label for item in self.items], dtype=np.int64)

    def of(self, label: int) -> list[int]:
        """The positions of the good (0) or defective (1) images."""
        return [position for position, item in enumerate(self.items) if item.label == label]

    def good_pixels(self, positions: Sequence[int] | None = None) -> Iterable[np.ndarray]:
        """The scores of the good pixels of (some) images whose mask is known, in pieces."""
        scenes = (self[place] for place in (range(len(self)) if positions is None else positions))
        return in_chunks(scene.heat[scene.good] for scene in scenes if scene.good is not None)
