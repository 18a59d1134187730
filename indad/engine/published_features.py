"""Patch features as other projects take them, to reproduce their numbers; see features.py for ours.

`adaptive` (amazon's reference implementation), `unpadded` (ind_knn_ad) and `tokens` (AnomalyDINO).
The first is a nine-fold tensor there; being linear, it is one convolution here.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

ADAPTIVE_DIM = 1024


def adaptive(maps: Sequence[Tensor]) -> Tensor:
    """Pool each unfolded 3x3 patch to 1024 numbers and the layers together to 1024 again.

    Maps `(b, c_i, h_i, w_i)` -> `(b, 1024, h_0, w_0)`. Equals `PatchMaker`, `MeanMapper` and
    `Aggregator` of amazon-science/patchcore-inspection to float rounding: adaptive pooling over
    a flattened patch is a fixed linear map, that is, a 3x3 convolution.
    """
    pooled = torch.cat(to_first_grid([_adaptive_layer(m) for m in maps]), 1)
    if len(maps) == 1:
        return pooled
    if len(maps) == 2:  # 2048 -> 1024: means of neighbouring pairs
        return F.avg_pool2d(pooled.flatten(2).transpose(1, 2), (1, 2)).transpose(1, 2).unflatten(
            2, pooled.shape[-2:])
    flat = F.adaptive_avg_pool1d(pooled.flatten(2).transpose(1, 2), ADAPTIVE_DIM)
    return flat.transpose(1, 2).unflatten(2, pooled.shape[-2:])


def _adaptive_layer(feature_map: Tensor) -> Tensor:
    """`(b, c, h, w)` -> `(b, 1024, h, w)`: adaptive pooling of the 9c numbers of each patch."""
    channels = feature_map.shape[1]
    if channels == ADAPTIVE_DIM:
        # Each bin holds the 9 numbers of one channel: a plain average.
        return F.avg_pool2d(feature_map, 3, stride=1, padding=1)
    kernel = _adaptive_kernel(channels).to(feature_map)
    if 2 * channels == ADAPTIVE_DIM:
        # Two bins per channel, 5 numbers each, sharing the centre: a depthwise convolution.
        depthwise = torch.stack([kernel[i, i // 2] for i in range(ADAPTIVE_DIM)])
        return F.conv2d(feature_map, depthwise[:, None], padding=1, groups=channels)
    return F.conv2d(feature_map, kernel, padding=1)


@lru_cache(maxsize=16)
def _adaptive_kernel(channels: int) -> Tensor:
    """The convolution kernel `(1024, c, 3, 3)` that adaptive pooling of a patch amounts to."""
    one_hot = torch.eye(9 * channels)  # row i: a patch that is 1 in its i-th number
    columns = F.adaptive_avg_pool1d(one_hot[:, None], ADAPTIVE_DIM)[:, 0]  # (9c, 1024)
    return columns.T.reshape(ADAPTIVE_DIM, channels, 3, 3).contiguous()


def unpadded(maps: Sequence[Tensor]) -> Tensor:
    """Average 3x3 neighbourhoods without padding and stretch the result back, as ind_knn_ad does.

    The grid shrinks by two (28 -> 26, 14 -> 12) and is pooled back to the first map's size, so
    patches drift against pixels toward the border: kept to reproduce numbers, not to recommend.
    Raises `InputError` for maps with less than three places across.
    """
    height, width = maps[0].shape[-2:]
    if min(fewest := min((tuple(m.shape[-2:]) for m in maps), key=min)) < 3:
        raise InputError(f"patch_features is 'unpadded', but a map is only {fewest[0]} x "
                         f"{fewest[1]} places; choose a larger resize, or other patch_features")
    return torch.cat([F.adaptive_avg_pool2d(F.avg_pool2d(m, 3, stride=1), (height, width))
                      for m in maps], 1)


def tokens(maps: Sequence[Tensor]) -> Tensor:
    """Each place by itself and scaled to length 1, as AnomalyDINO compares a transformer's tokens.

    Maps `(b, c_i, h_i, w_i)` -> `(b, sum of c_i, h_0, w_0)`, each layer of length 1. Squared
    distances are then twice one minus the cosine.
    """
    return torch.cat([F.normalize(m, dim=1) for m in to_first_grid(maps)], 1)


def to_first_grid(maps: Sequence[Tensor]) -> list[Tensor]:
    grid = maps[0].shape[-2:]
    return [m if m.shape[-2:] == grid else F.interpolate(m, grid, mode="bilinear") for m in maps]
