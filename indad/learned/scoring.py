"""From patch features, batch by batch, to what a model says of the photos."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from ..data.images import ImageTransform
from ..data.levels import check_same
from ..data.region import check_alike
from ..engine.extraction import PatchFeatures
from ..engine.machine import as_array
from ..engine.prediction import Prediction, of_photos, one_behind
from ..errors import InputError
from ..scores import score_images
from .fitted import Fitted
from .tiled import merged_map, score_tiles


def scored(fitted: Fitted, parts: Iterable[PatchFeatures], transform: ImageTransform,
           options: Mapping[str, Any]) -> Iterator[Prediction]:
    """What a model says of photos, of each batch once the next one was begun.

    Args:
        transform: what took the photos there; `options`: of `PatchCore`.
    """
    none = torch.empty(0), torch.empty(0, *fitted.size)
    score = score_tiles if options["tiles"] else score_images
    begun = ((part, score(fitted.scaled(part.rows), fitted.index, part.grid, part.size, options,
                          part.inside(device=fitted.device)) if len(part) else none)
             for part in parts)
    found = (Prediction(as_array(scores), as_array(maps), part.placements, part.indices,
                        transform, part.skipped, part.notes)
             for part, (scores, maps) in one_behind(begun))
    if not options["tiles"]:
        return found
    return of_photos(found, partial(merged_map, options=options, region=fitted.region))


def check_features(features: PatchFeatures, fitted: Fitted) -> None:
    """Raise `InputError` if they are of photos that were read in another way than the model's."""
    if features.views > 1:
        raise InputError(f"these features have {features.views} views of each photo, to learn "
                         "from; extract those to score without training=True")
    check_same(features.levels, fitted.levels)
    check_alike(features.region, fitted.region)
