"""What fitting will take, before it is begun."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.augmentation import views_per_image
from ..data.files import in_units
from ..data.images import ImageTransform
from ..data.survey import count_frames
from ..engine.batches import load_batches
from ..engine.groups import CALIBRATION_IMAGES, FOLDS
from ..engine.memory import fits, memory_budget
from ..engine.selection import bank_size, expected_seconds
from ..engine.support import asked_patches
from ..errors import InputError


@dataclass(frozen=True)
class FitPlan:
    """What fitting will take, known after one or two images.

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


@torch.inference_mode()
def plan_fit(describe: Callable[[Tensor], Tensor], transform: ImageTransform, sources: Sequence,
             options: Mapping[str, Any]) -> FitPlan:
    """From the first two of the images (or one) that can be read, and timings of a moment.

    Args:
        describe: pixels `(b, h, w, 3)` uint8 -> patch features `(b, d, gh, gw)`.
        sources: the good images; `options`: of `PatchCore`.

    Raises `InputError` when no image can be read.
    """
    reason = ""
    for start in range(0, len(sources), 2):
        few = list(sources[start:start + 2])
        batch = next(load_batches(few, transform, batch_size=2, strict=False))
        if batch.indices:
            break
        reason = reason or f": {batch.skipped[0][1]}"
    else:
        raise InputError(f"no readable good image{reason}")
    found = describe(batch.pixels)  # the first run is slow
    _, dim, down, across = found.shape
    began = time.perf_counter()
    found = describe(next(load_batches(few, transform, batch_size=2, strict=False)).pixels)
    float(found.sum())  # waits for a GPU
    per_image = (time.perf_counter() - began) / len(batch.indices)
    views = views_per_image(options["augmentation"])
    frames = count_frames(sources, transform)
    patches = frames * views * down * across
    size = bank_size(options["coreset_ratio"], patches)
    searched = int(min(1, CALIBRATION_IMAGES / len(sources)) * frames) * down * across
    searched += patches * (options["reserve"] > 0)
    if options["robust"]:  # each patch is compared with all of some photos, not with the bank
        searched += patches * asked_patches(len(sources), patches // len(sources)) // size
    # A fold selects four fifths of the coreset from four fifths of the patches.
    selections = 1 + 0.64 * FOLDS * (options["calibration"] == "folds")
    seconds = per_image * views * frames + expected_seconds(
        int(selections * patches), size, searched, dim, device=found.device)
    return FitPlan(len(sources), patches, dim, size, memory_budget(options["memory_budget"]),
                   seconds)
