"""Layers brought to one scale, so that none of them drowns the others."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .machine import in_double
from .tables import CHUNK_ROWS
from .upsampling import touching


def layer_scales(features: Tensor, channels: Sequence[int],
                 left_out: Tensor | None = None) -> Tensor:
    """`(d,)` factors that let every layer contribute equally to squared distances, on average.

    Without them the layer with more or larger channels drowns the other: in EfficientNet-Lite0,
    40 channels against 112. Scaled, the total variance of the `(n, d)` features is d, of which
    each of the layers, `channels` wide (or a multiple of it, if unfolded), has an equal share.
    Rows `left_out`, `(n,)` bool, do not count.
    """
    channels = [width * features.shape[1] // sum(channels) for width in channels]
    # In parts and in double precision: features may be half precision numbers in a large file.
    count = len(features) if left_out is None else int((~left_out).sum())

    def parts() -> Iterator[Tensor]:
        for first in range(0, len(features), CHUNK_ROWS):
            part = features[first:first + CHUNK_ROWS]
            yield in_double(part if left_out is None
                            else part[~left_out[first:first + CHUNK_ROWS].to(part.device)])

    mean = sum((part.sum(0) for part in parts()), torch.zeros(())) / count
    squares = sum(((part - mean).square().sum(0) for part in parts()), torch.zeros(()))
    variance = (squares / max(count - 1, 1)).float().to(features.device)
    total = torch.stack([part.sum() for part in variance.split(channels)])
    share = features.shape[1] / len(channels)
    return (share / total.clamp_min(1e-12)).sqrt().repeat_interleave(
        torch.tensor(channels, device=features.device))


def scale_rows(rows: Tensor, scale: Tensor) -> None:
    """In place, in parts: the rows may lie in a file."""
    for part in rows.split(CHUNK_ROWS):
        part *= scale.to(part.device)


def variances(maps: Tensor, inside: Tensor | None = None) -> Tensor:
    """`(b, c, 1, 1)`: of maps `(b, c, h, w)`, over all places, or over those that have any of the
    pixels `inside`, `(b, ph, pw)` bool."""
    if inside is None:
        return maps.var((2, 3), correction=0, keepdim=True)
    places = touching(inside, (maps.shape[2], maps.shape[3]))[:, None]
    share = places.to(maps) / places.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (maps * share).sum((2, 3), keepdim=True)
    return ((maps - mean).square() * share).sum((2, 3), keepdim=True)
