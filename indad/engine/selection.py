"""Farthest-first selection that is lazy and exact: the literal loop's picks, far sooner.

A point's distance to its nearest pick only ever falls, so one that is out of date, or that
counts only some of the picks, is an upper *bound*. Three nested sets use this:

1. The working set: the points with the largest bounds, some ten blocks of them. `level` is
   the largest bound outside. Bounds in the set are lowered with the picks of nearby cells
   of space, where a point's nearest pick most likely is: a few percent of all picks.
2. The candidates: the `block` points of the working set with the largest bounds. `tau` is
   the largest bound of all other points. Now their distances are made exact, against all
   picks; those that fall below `tau` are dropped as soon as they do.
3. The picks: farthest-first among the candidates, whose distances alone are updated, as long
   as the best is at least `tau`. Each *is* the pick of the literal loop: all points outside
   have bounds, hence distances, of at most `tau`, and inside all distances are exact.

When no candidate is left, the next ones are taken (2); when the working set is below `level`,
the next one is (1). Ties aside, and ties within float rounding, nothing is approximate: cells
and sizes of sets decide what is computed when, not what is picked.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .tables import CHUNK_ROWS, Table

CELLS, NEAR_CELLS = 128, 6  # change speed, never a pick
WORKING_BYTES = 48 << 20  # of features read at a time


class CoresetInterrupted(KeyboardInterrupt):
    """Ctrl-C while selecting; `indices` and `radii` of the picks before it are a coreset like any.
    """

    def __init__(self, indices: Tensor, radii: Tensor):
        super().__init__(f"interrupted after {len(indices)} picks")
        self.indices, self.radii = indices, radii
        self.fitted: Any = None  # what is left of the fit that it interrupted, if it was one


def farthest_first(features: Table, size: int, *, first: int | None, distances: Tensor,
                   block: int = 1024, progress: Callable[[int, int], None] | None = None,
                   ) -> tuple[Tensor, Tensor]:
    """The picks of `coreset.greedy_coreset_one_at_a_time`, which says what the arguments are.

    Args:
        features: `(n, d)` float32, or float16 (distances are float32 all the same); may lie in a
            memory-mapped file, of which no more than a working set is held.
        first: the row to pick first; None: the one with the largest of `distances`.
        distances: `(n,)` float32 that count as known before it, infinite if nothing is; they are
            overwritten.

    Returns indices `(size,)` int64 in the order of picking, and covering radii `(size,)`. Raises
    `CoresetInterrupted` on Ctrl-C, and `ValueError` for features that are not finite.
    """
    goal = min(size + 1, len(features))  # the height of one pick more is the last radius
    points = _Points(features)
    picks = _Picks(goal, points)
    try:
        if first is not None:
            row = torch.tensor([first], device=features.device)
            picks.add(row, points.read(row), points.half_norms[row], [torch.inf])
        # Bounds are half squared distances, which is what a matrix product gives; -1 if picked.
        bounds = distances.square_().div_(2)
        for part in points.parts() if picks.count else ():
            bounds[part] = bounds[part].minimum(
                picks.costs(points.read(part), points.half_norms[part], slice(0, 1)))
        bounds[picks.rows[:picks.count]] = -1
        # How many picks a bound is exact for, and how many it was lowered with if they are near.
        exact = torch.full_like(points.cells, picks.count, dtype=torch.int32)
        near = exact.clone()
        width = min(16 * block, points.most_at_once)
        while picks.count < goal:
            rows, level = _largest(bounds, width)
            rows = rows[points.cells[rows].argsort()]
            work = _WorkingSet(points.read(rows), points.half_norms[rows], bounds[rows],
                               exact[rows])
            _lower_with_near_picks(work, points.cells[rows], near[rows], picks)
            near[rows] = picks.count
            left = int((work.bounds >= level).sum())
            while picks.count < goal:
                candidates, tau = _largest(work.bounds, block)
                tau = max(tau, level, 0.0)
                candidates = candidates[work.bounds[candidates] >= tau]
                if not len(candidates):
                    break
                candidates = _make_exact(work, candidates, tau, picks)
                chosen, heights = _pick_among(work, candidates, tau, goal - picks.count)
                picks.add(rows[chosen], work.points[chosen], work.half_norms[chosen], heights)
                work.bounds[chosen] = -1
                if progress:
                    progress(min(picks.count, size), size)
            bounds[rows], exact[rows] = work.bounds, work.exact
            del work  # before the next one is read
            if left < 4 * block:  # too small a set comes back too often
                width = width * 5 // 4
            elif left > 8 * block:  # too large a one goes stale
                width = width * 4 // 5
            width = min(max(width, 2 * block), points.most_at_once)
    except KeyboardInterrupt:
        if picks.count < 2:
            raise
        raise CoresetInterrupted(*picks.result(picks.count - 1)) from None
    return picks.result(size)


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
        raise ValueError(f"size is {size}, but there are {count} features: choose 1 to {count}")
    if start is not None and not 0 <= start < count:
        raise ValueError(f"start is {start}, but there are {count} features")
    if distances is not None:
        return distances.to(features.device, torch.float32, copy=True), start
    infinite = torch.full((count,), torch.inf, device=features.device)
    return infinite, random_start(count, seed) if start is None else start


def expected_seconds(count: int, size: int, searched: int, dim: int) -> float:
    """What selecting `size` of `count` features, and `searched` searches, take on this processor.

    From the speed of one matrix product now, the share of the full product that laziness leaves
    (0.35, measured on real features) and what is done once for each feature.
    """
    rows = torch.ones(CHUNK_ROWS, dim)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(rows, rows.T).amin(1)
        times.append(time.perf_counter() - began)
    pair = min(times) / CHUNK_ROWS ** 2
    return pair * size * (0.35 * count + searched) + 33e-9 * count * dim


class _Points:
    """The features around their mean, where a product keeps more digits, and cells of space.

    A cell is what is closest to one of some points drawn at random.
    """

    def __init__(self, features: Table):
        self.features, count, dim = features, len(features), features.shape[1]
        self.most_at_once = max(WORKING_BYTES // (4 * dim), CHUNK_ROWS)
        total = torch.zeros(dim, dtype=torch.float64, device=features.device)
        for part in self.parts():
            total += features[part].float().sum(0).double()
        if not total.isfinite().all():
            raise ValueError("features are not finite: they hold NaN or infinity")
        self.origin = (total / count).float()
        cells = min(CELLS, count // 512 + 1)
        drawn = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:cells]
        self.centers = self.read(drawn.to(features.device))
        shifts = self.centers.square().sum(1) / 2
        self.half_norms = torch.empty(count, device=features.device)
        self.cells = torch.empty(count, dtype=torch.int64, device=features.device)
        for part in self.parts():
            points = self.read(part)
            self.half_norms[part] = points.square().sum(1) / 2
            self.cells[part] = torch.addmm(shifts, points, self.centers.T, alpha=-1).argmin(1)

    def parts(self) -> list[slice]:
        return [slice(i, i + CHUNK_ROWS) for i in range(0, len(self.features), CHUNK_ROWS)]

    def read(self, rows: Tensor | slice) -> Tensor:
        """`(k, d)` float32."""
        points = self.features[rows].float()
        return points - self.origin if isinstance(rows, slice) else points.sub_(self.origin)


@dataclass
class _WorkingSet:
    points: Tensor  # (w, d)
    half_norms: Tensor  # (w,)
    bounds: Tensor  # (w,)
    exact: Tensor  # (w,) the bound is the distance to the first so many picks, or below it


class _Picks:
    """The picks so far, in order, and which cells each of them is near to."""

    def __init__(self, most: int, points: _Points):
        device, (cells, dim) = points.features.device, points.centers.shape
        self.count = 0
        self.rows = torch.empty(most, dtype=torch.int64, device=device)
        self.heights = torch.empty(most)  # cost of a pick before it was picked
        self.points = torch.empty(most, dim, device=device)
        self.half_norms = torch.empty(most, device=device)
        self.near = torch.zeros(cells, most, dtype=torch.bool, device=device)
        self._centers = points.centers

    def add(self, rows: Tensor, points: Tensor, half_norms: Tensor, heights: list[float]) -> None:
        new = slice(self.count, self.count + len(rows))
        self.rows[new], self.points[new], self.half_norms[new] = rows, points, half_norms
        self.heights[new] = torch.tensor(heights)
        count = min(NEAR_CELLS, len(self._centers))
        closest = torch.cdist(points, self._centers).topk(count, largest=False).indices
        self.near[:, new].scatter_(0, closest.T, True)
        self.count += len(rows)

    def costs(self, points: Tensor, half_norms: Tensor, some: slice | Tensor) -> Tensor:
        """`(k,)`: half the squared distance of each point to the nearest of some picks."""
        # |x-c|^2/2 = |x|^2/2 + (|c|^2/2 - xc)
        nearest = torch.addmm(self.half_norms[some], points, self.points[some].T, alpha=-1).amin(1)
        return nearest.add_(half_norms).clamp_min_(0)

    def result(self, size: int) -> tuple[Tensor, Tensor]:
        """The first `size` picks; the height of a pick is the radius after the one before it."""
        radii = torch.zeros(size)  # 0 when every point is picked
        known = self.heights[1:size + 1][:max(self.count - 1, 0)]
        radii[:len(known)] = known.mul(2).sqrt()
        return self.rows[:size].clone(), radii


def _largest(bounds: Tensor, count: int) -> tuple[Tensor, float]:
    """Where the `count` largest bounds are, and the largest of the others (-1: there are none)."""
    if count >= len(bounds):
        return torch.arange(len(bounds), device=bounds.device), -1.0
    top = bounds.topk(count + 1, sorted=False)
    least = int(top.values.argmin())
    top.indices[least] = top.indices[-1]
    return top.indices[:-1], float(top.values[least])


def _lower_with_near_picks(work: _WorkingSet, cells: Tensor, near: Tensor, picks: _Picks) -> None:
    """Lower bounds, sorted by cell, with those picks near their cell that they do not know."""
    known = near.maximum(work.exact)
    ends = cells.bincount(minlength=len(picks.near)).cumsum(0).tolist()
    for cell, (begin, end) in enumerate(zip([0, *ends], ends)):  # noqa: B905
        since = int(known[begin:end].min()) if begin < end else picks.count
        unknown = picks.near[cell, since:picks.count].nonzero()[:, 0] + since
        part = slice(begin, end)
        for some in unknown.split(CHUNK_ROWS) if len(unknown) else ():
            work.bounds[part] = work.bounds[part].minimum(
                picks.costs(work.points[part], work.half_norms[part], some))


def _make_exact(work: _WorkingSet, candidates: Tensor, tau: float, picks: _Picks) -> Tensor:
    """Bring candidates up to date with all picks; returns those that stay at `tau` or above."""
    candidates = candidates[work.exact[candidates].argsort()]
    points, half_norms = work.points[candidates], work.half_norms[candidates]
    bounds, exact = work.bounds[candidates], work.exact[candidates]
    alive = torch.arange(len(candidates), device=bounds.device)
    oldest, end = int(exact[0]), picks.count
    while end > oldest and len(alive):
        begin = max(oldest, end - CHUNK_ROWS)  # the newest first: no bound knows them yet
        for rows in alive[exact[alive] < end].split(CHUNK_ROWS // 2):
            since = slice(max(begin, int(exact[rows[0]])), end)
            bounds[rows] = bounds[rows].minimum(
                picks.costs(points[rows], half_norms[rows], since))
        alive = alive[bounds[alive] >= tau]
        end = begin
    work.bounds[candidates] = bounds
    work.exact[candidates[alive]] = picks.count
    return candidates[alive]


def _pick_among(work: _WorkingSet, candidates: Tensor, tau: float,
                limit: int) -> tuple[Tensor, list[float]]:
    """Farthest-first among candidates with exact bounds while the best is at least `tau`.

    Returns the picks and the bound each had when it was picked. NumPy, because the loop is
    thousands of tiny steps and its calls cost least.
    """
    points, norms = work.points[candidates], work.half_norms[candidates]
    between = (norms[:, None] + norms - points @ points.T).clamp_min_(0).cpu().numpy()
    costs = work.bounds[candidates].cpu().numpy()
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
    return candidates[chosen], heights
