"""Which patches the memory bank keeps: greedy k-center selection (farthest-first), exact and fast.

`greedy_coreset_one_at_a_time` is the algorithm as every paper prints it. `greedy_coreset` makes
the same picks with matrix products instead of one pass over all features for each pick.
`random_coreset` is the honest baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CHUNK_ROWS = 2048  # rows times a block of picks stay in the processor's cache


@dataclass(frozen=True)
class CoresetSelection:
    """The picks in order: the first k of them are the coreset of size k.

    Attributes:
        indices: `(size,)` int64, rows of the features, in the order they were picked.
        radii: `(size,)` float32; `radii[i]` is the covering radius after pick i: the distance
            from the worst-covered point to its nearest pick.
    """

    indices: Tensor
    radii: Tensor

    def first(self, size: int) -> "CoresetSelection":
        """The coreset of a smaller size; it costs nothing."""
        return CoresetSelection(self.indices[:size], self.radii[:size])


def random_start(count: int, seed: int) -> int:
    """The row that farthest-first starts from: a function of the seed alone."""
    return int(torch.randint(count, (1,), generator=torch.Generator().manual_seed(seed)))


def random_coreset(count: int, size: int, *, seed: int = 0) -> Tensor:
    """`(size,)` int64 rows drawn without replacement; nested: more rows only add to fewer."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size]


def greedy_coreset_one_at_a_time(features: Tensor, size: int, *, start: int | None = None,
                                 seed: int = 0, distances: Tensor | None = None,
                                 ) -> CoresetSelection:
    """Pick the point farthest from all picks, again and again; the literal algorithm.

    Takes the same arguments as `greedy_coreset` and reads all `(n, d)` features for each pick.
    """
    distances, first = _begin(features, size, start, seed, distances)
    indices, radii = [], []
    for step in range(size):
        pick = first if step == 0 and first is not None else int(distances.argmax())
        to_pick = torch.linalg.vector_norm(features - features[pick], dim=1)
        distances = torch.minimum(distances, to_pick)
        distances[pick] = -1  # never again, even when only copies of picked points are left
        indices.append(pick)
        radii.append(float(distances.max().clamp_min(0)))
    return CoresetSelection(torch.tensor(indices), torch.tensor(radii))


def greedy_coreset(features: Tensor, size: int, *, start: int | None = None, seed: int = 0,
                   distances: Tensor | None = None, block: int = 2048,
                   progress: Callable[[int, int], None] | None = None) -> CoresetSelection:
    """Farthest-first selection in blocks: the picks of the literal loop, at matrix speed.

    Distances to the nearest pick only ever fall. So take the `block` points with the largest
    distance as candidates, and let `tau` be the largest distance outside them. As long as the
    best candidate, updated with each new pick, is at least `tau`, no point outside can beat it:
    it *is* the global pick. When it falls below, one matrix product brings the distances of all
    points up to date with the whole block of picks. (Ties aside, and ties within float rounding.)

    Args:
        features: `(n, d)` float32.
        size: how many to pick, 1 to n.
        start: the row to pick first; a random one from `seed` if None.
        distances: `(n,)` float32, distances that count as known before the first pick (instead
            of a start): the amazon preset begins with mean distances to ten random points.
        progress: called as `progress(picked, size)`.

    Raises `ValueError` when size, start or block are out of range.
    """
    distances, first = _begin(features, size, start, seed, distances)
    origin = features.mean(0)
    half_norms = _half_norms(features, origin)
    costs = distances.square() / 2  # half squared distances: what the matrix product gives
    indices, radii = [], []

    def cover(picks: list[int]) -> None:
        _lower(costs, features, half_norms, origin, picks)
        costs[picks] = -1
        indices.extend(picks)
        if progress:
            progress(len(indices), size)

    if first is not None:
        cover([first])
    while len(indices) < size:
        largest = costs.topk(min(block + 1, len(features)))
        tau = float(largest.values[-1]) if len(features) > block else -1.0
        candidates = largest.indices[:block]
        picks, heights = _pick_among(candidates, largest.values[:block], tau,
                                     size - len(indices), features, origin)
        # The height of each pick is the covering radius after the pick before it.
        radii.extend(heights if indices else heights[1:])
        cover(candidates[picks].tolist())
    radii.append(float(costs.max().clamp_min(0)))
    return CoresetSelection(torch.tensor(indices), torch.tensor(radii).mul(2).sqrt())


def _begin(features: Tensor, size: int, start: int | None, seed: int,
           distances: Tensor | None) -> tuple[Tensor, int | None]:
    """Check the arguments; initial distances and the first pick (None: the largest distance)."""
    count = len(features)
    if not 1 <= size <= count:
        raise ValueError(f"size is {size}, but there are {count} features: choose 1 to {count}")
    if start is not None and not 0 <= start < count:
        raise ValueError(f"start is {start}, but there are {count} features")
    if distances is not None:
        return distances.to(features).clone(), start
    infinite = torch.full((count,), torch.inf, device=features.device)
    return infinite, random_start(count, seed) if start is None else start


def _half_norms(features: Tensor, origin: Tensor) -> Tensor:
    return torch.cat([(part - origin).square().sum(1) / 2 for part in features.split(CHUNK_ROWS)])


def _lower(costs: Tensor, features: Tensor, half_norms: Tensor, origin: Tensor,
           picks: list[int]) -> None:
    """Bring `costs` up to date, in place, with new picks: one matrix product, chunk by chunk."""
    # Around the mean the product keeps more digits; |x-c|^2/2 = |x|^2/2 + (|c|^2/2 - xc).
    centers = features[picks] - origin
    shifts = half_norms[picks]
    for start in range(0, len(features), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        nearest = torch.addmm(shifts, features[part] - origin, centers.T, alpha=-1).amin(1)
        nearest.add_(half_norms[part]).clamp_min_(0)
        torch.minimum(costs[part], nearest, out=costs[part])


def _pick_among(candidates: Tensor, values: Tensor, tau: float, limit: int, features: Tensor,
                origin: Tensor) -> tuple[list[int], list[float]]:
    """Farthest-first among the candidates while the best is at least `tau`.

    Returns positions in `candidates` and the cost each had when it was picked. NumPy, because
    the loop is thousands of tiny steps and its calls cost least.
    """
    points = features[candidates] - origin
    norms = points.square().sum(1) / 2
    between = (norms[:, None] + norms - points @ points.T).clamp_min_(0).cpu().numpy()
    costs = values.cpu().numpy().copy()
    picks: list[int] = []
    heights: list[float] = []
    while len(picks) < limit:
        best = int(costs.argmax())
        if picks and costs[best] < tau or costs[best] < 0:
            break
        picks.append(best)
        heights.append(float(costs[best]))
        np.minimum(costs, between[best], out=costs)
        costs[best] = -1
    return picks, heights
