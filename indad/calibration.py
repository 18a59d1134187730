"""How a model scores good images that it has not seen, and the thresholds taken from them.

A bank knows its own images too well, so each image is judged by a bank without it. There are three
ways to such a bank (`coverage.md` in results/reference/benchmarks has what they keep of their
promise):

- "leave-one-out": the model's bank less the image's own patches. It costs one search an image.
  The other patches were selected with the image in view: no theorem, but measured to be safe. With
  a coreset ratio of 1 the bank is exactly the one that would have been fitted without the image.
- "folds": for each fifth of the images a bank selected from the other four. It costs four
  selections more. Such banks are smaller than the model's, so good images score higher there.
- "held-out": a fifth of the images judges and never enters the model's bank. It costs training
  images; in return its promise is a theorem (split conformal prediction: Vovk et al. 2005).

Where a bank holds all patches, a larger one never raises a patch distance. Then, with the score
"max" and all images judging, leave-one-out at a wanted rate of a has at most 2a false alarms by
theorem, and folds hardly more (Barber et al. 2021, "Predictive inference with the jackknife+",
Theorems 1 and 4). With a coreset none of this is proved for either: what is known is measured.

Images that show one and the same part go together: `groups` says which. All of a group is left out
at once, and one image of it, drawn by seed, judges: a new part has no sibling in the bank.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data.arguments import SHARE, numbers, takes, whole
from .engine.groups import CALIBRATION_IMAGES, draw_folds, draw_groups
from .engine.search import MemoryIndex
from .engine.threads import in_threads
from .errors import InputError, Progress

CALIBRATIONS: tuple[str, ...] = ("leave-one-out", "folds", "held-out")

Score = Callable[[Tensor, MemoryIndex, int], tuple[Tensor, Tensor]]
Case = tuple[int, MemoryIndex, Tensor | None]  # an image, and the index less these rows of its bank


def calibrate(rows: Tensor, index: MemoryIndex, owners: Tensor, score: Score,
              select: Callable[[Tensor], Tensor], judges: Tensor | None, method: str, *,
              prepare: Callable[[Tensor], MemoryIndex], groups: Sequence | None, seed: int,
              **images: Any) -> tuple[np.ndarray, np.ndarray]:
    """Image scores and peaks of good images, in one of the three ways; see their functions.

    `judges` are the features of images that were held out, where `method` holds some out; `images`
    are patches, views and tiles of those that judge, who of them is silent, and progress.
    """
    if judges is not None:
        return score_held_out(judges, index, score, **images)
    if method == "folds":
        return cross_fit(rows, select, score, prepare=prepare, groups=groups, seed=seed, **images)
    return leave_one_out(rows, index, owners, score, groups=groups, seed=seed, **images)


def leave_one_out(rows: Tensor, index: MemoryIndex, owners: Tensor, score: Score, *, patches: int,
                  views: int = 1, tiles: Sequence[int] | None = None,
                  groups: Sequence | None = None, silent: Collection[int] = (), seed: int = 0,
                  progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Score training images against the bank without the patches of their group.

    Args:
        rows: `(n * views * patches, d)` features of the training images, as the bank has them.
        index: of the bank `(m, d)`; `owners` `(m,)` says from which image each entry came.
        score: patches `(t * patches, d)` of an image, an index and the first of the rows -> scores
            `(t,)` and maps `(t, h, w)` of its tiles. An image is as bad as its worst tile.
        views: of each image, all of which are left out with it; only the first one is scored.
        tiles: t of each image, whose rows stand together; 1 each if None.
        groups: `(n,)` labels, each image its own group if None; `silent` images do not judge.

    Returns image scores and the peaks of the maps, `(k,)` each, of one image for each of up to
    `CALIBRATION_IMAGES` groups drawn by seed; empty for a single group, whose bank would be empty.
    """
    starts = _starts(rows, patches, views, tiles)
    drawn = draw_groups(len(starts) - 1, groups, silent=silent, seed=seed)[:CALIBRATION_IMAGES]
    cases = ((members[0], index, _among(owners, members)) for members in drawn)
    return _judged(rows, starts, cases, len(drawn), score, views, progress)


def cross_fit(rows: Tensor, select: Callable[[Tensor], Tensor], score: Score, *,
              prepare: Callable[[Tensor], MemoryIndex] = MemoryIndex, patches: int,
              views: int = 1, tiles: Sequence[int] | None = None,
              groups: Sequence | None = None, silent: Collection[int] = (), seed: int = 0,
              progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Score training images against banks that were selected without their fold.

    Folds are dealt group by group. With many images fewer folds than `FOLDS` give enough judges.

    Args:
        select: a mask of the rows `(n * views * patches,)` that must be left out -> a bank
            `(m, d)` of others, which `prepare` makes ready to be searched.

    The other arguments, and what is returned, are those of `leave_one_out`.
    """
    starts = _starts(rows, patches, views, tiles)
    folds = draw_folds(draw_groups(len(starts) - 1, groups, silent=silent, seed=seed))
    owners = torch.arange(len(starts) - 1).repeat_interleave(starts.diff()).to(rows.device)

    def cases() -> Iterator[Case]:
        for fold in folds:
            left_out = _among(owners, [image for members in fold for image in members])
            index = prepare(select(left_out))
            yield from ((members[0], index, None) for members in fold)

    return _judged(rows, starts, cases(), sum(map(len, folds)), score, views, progress)


def score_held_out(rows: Tensor, index: MemoryIndex, score: Score, *, patches: int,
                   views: int = 1, tiles: Sequence[int] | None = None,
                   silent: Collection[int] = (),
                   progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Image scores and peaks, as `leave_one_out` returns them, of images that were held out."""
    starts = _starts(rows, patches, views, tiles)
    cases = [(image, index, None) for image in range(len(starts) - 1) if image not in silent]
    return _judged(rows, starts, iter(cases), len(cases), score, views, progress)


def _starts(rows: Tensor, patches: int, views: int, tiles: Sequence[int] | None) -> Tensor:
    """`(n + 1,)` first rows of each image, and the end."""
    counts = torch.tensor(tiles or [1] * (len(rows) // (patches * views)))
    return torch.cat([counts.new_zeros(1), (counts * patches * views).cumsum(0)])


def _among(owners: Tensor, images: list[int]) -> Tensor:
    return torch.isin(owners, torch.tensor(images, device=owners.device))


@torch.inference_mode()
def _judged(rows: Tensor, starts: Tensor, cases: Iterator[Case], count: int, score: Score,
            views: int, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and peaks of the first view of each case's image."""
    def judge(case: Case) -> tuple[float, float] | None:
        image, index, left_out = case
        if left_out is not None:
            index = index.without(left_out)
        if not len(index.bank):
            return None
        first, stop = starts[image:image + 2].tolist()
        own = rows[first:first + (stop - first) // views].to(index.bank.device, torch.float32)
        found, maps = score(own, index, first)
        return float(found.max()), float(maps.max())

    judged: list[tuple[float, float] | None] = []
    while some := list(islice(cases, torch.get_num_threads())):
        on_cpu = some[0][1].bank.device.type == "cpu"
        judged += in_threads(judge, some) if on_cpu else map(judge, some)
        if progress:
            progress("calibrating", len(judged), count)
    found = np.array([one for one in judged if one], dtype=float).reshape(-1, 2)
    return found[:, 0], found[:, 1]


@takes(good_scores=numbers(1), false_alarm_rate=SHARE)
def conformal_threshold(good_scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score above which an image is called defective, for a wanted false-alarm rate a.

    Among n + 1 exchangeable good images, the new one exceeds the ceil((n + 1)(1 - a))-th smallest
    of the other n with probability at most a: split conformal prediction (Vovk et al. 2005; Lei
    et al. 2018, Theorem 2.2). The promise holds on average over calibration images and new ones;
    the rate of a single threshold scatters around it (if scores are continuous, as a Beta
    distribution with a standard deviation of about sqrt(a / n)). Whether scores are exchangeable
    with those of new images depends on how they were found, see above.

    With n < 1/a - 1 no finite threshold can promise a; the largest score is taken, and the rate
    that it does promise is `lowest_false_alarm_rate(n)`.

    Args:
        good_scores: `(n,)` scores of good images that the model had not seen, n >= 1.
        false_alarm_rate: a, in (0, 1).
    """
    good_scores = _good(good_scores)
    n = len(good_scores)
    rank = math.ceil(round((n + 1) * (1 - false_alarm_rate), 9))  # 58.00000000000001 is 58
    return float(np.sort(good_scores)[min(rank, n) - 1])


@takes(n=whole(0))
def lowest_false_alarm_rate(n: int) -> float:
    """The lowest rate that n good scores can promise: of n + 1 images, each may be the worst."""
    return 1 / (n + 1)


@takes(good_scores=numbers(1), good_peaks=numbers(1), false_alarm_rate=SHARE)
def decide(good_scores: np.ndarray, good_peaks: np.ndarray, false_alarm_rate: float) -> dict:
    """Thresholds of scores and of maps, from good images alone, and what they can promise.

    All are None without good images: a single training image leaves nothing to judge it by.

    Args:
        good_scores, good_peaks: `(n,)` scores and map peaks of good images, not seen by the model.
    """
    n = len(good_scores)
    return {"threshold": conformal_threshold(good_scores, false_alarm_rate) if n else None,
            "map_threshold": conformal_threshold(good_peaks, false_alarm_rate) if n else None,
            "calibrated_on": n,
            "lowest_false_alarm_rate": lowest_false_alarm_rate(n) if n else None}


@takes(good_scores=numbers(1), score=numbers())
def conformal_rank(good_scores: np.ndarray, score: float | np.ndarray) -> np.ndarray:
    """How unusual a score is among good ones: (1 + #{good >= score}) / (n + 1), in (0, 1].

    Up to ties it is uniform for a good image and small for a defective one, whatever the scale of
    the scores; P(rank <= a) <= a for a good one. So it is a p-value, and "rank <= a" is the verdict
    of `conformal_threshold`, as long as n can promise a.

    Args:
        good_scores: `(n,)` scores of good images that the model had not seen, n >= 1.
        score: of any shape, which is the shape of the result.

    Example:
        >>> conformal_rank(np.array([1.0, 2.0, 3.0]), [0.5, 2.0, 9.0])
        array([1.  , 0.75, 0.25])
    """
    good_scores = np.sort(_good(good_scores))
    at_least = len(good_scores) - np.searchsorted(good_scores, score, side="left")
    return (1 + at_least) / (len(good_scores) + 1)


def _good(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    if len(scores) == 0:
        raise InputError("no good scores to take a threshold from; give at least one")
    if not np.isfinite(scores).all():
        raise InputError("good scores must be finite; there is a nan or an infinity among them")
    return scores
