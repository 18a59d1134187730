"""Measures of a run beyond `evaluate`: asked for by name, or because the data set has its own."""

from collections.abc import Sequence

from ..data.datasets import ImageSet
from ..data.validation import load_validation
from ..engine.prediction import Prediction
from ..errors import InputError, Progress
from ..evaluation.measures import applicable, measure
from ..evaluation.segmentation import SIGMAS, pixels_of, threshold_of
from ..evaluation.spro import CONFIG, config_of, read_saturations
from ..patchcore import PatchCore


def check_measures(test: ImageSet, names: Sequence[str]) -> list[str]:
    """The names and those that the data set brings; raises `InputError` now, not after the fit."""
    file = config_of(test)
    if file is None and "spro" in names:
        raise InputError(f"{test.category}: spro is for MVTec LOCO AD; there is no {CONFIG} in "
                         f"{test.folder}")
    found = applicable(test, names)
    if file is not None and "spro" in found:
        read_saturations(file)
    return found


def measured(names: Sequence[str], model: PatchCore, prediction: Prediction, train: ImageSet,
             test: ImageSet, *, config: dict, decision: dict,
             progress: Progress | None = None) -> dict:
    """What `metrics.json` holds more: `metrics` to be added, `measured` (their names), tables.

    The threshold of pixels is that of the category's validation images, if it has some, as MVTec
    AD 2 proposes; else the one of the run's own maps. Where neither is known, nor is an F1.
    """
    threshold, origin = None, ""
    if {"segmentation", "defects"} & {*names}:
        validation = load_validation(train)
        if len(validation):
            threshold = threshold_of(pixels_of(
                model.stream(list(validation), progress=progress), config["frame"]))
            origin = f"mean + {SIGMAS:g} standard deviations of {len(validation)} validation images"
        else:
            threshold, origin = decision["map_threshold"], "the map's threshold of the verdicts"
    taken = [name for name in names if threshold is not None or name != "segmentation"]
    record = measure(prediction, test, taken, frame=config["frame"], threshold=threshold,
                     seed=config["seed"])
    if threshold is not None:
        record["pixel_threshold"] = {"value": threshold, "from": origin}
    return record | {"measured": [*names]}
