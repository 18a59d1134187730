"""A category's training and test images, by the name of a dataset or by the path of a folder."""

import hashlib
import importlib.util
import os
import shlex
import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np

from ..errors import InputError, Progress, unknown
from . import elpv, visa
from .arguments import CALLED, PATH, TEXT, maybe, one_of, takes, whole
from .catalog import CATALOG, Package
from .files import in_units
from .images import digest_of, image_size
from .layouts import READERS, Item, categories_in, drawing, layout_of, remarks_of
from .left_out import Remark, tell
from .orientation import turned_apart
from .synthetic import categories as synthetic

SPLITS = ("paper", "grouped", *(name for name in visa.SPLIT_FILES if name != "paper"))
PROTOCOLS = ("random", "anomalydino")
# `<category>_reduced` is a category small enough for a lesson: so many good training images, and
# so many test images of each type, good among them.
REDUCED_TRAIN, REDUCED_TEST = 50, 10


class ImageSet(Sequence[Item]):
    """The items of one split, in a fixed order. Give it to `PatchCore.fit` or `.predict`.

    `version` is that of drawn parts, None for photos.
    """

    def __init__(self, items: Sequence[Item], *, dataset: str, category: str, folder: Path,
                 version: int | None = None):
        self.items = tuple(items)
        self.dataset, self.category, self.folder = dataset, category, folder
        self.version = version

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        return self.items[index]

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __repr__(self) -> str:
        return f"ImageSet({self.dataset}/{self.category}: {len(self)} images)"

    @property
    def labels(self) -> np.ndarray:
        """`(n,)` int, 0 good and 1 defective."""
        return np.array([item.label for item in self.items], dtype=np.int64)

    @property
    def groups(self) -> list[int] | None:
        """Which images show the same part, as equal numbers; None if that is not known."""
        groups = [item.group for item in self.items if item.group is not None]
        return groups if len(groups) == len(self.items) else None

    def replaced(self, items: Sequence[Item]) -> "ImageSet":
        """The same set with other items."""
        return ImageSet(items, dataset=self.dataset, category=self.category, folder=self.folder,
                        version=self.version)

    def name_of(self, item: Item) -> str:
        """The item's path below the dataset's folder, with forward slashes."""
        return item.path.relative_to(self.folder).as_posix()


class NotHere(InputError):
    """A dataset of the catalogue is not on this machine, and the message says how to get it.

    `at_shell` says it to somebody at a command line instead of in Python or in a notebook.
    """

    def __init__(self, message: str, at_shell: str = ""):
        super().__init__(message)
        self.at_shell = at_shell or message


def datasets_folder(folder: str | Path | None = None) -> Path:
    """Where datasets are kept: the argument, else `INDAD_DATASETS`, else `datasets`."""
    return Path(folder or os.environ.get("INDAD_DATASETS") or "datasets")


def folder_of(name: str, datasets: str | Path | None = None) -> Path:
    """Where a dataset of the catalogue is, or would be; `NotHere` for a package that is missing."""
    package = CATALOG[name].package
    folder = package_folder(package) if package else datasets_folder(datasets) / name
    if folder is None:
        raise _not_here(f"{name} is not installed", name)
    return folder


def package_folder(package: Package) -> Path | None:
    """Where pip has put the photos of a package, without running its code; None if nowhere."""
    module, _, inside = package.folder.partition("/")
    found = importlib.util.find_spec(module)
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) / inside if places else None


@takes(source=PATH, category=maybe(TEXT), datasets=maybe(PATH), split=one_of(SPLITS), seed=whole(0),
       shots=maybe(whole()), protocol=one_of(PROTOCOLS), progress=maybe(CALLED))
def load_dataset(source: str | Path, category: str | None = None, *,
                 datasets: str | Path | None = None, split: str = "paper", seed: int = 0,
                 shots: int | None = None, protocol: str = "random",
                 progress: Progress | None = None,
                 ) -> tuple[ImageSet, ImageSet]:
    """Read one category: good training images, and test images with labels and masks.

    Args:
        source: a name of the catalogue, or a path: to a folder of categories, to one category in
            the layout of MVTec AD (or its relatives AD 2, LOCO, BTAD), to VisA's or MTD's own
            layout, or to any folder with `good` in it.
        category: needed where there are several. `<category>_reduced`, where no folder has that
            name, is a fixed part of the category: see `reduced`.
        split: for MTD and ELPV: "paper" holds out 20 % of the good images at random, "grouped"
            keeps all exposures of one tile, or all cells of one module, on the same side. For VisA
            "2cls_fewshot" and "2cls_highshot" as well, see visa.py.
        seed: of the splits that are drawn (MTD, plain folders) and of `shots`; ELPV's is fixed.
        shots, protocol: train on so many images only, see `choose_shots`.

    Raises `InputError` for unknown names, missing or empty folders, and masks of a wrong size.

    Example:
        >>> train, test = load_dataset("synthetic", "weave")
        >>> len(train), test[0].defect_type
    """
    folder, layout, name = _locate(source, datasets, category)
    category, base = _pick_category(source, category, folder, layout, datasets)
    if split.startswith("2cls") and layout != "visa":
        raise InputError(f"split is {split}, which only VisA has; {name} takes paper")
    if layout == "synthetic":
        folder.mkdir(parents=True, exist_ok=True)
        synthetic.write_category(folder / base, base, progress=partial(
            progress, f"drawing {base}") if progress else None)
    train, test = READERS[layout](folder, base, split, seed)
    if not train:
        raise InputError(f"{folder}: no good images to learn from in category {category!r}")
    tell(remarks_of(folder, layout, base, [*train, *test]))
    version = _version(folder if layout == "one" else folder / base)
    if base != category:
        train, test = reduced(train, test, base)
    if shots is not None:
        train = [train[i] for i in choose_shots(len(train), shots, category=category, seed=seed,
                                                protocol=protocol)]
    sets = [ImageSet(items, dataset=name, category=category, folder=folder, version=version)
            for items in (train, test)]
    _check_masks(test)
    return sets[0], sets[1]


@takes(count=whole(1), shots=whole(), category=TEXT, seed=whole(0), protocol=one_of(PROTOCOLS))
def choose_shots(count: int, shots: int, *, category: str, seed: int,
                 protocol: str = "random") -> list[int]:
    """Which of `count` training images, in order of their names, a few-shot run may see.

    Args:
        protocol: "random": drawn without replacement, by a generator seeded with the seed and the
            CRC-32 of the category's name, so that the k shots of a seed are among its k + 1 and no
            category depends on another. "anomalydino": images seed * shots to (seed + 1) * shots,
            as in that project's tables (arXiv 2405.14529); these are not nested.

    Raises `InputError` for a number of shots that the category does not have.
    """
    if not 1 <= shots <= count:
        raise InputError(f"shots is {shots}; {category} has {count} training images")
    if protocol == "random":
        order = np.random.default_rng([seed, zlib.crc32(category.encode())]).permutation(count)
        return order[:shots].tolist()
    if (seed + 1) * shots > count:
        raise InputError(f"shots is {shots} and seed {seed}: protocol anomalydino takes images "
                         f"{seed * shots} to {(seed + 1) * shots - 1}, but {category} has {count}")
    return list(range(seed * shots, (seed + 1) * shots))


def reduced(train: Sequence[Item], test: Sequence[Item], category: str, *,
            n_train: int = REDUCED_TRAIN, n_test: int = REDUCED_TEST,
            ) -> tuple[list[Item], list[Item]]:
    """The small set that `<category>_reduced` stands for, the same on every machine.

    Each group (training images; test images of one type) is drawn without replacement by a
    generator seeded with the CRC-32 of the category's and the group's name, from the images in
    order of their names. So no group depends on another, and a smaller number is part of a larger.
    """
    def drawn(items: Sequence[Item], group: str, number: int) -> list[Item]:
        order = drawing(category, group).permutation(len(items))
        return [items[i] for i in sorted(order[:number])]

    kinds = sorted({item.defect_type for item in test}, key=lambda kind: (kind != "good", kind))
    return drawn(train, "train", n_train), [
        item for kind in kinds
        for item in drawn([item for item in test if item.defect_type == kind], kind, n_test)]


@takes(source=PATH, datasets=maybe(PATH))
def list_categories(source: str | Path, *, datasets: str | Path | None = None) -> list[str]:
    """The categories that a dataset has on disk (or can draw)."""
    folder, layout, _ = _locate(source, datasets, None)
    return _categories(folder, layout)


@takes(source=PATH, category=maybe(TEXT), datasets=maybe(PATH))
def read_category(source: str | Path, category: str | None = None, *,
                  datasets: str | Path | None = None,
                  ) -> tuple[list[Item], list[Item], Path, str]:
    """Training and test items as they stand, the dataset's folder and its layout; no file opened.

    Unlike `load_dataset` it does not mind masks of a wrong size or a category without good images.
    """
    folder, layout, _ = _locate(source, datasets, category)
    _, base = _pick_category(source, category, folder, layout, datasets)
    train, test = READERS[layout](folder, base, "paper", 0)
    return train, test, folder, layout


def count_images(source: str | Path, category: str | None = None, *,
                 datasets: str | Path | None = None) -> tuple[int, int, int]:
    """Good training, good test and defective test images of a category."""
    train, test, _, _ = read_category(source, category, datasets=datasets)
    defective = sum(item.label for item in test)
    return len(train), len(test) - defective, defective


def fingerprint(*sets: ImageSet) -> str:
    """SHA-256 over names and contents of all images and masks: which data was this, exactly?"""
    digest = hashlib.sha256()
    for items in sets:
        for item in items:
            digest.update(f"{items.name_of(item)}\0{item.defect_type}\0".encode())
            for path in (item.path, *item.mask_paths):
                try:
                    digest.update(digest_of(path))
                except OSError:  # a broken link: told where it is read, and left out
                    digest.update(b"unreadable")
    return digest.hexdigest()


def _not_here(problem: str, name: str, category: str | None = None,
              datasets: str | Path | None = None) -> NotHere:
    """One line for someone who lacks a dataset of the catalogue, wherever that one reads it."""
    row = CATALOG[name]
    if row.package:
        install = f"pip install {row.package.name} ({in_units(row.package.size)}, {row.licence})"
        python = f"run in a cell: %{install}" if in_notebook() else f"run: {install}"
        return NotHere(f"{problem}; {python}", f"{problem}; run: {install}")
    words = [name, category] if category else [name]
    python, shell = ", ".join(f'"{word}"' for word in words), " ".join(words)
    if datasets:  # the whole path: it is the same folder for whoever follows the advice elsewhere
        place = Path(datasets).absolute()
        python += f', datasets="{place.as_posix()}"'
        shell += f" --datasets {shlex.quote(str(place))}"
    return NotHere(
        f'{problem}; get it with: indad.download_dataset({python}) ({row.licence}), or take '
        '"synthetic"',
        f"{problem}; get it with: python -m indad download {shell} ({row.licence}), or try "
        "--dataset synthetic")


def in_notebook() -> bool:
    """Is this Python the kernel of a notebook?"""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell and getattr(shell, "kernel", None))


def _locate(source: str | Path, datasets: str | Path | None,
            category: str | None) -> tuple[Path, str, str]:
    """Folder, layout and name of a dataset given by name or by path."""
    known = CATALOG.get(str(source))
    folder = folder_of(known.name, datasets) if known else Path(source)
    if known and (known.layout == "synthetic" or known.package):
        return folder, known.layout, known.name
    if not folder.is_dir():
        if known:
            base = (category or "").removesuffix("_reduced")
            wanted = base if base in known.categories else None
            raise _not_here(f"{source} is not in {folder.absolute()}", known.name, wanted, datasets)
        if folder.exists():
            raise InputError(f"{folder} is a file; give a folder of images")
        if len(folder.parts) == 1:
            raise unknown("dataset or folder", source, CATALOG)
        raise InputError(f"{folder}: no such folder")
    layout = layout_of(folder)
    if layout == "elpv":
        return folder, layout, layout
    # A path to one category inside a folder of categories is called after both.
    parent = folder.resolve().parent.name if layout == "one" else ""
    return folder, layout, parent or folder.resolve().name


def _categories(folder: Path, layout: str) -> list[str]:
    return sorted(synthetic.CATEGORIES) if layout == "synthetic" else categories_in(folder, layout)


def _pick_category(source: object, category: str | None, folder: Path, layout: str,
                   datasets: str | Path | None) -> tuple[str, str]:
    """-> the category, and the one it is read from: another one for `<category>_reduced`."""
    categories = _categories(folder, layout)
    if category is None and len(categories) == 1:
        return categories[0], categories[0]
    if category is None:
        raise InputError(f"{source} has several categories; choose one of: "
                         + ", ".join(categories))
    if layout == "elpv":
        categories += [kind + elpv.ALL for kind in categories]
    base = category if category in categories else category.removesuffix("_reduced")
    known = CATALOG.get(str(source))
    if base not in categories and known and base in known.categories:
        raise _not_here(f"{source} has no {base} here", known.name, base, datasets)
    if base not in categories:
        raise unknown("category", category, categories)
    return category, base


def _version(folder: Path) -> int | None:
    """The version of drawn parts, None for photos; warns of one whose masks are not today's."""
    version = synthetic.version_of(folder)
    if version is not None and version != synthetic.VERSION:
        tell([Remark("version", f"{folder}: parts drawn by version {version}, with other masks "
                     f"than those of version {synthetic.VERSION}; --dataset synthetic draws them "
                     "again", (folder,))])
    return version


def _check_masks(items: list[Item]) -> None:
    """Sizes must agree; headers tell, so this costs little and comes before any work."""
    for item in items:
        for mask_path in item.mask_paths:
            try:
                size, mask_size = image_size(item.path), image_size(mask_path)
            except InputError:
                continue  # what is unreadable is reported where it is read
            if mask_size != size:
                turned = turned_apart(item.path, mask_path)
                raise InputError(f"{mask_path}: the mask is {mask_size[1]}x{mask_size[0]}, but its "
                                 f"image is {size[1]}x{size[0]}; {turned or 'make them equal'}")
