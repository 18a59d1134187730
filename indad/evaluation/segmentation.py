"""Pixels and images above one threshold that no defect had a say in, as MVTec AD 2 asks for.

L. Heckler-Kram, J.-H. Neudeck, U. Scheler, R. Koenig, C. Steger, "The MVTec AD 2 Dataset: Advanced
Scenarios for Unsupervised Anomaly Detection", arXiv 2503.21622: besides AU-PRO up to a
false-positive rate of 0.05 its benchmark counts the F1 of thresholded pixels. The threshold is the
participant's choice from good images; as a baseline the authors' tools give the mean of all pixels
of the good validation images plus three standard deviations.
"""

from collections.abc import Iterable

import numpy as np

from ..data.arguments import MANY, number, numbers, takes
from ..engine.prediction import Prediction
from ..engine.ranks import check_finite
from ..errors import InputError
from .scenes import Scenes

SIGMAS = 3.0


@takes(maps=MANY, sigmas=number())
def threshold_of(maps: Iterable[np.ndarray], sigmas: float = SIGMAS) -> float:
    """The mean of all pixels of good images' maps plus so many standard deviations.

    Args:
        maps: of any shapes, asked for one by one.

    Raises `InputError` without a single pixel, and for pixels that are not finite.
    """
    count, mean, squares = 0, 0.0, 0.0
    for index, one in enumerate(maps):
        numbers().check(f"map {index}", one)
        check_finite(one)
        pixels = np.asarray(one, dtype=np.float64)
        step = float(pixels.mean()) - mean if pixels.size else 0.0
        both = count + pixels.size
        if both:  # Chan et al.: the parts' sums of squares and what lies between their means
            squares += float(np.square(pixels - pixels.mean()).sum()) if pixels.size else 0.0
            squares += step ** 2 * count * pixels.size / both
            mean += step * pixels.size / both
        count = both
    if not count:
        raise InputError("no good images to take a threshold from")
    return mean + sigmas * (squares / count) ** 0.5


def pixels_of(parts: Iterable[Prediction], frame: str = "model") -> Iterable[np.ndarray]:
    """The pixels that count of each map, `(m,)`, of predictions as `PatchCore.stream` gives them.
    """
    for part in parts:
        maps = part.model_maps if frame == "model" else part.maps
        for index in range(len(part)):
            inside = part.inside(index, frame)
            yield np.ravel(maps[index]) if inside is None else maps[index][inside]


def counts_at(scenes: Scenes, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Hits, false alarms and misses `(n, 3)` of each image's pixels above a threshold, and of the
    image itself, which is flagged if one of its pixels is. Pixels without a mask are not counted.
    """
    pixels, images = np.zeros((2, len(scenes), 3), np.int64)
    for position, scene in enumerate(scenes):
        above = scene.heat > threshold
        if scene.inside is not None:
            above &= scene.inside
        images[position] = _compare(np.array(above.any()), np.array(bool(scene.item.label)))
        if scene.defect is not None and scene.good is not None:
            hits, _, misses = _compare(above, scene.defect)
            pixels[position] = hits, np.count_nonzero(above & scene.good), misses
    return pixels, images


def at_threshold(pixels: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """`seg_f1`, `seg_precision` and `seg_recall` of all pixels together and `class_f1` of images,
    from counts `(..., 3)` as `counts_at` has them, summed over images; nan without any defect."""
    hits, alarms, misses = np.moveaxis(np.asarray(pixels, float), -1, 0)
    with np.errstate(invalid="ignore"):
        recall = hits / (hits + misses)
    return {"seg_f1": _f1(pixels), "seg_recall": recall,
            "seg_precision": np.where(np.isnan(recall), np.nan, hits / np.maximum(
                hits + alarms, 1)),  # 0 if nothing was flagged
            "class_f1": _f1(images)}


def _f1(counts: np.ndarray) -> np.ndarray:
    hits, alarms, misses = np.moveaxis(np.asarray(counts, float), -1, 0)
    return np.where(hits + misses > 0, 2 * hits / np.maximum(2 * hits + alarms + misses, 1),
                    np.nan)


def _compare(flagged: np.ndarray, defective: np.ndarray) -> tuple[int, int, int]:
    return (int(np.count_nonzero(flagged & defective)),
            int(np.count_nonzero(flagged & ~defective)),
            int(np.count_nonzero(~flagged & defective)))
