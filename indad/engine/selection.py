"""What farthest-first selection is made of, however it is made: lazily (lazy.py) or in blocks.

Its start, the costs that it compares, and the picks among a few candidates. A *cost* is half a
squared distance, which is what a matrix product gives.
"""

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .machine import CPU
from .precision import in_float32
from .tables import CHUNK_ROWS, Table

NOT_FINITE = "features are not finite: they hold NaN or infinity"
PICK_SECONDS = 3e-6  # to pick one among 2,048 candidates, on one core


class CoresetInterrupted(KeyboardInterrupt):
    """Ctrl-C while selecting; `indices` and `radii` of the picks before it are a coreset like any.
    """

    def __init__(self, indices: Tensor, radii: Tensor):
        super().__init__(f"interrupted after {len(indices)} picks")
        self.indices, self.radii = indices, radii
        self.fitted: Any = None  # what is left of the fit that it interrupted, if it was one


def random_start(count: int, seed: int) -> int:
    """The row that farthest-first starts from: a function of the seed alone."""
    return int(torch.randint(count, (1,), generator=torch.Generator().manual_seed(seed)))


def bank_size(coreset_ratio: float, seen: int, taken: int = 0) -> int:
    """How many patches a bank that has `taken` takes, when `seen` were seen in all."""
    return max(1, int(seen * coreset_ratio) - taken)


def leave_out(left_out: Tensor, start: int | None, distances: Tensor | None, *,
              seed: int = 0) -> tuple[int | None, Tensor]:
    """Start and distances with which `greedy_coreset` picks none of some rows, without a copy.

    A row at distance zero is never the farthest, unless all others are copies of picks as well.

    Args:
        left_out: `(n,)` bool.
        start, distances: as for `greedy_coreset`; the start counts the rows that stay.
    """
    if distances is not None:
        return start, distances.masked_fill(left_out, 0)
    stay = (~left_out).nonzero()[:, 0]
    first = random_start(len(stay), seed) if start is None else start
    infinite = torch.full(left_out.shape, torch.inf, device=left_out.device)
    return int(stay[first]), infinite.masked_fill(left_out, 0)


def begin(features: Table, size: int, start: int | None, seed: int,
          distances: Tensor | None) -> tuple[Tensor, int | None]:
    """Check the arguments; initial distances and the first pick (None: the largest distance)."""
    count = len(features)
    if not 1 <= size <= count:
        raise InputError(f"size is {size}, but there are {count} features: choose 1 to {count}")
    if start is not None and not 0 <= start < count:
        raise InputError(f"start is {start}, but there are {count} features")
    if distances is not None:
        return distances.to(features.device, torch.float32, copy=True), start
    infinite = torch.full((count,), torch.inf, device=features.device)
    return infinite, random_start(count, seed) if start is None else start


@in_float32
def expected_seconds(count: int, size: int, searched: int, dim: int, *,
                     device: torch.device = CPU) -> float:
    """What selecting `size` of `count` features, and `searched` searches, take on a device.

    From the speed of one matrix product now; on a CPU the share of the full product that laziness
    leaves (0.35, measured on real features) and what is done once for each feature, elsewhere what
    each pick takes that is made by the CPU.
    """
    rows = torch.ones(CHUNK_ROWS, dim, device=device)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        float(torch.mm(rows, rows.T).amin(1)[0])  # which waits for it
        times.append(time.perf_counter() - began)
    pair = min(times) / CHUNK_ROWS ** 2
    if device.type != "cpu":
        return pair * size * (count + searched) + PICK_SECONDS * size
    return pair * size * (0.35 * count + searched) + 33e-9 * count * dim


def largest(bounds: Tensor, count: int) -> tuple[Tensor, float]:
    """Where the `count` largest bounds are, and the largest of the others (-1: there are none)."""
    if count >= len(bounds):
        return torch.arange(len(bounds), device=bounds.device), -1.0
    top = bounds.topk(count + 1, sorted=False)
    least = int(top.values.argmin())
    top.indices[least] = top.indices[-1]
    return top.indices[:-1], float(top.values[least])


def costs_to_nearest(points: Tensor, half_norms: Tensor, picks: Tensor,
                     pick_half_norms: Tensor) -> Tensor:
    """`(k,)`: half the squared distance of each of `(k, d)` points to the nearest of `(p, d)`."""
    # |x-c|^2/2 = |x|^2/2 + (|c|^2/2 - xc)
    nearest = torch.addmm(pick_half_norms, points, picks.T, alpha=-1).amin(1)
    return nearest.add_(half_norms).clamp_min_(0)


def costs_between(points: Tensor, half_norms: Tensor) -> Tensor:
    """`(k, k)`: half the squared distances of `(k, d)` points to each other."""
    return (half_norms[:, None] + half_norms - points @ points.T).clamp_min_(0)


def pick_among(between: np.ndarray, costs: np.ndarray, tau: float,
               limit: int) -> tuple[list[int], list[float]]:
    """Farthest-first among candidates with exact costs `(k,)` while the largest is at least `tau`.

    Returns the picks and the cost each had when it was picked; overwrites the costs. NumPy, because
    the loop is thousands of tiny steps and its calls cost least.
    """
    chosen: list[int] = []
    heights: list[float] = []
    while len(chosen) < min(limit, len(costs)):
        best = int(costs.argmax())
        if costs[best] < tau:
            break
        chosen.append(best)
        heights.append(float(costs[best]))
        np.minimum(costs, between[best], out=costs)
        costs[best] = -1
    return chosen, heights


def covering_radii(heights: Tensor, size: int) -> Tensor:
    """`(size,)`: the cost of a pick before it was picked is the radius after the one before it."""
    radii = torch.zeros(size)  # 0 when every point is picked
    known = heights[1:size + 1]
    radii[:len(known)] = known.mul(2).sqrt()
    return radii
