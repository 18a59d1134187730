"""Layers brought to one scale, so that none of them drowns the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .machine import in_double
from .tables import CHUNK_ROWS


def layer_scales(features: Tensor, channels: Sequence[int]) -> Tensor:
    """`(d,)` factors that let every layer contribute equally to squared distances, on average.

    Without them the layer with more or larger channels drowns the other: in EfficientNet-Lite0,
    40 channels against 112. Scaled, the total variance of the `(n, d)` features is d, of which
    each of the layers, `channels` wide (or a multiple of it, if unfolded), has an equal share.
    """
    channels = [width * features.shape[1] // sum(channels) for width in channels]
    # In parts and in double precision: features may be half precision numbers in a large file.
    count = len(features)
    parts = features.split(CHUNK_ROWS)
    mean = sum((in_double(part).sum(0) for part in parts), torch.zeros(())) / count
    squares = sum(((in_double(part) - mean).square().sum(0) for part in parts), torch.zeros(()))
    variance = (squares / max(count - 1, 1)).float().to(features.device)
    total = torch.stack([part.sum() for part in variance.split(channels)])
    share = features.shape[1] / len(channels)
    return (share / total.clamp_min(1e-12)).sqrt().repeat_interleave(
        torch.tensor(channels, device=features.device))


def scale_rows(rows: Tensor, scale: Tensor) -> None:
    """In place, in parts: the rows may lie in a file."""
    for part in rows.split(CHUNK_ROWS):
        part *= scale.to(part.device)
