"""Is this folder fit to learn from and to test on? Every image and mask is opened once to see.

What it finds are faults that change a result without any error: a test image that was trained on,
a mask of another picture, a photo that no program reads.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import Progress
from .arguments import CALLED, PATH, TEXT, maybe, takes
from .audit_masks import lost_masks, mask_faults
from .datasets import list_categories, read_category
from .images import IMAGE_SUFFIXES, readers
from .layouts import Item, remarks_of
from .levels import in_words
from .near_duplicates import alike
from .one_look import Picture, look
from .survey import levels_of

FEW = 10  # training images below which a note is due
RARE = 0.1  # a size or mode that fewer images have is an oddity; more, and the set is just mixed
COPY = re.compile(r"(\(\d+\)|[ _-]+copy|^copy of .*|[ _-]+kopie|[ _-]+copie)$", re.IGNORECASE)
TROUBLE = re.compile(r'[<>:"|?*\\\x00-\x1f]|^\s|\s$|\.$')
HARMLESS = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Finding:
    """One thing found: a fault, or a note; `paths` are relative to the dataset's folder."""

    kind: str
    message: str
    paths: tuple[str, ...] = ()
    fault: bool = True


@dataclass(frozen=True)
class Group:
    """The images of one split and defect type: how many, of which sizes and modes."""

    split: str
    defect_type: str
    images: int
    masks: int
    sizes: dict[str, int]
    modes: dict[str, int]


@dataclass(frozen=True)
class Audit:
    """What `audit` found: groups and findings by category. Print it, or take it apart."""

    folder: Path
    groups: dict[str, list[Group]] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def faults(self) -> list[Finding]:
        return [finding for found in self.findings.values() for finding in found if finding.fault]

    def as_dict(self) -> dict:
        """For JSON: everything, with plain types."""
        return {"folder": str(self.folder), "faults": len(self.faults), "categories": {
            name: {"groups": [vars(group) for group in groups],
                   "findings": [vars(finding) | {"paths": list(finding.paths)}
                                for finding in self.findings[name]]}
            for name, groups in self.groups.items()}}

    def __str__(self) -> str:
        return "\n".join([*(line for name in self.groups for line in self._lines(name)),
                          f"{self.folder}: {len(self.faults) or 'no'} "
                          f"fault{'s' * (len(self.faults) != 1)}"])

    def _lines(self, name: str, shown: int = 10) -> list[str]:
        """One category as text: at most `shown` findings of a kind."""
        lines = [f"{name}", f"  {'split':<7}{'type':<24}{'images':>7}{'masks':>7}  sizes, modes"]
        for group in self.groups[name]:
            masks = "-" if group.defect_type == "good" else group.masks
            kinds = ", ".join([_counted(group.sizes), _counted(group.modes)])
            lines.append(f"  {group.split:<7}{group.defect_type:<24}{group.images:>7}{masks:>7}"
                         f"  {kinds}")
        by_kind = defaultdict(list)
        for finding in self.findings[name]:
            by_kind[finding.kind].append(finding)
        for kind, found in by_kind.items():
            lines += [f"  {'fault' if finding.fault else 'note'}: {kind}: {finding.message}"
                      for finding in found[:shown]]
            if len(found) > shown:
                lines.append(f"  ... {kind}: {len(found) - shown} more (--json has them all)")
        return [*lines, ""]


@takes(folder=PATH, category=maybe(TEXT), datasets=maybe(PATH), progress=maybe(CALLED))
def audit(folder: str | Path, category: str | None = None, *,
          datasets: str | Path | None = None, progress: Progress | None = None) -> Audit:
    """Look for faults in a folder of images before they become faults in a result.

    Args:
        folder, category, datasets: as for `data.load_dataset`; no category means all of them.
        progress: called with (what, done, total).

    Raises `InputError` where there is no dataset to look at; what is wrong inside is a finding.

    Example:
        >>> found = audit("bolts")
        >>> print(found)
        >>> [fault.kind for fault in found.faults]
    """
    groups, findings = {}, {}
    for name in [category] if category else list_categories(folder, datasets=datasets):
        train, test, root, layout = read_category(folder, name, datasets=datasets)
        tell = partial(progress, f"checking {name}") if progress else None
        examined = _Examined(train, test, root, layout, name, tell)
        groups[name], findings[name] = examined.groups(), examined.findings()
    return Audit(root, groups, findings)


class _Examined:
    """All files of a category, opened; and one method for each kind of fault."""

    def __init__(self, train: Sequence[Item], test: Sequence[Item], root: Path, layout: str,
                 category: str, tell: Callable[[int, int], None] | None):
        self.train, self.test, self.root, self.layout = train, test, root, layout
        self.category, self.items = category, [*train, *test]
        self.remarks = remarks_of(root, layout, category, self.items)
        self.pictures: dict[Path, Picture] = {}
        self.levels = levels_of(train)
        with ThreadPoolExecutor(readers()) as pool:
            looks = pool.map(partial(look, levels=self.levels), [i.path for i in self.items])
            for done, (item, picture) in enumerate(zip(self.items, looks, strict=True), start=1):
                self.pictures[item.path] = picture
                if tell:
                    tell(done, len(self.items))

    def groups(self) -> list[Group]:
        rows = defaultdict(list)
        for split, items in (("train", self.train), ("test", self.test)):
            for item in items:
                rows[split, item.defect_type].append(item)
        return [Group(split, kind, len(items), sum(bool(item.mask_paths) for item in items),
                      self._counts(items, "size"), self._counts(items, "mode"))
                for (split, kind), items in rows.items()]

    def findings(self) -> list[Finding]:
        return [*self._notes(), *self._levels(), *self._unreadable(), *self._odd_ones("size"),
                *self._odd_ones("mode"), *self._blank(), *self._copies(), *self._masks(),
                *self._ignored(), *self._names(), *self._remarks()]

    def _notes(self) -> Iterable[Finding]:
        defective = [item for item in self.test if item.label]
        if len(self.train) < FEW:
            yield Finding("few_images", f"{len(self.train)} training images", fault=False)
        if not defective:
            yield Finding("no_defects", "no defective test images: metrics will be n/a",
                          fault=False)
        elif not any(item.mask_paths for item in defective):
            yield Finding("no_masks", "no masks: pixel metrics will be n/a", fault=False)
        for what in ("size", "mode"):
            found = self._counts(self.items, what)
            if len(found) > 1 and not list(self._odd_ones(what)):
                yield Finding(f"mixed_{what}s", f"images of {len(found)} {what}s", fault=False)

    def _levels(self) -> Iterable[Finding]:
        if self.levels:
            yield Finding("levels", in_words(self.levels), fault=False)
        for path, picture in self.pictures.items():
            for note in picture.notes:
                yield self._fault("odd_pixels", f"{self._name(path)} {note}", path)

    def _unreadable(self) -> Iterable[Finding]:
        for path, picture in self.pictures.items():
            if picture.error:
                yield self._fault("unreadable", f"{self._name(path)}: cannot be read", path)

    def _odd_ones(self, what: str) -> Iterable[Finding]:
        counts = self._counts(self.items, what)
        usual = max(counts, key=counts.__getitem__, default=None)
        if usual is None or counts[usual] < (1 - RARE) * sum(counts.values()):
            return
        for item in self.items:
            found = getattr(self.pictures[item.path], what)
            if found and found != usual:
                yield self._fault(f"odd_{what}", f"{self._name(item.path)} is {found}, the others "
                                  f"are {usual}", item.path)

    def _blank(self) -> Iterable[Finding]:
        for path, picture in self.pictures.items():
            if picture.detail is not None and not picture.detail.any():
                yield self._fault("blank", f"{self._name(path)} shows one colour only", path)

    def _copies(self) -> Iterable[Finding]:
        """Images that are the same, or nearly: in both splits they make results too good."""
        details = {path: picture.detail for path, picture in self.pictures.items()
                   if picture.detail is not None and picture.detail.any()}
        paths, trained = list(details), {item.path for item in self.train}
        pairs = alike(np.stack(list(details.values()))) if paths else []
        for i, j, turned in pairs:
            first, second = paths[i], paths[j]
            exact = self.pictures[first].digest == self.pictures[second].digest
            how = ("the same picture" if exact else
                   "nearly the same picture" + (", turned or mirrored" if turned else ""))
            kind = "duplicate" if exact else "near_duplicate"
            if (first in trained) != (second in trained):
                kind, how = "train_test_leak", f"{how}, in training and in test"
            yield self._fault(kind, f"{self._name(first)} and {self._name(second)}: {how}",
                              first, second)

    def _masks(self) -> Iterable[Finding]:
        sizes = {path: picture.size for path, picture in self.pictures.items()}
        claimed = mask_faults(self.test, self.layout, sizes, self._name)
        lost = lost_masks(self.root, self.layout, self.category, self.test, self.remarks,
                          self._name)
        for kind, message, *paths in (*claimed, *lost):
            yield self._fault(kind, message, *paths)

    def _remarks(self) -> Iterable[Finding]:
        """How the folder was read, as far as nothing else says it."""
        folders = {item.path.parent for item in self.items}
        for remark in self.remarks:
            told = remark.kind == "not_read" and all(path.parent in folders
                                                     for path in remark.paths)
            if remark.kind != "unused_masks" and not told:
                yield Finding(remark.kind, remark.message, tuple(map(self._name, remark.paths)),
                              fault=remark.kind not in ("called_good", "left_out"))

    def _ignored(self) -> Iterable[Finding]:
        """Files beside the images that are no image to this program."""
        told = {path for remark in self.remarks if remark.kind == "outlines"
                for path in remark.paths}
        for folder in sorted({item.path.parent for item in self.items}):
            for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
                if (entry.name[0] != "." and entry.name.lower() not in HARMLESS
                        and entry not in told and not entry.is_dir()
                        and entry.suffix.lower() not in IMAGE_SUFFIXES):
                    yield self._fault("ignored", f"{self._name(entry)} is never read: only "
                                      f"{', '.join(sorted(IMAGE_SUFFIXES))}", entry)

    def _names(self) -> Iterable[Finding]:
        stems = defaultdict(list)
        for item in self.items:
            name, kind = item.path.name, self.pictures[item.path].format
            stems[item.path.parent, item.path.stem.casefold()].append(item.path)
            reason = None
            if COPY.search(item.path.stem):
                reason = "looks like a copy"
            elif TROUBLE.search(name) or unicodedata.normalize("NFC", name) != name:
                reason = "has characters that other systems cannot name"
            elif kind and item.path.suffix.lower() not in _suffixes(kind):
                reason = f"is a {kind} file by its content"
            if reason:
                yield self._fault("odd_name", f"{self._name(item.path)} {reason}", item.path)
        for paths in stems.values():
            if len(paths) > 1:
                yield self._fault("odd_name", " and ".join(self._name(path) for path in paths)
                                  + " differ in suffix or case only: one mask would serve both",
                                  *paths)

    def _counts(self, items: Iterable[Item], what: str) -> dict[str, int]:
        found = Counter(getattr(self.pictures[item.path], what) for item in items)
        return {name: count for name, count in found.most_common() if name}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _fault(self, kind: str, message: str, *paths: Path) -> Finding:
        return Finding(kind, message, tuple(self._name(path) for path in paths))


def _suffixes(format: str) -> set[str]:
    """The suffixes that Pillow knows for a format; MPO is what some phones call their JPEGs."""
    format = "JPEG" if format == "MPO" else format
    return {suffix for suffix, name in Image.registered_extensions().items() if name == format}


def _counted(counts: dict[str, int]) -> str:
    """{"256x256": 40, "512x512": 2} -> "40 256x256 + 2 512x512", shortened."""
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{count} {name}" for name, count in list(counts.items())[:3]]
    rest = len(counts) - len(shown)
    return " + ".join(shown + [f"{rest} other"] * (rest > 0)) or "none"
