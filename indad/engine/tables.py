"""Rows of features wherever they lie: on a device, in memory, in a file, or in two places."""

from collections.abc import Iterator
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


def stream(table: Table, device: torch.device,
           rows: int = CHUNK_ROWS) -> Iterator[tuple[slice, Tensor]]:
    """Parts of a table in their order, of so many rows, on the device that computes with them.

    From memory or a file to a CUDA device, one part is read while the device is busy with the one
    before; three are held at most, whatever the table's size.
    """
    parts = [slice(i, i + rows) for i in range(0, len(table), rows)]
    if device.type != "cuda" or table.device.type != "cpu":
        for part in parts:
            yield part, table[part].to(device)
        return
    ahead = pinned(table[parts[0]], device)
    for i, part in enumerate(parts):
        here = ahead.to(device, non_blocking=True)
        yield part, here
        if i + 1 < len(parts):
            ahead = pinned(table[parts[i + 1]], device)
        float(here[0, 0])  # waits for the device; else parts would pile up that it has not read


def pinned(rows: Tensor, device: torch.device) -> Tensor:
    """A copy in the CPU's memory, for CUDA in a part of it that copies are fastest to and from."""
    return torch.empty(rows.shape, dtype=rows.dtype,
                       pin_memory=device.type == "cuda").copy_(rows)
