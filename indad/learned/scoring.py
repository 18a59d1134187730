"""From patch features, batch by batch, to what a model says of the photos."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from ..data.augmentation import views_per_image
from ..data.images import ImageTransform
from ..data.levels import check_same
from ..data.region import check_alike
from ..data.registration import check_aligned_alike
from ..engine.extraction import PatchFeatures
from ..engine.machine import as_array
from ..engine.prediction import Prediction, of_photos, one_behind
from ..engine.provenance import MAKING, check_made_alike
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
    """Raise `InputError` if they are not what the model would say of photos itself."""
    if features.views > 1:
        raise InputError(f"these features have {features.views} views of each photo, to learn "
                         "from; extract those to score without training=True")
    check_made_alike(features.options, fitted.options, MAKING)
    check_same(features.levels, fitted.levels)
    check_alike(features.region, fitted.region)
    check_aligned_alike(features.reference, fitted.reference)
    found, known = ((*one.grid, *one.size, width) for one, width in (
        (features, features.rows.shape[1]), (fitted, fitted.memory_bank.shape[1])))
    if found != known:
        raise InputError("these features are {} x {} patches of {} x {} pixels, {} numbers each, "
                         "but the model's are {} x {} of {} x {}, {} each; extract them again with "
                         "the model".format(*found, *known))


def check_learned(features: PatchFeatures, options: Mapping[str, Any]) -> None:
    """Raise `InputError` if features are not what a model with these options would learn from."""
    check_made_alike(features.options, options)
    views = views_per_image(options["augmentation"])
    if features.views != views:
        raise InputError(f"these features are of {features.views} views of each image, but "
                         f"augmentation={options['augmentation']!r} makes {views}; extract them "
                         "again with training=True")
