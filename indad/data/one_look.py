"""What one look at an image file tells, for audit.py."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .images import opened, read_image
from .levels import Levels
from .near_duplicates import fine_detail


@dataclass(frozen=True)
class Picture:
    """What one look at an image file tells."""

    error: str | None = None
    size: str = ""
    mode: str = ""
    format: str = ""
    digest: str = ""
    detail: np.ndarray | None = None
    notes: tuple[str, ...] = ()  # about its grey levels and pages


def look(path: Path, levels: Levels) -> Picture:
    """Open a file, and read it by the levels of the set that it is in."""
    notes: list[str] = []
    try:
        with opened(path) as image:
            mode, kind = image.mode, image.format
        upright = read_image(path, levels, notes)
    except InputError as error:
        return Picture(error=str(error))
    return Picture(None, f"{upright.width}x{upright.height}", mode, kind or "",
                   hashlib.sha256(repr(upright.size).encode() + upright.tobytes()).hexdigest(),
                   fine_detail(upright), tuple(notes))
