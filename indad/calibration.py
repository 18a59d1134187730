"""How a model scores good images that it has not seen, found with training images alone.

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

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from .coreset import random_coreset
from .neighbors import MemoryIndex

CALIBRATIONS = ("leave-one-out", "folds", "held-out")
CALIBRATION_IMAGES = 100  # more judges would hardly move a threshold
FOLDS = 5

Score = Callable[[Tensor, MemoryIndex], tuple[Tensor, Tensor]]
Progress = Callable[[str, int, int], None]


def leave_one_out(rows: Tensor, index: MemoryIndex, owners: Tensor, score: Score, *, patches: int,
                  views: int = 1, groups: Sequence | None = None, seed: int = 0,
                  progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Score training images against the bank without the patches of their group.

    Args:
        rows: `(n * views * patches, d)` features of the training images, as the bank has them.
        index: of the bank `(m, d)`; `owners` `(m,)` says from which image each entry came.
        score: patches `(patches, d)` and an index -> a score `(1,)` and a map `(1, h, w)`.
        views: of each image, all of which are left out with it; only the first one is scored.
        groups: `(n,)` labels; each image is a group of its own if None.

    Returns image scores and the peaks of the maps, `(k,)` each, of one image for each of up to
    `CALIBRATION_IMAGES` groups drawn by seed; empty for a single group, whose bank would be empty.
    """
    drawn = draw_groups(len(rows) // (patches * views), groups, seed=seed)[:CALIBRATION_IMAGES]

    def cases() -> Iterable[tuple[int, MemoryIndex]]:
        for members in drawn:
            yield members[0], index.without(_among(owners, members))

    return _judged(rows, cases(), len(drawn), score, patches, views, progress)


def cross_fit(rows: Tensor, select: Callable[[Tensor], Tensor], score: Score, *, patches: int,
              views: int = 1, groups: Sequence | None = None, seed: int = 0,
              progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Score training images against banks that were selected without their fold.

    Folds are dealt group by group. With many images fewer folds than `FOLDS` give enough judges.

    Args:
        select: a mask of the rows `(n * views * patches,)` that must be left out -> a bank
            `(m, d)` of others.

    The other arguments, and what is returned, are those of `leave_one_out`.
    """
    images = len(rows) // (patches * views)
    folds = draw_folds(draw_groups(images, groups, seed=seed))
    owners = torch.arange(images, device=rows.device).repeat_interleave(patches * views)

    def cases() -> Iterable[tuple[int, MemoryIndex]]:
        for fold in folds:
            left_out = _among(owners, [image for members in fold for image in members])
            index = MemoryIndex(select(left_out))
            yield from ((members[0], index) for members in fold)

    return _judged(rows, cases(), sum(map(len, folds)), score, patches, views, progress)


def hold_out(images: int, groups: Sequence | None = None, *,
             seed: int = 0) -> tuple[list[int], list[int]]:
    """-> the images to fit on, and those that judge: one of each group that is held out.

    A fifth of the groups, but no more than `CALIBRATION_IMAGES`, is held out with all its images;
    none if there is only one.
    """
    folds = draw_folds(draw_groups(images, groups, seed=seed))
    held_out = folds[0] if folds else []
    gone = {image for members in held_out for image in members}
    return ([image for image in range(images) if image not in gone],
            [members[0] for members in held_out])


def judge(rows: Tensor, index: MemoryIndex, score: Score, *, patches: int, views: int = 1,
          progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Image scores and peaks, as `leave_one_out` returns them, of images that were held out."""
    images = len(rows) // (patches * views)
    return _judged(rows, ((image, index) for image in range(images)), images, score, patches,
                   views, progress)


def draw_groups(images: int, groups: Sequence | None = None, *, seed: int = 0) -> list[list[int]]:
    """The images of each group, shuffled; the groups in an order drawn by seed."""
    members: dict[object, list[int]] = {}
    for image, name in enumerate(range(images) if groups is None else groups):
        members.setdefault(name, []).append(image)
    generator = np.random.default_rng(seed)
    shuffled = [[group[i] for i in generator.permutation(len(group))]
                for group in members.values()]
    return [shuffled[i] for i in random_coreset(len(shuffled), len(shuffled), seed=seed).tolist()]


def draw_folds(drawn: list[list[int]]) -> list[list[list[int]]]:
    """Folds of a fifth of the groups (or of as many as have to judge), until there are enough.

    None for a single group: nothing would be left to fit on.
    """
    if len(drawn) < 2:
        return []
    size = min(-(-len(drawn) // FOLDS), CALIBRATION_IMAGES)
    return [drawn[i:i + size] for i in range(0, min(len(drawn), CALIBRATION_IMAGES), size)]


def _among(owners: Tensor, images: list[int]) -> Tensor:
    return torch.isin(owners, torch.tensor(images, device=owners.device))


@torch.inference_mode()
def _judged(rows: Tensor, cases: Iterable[tuple[int, MemoryIndex]], count: int, score: Score,
            patches: int, views: int, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and peaks of images, each with an index to be searched for its first view."""
    scores, peaks = [], []
    for done, (image, index) in enumerate(cases, start=1):
        if len(index.bank):
            own = rows[image * patches * views:][:patches].to(index.bank.device, torch.float32)
            found, anomaly_map = score(own, index)
            scores.append(float(found))
            peaks.append(float(anomaly_map.max()))
        if progress:
            progress("calibrating", done, count)
    return np.array(scores), np.array(peaks)
