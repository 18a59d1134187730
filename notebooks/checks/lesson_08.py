"""Exercises of lesson 08: faults planted in folders, paths that mislead, folds, and rare luck."""

import math
import tempfile
from collections.abc import Callable, Iterator
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


def _rows() -> Iterator[Case]:
    for names, scores, k, says in (
            (["a"], [1.0], 1, "one photo"),
            (["a", "b", "c"], [2.0, 9.0, 5.0], 2, "the two worst of three"),
            (["a", "b"], [1.0, 3.0], 5, "fewer photos than there is time for"),
            (["d", "c", "b", "a"], [-1.0, -4.0, -2.0, -3.0], 3, "scores below zero")):
        order = sorted(range(len(names)), key=lambda i, scores=scores: -scores[i])  # type: ignore
        yield Case({"names": names, "scores": scores, "k": k}, says=says,
                   judge=_list([names[i] for i in order[:k]]))


def _list(expected: list) -> Callable[[object], str | None]:
    def judge(returned: object) -> str | None:
        try:
            found = [*returned]  # type: ignore[misc]
        except TypeError:
            found = None
        return None if found == expected else f"it returned {returned!r}, expected {expected!r}"
    return judge


class Bank:
    """Judges photos, which are numbers, and watches what it is given; a copy watches anew."""

    def __init__(self, photos: int):
        self.photos, self.problem = photos, ""

    def __call__(self, learned: list, judged: list) -> list[float]:
        learned, judged = [*learned], [*judged]
        if {*learned} & {*judged}:
            raise ValueError(f"photos {sorted({*learned} & {*judged})} are judged by a bank that "
                             "has seen them")
        if not judged:
            raise ValueError("an empty fold has nothing to be judged")
        if len(learned) + len(judged) != self.photos:
            raise ValueError(f"{len(judged)} photos are judged by a bank of {len(learned)}, but "
                             f"there are {self.photos}: all the others should be in it")
        return [photo + len(learned) / 100 for photo in judged]

    def __repr__(self) -> str:
        return "judge"


def _folds() -> Iterator[Case]:
    for photos, folds, says in (([10, 20, 30, 40], 2, "four photos in two folds"),
                                ([10, 20, 30, 40, 50], 2, "five photos: the folds differ in size"),
                                ([70, 10, 50, 30, 20, 60, 40], 3, "seven photos in three folds"),
                                ([10, 20, 30], 3, "each photo a fold of its own"),
                                ([10, 20, 30], 5, "more folds than photos")):
        few = min(folds, len(photos))
        sizes = [len(photos[i % few::few]) for i in range(len(photos))]
        yield Case({"photos": photos, "folds": folds, "judge": Bank(len(photos))}, [
            photo + (len(photos) - size) / 100
            for photo, size in zip(photos, sizes, strict=True)], says)


def at_most(alarms: int, photos: int) -> float:
    """As a quantile of a beta distribution, which is the same (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    return 1.0 if alarms >= photos else float(beta.ppf(0.95, alarms + 1, photos - alarms))


def _alarms() -> Iterator[Case]:
    for alarms, photos, says in ((0, 1, "one photo, no alarm"),
                                 (1, 1, "all photos raise an alarm: p is 1"),
                                 (0, 7, "seven photos, no alarm"), (2, 8, "two alarms of eight"),
                                 (0, 300, "three hundred photos, no alarm"),
                                 (5, 100, "five alarms of a hundred")):
        expected = at_most(alarms, photos)

        def judge(returned: object, expected: float = expected) -> str | None:
            try:
                found = float(returned)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                return f"it returned {returned!r}, expected a number"
            return (None if math.isclose(found, expected, abs_tol=1.01e-3) else
                    f"it returned {found:.4g}, expected {expected:.4g}")
        yield Case({"alarms": alarms, "photos": photos}, says=says, judge=judge)


EXERCISES = {
    "08.1": Exercise(_rows, hint="sort by score, turn it round, and return names, not scores"),
    "08.2": Exercise(_paths, hint="take the path relative to the dataset's folder, and look at "
                     "whole folder names in it"),
    "08.3": Exercise(_folders, hint="load every file to its end; the usual size is the most common "
                     "one; of two equal pictures only the later one is a duplicate"),
    "08.4": Exercise(_folds, hint="fold f is photos[f::folds]; the bank that judges it learns from "
                     "all the others"),
    "08.5": Exercise(_alarms, hint="k alarms or fewer, not exactly k; and the rate at which that "
                     "has a probability of 0.05"),
}
