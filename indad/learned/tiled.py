"""From patch distances to one score and one map of a photo that was cut into tiles.

The worst tile decides. What a photo's tiles say is kept as patch scores, until somebody asks for
its map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.images import Placement
from ..data.region import Region
from ..data.tiles import blend_weights
from ..engine.precision import in_float32
from ..engine.search import Index
from ..scores import anomaly_maps, score_patches


def score_tiles(rows: Tensor, index: Index, grid: tuple[int, int], size: tuple[int, int],
                options: Mapping[str, Any],
                inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As `scores.score_images`, of n tiles: scores `(n,)` and patch scores `(n, gh, gw)`."""
    scores, _, patches = score_patches(rows, index, grid, size, options, inside)
    return scores, patches


@in_float32
def merged_map(patches: Tensor, tiles: Sequence[Placement], options: Mapping[str, Any],
               region: Region | None = None) -> Tensor:
    """Patch scores of all tiles of a photo `(t, gh, gw)` -> one map `(h, w)` of the whole photo.

    Each tile's map is what `anomaly_maps` makes of it; where tiles overlap, they count less the
    nearer their border is, so that no seam shows. Outside a region the map is 0.
    """
    side = tiles[0].size[0]
    tops, lefts = (sorted({getattr(tile, name) for tile in tiles}) for name in ("top", "left"))
    down, across = ({start: torch.from_numpy(weights).to(patches) for start, weights in zip(
        starts, blend_weights(starts, side), strict=True)} for starts in (tops, lefts))
    merged = patches.new_zeros(tiles[0].resized)
    total = torch.zeros_like(merged) if region else None
    for tile, one in zip(tiles, patches, strict=True):
        found = anomaly_maps(one[None], tile.size, upsampling=options["map_upsampling"],
                             sigma=options["map_sigma"], kernel_size=options["map_kernel_size"],
                             border=options["map_border"], partial=region is not None)[0]
        weights, place = down[tile.top][:, None] * across[tile.left], np.s_[
            tile.top:tile.top + side, tile.left:tile.left + side]
        merged[place] += found * weights
        if total is not None:
            total[place] += weights
    if region is None or total is None:
        return merged
    whole = replace(tiles[0], top=0, left=0, size=tiles[0].resized)
    return merged / total.clamp_min(1e-6) * torch.tensor(region.within(whole))
