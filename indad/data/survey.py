"""The levels that all photos to learn from have in common, see levels.py."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import InputError, InputWarning
from .arrays import pixels_in
from .images import ImageTransform, as_rgb, image_size, path_of, readers, to_decode
from .levels import Levels, colours, decide, extremes, in_words, kind_of
from .pixels import deep_numbers, is_deep
from .sources import LazyItem

Seen = tuple[str, float, float, float]  # kind, lowest, highest, and what 999 of 1,000 are below
FEW = 5  # times more than nearly all pixels need is a range that leaves them few grey levels


def levels_of(sources: Sequence) -> Levels:
    """Levels for whatever `images.as_rgb` reads; empty if no photo has more than 8 bits.

    Of a file of 8 bits only the header is read. Unreadable ones have no say: they are told of where
    they are read. The items of a dataset are asked for only if its first one is deep, as all are of
    one type and may take long.
    """
    lazy = [source for source in sources if isinstance(source, LazyItem)]
    if lazy and look(lazy[0]) is None:
        sources = [source for source in sources if not isinstance(source, LazyItem)]
    with ThreadPoolExecutor(readers()) as pool:
        seen = [one for one in pool.map(look, sources) if one]
    levels = decide((kind, low, high) for kind, low, high, _ in seen)
    usual = decide((kind, low, bulk) for kind, low, _, bulk in seen)
    for kind, (black, white) in levels.items():
        if white > FEW * usual[kind][1]:
            warnings.warn(f"{in_words({kind: (black, white)})}, for the sake of few pixels: 999 of "
                          f"1,000 are within {usual[kind][1]:.6g}, and are left with few grey "
                          "levels; if the others mean nothing, clip them", InputWarning,
                          stacklevel=2)
    return levels


def count_frames(sources: Sequence, transform: ImageTransform) -> int:
    """How many frames of a network these images are; of a file only the header is read."""
    if not transform.tiles:
        return len(sources)
    with ThreadPoolExecutor(readers()) as pool:
        return sum(pool.map(partial(_frames_in, transform=transform), sources))


def _frames_in(source: object, transform: ImageTransform) -> int:
    try:
        path = path_of(source)
        size = image_size(path) if path else as_rgb(source).size[::-1]
        transform.check(size, "")
        return len(transform.frames(size))
    except InputError:  # told of where it is read
        return 0


def look(source: object) -> Seen | None:
    """What one photo holds, if that is more than 8 bits."""
    source = getattr(source, "path", source)
    try:
        if isinstance(source, LazyItem):
            return look(source.picture())
        if isinstance(source, (str, Path)):
            with to_decode(source) as image:
                return look(image)
        if isinstance(source, Image.Image):
            return _told(deep_numbers(source)[0]) if is_deep(source) else None
        if isinstance(source, (np.ndarray, torch.Tensor)):
            values = pixels_in(source)
            return _told(values) if values.dtype.kind in "iu" and values.dtype != "u1" else None
    except InputError:
        pass
    return None


def _told(numbers: np.ndarray | None) -> Seen | None:
    if numbers is None or (found := extremes(numbers)) is None:
        return None
    few = colours(numbers)[::4, ::4]  # enough to know where most pixels are
    return kind_of(numbers), *found, float(np.nanquantile(few, 0.999, method="lower"))
