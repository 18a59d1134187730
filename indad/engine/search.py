"""Exact nearest neighbours of patch features in the memory bank, in bounded memory: the fast way.

A product finds the candidates; their distances are then taken again by plain subtraction. The
product's |a|^2 - 2ab + |b|^2 cancels badly for close points, so without the second step a patch
that *is* in the bank would not get distance zero.
"""

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from ..errors import InputError
from .boxes import BLOCK, QUERIES, Boxes, bfloat16_is_faster
from .machine import as_array
from .precision import in_float32
from .tables import CHUNK_ROWS, Table
from .threads import in_threads

CHUNK_BYTES = 64 << 20  # of distances held at a time
MANY = 8 * BLOCK  # bank rows, of which telling blocks apart pays
FEW = 64  # queries that a thread is not begun for
METHODS = ("auto", "float32", "bfloat16", "matmul", "faiss")

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

    Args:
        bank: `(m, d)` float32; it is copied once, sorted, where it is searched in blocks.
        method: "float32" or "bfloat16": most of the bank is never looked at, see boxes.py, for k up
            to 512; "matmul": distances to all rows, anywhere; "faiss": `IndexFlatL2`, on the CPU;
            "auto": what is fastest here of the first three, measured once a process.
    """

    def __init__(self, bank: Tensor, *, method: str = "auto"):
        if method not in METHODS:
            raise InputError(f"method is {method!r}; it must be one of {METHODS}")
        self.bank, self.method = bank, method
        self._boxes: Boxes | None = None

    @in_float32
    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Find the `k` nearest bank rows of each query.

        Args:
            queries: `(n, d)` float32 on the bank's device.
            k: 1 to m.

        Returns:
            Euclidean distances `(n, k)` float32, ascending, and indices `(n, k)` int64.
        """
        method = self._method()
        nearest: Callable[[Tensor, int], Tensor]
        if method == "faiss":
            nearest = partial(_search_faiss, self.bank)
        elif method == "matmul" or k > BLOCK:
            nearest = _by_product(self.bank)
        else:
            nearest = self._prepare(method).nearest

        def share(queries: Tensor) -> tuple[Tensor, Tensor]:
            check_searchable(queries, self.bank, k)  # by one thread: torch's stay awake after work
            return remeasured(queries, self.bank, nearest(queries, k))

        if method == "faiss" or self.bank.device.type != "cpu":  # which divide it by themselves
            return share(queries)
        distances, indices = zip(*in_threads(share, _shares(queries)), strict=True)
        return torch.cat(distances), torch.cat(indices)

    def __reduce__(self) -> tuple:
        """Copies in files and in other processes prepare the bank themselves."""
        return partial(MemoryIndex, method=self.method), (self.bank,)

    def without(self, left_out: Tensor) -> "MemoryIndex":
        """The index of the bank rows that are not in the `(m,)` mask.

        What is prepared of the bank is shared, so that many of them cost one preparation.
        """
        smaller = MemoryIndex(self.bank[~left_out], method=self.method)
        if (method := self._method()) in ("float32", "bfloat16"):
            smaller._boxes = self._prepare(method).without(left_out)
        return smaller

    def _method(self) -> str:
        """What "auto" means for this bank."""
        if self.method != "auto":
            return self.method
        if self.bank.device.type != "cpu" or len(self.bank) < MANY:
            return "matmul"
        return "bfloat16" if bfloat16_is_faster(self.bank.shape[1]) else "float32"

    def _prepare(self, method: str) -> Boxes:
        dtype = torch.float32 if method == "float32" else torch.bfloat16
        with _PREPARING:  # once, whoever asks first
            if self._boxes is None or self._boxes.coarse.dtype != dtype:
                self._boxes = Boxes(self.bank, dtype)
            return self._boxes


def _shares(queries: Tensor) -> tuple[Tensor, ...]:
    """Equal parts of at most `QUERIES`, of one image too as many as there are threads."""
    count = len(queries)
    threads = max(1, min(torch.get_num_threads(), count // FEW))
    parts = -(-count // (QUERIES * threads)) * threads
    return queries.split(-(-count // max(1, parts)))


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
