"""Whatever holds pictures, as a list of them: the one place that knows what a caller may pass.

A list of sources is cheap: each is a path, a picture or an array, or reads itself when it is asked
(`as_rgb`, see images.py).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..errors import InputError, first_line
from .arguments import LABELS, LIST, as_path, maybe, shown, takes
from .copies import digests_of
from .folders import images_below
from .images import as_rgb, path_of
from .layouts import good_photos
from .left_out import remarks_on, tell

EXAMPLES = 50  # training images that are remembered (not copied), for an export's check
PASS = ("pass a folder, a path, a PIL image, an array or tensor, or a list, Dataset, DataLoader "
        "or generator of them")


@dataclass(frozen=True)
class TrainingSet:
    """Good images to learn from, in order, and which of them show the same part (None: unknown)."""

    sources: list
    groups: list | None = None

    @property
    def files(self) -> list[str | None]:
        """Their paths as they were given; None of what came from none."""
        return [path_of(source) for source in self.sources]

    @property
    def examples(self) -> list:
        return self.sources[:EXAMPLES]

    @cached_property
    def digests(self) -> list[str | None]:
        """SHA-256 in hex of each, None of what cannot be read."""
        return digests_of(self.sources)

    def digests_at(self, positions: Iterable[int]) -> list[str]:
        """Those of images that could be read."""
        return [self.digests[position] or "" for position in positions]

    def fingerprint(self, positions: Iterable[int], before: str = "") -> str:
        """SHA-256 over the images at these positions, in order, after that of those before."""
        digests = b"".join(map(bytes.fromhex, self.digests_at(positions)))
        return hashlib.sha256(before.encode() + digests).hexdigest()


@takes(groups=maybe(LIST))
def training_set(images: object, labels: object = None,
                 groups: Sequence | None = None) -> TrainingSet:
    """Good images from whatever holds them.

    Args:
        images: see `as_list`; of a folder, the photos in its `train/good` or `good`, or else right
            in it.
        labels: `(n,)`, 0 for good and 1 for defective, or None. Defective images are left out.
        groups: a label for each image, equal for images of the same part; what the images know
            (`.groups`) if None.

    Raises `InputError` for what holds no pictures, and for labels or groups that do not fit.
    """
    groups = getattr(images, "groups", None) if groups is None else groups
    sources = as_list(images, only_good=labels is None)
    if groups is not None and len(groups) != len(sources):
        raise InputError(f"groups has {len(groups)} labels for {len(sources)} images; give one "
                         "each")
    if labels is not None:
        given = np.asarray(labels)
        if given.shape != (len(sources),) or not LABELS.holds(given):
            raise InputError(f"y must hold 0 (good) or 1 (defective) for each of {len(sources)} "
                             f"images; it has the shape {given.shape} and values "
                             f"{shown(given.ravel()[:4].tolist())}")
        good = np.flatnonzero(given == 0).tolist()
        sources = [sources[i] for i in good]
        groups = None if groups is None else [groups[i] for i in good]
    return TrainingSet(sources, None if groups is None else list(groups))


def as_list(images: object, *, only_good: bool = False) -> list:
    """One image or many -> a list of what `images.as_rgb` reads.

    Args:
        images: a folder, which is searched with its sub-folders (masks left out); one image; an
            array or tensor of four dimensions; a list or other sequence; a `Dataset`, whose items
            may be `(image, ...)` or `{"image": ...}`; a `DataLoader`, whose order and choice of
            items are kept, but not its batches; a generator, which is read to its end at once.
        only_good: of a folder, the good photos only, see `layouts.good_photos`.

    Raises `InputError` for anything else, and for a folder without images.
    """
    if isinstance(images, (str, Path)):
        folder = as_path("images", images)
        if not folder.is_dir():
            return [images]
        if only_good:
            return list(good_photos(folder))
        found = images_below(folder)
        tell(remarks_on(folder, (folder,), set(found), labels=False))
        if not found:
            raise InputError(f"{folder}: no images there")
        return list(found)
    if isinstance(images, DataLoader):
        if only_good:
            _check_classes(images.dataset)
        return _of_loader(images)
    if isinstance(images, Dataset):
        if only_good:
            _check_classes(images)
        return _of_dataset(images)
    if hasattr(images, "photos"):
        return list(images.photos)
    if isinstance(images, np.ndarray) and images.dtype.kind in "OU":  # of paths, of pictures
        return images.ravel().tolist()
    if isinstance(images, (np.ndarray, Tensor)):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, Image.Image) or hasattr(images, "path") or hasattr(images, "as_rgb"):
        return [images]
    if isinstance(images, Sequence) and not isinstance(images, bytes):
        return list(images)
    if isinstance(images, (dict, bytes)):
        raise InputError(f"images is a {type(images).__name__}; {PASS}")
    if isinstance(images, Iterable):
        return [_picture_in(item) for item in images]
    if hasattr(images, "__getitem__") and hasattr(images, "__len__"):
        return _lazy_items(images, range(len(images)))
    raise InputError(f"images is a {type(images).__name__}; {PASS}")


class LazyItem:
    """An item of a dataset, which is asked for it when it is read; one item at a time, as nobody
    promises that a dataset can be asked by several threads.
    """

    def __init__(self, dataset: Any, index: int, lock: Any):
        self.dataset, self.index, self.lock = dataset, index, lock

    def as_rgb(self) -> Image.Image:
        return self.read_by(None, None)

    def read_by(self, levels: Mapping | None, notes: list[str] | None) -> Image.Image:
        return as_rgb(self.picture(), levels, notes)

    def picture(self) -> object:
        try:
            with self.lock:
                item = self.dataset[self.index]
        except Exception as error:  # whatever a dataset of somebody's raises
            raise InputError(f"item {self.index} of the {type(self.dataset).__name__} cannot be "
                             f"read ({first_line(error)})") from error
        return _picture_in(item)


def _lazy_items(dataset: Any, order: Iterable) -> list[LazyItem]:
    lock = Lock()
    return [LazyItem(dataset, index, lock) for index in order]


def _check_classes(dataset: Dataset) -> None:
    kinds = getattr(dataset, "classes", None)
    if kinds is not None and len(kinds) > 1:
        raise InputError(f"this {type(dataset).__name__} has the classes "
                         f"{', '.join(map(str, kinds))}; fit learns from good images only: pass a "
                         "Subset of them, or labels as y")


def _of_dataset(dataset: Dataset) -> list:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return [_picture_in(item) for item in iter(dataset)]  # asks by number if it must
    return _lazy_items(dataset, range(len(dataset)))


def _of_loader(loader: DataLoader) -> list:
    if isinstance(loader.dataset, IterableDataset):
        return [_picture_in(item) for item in loader.dataset]
    if loader.batch_sampler is None:
        return _lazy_items(loader.dataset, loader.sampler)
    return _lazy_items(loader.dataset, (i for batch in loader.batch_sampler for i in batch))


def _picture_in(item: object) -> object:
    """The image of a dataset's item: the first of a tuple, or what a dict calls its image."""
    if isinstance(item, (tuple, list)) and item:
        return item[0]
    if isinstance(item, dict):
        name = next((name for name in ("image", "img", "pixel_values") if name in item), None)
        if name is None:
            raise InputError(f"an item of the dataset is a dict with {', '.join(map(str, item))}; "
                             "it must have an `image`")
        return item[name]
    return item
