"""Which region of the photos a model looks at: as it was drawn, or as good photos show it.

`foreground="auto"` finds what stands out from the photos' border, see foreground.py. Everything
else of the good photos gives the colour that the outside is painted with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from ..data.drawn import drawn_region
from ..data.images import as_rgb
from ..data.levels import Levels
from ..data.region import Region, region_of
from ..errors import InputError, none_of
from .foreground import find_foreground

Look = Callable[[Any, Sequence, Levels], Region | None]
FEW = 32     # photos that are looked at, evenly drawn from all
MARGIN = 8.0  # pixels of what the network sees that are left around a region
SIDE = 256   # pixels of the pictures that the colour outside is taken from


def look_of(options: Mapping[str, Any]) -> Look | None:
    """What finds the region for these options of a `PatchCore`; None if all is looked at."""
    if options["region"] is None and options["foreground"] is None:
        return None
    return partial(look, region=options["region"])


def look(network: Any, sources: Sequence, levels: Levels, *, region: Any = None) -> Region | None:
    """The region to look at: a path of a mask, polygons, or what is found if None.

    Args:
        network: a `features.PatchNetwork`.
        sources: the good photos.

    None, and a warning, if no part is found that stands out. Raises `InputError` for a mask that
    cannot be used, and if no photo can be read.
    """
    photos = [network.transform.aligned(photo, network.transform.placed(photo))
              for photo in _some(sources, levels)]
    size = photos[0].height, photos[0].width
    if region is not None:
        inside, aspect = drawn_region(region, size)
    else:
        found, aspect = find_foreground(photos), None
        if found is None:
            return None
        inside = found
    seen = network.transform.placement(size).resized
    margin = MARGIN * max(inside.shape[0] / seen[0], inside.shape[1] / seen[1])
    first = region_of(inside, (0, 0, 0), margin, aspect)
    for photo in photos:
        first.check((photo.height, photo.width), "a training photo")
    region = replace(first, fill=_colour_outside(photos, first))
    if not any(region.within(one).any() for one in network.transform.frames(size)):
        raise InputError("the region leaves nothing of what the crop keeps; draw it in the middle, "
                         "or leave the crop out")
    return region


def _some(sources: Sequence, levels: Levels) -> list[Image.Image]:
    photos, reasons = [], []
    for place in np.unique(np.linspace(0, len(sources) - 1, min(FEW, len(sources))).astype(int)):
        try:
            photos.append(as_rgb(sources[place], levels))
        except InputError as error:
            reasons.append((int(place), str(error)))
    if not photos:
        raise InputError(f"no image to learn from: {none_of(reasons)}")
    return photos


def _colour_outside(photos: Sequence[Image.Image], region: Region) -> tuple[int, int, int]:
    """The mean of what is not seen, of all of a photo if that is nothing."""
    small = [np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for photo in photos]
    outside = ~region.seen_over((SIDE, SIDE))
    outside = outside if outside.any() else ~outside
    red, green, blue = np.mean([one[outside].mean(0) for one in small], axis=0).round().tolist()
    return int(red), int(green), int(blue)
