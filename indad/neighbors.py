"""Exact nearest neighbours of patch features in the memory bank, in bounded memory.

A matrix product (or faiss) finds the candidates; their distances are then taken again by plain
subtraction. The product's |a|^2 - 2ab + |b|^2 cancels badly for close points, so without the
second step a patch that *is* in the bank would not get distance zero.
"""

import torch
from torch import Tensor

CHUNK_BYTES = 64 << 20  # of distances held at a time
METHODS = ("auto", "matmul", "faiss")


def nearest(queries: Tensor, bank: Tensor, k: int = 1, *,
            method: str = "auto") -> tuple[Tensor, Tensor]:
    """Find the `k` nearest rows of `bank` for each row of `queries`.

    Args:
        queries: `(n, d)` float32.
        bank: `(m, d)` float32 on the same device, `m >= k`.
        method: "matmul" runs anywhere; "faiss" is `IndexFlatL2` and runs on the CPU; "auto"
            takes faiss there, about twice as fast here, and the matrix product on a GPU.

    Returns:
        Euclidean distances `(n, k)` float32, ascending, and indices `(n, k)` int64.

    Example:
        >>> distances, indices = nearest(torch.zeros(1, 2), torch.tensor([[3., 4.], [0., 0.]]))
        >>> distances.item(), indices.item()
        (0.0, 1)
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {METHODS}")
    if not 1 <= k <= len(bank):
        raise ValueError(f"k is {k}, but the bank has {len(bank)} rows: choose 1 to {len(bank)}")
    if method == "auto":
        method = "faiss" if bank.device.type == "cpu" else "matmul"
    search = _search_faiss if method == "faiss" else _search_matmul
    return _remeasure(queries, bank, search(queries, bank, k))


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
