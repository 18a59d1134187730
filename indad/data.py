"""A category's training and test images, whatever the layout on disk.

Labels come from path parts *relative to the dataset's folder*, never from substrings of the whole
path: a parent folder called `goods` or `latest` changes nothing.
"""

import csv
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from . import synthetic
from .catalog import CATALOG
from .errors import InputError, unknown
from .images import IMAGE_SUFFIXES, image_size, read_mask

SPLITS = ("paper", "grouped")
# Exposures of one magnetic tile have file numbers that lie closer together than this: with it,
# 130 of the 160 groups of good images are runs of six, one for each exposure.
MTD_GAP = 100


@dataclass(frozen=True)
class Item:
    """One image: where it is, what it shows, and its mask if there is one."""

    path: Path
    defect_type: str  # "good" or the name of the defect
    mask_path: Path | None = None
    mask_above: int = 0  # grey values above this are defect

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
        if self.mask_path is None:
            return None
        mask = read_mask(self.mask_path, above=self.mask_above)
        return mask if mask.any() else None


class ImageSet(Sequence):
    """The items of one split, in a fixed order. Give it to `PatchCore.fit` or `.predict`."""

    def __init__(self, items: Sequence[Item], *, dataset: str, category: str, folder: Path):
        self.items = tuple(items)
        self.dataset, self.category, self.folder = dataset, category, folder

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __repr__(self) -> str:
        return f"ImageSet({self.dataset}/{self.category}: {len(self)} images)"

    @property
    def labels(self) -> np.ndarray:
        """`(n,)` int, 0 good and 1 defective."""
        return np.array([item.label for item in self.items], dtype=np.int64)

    def replaced(self, items: Sequence[Item]) -> "ImageSet":
        """The same set with other items."""
        return ImageSet(items, dataset=self.dataset, category=self.category, folder=self.folder)

    def name_of(self, item: Item) -> str:
        """The item's path below the dataset's folder, with forward slashes."""
        return item.path.relative_to(self.folder).as_posix()


def datasets_folder(folder: str | Path | None = None) -> Path:
    """Where datasets are kept: the argument, else `INDAD_DATASETS`, else `datasets`."""
    return Path(folder or os.environ.get("INDAD_DATASETS") or "datasets")


def load_dataset(source: str | Path, category: str | None = None, *,
                 datasets: str | Path | None = None, split: str = "paper", seed: int = 0,
                 shots: int | None = None, progress: Callable[[str, int, int], None] | None = None,
                 ) -> tuple[ImageSet, ImageSet]:
    """Read one category: good training images, and test images with labels and masks.

    Args:
        source: a name of the catalogue, or a path: to a folder of categories, to one category in
            MVTec AD's layout, to VisA's or MTD's own layout, or to any folder with `good` in it.
        category: needed where there are several.
        split: for MTD only: "paper" holds out 20 % of the good images at random, "grouped" keeps
            all exposures of one tile on the same side.
        seed: of the splits that are drawn (MTD, plain folders) and of `shots`.
        shots: train on so many images only; the k of one seed are among its k + 1.

    Raises `InputError` for unknown names, missing or empty folders, and masks of a wrong size.

    Example:
        >>> train, test = load_dataset("synthetic", "weave")
        >>> len(train), test[0].defect_type
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    folder, layout, name = _locate(source, datasets)
    category = _pick_category(source, category, _categories(folder, layout))
    if layout == "synthetic":
        folder.mkdir(parents=True, exist_ok=True)
        synthetic.write_category(folder / category, category, progress=progress and (
            lambda done, total: progress(f"drawing {category}", done, total)))
    train, test = READERS[layout](folder, category, split, seed)
    if not train:
        raise InputError(f"{folder}: no good images to learn from in category {category!r}")
    if shots is not None:
        if not 1 <= shots <= len(train):
            raise InputError(f"shots is {shots}; {category} has {len(train)} training images")
        order = np.random.default_rng(seed).permutation(len(train))
        train = [train[i] for i in order[:shots]]
    sets = [ImageSet(items, dataset=name, category=category, folder=folder)
            for items in (train, test)]
    _check_masks(test)
    return sets[0], sets[1]


def list_categories(source: str | Path, *, datasets: str | Path | None = None) -> list[str]:
    """The categories that a dataset has on disk (or can draw)."""
    folder, layout, _ = _locate(source, datasets)
    return _categories(folder, layout)


def fingerprint(*sets: ImageSet) -> str:
    """SHA-256 over names and contents of all images and masks: which data was this, exactly?"""
    digest = hashlib.sha256()
    for items in sets:
        for item in items:
            digest.update(f"{items.name_of(item)}\0{item.defect_type}\0".encode())
            for path in filter(None, (item.path, item.mask_path)):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _locate(source: str | Path, datasets: str | Path | None) -> tuple[Path, str, str]:
    """Folder, layout and name of a dataset given by name or by path."""
    known = CATALOG.get(str(source))
    folder = datasets_folder(datasets) / str(source) if known else Path(source)
    if known and known.layout == "synthetic":
        return folder, "synthetic", "synthetic"
    if not folder.is_dir():
        if known:
            raise InputError(f"{source} is not in {folder}; download it from {known.page} and "
                             f"unpack it there, or try --dataset synthetic")
        if folder.exists():
            raise InputError(f"{folder} is a file; give a folder of images")
        if len(folder.parts) == 1:
            raise unknown("dataset or folder", source, CATALOG)
        raise InputError(f"{folder}: no such folder")
    layout = _layout(folder)
    # A path to one category inside a folder of categories is called after both.
    inside = layout == "one" and folder.resolve().parent.name
    return folder, layout, inside or folder.resolve().name


def _layout(folder: Path) -> str:
    if (folder / "split_csv" / "1cls.csv").is_file():
        return "visa"
    if (folder / "MT_Free").is_dir():
        return "mtd"
    if (folder / "train" / "good").is_dir():
        return "one"
    if (folder / "good").is_dir():
        return "plain"
    if any((sub / "train" / "good").is_dir() for sub in _folders(folder)):
        return "mvtec"
    raise InputError(f"{folder}: found no images in a layout that is known; expected train/good "
                     "and test/<defect> (or folders that have them), or a folder named good")


def _categories(folder: Path, layout: str) -> list[str]:
    if layout == "synthetic":
        return sorted(synthetic.CATEGORIES)
    if layout == "visa":
        return sorted({row["object"] for row in _visa_rows(folder)})
    if layout == "mvtec":
        return [sub.name for sub in _folders(folder) if (sub / "train" / "good").is_dir()]
    return [folder.resolve().name]


def _pick_category(source: object, category: str | None, categories: list[str]) -> str:
    if category is None and len(categories) == 1:
        return categories[0]
    if category is None:
        raise InputError(f"{source} has several categories; choose one of: "
                         + ", ".join(categories))
    if category not in categories:
        raise unknown("category", category, categories)
    return category


def _read_mvtec(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    return _read_one(folder / category, category, split, seed)


def _read_one(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """MVTec AD: train/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png."""
    train = [Item(path, "good") for path in _images(folder / "train" / "good")]
    test = [_with_mask(path, kind.name, folder)
            for kind in _folders(folder / "test") for path in _images(kind)]
    return train, test


def _read_plain(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """`good` and, beside it, a folder for each defect; a fifth of the good images test."""
    good = [Item(path, "good") for path in _images(folder / "good")]
    held_out = set(np.random.default_rng(seed).permutation(len(good))[:len(good) // 5].tolist())
    defects = [_with_mask(path, kind.name, folder) for kind in _folders(folder)
               if kind.name not in ("good", "ground_truth") for path in _images(kind)]
    return ([item for i, item in enumerate(good) if i not in held_out],
            [item for i, item in enumerate(good) if i in held_out] + defects)


def _with_mask(path: Path, kind: str, folder: Path) -> Item:
    if kind == "good":
        return Item(path, kind)
    masks = folder / "ground_truth" / kind
    found = [mask for mask in (masks / f"{path.stem}_mask.png", masks / f"{path.stem}.png")
             if mask.is_file()]
    return Item(path, kind, found[0] if found else None)


def _read_visa(folder: Path, category: str, split: str, seed: int) -> "TwoLists":
    """VisA: split_csv/1cls.csv names split, label, image and mask; masks hold class numbers."""
    train, test = [], []
    for row in _visa_rows(folder):
        if row["object"] == category:
            kind = "good" if row["label"] == "normal" else row["label"]
            mask = folder / row["mask"] if row["mask"] and kind != "good" else None
            (train if row["split"] == "train" else test).append(
                Item(folder / row["image"], kind, mask))
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
    good = [Item(path, "good") for path in _images(folder / "MT_Free" / "Imgs", (".jpg",))]
    defects = [Item(path, kind.name[3:].lower(),
                    mask if (mask := path.with_suffix(".png")).is_file() else None, 127)
               for kind in _folders(folder)
               if kind.name.startswith("MT_") and kind.name != "MT_Free"
               for path in _images(kind / "Imgs", (".jpg",))]
    groups = _tiles(good) if split == "grouped" else [[i] for i in range(len(good))]
    wanted = round(0.2 * len(good))
    held_out: set[int] = set()
    for group in np.random.default_rng(seed).permutation(len(groups)):
        if len(held_out) >= wanted:
            break
        held_out.update(groups[group])
    return ([item for i, item in enumerate(good) if i not in held_out],
            [item for i, item in enumerate(good) if i in held_out] + defects)


def _tiles(items: list[Item]) -> list[list[int]]:
    """Group MTD images by tile: runs of file numbers less than `MTD_GAP` apart."""
    numbers = [int(re.search(r"num_(\d+)", item.path.stem)[1]) for item in items]
    order = np.argsort(numbers, kind="stable")
    groups = [[int(order[0])]]
    for before, index in pairwise(order):
        if numbers[index] - numbers[before] > MTD_GAP:
            groups.append([])
        groups[-1].append(int(index))
    return groups


def _check_masks(items: list[Item]) -> None:
    """Sizes must agree; headers tell, so this costs little and comes before any work."""
    for item in items:
        if item.mask_path is not None:
            try:
                size = image_size(item.path)
            except InputError:
                continue  # an unreadable image is reported where it is read
            if (mask_size := image_size(item.mask_path)) != size:
                raise InputError(f"{item.mask_path}: the mask is {mask_size[1]}x{mask_size[0]}, "
                                 f"but its image is {size[1]}x{size[0]}; make them equal")


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name[0] != ".")


def _images(folder: Path, suffixes: Sequence[str] = tuple(IMAGE_SUFFIXES)) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir()
                  if file.suffix.lower() in suffixes and file.name[0] != ".")


TwoLists = tuple[list[Item], list[Item]]
READERS: dict[str, Callable[[Path, str, str, int], TwoLists]] = {
    "mvtec": _read_mvtec, "synthetic": _read_mvtec, "one": _read_one, "plain": _read_plain,
    "visa": _read_visa, "mtd": _read_mtd,
}
