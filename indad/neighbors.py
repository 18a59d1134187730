"""Nearest neighbours of patch features in the memory bank: how far is a patch from all good ones?

`nearest_by_product` is the search as one would write it; `nearest` gives the same distances from
`engine/search.py`, in bounded memory and far sooner. A model keeps the bank ready for many searches
as a `MemoryIndex`.
"""

import torch
from torch import Tensor

from .data.arguments import one_of, table, takes, whole
from .engine.precision import in_float32
from .engine.search import METHODS, MemoryIndex, check_searchable

__all__ = ["METHODS", "MemoryIndex", "nearest", "nearest_by_product"]


@takes(queries=table(2), bank=table(2), k=whole(), method=one_of(METHODS))
def nearest(queries: Tensor, bank: Tensor, k: int = 1, *,
            method: str = "auto") -> tuple[Tensor, Tensor]:
    """Find the `k` nearest rows of `bank` for each row of `queries`.

    Shorthand for `MemoryIndex(bank, method=method).search(queries, k)`.

    Args:
        queries: `(n, d)` float32 on the bank's device.
        bank: `(m, d)` float32.

    Returns Euclidean distances `(n, k)` float32, ascending, and indices `(n, k)` int64.

    Example:
        >>> distances, indices = nearest(torch.zeros(1, 2), torch.tensor([[3., 4.], [0., 0.]]))
        >>> distances.item(), indices.item()
        (0.0, 1)
    """
    check_searchable(bank, bank, k)  # as a model's bank was, when it was made
    return MemoryIndex(bank, method=method).search(queries, k)


@takes(queries=table(2), bank=table(2), k=whole())
@in_float32
def nearest_by_product(queries: Tensor, bank: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The same, all distances at once: |q - b|² = |q|² - 2qb + |b|².

    One product of all queries with all rows ranks them. It cancels badly for close points, so a
    patch that *is* in the bank would not get distance zero: the distances of those that were found
    are taken again, by subtraction.

    Example:
        >>> nearest_by_product(torch.zeros(1, 2), torch.tensor([[3., 4.], [0., 0.]]))[0].item()
        0.0
    """
    check_searchable(queries, bank, k)
    squares = (queries.square().sum(1)[:, None] - 2 * queries @ bank.T
               + bank.square().sum(1))                                      # (n, m)
    indices = squares.topk(k, dim=1, largest=False).indices                 # (n, k)
    distances = torch.linalg.vector_norm(queries[:, None] - bank[indices], dim=2)
    distances, order = distances.sort(dim=1, stable=True)
    return distances, indices.gather(1, order)
