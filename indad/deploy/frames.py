"""Frames of photos, of which only a region is looked at, as an exported file takes them."""

from collections.abc import Sequence

import numpy as np
import torch

from ..data.images import as_rgb
from ..engine.machine import as_array
from ..patchcore import PatchCore
from ..scores import score_images


def frames_of(model: PatchCore, sources: Sequence, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frames of these images: pixels `(n, h, w, 3)` uint8, and which of them are looked
    at, `(n, h, w)` bool."""
    pixels, inside, transform = [], [], model.transform_
    for source in sources:
        image = as_rgb(source, model.levels_)
        whole = transform.pixels(image)
        frames = transform.frames((image.height, image.width))
        pixels += ([whole[one.top:, one.left:][:one.size[0], :one.size[1]] for one in frames]
                   if transform.tiles else [whole])
        looked_at = transform.inside(frames)
        inside += list(looked_at.numpy()) if looked_at is not None else []
        if len(pixels) >= most:
            break
    return np.stack(pixels[:most]), np.stack(inside[:most])


@torch.inference_mode()
def say(model: PatchCore, pixels: np.ndarray,
        inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores `(n,)` and maps `(n, h, w)` of such frames, as `predict` finds them."""
    fitted, looked_at = model.check_fitted(), torch.from_numpy(inside)
    rows = model.prepare()(torch.from_numpy(pixels), looked_at).permute(0, 2, 3, 1).flatten(0, 2)
    scores, maps = score_images(fitted.scaled(rows), fitted.index, fitted.grid, fitted.size,
                                model.options, looked_at.to(fitted.device))
    return as_array(scores), as_array(maps)
