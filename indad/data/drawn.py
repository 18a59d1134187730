"""What a person draws to say where to look: a mask, or polygons; checked, and as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..errors import InputError
from .arguments import PATH, Rule, maybe, one_of, shown
from .images import read_image
from .reading import read_json
from .region import ASPECTS, MOST_SIDE

FOREGROUNDS = one_of(("auto", None))


def drawn_region(region: Any, photo: tuple[int, int]) -> tuple[np.ndarray, float | None]:
    """The mask that a path or polygons stand for, `(h, w)` bool, and the aspect that it fixes.

    `photo` is the (h, w) of one of the photos, which a mask image must be like.
    """
    if not PATH.holds(region):
        scale = MOST_SIDE / max(photo)
        size = max(round(photo[1] * scale), 1), max(round(photo[0] * scale), 1)
        canvas = Image.new("L", size)
        for polygon in region:
            ImageDraw.Draw(canvas).polygon([(x * size[0] - 0.5, y * size[1] - 0.5)
                                            for x, y in polygon], fill=255)
        return np.asarray(canvas) > 0, None
    image = read_image(region).convert("L")
    aspect = image.width / image.height
    if abs(photo[1] / photo[0] / aspect - 1) > ASPECTS:
        raise InputError(f"{region}: the mask has {image.width} x {image.height} pixels, but a "
                         f"photo has {photo[1]} x {photo[0]}; give a mask of the photos' own size "
                         "or shape")
    inside = Image.fromarray((np.asarray(image) > 127).astype(np.uint8) * 255)
    if max(inside.size) > MOST_SIDE:
        scale = MOST_SIDE / max(inside.size)
        inside = inside.resize((max(round(inside.width * scale), 1),
                                max(round(inside.height * scale), 1)), Image.Resampling.BOX)
    if not np.asarray(inside).any():
        raise InputError(f"{region}: leaves nothing to look at, as nothing in it is white")
    return np.asarray(inside) > 0, aspect


def check_region(options: Mapping[str, Any]) -> None:
    """Raise `InputError` for a region that is neither a path nor polygons, or does not go with the
    other options."""
    region, foreground = options["region"], options["foreground"]
    FOREGROUNDS.check("foreground", foreground)
    if region is not None and foreground is not None:
        raise InputError("region and foreground are both given; say where to look, or let "
                         "foreground find it")
    if region is not None and not PATH.holds(region):
        _check_polygons(region)
    if (region, foreground) != (None, None) and options["augmentation"] != "none":
        raise InputError(f"augmentation is {options['augmentation']!r}, whose views turn and shift "
                         "photos, but a region stays where it is; choose one of the two")


def _check_polygons(region: Any) -> None:
    wanted = ("region must be a path of a mask, or a list of polygons, each a list of three or "
              "more points (x, y) from 0 to 1; it is ")
    if not isinstance(region, (list, tuple)) or not region:
        raise InputError(wanted + shown(region))
    for polygon in region:
        if not isinstance(polygon, (list, tuple)) or not all(
                isinstance(point, (list, tuple)) and len(point) == 2
                and all(isinstance(one, (int, float)) and not isinstance(one, bool)
                        for one in point) for point in polygon):
            raise InputError(wanted + shown(region))
        if len(polygon) < 3:
            raise InputError(f"a polygon of region has {len(polygon)} points: {shown(polygon)}; "
                             "it needs three or more")
        for point in polygon:
            if not all(0 <= one <= 1 for one in point):
                raise InputError(f"region has the point {tuple(point)}; x and y are fractions of "
                                 "the photo's width and height, from 0 to 1")
        if _area(polygon) == 0:
            raise InputError(f"a polygon of region encloses nothing: {shown(polygon)}")


def _area(polygon: Sequence[Sequence[float]]) -> float:
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(
        polygon, [*polygon[1:], polygon[0]], strict=True)) / 2


def region_from(text: str) -> Any:
    """What the command line takes: a path of a mask, a path of polygons as JSON, or polygons such
    as "0.1,0.1 0.9,0.1 0.5,0.9; ...". Raises `InputError`."""
    if text.endswith(".json"):
        polygons = read_json(Path(text))
        polygons = polygons.get("region") if isinstance(polygons, dict) else polygons
    elif "," not in text or Path(text).exists():
        return text
    else:
        try:
            polygons = [[[float(one) for one in point.split(",")] for point in polygon.split()]
                        for polygon in text.split(";") if polygon.strip()]
        except ValueError:
            raise InputError(f"--region is {text!r}; give the path of a mask, or points such as "
                             '"0.1,0.1 0.9,0.1 0.5,0.9"') from None
    _check_polygons(polygons)
    return tuple(tuple(tuple(point) for point in polygon) for polygon in polygons)


def _typed(text: str) -> Any:
    """The same, of a mask that is there; raises `InputError`."""
    PATH.check("region", text)
    region = region_from(text)
    if isinstance(region, str) and not Path(region).is_file():
        raise InputError(f"{region}: no such mask; give a picture, or points")
    return region


# What is wrong with points, `check_region` says.
REGION = maybe(Rule(lambda value: True, "a mask or polygons", read=_typed, written="REGION"))


def in_text(region: Any) -> str | None:
    """As `region_from` reads it."""
    if region is None or PATH.holds(region):
        return region and str(region)
    return ";".join(" ".join(f"{x:g},{y:g}" for x, y in polygon) for polygon in region)
