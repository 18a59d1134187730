"""Arrays and tensors as pictures: what cannot be pixels is refused, rather than clipped to white.

An array does not say what it holds. Photos that somebody normalised for a network, or floats that
count to 255, would be read without any error as all white.
"""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from .levels import SLACK, kind_of, outside
from .pixels import eight_bits, rgb_of

LEAST = 8  # pixels a side: an array of fewer is rather one whose axes stand otherwise
CHANNELS = (1, 3, 4)


def to_rgb_array(source: np.ndarray | torch.Tensor, levels: Mapping | None,
                 notes: list[str] | None) -> Image.Image:
    """An RGB picture of an array `(h, w)` or `(h, w, c)`, or a tensor `(h, w)` or `(c, h, w)`, with
    c of 1, 3 or 4.

    Floats are from 0 to 1, uint8 to 255; other integers are read by `levels`, see levels.py, and
    without them to 65535, or 255 if they are no uint16 and go no higher. Raises `InputError` for
    other shapes, types and values, and says which layout was taken.
    """
    values = pixels_in(source)
    if values.dtype.kind in "fb":
        values = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    elif values.dtype != np.uint8:
        if levels is not None and notes is not None and (note := outside(values, levels)):
            notes.append(note)
        small = values.dtype != np.uint16 and values.max() <= 255
        values = eight_bits(values, levels or ({"integers": (0, 255)} if small else {}))
    return rgb_of(None, Image.fromarray(values), {})


def pixels_in(source: np.ndarray | torch.Tensor) -> np.ndarray:
    """`(h, w)` or `(h, w, c)`, checked; raises what `to_rgb_array` raises."""
    first = isinstance(source, torch.Tensor)
    shape, axes = tuple(source.shape), "c, h, w" if first else "h, w, c"
    taken = f"an array of shape {shape}, taken as ({axes if len(shape) == 3 else 'h, w'})"
    given = (f"cannot read an image from {type(source).__name__} of shape {shape}; give an "
             "(h, w, 3) array or a (3, h, w) tensor")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0 if first else 2] not in CHANNELS):
        raise InputError(given)
    height, width = shape[-2:] if first else shape[:2]
    if min(height, width) < LEAST:
        raise InputError(f"{taken}, is {height} pixels high and {width} wide; a photo has "
                         f"{LEAST} or more each way, so put its axes in order")
    values = _as_numpy(source)
    if len(shape) == 3:
        values = values.transpose(1, 2, 0) if first else values
        values = values[..., 0] if values.shape[2] == 1 else values
    if values.dtype.kind not in "biuf":
        raise InputError(f"{taken}, holds {values.dtype}; pixels are integers, or floats from 0 to "
                         "1")
    if kind_of(values) == "floats":
        low, high = float(values.min()), float(values.max())  # nan if there is any
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise InputError(f"{taken}, holds {values.dtype} from {low:.4g} to {high:.4g}; floats "
                             "are pixels from 0 to 1: undo a normalisation, divide 255 out, or "
                             "give uint8")
    return values


def _as_numpy(source: np.ndarray | torch.Tensor) -> np.ndarray:
    if not isinstance(source, torch.Tensor):
        if np.ma.is_masked(source):
            raise InputError("cannot read an image from a masked array, some of whose pixels have "
                             "no value; give array.filled(VALUE)")
        return np.asarray(source)
    try:
        source = source.detach().cpu()
        return (source.float() if source.dtype == torch.bfloat16 else source).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"cannot read an image from a tensor of {source.dtype}, {source.layout}, "
                         f"on {source.device}; give a dense one of numbers") from error
