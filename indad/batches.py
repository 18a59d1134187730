"""Many images at once: from whatever holds pictures to batches of tensors, faults included."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .images import Frame, ImageTransform, as_rgb, digest_of

READERS, BATCHES_AHEAD = 4, 2


def load_batches(sources: list, transform: ImageTransform, *, batch_size: int,
                 strict: bool) -> Iterator["Batch"]:
    """Read, transform and batch `sources` in order; see `images.as_rgb` for what a source may be.

    The next batches are read while the caller works on this one: in threads, as decoding and
    resizing let go of Python's lock, and threads need no copies and no start-up. An unreadable
    image raises its `InputError` if `strict`, and else is listed in its batch.
    """
    reader = ImageReader(sources, transform, strict)
    pool = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1))
    ahead = deque()
    try:
        for start in range(0, len(sources), batch_size):
            stop = min(start + batch_size, len(sources))
            ahead.append([pool.submit(reader.read, i) for i in range(start, stop)])
            if len(ahead) > BATCHES_AHEAD:
                yield collate([sample.result() for sample in ahead.popleft()])
        while ahead:
            yield collate([sample.result() for sample in ahead.popleft()])
    finally:  # also when the caller stops early
        pool.shutdown(cancel_futures=True)


@dataclass
class Batch:
    pixels: Tensor  # (b, 3, h, w)
    indices: list[int]
    frames: list[Frame]
    skipped: list[tuple[int, str]]

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.pixels.shape[-2:])


class ImageReader:
    """Reads and transforms one image; an unreadable one becomes its error message."""

    def __init__(self, sources: list, transform: ImageTransform, strict: bool):
        self.sources, self.transform, self.strict = sources, transform, strict

    def read(self, index: int) -> tuple[int, Tensor | str, Frame | None]:
        try:
            image = as_rgb(self.sources[index])
        except InputError as error:
            if self.strict:
                raise
            return index, str(error), None
        return index, self.transform(image), self.transform.frame((image.height, image.width))


def collate(samples: list[tuple[int, Tensor | str, Frame | None]]) -> Batch:
    read = [sample for sample in samples if sample[2] is not None]
    skipped = [(index, reason) for index, reason, frame in samples if frame is None]
    pixels = torch.stack([pixels for _, pixels, _ in read]) if read else torch.empty(0)
    return Batch(pixels, [index for index, _, _ in read], [frame for *_, frame in read], skipped)


def fingerprint_of(sources: list, skipped: list[tuple[int, str]], before: str = "") -> str:
    """SHA-256 over the images that could be read, in their order, after that of those before."""
    unread = {index for index, _ in skipped}
    digests = [digest_of(source) for i, source in enumerate(sources) if i not in unread]
    return hashlib.sha256(before.encode() + b"".join(digests)).hexdigest()


def as_list(images: object) -> list:
    """One image or many -> a list of them."""
    many = isinstance(images, Sequence) and not isinstance(images, str)
    if many or (isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4):
        return list(images)
    return [images]
