"""Many images at once: batches of tensors, read ahead of whoever computes, faults included.

Pixels stay the bytes they are until they lie where they are computed with: a quarter of what a copy
to a GPU would carry, and normalising is nothing there (`ImageTransform.normalize`).
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.images import ImageTransform, Placement, as_rgb, readers
from ..errors import InputError

BATCHES_AHEAD = 2

# Position, pixels (h, w, 3) and where they lie in the photo; or position, what is wrong, and None.
Sample = tuple[int, np.ndarray, Placement] | tuple[int, str, None]


def load_batches(sources: Sequence, transform: ImageTransform, *, batch_size: int,
                 strict: bool) -> Iterator["Batch"]:
    """Read, transform and batch `sources` in order; see `images.as_rgb` for what a source may be.

    The next batches are read while the caller works on this one: in threads, as decoding and
    resizing let go of Python's lock, and threads need no copies and no start-up. An unreadable
    image raises its `InputError` if `strict`, and else is listed in its batch.
    """
    reader = ImageReader(sources, transform, strict)
    threads = readers()
    pool = ThreadPoolExecutor(threads)
    most = max(BATCHES_AHEAD, math.ceil(2 * threads / batch_size))  # or small ones leave some idle
    ahead: deque[list[Future[Sample]]] = deque()
    try:
        for start in range(0, len(sources), batch_size):
            stop = min(start + batch_size, len(sources))
            ahead.append([pool.submit(reader.read, i) for i in range(start, stop)])
            if len(ahead) > most:
                yield collate([sample.result() for sample in ahead.popleft()])
        while ahead:
            yield collate([sample.result() for sample in ahead.popleft()])
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)


@dataclass
class Batch:
    pixels: Tensor  # (b, h, w, 3) uint8
    indices: list[int]
    placements: list[Placement]
    skipped: list[tuple[int, str]]

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[2]


class ImageReader:
    """Reads and transforms one image; an unreadable one becomes its error message."""

    def __init__(self, sources: Sequence, transform: ImageTransform, strict: bool):
        self.sources, self.transform, self.strict = sources, transform, strict

    def read(self, index: int) -> Sample:
        try:
            image = as_rgb(self.sources[index])
        except InputError as error:
            if self.strict:
                raise
            return index, str(error), None
        placement = self.transform.placement((image.height, image.width))
        return index, self.transform.pixels(image), placement


def collate(samples: list[Sample]) -> Batch:
    read = [sample for sample in samples if sample[2] is not None]
    skipped = [sample[:2] for sample in samples if sample[2] is None]
    pixels = (torch.from_numpy(np.stack([pixels for _, pixels, _ in read])) if read else
              torch.empty(0))
    return Batch(pixels, [index for index, _, _ in read], [placement for _, _, placement in read],
                 skipped)


def to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels where they are computed with. From pinned memory a GPU fetches them by itself, while
    it computes and the caller goes on."""
    if pixels.device.type == "cpu" and device.type in ("cuda", "xpu"):
        pinned = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True).copy_(pixels)
        return pinned.to(device, non_blocking=True)
    return pixels.to(device)
