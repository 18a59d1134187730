"""Where all training features go: into memory if they fit a budget, else into a file.

Selection reads them in parts (coreset.py), so a memory-mapped file of half precision serves as
well as memory, up to the rounding of the numbers it holds: 5e-4 of each.
"""

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import check_space, in_units

SAFE_SHARE = 0.5  # of the memory that is free
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class FitPlan:
    """What fitting will take, known after two images.

    Attributes:
        images, patches, dim, coreset_size: counts.
        budget: bytes that features may take in memory.
        seconds: extraction, selection and calibration together, from timings of this machine.
    """

    images: int
    patches: int
    dim: int
    coreset_size: int
    budget: int
    seconds: float

    @property
    def bytes(self) -> int:
        """Size of the features where they will lie."""
        return self.patches * self.dim * (4 if self.fits else 2)

    @property
    def fits(self) -> bool:
        return fits(self.patches, self.dim, self.budget)

    def __str__(self) -> str:
        where = "in memory" if self.fits else "float16 in a temporary file"
        return (f"{self.images} images, {self.patches:,} patches x {self.dim} = "
                f"{in_units(self.bytes)} {where} (budget {in_units(self.budget)}), "
                f"{self.coreset_size:,} to keep; about {self.seconds:.0f} s")


def fits(rows: int, dim: int, budget: int) -> bool:
    return 4 * rows * dim <= budget


def feature_store(rows: int, dim: int, budget: int) -> Tensor:
    """Room for `(rows, dim)` features: float32 in memory within `budget` bytes, else float16.

    The file has no name, so it is gone when the tensor is, whatever happens. Raises `InputError`
    if the disk has no room for it.
    """
    if fits(rows, dim, budget):
        return torch.empty(rows, dim)
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
    text = str(given).strip().upper()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text)
    if not match or float(match[1]) == 0:
        raise InputError(f"memory_budget is {given!r}; write bytes, or like 300MB or 2GB")
    return int(float(match[1]) * UNITS[match[2]])


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, or of its container if less."""
    free = 4 << 30  # where the system does not tell
    if sys.platform == "linux":
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next((1024 * int(line.split()[1]) for line in lines
                     if line.startswith("MemAvailable")), free)
    for limit, used in (("memory.max", "memory.current"),
                        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            left = [int((Path("/sys/fs/cgroup") / name).read_text()) for name in (limit, used)]
        except (OSError, ValueError):  # no such container, or "max"
            continue
        free = min(free, max(left[0] - left[1], 0))
    return free
