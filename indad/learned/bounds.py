"""Numbers of a saved model's record, held to its tensors before anything is computed with them.

A record can be changed and sealed again. Whatever it then says, reading it takes no more memory and
time than the tensors beside it explain.
"""

from typing import Any

from torch import Tensor

from ..data.augmentation import AUGMENTATIONS
from ..data.images import MOST_PIXELS
from ..errors import InputError
from .suspects import Suspects

MOST_IMAGES = 1_000_000  # that a model can have learned from, and that can have been left out


def check_bounds(record: dict, tensors: dict[str, Tensor]) -> None:
    """Raise `InputError` for the first number that cannot be of a model with these tensors."""
    training, options = record["training"], record["options"]
    size, grid = (_two(record, name) for name in ("size", "grid"))
    if size[0] * size[1] > MOST_PIXELS:
        raise _wrong("size", list(size), f"no more than {MOST_PIXELS:,} pixels")
    if grid[0] > size[0] or grid[1] > size[1]:
        raise _wrong("grid", list(grid), f"no more patches than the {size} pixels")
    views = _whole(record, "views", 1, max(map(len, AUGMENTATIONS.values())) + 1)
    images = _whole(training, "images", 1, MOST_IMAGES)
    _check_training(training, images)
    seen, kept = _seen(record), len(tensors["memory_bank"])
    ratio, suspects = options["coreset_ratio"], training.get("suspects")
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
        raise TypeError(f"coreset_ratio is {str(ratio)[:60]!r}")
    # An interrupted fit, which is not calibrated, has fewer.
    looked_at = training.get("looked_at")
    if looked_at is not None:
        seen = _whole(training, "looked_at", 1, seen)
    muted = _whole(suspects, "patches", 0, seen) if suspects else 0
    if len(tensors["good_scores"]) and int(seen * ratio) > kept + muted:
        raise InputError(f"images, views and grid are {images}, {views} and {list(grid)}, of which "
                         f"a bank would keep more than the {kept} patches that are there")


def check_indices(record: dict, tensors: dict[str, Tensor]) -> None:
    """Raise `InputError` if a remembered patch is of none of the images that were learned."""
    images, seen = record["training"]["images"], _seen(record)
    for name in ("coreset_indices", "reserve_indices"):
        indices = tensors.get(name)
        if indices is not None and len(indices) and not (
                int(indices.min()) >= 0 and int(indices.max()) < seen):
            raise InputError(f"{name} names patches beyond the {seen} of {images} images")


def suspects_in(training: dict, robust: bool, given: int) -> Suspects | None:
    """What a robust fit found, of so many photos given; None where it was none."""
    if not robust and training.get("suspects") is None:
        return None
    found = training["suspects"]
    limit, usual = (float(found[name]) for name in ("limit", "usual"))
    if not robust or not 0 < usual <= limit < float("inf"):
        raise _wrong("suspects", found, "null, or of a robust fit")
    for position, score in found["photos"]:
        _in_range("suspects", position, 0, given - 1)
        if not isinstance(score, float) or not limit < score < float("inf"):
            raise _wrong("suspects", score, f"a score beyond {limit}")
    trusted, odd = found.get("trusted"), found.get("odd", 0)
    if not (trusted is None or isinstance(trusted, float) and 0 < trusted < float("inf")):
        raise _wrong("trusted", trusted, "a score above 0, or null")
    _in_range("odd", odd, 0, MOST_IMAGES if trusted else 0)
    return Suspects(limit, usual, [(position, score) for position, score in found["photos"]],
                    found["patches"], trusted, odd)


def _seen(record: dict) -> int:
    """How many patches a bank was selected from."""
    grid, training = record["grid"], record["training"]
    tiles = training.get("tiles")
    return (training["images"] if tiles is None else sum(tiles)) * record["views"] * (
        grid[0] * grid[1])


def _check_training(training: dict, images: int) -> None:
    fitted_on = training.get("fitted_on")
    if fitted_on is not None:
        for position in fitted_on:
            _in_range("fitted_on", position, 0, 2 * MOST_IMAGES)
        if len(set(fitted_on)) != images or len(fitted_on) != images:
            raise _wrong("fitted_on", f"{len(fitted_on)} positions", f"{images} different ones")
    last = max(fitted_on) + 1 if fitted_on else images
    if "given" in training:
        _whole(training, "given", last, last + MOST_IMAGES)
    if "skipped" in training:
        _whole(training, "skipped", 0, MOST_IMAGES)
    tiles = training.get("tiles")
    if tiles is not None:
        if not isinstance(tiles, list) or len(tiles) != images:
            raise _wrong("tiles", tiles, f"a list of {images} numbers, or null")
        for count in tiles:
            _in_range("tiles", count, 1, MOST_PIXELS)
    if training["selected_from"] not in ("float32", "float16"):
        raise _wrong("selected_from", training["selected_from"], "float32 or float16")
    for file in training.get("files") or ():
        if not isinstance(file, (str, type(None))):
            raise _wrong("files", file, "text or null")


def _two(record: dict, name: str) -> tuple[int, int]:
    value = record[name]
    if not isinstance(value, list) or len(value) != 2:
        raise _wrong(name, value, "two numbers")
    for side in value:
        _in_range(name, side, 1, MOST_PIXELS)
    return value[0], value[1]


def _whole(part: dict, name: str, lowest: int, highest: int) -> int:
    _in_range(name, part[name], lowest, highest)
    return part[name]


def _in_range(name: str, value: Any, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise _wrong(name, value, f"a whole number from {lowest} to {highest}")


def _wrong(name: str, value: Any, wanted: str) -> InputError:
    return InputError(f"{name} is {str(value)[:60]}; it must be {wanted}")
