"""What a model says about images, and how its maps come back onto the photos."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from ..data.as_frame import as_frame
from ..data.images import ImageTransform, Placement, path_of, to_photo
from ..data.pose import COLUMNS as POSE
from ..data.pose import Pose, laid_back
from ..data.sources import as_list
from ..errors import InputError, none_of

T = TypeVar("T")
LABELLED = ("label", "defect_type")
Merge = Callable[[Tensor, Sequence[Placement]], Tensor]


@dataclass
class Prediction:
    """What a model says about n images; higher is more anomalous.

    Attributes:
        scores: `(n,)` float32, one number an image.
        model_maps: `(n, h, w)` float32, in the frame that the model saw; metrics use these. Of
            photos cut into tiles n maps of sizes of their own, put together on access.
        placements: where that lies in each photo.
        indices: positions in the source of the images that could be read.
        transform: what took the photos there; it takes their masks there too.
        skipped: (position, reason) of those that could not.
        notes: (position, what is to be said) of those whose pixels leave the model's levels, or
            whose pose is uncertain.
    """

    scores: np.ndarray
    model_maps: "np.ndarray | MergedMaps"
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
    def peaks(self) -> np.ndarray:
        """`(n,)`: the highest points of the maps."""
        return np.array([one.max() for one in self.model_maps], dtype=np.float32)

    def inside(self, index: int, frame: str = "model") -> np.ndarray | None:
        """`(h, w)` bool: the pixels of a map that are looked at, None if all are; of one of
        `model_maps`, or with another frame of `maps`."""
        region, where = self.transform.region, self.placements[index]
        if region is None:
            return None
        if frame == "model":
            return region.within(where)
        return laid_back(region.over(where.original).astype(np.float32), where.moved) > 0.5

    def over_photo(self, index: int, model_map: np.ndarray) -> np.ndarray:
        """One of `model_maps` in the pixels of its photo; 0 where nothing is looked at."""
        found, inside = to_photo(model_map, self.placements[index]), self.inside(index, "original")
        return found if inside is None else found * inside

    @property
    def poses(self) -> list[Pose | None]:
        """How the part lies in each photo, see data/pose.py; None where photos are not aligned."""
        return [placement.pose for placement in self.placements]

    def to_frame(self, images: object = None) -> Any:
        """A `pandas.DataFrame`, a row an image in their order, the unreadable ones included.

        Args:
            images: what was predicted, for their names, and if they know them, labels and types of
                defects; an image that has no name is its position.

        Its columns are named as in scores.csv. Raises `InputError` if there is no pandas.
        """
        given = None if images is None else as_list(images)
        name_of, notes = getattr(images, "name_of", path_of), dict(self.notes)
        rows: dict[int, dict[str, Any]] = {
            index: {"reason": reason} for index, reason in self.skipped}
        for index, score, pose in zip(self.indices, self.scores.tolist(), self.poses, strict=True):
            rows[index] = {"score": score, "reason": notes.get(index)} | (
                pose.row() if pose else {})
        if given is not None and rows and max(rows) >= len(given):
            raise InputError(f"images are {len(given)}, fewer than were predicted; pass the same")
        for index, row in rows.items():
            row["image"] = index
            if given is not None:
                one = given[index]
                row["image"] = name_of(one) or index
                row |= {name: getattr(one, name) for name in LABELLED if hasattr(one, name)}
        labelled = [name for name in LABELLED if any(name in row for row in rows.values())]
        return as_frame([rows[index] for index in sorted(rows)], (
            "image", *labelled, "score", *(POSE if any(self.poses) else ()), "reason"))

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
                      _joined_maps([part.model_maps for part in parts]),
                      [one for part in parts for one in part.placements], indices,
                      parts[0].transform, skipped, [one for part in parts for one in part.notes])


def _joined_maps(maps: list) -> "np.ndarray | MergedMaps":
    if isinstance(maps[0], MergedMaps):
        return MergedMaps([photo for one in maps for photo in one.photos], maps[0].merge)
    return np.concatenate(maps)


def of_photos(tiles: Iterable[Prediction], merge: "Merge") -> Iterator[Prediction]:
    """Photo by photo what is said of their tiles, which come in order: the worst tile decides.

    `model_maps` of the tiles are patch scores, see `MergedMaps` for what `merge` does with them.
    """
    skipped: list[tuple[int, str]] = []
    notes: list[tuple[int, str]] = []
    part = None

    def each() -> Iterator[tuple[int, Any, np.ndarray, Placement]]:
        nonlocal part
        for part in tiles:
            skipped.extend(part.skipped)
            notes.extend(part.notes)
            yield from zip(part.indices, part.scores, part.model_maps, part.placements,
                           strict=True)

    for index, those in groupby(each(), itemgetter(0)):
        _, scores, patches, placements = zip(*those, strict=True)
        first = placements[0]
        assert part is not None
        yield replace(part, scores=np.array([max(scores)]), indices=[index],
                      model_maps=MergedMaps([(np.stack(patches), placements)], merge),
                      placements=[replace(first, top=0, left=0, size=first.resized)],
                      skipped=skipped.copy(), notes=[note for note in notes if note[0] == index])
        skipped.clear()
    if part is not None and skipped:
        yield replace(part, scores=np.empty(0, np.float32), indices=[], placements=[],
                      model_maps=MergedMaps([], merge), skipped=skipped, notes=[])


def one_behind(batches: Iterable[T]) -> Iterator[T]:
    """Each batch when the next one was begun, so that a GPU computes while that one is read."""
    begun: list[T] = []
    for batch in batches:
        begun.append(batch)
        if len(begun) > 1:
            yield begun.pop(0)
    yield from begun


class MergedMaps(Sequence[np.ndarray]):
    """Maps `(h_i, w_i)` of photos that were cut into tiles, put together when asked for: until then
    a photo takes the room of its patch scores, not of its pixels.

    Args:
        photos: patch scores `(t, gh, gw)` and placements of the t tiles of each photo.
        merge: makes a map `(h, w)` of those of one, see `learned.tiled`.
    """

    def __init__(self, photos: list[tuple[np.ndarray, Sequence[Placement]]], merge: "Merge"):
        self.photos, self.merge = photos, merge

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        patches, placements = self.photos[index]
        return self.merge(torch.from_numpy(patches), placements).numpy()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """`(n, h, w)`, if all photos have one size."""
        return np.stack(list(self)).astype(dtype or np.float32)


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
        return self._prediction.over_photo(index, self._prediction.model_maps[index])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """`(n, h, w)`, if all photos have one size."""
        return np.stack(list(self)).astype(dtype or np.float32)
