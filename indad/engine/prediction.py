"""What a model says about images, and how its maps come back onto the photos."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike

from ..data.images import ImageTransform, Placement, to_photo
from ..errors import InputError, none_of

T = TypeVar("T")


@dataclass
class Prediction:
    """What a model says about n images; higher is more anomalous.

    Attributes:
        scores: `(n,)` float32, one number an image.
        model_maps: `(n, h, w)` float32, in the frame that the model saw; metrics use these.
        placements: where that lies in each photo.
        indices: positions in the source of the images that could be read.
        transform: what took the photos there; it takes their masks there too.
        skipped: (position, reason) of those that could not.
        notes: (position, what is to be said) of those whose pixels leave the model's levels.
    """

    scores: np.ndarray
    model_maps: np.ndarray
    placements: list[Placement]
    indices: list[int]
    transform: ImageTransform
    skipped: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """The scores: what loops over estimators put together."""
        return np.array(self.scores, dtype=dtype)

    @property
    def maps(self) -> "PhotoMaps":
        """The maps in the pixels of the original photos, `(h_i, w_i)` each, computed on access."""
        return PhotoMaps(self)


def joined(parts: Iterable[Prediction]) -> Prediction:
    """One prediction from those of its batches; raises `InputError` if no image could be read."""
    parts = list(parts)
    indices = [i for part in parts for i in part.indices]
    skipped = [one for part in parts for one in part.skipped]
    if not indices:
        raise InputError(f"no image to score: {none_of(skipped)}")
    return Prediction(np.concatenate([part.scores for part in parts]),
                      np.concatenate([part.model_maps for part in parts]),
                      [one for part in parts for one in part.placements], indices,
                      parts[0].transform, skipped, [one for part in parts for one in part.notes])


def one_behind(batches: Iterable[T]) -> Iterator[T]:
    """Each batch when the next one was begun, so that a GPU computes while that one is read."""
    begun: list[T] = []
    for batch in batches:
        begun.append(batch)
        if len(begun) > 1:
            yield begun.pop(0)
    yield from begun


class PhotoMaps(Sequence[np.ndarray]):
    """A sequence of maps that are laid over their photos only when asked for."""

    def __init__(self, prediction: Prediction):
        self._prediction = prediction

    def __len__(self) -> int:
        return len(self._prediction.placements)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return to_photo(self._prediction.model_maps[index], self._prediction.placements[index])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """`(n, h, w)`, if all photos have one size."""
        return np.stack(list(self)).astype(dtype or np.float32)
