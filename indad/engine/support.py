"""How many other photos know a patch: what tells a defect among good photos from what is usual.

A patch of a good part has its like in most other photos. That of a defect has not, or where a few
photos share the defect, only in these. So its *support* is its distance to the k-th nearest
*photo*: the nearest patch of each other photo, and of these distances the k-th smallest, with k a
share of the photos. Fewer than k others with the same defect cannot vouch for it.

SoftPatch (Jiang et al., NeurIPS 2022, arXiv 2403.14233) counts nearest patches instead, of
whichever photos, and compares densities (LOF).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError, Progress
from .lazy import farthest_first
from .machine import CPU
from .precision import in_float32
from .search import remeasured
from .selection import begin
from .tables import CHUNK_ROWS, Table
from .threads import in_threads

SHARE = 0.1  # of the other photos must know a patch: fewer may share a defect
FEWEST = 3  # photos: of two, each has a single other, which may be the bad one
WITNESSES = 64  # photos that are asked, at most: the time grows with photos, not with their square
PATCHES = 2048  # of each of them; of more, those that cover the others best


class Witnesses:
    """Photos that say whether they know a patch. Photos of one part are one witness."""

    def __init__(self, rows: Table, starts: Sequence[int], groups: Sequence | None = None, *,
                 device: torch.device | None = None, seed: int = 0):
        """
        Args:
            rows: `(n, d)` patch features, those of photo i from `starts[i]` to `starts[i + 1]`.
            groups: a label for each photo; each is a group of its own if None.
            device: where to compute; where the rows lie if None.
            seed: draws the witnesses where there are more than `WITNESSES`.

        Raises `InputError` for fewer than `FEWEST` groups.
        """
        names = list(range(len(starts) - 1) if groups is None else groups)
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if len(numbers) < FEWEST:
            what = "photos" if groups is None else "parts (groups of photos)"
            raise InputError(f"{len(numbers)} good {what} cannot vouch for each other: give at "
                             f"least {FEWEST}")
        drawn = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
        place = {number: i for i, number in enumerate(sorted(drawn[:WITNESSES].tolist()))}
        self.rows, self.device, self.count = rows, device or rows.device, len(place)
        # Which witness each photo is, or is of: None if it is not asked.
        self.place_of = [place.get(numbers[name]) for name in names]
        self.patches = [(where, _covering(rows, starts[photo], starts[photo + 1]))
                        for photo, where in enumerate(self.place_of) if where is not None]

    @in_float32
    def distances(self, patches: Tensor, without: int | None = None) -> tuple[Tensor, Tensor]:
        """How far patches `(p, d)` are from the nearest patch of each of w witnesses.

        Args:
            without: the witness that they are of, which does not count.

        Returns distances `(p, w)`, by a product and so less exact for copies, and rows `(p, w)`.
        """
        costs = patches.new_full((len(patches), self.count), torch.inf)
        nearest = torch.zeros(costs.shape, dtype=torch.int64, device=patches.device)
        origin = patches.mean(0)  # near the origin a product loses fewer digits
        patches = patches - origin
        for place, numbers in self.patches:
            if place == without:
                continue
            for some in numbers.split(CHUNK_ROWS):
                others = self._read(some).to(patches) - origin
                found, at = torch.addmm(others.square().sum(1) / 2, patches, others.T,
                                        alpha=-1).min(1)
                closer = found < costs[:, place]
                costs[closer, place] = found[closer]
                nearest[closer, place] = some.to(at)[at[closer]]
        costs += patches.square().sum(1, keepdim=True) / 2
        return costs.clamp_min_(0).mul_(2).sqrt_(), nearest

    def support(self, patches: Tensor, without: int | None = None) -> Tensor:
        """`(p,)`: the distance of patches `(p, d)` to their k-th nearest witness."""
        distances, nearest = self.distances(patches, without)
        at = distances.kthvalue(self.needed(without), dim=1, keepdim=True).indices
        rows = nearest.gather(1, at)
        return remeasured(patches, self._read(rows.flatten()).to(patches),
                          torch.arange(len(patches), device=patches.device)[:, None])[0][:, 0]

    def needed(self, without: int | None = None) -> int:
        """k: how many of the witnesses that are left must know a patch."""
        return math.ceil(round(SHARE * (self.count - (without is not None)), 9))

    def _read(self, rows: Tensor) -> Tensor:
        return self.rows[rows.to(self.rows.device)]


def supports(witnesses: Witnesses, rows: Table, starts: Sequence[int],
             own: Sequence[int | None], progress: Progress | None = None) -> Tensor:
    """`(n,)` float32: the support of every patch of photos, photo by photo.

    Args:
        rows: `(n, d)` patch features, those of photo i from `starts[i]` to `starts[i + 1]`.
        own: which witness each photo is, as `Witnesses.place_of`; None if it is none.

    Memory: some numbers for each of 2,048 patches and each witness, besides the result.
    """
    parts = [(slice(first, min(first + CHUNK_ROWS, starts[photo + 1])), place)
             for photo, place in enumerate(own)
             for first in range(starts[photo], starts[photo + 1], CHUNK_ROWS)]
    few = torch.get_num_threads() if witnesses.device.type == "cpu" else 1

    def one(part: tuple[slice, int | None]) -> Tensor:
        return witnesses.support(rows[part[0]].to(witnesses.device, torch.float32), part[1])

    found: list[Tensor] = []
    for first in range(0, len(parts), few):
        found += in_threads(one, parts[first:first + few])
        if progress:
            progress("comparing photos", len(found), len(parts))
    return torch.cat(found).to(rows.device)


def asked_patches(photos: int, patches: int) -> int:
    """How many patches each patch is compared with, of photos of so many."""
    return min(photos, WITNESSES) * min(patches, PATCHES)


def _covering(rows: Table, first: int, stop: int) -> Tensor:
    """Numbers of the rows of a photo, or of `PATCHES` of them, farthest first."""
    if stop - first <= PATCHES:
        return torch.arange(first, stop, device=rows.device)
    own = rows[first:stop].to(CPU, torch.float32)
    distances, start = begin(own, PATCHES, 0, 0, None)
    return farthest_first(own, PATCHES, first=start, distances=distances)[0].to(rows.device) + first
