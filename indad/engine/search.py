"""Exact nearest neighbours of patch features in the memory bank, in bounded memory: the fast way.

A product finds the candidates; their distances are then taken again by plain subtraction. The
product's |a|^2 - 2ab + |b|^2 cancels badly for close points, so without the second step a patch
that *is* in the bank would not get distance zero.
"""

import copy
import time
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from ..errors import InputError
from .precision import in_float32
from .tables import CHUNK_ROWS, Table

CHUNK_BYTES = 64 << 20  # of distances held at a time
BLOCK = 512  # bank rows whose smallest distance is kept
TILE = (512, 2048)  # queries times bank rows: a product that stays in the processor's cache
METHODS = ("auto", "float32", "bfloat16", "matmul", "faiss")
HUGE = 3e38  # an offset that no product reaches


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

    For one neighbour on a CPU ("float32", "bfloat16"), a product of all queries with all bank rows
    leaves only the smallest distance in each block of 512 rows, with a bound on its rounding error;
    then the blocks that can hold the nearest row, hardly more than one a query, are searched in
    float32. The result does not depend on how coarse the product is, so processors that multiply
    bfloat16 several times faster than float32 do that: "auto" measures it, once a process.

    Args:
        bank: `(m, d)` float32; it is not copied, except for "bfloat16" at half its size.
        method: "float32" or "bfloat16": blocks, as above, if k = 1; "matmul": distances to all
            rows, anywhere; "faiss": `IndexFlatL2`, on the CPU; "auto": blocks on a CPU and faiss
            if k > 1, and "matmul" on a GPU.
    """

    def __init__(self, bank: Tensor, *, method: str = "auto"):
        if method not in METHODS:
            raise InputError(f"method is {method!r}; it must be one of {METHODS}")
        self.bank, self.method = bank, method
        self._coarse: Tensor | None = None  # the bank as the first product sees it
        self._half_norms = self._origin = bank[:0]
        self._largest = self._rounded = 0.0

    @in_float32
    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Find the `k` nearest bank rows of each query.

        Args:
            queries: `(n, d)` float32 on the bank's device.
            k: 1 to m.

        Returns:
            Euclidean distances `(n, k)` float32, ascending, and indices `(n, k)` int64.
        """
        rows = len(self.bank)
        check_searchable(queries, self.bank, k)
        method = self._method(k)
        if method == "faiss":
            found = _search_faiss(queries, self.bank, k)
        elif method == "matmul" or k > 1:
            found = _search_matmul(queries, self.bank, k)
        else:
            self._prepare(method)
            at_once = max(TILE[0], CHUNK_BYTES // (4 * (rows // BLOCK + 1)))
            found = torch.cat([self._nearest_row(part) for part in queries.split(at_once)]
                              or [torch.empty(0, dtype=torch.int64)])[:, None]
        return _remeasure(queries, self.bank, found)

    def without(self, left_out: Tensor) -> "MemoryIndex":
        """The index of the bank rows that are not in the `(m,)` mask.

        What is prepared of the bank is shared, so that many of them cost one preparation.
        """
        if (method := self._method(1)) in ("float32", "bfloat16"):
            self._prepare(method)
        smaller = copy.copy(self)
        smaller.bank = self.bank[~left_out]
        if self._coarse is not None:
            smaller._coarse = (smaller.bank if self._coarse is self.bank
                               else self._coarse[~left_out])
            smaller._half_norms = self._half_norms[~left_out]
        return smaller

    def _method(self, k: int) -> str:
        """What "auto" means for this bank."""
        if self.method != "auto":
            return self.method
        if self.bank.device.type != "cpu":
            return "matmul"
        if k > 1:
            return "faiss"
        large = len(self.bank) >= 8 * BLOCK
        return "bfloat16" if large and bfloat16_is_faster(self.bank.shape[1]) else "float32"

    def _prepare(self, method: str) -> Tensor:
        """What the coarse product needs: half norms, offsets, and how far rounding can reach.

        -> the bank as that product sees it.
        """
        dtype = torch.float32 if method == "float32" else torch.bfloat16
        if self._coarse is not None and self._coarse.dtype == dtype:
            return self._coarse
        # Distances do not change when both sides move; near the origin products are more precise.
        self._origin = self.bank.mean(0)
        self._half_norms = torch.cat([(part - self._origin).square().sum(1) / 2
                                      for part in self.bank.split(TILE[1])])
        self._largest = float(self._half_norms.max().mul(2).sqrt())
        self._rounded = 0.0  # the most that rounding moves a bank row
        self._coarse = self.bank  # no copy
        if dtype == torch.bfloat16:
            self._coarse = torch.empty(len(self.bank), _padded(self.bank.shape[1]), dtype=dtype)
            for i in range(0, len(self.bank), TILE[1]):
                part = slice(i, i + TILE[1])
                points = self.bank[part] - self._origin
                self._coarse[part], moved = _to_bfloat16(points, self._half_norms[part])
                self._rounded = max(self._rounded, float(moved.max()))
        return self._coarse

    def _nearest_row(self, queries: Tensor) -> Tensor:
        """`(n,)`: the nearest bank row of each query."""
        smallest, error = self._block_costs(queries)
        limit = (smallest + error).amin(1)
        # Blocks first, so that what is found comes out sorted by block.
        blocks, rows = (smallest - error <= limit[:, None]).T.nonzero(as_tuple=True)
        ends = blocks.bincount(minlength=smallest.shape[1]).cumsum(0).tolist()
        costs, places = torch.empty(len(rows)), torch.empty(len(rows), dtype=torch.int64)
        points = (queries - self._origin)[rows]
        for block, (begin, end) in enumerate(zip([0, *ends], ends)):  # noqa: B905
            if begin < end:
                part, pairs = slice(block * BLOCK, (block + 1) * BLOCK), slice(begin, end)
                costs[pairs], places[pairs] = torch.addmm(
                    self._half_norms[part], points[pairs], (self.bank[part] - self._origin).T,
                    alpha=-1).min(1)
                places[pairs] += part.start
        best = torch.full((len(queries),), torch.inf).scatter_reduce(0, rows, costs, "amin")
        wins = costs == best[rows]
        found = torch.empty(len(queries), dtype=torch.int64)
        found[rows[wins]] = places[wins]
        return found

    def _block_costs(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """|b|^2/2 - qb of the best row of each block, `(n, blocks)`, and a bound on its error.

        The bound: rounding moves a query by at most e and a row by at most f, so by Cauchy and
        Schwarz the product is off by e (|b| + f) + |q| f; the sum is off by d units in the last
        place of |q||b| at worst, and storing the result in `dtype` by one unit of its own.
        """
        points = queries - self._origin
        lengths = torch.linalg.vector_norm(points, dim=1)
        error = 1e-7 * points.shape[1] * lengths * self._largest
        coarse, coarse_points, unit = self._coarse, points, 0.0
        assert coarse is not None, "search prepares it"
        if coarse.dtype == torch.bfloat16:
            coarse_points, moved = _to_bfloat16(points, None)
            error += moved * (self._largest + self._rounded) + lengths * self._rounded
            unit = 2.0 ** -8
        blocks = -(-len(self.bank) // BLOCK)
        smallest = torch.empty(len(queries), blocks)
        for i in range(0, len(self.bank), TILE[1]):
            part, to = slice(i, i + TILE[1]), slice(i // BLOCK, (i + TILE[1]) // BLOCK)
            rows = coarse[part]
            if not unit:
                rows = rows - self._origin
            for j in range(0, len(queries), TILE[0]):
                some = slice(j, j + TILE[0])
                if unit:  # -|b|^2/2 is in the table: see _to_bfloat16
                    costs = torch.mm(coarse_points[some], rows.T)
                else:
                    costs = torch.addmm(self._half_norms[part], coarse_points[some], rows.T,
                                        beta=-1)
                if costs.shape[1] % BLOCK:
                    costs = torch.nn.functional.pad(costs, (0, -costs.shape[1] % BLOCK),
                                                    value=-HUGE)
                smallest[some, to] = costs.view(len(costs), -1, BLOCK).amax(2).float()
        return -smallest, error[:, None] + unit * smallest.abs()


def distances_to(bank: Tensor, features: Table) -> Tensor:
    """`(n,)` float32: how far each of `(n, d)` features, of any precision, is from the bank."""
    index = MemoryIndex(bank)
    parts = (features[i:i + CHUNK_ROWS] for i in range(0, len(features), CHUNK_ROWS))
    return torch.cat([index.search(part.to(bank.device, torch.float32))[0][:, 0]
                      for part in parts]).to(features.device)


def worst_covered(features: Table, bank: Tensor, taken: Tensor, size: int) -> Tensor:
    """`(r,)` int64: which of `(n, d)` features a bank covers worst, the farthest first.

    Args:
        taken: int64, rows that are in the bank; they are left out.
        size: how many; all others if there are fewer.
    """
    size = min(size, len(features) - len(taken))
    if not size:  # and nothing is searched
        return taken[:0].to(features.device)
    distances = distances_to(bank, features)
    return distances.index_fill_(0, taken.to(distances.device), -1).topk(size).indices


def _padded(dim: int) -> int:
    return -(-(dim + 3) // 32) * 32


def _to_bfloat16(points: Tensor, half_norms: Tensor | None) -> tuple[Tensor, Tensor]:
    """Points in bfloat16, and how far rounding moved each `(n,)`.

    Three more columns hold -1 for queries, and for bank rows (with `half_norms`) their half norm in
    three parts, which together are as precise as float32: so the product subtracts it.
    """
    coarse = torch.zeros(len(points), _padded(points.shape[1]), dtype=torch.bfloat16)
    dim = points.shape[1]
    coarse[:, :dim] = points
    if half_norms is None:
        coarse[:, dim:dim + 3] = -1
    else:
        rest = half_norms
        for column in range(dim, dim + 3):
            coarse[:, column] = rest
            rest = rest - coarse[:, column].float()
    return coarse, torch.linalg.vector_norm(points - coarse[:, :dim].float(), dim=1)


@lru_cache(maxsize=16)
def bfloat16_is_faster(dim: int) -> bool:
    """Measured on a tile: does this processor multiply bfloat16 much faster than float32?"""
    def seconds(dtype: torch.dtype) -> float:
        queries, rows = (torch.ones(count, _padded(dim), dtype=dtype) for count in TILE)
        times = []
        for _ in range(9):
            began = time.perf_counter()
            torch.mm(queries, rows.T).view(TILE[0], -1, BLOCK).amax(2)
            times.append(time.perf_counter() - began)
        return min(times)

    return seconds(torch.bfloat16) < 0.7 * seconds(torch.float32)


def _search_matmul(queries: Tensor, bank: Tensor, k: int) -> Tensor:
    # Distances do not change when both sides move; near the origin they lose fewer digits.
    origin = bank.mean(0)
    bank = bank - origin
    half_norms = bank.square().sum(1) / 2
    rows = max(1, CHUNK_BYTES // (4 * len(bank)))
    found = []
    for chunk in queries.split(rows):
        # |q - b|^2 / 2 less the part that is the same for all b
        costs = torch.addmm(half_norms, chunk - origin, bank.T, alpha=-1)  # (rows, m)
        found.append(costs.argmin(1, keepdim=True) if k == 1
                     else costs.topk(k, dim=1, largest=False).indices)
    return torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64)


def _search_faiss(queries: Tensor, bank: Tensor, k: int) -> Tensor:
    import faiss

    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank.cpu().contiguous().numpy())
    _, found = index.search(queries.cpu().contiguous().numpy(), k)
    return torch.from_numpy(found).to(queries.device)


def _remeasure(queries: Tensor, bank: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Distances by subtraction for the candidates `(n, k)`, sorted again by them."""
    distances = torch.empty(indices.shape, dtype=queries.dtype, device=queries.device)
    rows = max(1, CHUNK_BYTES // (4 * bank.shape[1] * indices.shape[1]))
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        difference = queries[part, None] - bank[indices[part]]  # (rows, k, d)
        distances[part] = torch.linalg.vector_norm(difference, dim=2)
    distances, order = distances.sort(dim=1, stable=True)
    return distances, indices.gather(1, order)
