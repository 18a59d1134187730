"""Which photos, called good, are probably not; and what a robust fit makes of them.

A photo is as suspect as its worst patch: its support in other photos, see engine/support.py. Most
photos are good, so the middle of these scores says what is usual, and how far good ones scatter. A
photo beyond that limit is *suspect*: it does not judge in calibration, where a few defects would
raise the threshold for good, and its patches beyond the limit do not enter the bank, where they
would hide the next defect of the kind. Its other patches do.

A defect that is no odder than the oddest good photo passes. But it may judge oddly: by the same
rule, scores of calibration that are beyond their own limit set no threshold either.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..coreset import CoresetSelection
from ..engine.search import MemoryIndex, distances_to
from ..engine.support import FEWEST, Witnesses, supports
from ..errors import Progress

SIGMAS = 3.0  # of good photos, whose scores are about log-normal: one in 700 is beyond them
LEAST_SPREAD = 0.01  # of scores, where photos are all but copies


@dataclass(frozen=True)
class Suspects:
    """What a robust fit took for suspect, of all photos that it and `update` were given.

    Attributes:
        limit: of good photos' scores; `usual`: their median.
        photos: (position, score) of each suspect, as it was found.
        patches: how many of theirs are not remembered.
        trusted: calibration scores beyond it set no threshold; None if none was, as in models
            that were saved before there was such a limit.
        odd: how many scores were beyond it, of photos that are not suspect.
    """

    limit: float
    usual: float
    photos: list[tuple[int, float]]
    patches: int
    trusted: float | None = None
    odd: int = 0

    def in_words(self, given: int, files: Sequence[str | None] | None, most: int = 5) -> str:
        """In a line: which, how far beyond what is usual, and what that means for the model."""
        odd = (f"; of {self.odd} more the score in calibration, beyond {self.trusted:.3g}, sets no "
               "threshold" if self.odd else "")
        if not self.photos:
            return f"robust: none of {given} photos is suspect{odd}"
        worst = sorted(self.photos, key=lambda photo: -photo[1])
        names = [Path(file).name if files and (file := files[position]) else f"photo {position}"
                 for position, _ in worst[:most]]
        named = [f"{name} ({score:.3g})"
                 for name, (_, score) in zip(names, worst, strict=False)]
        more = f" and {len(worst) - most} more" if len(worst) > most else ""
        return (f"robust: {len(worst)} of {given} photos suspect, beyond {self.limit:.3g} where "
                f"{self.usual:.3g} is usual: {', '.join(named)}{more}; they set no threshold, and "
                f"{self.patches:,} of their patches are not remembered{odd}")


@dataclass(frozen=True)
class Doubts:
    """Of the photos at hand: rows that must not enter the bank, and photos that do not judge.

    `muted` is `(n,)` bool, None if there is no doubt; `silent` counts the photos that could judge.
    """

    muted: Tensor | None = None
    silent: Collection[int] = ()
    record: Suspects | None = None

    def of(self, picked: CoresetSelection) -> CoresetSelection:
        """The picks that a bank may take: what it keeps is what it would have kept without doubt.
        """
        if self.muted is None:
            return picked
        stay = ~self._among(picked.indices)
        return CoresetSelection(picked.indices[stay], picked.radii[stay.cpu()])

    def besides(self, left_out: Tensor) -> Tensor:
        """`(m,)` bool: rows that are left out anyway, and those of doubt, which are the first."""
        if self.muted is None:
            return left_out
        return left_out | self._among(torch.arange(len(left_out), device=left_out.device))

    def not_left(self, taken: Tensor) -> Tensor:
        """Rows that a reserve must not hold: those that the bank has `taken`, and the muted."""
        if self.muted is None:
            return taken
        return torch.cat([taken, self.muted.nonzero()[:, 0].to(taken)])

    def _among(self, rows: Tensor) -> Tensor:
        """Which rows are muted; those beyond the photos at hand, of a reserve, are not."""
        assert self.muted is not None
        muted = self.muted.to(rows.device)
        return (rows < len(muted)) & muted[rows.clamp(max=len(muted) - 1)]


@dataclass(frozen=True)
class Photos:
    """Patches `(n, d)` of photos, scaled, so many (all views) of each, and where they were given.

    `outside` `(n,)` bool says which of them are outside of the region that is looked at.
    """

    rows: Tensor
    patches: Sequence[int]
    positions: Sequence[int]
    outside: Tensor | None = None

    @property
    def starts(self) -> list[int]:
        return [0, *accumulate(self.patches)]


def find_doubts(learned: Photos, judges: Photos | None, groups: Sequence | None, *, seed: int,
                device: torch.device, known: Suspects | None = None,
                index: MemoryIndex | None = None, progress: Progress | None = None) -> Doubts:
    """Doubts about photos that are learned, and about those that only judge, if some do.

    Args:
        groups: a label for each of the learned; photos of one part do not vouch for each other.
        known, index: what was found, and the bank, before these: then the limit is known, and a
            patch that the bank has is supported, as it was by the photos of then.

    Raises `InputError` where so few photos cannot vouch for each other, and nothing is known.
    """
    labels = range(len(learned.positions)) if groups is None else groups
    witnesses = None
    if known is None or len(set(labels)) >= FEWEST:
        witnesses = Witnesses(learned.rows, learned.starts, groups, device=device, seed=seed)

    def of(photos: Photos, own: Sequence[int | None]) -> tuple[Tensor, np.ndarray]:
        found = photos.rows.new_full((len(photos.rows),), torch.inf, dtype=torch.float32)
        if witnesses is not None:
            found = supports(witnesses, photos.rows, photos.starts, own, progress)
        if index is not None:
            found = found.minimum(distances_to(index, photos.rows))
        if photos.outside is not None:
            found[photos.outside.to(found.device)] = 0
        return found, photo_scores(found, photos.patches)

    support, scores = of(learned, witnesses.place_of if witnesses else [])
    limit, usual = (known.limit, known.usual) if known else robust_limit(scores)
    muted, suspect = support > limit, scores > limit
    silent, photos = np.flatnonzero(suspect), _named(scores, suspect, learned)
    if judges is not None:
        _, judged = of(judges, [None] * len(judges.positions))
        silent = np.flatnonzero(judged > limit)
        photos += _named(judged, judged > limit, judges)
    record = Suspects(limit, usual, photos, int(muted.sum()),
                      known.trusted if known else None)
    return Doubts(muted if record.patches else None, silent.tolist(), record)


def joined(known: Suspects | None, new: Suspects | None, given: int) -> Suspects | None:
    """What was known, and what was found among photos that came after `given` others."""
    if known is None or new is None:
        return known
    return replace(known, patches=known.patches + new.patches, odd=known.odd + new.odd,
                   photos=known.photos + [(given + position, score)
                                          for position, score in new.photos])


def limited(record: Suspects | None, scores: np.ndarray) -> Suspects | None:
    """What is known of suspects, with the limit that calibration's scores `(k,)` themselves set."""
    if record is None or not len(scores):
        return record
    return replace(record, trusted=robust_limit(scores)[0])


def judging(scores: np.ndarray, peaks: np.ndarray, record: Suspects | None,
            ) -> tuple[np.ndarray, np.ndarray, Suspects | None]:
    """The scores and peaks `(k,)` of calibration that set thresholds; the others are counted."""
    if record is None or record.trusted is None:
        return scores, peaks, record
    stay = scores <= record.trusted
    return scores[stay], peaks[stay], replace(record, odd=int((~stay).sum()))


def photo_scores(support: Tensor, patches: Sequence[int]) -> np.ndarray:
    """`(k,)` float64: the worst patch of each photo, of the support `(n,)` of all patches."""
    return np.array([float(part.max()) for part in support.split(list(patches))])


def robust_limit(scores: np.ndarray) -> tuple[float, float]:
    """The limit of good photos' scores, and their median, though some scores are of bad photos.

    Median and median absolute deviation of logarithms, as scores are skewed. Few photos say less
    about how far good ones scatter: there Student's t takes the place of three sigmas.
    """
    from scipy.stats import norm, t

    logs = np.log(np.maximum(scores, 1e-12))
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), LEAST_SPREAD)
    reach = float(t.ppf(norm.cdf(SIGMAS), max(len(scores) - 1, 1)))
    return float(np.exp(middle + reach * spread)), float(np.exp(middle))


def _named(scores: np.ndarray, suspect: np.ndarray, photos: Photos) -> list[tuple[int, float]]:
    return [(photos.positions[i], float(scores[i])) for i in np.flatnonzero(suspect).tolist()]
