"""Farthest-first selection in large blocks: the literal loop's picks, made as suits a GPU.

The lazy selection (lazy.py) saves products and pays with many small steps. A GPU has products in
plenty, and it is small steps that keep it waiting. So a round here has three large ones:

1. The candidates: the `block` points with the largest distances to their nearest pick. `tau` is
   the largest distance of all others.
2. The picks: farthest-first among the candidates, from the distances between them, as long as
   the best is at least `tau`. The CPU makes them, as each needs the one before. Each *is* the
   pick of the literal loop: distances only ever fall, so those of all others are at most `tau`.
3. One product lowers the distances of all points with all new picks, so that they are exact.

Features that lie elsewhere would have to come to the device in each round. So around the rounds
there is a wider one: the *working set*, the points with the largest distances, comes to the
device, and rounds run among these as long as the best is at least `level`, the largest distance
outside. Then all features pass through the device once, in parts, to be lowered.

Ties aside, and ties within float rounding, nothing is approximate. The memory it takes on the
device, besides features that lie there, does not grow with them: `4 ROWS (3 d + block)` bytes for
a part, `12 block^2` for the candidates, up to three times `WORKING_BYTES` for features that come
from elsewhere, and some 24 for each point: 1.2 GB for a million points of 1,024 numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .precision import in_float32
from .selection import (
    NOT_FINITE,
    CoresetInterrupted,
    costs_between,
    costs_to_nearest,
    covering_radii,
    largest,
    pick_among,
)
from .tables import Table, pinned, stream

ROWS = 16384  # of a part: with a block of picks, a product that fills a GPU
WORKING_BYTES = 256 << 20  # of a working set, as float32
SAMPLE = 4096  # rows whose mean serves as the origin


@in_float32
def farthest_first_in_blocks(features: Table, size: int, *, first: int | None, distances: Tensor,
                             device: torch.device, block: int = 2048,
                             progress: Callable[[int, int], None] | None = None,
                             ) -> tuple[Tensor, Tensor]:
    """The picks of `lazy.farthest_first`, which says what it takes, returns and raises.

    Args:
        device: where to compute; features are used where they lie if that is there.
        block: candidates at a time; changes speed, never a pick.
    """
    device = torch.empty(0, device=device).device  # as tensors call it: "cuda" is "cuda:0"
    stays = isinstance(features, Tensor) and features.device == device
    width = len(features) if stays else max(WORKING_BYTES // (4 * features.shape[1]), 2 * block)
    picks = _Picks(size, len(features), progress)
    bounds = distances.to(device).square_().div_(2)  # costs, see selection.py; -1 if picked
    try:
        points = _begin(features, device, bounds, first, picks)
        while picks.left:
            rows, level = largest(bounds, width)
            rows = rows.sort().values  # a file is read fastest in its order
            work = points if stays else points.take(rows)
            new = _pick_in_blocks(work, rows, bounds[rows], level, block, picks)
            if picks.left:
                _lower(bounds, points, work[new], work.half_norms[new], block)
                bounds[rows[new]] = -1
    except KeyboardInterrupt:
        if picks.count < 2:
            raise
        raise CoresetInterrupted(*picks.result(picks.count - 1, features.device)) from None
    return picks.result(size, features.device)


@dataclass
class _Points:
    """Features around a point in their midst, where a product keeps more digits, on the device."""

    features: Table  # (n, d) anywhere
    origin: Tensor  # (d,) on the device, as all below
    half_norms: Tensor  # (n,)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """`(k, d)` float32."""
        return self._read(rows) - self.origin

    def take(self, rows: Tensor) -> "_Points":
        """Some of them, with features that lie on the device."""
        return _Points(self._read(rows), self.origin, self.half_norms[rows])

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """All of them, `(k, d)` float32 at a time."""
        for part, rows in stream(self.features, self.origin.device, ROWS):
            yield part, rows - self.origin

    def _read(self, rows: Tensor) -> Tensor:
        return self.features[rows.to(self.features.device)].to(self.origin.device)


class _Picks:
    """The picks so far, in order, and the cost that each had before it was picked."""

    def __init__(self, size: int, count: int, progress: Callable[[int, int], None] | None):
        self.count, self.left = 0, min(size + 1, count)  # one more, whose cost is the last radius
        self._size, self._progress = size, progress
        self._found: list[tuple[Tensor, list[float]]] = []

    def add(self, rows: Tensor, heights: list[float]) -> None:
        self._found.append((rows, heights))
        self.count += len(heights)
        self.left -= len(heights)
        if self._progress:
            self._progress(min(self.count, self._size), self._size)

    def result(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The first `size` picks, and their radii."""
        rows = torch.cat([rows for rows, _ in self._found])[:size].to(device)
        heights = torch.tensor([height for _, some in self._found for height in some])
        return rows, covering_radii(heights, size)


def _begin(features: Table, device: torch.device, bounds: Tensor, first: int | None,
           picks: _Picks) -> _Points:
    """Read all features once, for their norms and the first pick."""
    count = len(features)
    some = torch.arange(0, count, max(1, count // SAMPLE), device=features.device)
    origin = features[some].to(device, torch.float32).mean(0)
    points = _Points(features, origin, torch.empty(count, device=device))
    start = torch.tensor([first or 0], device=device)
    center = points[start]
    for part, rows in points.parts():
        points.half_norms[part] = rows.square().sum(1) / 2
        if first is not None:
            bounds[part] = bounds[part].minimum(costs_to_nearest(
                rows, points.half_norms[part], center, center.square().sum(1) / 2))
    if not points.half_norms.isfinite().all():
        raise InputError(NOT_FINITE)
    if first is not None:
        bounds[start] = -1
        picks.add(start, [torch.inf])
    return points


def _pick_in_blocks(points: _Points, rows: Tensor, bounds: Tensor, level: float, block: int,
                    picks: _Picks) -> Tensor:
    """Pick as long as the best is at least `level`.

    Args:
        rows: `(w,)`, which rows of all features the points are.
        bounds: `(w,)`, exact; overwritten.

    Returns which of the points were picked.
    """
    chosen = [rows[:0]]
    while picks.left:
        top = bounds.topk(min(block + 1, len(bounds)))
        candidates = top.indices[:block]
        near, half_norms = points[candidates], points.half_norms[candidates]
        between = pinned(costs_between(near, half_norms), bounds.device).numpy()
        costs = top.values.cpu().numpy()
        tau = max([level, *costs[block:].tolist()])
        best, heights = pick_among(between, costs[:block], tau, picks.left)
        if not best:
            break
        which = torch.tensor(best, device=bounds.device)
        new = candidates[which]
        chosen.append(new)
        picks.add(rows[new], heights)
        if picks.left:
            _lower(bounds, points, near[which], half_norms[which], block)
            bounds[new] = -1
    return torch.cat(chosen)


def _lower(bounds: Tensor, points: _Points, picks: Tensor, half_norms: Tensor,
           block: int) -> None:
    """Lower the bounds of all points with picks `(p, d)` that they do not know."""
    for part, rows in points.parts():
        for some in zip(picks.split(block), half_norms.split(block), strict=True):
            bounds[part] = bounds[part].minimum(
                costs_to_nearest(rows, points.half_norms[part], *some))
