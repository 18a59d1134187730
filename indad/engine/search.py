"""Exact nearest neighbours of patch features in the memory bank, in bounded memory: the fast way.

A product finds the candidates; their distances are then taken again by plain subtraction. The
product's |a|^2 - 2ab + |b|^2 cancels badly for close points, so without the second step a patch
that *is* in the bank would not get distance zero.
"""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from ..errors import InputError
from .machine import as_array
from .precision import in_float32
from .tables import CHUNK_ROWS, Table
from .threads import in_threads

CHUNK_BYTES = 64 << 20  # of distances held at a time
BLOCK = 512  # bank rows that are looked at together, or not at all
FIRST = 4  # blocks that are searched before all others are weighed; k if that is less
MANY = 8 * BLOCK  # bank rows, of which telling blocks apart pays
SHARE = 0.85  # of the bank's spread, that axes hold which tell blocks apart
SAMPLE = 4096  # bank rows that say which axes
NORMS = 3  # columns of a half norm
ROUNDING = 4e-7  # six units in the last place of float32
STORED = 2.0 ** -8  # relative error of a number stored in bfloat16
QUERIES = 1024  # times the rows of a block: a product that stays in the processor's cache
METHODS = ("auto", "float32", "bfloat16", "matmul", "faiss")
HUGE = 3e38  # an offset that no product reaches

_PREPARING = Lock()


class Index(Protocol):
    """A bank that can be searched: `MemoryIndex`, or the one that ONNX can express."""

    @property
    def bank(self) -> Tensor: ...

    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]: ...


def check_searchable(queries: Tensor, bank: Tensor, k: int) -> None:
    """Raise `InputError` for what has no nearest rows; on a GPU it would wait to look for NaN."""
    rows = len(bank)
    if not 1 <= k <= rows:
        raise InputError(f"k is {k}, but the bank has {rows} rows: choose 1 to {rows}")
    if queries.shape[1] != bank.shape[1]:
        raise InputError(f"queries are {tuple(queries.shape)} and the bank is {tuple(bank.shape)}; "
                         "both must have equally many columns")
    if queries.device.type == "cpu" and not bool(torch.isfinite(queries).all()):
        raise InputError("queries are not finite: they hold NaN or infinity")


class MemoryIndex:
    """A memory bank made ready for many searches.

    On a CPU ("float32", "bfloat16") most of the bank is never looked at. Along the bank's first
    principal axes (which hold `SHARE` of its spread), a product of few columns says of each block
    of 512 rows how near a query its rows can be at most, see `_lower_costs`. The few blocks that
    promise most are searched in float32, then those that can still hold one of the k nearest. Rows
    are sorted along the same axes, so that what is near a query lies in few blocks.

    The result does not depend on how coarse that first product is, so processors that multiply
    bfloat16 several times faster than float32 do that: "auto" measures it, once a process.

    Args:
        bank: `(m, d)` float32; it is copied once, sorted, where it is searched in blocks.
        method: "float32" or "bfloat16": blocks, as above, for k up to 512; "matmul": distances to
            all rows, anywhere; "faiss": `IndexFlatL2`, on the CPU; "auto": blocks on a CPU if the
            bank has many, otherwise "matmul".
    """

    def __init__(self, bank: Tensor, *, method: str = "auto"):
        if method not in METHODS:
            raise InputError(f"method is {method!r}; it must be one of {METHODS}")
        self.bank, self.method = bank, method
        self._coarse: Tensor | None = None  # the bank as the first product sees it
        self._rows = self._half_norms = self._origin = self._axes = self._order = bank[:0]
        self._largest = self._moved = 0.0

    @in_float32
    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Find the `k` nearest bank rows of each query.

        Args:
            queries: `(n, d)` float32 on the bank's device.
            k: 1 to m.

        Returns:
            Euclidean distances `(n, k)` float32, ascending, and indices `(n, k)` int64.
        """
        check_searchable(queries, self.bank, k)
        method = self._method()
        nearest: Callable[[Tensor, int], Tensor]
        if method == "faiss":
            nearest = partial(_search_faiss, self.bank)
        elif method == "matmul" or k > BLOCK:
            nearest = _by_product(self.bank)
        else:
            self._prepare(method)
            nearest = self._nearest_rows

        def share(queries: Tensor) -> tuple[Tensor, Tensor]:
            return remeasured(queries, self.bank, nearest(queries, k))

        if method == "faiss" or self.bank.device.type != "cpu":  # which divide it by themselves
            return share(queries)
        distances, indices = zip(*in_threads(share, queries.split(QUERIES)), strict=True)
        return torch.cat(distances), torch.cat(indices)

    def __reduce__(self) -> tuple:
        """Copies in files and in other processes prepare the bank themselves."""
        return partial(MemoryIndex, method=self.method), (self.bank,)

    def without(self, left_out: Tensor) -> "MemoryIndex":
        """The index of the bank rows that are not in the `(m,)` mask.

        What is prepared of the bank is shared, so that many of them cost one preparation.
        """
        if (method := self._method()) in ("float32", "bfloat16"):
            self._prepare(method)
        smaller = MemoryIndex(self.bank[~left_out], method=self.method)
        if self._coarse is not None:
            vars(smaller).update(vars(self), bank=smaller.bank)
            gone = left_out[self._order]  # they stay where they are, out of reach
            smaller._half_norms = self._half_norms.masked_fill(gone, HUGE)
            smaller._coarse = self._coarse.clone()
            smaller._coarse[gone, -NORMS:] = HUGE / NORMS
            smaller._order = ((~left_out).cumsum(0) - 1)[self._order]
        return smaller

    def _method(self) -> str:
        """What "auto" means for this bank."""
        if self.method != "auto":
            return self.method
        if self.bank.device.type != "cpu" or len(self.bank) < MANY:
            return "matmul"
        return "bfloat16" if bfloat16_is_faster(self.bank.shape[1]) else "float32"

    def _prepare(self, method: str) -> None:
        """Axes, the bank sorted along them, and what the coarse product needs."""
        dtype = torch.float32 if method == "float32" else torch.bfloat16
        with _PREPARING:  # once, whoever asks first
            if self._coarse is None or self._coarse.dtype != dtype:
                self._make_coarse(dtype)

    def _make_coarse(self, dtype: torch.dtype) -> None:
        # Distances do not change when both sides move; near the origin products are more precise.
        self._origin = self.bank.mean(0)
        sample = self.bank[::-(-len(self.bank) // SAMPLE)] - self._origin
        self._axes = _principal_axes(sample)
        self._order = _in_boxes(torch.cat([(part - self._origin) @ self._axes
                                           for part in self.bank.split(CHUNK_ROWS)]))
        self._rows = self.bank[self._order].sub_(self._origin)
        self._half_norms = torch.cat([part.square().sum(1) / 2
                                      for part in self._rows.split(CHUNK_ROWS)])
        self._largest = float(self._half_norms.max().mul(2).sqrt())
        tables = [_coarse(rows, self._axes, dtype, half_norms) for rows, half_norms in zip(
            self._rows.split(CHUNK_ROWS), self._half_norms.split(CHUNK_ROWS), strict=True)]
        self._moved = max(float(moved.max()) for _, moved in tables)
        self._coarse = torch.cat([table for table, _ in tables])  # last: now all is there

    def _nearest_rows(self, queries: Tensor, k: int) -> Tensor:
        """`(n, k)`: the nearest bank rows of each query; k is at most a block."""
        points = queries - self._origin
        lower = self._lower_costs(points)
        costs = torch.full((len(points), k), torch.inf)
        places = torch.zeros(len(points), k, dtype=torch.int64)
        # The k best rows of a few blocks say how far one must go at most.
        first = lower.topk(min(k, FIRST, len(lower)), dim=0, largest=False).indices
        seen = torch.zeros_like(lower, dtype=torch.bool).scatter_(0, first, True)
        self._visit(points, seen, costs, places)
        self._visit(points, ~(seen | (lower > costs[:, -1])), costs, places)
        return self._order[places]

    def _visit(self, points: Tensor, wanted: Tensor, costs: Tensor, places: Tensor) -> None:
        """Search the blocks that `(blocks, n)` says; keep the k best `costs` and `places`."""
        k = costs.shape[1]
        for block, some in enumerate(wanted.nonzero()[:, 1].split(wanted.sum(1).tolist())):
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            found = torch.addmm(self._half_norms[part], points[some], self._rows[part].T, alpha=-1)
            better = found.amin(1) < costs[some, -1]
            some, found = some[better], found[better]
            best, at = found.topk(min(k, found.shape[1]), largest=False)
            costs[some], which = torch.cat([costs[some], best], 1).topk(k, largest=False)
            places[some] = torch.cat([places[some], at + part.start], 1).gather(1, which)

    def _lower_costs(self, points: Tensor) -> Tensor:
        """`(blocks, n)`: no row of the block has a lower |b|^2/2 - qb than this.

        With x' for coordinates along the axes, and x" for the rest, Cauchy and Schwarz say that
        qb <= q'b' + |q"| |b"|. Rounding to bfloat16 moves a query by at most e and a row by at most
        f, by which that product is off by e (|b| + f) + |q| f; storing it in bfloat16 by one unit.
        Sums of d numbers in float32 are off by d units in the last place at worst; the axes, the
        coordinates of both sides, the product, and the costs that this is compared with are such.
        """
        coarse = self._coarse
        assert coarse is not None, "search prepares it"
        coarse_points, moved = _coarse(points, self._axes, coarse.dtype)
        lengths = torch.linalg.vector_norm(points, dim=1)
        error = (ROUNDING * points.shape[1] * self._largest * (lengths + self._largest)
                 + moved * (self._largest + self._moved) + lengths * self._moved)
        highest = torch.stack([torch.mm(rows, coarse_points.T).amax(0).float()
                               for rows in coarse.split(BLOCK)])
        stored = STORED if coarse.dtype == torch.bfloat16 else 0.0
        return -highest - error - stored * highest.abs()


def distances_to(index: MemoryIndex, features: Table) -> Tensor:
    """`(n,)` float32: how far each of `(n, d)` features, of any precision, is from the bank."""
    parts = (features[i:i + CHUNK_ROWS] for i in range(0, len(features), CHUNK_ROWS))
    return torch.cat([index.search(part.to(index.bank.device, torch.float32))[0][:, 0]
                      for part in parts]).to(features.device)


def worst_covered(features: Table, index: MemoryIndex, taken: Tensor, size: int,
                  left_out: Tensor | None = None) -> Tensor:
    """`(r,)` int64: which of `(n, d)` features a bank covers worst, the farthest first.

    Args:
        taken: int64, rows that are in the bank; they are left out.
        size: how many; all others if there are fewer.
        left_out: `(n,)` bool, rows that must not be taken.
    """
    size = min(size, len(features) - len(taken) - (0 if left_out is None else int(left_out.sum())))
    if not size:  # and nothing is searched
        return taken[:0].to(features.device)
    distances = distances_to(index, features)
    if left_out is not None:
        distances[left_out.to(distances.device)] = -1
    return distances.index_fill_(0, taken.to(distances.device), -1).topk(size).indices


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


def _by_product(bank: Tensor) -> Callable[[Tensor, int], Tensor]:
    """A function `(queries, k)` -> the nearest bank rows `(n, k)`, by distances to all."""
    # Distances do not change when both sides move; near the origin they lose fewer digits.
    origin = bank.mean(0)
    bank = bank - origin
    half_norms = bank.square().sum(1) / 2
    rows = max(1, CHUNK_BYTES // (4 * len(bank)))

    def nearest(queries: Tensor, k: int) -> Tensor:
        found = []
        for chunk in queries.split(rows):
            # |q - b|^2 / 2 less the part that is the same for all b
            costs = torch.addmm(half_norms, chunk - origin, bank.T, alpha=-1)  # (rows, m)
            found.append(costs.argmin(1, keepdim=True) if k == 1
                         else costs.topk(k, dim=1, largest=False).indices)
        return torch.cat(found)

    return nearest


def _search_faiss(bank: Tensor, queries: Tensor, k: int) -> Tensor:
    import faiss

    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(as_array(bank.contiguous()))
    _, found = index.search(as_array(queries.contiguous()), k)
    return torch.from_numpy(found).to(queries.device)


def remeasured(queries: Tensor, bank: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Distances by subtraction for the candidates `(n, k)`, sorted by them; of row -1 infinite."""
    distances = torch.empty(indices.shape, dtype=queries.dtype, device=queries.device)
    rows = max(1, CHUNK_BYTES // (4 * bank.shape[1] * indices.shape[1]))
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        difference = queries[part, None] - bank[indices[part]]  # (rows, k, d)
        distances[part] = torch.linalg.vector_norm(difference, dim=2)
    distances.masked_fill_(indices < 0, torch.inf)
    distances, order = distances.sort(dim=1, stable=True)
    return distances, indices.gather(1, order)
