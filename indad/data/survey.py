"""The levels that all photos to learn from have in common, see levels.py."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from .arrays import pixels_in
from .images import opened, readers
from .levels import Levels, decide, extremes, kind_of
from .pixels import deep_numbers, is_deep
from .sources import LazyItem

Seen = tuple[str, float, float]  # kind, lowest, highest


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
        return decide(seen for seen in pool.map(look, sources) if seen)


def look(source: object) -> Seen | None:
    """What one photo holds, if that is more than 8 bits."""
    source = getattr(source, "path", source)
    try:
        if isinstance(source, LazyItem):
            return look(source.picture())
        if isinstance(source, (str, Path)):
            with opened(source) as image:
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
    return kind_of(numbers), *found
