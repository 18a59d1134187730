"""How each measure is taken from a prediction, and what it comes to if images are drawn anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.datasets import ImageSet
from ..engine.prediction import Prediction
from ..engine.ranks import RankCounts, region_shares
from ..errors import InputError
from ..metrics import image_metrics
from .defects import by_size, measure_defects, rows
from .intervals import Curves, Positives
from .pimo import pimo
from .scenes import Scene, Scenes
from .segmentation import at_threshold, counts_at
from .spro import CONFIG, auspro, config_of, defects_of, read_saturations, shares

NOTHING: Positives = (np.empty(0), np.empty(0), 0)
# Of LOCO: the mean over kinds of defects, and what comes before the name of a kind.
MEANS = (("auspro_5", "auspro_5"), ("image_auroc_mean", "image_auroc"))


@dataclass
class Found:
    """What a measure gives.

    Attributes:
        metrics: fractions by name; None where labels or masks are missing.
        tables: what is no single number, as JSON has it.
        resampled: how often each image is drawn, `(count, n)` -> `(count,)` for each metric.
    """

    metrics: dict[str, float | None] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    resampled: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None


@dataclass(frozen=True)
class Task:
    """A prediction of images, the frame of pixels, and a threshold of maps, if there is one."""

    prediction: Prediction
    images: ImageSet
    frame: str = "model"
    threshold: float | None = None

    @property
    def scenes(self) -> Scenes:
        return Scenes(self.prediction, self.images, self.frame)


def of_ranks(task: Task) -> Found:
    """Of the metrics that `evaluate` takes, what they would come to."""
    scores, scenes = np.asarray(task.prediction.scores, np.float64), task.scenes
    images = _of_images(scores, scenes.labels)
    defects = [_defect(scene) for scene in scenes]
    pixels = Curves.of(defects, map(_good, scenes)) if any(one[2] for one in defects) else None

    def resampled(times: np.ndarray) -> dict[str, np.ndarray]:
        found = images.resampled(times, image_auroc=_auroc, image_ap=_ap, image_f1_max=_f1_max)
        return found | (pixels.resampled(
            times, pixel_auroc=_auroc, pixel_ap=_ap, pixel_f1_max=_f1_max,
            aupro_30=lambda _, regions: regions.area(0.3), aupro_5=_au5) if pixels else {})

    return Found(resampled=resampled)


def of_pimo(task: Task) -> Found:
    """For the interval defective images are drawn; the thresholds stay those of all good ones."""
    scenes = task.scenes
    good = scenes.of(0)
    marked = {place: scene.heat[scene.defect] for place in scenes.of(1)
              for scene in [scenes[place]] if scene.defect is not None and scene.defect.any()}
    if not marked or not good:
        return Found({"aupimo": None})
    places = list(marked)
    areas = pimo(_Each(lambda place: _good(scenes[good[place]]), len(good)), marked.values()).areas

    def resampled(times: np.ndarray) -> dict[str, np.ndarray]:
        drawn = times[:, places]
        return {"aupimo": drawn @ areas / drawn.sum(axis=1)}

    return Found({"aupimo": float(areas.mean())}, {}, resampled)


def of_spro(task: Task) -> Found:
    """In the photos' own pixels whatever the frame is; each kind of defect beside the good images,
    and the mean of the kinds, as the authors have it."""
    file = config_of(task.images)
    if file is None:
        raise InputError(f"{task.images.folder}: has no {CONFIG}, in which MVTec LOCO AD says how "
                         "much of a defect is enough; spro is for that data set")
    saturations, scenes = read_saturations(file), Scenes(task.prediction, task.images, "original")
    scores, labels = np.asarray(task.prediction.scores, np.float64), scenes.labels
    kinds = {kind.removesuffix("_anomalies"): np.array([
        item.defect_type in ("good", kind) for item in scenes.items])
        for kind in dict.fromkeys(item.defect_type for item in scenes.items if item.label)}

    def defects(mine: np.ndarray) -> list[list[tuple[np.ndarray, int]]]:
        scenes_of = (scenes[place] if ours and labels[place] else None
                     for place, ours in enumerate(mine))
        return [defects_of(scene.item, scene.heat, saturations, scene.inside) if scene else []
                for scene in scenes_of]

    metrics: dict[str, float | None] = {}
    for name, mine in kinds.items():
        metrics[f"image_auroc_{name}"] = image_metrics(scores[mine], labels[mine])["image_auroc"]
        metrics[f"auspro_5_{name}"] = auspro(
            sum(defects(mine), []), scenes.good_pixels(np.flatnonzero(mine).tolist()))
    for whole, part in MEANS:
        values = [metrics[f"{part}_{name}"] for name in kinds]
        known = [value for value in values if value is not None]
        metrics[whole] = float(np.mean(known)) if known and len(known) == len(values) else None

    def resampled(times: np.ndarray) -> dict[str, np.ndarray]:
        ends: dict[str, np.ndarray] = {}
        for name, mine in kinds.items():
            images = _of_images(scores, np.where(mine, labels, -1))
            ends |= images.resampled(times, **{f"image_auroc_{name}": _auroc})
            if metrics[f"auspro_5_{name}"] is not None:
                pixels = Curves.of([shares(one) for one in defects(mine)],
                                   (_good(scenes[place]) if ours else np.empty(0)
                                    for place, ours in enumerate(mine)))
                ends |= pixels.resampled(times, **{f"auspro_5_{name}": _au5})
        for whole, part in MEANS:
            if metrics[whole] is not None:
                ends[whole] = np.mean([ends[f"{part}_{name}"] for name in kinds], axis=0)
        return ends

    return Found(metrics, {}, resampled)


def of_segmentation(task: Task) -> Found:
    if task.threshold is None:
        raise InputError("segmentation needs a threshold of the map's pixels; give one, such as "
                         "threshold_of(maps of good images)")
    pixels, images = counts_at(task.scenes, task.threshold)
    metrics = {name: None if np.isnan(value) else float(value)
               for name, value in at_threshold(pixels.sum(axis=0), images.sum(axis=0)).items()}
    return Found(metrics, {}, lambda times: at_threshold(times @ pixels, times @ images))


def of_defects(task: Task) -> Found:
    found = measure_defects(task.scenes, task.threshold)
    names = [task.images.name_of(item) for item in task.scenes.items]
    return Found({}, {"defects": {"by_size": by_size(found), "each": rows(found, names)}})


class _Each(Sequence[np.ndarray]):
    """What a function gives for 0 to n - 1, when asked for."""

    def __init__(self, give: Callable[[int], np.ndarray], count: int):
        self.give, self.length = give, count

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if index >= self.length:
            raise IndexError(index)
        return self.give(index)


def _of_images(scores: np.ndarray, labels: np.ndarray) -> Curves:
    """Of images instead of pixels: each is one; those labelled -1 are left out."""
    one, none = np.ones(1), np.empty(0)
    return Curves.of([(score[None], one, 1) if label == 1 else NOTHING
                      for score, label in zip(scores, labels, strict=True)],
                     [score[None] if label == 0 else none
                      for score, label in zip(scores, labels, strict=True)])


def _defect(scene: Scene) -> Positives:
    if scene.defect is None or not scene.defect.any():
        return NOTHING
    weights, regions = region_shares(scene.defect)
    return scene.heat[scene.defect], weights, regions


def _good(scene: Scene) -> np.ndarray:
    return np.empty(0) if scene.good is None else scene.heat[scene.good]


def _auroc(counts: RankCounts, _: RankCounts) -> float:
    return counts.area()


def _ap(counts: RankCounts, _: RankCounts) -> float:
    return counts.average_precision()


def _f1_max(counts: RankCounts, _: RankCounts) -> float:
    return counts.f1_max()


def _au5(_: RankCounts, regions: RankCounts) -> float:
    return regions.area(0.05)
