"""What of a folder is not read, counted: photos beside the usual places, masks, other files."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputWarning
from .folders import images_in, is_mask_folder, masks_beside, photo_stem, places_below
from .images import IMAGE_SUFFIXES

# Photos, or what somebody may take for photos, that are not read.
FOREIGN = frozenset({
    ".arw", ".avi", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".gif", ".heic", ".heif",
    ".jfif", ".jp2", ".jpe", ".jxl", ".mov", ".mp4", ".nef", ".npy", ".npz", ".orf", ".pbm",
    ".pdf", ".pgm", ".pnm", ".ppm", ".psd", ".raf", ".raw", ".rw2", ".svg", ".tga",
    ".zip"})
OUTLINES = (".json", ".xml", ".txt")  # of LabelMe, VOC and YOLO, called as the photo beside them


@dataclass(frozen=True)
class Remark:
    """What was made of a folder, in a line: `kind` for programs, `paths` of what it is about."""

    kind: str
    message: str
    paths: tuple[Path, ...] = ()


def tell(remarks: Iterable[Remark]) -> None:
    """Warn of each."""
    for remark in remarks:
        warnings.warn(remark.message, InputWarning, stacklevel=3)


def remarks_on(folder: Path, good: Sequence[Path], read: Collection[Path], *,
               whole: bool = False, labels: bool = True) -> list[Remark]:
    """What there is to say about how a folder was read.

    Args:
        good: its folders of good photos.
        read: images and masks that are used.
        whole: look at all of the folder, and not only at its good photos.
        labels: masks and outlines of defects would have been used.
    """
    places = [place for top in ([folder] if whole else good)
              for place in places_below(top, masks=True)]
    return [*_called_good(folder, good), *_unused(folder, places, read, labels),
            *_foreign(folder, places, labels)]


def _called_good(folder: Path, good: Sequence[Path]) -> Iterable[Remark]:
    names = [place.name for place in good if place != folder]
    if names and names != ["good"]:
        yield Remark("called_good", f"{folder}: {' and '.join(names)} "
                     f"{'is' if len(names) == 1 else 'are'} taken for the good photos")


def _unused(folder: Path, places: Sequence[Path], read: Collection[Path],
            labels: bool) -> Iterable[Remark]:
    masks, photos = [], []
    where: Counter[str] = Counter()
    for place in places:
        images = images_in(place)
        inside = place.relative_to(folder).parts
        beside = masks_beside(images) if len(images) > 1 else set()
        for image in images:
            if image in read:
                continue
            if image in beside or any(map(is_mask_folder, inside)):
                masks.append(image)
            else:
                photos.append(image)
                where["/".join(inside) or "."] += 1
    if masks:
        wanted = f"; {_wanted(masks[0], read)}" if labels else ""
        yield Remark("unused_masks", f"{folder}: {_count(masks, 'image')} left out, by the name "
                     f"of a mask: {_name(masks[0], folder)}{', ...' * (len(masks) > 1)}{wanted}",
                     tuple(masks))
    if photos:
        listed = ", ".join(f"{count} in {name}" for name, count in where.most_common(5))
        more = f", {len(where) - 5} more folders" * (len(where) > 5)
        yield Remark("left_out", f"{folder}: {_count(photos, 'image')} left out: {listed}{more}",
                     tuple(photos))


def _wanted(mask: Path, read: Collection[Path]) -> str:
    """The name under which a mask would be read."""
    stem = photo_stem(mask.stem)
    photo = next((path for path in sorted(read) if path.stem.casefold() == stem), None)
    kind = photo.parent.name if photo else "<defect>"
    return ("the mask of <defect>/NAME.jpg is read from ground_truth/<defect>/NAME_mask.png"
            if photo is None else
            f"the mask of {kind}/{photo.name} is read from ground_truth/{kind}/"
            f"{photo.stem}_mask.png")


def _foreign(folder: Path, places: Sequence[Path], labels: bool) -> Iterable[Remark]:
    """Files that may be photos, and outlines of defects, none of which are read."""
    others, outlines = [], []
    for place in places:
        files = [file for file in place.iterdir() if file.name[0] != "." and file.is_file()]
        stems = {file.stem for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
        for file in files:
            suffix = file.suffix.lower()
            if suffix in FOREIGN:
                others.append(file)
            elif suffix in OUTLINES and (file.stem in stems or "annotation" in file.stem.lower()):
                outlines.append(file)
    if others:
        kinds = Counter(file.suffix.lower() for file in others)
        yield Remark("not_read", f"{folder}: {_count(others, 'file')} left out: "
                     + ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common())
                     + f"; only {', '.join(sorted(IMAGE_SUFFIXES))} are read", tuple(others))
    if outlines and labels:
        yield Remark("outlines", f"{folder}: {_count(outlines, 'file')} that may hold outlines of "
                     f"defects not used ({_name(outlines[0], folder)}); masks are read as images, "
                     "from ground_truth/<defect>/NAME_mask.png for <defect>/NAME.jpg",
                     tuple(outlines))


def _count(files: Sequence[Path], what: str) -> str:
    return f"{len(files)} {what}{'s' * (len(files) != 1)}"


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
