"""Exercises of lesson 06: pixel statistics, and tokens as a map."""

from collections.abc import Iterator

import torch
from torch import Tensor

from . import Case, Exercise

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.481, 0.458, 0.408), (0.269, 0.261, 0.276)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def renormalise(images: Tensor, mean: tuple, std: tuple, other_mean: tuple,
                other_std: tuple) -> Tensor:
    out = torch.empty_like(images)
    for colour in range(3):
        pixels = images[:, colour] * std[colour] + mean[colour]
        out[:, colour] = (pixels - other_mean[colour]) / other_std[colour]
    return out


def _statistics() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    for says, shape, before, after in (
            ("one black pixel, ImageNet to one half", (1, 3, 1, 1), IMAGENET, HALF),
            ("one pixel whose colours have different constants", (1, 3, 1, 1), HALF, IMAGENET),
            ("the same constants on both sides: nothing changes", (1, 3, 2, 2), CLIP, CLIP),
            ("a picture of 3 x 3 pixels, where colours and columns are equally many", (1, 3, 3, 3),
             IMAGENET, CLIP),
            ("two wide pictures", (2, 3, 2, 5), CLIP, HALF)):
        pixels = (torch.zeros(shape) if "black" in says
                  else torch.rand(shape, generator=generator))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in before)
        images = (pixels - mean) / std
        yield Case({"images": images, "mean": before[0], "std": before[1],
                    "other_mean": after[0], "other_std": after[1]},
                   renormalise(images, *before, *after), says)


def tokens_to_map(tokens: Tensor, grid: tuple[int, int], prefix: int) -> Tensor:
    rows, columns = grid
    out = torch.empty(len(tokens), tokens.shape[2], rows, columns)
    for row in range(rows):
        for column in range(columns):
            out[:, :, row, column] = tokens[:, prefix + row * columns + column]
    return out


def planted(rows: int, columns: int, prefix: int, dim: int) -> Tensor:
    """Dark tokens with a bright square of 2 x 2 at the top right, and loud ones in front."""
    grid = torch.zeros(rows, columns, dim)
    grid[:2, -2:] = torch.arange(1.0, dim + 1)
    front = torch.full((prefix, dim), 9.0)
    return torch.cat([front, grid.reshape(-1, dim)])[None]


def _tokens() -> Iterator[Case]:
    for says, rows, columns, prefix, dim in (
            ("a bright square at the top right of 3 x 3 places, one token in front", 3, 3, 1, 2),
            ("the same on 2 x 4 places: rows come first in grid", 2, 4, 1, 2),
            ("no token in front", 3, 3, 0, 2),
            ("five tokens in front, as some DINO networks have", 3, 4, 5, 3)):
        tokens = planted(rows, columns, prefix, dim)
        yield Case({"tokens": tokens, "grid": (rows, columns), "prefix": prefix},
                   tokens_to_map(tokens, (rows, columns), prefix), says)
    tokens = torch.rand(3, 1 + 5 * 7, 4, generator=torch.Generator().manual_seed(0))
    yield Case({"tokens": tokens, "grid": (5, 7), "prefix": 1}, tokens_to_map(tokens, (5, 7), 1),
               "three images with random tokens")


EXERCISES = {
    "06.1": Exercise(_statistics, hint="undo the first normalisation, then do the second; views of "
                     "shape (3, 1, 1) apply to colours"),
    "06.2": Exercise(_tokens, hint="drop the tokens in front, move the width before the places, "
                     "then reshape to (n, d, rows, columns)"),
}
