"""From patch distances to one score per image and one map per image.

Published variants side by side; peers differ here more than anywhere else. Higher is always more
anomalous.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .data.arguments import either, kind, number, one_of, several, table, takes, whole
from .engine.precision import in_float32
from .engine.search import Index
from .engine.upsampling import check_blur, touching, upsample_and_blur


def maximum(patches: Tensor, features: Tensor, indices: Tensor, index: Index, b: int,
            maps: Tensor) -> Tensor:
    """The worst patch decides: the reference implementation (and anomalib with b = 1).

    All scores take patch scores `(n, p)`, patch features `(n, p, d)`, the index of each patch's
    nearest neighbour `(n, p)`, the index of the bank `(m, d)`, b, and the maps `(n, h, w)`; they
    return `(n,)`.
    """
    return patches.amax(1)


def peak(patches: Tensor, features: Tensor, indices: Tensor, index: Index, b: int,
         maps: Tensor) -> Tensor:
    """The highest point of the smoothed map, so that one noisy patch counts for less."""
    return maps.amax((1, 2))


def top(patches: Tensor, features: Tensor, indices: Tensor, index: Index, b: int,
        maps: Tensor) -> Tensor:
    """The mean of the worst 1 % of patches looked at (at least one): AnomalyDINO's score."""
    worst = patches.topk(max(1, round(0.01 * patches.shape[1])), dim=1).values
    few = (0.01 * (patches >= 0).sum(1, keepdim=True)).round().clamp_min(1)
    few = torch.arange(worst.shape[1], device=patches.device) < few
    return (worst * few).sum(1) / few.sum(1)


def reweighted(patches: Tensor, features: Tensor, indices: Tensor, index: Index, b: int,
               maps: Tensor) -> Tensor:
    """Equation 7 of the paper: less weight where the matched bank entry is itself well surrounded.

    `s = (1 - exp(s*) / sum over m in N_b(m*) of exp(|q - m|)) s*`, with the b nearest bank entries
    of m*, m* itself among them. As s* is the smallest term, the weight lies in [1 - 1/b, 1). The
    softmax is taken after subtracting the largest exponent: exp overflows at 89. With b = 1, where
    the equation is always zero, the score is s*, as in anomalib.
    """
    worst, q, around = _worst_patch(patches, features, indices, index, b)
    if around.shape[1] == 1:
        return worst
    to_around = torch.linalg.vector_norm(q[:, None] - around, dim=2)  # (n, b)
    return (1 - torch.softmax(to_around, 1)[:, 0]) * worst


def ind_knn_ad(patches: Tensor, features: Tensor, indices: Tensor, index: Index, b: int,
               maps: Tensor) -> Tensor:
    """The variant of rvorias/ind_knn_ad: m* left out of its neighbourhood, exponents / sqrt(d).

    The exponents become nearly equal, so the weight is close to 1 - 1/(b - 1) for every image.
    """
    worst, q, around = _worst_patch(patches, features, indices, index, b)
    if around.shape[1] == 1:
        return worst
    scale = features.shape[2] ** 0.5
    to_others = torch.linalg.vector_norm(q[:, None] - around[:, 1:], dim=2)  # (n, b - 1)
    return (1 - torch.exp(worst / scale - torch.logsumexp(to_others / scale, 1))) * worst


def _worst_patch(patches: Tensor, features: Tensor, indices: Tensor, index: Index,
                 b: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per image: s* `(n,)`, the worst patch q `(n, d)`, the b entries around m* `(n, b, d)`."""
    worst, place = patches.max(1)
    rows = torch.arange(patches.shape[0], device=patches.device)  # len() would fix n in an export
    match = index.bank[indices[rows, place]]                      # m*
    _, around = index.search(match, min(b, len(index.bank)))      # N_b(m*), m* first
    return worst, features[rows, place], index.bank[around]


IMAGE_SCORES: dict[str, Callable[[Tensor, Tensor, Tensor, Index, int, Tensor], Tensor]] = {
    "max": maximum, "reweighted": reweighted, "top": top, "peak": peak, "ind_knn_ad": ind_knn_ad,
}

BORDERS, UPSAMPLINGS = ("symmetric", "reflect", "zero"), ("bilinear", "nearest")
SIZE = several(either(whole(1), kind(torch.SymInt, "one that an export leaves free")), 2)


def score_images(rows: Tensor, index: Index, grid: tuple[int, int], size: tuple[int, int],
                 options: Mapping[str, Any], inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Search each patch's neighbours, and say what their distances mean for images and pixels.

    Args:
        rows: `(n * p, d)` patch features, scaled as those of the bank.
        index: the bank `(m, d)`, ready to be searched.
        grid: patches down and across; p is their product.
        size: (h, w) of the maps.
        options: of `PatchCore`: num_neighbors, squared, image_score, reweight_neighbors, map_*.
        inside: `(n, h, w)` bool, the pixels that are looked at; all if None. Patches that have none
            of them say nothing: their score is -1, and the map is 0 outside.

    Returns scores `(n,)` and maps `(n, h, w)`.
    """
    return score_patches(rows, index, grid, size, options, inside)[:2]


@in_float32
def score_patches(rows: Tensor, index: Index, grid: tuple[int, int], size: tuple[int, int],
                  options: Mapping[str, Any], inside: Tensor | None = None,
                  ) -> tuple[Tensor, Tensor, Tensor]:
    """The same, and the patch scores `(n, gh, gw)` that the maps were made of."""
    o = options
    distances, indices = index.search(rows, min(o["num_neighbors"], len(index.bank)))
    per_image = (-1, grid[0] * grid[1])
    patches = (distances.square() if o["squared"] else distances).mean(1).view(per_image)
    if inside is not None:
        patches = patches.where(touching(inside, grid).flatten(1), -1)
    maps = anomaly_maps(patches.view(-1, *grid), size, upsampling=o["map_upsampling"],
                        sigma=o["map_sigma"], kernel_size=o["map_kernel_size"],
                        border=o["map_border"], partial=inside is not None)
    if inside is not None:
        maps = maps * inside
    scores = IMAGE_SCORES[o["image_score"]](
        patches, rows.view(*per_image, rows.shape[1]), indices[:, 0].view(per_image), index,
        o["reweight_neighbors"], maps)
    return scores, maps, patches.view(-1, *grid)


@takes(patches=table(3), size=SIZE, upsampling=one_of(UPSAMPLINGS), sigma=number(0, 10 ** 6),
       kernel_size=whole(1, 2 ** 31 - 1), border=one_of(BORDERS))
@in_float32
def anomaly_maps(patches: Tensor, size: tuple[int, int], *, upsampling: str = "bilinear",
                 sigma: float = 4.0, kernel_size: int = 33, border: str = "symmetric",
                 partial: bool = False) -> Tensor:
    """Patch scores `(n, gh, gw)` -> smooth maps `(n, h, w)` in the model's frame.

    Upsampled, then blurred by a Gaussian of `sigma` pixels. `border` says what lies beyond the
    edge: "symmetric" as scipy's `gaussian_filter` (amazon), "reflect" as kornia (anomalib), or
    "zero" (ind_knn_ad), which darkens the rim of every map. Both steps are linear and work on
    rows and columns alike, so together they are one small matrix on either side. If `partial`,
    patch scores below 0 are of places that were not looked at: each pixel is a mean of the others.

    Raises `InputError` for a border that is not known, and for a kernel more than twice as large as
    the map: no border says what lies that far beyond the edge.
    """
    if isinstance(size[0], int):
        check_blur("kernel_size", kernel_size, sigma, size)
    # Sizes that an export leaves free are symbols, which no cache can hold.
    matrix = upsample_and_blur if isinstance(size[0], int) else upsample_and_blur.__wrapped__
    rows, columns = (matrix(grid, length, upsampling, sigma, kernel_size, border).to(patches)
                     for grid, length in zip(patches.shape[1:], size, strict=True))
    if not partial:
        return rows @ patches @ columns.T
    seen = (patches >= 0).to(patches)
    return (rows @ (patches * seen) @ columns.T) / (rows @ seen @ columns.T).clamp_min(1e-6)
