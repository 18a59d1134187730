"""The machine that this runs on: its device, its memory, its versions."""

import platform
import sys
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from ..errors import InputError


def pick_device(device: str = "auto") -> torch.device:
    """"auto" is the GPU if there is one. Raises `InputError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device is cuda, but this machine has none; use --device cpu")
    return torch.device(device)


def on_device(rows: Tensor, device: torch.device) -> Tensor:
    """On the GPU if there is one and they take no more than half of what is free there."""
    if device.type == "cuda" and 4 * rows.numel() <= torch.cuda.mem_get_info(device)[0] // 2:
        return rows.to(device)
    return rows


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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"python": platform.python_version(), "platform": platform.system(),
            "device": f"{device.type} ({name})", "threads": torch.get_num_threads(),
            "indad": __version__, **versions}
