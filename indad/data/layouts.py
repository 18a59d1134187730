"""The folder layouts of the field: which one is this, and what are its images, labels and masks?

Labels come from path parts *relative to the dataset's folder*, never from substrings of the whole
path: a parent folder called `goods` or `latest` changes nothing. What names say: folders.py.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import elpv, visa
from .folders import (
    SPLIT_WORDS,
    folders_in,
    images_below,
    images_in,
    is_bad,
    is_good,
    is_mask_folder,
    named,
    spelled,
)
from .images import image_size
from .left_out import Remark, remarks_on, tell
from .masks import find_masks, read_mask

# Exposures of one magnetic tile have file numbers that lie closer together than this: with it,
# 130 of the 160 groups of good images are runs of six, one for each exposure.
MTD_GAP = 100


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

        An all-black mask of a defective image says that nobody drew one, so it counts as unknown;
        so does one that cannot be read, which is warned of.
        """
        if self.label == 0:
            return np.zeros(image_size(self.path), dtype=bool)
        if not self.mask_paths:
            return None
        try:
            masks = [read_mask(path, above=self.mask_above) for path in self.mask_paths]
        except InputError as error:
            tell([Remark("unreadable_mask", f"{error}; its image counts as one without a mask")])
            return None
        mask = np.any(masks, axis=0)
        return mask if mask.any() else None


def layout_of(folder: Path) -> str:
    """How a folder is read: "visa", "mtd", "elpv", "one" (category), "mvtec" (several), "plain"."""
    if visa.is_visa(folder):
        return "visa"
    if (folder / "MT_Free").is_dir():
        return "mtd"
    if elpv.is_elpv(folder):
        return "elpv"
    if found := category_at(folder):
        return "one" if found.has_test else "plain"
    inside = [found for sub in folders_in(folder) if (found := category_at(sub))]
    if len(inside) > 1 or any(found.has_test for found in inside):
        return "mvtec"
    raise InputError(f"{folder}: found no images in a layout that is known; expected train/good "
                     "and test/<defect> (or folders that have them), or a folder named good (or "
                     f"ok, normal, ... in any case); {seen_in(folder)}")


@dataclass(frozen=True)
class Category:
    """Where the photos of a category lie, of which all or some have a folder for each type."""

    good: tuple[Path, ...]  # folders of what is learned
    kinds: tuple[Path, ...]  # folders of what is tested, one for each type
    homes: tuple[Path, ...]  # the folder of these, and others that may have folders of masks
    has_test: bool  # good photos among them


def category_at(folder: Path) -> Category | None:
    """The category in a folder, however its good photos are called; None if there are none."""
    train = named(folder, "train")
    if train and (good := good_folders(train)):
        home = named(folder, "test_public", "test") or folder / "test"
        kinds = [sub for sub in folders_in(home) if not is_mask_folder(sub.name)]
        return Category(tuple(good), tuple(kinds), (home, folder), True)
    for homes in ((folder,), (folder / "Data" / "Images", folder / "Data")):  # VisA's, as it comes
        if good := good_folders(homes[0]):
            kinds = [sub for sub in folders_in(homes[0]) if sub not in good
                     and not is_mask_folder(sub.name) and spelled(sub.name) not in SPLIT_WORDS]
            return Category(tuple(good), tuple(kinds), homes, False)
    return None


def remarks_of(folder: Path, layout: str, category: str,
               items: Sequence[Item]) -> list[Remark]:
    """What there is to say about how a category was read, all its `items`; of MVTec AD's kind."""
    found = _general(folder, layout, category)
    if found is None:
        return []
    read = {path for item in items for path in (item.path, *item.mask_paths)}
    read.update(masks_of_good(folder, layout, category, items))
    base = folder / category if layout == "mvtec" else folder
    return remarks_on(base, found.good, read, whole=True)


def masks_of_good(folder: Path, layout: str, category: str, items: Sequence[Item]) -> list[Path]:
    """Masks of good images, which nobody needs; of MVTec AD's kind of layout."""
    found = _general(folder, layout, category)
    if found is None:
        return []
    good = [item.path for item in items
            if not item.label and found.homes[0] in item.path.parents]
    taken = {mask for item in items for mask in item.mask_paths}
    return [mask for masks in find_masks(found.homes, good).values() for mask in masks
            if mask not in taken]


def _general(folder: Path, layout: str, category: str) -> Category | None:
    if layout not in ("mvtec", "one", "plain"):
        return None
    return category_at(folder / category if layout == "mvtec" else folder)


def good_folders(folder: Path) -> list[Path]:
    """The folders of good images in `folder`, whatever they are called there."""
    return [sub for sub in folders_in(folder) if is_good(sub.name)]


def seen_in(folder: Path, shown: int = 8) -> str:
    """The folders in a folder and in its `train`, in words."""
    train = named(folder, "train")
    names = [sub.relative_to(folder).as_posix() for place in (folder, train) if place
             for sub in folders_in(place)]
    more = [f"{len(names) - shown} more"] * (len(names) > shown)
    direct = len(images_in(folder))
    photos = [f"{direct} photo{'s' * (direct != 1)} right in it"] * (direct > 0)
    return "seen: " + (", ".join(names[:shown] + more + photos) or "nothing")


def good_photos(folder: Path) -> list[Path]:
    """The good photos of any folder: those in `train/good` or `good`, or else all in it.

    Sub-folders included, unless one is called bad; see folders.py for such names. What was made of
    the folder, if that is not plain, and what is left out is warned of (`InputWarning`).

    Raises `InputError` if there are none, and for a folder of folders that says of none of them
    that it is good.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos")
    found = category_at(folder)
    places = found.good if found else (folder,)
    photos = [photo for place in places for photo in good_below(place)]
    if not found and not is_good(folder.resolve().name):
        inside = {path.relative_to(folder).parts[0] for path in images_below(folder)
                  if path.parent != folder}
        if not any(photo.parent == folder for photo in photos) and (
                len(inside) > 1 or any(map(is_bad, inside))):
            raise InputError(f"{folder}: which photos are good? {seen_in(folder)}; call one folder "
                             "good (or ok, normal, ... in any case), or give that folder itself")
    if not photos:
        raise InputError(f"{', '.join(map(str, places))}: no photos there")
    tell(remarks_on(folder, places, set(photos)))
    return photos


def good_below(folder: Path) -> list[Path]:
    """All photos of a folder of good ones, less those in sub-folders that are called bad."""
    return [photo for photo in images_below(folder)
            if not any(map(is_bad, photo.relative_to(folder).parts[:-1]))]


def categories_in(folder: Path, layout: str) -> list[str]:
    """The categories whose images are there: of VisA and others one may unpack a part."""
    if layout == "visa":
        return sorted({row["object"] for row in visa.read_rows(folder)
                       if (folder / row["object"]).is_dir()})
    if layout == "mvtec":
        return [sub.name for sub in folders_in(folder) if category_at(sub)]
    return [*elpv.KINDS] if layout == "elpv" else [folder.resolve().name]


def _read_mvtec(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    return _read_one(folder / category, category, split, seed)


def _read_one(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """MVTec AD: train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png.

    And its relatives: LOCO (a folder of masks for each image), AD 2 (test_public, with its masks
    inside; the private images have no labels and stay out), BTAD (ok and ko, masks without
    `_mask`), MPDD. `validation` folders neither train nor test, as in every published number.

    Without a `train`: `good` and, beside it, a folder for each defect; a fifth of the good images
    test.
    """
    found = category_at(folder)
    if found is None:
        return [], []
    train = [Item(path, "good") for place in found.good for path in good_below(place)]
    photos = {path: kind.name for kind in found.kinds for path in images_below(kind)}
    defective = [path for path, kind in photos.items() if not is_good(kind)]
    masks = find_masks(found.homes, defective)
    test = [Item(path, kind, masks[path]) if path in masks else Item(path, "good")
            for path, kind in photos.items()]
    if found.has_test:
        return train, test
    held_out = set(np.random.default_rng(seed).permutation(len(train))[:len(train) // 5].tolist())
    return ([item for i, item in enumerate(train) if i not in held_out],
            [item for i, item in enumerate(train) if i in held_out] + test)


def _read_visa(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """VisA: its split files name split, label, image and mask; masks hold class numbers."""
    train: list[Item] = []
    test: list[Item] = []
    for row in visa.read_rows(folder, split):
        if row["object"] == category:
            kind = "good" if row["label"] == "normal" else row["label"]
            masks = (folder / row["mask"],) if row["mask"] and kind != "good" else ()
            item = Item(folder / row["image"], kind, masks)
            if row["split"] != "train":
                test.append(item)
            elif not item.label:  # of two-class setups, defects train too
                train.append(item)
    return train, test


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


TwoLists = tuple[list[Item], list[Item]]
READERS: dict[str, Callable[[Path, str, str, int], TwoLists]] = {
    "mvtec": _read_mvtec, "synthetic": _read_mvtec, "one": _read_one, "plain": _read_one,
    "visa": _read_visa, "mtd": _read_mtd, "elpv": _read_elpv,
}
