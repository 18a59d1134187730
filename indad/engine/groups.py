"""Which images judge, and which are left out with them: drawn by seed, group by group."""

from collections.abc import Collection, Sequence

import numpy as np
import torch

CALIBRATION_IMAGES = 100  # more judges would hardly move a threshold
FOLDS = 5


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


def draw_groups(images: int, groups: Sequence | None = None, *, silent: Collection[int] = (),
                seed: int = 0) -> list[list[int]]:
    """The images of each group, shuffled; the groups in an order drawn by seed.

    The first of each group judges. Images that are `silent` come last; where a group has no others,
    it is left out.
    """
    members: dict[object, list[int]] = {}
    for image, name in enumerate(range(images) if groups is None else groups):
        members.setdefault(name, []).append(image)
    generator = np.random.default_rng(seed)
    shuffled = [[group[i] for i in generator.permutation(len(group))]
                for group in members.values()]
    order = torch.randperm(len(shuffled), generator=torch.Generator().manual_seed(seed))
    drawn = (sorted(shuffled[i], key=set(silent).__contains__) for i in order.tolist())
    return [group for group in drawn if group[0] not in silent]


def draw_folds(drawn: list[list[int]]) -> list[list[list[int]]]:
    """Folds of a fifth of the groups (or of as many as have to judge), until there are enough.

    None for a single group: nothing would be left to fit on.
    """
    if len(drawn) < 2:
        return []
    size = min(-(-len(drawn) // FOLDS), CALIBRATION_IMAGES)
    return [drawn[i:i + size] for i in range(0, min(len(drawn), CALIBRATION_IMAGES), size)]
