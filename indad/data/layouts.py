"""The folder layouts of the field: which one is this, and what are its images, labels and masks?

Labels come from path parts *relative to the dataset's folder*, never from substrings of the whole
path: a parent folder called `goods` or `latest` changes nothing. No image is opened here.
"""

import csv
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import elpv
from .images import IMAGE_SUFFIXES, image_size, read_mask

# Exposures of one magnetic tile have file numbers that lie closer together than this: with it,
# 130 of the 160 groups of good images are runs of six, one for each exposure.
MTD_GAP = 100
GOOD_NAMES = ("good", "ok")  # BTAD, and many a factory, says ok


@dataclass(frozen=True)
class Item:
    """One image: where it is, what it shows, and its masks if there are any."""

    path: Path
    defect_type: str  # "good" or the name of the defect
    mask_paths: tuple[Path, ...] = ()  # several in MVTec LOCO: the defect is their union
    mask_above: int = 0  # grey values above this are defect
    group: int | None = None  # images of one group show the same part, if that is known

    @property
    def label(self) -> int:
        """0: good, 1: defective."""
        return int(self.defect_type != "good")

    def mask(self) -> np.ndarray | None:
        """`(h, w)` bool, or None if unknown; a good image's mask is known without a file.

        An all-black mask of a defective image says that nobody drew one, so it counts as unknown.
        """
        if self.label == 0:
            return np.zeros(image_size(self.path), dtype=bool)
        if not self.mask_paths:
            return None
        mask = np.any([read_mask(path, above=self.mask_above) for path in self.mask_paths], axis=0)
        return mask if mask.any() else None


def layout_of(folder: Path) -> str:
    """How a folder is read: "visa", "mtd", "elpv", "one" (category), "mvtec" (several), "plain"."""
    if (folder / "split_csv" / "1cls.csv").is_file():
        return "visa"
    if (folder / "MT_Free").is_dir():
        return "mtd"
    if elpv.is_elpv(folder):
        return "elpv"
    if good_folder(folder / "train"):
        return "one"
    if good_folder(folder):
        return "plain"
    if any(good_folder(sub / "train") for sub in folders_in(folder)):
        return "mvtec"
    raise InputError(f"{folder}: found no images in a layout that is known; expected train/good "
                     "and test/<defect> (or folders that have them), or a folder named good")


def good_folder(folder: Path) -> Path | None:
    """The folder of good images in `folder`, whatever it is called there."""
    return next((folder / name for name in GOOD_NAMES if (folder / name).is_dir()), None)


def good_photos(folder: Path) -> list[Path]:
    """The good photos of any folder: those in `train/good` or `good`, or else right in it.

    Raises `InputError` if there are none.
    """
    place = good_folder(folder / "train") or good_folder(folder) or folder
    photos = images_in(place)
    if not photos:
        raise InputError(f"{place}: no photos there" if place.is_dir()
                         else f"{folder}: no such folder of photos")
    return photos


def categories_in(folder: Path, layout: str) -> list[str]:
    """The categories whose images are there: of VisA and others one may unpack a part."""
    if layout == "visa":
        return sorted({row["object"] for row in _visa_rows(folder)
                       if (folder / row["object"]).is_dir()})
    if layout == "mvtec":
        return [sub.name for sub in folders_in(folder) if good_folder(sub / "train")]
    return [*elpv.KINDS] if layout == "elpv" else [folder.resolve().name]


def _read_mvtec(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    return _read_one(folder / category, category, split, seed)


def _read_one(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """MVTec AD: train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png.

    And its relatives: LOCO (a folder of masks for each image), AD 2 (test_public, with its masks
    inside; the private images have no labels and stay out), BTAD (ok and ko, masks without
    `_mask`). `validation` folders are left alone, as in every published number.
    """
    good = good_folder(folder / "train")
    train = [Item(path, "good") for path in images_in(good)] if good else []
    public = folder / "test_public"
    test, masks = ((public, public / "ground_truth") if public.is_dir()
                   else (folder / "test", folder / "ground_truth"))
    return train, [_with_mask(path, kind.name, masks / kind.name) for kind in folders_in(test)
                   for path in images_in(kind)]


def _read_plain(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """`good` and, beside it, a folder for each defect; a fifth of the good images test."""
    good_images = good_folder(folder)
    assert good_images is not None  # or `layout_of` would not call it plain
    good = [Item(path, "good") for path in images_in(good_images)]
    held_out = set(np.random.default_rng(seed).permutation(len(good))[:len(good) // 5].tolist())
    defects = [_with_mask(path, kind.name, folder / "ground_truth" / kind.name)
               for kind in folders_in(folder)
               if kind not in (good_images, folder / "ground_truth") for path in images_in(kind)]
    return ([item for i, item in enumerate(good) if i not in held_out],
            [item for i, item in enumerate(good) if i in held_out] + defects)


def _with_mask(path: Path, kind: str, masks: Path) -> Item:
    if kind in GOOD_NAMES:
        return Item(path, "good")
    if (masks / path.stem).is_dir():
        return Item(path, kind, tuple(images_in(masks / path.stem)))
    found = [mask for stem in (f"{path.stem}_mask", path.stem)
             for suffix in (".png", ".bmp") if (mask := masks / (stem + suffix)).is_file()]
    return Item(path, kind, tuple(found[:1]))


def _read_visa(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """VisA: split_csv/1cls.csv names split, label, image and mask; masks hold class numbers."""
    train: list[Item] = []
    test: list[Item] = []
    for row in _visa_rows(folder):
        if row["object"] == category:
            kind = "good" if row["label"] == "normal" else row["label"]
            masks = (folder / row["mask"],) if row["mask"] and kind != "good" else ()
            (train if row["split"] == "train" else test).append(
                Item(folder / row["image"], kind, masks))
    return train, test


def _visa_rows(folder: Path) -> list[dict[str, str]]:
    file = folder / "split_csv" / "1cls.csv"
    with open(file, newline="") as lines:
        rows = list(csv.DictReader(lines))
    missing = {"object", "split", "label", "image", "mask"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(f"{file}: the columns {', '.join(sorted(missing))} are missing")
    return rows


def _read_mtd(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """MTD: MT_<Kind>/Imgs/*.jpg with a .png mask beside each; no split of its own.

    80 % of the good images train, as in the PatchCore paper (after DifferNet). At random that
    leaks, because about six exposures show each tile; "grouped" splits by tile instead. The masks
    are blurred at the rims: half grey is the border.
    """
    good = [Item(path, "good") for path in images_in(folder / "MT_Free" / "Imgs", (".jpg",))]
    defects = [Item(path, kind.name[3:].lower(),
                    (mask,) if (mask := path.with_suffix(".png")).is_file() else (), 127)
               for kind in folders_in(folder)
               if kind.name.startswith("MT_") and kind.name != "MT_Free"
               for path in images_in(kind / "Imgs", (".jpg",))]
    groups = _tiles(good) if split == "grouped" else [[i] for i in range(len(good))]
    if split == "grouped":
        tile_of = {i: tile for tile, group in enumerate(groups) for i in group}
        good = [replace(item, group=tile_of[i]) for i, item in enumerate(good)]
    held_out = _hold_out(groups, np.random.default_rng(seed))
    return ([item for i, item in enumerate(good) if i not in held_out],
            [item for i, item in enumerate(good) if i in held_out] + defects)


def _read_elpv(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """ELPV: labels.csv says how surely each cell is defective; there is no split of its own.

    Probability 0 is good and 1 defective; what the experts were not sure of is left out. With
    `_all` behind its name, a category also tests on that: 1/3 as good, 2/3 as `perhaps_defective`.

    A fifth of the good cells is held out, by `drawing` of the category and the split: the same on
    every machine and for every seed. "grouped" holds out whole modules, and tests on nothing else.
    """
    kind, grouped = category.removesuffix(elpv.ALL), split == "grouped"
    cells = [cell for cell in elpv.read_cells(folder) if cell.kind == kind]
    units: dict[int, list[int]] = {}
    for cell in cells:
        if cell.probability == elpv.GOOD:
            units.setdefault(cell.module if grouped else cell.first_photo, []).append(cell.number)
    held_out = _hold_out([*units.values()], drawing(kind, split))
    modules = {cell.module for cell in cells if cell.number in held_out}
    names = elpv.DEFECT_TYPES if category != kind else elpv.SURE_TYPES
    train: list[Item] = []
    test: list[Item] = []
    for cell in cells:
        item = Item(cell.path, names.get(cell.probability, ""),
                    group=cell.module if grouped else None)
        if cell.probability == elpv.GOOD and cell.number not in held_out:
            train.append(item)
        elif item.defect_type and (not grouped or cell.module in modules):
            test.append(item)
    return train, sorted(test, key=lambda item: (item.label, item.path))


def drawing(*names: str) -> np.random.Generator:
    """A generator seeded with the CRC-32 of names: what it draws is the same for ever."""
    return np.random.default_rng([zlib.crc32(name.encode()) for name in names])


def _hold_out(groups: Sequence[Sequence[int]], generator: np.random.Generator) -> set[int]:
    """Whole groups, drawn until a fifth of what is in all of them is out."""
    wanted = round(0.2 * sum(map(len, groups)))
    held_out: set[int] = set()
    for group in generator.permutation(len(groups)):
        if len(held_out) >= wanted:
            break
        held_out.update(groups[group])
    return held_out


def _tiles(items: list[Item]) -> list[list[int]]:
    """Group MTD images by tile: runs of file numbers less than `MTD_GAP` apart."""
    found = [re.search(r"num_(\d+)", item.path.stem) for item in items]
    if None in found:
        raise InputError(f"{items[found.index(None)].path}: has no number like num_108719 in its "
                         "name, by which exposures of one tile are told; use the split paper")
    numbers = [int(match[1]) for match in found if match]
    order = np.argsort(numbers, kind="stable")
    groups = [[int(order[0])]]
    for before, index in pairwise(order):
        if numbers[index] - numbers[before] > MTD_GAP:
            groups.append([])
        groups[-1].append(int(index))
    return groups


def folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name[0] != ".")


def images_in(folder: Path, suffixes: Sequence[str] = tuple(IMAGE_SUFFIXES)) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir()
                  if file.suffix.lower() in suffixes and file.name[0] != ".")


def images_below(folder: Path, *, leave_out: Callable[[Path], bool] = lambda folder: False,
                 ) -> list[Path]:
    """All images of a folder and of its sub-folders, except ground-truth masks and hidden ones.

    Args:
        leave_out: true for a folder that is to be passed over.
    """
    found, seen, waiting = [], set(), [folder]
    while waiting:
        place = waiting.pop()
        if place.resolve() in seen or leave_out(place):  # links may lead in circles
            continue
        seen.add(place.resolve())
        found += images_in(place)
        waiting += [sub for sub in folders_in(place) if sub.name != "ground_truth"]
    return sorted(path for path in found if path.is_file())


TwoLists = tuple[list[Item], list[Item]]
READERS: dict[str, Callable[[Path, str, str, int], TwoLists]] = {
    "mvtec": _read_mvtec, "synthetic": _read_mvtec, "one": _read_one, "plain": _read_plain,
    "visa": _read_visa, "mtd": _read_mtd, "elpv": _read_elpv,
}
