"""Image and pixel metrics: exact, in bounded memory, of scores that nobody clamped or rescaled.

How they are counted is in engine/ranks.py; tests hold each to scikit-learn, or to its definition.
"""

from collections.abc import Sequence

import numpy as np

from .data.arguments import LABELS, PART, kind, numbers, one_of, takes
from .data.datasets import ImageSet
from .data.layouts import Item
from .engine.prediction import Prediction
from .engine.ranks import check_finite, count_ranks, defect_pixels, good_pixels
from .errors import InputError

FRAMES = ("model", "original")


@takes(prediction=kind(Prediction, "what predict returned"),
       images=kind(ImageSet, "the images, with labels and masks, as load_dataset reads them"),
       frame=one_of(FRAMES))
def evaluate(prediction: Prediction, images: ImageSet, *,
             frame: str = "model") -> dict[str, float | None]:
    """All metrics of a prediction, as fractions; None where labels or masks are missing.

    Args:
        prediction: of `images`, which know labels and masks.
        frame: where pixels are compared: "model", in the resized and cropped view that every peer
            evaluates in, or "original", in the photo's own pixels.

    Defective images without a mask are left out of the pixel metrics, never taken for good. Pixels
    outside a model's region are not counted; an image keeps its label, wherever its defect is.
    """
    items = [images[i] for i in prediction.indices]
    metrics = image_metrics(prediction.scores, np.array([item.label for item in items]))
    maps, masks, inside = [], [], []
    all_maps = prediction.model_maps if frame == "model" else prediction.maps
    for index, item in enumerate(items):
        mask = mask_in_frame(item, prediction, index, frame)
        if mask is not None:
            maps.append(all_maps[index])
            masks.append(mask)
            inside.append(prediction.inside(index, frame))
    return metrics | pixel_metrics(maps, masks, [one for one in inside if one is not None] or None)


def mask_in_frame(item: Item, prediction: Prediction, index: int,
                  frame: str) -> np.ndarray | None:
    where = prediction.placements[index]
    if item.label == 0:
        return np.zeros(where.size if frame == "model" else where.original, dtype=bool)
    mask = item.mask()
    if mask is None or frame != "model":
        return mask
    return prediction.transform.mask(mask, where.moved)


@takes(scores=numbers(1), labels=LABELS)
def image_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """`image_auroc`, `image_ap`, `image_f1_max` from `(n,)` scores and labels (1: defective).

    All None unless both labels occur: there is nothing to rank.
    """
    scores, labels = np.asarray(scores), np.asarray(labels).astype(bool)
    if len(scores) != len(labels):
        raise InputError(f"{len(scores)} scores, but {len(labels)} labels; give one each")
    check_finite(scores)
    if labels.all() or not labels.any():
        return dict.fromkeys(("image_auroc", "image_ap", "image_f1_max"))
    counts, _ = count_ranks(scores[labels], [scores[~labels]])
    return {"image_auroc": counts.area(), "image_ap": counts.average_precision(),
            "image_f1_max": counts.f1_max()}


def pixel_metrics(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray],
                  inside: Sequence[np.ndarray] | None = None) -> dict[str, float | None]:
    """`pixel_auroc`, `pixel_ap`, `pixel_f1_max`, `aupro_30`, `aupro_5` from maps and masks.

    Args:
        maps: n float arrays `(h_i, w_i)`.
        masks: n bool arrays of the same shapes; all False for a good image.
        inside: n bool arrays of the pixels that count; all if None.

    All None unless both defective and good pixels occur.
    """
    bad = masks if inside is None else [m & i for m, i in zip(masks, inside, strict=True)]
    masks = masks if inside is None else [m | ~i for m, i in zip(masks, inside, strict=True)]
    positives, weights = defect_pixels(maps, bad)
    negatives = sum(int(mask.size - np.count_nonzero(mask)) for mask in masks)
    if len(positives) == 0 or negatives == 0:
        return dict.fromkeys(("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro_30", "aupro_5"))
    counts, by_region = count_ranks(positives, good_pixels(maps, masks), weights)
    regions = counts.weighted(by_region)
    return {"pixel_auroc": counts.area(), "pixel_ap": counts.average_precision(),
            "pixel_f1_max": counts.f1_max(), "aupro_30": regions.area(0.3),
            "aupro_5": regions.area(0.05)}


@takes(limit=PART)
def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray],
          limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve up to a false-positive rate, over that limit.

    Regions are 8-connected components of the masks, each weighing the same whatever its size; the
    false-positive rate is taken over all good pixels of all images (Bergmann et al., 2021).
    """
    positives, weights = defect_pixels(maps, masks)
    negatives = sum(int(mask.size - np.count_nonzero(mask)) for mask in masks)
    if len(positives) == 0 or negatives == 0:
        return None
    counts, by_region = count_ranks(positives, good_pixels(maps, masks), weights)
    return counts.weighted(by_region).area(limit)
