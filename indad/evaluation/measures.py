"""All measures by name: what each gives, who defined it, and how it is asked for.

    measure(prediction, test, ["pimo", "intervals"])["metrics"]["aupimo"]
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from ..data.arguments import SHARE, kind, maybe, number, one_of, several, takes, whole
from ..data.datasets import ImageSet
from ..engine.prediction import Prediction
from ..metrics import FRAMES
from .intervals import LEVEL, REPLICATES, draws, middle
from .spro import config_of
from .taking import Found, Task, of_defects, of_pimo, of_ranks, of_segmentation, of_spro


@dataclass(frozen=True)
class Measure:
    """A row of `MEASURES`; `source` is where its definition is."""

    name: str
    gives: str
    source: str
    take: Callable[[Task], Found]


MEASURES: dict[str, Measure] = {row.name: row for row in (
    Measure("pimo", "aupimo: recall in each defective image, at 1e-5 to 1e-4 false positives in "
            "good ones", "Bertoldo et al., BMVC 2024, arXiv 2401.01984", of_pimo),
    Measure("spro", "auspro_5, image_auroc_mean, and both for each kind of defect: of MVTec LOCO "
            "AD, where it is always taken", "Bergmann et al., IJCV 2022 (MVTec LOCO AD)", of_spro),
    Measure("segmentation", "seg_f1, seg_precision, seg_recall, class_f1: at one threshold from "
            "good images", "Heckler-Kram et al., arXiv 2503.21622 (MVTec AD 2)", of_segmentation),
    Measure("defects", "AUPRO, pixel AUROC and recall of small, medium and large defects, and of "
            "each", "shares of AUPRO (Bergmann et al., IJCV 2021) and of AUROC", of_defects),
    Measure("intervals", "the 95 % bootstrap interval of every metric, over images",
            "Efron and Tibshirani, 1993, Ch. 13", of_ranks),
)}


@takes(prediction=kind(Prediction, "what predict returned"),
       images=kind(ImageSet, "the images, with labels and masks, as load_dataset reads them"),
       names=several(one_of(MEASURES)), frame=one_of(FRAMES), threshold=maybe(number()),
       level=SHARE, replicates=whole(1, 1_000_000), seed=whole(0))
def measure(prediction: Prediction, images: ImageSet, names: Collection[str], *,
            frame: str = "model", threshold: float | None = None, level: float = LEVEL,
            replicates: int = REPLICATES, seed: int = 0) -> dict[str, dict]:
    """What `evaluate` does not say, for JSON: `metrics`, and what else was asked for.

    Args:
        prediction, images, frame: as for `indad.evaluate`.
        names: of `MEASURES`. "intervals" gives `intervals`: [low, high] of each metric asked for
            and of `evaluate`'s, None where there is one good or one defective image only.
            "defects" gives `defects`: `by_size`, and `each`, the worst first.
        threshold: of the map's pixels, for "segmentation" and the recall of "defects".
        level, replicates, seed: of the intervals.

    Raises `InputError` where a measure lacks what it needs: LOCO's list of defects, a threshold.
    """
    task = Task(prediction, images, frame, threshold)
    found = [MEASURES[name].take(task) for name in dict.fromkeys(names)]
    record: dict[str, dict] = {"metrics": {}}
    for one in found:
        record["metrics"] |= one.metrics
        record |= one.tables
    if "intervals" in names:
        strata = _strata(task)
        times = draws(strata, replicates, seed)
        enough = min(np.count_nonzero(strata == 0), np.count_nonzero(strata > 0)) > 1
        record["intervals"] = {"level": level, "replicates": replicates, "ends": {
            name: middle(values, level) if enough else None
            for one in found if one.resampled for name, values in one.resampled(times).items()}}
    return record


def applicable(images: ImageSet, names: Collection[str]) -> list[str]:
    """The names, and those that belong to a data set: sPRO to MVTec LOCO."""
    loco = config_of(images) is not None and any(item.mask_paths for item in images)
    return list(dict.fromkeys([*names, *["spro"] * loco]))


def _strata(task: Task) -> np.ndarray:
    """0 for good images, 1 for defective ones, 2 for those without a mask."""
    return np.array([item.label + (item.label == 1 and item.mask() is None)
                     for item in task.scenes.items])
