"""Many images at once: batches of tensors, read ahead of whoever computes, faults included.

Pixels stay the bytes they are until they lie where they are computed with: a quarter of what a copy
to a GPU would carry, and normalising is nothing there (`ImageTransform.normalize`).
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.augmentation import View
from ..data.images import ImageTransform, Placement, as_rgb, path_of, readers
from ..errors import InputError

BATCHES_AHEAD = 2

# Position, pixels (h, w, 3), where they lie in the photo, and what is to be said of it; or
# position, what is wrong, None, and nothing.
Sample = tuple[int, np.ndarray, Placement, list[str]] | tuple[int, str, None, list[str]]


def load_batches(sources: Sequence, transform: ImageTransform, *, batch_size: int,
                 strict: bool, levels: Mapping | None = None) -> Iterator["Batch"]:
    """Read, transform and batch `sources` in order; see `images.as_rgb` for what a source may be.

    The next batches are read while the caller works on this one: in threads, as decoding and
    resizing let go of Python's lock, and threads need no copies and no start-up. An unreadable
    image raises its `InputError` if `strict`, and else is listed in its batch. `levels` are those
    of the model, see data/levels.py; a photo that they do not fit is noted in its batch.
    """
    reader = ImageReader(sources, transform, strict, levels)
    threads = readers()
    pool = ThreadPoolExecutor(threads)
    most = max(BATCHES_AHEAD, math.ceil(2 * threads / batch_size))  # or small ones leave some idle
    ahead: deque[list[Future[Sample]]] = deque()
    try:
        if transform.tiles:
            yield from _tiles(reader, pool, threads, batch_size)
            return
        for start in range(0, len(sources), batch_size):
            stop = min(start + batch_size, len(sources))
            ahead.append([pool.submit(reader.read, i) for i in range(start, stop)])
            if len(ahead) > most:
                yield collate([sample.result() for sample in ahead.popleft()])
        while ahead:
            yield collate([sample.result() for sample in ahead.popleft()])
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)


def _tiles(reader: "ImageReader", pool: ThreadPoolExecutor, threads: int,
           batch_size: int) -> Iterator["Batch"]:
    """Batches of the tiles of one photo after the other. Of large photos only the next one is read
    ahead, so that memory does not grow with them."""
    waiting, ahead, tiles = deque(range(len(reader.sources))), deque[Future[Sample]](), math.inf
    while waiting or ahead:
        while waiting and (not ahead or len(ahead) <= min(threads, 2 * batch_size / tiles)):
            ahead.append(pool.submit(reader.read, waiting.popleft()))
        photo = ahead.popleft().result()
        if photo[2] is None:
            yield collate([photo])
            continue
        index, pixels, whole, notes = photo
        frames = reader.transform.frames(whole.original, whole.pose)
        tiles = len(frames)
        for first in range(0, tiles, batch_size):
            yield collate([(index, pixels[frame.top:, frame.left:][:frame.size[0], :frame.size[1]],
                            frame, [] if first or number else notes)
                           for number, frame in enumerate(frames[first:first + batch_size])])


@dataclass
class Batch:
    """Frames of images, in order: one of each, or the tiles of one.

    Attributes:
        pixels: `(b, h, w, 3)` uint8.
        indices: positions of the images that they are of, b of them.
        placements: where each lies in its photo.
        skipped: (position, reason) of images that could not be read.
        notes: (position, what is to be said) of images that were read.
    """

    pixels: Tensor
    indices: list[int]
    placements: list[Placement]
    skipped: list[tuple[int, str]]
    notes: list[tuple[int, str]] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]


class ImageReader:
    """Reads and transforms one image; an unreadable one becomes its error message."""

    def __init__(self, sources: Sequence, transform: ImageTransform, strict: bool,
                 levels: Mapping | None = None):
        self.sources, self.transform, self.strict = sources, transform, strict
        self.levels = levels

    def read(self, index: int) -> Sample:
        notes: list[str] = []
        name = path_of(self.sources[index]) or f"image {index}"
        try:
            image, placement = self._placed(self.sources[index], notes)
            self.transform.check(placement.original, name)
        except InputError as error:
            if self.strict:
                raise
            return index, str(error), None, []
        return index, self.transform.cut(image, placement), placement, [f"{name}: {n}"
                                                                        for n in notes]

    def _placed(self, source: object, notes: list[str]) -> tuple[Image.Image, Placement]:
        """A picture, aligned, and where it lies; a view is made of the aligned picture."""
        if isinstance(source, View):
            image, placement = self._placed(source.source, notes if source.number == 0 else [])
            image = source.of(image)
            there = self.transform.placement((image.height, image.width))
            return image, replace(there, pose=placement.pose)
        image = as_rgb(source, self.levels, notes)
        placement = self.transform.placed(image)
        if placement.pose and not placement.moved:
            notes.append(f"its pose is uncertain (confidence {placement.pose.confidence:.2f}), so "
                         "it is judged as it lies")
        return self.transform.aligned(image, placement), placement


def collate(samples: list[Sample]) -> Batch:
    read = [sample for sample in samples if sample[2] is not None]
    skipped = [sample[:2] for sample in samples if sample[2] is None]
    pixels = (torch.from_numpy(np.stack([pixels for _, pixels, _, _ in read])) if read else
              torch.empty(0))
    return Batch(pixels, [index for index, *_ in read], [placement for _, _, placement, _ in read],
                 skipped, [(index, note) for index, _, _, notes in read for note in notes])


def to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels where they are computed with. From pinned memory a GPU fetches them by itself, while
    it computes and the caller goes on."""
    if pixels.device.type == "cpu" and device.type in ("cuda", "xpu"):
        pinned = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True).copy_(pixels)
        return pinned.to(device, non_blocking=True)
    return pixels.to(device)
