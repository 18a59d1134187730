"""From feature maps to patch features: what PatchCore remembers about each place in a picture.

Recipes are functions `(maps) -> (b, d, h, w)` on the grid of the first map: `weighted`, `unfolded`
and `single` (ours), and published ones: `concatenate` (anomalib, and the plain reading of the
paper), `adaptive` (amazon's reference implementation), `unpadded` (ind_knn_ad) and `tokens`
(AnomalyDINO). All but the last are linear, so pooling and resizing commute, and only `unfolded` has
to build the nine-fold tensor that the reference implementation builds.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

ADAPTIVE_DIM = 1024
CHUNK_ROWS = 8192


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Average 3x3 neighbourhoods, resize deeper maps to the first one's grid, concatenate.

    Maps `(b, c_i, h_i, w_i)` -> `(b, sum of c_i, h_0, w_0)`. Zero padding counts in the mean, as
    in `AvgPool2d(3, 1, 1)` of anomalib's `torch_model.py`.
    """
    return torch.cat(_to_first_grid([F.avg_pool2d(m, 3, stride=1, padding=1) for m in maps]), 1)


def weighted(maps: Sequence[Tensor]) -> Tensor:
    """Like `concatenate`, but in the 3x3 neighbourhood the centre counts 4, sides 2, corners 1.

    Shapes as there. The plain average spreads a small defect over nine patches; with binomial
    weights it stays sharper, at the same context.
    """
    side = torch.tensor([1.0, 2.0, 1.0]) / 4
    pooled = [F.conv2d(m, (side[:, None] * side).to(m).expand(m.shape[1], 1, 3, 3), padding=1,
                       groups=m.shape[1]) for m in maps]
    return torch.cat(_to_first_grid(pooled), 1)


def unfolded(maps: Sequence[Tensor]) -> Tensor:
    """Keep the 3x3 neighbourhood as it lies: nine times the numbers, no average.

    Maps `(b, c_i, h_i, w_i)` -> `(b, 9 * sum of c_i, h_0, w_0)`, zero beyond the edge. Tells
    apart what an average cannot, an edge left from an edge right, at nine times the cost.
    """
    return torch.cat(_to_first_grid([F.unfold(m, 3, padding=1).unflatten(2, m.shape[-2:])
                                     for m in maps]), 1)


def layer_scales(features: Tensor, channels: Sequence[int]) -> Tensor:
    """`(d,)` factors that let every layer contribute equally to squared distances, on average.

    Without them the layer with more or larger channels drowns the other: in EfficientNet-Lite0,
    40 channels against 112. Scaled, the total variance of the `(n, d)` features is d, of which
    each of the layers, `channels` wide (or a multiple of it, if unfolded), has an equal share.
    """
    channels = [width * features.shape[1] // sum(channels) for width in channels]
    # In parts and in double precision: features may be half precision numbers in a large file.
    count = len(features)
    mean = sum(part.double().sum(0) for part in features.split(CHUNK_ROWS)) / count
    squares = sum((part - mean).square().sum(0) for part in features.split(CHUNK_ROWS))
    variance = (squares / max(count - 1, 1)).float()
    total = torch.stack([part.sum() for part in variance.split(channels)])
    share = features.shape[1] / len(channels)
    return (share / total.clamp_min(1e-12)).sqrt().repeat_interleave(
        torch.tensor(channels, device=features.device))


def unpadded(maps: Sequence[Tensor]) -> Tensor:
    """Average 3x3 neighbourhoods without padding and stretch the result back, as ind_knn_ad does.

    The grid shrinks by two (28 -> 26, 14 -> 12) and is pooled back to the first map's size, so
    patches drift against pixels toward the border: kept to reproduce numbers, not to recommend.
    """
    grid = maps[0].shape[-2:]
    return torch.cat([F.adaptive_avg_pool2d(F.avg_pool2d(m, 3, stride=1), grid) for m in maps], 1)


def adaptive(maps: Sequence[Tensor]) -> Tensor:
    """Pool each unfolded 3x3 patch to 1024 numbers and the layers together to 1024 again.

    Maps `(b, c_i, h_i, w_i)` -> `(b, 1024, h_0, w_0)`. Equals `PatchMaker`, `MeanMapper` and
    `Aggregator` of amazon-science/patchcore-inspection to float rounding: adaptive pooling over
    a flattened patch is a fixed linear map, that is, a 3x3 convolution.
    """
    pooled = torch.cat(_to_first_grid([_adaptive_layer(m) for m in maps]), 1)
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


def _to_first_grid(maps: Sequence[Tensor]) -> list[Tensor]:
    grid = maps[0].shape[-2:]
    return [m if m.shape[-2:] == grid else F.interpolate(m, grid, mode="bilinear") for m in maps]


def single(maps: Sequence[Tensor]) -> Tensor:
    """Each place by itself, no neighbourhood: what one would do without the paper.

    Maps `(b, c_i, h_i, w_i)` -> `(b, sum of c_i, h_0, w_0)`.
    """
    return torch.cat(_to_first_grid(maps), 1)


def tokens(maps: Sequence[Tensor]) -> Tensor:
    """Each place by itself and scaled to length 1, as AnomalyDINO compares a transformer's tokens.

    Maps `(b, c_i, h_i, w_i)` -> `(b, sum of c_i, h_0, w_0)`, each layer of length 1. Squared
    distances are then twice one minus the cosine.
    """
    return torch.cat([F.normalize(m, dim=1) for m in _to_first_grid(maps)], 1)


def as_rows(features: Tensor) -> Tensor:
    """`(b, d, h, w)` -> `(b * h * w, d)`: one row a patch, image by image, row by row."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


RECIPES: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "weighted": weighted,
    "concatenate": concatenate,
    "unfolded": unfolded,
    "adaptive": adaptive,
    "unpadded": unpadded,
    "single": single,
    "tokens": tokens,
}
