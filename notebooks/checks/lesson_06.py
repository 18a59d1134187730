"""Exercises of lesson 06: licences, pixel statistics, grids, tokens as a map, blur, budgets."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from . import Case, Exercise, brief

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.481, 0.458, 0.408), (0.269, 0.261, 0.276)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def _shipping() -> Iterator[Case]:
    rows = [{"name": name, "licence": licence, "weights_mb": mb} for name, licence, mb in (
        ("tiny", "MIT", 5), ("small", "Apache-2.0", 40), ("shy", "non-commercial", 10),
        ("large", "MIT", 300))]
    for says, some, licences, most in (
            ("one row that fits", rows[:1], ["MIT"], 10),
            ("a row of exactly the size that is allowed", rows[:1], ["MIT"], 5),
            ("a licence that is not among them", rows[2:3], ["MIT", "Apache-2.0"], 100),
            ("a row that is too large", rows[3:], ["MIT"], 100),
            ("four rows, two licences", rows, ["Apache-2.0", "MIT"], 100),
            ("no licence at all", rows, [], 1000)):
        expected = []
        for row in some:
            if any(row["licence"] == one for one in licences) and not row["weights_mb"] > most:
                expected.append(row["name"])
        yield Case({"rows": some, "licences": licences, "most_mb": most}, says=says,
                   judge=_same_names(expected))


def _same_names(expected: list[str]) -> Callable[[object], str | None]:
    def find(returned: object) -> str | None:
        if isinstance(returned, (list, tuple)) and list(returned) == expected:
            return None
        return f"it returned {brief(returned)}, expected {brief(expected)}"
    return find


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


def grid_of(pixels: int, steps: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Place by place: where a kernel still fits."""
    total = 1
    for kernel, stride, padding in steps:
        starts = range(-padding, pixels + padding - kernel + 1, stride)
        pixels, total = len(starts), total * stride
    return pixels, total


def _grids() -> Iterator[Case]:
    for says, pixels, steps in (
            ("no step at all", 8, []),
            ("one step that keeps the size", 8, [(3, 1, 1)]),
            ("one step that halves it", 8, [(2, 2, 0)]),
            ("a kernel that does not fit once more at the end", 9, [(2, 2, 0)]),
            ("a kernel of 3 without padding", 8, [(3, 1, 0)]),
            ("patches of a transformer", 224, [(16, 16, 0)]),
            ("patches that do not cover the photo", 230, [(16, 16, 0)]),
            ("a residual network, to stride 8", 225, [(7, 2, 3), (3, 2, 1), (3, 2, 1)]),
            ("steps in an order that matters", 31, [(3, 2, 0), (5, 1, 0), (4, 3, 1)])):
        yield Case({"pixels": pixels, "steps": steps}, grid_of(pixels, steps), says)


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


def blur_drop(maps: Tensor) -> Tensor:
    """Each place that is kept, as a weighted sum over its neighbours."""
    count, channels, height, width = maps.shape

    def mirrored(place: int, size: int) -> int:
        return -place if place < 0 else 2 * (size - 1) - place if place >= size else place

    out = torch.zeros(count, channels, (height + 1) // 2, (width + 1) // 2)
    for row in range(0, height, 2):
        for column in range(0, width, 2):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    weight = (2 - abs(down)) * (2 - abs(right)) / 16
                    out[:, :, row // 2, column // 2] += weight * maps[
                        :, :, mirrored(row + down, height), mirrored(column + right, width)]
    return out


def _blurring() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 16
    beside = torch.zeros(1, 1, 5, 5)
    beside[..., 1, 2] = 16
    corner = torch.zeros(1, 1, 3, 3)
    corner[..., 1, 1] = 16
    for says, maps in (
            ("a map of equal values: they stay", torch.ones(1, 1, 4, 4)),
            ("a bright place that is kept", point),
            ("a bright place that is dropped: its neighbours keep half of it", beside),
            ("a bright place next to all edges: the mirrored picture shows it again", corner),
            ("a bright corner", torch.eye(3)[None, None] * torch.tensor([16.0, 0, 0])),
            ("two channels, which do not mix", torch.rand(1, 2, 4, 6, generator=generator)),
            ("odd sides, two images", torch.rand(2, 3, 5, 7, generator=generator))):
        yield Case({"maps": maps}, blur_drop(maps), says)


def _budgeting() -> Iterator[Case]:
    for says, widths, patches, budget in (
            ("one network, a budget for ten patches", {"a": 4}, {"a": 100}, 40),
            ("a budget that leaves a rest", {"a": 4}, {"a": 100}, 43),
            ("more budget than patches", {"a": 4}, {"a": 8}, 1000),
            ("less budget than one patch needs: one all the same", {"a": 64}, {"a": 8}, 40),
            ("a narrow network and a wide one", {"a": 152, "a+b": 304}, {"a": 6400, "a+b": 6400},
             48_640),
            ("three networks, each with its own limit", {"a": 10, "b": 500, "c": 7},
             {"a": 20, "b": 90, "c": 900}, 400)):
        expected = {}
        for name, width in widths.items():
            count = 0
            while (count + 1) * width <= budget and count < patches[name]:
                count += 1
            expected[name] = count or 1
        yield Case({"widths": widths, "patches": patches, "budget": budget}, expected, says)


EXERCISES = {
    "06.1": Exercise(_shipping, hint="both must hold: a licence among those given, and at most so "
                     "many MB"),
    "06.2": Exercise(_statistics, hint="undo the first normalisation, then do the second; views of "
                     "shape (3, 1, 1) apply to colours"),
    "06.3": Exercise(_grids, hint="the places of a step are the pixels of the next; division "
                     "rounds down, and strides multiply"),
    "06.4": Exercise(_tokens, hint="drop the tokens in front, move the width before the places, "
                     "then reshape to (n, d, rows, columns)"),
    "06.5": Exercise(_blurring, hint="mirror by one place at each edge, blur in both directions, "
                     "then take every second place from the first on"),
    "06.6": Exercise(_budgeting, hint="whole patches that fit into the budget, at most those there "
                     "are, at least one"),
}
