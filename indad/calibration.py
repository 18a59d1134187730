"""How a model scores good images that it has not seen, found with training images alone."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .coreset import random_coreset
from .neighbors import MemoryIndex

CALIBRATION_IMAGES = 100


@torch.inference_mode()
def leave_one_out(rows: Tensor, index: MemoryIndex, owners: Tensor,
                  score: Callable[[Tensor, MemoryIndex], tuple[Tensor, Tensor]], *, patches: int,
                  views: int = 1, seed: int = 0,
                  progress: Callable[[str, int, int], None] | None = None,
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Score training images against the bank without their own patches.

    Args:
        rows: `(n * views * patches, d)` features of the training images, as the bank has them.
        index: of the bank `(m, d)`; `owners` `(m,)` says from which image each entry came.
        score: patches `(patches, d)` and an index -> a score `(1,)` and a map `(1, h, w)`.
        views: of each image, all of which are left out with it; only the first one is scored.

    Returns image scores and the peaks of the maps, `(k,)` each, of up to `CALIBRATION_IMAGES`
    images drawn by seed; empty for a single image, whose bank would be empty.
    """
    per_image = patches * views
    images = len(rows) // per_image
    chosen = random_coreset(images, min(images, CALIBRATION_IMAGES), seed=seed).tolist()
    scores, peaks = [], []
    for done, image in enumerate(chosen, start=1):
        others = index.without(owners == image)
        if len(others.bank):
            own = rows[image * per_image:][:patches].to(index.bank.device, torch.float32)
            found, anomaly_map = score(own, others)
            scores.append(float(found))
            peaks.append(float(anomaly_map.max()))
        if progress:
            progress("calibrating", done, len(chosen))
    return np.array(scores), np.array(peaks)
