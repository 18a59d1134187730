"""Exercises of lesson 01: rows of averaged neighbourhoods, and how far a cell looks."""

from collections.abc import Iterator

import torch
from torch import Tensor

from . import Case, Exercise


def patchify(feature_map: Tensor, k: int) -> Tensor:
    """Cell by cell, as one would explain it."""
    b, c, h, w = feature_map.shape
    reach = k // 2
    rows = []
    for image in range(b):
        for y in range(h):
            for x in range(w):
                seen = feature_map[image, :, max(y - reach, 0):y + reach + 1,
                                   max(x - reach, 0):x + reach + 1]
                rows.append(seen.sum((1, 2)) / k ** 2)
    return torch.stack(rows)


def _patches() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, shape: tuple[int, ...], k: int) -> Case:
        feature_map = torch.randint(0, 10, shape, generator=generator).float()
        return Case({"feature_map": feature_map, "k": k}, patchify(feature_map, k), says)

    yield case("a single cell, k = 1", (1, 1, 1, 1), 1)
    yield case("a single cell, k = 3: eight of the nine lie beyond the edge and are zero",
               (1, 1, 1, 1), 3)
    yield case("k = 1: nothing is averaged, so only the order of the rows counts", (1, 2, 2, 3), 1)
    yield case("one channel, k = 3", (1, 1, 3, 3), 3)
    yield case("two channels, more columns than rows", (1, 2, 2, 4), 3)
    yield case("two images", (2, 3, 3, 2), 3)
    yield case("k = 5", (2, 4, 6, 5), 5)


def receptive_field(steps: list[tuple[int, int]]) -> tuple[int, int]:
    """The pixels that one cell depends on, followed back from the last step to the first."""
    low = high = 0  # the cells of a map that the chosen one depends on; here itself
    stride = 1
    for kernel, step in reversed(steps):
        low, high = low * step, high * step + kernel - 1
        stride *= step
    return high - low + 1, stride


def _fields() -> Iterator[Case]:
    for says, steps in {
            "no step at all": [],
            "one convolution, kernel 3": [(3, 1)],
            "one convolution, kernel 5 and stride 2: its own stride comes after it": [(5, 2)],
            "two convolutions of stride 1": [(3, 1), (3, 1)],
            "stride 2, then kernel 3: neighbours are now two pixels apart": [(3, 2), (3, 1)],
            "a kernel of 1 with a stride": [(1, 2), (3, 1)],
            "stride twice": [(3, 2), (3, 2), (3, 1)],
            "the backbone up to layer 2": [(3, 2), (3, 1), (3, 2), (3, 1), (5, 2), (5, 1)],
            "a ResNet's first layers": [(7, 2), (3, 2), (3, 1), (3, 1), (3, 1), (3, 1), (3, 2)],
    }.items():
        yield Case({"steps": steps}, receptive_field(steps), says)


EXERCISES = {
    "01.1": Exercise(_patches, hint="pad by k // 2, divide by k * k everywhere, and bring the "
                     "channels to the end before flattening"),
    "01.2": Exercise(_fields, hint="a kernel k adds (k - 1) times the stride of all steps before "
                     "it; return (field, stride), both starting at 1"),
}
