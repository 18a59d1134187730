"""Upsampling and blurring as one small matrix for each axis, and which patches touch a region."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


def check_blur(name: str, kernel_size: int, sigma: float, size: tuple[int, int]) -> None:
    """Raise `InputError` for a blur more than twice as large as a map of `size` (h, w)."""
    if sigma > 0 and kernel_size > 2 * min(size):
        raise InputError(f"{name} is {kernel_size}, more than twice the map of {size[0]} x "
                         f"{size[1]} pixels; choose at most {2 * min(size) - 1}, or a larger map")


@lru_cache(maxsize=16)
def upsample_and_blur(grid: int, length: int, upsampling: str, sigma: float, kernel_size: int,
                       border: str) -> Tensor:
    """The `(length, grid)` matrix of upsampling and blurring along one axis."""
    linear = {"bilinear": "linear", "nearest": "nearest"}[upsampling]
    columns = F.interpolate(torch.eye(grid)[:, None], length, mode=linear)  # (grid, 1, length)
    if sigma > 0:
        offsets = torch.arange(kernel_size, dtype=torch.float32) - kernel_size // 2
        kernel = torch.exp(-offsets.square() / (2 * sigma ** 2))
        columns = F.conv1d(_pad(columns, kernel_size // 2, border),
                           (kernel / kernel.sum()).view(1, 1, -1))
    return columns[:, 0].T.contiguous()


def _pad(columns: Tensor, width: int, border: str) -> Tensor:
    """`(..., l)` -> `(..., width + l + width)`; width < l."""
    if border == "zero":
        return F.pad(columns, (width, width))
    if border == "reflect":
        return F.pad(columns, (width, width), mode="reflect")
    # Half-sample symmetric, the edge pixel repeated: torch has no such mode.
    behind = columns[..., columns.shape[2] - width:]  # not -width: there may be none
    return torch.cat([columns[..., :width].flip(2), columns, behind.flip(2)], 2)


def touching(inside: Tensor, grid: tuple[int, int]) -> Tensor:
    """`(n, h, w)` bool of pixels -> `(n, gh, gw)` bool: the patches that have any of them."""
    rows, columns = (_cells(length, cells).to(inside.device)
                     for length, cells in zip(inside.shape[1:], grid, strict=True))
    return rows @ inside.float() @ columns.T > 0


@lru_cache(maxsize=16)
def _cells(length: int, cells: int) -> Tensor:
    """`(cells, length)` of 1 where a pixel is, at least in part, of a cell, else 0."""
    pixels, edges = torch.arange(length), torch.arange(cells)[:, None]
    return ((pixels + 1) * cells > edges * length).float() * (
        pixels * cells < (edges + 1) * length)
