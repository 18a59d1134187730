"""A prediction that no model made: maps and masks as given, photos on disk in MVTec AD's layout."""

from pathlib import Path

import numpy as np
from PIL import Image

from indad.data.datasets import load_dataset
from indad.data.images import ImageTransform
from indad.engine.prediction import Prediction


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def write(folder: Path, masks: np.ndarray, kinds: list[str]) -> None:
    """A category whose test photos, in this order of kinds, have these masks `(n, h, w)`."""
    size = masks.shape[1:]
    for number in range(2):
        save(folder / "train" / "good" / f"{number:03}.png", np.full(size, 90 + number, np.uint8))
    for number, (mask, kind) in enumerate(zip(masks, kinds, strict=True)):
        save(folder / "test" / kind / f"{number:03}.png", np.full(size, 100 + number, np.uint8))
        if mask.any():
            save(folder / "ground_truth" / kind / f"{number:03}_mask.png",
                 mask.astype(np.uint8) * 255)


def predicted(folder: Path, maps: np.ndarray, kinds: list[str], scores=None):
    """The prediction with the maps `(n, h, w)` of the photos that `write` wrote, and its images."""
    _, test = load_dataset(folder)
    numbers = [int(item.path.stem) for item in test]
    assert [item.defect_type for item in test] == [kinds[number] for number in numbers]
    transform = ImageTransform(resize=maps.shape[1:])
    scores = maps.max(axis=(1, 2)) if scores is None else scores
    return Prediction(np.asarray(scores)[numbers], maps[numbers],
                      [transform.placement(maps.shape[1:]) for _ in numbers],
                      list(range(len(test))), transform), test
