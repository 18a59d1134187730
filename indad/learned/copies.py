"""Each photo is learned once, however often it is given."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from ..data.copies import digests_of, first_of_each, still_there, tell_copies
from ..data.sources import TrainingSet
from ..engine.extraction import PatchFeatures
from .fitted import Fitted


def each_once(training: TrainingSet, extract: Callable[[list], PatchFeatures],
              known: Iterable[str] = ()) -> PatchFeatures:
    """Features of the images that are no copies, numbered as all of them are.

    Args:
        extract: sources -> their features, numbered from 0.
        known: digests of what was learned before.

    Copies are warned of. Where nothing else is given there are no features.
    """
    kept, copies = first_of_each(training.digests, known)
    tell_copies(copies, training.sources)
    if not copies:
        return extract(training.sources)
    if not kept:
        return PatchFeatures(torch.empty(0), (0, 0), (0, 0), [], [])
    found = extract([training.sources[i] for i in kept])
    views = found.views
    return replace(found, indices=[kept[i // views] * views + i % views for i in found.indices],
                   skipped=[(kept[i], reason) for i, reason in found.skipped])


def learned_digests(fitted: Fitted) -> list[str]:
    """Digests of what a model learned; of an older model, of the files that are still there."""
    if fitted.digests is not None:
        return fitted.digests
    return [digest for digest in digests_of(still_there(fitted.files)) if digest]
