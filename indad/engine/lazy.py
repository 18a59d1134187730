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

This is for CPUs; `blocks.py` makes the same picks on a GPU.
"""

from collections.abc import Callable
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
from .tables import CHUNK_ROWS, Table

CELLS, NEAR_CELLS = 128, 6  # change speed, never a pick
WORKING_BYTES = 48 << 20  # of features read at a time


@in_float32
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
    `CoresetInterrupted` on Ctrl-C, and `InputError` for features that are not finite.
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
            rows, level = largest(bounds, width)
            rows = rows[points.cells[rows].argsort()]
            work = _WorkingSet(points.read(rows), points.half_norms[rows], bounds[rows],
                               exact[rows])
            _lower_with_near_picks(work, points.cells[rows], near[rows], picks)
            near[rows] = picks.count
            left = int((work.bounds >= level).sum())
            while picks.count < goal:
                candidates, tau = largest(work.bounds, block)
                tau = max(tau, level, 0.0)
                candidates = candidates[work.bounds[candidates] >= tau]
                if not len(candidates):
                    break
                candidates = _make_exact(work, candidates, tau, picks)
                between = costs_between(work.points[candidates], work.half_norms[candidates])
                best, heights = pick_among(between.cpu().numpy(),
                                           work.bounds[candidates].cpu().numpy(), tau,
                                           goal - picks.count)
                chosen = candidates[best]
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
            raise InputError(NOT_FINITE)
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
        """`(k,)`: those of points to the nearest of some picks."""
        return costs_to_nearest(points, half_norms, self.points[some], self.half_norms[some])

    def result(self, size: int) -> tuple[Tensor, Tensor]:
        """The first `size` picks, and their radii."""
        return self.rows[:size].clone(), covering_radii(self.heights[:self.count], size)


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
        behind = alive[exact[alive] < end]  # none, where all that were have fallen
        for rows in behind.split(CHUNK_ROWS // 2) if len(behind) else ():
            since = slice(max(begin, int(exact[rows[0]])), end)
            bounds[rows] = bounds[rows].minimum(
                picks.costs(points[rows], half_norms[rows], since))
        alive = alive[bounds[alive] >= tau]
        end = begin
    work.bounds[candidates] = bounds
    work.exact[candidates[alive]] = picks.count
    return candidates[alive]
