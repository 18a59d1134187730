"""Folders of photos: what their names say, and one rule for what is a photo in them.

All photos of a folder and of its sub-folders count. Passed over are hidden folders, folders of
masks, masks beside their photos, and results of this program.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from .images import IMAGE_SUFFIXES

# In any case, and however the words are joined: see `spelled`.
GOOD_WORDS = frozenset({
    "good", "ok", "okay", "normal", "nondefective", "nonanomalous", "defectfree", "nodefect",
    "nodefects", "withoutdefect", "withoutdefects", "faultless", "intact", "healthy", "pass",
    "passed", "accept", "accepted", "io"})
BAD_WORDS = frozenset({
    "bad", "ng", "nok", "notok", "nogood", "notgood", "nongood", "abnormal", "nonnormal",
    "notnormal", "anomaly", "anomalies", "anomalous", "ko", "defect", "defects", "defective",
    "defected", "faulty", "fault", "faults", "fail", "failed", "reject", "rejects", "rejected",
    "unhealthy", "nio"})
SPLIT_WORDS = frozenset({
    "train", "training", "test", "testing", "val", "valid", "validation", "testpublic",
    "testprivate", "testprivatemixed"})
# ground_truth (MVTec, BTAD, MPDD), Masks (VisA), SegmentationClass (CVAT, VOC); bent_masks.
MASKS = r"masks?|gt|ground[ _.-]?truths?"
MASK_FOLDER = re.compile(rf"(.*[ _.-])?({MASKS})|({MASKS})[ _.-].*|segmentation.*|annotations?",
                         re.IGNORECASE)
# NAME_mask.png (MVTec), NAME_GT.png (Kolektor), mask_NAME.png: of a photo that is called NAME.
MASK_FILE = re.compile(rf"^(?:{MASKS}|label)[ _.-]+|[ _.-]+(?:{MASKS}|seg|segmentation|label)$",
                       re.IGNORECASE)
WEAK = re.compile(r"^label[ _.-]|[ _.-]label$", re.IGNORECASE)  # may be a photo of a label, too
NOT_OURS = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found")
# What `predict` and `run` leave beside their pictures.
RESULTS = (("prediction.json",), ("metrics.json", "scores.csv"))


def spelled(name: str) -> str:
    """"Non-Defective" -> "nondefective", "n.i.O." -> "nio"."""
    return re.sub(r"[\W_]+", "", name).casefold()


def is_good(name: str) -> bool:
    """Does a folder of this name hold good photos?"""
    return spelled(name) in GOOD_WORDS


def is_bad(name: str) -> bool:
    """Does a folder of this name hold defective photos of whatever kind?"""
    return spelled(name) in BAD_WORDS


def is_mask_folder(name: str) -> bool:
    """Does a folder of this name hold masks?"""
    return MASK_FOLDER.fullmatch(name) is not None


def named(folder: Path, *names: str) -> Path | None:
    """The sub-folder of one of these names, in any case; the one spelled just so first."""
    inside = folders_in(folder)
    for name in names:
        for sub in sorted(inside, key=lambda sub: sub.name != name):
            if sub.name.casefold() == name.casefold():
                return sub
    return None


def folders_in(folder: Path) -> list[Path]:
    """Sub-folders that may hold photos, in order."""
    if not folder.is_dir():
        return []
    return sorted(sub for sub in folder.iterdir() if sub.name[0] not in ".@"
                  and sub.name not in NOT_OURS and sub.is_dir())


def images_in(folder: Path, suffixes: Sequence[str] = tuple(IMAGE_SUFFIXES)) -> list[Path]:
    """What are images by their suffix, right in a folder; a broken link too, to be told."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.name[0] != "."
                  and file.suffix.lower() in suffixes and (file.is_file() or not file.exists()))


def images_below(folder: Path) -> list[Path]:
    """All photos of a folder and of its sub-folders, by the rule above, in order."""
    return sorted(photo for place in places_below(folder) for photo in photos_in(place))


def places_below(folder: Path, *, masks: bool = False) -> Iterator[Path]:
    """A folder and its sub-folders, each once; those of masks only if wanted."""
    seen, waiting = set(), [folder]
    while waiting:
        place = waiting.pop()
        if place.resolve() in seen or any(all((place / name).is_file() for name in names)
                                          for names in RESULTS):
            continue  # links may lead in circles
        seen.add(place.resolve())
        yield place
        waiting += [sub for sub in folders_in(place) if masks or not is_mask_folder(sub.name)]


def photos_in(folder: Path) -> list[Path]:
    """The images right in a folder that are no masks of others beside them."""
    images = images_in(folder)
    masks = masks_beside(images)
    return [image for image in images if image not in masks]


def masks_beside(images: Sequence[Path]) -> set[Path]:
    """Of the images of one folder, those that are masks of others.

    By their names, or, where a name could be a photo's as well (a.png beside a.jpg, as in Real-IAD;
    a_label.png), if they also have no more than two colours.
    """
    names: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        names[image.stem.casefold()].append(image)
    return {image for image in images if _is_mask_beside(image, names)}


def _is_mask_beside(image: Path, names: dict[str, list[Path]]) -> bool:
    stem, photo = image.stem.casefold(), photo_stem(image.stem)
    if photo != stem and photo in names:
        return not WEAK.search(stem) or _two_colours(image)
    others = any(one.suffix.lower() != ".png" for one in names[stem])
    return image.suffix.lower() == ".png" and others and _two_colours(image)


def photo_stem(stem: str) -> str:
    """What the photo of a mask is called: "000_mask" -> "000"; in lower case."""
    return MASK_FILE.sub("", stem).casefold() or stem.casefold()


def _two_colours(path: Path) -> bool:
    try:
        with Image.open(path, formats=("PNG", "BMP", "TIFF")) as image:
            return image.getcolors(2) is not None
    except Exception:  # there is hardly a type that no decoder raises; it is told when read
        return False
