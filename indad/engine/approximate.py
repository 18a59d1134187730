"""Approximate nearest neighbours, for banks so large that the exact ones take too long: faiss.

"ivfpq" is the index of the reference implementation: rows are sorted into 512 cells, each kept as a
byte for every few numbers, and a query is compared with what lies in the nearest cells (Jégou et
al. 2011). "hnsw" walks from neighbour to neighbour through a graph of the rows (Malkov and Yashunin
2018). What either finds is measured again: its distance is true, but it may not be the nearest. So
a patch is never scored too low. How often: results/reference/benchmarks/approximate.md.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .machine import as_array
from .search import MemoryIndex, check_searchable, remeasured

SEARCHES: tuple[str, ...] = ("exact", "ivfpq", "hnsw")
FEWEST = 39 * 256  # rows that faiss wants to learn bytes from: smaller banks are searched exactly
CELLS, BYTES = 512, 64  # of the reference implementation; bytes are a divisor of the dimension
VISITED = 16  # cells; the reference implementation looks into one
LINKS, KEPT = 32, 128  # of each row to others; the nearest so far that a walk goes on from
CANDIDATES = 8  # for each neighbour, to be measured again


def index_of(bank: Tensor, options: Mapping[str, Any]) -> MemoryIndex:
    """A bank `(m, d)` to be searched as `search` and `seed` of a model's options say."""
    how = options.get("search", "exact")  # which older models do not know
    if how == "exact" or len(bank) < FEWEST:
        return MemoryIndex(bank)
    return ApproximateIndex(bank, how, options["seed"])


class ApproximateIndex(MemoryIndex):
    """A `MemoryIndex` that may miss a neighbour; built with its first search, alike for one seed.

    It is not saved: an index of faiss is a program's memory, not to be read from a stranger.
    """

    def __init__(self, bank: Tensor, how: str, seed: int):
        super().__init__(bank)
        self.how, self.seed = how, seed
        self._found: Any = None  # what faiss built, of this bank or of one with more rows,
        self._kept: Tensor | None = None  # of which only these are to be found

    def __reduce__(self) -> tuple:
        return ApproximateIndex, (self.bank, self.how, self.seed)

    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """As `MemoryIndex.search`, and exactly for a query of which too few are found."""
        check_searchable(queries, self.bank, k)
        rows = self._candidates(queries, min(k * CANDIDATES, len(self.bank)))
        distances, indices = (found[:, :k] for found in remeasured(queries, self.bank, rows))
        few = ~distances[:, -1].isfinite()
        if few.any():
            distances, indices = distances.clone(), indices.clone()
            distances[few], indices[few] = super().search(queries[few], k)
        return distances, indices

    def without(self, left_out: Tensor) -> "ApproximateIndex":
        """What was built is shared: its rows that are left out are passed over."""
        smaller = ApproximateIndex(self.bank[~left_out], self.how, self.seed)
        smaller._found, smaller._kept = self._built(), ~left_out
        return smaller

    def _candidates(self, queries: Tensor, count: int) -> Tensor:
        """`(n, count)` rows, the best first; -1 where there are no more."""
        faiss = _faiss()
        only = {}
        if self._kept is not None:
            bits = np.packbits(self._kept.cpu().numpy(), bitorder="little")
            only["sel"] = faiss.IDSelectorBitmap(bits)
        how = (faiss.SearchParametersHNSW(efSearch=max(KEPT, count), **only)
               if self.how == "hnsw" else faiss.SearchParametersIVF(nprobe=VISITED, **only))
        rows = as_array(queries.contiguous())
        found = torch.from_numpy(self._built().search(rows, count, params=how)[1])
        if self._kept is not None:  # as the smaller bank counts them
            found = torch.where(found < 0, found, (self._kept.cpu().cumsum(0) - 1)[found])
        return found.to(queries.device)

    def _built(self) -> Any:
        if self._found is None:
            build = _graph if self.how == "hnsw" else _cells
            self._found = build(as_array(self.bank.contiguous()), self.seed)
        return self._found


def _faiss() -> Any:
    import faiss  # its types are incomplete

    return faiss


def _cells(rows: np.ndarray, seed: int) -> Any:
    faiss = _faiss()
    count, dim = rows.shape
    parts = max(size for size in range(1, BYTES + 1) if dim % size == 0)
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dim), dim, min(CELLS, count // 39), parts, 8)
    index.cp.seed = index.pq.cp.seed = seed % 2 ** 31
    index.train(rows)
    index.add(rows)
    return index


def _graph(rows: np.ndarray, seed: int) -> Any:
    faiss = _faiss()
    index = faiss.IndexHNSWFlat(rows.shape[1], LINKS)
    index.hnsw.rng = faiss.RandomGenerator(seed % 2 ** 31)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several add rows in an order that nobody knows
    try:
        index.add(rows)
    finally:
        faiss.omp_set_num_threads(threads)
    return index
