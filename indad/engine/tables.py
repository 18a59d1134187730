"""Rows of features wherever they lie: on a device, in memory, in a file, or in two places."""

from typing import Protocol

import torch
from torch import Tensor

CHUNK_ROWS = 2048  # rows at a time; a product with as many others stays in the processor's cache


class Table(Protocol):
    """What selection and search read: `(n, d)` rows that may be too many to hold at once.

    A tensor is one (of any precision, also memory-mapped), and so is `Joined`.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Tensor) -> Tensor: ...


class Joined:
    """Rows of two tables, `(n, d)` and `(k, d)`, read as one: the first may be too large to copy.
    """

    def __init__(self, first: Tensor, second: Tensor):
        self.tables = (first, second.to(first.device))
        self.device: torch.device = first.device
        self.shape: tuple[int, ...] = (len(first) + len(second), first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Always a float32 copy."""
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(self)), device=self.device)
        first, second = self.tables
        found = torch.empty(len(rows), self.shape[1], device=self.device)
        early = rows < len(first)
        found[early] = first[rows[early]].float()
        found[~early] = second[rows[~early] - len(first)]
        return found
