"""Where all training features go: into memory if they fit a budget, else into a file.

Selection reads them in parts (engine/tables.py), so a memory-mapped file of half precision
serves as well as memory, up to the rounding of the numbers it holds: 5e-4 of each.
"""

import re
import tempfile

import numpy as np
import torch
from torch import Tensor

from ..data.arguments import Rule, maybe
from ..data.files import check_space
from .machine import CPU, available_memory, home_of

SAFE_SHARE = 0.5  # of the memory that is free
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BUDGET: Rule = maybe(Rule(lambda value: _amount(value) > 0, "bytes, or like 300MB or 2GB",
                          written="SIZE"))


def fits(rows: int, dim: int, budget: int) -> bool:
    return 4 * rows * dim <= budget


def feature_store(rows: int, dim: int, budget: int,
                  device: torch.device | None = None) -> Tensor:
    """Room for `(rows, dim)` features: float32 within `budget` bytes, else float16 in a file.

    Within it they lie on `device`, if one is given and has room, else in memory. The file has no
    name, so it is gone when the tensor is, whatever happens. Raises `InputError` if the disk has no
    room for it.
    """
    if fits(rows, dim, budget):
        return torch.empty(rows, dim, device=home_of(rows * dim, device or CPU))
    folder, size = tempfile.gettempdir(), 2 * rows * dim
    check_space(folder, size, f"a file of {rows:,} features",
                "set TMPDIR to a larger disk, raise the memory budget, or use fewer or smaller "
                "images")
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, np.float16, "w+", shape=(rows, dim)))


def memory_budget(given: int | str | None) -> int:
    """Bytes: a number, a text such as "300MB" or "1.5G", or (None) half of what is free."""
    if given is None:
        return int(SAFE_SHARE * available_memory())
    BUDGET.check("memory_budget", given)
    return int(_amount(given))


def _amount(given: object) -> float:
    """Bytes; 0 for what is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", str(given).strip().upper())
    return float(match[1]) * UNITS[match[2]] if match else 0
