"""Patch features of many images as one table, so that they can be computed once and used often."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor

from ..data.arguments import CALLED, FLAG, maybe, takes
from ..data.images import ImageTransform, Placement
from ..data.levels import Levels
from ..data.region import Region
from ..data.registration import Reference
from ..errors import InputError, InputWarning, Progress, none_of
from .batches import load_batches
from .memory import feature_store, memory_budget
from .upsampling import touching


@dataclass
class PatchFeatures:
    """What the backbone says about n frames, before any scaling: one an image, or its tiles, and
    those of each view.

    Attributes:
        rows: `(n * p, d)` float32, or float16 above the memory budget: frame by frame, and within
            a frame row by row of its grid. On the network's device if they fit there.
        grid: patches down and across; p is their product.
        size: (h, w) in pixels of what the network saw.
        placements: where that lies in each photo, n of them.
        indices: positions in the source of the images (or views) that they are of, n of them.
        skipped: (position, reason) of those that could not.
        views: so many neighbouring images are views of one, see augmentation.py.
        levels: that they were read by, see data/levels.py.
        notes: (position, what is to be said) of images that the levels do not fit, or whose pose
            is uncertain.
        region: that was looked at; all if None.
        reference: that they were aligned to, see data/reference.py; None if to none.
    """

    rows: Tensor
    grid: tuple[int, int]
    size: tuple[int, int]
    placements: list[Placement]
    indices: list[int]
    skipped: list[tuple[int, str]] = field(default_factory=list)
    views: int = 1
    levels: Levels = field(default_factory=dict)
    notes: list[tuple[int, str]] = field(default_factory=list)
    region: Region | None = None
    reference: Reference | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def way(self) -> tuple:
        """What features have in common that can be put in one table."""
        return (self.grid, self.size, self.rows.shape[1], self.rows.dtype, self.views, self.levels,
                self.region, self.reference and self.reference.digest)

    @property
    def patches(self) -> int:
        """Patches of one frame."""
        return self.grid[0] * self.grid[1]

    @property
    def positions(self) -> list[int]:
        """Of the images that could be read, without their views."""
        return list(dict.fromkeys(i // self.views for i in self.indices))

    @property
    def tiles(self) -> list[int]:
        """How many frames each view of each of these images has."""
        counts = Counter(self.indices)
        return [counts[position * self.views] for position in self.positions]

    def inside(self, first: int = 0, count: int | None = None,
               device: torch.device | None = None) -> Tensor | None:
        """`(count, h, w)` bool: the pixels of frames from `first` on that are looked at; None if
        all are."""
        stop = len(self) if count is None else first + count
        inside = ImageTransform(region=self.region).inside(self.placements[first:stop])
        return inside if inside is None else inside.to(device)

    def outside(self) -> Tensor | None:
        """`(n * p,)` bool: the rows that say nothing, of patches without any such pixel."""
        if self.region is None:
            return None
        known = {one: touching(self.inside(i, 1), self.grid).flatten()  # type: ignore[arg-type]
                 for one, i in {one: i for i, one in enumerate(self.placements)}.items()}
        return ~torch.cat([known[one] for one in self.placements])

    @property
    def looked_at(self) -> int:
        """How many patches say something."""
        outside = self.outside()
        return len(self.rows) if outside is None else int((~outside).sum())

    def in_few(self, rows: Tensor, first: int,
               frames: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Scaled rows that begin as this table's row `first`, so many frames at a time, and what
        of them is looked at."""
        for part in rows.split(frames * self.patches):
            frame, count = first // self.patches, len(part) // self.patches
            yield part, self.inside(frame, count, rows.device)
            first += len(part)

    @property
    def photos(self) -> list["PatchFeatures"]:
        """Of each image its own, without a copy: a list that splits as one of pictures does."""
        ends = list(accumulate(count * self.views for count in self.tiles))
        return [replace(self, rows=self.rows[first * self.patches:stop * self.patches],
                        placements=self.placements[first:stop],
                        indices=[i % self.views for i in self.indices[first:stop]],
                        skipped=[], notes=[])
                for first, stop in zip([0, *ends], ends)]  # noqa: B905

    def of(self, images: Sequence[int], budget: int) -> "PatchFeatures":
        """A copy with these images, all their views included, in this order, numbered from 0.

        It lies in memory within `budget` bytes, else in a float16 file.
        """
        photos = self.photos
        return together([photos[image] for image in images], budget)

    def __getstate__(self) -> dict:
        """A photo's features leave for another process without those of all others."""
        rows = self.rows
        few = rows.untyped_storage().nbytes() > rows.nbytes
        return vars(self) | {"rows": rows.clone() if few else rows}

    def pick(self, labels: Sequence | None) -> list | None:
        """Of labels for all images of the source, those of the images that could be read."""
        if labels is None:
            return None
        return [labels[position] for position in self.positions]

    def split(self, count: int) -> Iterable["PatchFeatures"]:
        """Parts of `count` frames, without a copy."""
        for first in range(0, len(self), count):
            rows = self.rows[first * self.patches:(first + count) * self.patches]
            yield PatchFeatures(rows, self.grid, self.size, self.placements[first:first + count],
                                self.indices[first:first + count], levels=self.levels,
                                region=self.region, reference=self.reference)


def together(photos: Sequence[PatchFeatures], budget: int) -> PatchFeatures:
    """A copy of the features of several photos as one table, numbered from 0 in this order.

    It lies in memory within `budget` bytes, else in a float16 file. Raises `InputError` for photos
    that were described in different ways.
    """
    first = photos[0]
    for one in photos:
        if one is not first and one.way != first.way:
            raise InputError("features of photos that were described in different ways; extract "
                             "all of them at once, by one model")
    budget = budget if first.rows.dtype == torch.float32 else 0  # half stays half
    rows = feature_store(sum(len(one.rows) for one in photos), first.rows.shape[1], budget,
                         first.rows.device)
    placements: list[Placement] = []
    indices: list[int] = []
    for place, one in enumerate(photos):
        rows[len(indices) * first.patches:][:len(one.rows)] = one.rows
        placements += one.placements
        indices += [place * first.views + view for view in one.indices]
    return replace(first, rows=rows, placements=placements, indices=indices)


def features_in(sources: Sequence, budget: int | str | None) -> PatchFeatures | None:
    """The one table of what are features of photos, see `PatchFeatures.photos`; None of pictures.

    Raises `InputError` if they are mixed.
    """
    known = [isinstance(one, PatchFeatures) for one in sources]
    if not any(known):
        return None
    if not all(known):
        raise InputError("features and pictures are mixed; give either")
    return together([photo for one in sources for photo in one.photos], memory_budget(budget))


@takes(strict=FLAG, progress=maybe(CALLED))
def describe_images(sources: Sequence, transform: ImageTransform,
                    describe: Callable[..., Tensor], *, batch_size: int, strict: bool,
                    what: str, levels: Levels | None = None,
                    progress: Progress | None = None) -> Iterator[PatchFeatures]:
    """Patch features batch by batch, while the next images are being read.

    Args:
        describe: pixels `(b, h, w, 3)` uint8 -> patch features `(b, d, gh, gw)`; after the pixels
            come those that are looked at, `(b, h, w)` bool, if not all are.
        what: that is going on, for `progress`.
        levels: of the model; images that they do not fit are warned of, once for all.
    """
    done, describe, levels = 0, InHalves(describe), levels or {}
    notes: list[tuple[int, str]] = []
    for batch in load_batches(sources, transform, batch_size=batch_size, strict=strict,
                              levels=levels):
        part = PatchFeatures(torch.empty(0), (0, 0), (0, 0), [], [], batch.skipped)
        if batch.indices:
            inside = transform.inside(batch.placements)
            found = describe(batch.pixels, *([] if inside is None else [inside]))  # (b, d, gh, gw)
            rows = found.permute(0, 2, 3, 1).flatten(0, 2)  # as `features.as_rows`
            part = PatchFeatures(rows, (found.shape[2], found.shape[3]), batch.size,
                                 batch.placements, batch.indices, batch.skipped,
                                 levels=levels, notes=batch.notes, region=transform.region,
                                 reference=transform.reference)
        notes += batch.notes
        yield part
        done = max(done, *(i + 1 for i in [*batch.indices, *(i for i, _ in batch.skipped)]))
        if progress:
            progress(what, done, len(sources))
    if notes:
        also = f" (and {len(notes) - 1} more such images)" if len(notes) > 1 else ""
        warnings.warn(notes[0][1] + also, InputWarning, stacklevel=2)


class InHalves:
    """Describes a batch, in halves or less of it once the GPU has no room for the whole.

    Raises `InputError` if there is none for a single image.
    """

    def __init__(self, describe: Callable[..., Tensor]):
        self.describe, self.most = describe, 0  # images at a time; 0 is all

    def __call__(self, *frames: Tensor) -> Tensor:
        pixels = frames[0]
        while True:
            size = min(self.most or len(pixels), len(pixels))
            try:
                found = [self.describe(*part)
                         for part in zip(*(one.split(size) for one in frames), strict=True)]
                return found[0] if len(found) == 1 else torch.cat(found)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if size == 1:
                    raise InputError(
                        f"the GPU has no room for one image of {pixels.shape[1]} x "
                        f"{pixels.shape[2]} pixels; take a smaller resize or backbone, or device "
                        "cpu") from error
            # Not above, where the error still holds what had been computed.
            self.most = size // 2
            warnings.warn(f"the GPU has no room for {size} images at a time: going on with "
                          f"{self.most} (batch_size={self.most} saves the trial)", stacklevel=2)


def _out_of_memory(error: RuntimeError) -> bool:
    # The class is that of CUDA and XPU; MPS only says so.
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


def gather(parts: Iterable[PatchFeatures], count: int, budget: int, views: int = 1,
           ) -> PatchFeatures:
    """Join the parts of `count` frames in one table, which is never held twice.

    It lies in memory within `budget` bytes, else in a float16 file, see `memory.feature_store`.
    Raises `InputError` if no image could be read.
    """
    whole, filled = None, 0
    skipped: list[tuple[int, str]] = []
    for part in parts:
        skipped += part.skipped
        if len(part):
            if whole is None:
                rows = feature_store(count * part.patches, part.rows.shape[1], budget,
                                     part.rows.device)
                whole = PatchFeatures(rows, part.grid, part.size, [], [], views=views)
            whole.rows[filled:filled + len(part.rows)] = part.rows
            filled += len(part.rows)
            whole.levels, whole.region, whole.reference = part.levels, part.region, part.reference
            whole.notes += part.notes
            whole.placements += part.placements
            whole.indices += part.indices
    if whole is None:
        raise InputError(f"no image to learn from: {none_of(skipped)}")
    whole.rows = whole.rows[:filled]
    # Readers and skippers count views; of an unreadable image all are.
    whole.skipped = [(i // views, why) for i, why in skipped if i % views == 0]
    return whole
