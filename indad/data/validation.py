"""The good images that MVTec AD 2 and LOCO put aside to take thresholds from."""

from pathlib import Path

from .datasets import ImageSet
from .folders import named
from .layouts import Item, good_below, good_folders


def load_validation(train: ImageSet) -> ImageSet:
    """The good images of the `validation` folder of a category, of which `train` has the others.

    They may set a threshold; nothing trains on them, and no metric counts them. Empty where there
    is no such folder.
    """
    homes = (train.folder / train.category.removesuffix("_reduced"), train.folder)
    return train.replaced(next(filter(None, map(_good, homes)), []))


def _good(home: Path) -> list[Item]:
    folder = named(home, "validation")
    places = good_folders(folder) if folder else []
    return [Item(path, "good") for place in places for path in good_below(place)]
