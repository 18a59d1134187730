"""Exercises of lesson 01: from cells of a grid to rows, and how far a cell looks."""

from collections.abc import Iterator

import torch
from torch import Tensor

from . import Case, Exercise


def _counting() -> Iterator[Case]:
    for says, (height, width, stride) in {
            "a cell for each pixel": (3, 3, 1), "an image of a single cell": (8, 8, 8),
            "four cells": (8, 8, 4), "more columns than rows": (8, 24, 8),
            "more rows than columns": (64, 32, 16), "layer 2 of the lesson": (256, 256, 8)}.items():
        cells = sum(1 for _ in range(0, height, stride) for _ in range(0, width, stride))
        yield Case({"height": height, "width": width, "stride": stride}, cells, says)


def join(maps: list[Tensor]) -> Tensor:
    """Number by number: each new cell's centre lies between four old ones, which it takes from."""
    b, _, height, width = maps[0].shape
    joined = torch.zeros(b, sum(one.shape[1] for one in maps), height, width)
    begin = 0
    for one in maps:
        h, w = one.shape[-2:]
        for y in range(height):
            for x in range(width):
                down = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
                right = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
                top, left = int(down), int(right)
                below, beside = min(top + 1, h - 1), min(left + 1, w - 1)
                v, u = down - top, right - left
                joined[:, begin:begin + one.shape[1], y, x] = (
                    (1 - v) * ((1 - u) * one[..., top, left] + u * one[..., top, beside])
                    + v * ((1 - u) * one[..., below, left] + u * one[..., below, beside]))
        begin += one.shape[1]
    return joined


def _joining() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(says: str, *shapes: tuple[int, ...]) -> Case:
        maps = [torch.randint(0, 10, shape, generator=generator).float() for shape in shapes]
        return Case({"maps": maps}, join(maps), says)

    yield case("a single map comes back as it is", (1, 2, 2, 2))
    yield case("two maps of the same grid", (1, 1, 2, 2), (1, 2, 2, 2))
    yield case("a second map of one cell", (1, 1, 2, 2), (1, 1, 1, 1))
    yield case("a second map of 2 x 2 cells for a grid of 4 x 4", (1, 1, 4, 4), (1, 1, 2, 2))
    yield case("more columns than rows, two images", (2, 3, 4, 8), (2, 2, 2, 4))
    yield case("three maps", (1, 1, 6, 6), (1, 2, 3, 3), (1, 3, 2, 2))


def _placing() -> Iterator[Case]:
    for says, (row, h, w) in {
            "the first row of all": (0, 2, 3), "the second: one step to the right": (1, 2, 3),
            "the first of the next line": (3, 2, 3), "the last of the first image": (5, 2, 3),
            "the first of the second image": (6, 2, 3), "a grid higher than wide": (17, 4, 2),
            "row 2611 of a grid of 24 x 32": (2611, 24, 32)}.items():
        places = [(image, y, x) for image in range(row // (h * w) + 1) for y in range(h)
                  for x in range(w)]
        yield Case({"row": row, "h": h, "w": w}, places[row], says)


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
    "01.1": Exercise(_counting, hint="cells down times cells across: each side divided by the "
                     "stride, then multiplied"),
    "01.2": Exercise(_fields, hint="a kernel k adds (k - 1) times the stride of all steps before "
                     "it; return (field, stride), both starting at 1"),
    "01.3": Exercise(_joining, hint="stretch to maps[0].shape[-2:] with mode='bilinear' (not "
                     "'nearest', and without align_corners), then torch.cat along dim=1"),
    "01.4": Exercise(_placing, hint="divide by h * w for the image; divide what is left by w, not "
                     "by h"),
    "01.5": Exercise(_patches, hint="pad by k // 2, divide by k * k everywhere, and bring the "
                     "channels to the end before flattening"),
}
