"""Photos by what was typed into a form: found, fetched or unpacked, or refused in one line."""

import importlib
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..cli.terminal import Bars
from ..data.catalog import CATALOG, credit
from ..data.datasets import ImageSet, NotHere, datasets_folder, list_categories, load_dataset
from ..data.download.installing import download_dataset
from ..data.download.unpack import SUFFIXES, unpack
from ..data.files import partial_folder
from ..data.folders import folders_in
from ..data.layouts import layout_of
from ..data.locks import locked
from ..data.replacing import mend, replace_folder
from ..errors import InputError, first_line, unknown

FOLDERS = ("folder", "drive")
AUTO = "auto"
DRIVE = Path("/content/drive/MyDrive")  # where Colab shows a Google Drive


class Unavailable(InputError):
    """Something that was chosen is not to be had. A notebook shows its message, and no traceback.

    The cell fails all the same, so that Run all stops there.
    """

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [str(self)]


@contextmanager
def in_words_of_a_form() -> Iterator[None]:
    """Turn an `InputError` into `Unavailable`, and options of the command line into fields."""
    try:
        yield
    except Unavailable:
        raise
    except InputError as error:
        raise Unavailable(re.sub(r"--(\w+) (\w+)", r'\1 = "\2"', str(error))) from error


def categories_of(dataset: str, folder: str = "") -> list[str]:
    """The categories that a data set has, by its name, or by the folder of one's own photos."""
    if dataset in FOLDERS:
        return list_categories(own_folder(dataset, folder))
    if dataset not in CATALOG:
        raise unknown("dataset", dataset, (*CATALOG, *FOLDERS))
    return list(CATALOG[dataset].categories)


def find_category(dataset: str, category: str, folder: str, drawn: str) -> str:
    """What a category stands for: `drawn` or the first one for "auto"; raises `Unavailable`."""
    with in_words_of_a_form():
        known = categories_of(dataset, folder)
    if dataset == "elpv":  # with the cells that may be defective
        known += [f"{name}_all" for name in known]
    if category == AUTO:
        return drawn if dataset == "synthetic" else known[0]
    if category not in known and category.removesuffix("_reduced") not in known:
        raise Unavailable(f"{dataset} has no category {category!r}; it has {', '.join(known)}")
    return category


def get_images(dataset: str, category: str, folder: str) -> tuple[ImageSet, ImageSet]:
    """Training and test images; those of the catalogue are downloaded if they are not here.

    `folder` is where one's own photos are; for other data sets, where their archives are kept.
    """
    with in_words_of_a_form(), Bars() as bars:
        if dataset in FOLDERS:
            return load_dataset(own_folder(dataset, folder), category)
        archives = _existing(dataset, folder) if folder else None
        try:
            return load_dataset(dataset, category, progress=bars.of(dataset))
        except NotHere:
            pass

        def note(line: str) -> None:
            bars.close()
            print(line)

        download_dataset(dataset, category, progress=bars.of(dataset), note=note,
                         archives=archives.parent if archives and archives.is_file() else archives)
        return load_dataset(dataset, category)


@dataclass(frozen=True)
class Cells:
    """Photos to lay beside drawn parts: what to learn from, what to judge, and what they are."""

    train: ImageSet
    test: ImageSet
    name: str
    real: bool


def solar_cells() -> Cells:
    """A fixed part of ELPV's photos of solar cells; capsules that are drawn where they are not.

    Says which of them they are, and whose. It downloads nothing: they come by pip.

    Example:
        >>> cells = solar_cells()
        >>> model = PatchCore().fit(cells.train[:8])
    """
    try:
        train, test = load_dataset("elpv", "mono_reduced")
    except NotHere:
        print("no real photos here (pip install elpv-dataset, 91 MB): drawn capsules stand in")
        return Cells(*load_dataset("synthetic", "capsule"), "drawn capsules", real=False)
    print(f"{len(train)} good solar cells to learn from, {len(test)} to judge. {credit('elpv')}")
    return Cells(train, test, "solar cells", real=True)


def own_folder(dataset: str, folder: str) -> Path:
    """The folder with the photos; an archive is unpacked where the data sets are, once."""
    if not folder:
        raise Unavailable(f'dataset is "{dataset}", but folder is empty: give the path of a folder '
                          "with good photos in it" + (", as below MyDrive" * (dataset == "drive")))
    place = _existing(dataset, folder)
    if place.is_dir():
        return place
    if not place.name.lower().endswith(SUFFIXES):
        raise Unavailable(f"folder is {folder!r}, a file that is no archive; give a folder of "
                          f"photos, or one of {', '.join(SUFFIXES)}")
    # Another size: another archive of that name.
    unpacked = datasets_folder() / ".own" / str(place.stat().st_size) / place.name.partition(".")[0]
    if not unpacked.exists():
        with locked(unpacked, patience=math.inf), Bars() as bars:
            mend(unpacked)
            if not unpacked.exists():  # another process may have unpacked it meanwhile
                with partial_folder(unpacked) as partial:
                    unpack(place, partial, progress=bars.of(place.name))
                    replace_folder(_top(partial), unpacked)
    return unpacked


def _top(folder: Path) -> Path:
    """Some archives hold the photos' folders, others a folder that holds those."""
    while True:
        try:
            layout_of(folder)
            return folder
        except InputError:
            inner = folders_in(folder)
            if len(inner) != 1:
                raise
            folder = inner[0]


def _existing(dataset: str, folder: str) -> Path:
    """The path that was typed, if there is something; Colab is asked for the Drive if it is one."""
    place = Path(folder).expanduser()
    if dataset == "drive" or folder.startswith(str(DRIVE.parent)):
        _mount(folder)
        place = DRIVE / folder.rpartition("MyDrive/")[2].lstrip("/")
    if not place.exists():
        raise Unavailable(f"folder is {folder!r}: there is nothing at {place.resolve()}")
    return place


def _mount(folder: str) -> None:
    if DRIVE.is_dir():
        return
    if "google.colab" not in sys.modules:
        raise Unavailable(f"folder is {folder!r} on a Google Drive, which only Colab can mount; "
                          'here, choose dataset = "folder" and give a path')
    try:
        importlib.import_module("google.colab.drive").mount(str(DRIVE.parent))
    except Exception as error:  # whatever Colab raises when somebody says no
        raise Unavailable(f"folder is {folder!r}, but the Drive is not mounted "
                          f"({first_line(error)}): run this cell again, and allow it when Google "
                          "asks") from error
    if not DRIVE.is_dir():
        raise Unavailable(f"folder is {folder!r}, but the Drive is not mounted: run this cell "
                          "again, and allow it when Google asks")
