"""Exercises of lesson 08: faults planted in folders, and paths that mislead."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import Case, Exercise


def photo(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Noise: no two seeds give the same."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def cut_short(file: Path, seed: int) -> None:
    photo(seed).save(file)
    file.write_bytes(file.read_bytes()[:-200])


def _folders() -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as place:
        def planted(name: str, faults: dict[str, str], says: str) -> Case:
            folder = Path(place) / name
            folder.mkdir()
            for number in range(4):
                photo(number).save(folder / f"b{number}.png")
            for file, fault in faults.items():
                if fault == "corrupt":
                    cut_short(folder / file, 9)
                elif fault == "odd size":
                    photo(hash_of(file), (16, 24)).save(folder / file)
                else:
                    photo(1).save(folder / file)  # the pixels of b1.png
            return Case({"folder": folder}, faults, says)

        yield planted("fine", {}, "four fine photos: nothing to report")
        yield planted("twice", {"c.png": "duplicate"}, "c.png, a copy of b1.png")
        yield planted("cut", {"c.png": "corrupt"},
                      "c.png, whose beginning is fine and whose end is missing")
        yield planted("small", {"c.png": "odd size"}, "c.png, which lies on its side")
        yield planted("first", {"a.png": "odd size"},
                      "a.png, on its side, which comes first but is not the usual size")
        yield planted("other_format", {"c.bmp": "duplicate"},
                      "c.bmp: the pixels of b1.png in a file of another format")
        yield planted("words", {"c.png": "corrupt", "d.png": "duplicate", "e.png": "odd size"},
                      "one fault of each kind")


def hash_of(name: str) -> int:
    return 100 + sum(name.encode())


def type_of(path: Path, folder: Path) -> str:
    below = path.relative_to(folder).parts[:-1]
    return below[-1] if below else "unknown"


def _paths() -> Iterator[Case]:
    for folder, inside, says in (
            ("bolts", "good/000.png", "a good photo"),
            ("bolts", "scratch/000.png", "a scratch"),
            ("goods/bolts", "scratch/000.png", "a scratch in a dataset below a folder 'goods'"),
            ("bolts", "scratch/not_so_good.png", "a file with 'good' in its name"),
            ("bolts", "not_good/000.png", "a type with 'good' in its name"),
            ("bolts", "test/crack/000.png", "a crack in the test split"),
            ("bolts", "train/good/000.png", "a good photo in the training split"),
            ("bolts/good", "000.png", "a photo directly in a dataset called 'good'")):
        root = Path("data") / folder
        yield Case({"path": root / inside, "folder": root}, type_of(root / inside, root), says)


EXERCISES = {
    "08.1": Exercise(_folders, hint="load every file to its end; the usual size is the most common "
                     "one; of two equal pictures only the later one is a duplicate"),
    "08.2": Exercise(_paths, hint="take the path relative to the dataset's folder, and look at "
                     "whole folder names in it"),
}
