"""Exact nearest neighbours on a CPU: most of the bank is never looked at.

Along the bank's first principal axes (which hold `SHARE` of its spread), a product of few columns
says of each block of 512 rows how near a query its rows can be at most, see `lower_costs`. The few
blocks that promise most are searched in float32, then those that can still hold one of the k
nearest. Rows are sorted along the same axes, so that what is near a query lies in few blocks.

The result does not depend on how coarse the first product is, so processors that multiply bfloat16
several times faster than float32 may do that. Products are written into memory that is used again
and again: to be given new memory can take as long as to multiply.
"""

import time
from collections.abc import Iterator
from copy import copy
from functools import lru_cache

import torch
from torch import Tensor

from .tables import CHUNK_ROWS

BLOCK = 512  # bank rows that are looked at together, or not at all
FIRST = 4  # blocks that are searched before all others are weighed; k if that is less
SHARE = 0.85  # of the bank's spread, that axes hold which tell blocks apart
SAMPLE = 4096  # bank rows that say which axes
NORMS = 3  # columns of a half norm
ROUNDING = 4e-7  # six units in the last place of float32
STORED = 2.0 ** -8  # relative error of a number stored in bfloat16
QUERIES = 1024  # times the rows of a block: a product that stays in the processor's cache
HUGE = 3e38  # an offset that no product reaches


class Boxes:
    """The rows of a bank `(m, d)` float32 in blocks, sorted and copied once.

    Args:
        dtype: of the coarse product, float32 or bfloat16.
    """

    def __init__(self, bank: Tensor, dtype: torch.dtype):
        # Distances do not change when both sides move; near the origin products are more precise.
        self.origin = bank.mean(0)
        self.axes = _principal_axes(bank[::-(-len(bank) // SAMPLE)] - self.origin)
        order = _in_boxes(torch.cat([(part - self.origin) @ self.axes
                                     for part in bank.split(CHUNK_ROWS)]))
        beyond = -len(order) % BLOCK  # rows out of reach, so that the last block is whole
        self.order = torch.cat([order, order.new_zeros(beyond)])
        rows = bank[self.order].sub_(self.origin)
        half_norms = torch.cat([part.square().sum(1) / 2 for part in rows.split(CHUNK_ROWS)])
        self.largest = float(half_norms.max().mul(2).sqrt())
        half_norms[len(bank):] = HUGE
        tables = [_coarse(part, self.axes, dtype, norms) for part, norms in zip(
            rows.split(CHUNK_ROWS), half_norms.split(CHUNK_ROWS), strict=True)]
        self.coarse = torch.cat([table for table, _ in tables])  # as the first product sees it
        self.moved = max(float(moved.max()) for _, moved in tables)
        self.rows = rows.unflatten(0, (-1, BLOCK))
        self.half_norms = half_norms.unflatten(0, (-1, BLOCK))

    def without(self, left_out: Tensor) -> "Boxes":
        """The bank rows that are not in the `(m,)` mask; the rows themselves are shared."""
        smaller = copy(self)
        gone = left_out[self.order]  # they stay where they are, out of reach
        smaller.half_norms = self.half_norms.masked_fill(gone.view_as(self.half_norms), HUGE)
        smaller.coarse = self.coarse.clone()
        smaller.coarse[gone, -NORMS:] = HUGE / NORMS
        smaller.order = ((~left_out).cumsum(0) - 1)[self.order]
        return smaller

    def nearest(self, queries: Tensor, k: int) -> Tensor:
        """`(n, k)`: the nearest bank rows of each query; k is at most a block."""
        points = queries - self.origin
        lower = self.lower_costs(points)
        costs = torch.full((len(points), k), torch.inf)
        places = torch.zeros(len(points), k, dtype=torch.int64)
        # The k best rows of a few blocks say how far one must go at most.
        first = lower.topk(min(k, FIRST, len(lower)), dim=0, largest=False).indices
        seen = torch.zeros_like(lower, dtype=torch.bool).scatter_(0, first, True)
        self._visit(points, seen, costs, places)
        self._visit(points, ~(seen | (lower > costs[:, -1])), costs, places)
        return self.order[places]

    def _visit(self, points: Tensor, wanted: Tensor, costs: Tensor, places: Tensor) -> None:
        """Search the blocks that `(blocks, n)` says; keep the k best `costs` and `places`."""
        counts = wanted.sum(1).tolist()
        buffer = torch.empty(max(QUERIES, len(points)), BLOCK)  # used again: new memory is slow
        for blocks in _groups(counts, len(buffer)):
            block, query = wanted[blocks].nonzero().T
            found = buffer[:len(query)]
            for rows, half_norms, some, out in zip(
                    self.rows[blocks], self.half_norms[blocks], points[query].split(counts[blocks]),
                    found.split(counts[blocks]), strict=True):
                torch.addmm(half_norms, some, rows.T, alpha=-1, out=out)
            better = found.amin(1) < costs[query, -1]
            block, query = block[better], query[better]
            best, at = found[better].topk(costs.shape[1], largest=False)
            at += (block[:, None] + blocks.start) * BLOCK
            _keep_best(costs, places, block, query, best, at)

    def lower_costs(self, points: Tensor) -> Tensor:
        """`(blocks, n)`: no row of the block has a lower cost, |b|^2/2 - qb, than this.

        With x' for coordinates along the axes, and x" for the rest, Cauchy and Schwarz say that
        qb <= q'b' + |q"| |b"|. Rounding to bfloat16 moves a query by at most e and a row by at most
        f, by which that product is off by e (|b| + f) + |q| f; storing it in bfloat16 by one unit.
        Sums of d numbers in float32 are off by d units in the last place at worst; the axes, the
        coordinates of both sides, the product, and the costs that this is compared with are such.
        """
        coarse = self.coarse
        coarse_points, moved = _coarse(points, self.axes, coarse.dtype)
        lengths = torch.linalg.vector_norm(points, dim=1)
        error = (ROUNDING * points.shape[1] * self.largest * (lengths + self.largest)
                 + moved * (self.largest + self.moved) + lengths * self.moved)
        count = len(points)
        buffer = coarse.new_empty(BLOCK * max(1, QUERIES // max(1, count)), count)
        highest = torch.cat([
            torch.mm(rows, coarse_points.T, out=buffer[:len(rows)])
            .unflatten(0, (-1, BLOCK)).amax(1).float() for rows in coarse.split(len(buffer))])
        stored = STORED if coarse.dtype == torch.bfloat16 else 0.0
        return -highest - error - stored * highest.abs()


def _groups(counts: list[int], most: int) -> Iterator[slice]:
    """Blocks one after the other that have at most so many queries together."""
    start = total = 0
    for block, count in enumerate(counts):
        if total + count > most:
            yield slice(start, block)
            start, total = block, 0
        total += count
    yield slice(start, len(counts))


def _keep_best(costs: Tensor, places: Tensor, block: Tensor, query: Tensor, best: Tensor,
               at: Tensor) -> None:
    """Put into `(n, k)` costs and places what is better of `(pairs, k)` of a block and a query."""
    if not len(query):
        return
    # Side by side, what each query knew, and what each of its blocks adds.
    slot = torch.zeros(int(block.max()) + 1, len(costs), dtype=torch.int64)
    slot[block, query] = 1
    slot = slot.cumsum(0)[block, query]
    shape = len(costs), int(slot.max()) + 1, costs.shape[1]
    all_costs, all_places = costs.new_full(shape, torch.inf), places.new_zeros(shape)
    all_costs[:, 0], all_places[:, 0] = costs, places
    all_costs[query, slot], all_places[query, slot] = best, at
    costs[:], which = all_costs.flatten(1).topk(costs.shape[1], largest=False)
    places[:] = all_places.flatten(1).gather(1, which)


def _principal_axes(sample: Tensor) -> Tensor:
    """`(d, r)`: the fewest principal axes of centred points that hold `SHARE` of their spread.

    And some more where a product takes no longer for them: it has a multiple of 16 columns.
    """
    sample = sample / sample.abs().max().clamp(min=1e-30)  # squares of large numbers are infinite
    spread, axes = torch.linalg.eigh(sample.T @ sample)  # ascending
    needed = int((spread.cumsum(0) > (1 - SHARE) * spread.sum()).sum())
    columns = -(-(needed + 1 + NORMS) // 16) * 16
    return axes.flip(1)[:, :columns - 1 - NORMS].contiguous()


def _in_boxes(points: Tensor) -> Tensor:
    """`(m,)`: rows in an order in which each block is a box: halves of halves, axis by axis."""
    whole, done = [(torch.arange(len(points)), 0)], []
    while whole:
        rows, depth = whole.pop()
        if len(rows) <= BLOCK:
            done.append(rows)
            continue
        rows = rows[points[rows, depth % points.shape[1]].argsort()]
        half = -(-len(rows) // BLOCK) // 2 * BLOCK
        whole += [(rows[half:], depth + 1), (rows[:half], depth + 1)]
    return torch.cat(done)


def _coarse(points: Tensor, axes: Tensor, dtype: torch.dtype,
            half_norms: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Coordinates along the axes, and the length of the rest; how far rounding moved each `(n,)`.

    Three more columns hold -1 for queries, and for bank rows (with `half_norms`) their half norm in
    three parts, which together are as precise as float32: so the product subtracts it.
    """
    exact = torch.empty(len(points), axes.shape[1] + 1)
    exact[:, :-1] = points @ axes
    squares = points.square().sum(1) * (1 + ROUNDING * points.shape[1])  # rather too long a rest
    exact[:, -1] = (squares - exact[:, :-1].square().sum(1)).clamp(min=0).sqrt()
    coarse = torch.empty(len(points), exact.shape[1] + NORMS, dtype=dtype)
    coarse[:, :-NORMS] = exact
    if half_norms is None:
        coarse[:, -NORMS:] = -1
    else:
        rest = half_norms
        for column in range(-NORMS, 0):
            coarse[:, column] = rest
            rest = rest - coarse[:, column].float()
    return coarse, torch.linalg.vector_norm(exact - coarse[:, :-NORMS].float(), dim=1)


@lru_cache(maxsize=16)
def bfloat16_is_faster(dim: int) -> bool:
    """Measured on a block: does this processor multiply bfloat16 much faster than float32?"""
    def seconds(dtype: torch.dtype) -> float:
        queries, rows = (torch.ones(count, dim, dtype=dtype) for count in (QUERIES, BLOCK))
        times = []
        for _ in range(9):
            began = time.perf_counter()
            torch.mm(rows, queries.T).amax(0)
            times.append(time.perf_counter() - began)
        return min(times)

    return seconds(torch.bfloat16) < 0.7 * seconds(torch.float32)
