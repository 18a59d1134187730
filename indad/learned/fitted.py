"""What a model has learned, as one record that nobody changes: it is made anew, whole, or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration import decide
from ..data.levels import Levels
from ..data.region import Region
from ..data.registration import Reference
from ..engine.approximate import index_of
from ..engine.search import MemoryIndex
from ..errors import InputError
from ..presets import FREE_OPTIONS
from .suspects import Suspects


@dataclass(frozen=True, eq=False)
class Fitted:
    """What `fit` and `update` make, `save` writes and `predict` reads.

    Attributes:
        options: the arguments of `PatchCore` that it was made with.
        memory_bank: `(m, d)` float32 patch features, scaled.
        coreset_indices: `(m,)` int64, which of all patches fitted on they are, in the order of
            picking; `coreset_radii` `(m,)` are the covering radii, see `coreset.CoresetSelection`.
        feature_scale: `(d,)` factors that every patch feature is multiplied with, or `(1,)`.
        calibration_scores, calibration_peaks: `(k,)` float64 scores and map peaks of good images as
            if they were new, which thresholds are taken from; empty if there are none.
        grid: patches down and across; `size`: (h, w) in pixels of what the network saw.
        images: how many the bank was selected from; `views` of each, see data/augmentation.py.
        tiles: into how many each of them was cut; None if into none.
        fitted_on: their positions among all images that `fit` and then `update` were given.
        given: how many those are; `files`: their paths, None where a picture was given instead, all
            None if features were given; `fingerprint`: a SHA-256 over their contents; `digests`:
            one of each that was learned, by which a copy is known, None if features were given.
        reserve: `(r, d)` patches kept beside the bank for `update`, and `reserve_indices` `(r,)`.
        selected_from: "float32", or "float16" if the features were above the memory budget.
        suspects: photos that a robust fit did not take for good; None if it was none.
        skipped: (position, reason) of images that could not be read, of the last call.
        levels: of photos of more than 8 bits, that later ones are read by, see data/levels.py.
        region: that is looked at, all if None; `looked_at`: how many patches that were.
        reference: that photos are aligned to, see data/reference.py; None if to none.
        examples: some of the images, for an export's check; `timings` in seconds.
        index: the bank ready to be searched; prepared once, with the first search.
    """

    options: dict[str, Any]
    memory_bank: Tensor
    coreset_indices: Tensor
    coreset_radii: Tensor
    feature_scale: Tensor
    calibration_scores: np.ndarray
    calibration_peaks: np.ndarray
    grid: tuple[int, int]
    size: tuple[int, int]
    images: int
    views: int
    fitted_on: list[int]
    given: int
    files: list[str | None] | None
    fingerprint: str | None
    reserve: Tensor
    reserve_indices: Tensor
    selected_from: str
    digests: list[str] | None = None
    tiles: list[int] | None = None
    suspects: Suspects | None = None
    skipped: list[tuple[int, str]] = field(default_factory=list)
    levels: Levels = field(default_factory=dict)
    region: Region | None = None
    looked_at: int | None = None
    reference: Reference | None = None
    examples: list = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    index: MemoryIndex = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.index is None or self.index.bank is not self.memory_bank:
            object.__setattr__(self, "index", index_of(self.memory_bank, self.options))

    @property
    def seen(self) -> int:
        """How many patches there were, those outside a region included."""
        images = self.images if self.tiles is None else sum(self.tiles)
        return images * self.views * self.grid[0] * self.grid[1]

    def image_of(self, indices: Tensor) -> Tensor:
        """Which of the images each of all patches fitted on is of."""
        patches = self.views * self.grid[0] * self.grid[1]
        if self.tiles is None:
            return indices // patches
        ends = torch.tensor(self.tiles, device=indices.device).cumsum(0) * patches
        return torch.searchsorted(ends, indices, right=True)

    def origin(self, index: int) -> tuple[int, int, int]:
        """Which image one of all patches fitted on is of, which of its frames (tiles of its first
        view, of the second, ...), and which patch of that."""
        image = int(self.image_of(torch.tensor(index)))
        before = image if self.tiles is None else sum(self.tiles[:image])
        frame, inside = divmod(index, self.grid[0] * self.grid[1])
        return image, frame - before * self.views, inside

    def thresholds(self, false_alarm_rate: float) -> dict:
        """Of image scores and maps, for a rate of false alarms; None if nothing was calibrated."""
        decided = decide(self.calibration_scores, self.calibration_peaks, false_alarm_rate)
        return {"false_alarm_rate": false_alarm_rate, "calibrated_on": decided["calibrated_on"],
                "score": decided["threshold"], "map": decided["map_threshold"]}

    def check_unchanged(self, now: Mapping[str, Any]) -> None:
        """Raise `InputError` if an option that matters is another than when this was fitted."""
        for name in now:
            if name not in FREE_OPTIONS and self.options[name] != now[name]:
                raise InputError(f"{name} was {self.options[name]!r} when this PatchCore was "
                                 f"fitted and is {now[name]!r} now; fit it again, or set it back")

    def scaled(self, rows: Tensor) -> Tensor:
        """Patch features `(n, d)` from anywhere, scaled as the bank is and where it is."""
        return rows.to(self.device, torch.float32) * self.feature_scale

    def to(self, device: torch.device) -> "Fitted":
        """The same on another device."""
        if device == self.device:
            return self
        return replace(self, **{name: getattr(self, name).to(device) for name in (
            "memory_bank", "coreset_indices", "feature_scale", "reserve", "reserve_indices")})

    @property
    def device(self) -> torch.device:
        return self.memory_bank.device
