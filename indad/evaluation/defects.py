"""Pixel metrics of each single defect, and of small, medium and large ones apart.

AUPRO and the pixels' AUROC are means over defects and over their pixels. So each has its own
share: the mean of all defects' `pro_30` is `aupro_30`, and the mean of their `auroc`, weighted by
area, is `pixel_auroc` (tests/test_defects.py). A defect is an 8-connected region of a mask.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..engine.ranks import alarms_at
from .scenes import Scenes

# Shares of the picture, from (more than) to (at most); as in COCO there are three.
SIZES = {"small": (0.0, 0.001), "medium": (0.001, 0.01), "large": (0.01, 1.0)}


@dataclass(frozen=True)
class Defect:
    """One region, and how well it is told from good pixels.

    Attributes:
        image: position of its image in the prediction.
        box: left, top, right and bottom, in pixels of the map, the last two not included.
        area: its pixels; `share` of the map's.
        auroc: how often one of its pixels scores higher than a good pixel; a tie counts half.
        pro_30, pro_5: area below its overlap up to a false-positive rate of 0.3 and 0.05, over it.
        recall: share of its pixels above a threshold; None if there is none.
    """

    image: int
    box: tuple[int, int, int, int]
    area: int
    share: float
    auroc: float
    pro_30: float
    pro_5: float
    recall: float | None = None

    @property
    def size(self) -> str:
        """The name in `SIZES`."""
        return next(name for name, (_, most) in SIZES.items() if self.share <= most)


def measure_defects(scenes: Scenes, threshold: float | None = None) -> list[Defect]:
    """Each defect of all images, in their order; empty where there are no good pixels.

    Args:
        threshold: of the recall; pixels above it are found.
    """
    from scipy import ndimage

    places, scores = [], []
    for position in scenes.of(1):
        scene = scenes[position]
        if scene.defect is None or not scene.defect.any():
            continue
        numbered, _ = ndimage.label(scene.defect, structure=np.ones((3, 3)))  # 8-connected
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
            pixels = scene.heat[rows, columns][numbered[rows, columns] == number]
            box = (columns.start, rows.start, columns.stop, rows.stop)
            places.append((position, box, len(pixels), len(pixels) / numbered.size))
            scores.append(pixels)
    if not scores:
        return []
    levels = np.unique(np.concatenate(scores))
    above, at_least, total = alarms_at(levels, scenes.good_pixels())
    if not total:
        return []
    found = []
    for place, pixels in zip(places, scores, strict=True):
        level = np.searchsorted(levels, pixels)
        begin, end = above[level] / total, at_least[level] / total
        found.append(Defect(
            *place, auroc=1 - float(np.mean(begin + end)) / 2, pro_30=_overlap(begin, end, 0.3),
            pro_5=_overlap(begin, end, 0.05),
            recall=None if threshold is None else float(np.mean(pixels > threshold))))
    return found


def by_size(defects: Sequence[Defect]) -> dict[str, dict[str, float | None]]:
    """For each of `SIZES` how many there are, and their `aupro_30`, `aupro_5`, `pixel_auroc` and
    `recall`: means over defects, but of `pixel_auroc` over pixels. None where there are none."""
    table: dict[str, dict[str, float | None]] = {}
    for name in SIZES:
        of_size = [defect for defect in defects if defect.size == name]
        areas = [defect.area for defect in of_size] or [1]
        recalls = [defect.recall for defect in of_size if defect.recall is not None]
        table[name] = {
            "defects": len(of_size), "aupro_30": _mean([one.pro_30 for one in of_size]),
            "aupro_5": _mean([one.pro_5 for one in of_size]),
            "pixel_auroc": _mean([one.auroc * one.area for one in of_size], sum(areas)),
            "recall": _mean(recalls)}
    return table


def rows(defects: Sequence[Defect], names: Sequence[str]) -> list[dict]:
    """The table of all defects, the worst first, for JSON; `names` are those of the images."""
    worst_first = sorted(defects, key=lambda defect: (defect.pro_30, defect.auroc))
    return [{**asdict(defect), "image": names[defect.image], "box": list(defect.box),
             "size": defect.size} for defect in worst_first]


def _overlap(begin: np.ndarray, end: np.ndarray, limit: float) -> float:
    """The mean over pixels of the area below a curve that climbs from 0 at `begin` to 1 at `end`,
    and stays there, up to `limit`, over it: a pixel that ties with good ones is found by halves."""
    width = np.maximum(end - begin, 1e-300)
    climbed = np.clip((limit - begin) / width, 0, 1)
    area = climbed ** 2 * (end - begin) / 2 + np.maximum(limit - end, 0)
    return float(np.mean(area)) / limit


def _mean(values: Sequence[float], weight: float | None = None) -> float | None:
    return sum(values) / (weight or len(values)) if values else None
