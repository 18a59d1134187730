"""The machine that this runs on: its device, its memory, its versions."""

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..errors import InputError

CPU: torch.device = torch.device("cpu")


def pick_device(device: str = "auto") -> torch.device:
    """The device of a name; "auto" is the accelerator that torch finds, else the CPU.

    With its number, as tensors have it: "cuda" is cuda:0, or the one that torch is set to. Raises
    `InputError` for a device that is not there.
    """
    found = accelerator()
    if device == "auto":
        return found or CPU
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is not None and wanted.type == "cpu":
        return CPU
    if wanted is not None and found is not None and wanted.type == found.type:
        if wanted.index is None:
            return found
        if wanted.index < _backend(found).device_count():
            return wanted
    there = ["auto", "cpu"]
    if found is not None:
        there += [f"{found.type}:{i}" for i in range(_backend(found).device_count())]
    raise InputError(f"device is {device!r}, which is not on this machine; choose "
                     f"{', '.join(there[:-1])} or {there[-1]}")


def accelerator() -> torch.device | None:
    """The GPU, or whatever else torch computes on here; None if there is only a CPU."""
    if not torch.accelerator.is_available():
        return None
    current = torch.accelerator.current_accelerator()
    assert current is not None  # as one is available
    return torch.device(current.type, torch.accelerator.current_device_index())


def _backend(device: torch.device) -> Any:
    """`torch.cuda` of a cuda device, and so on."""
    return getattr(torch, device.type)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; half of the machine's where it does not tell."""
    if device.type == "cpu":
        return available_memory()
    backend = _backend(device)
    try:
        if device.type == "mps":  # which has no memory of its own
            return backend.recommended_max_memory() - backend.driver_allocated_memory()
        return backend.mem_get_info(device)[0]
    except (AttributeError, RuntimeError):
        return available_memory() // 2


def home_of(numbers: int, device: torch.device) -> torch.device:
    """The device, if so many float32 take no more than half of what is free there; else the CPU."""
    fits = device.type == "cpu" or 4 * numbers <= free_memory(device) // 2
    return device if fits else CPU


def on_device(rows: Tensor, device: torch.device) -> Tensor:
    """Rows where they are computed with, if there is room."""
    return rows if rows.device == device else rows.to(home_of(rows.numel(), device))


def as_array(tensor: Tensor) -> np.ndarray:
    """The way back from a device: the same numbers in NumPy."""
    return tensor.detach().cpu().numpy()


def in_double(rows: Tensor) -> Tensor:
    """float64 numbers; in the machine's memory if the device has none."""
    return (rows.cpu() if rows.device.type == "mps" else rows).double()


def device_name(device: torch.device) -> str:
    """What the device is called; of a CPU, its architecture."""
    try:
        return _backend(device).get_device_name(device)
    except (AttributeError, RuntimeError):
        return platform.machine()


def available_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can still take: of the machine, or of its container if less."""
    free = 4 << 30  # where the system does not tell
    if sys.platform == "linux":
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next((1024 * int(line.split()[1]) for line in lines
                     if line.startswith("MemAvailable")), free)
    for limit, used in (("memory.max", "memory.current"),
                        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            left = [int((cgroup / name).read_text()) for name in (limit, used)]
        except (OSError, ValueError):  # no such container, or "max"
            continue
        free = min(free, max(left[0] - left[1], 0))
    return free


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 ** 2 if sys.platform == "darwin" else 1024), 1)


def environment(device: torch.device) -> dict:
    """Versions and device: what a number depends on besides its configuration."""
    packages = ("torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn",
                "faiss-cpu", "pillow")
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {"python": platform.python_version(), "platform": platform.system(),
            "device": f"{device.type} ({device_name(device)})", "threads": torch.get_num_threads(),
            "indad": __version__, **versions}
