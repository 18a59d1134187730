"""What the benchmark server of MVTec AD 2 takes, written by a model, and checked before it is sent.

    FOLDER/anomaly_images/<object>/test_private/000_regular.tiff             a map, float16
    FOLDER/anomaly_images/<object>/test_private_mixed/000_mixed.tiff
    FOLDER/anomaly_images_thresholded/<object>/test_private/000_regular.png  0 or 255
    ...

The rules are those of the authors' tools (`check_and_prepare_data_for_upload.py` of
MVTecAD2_public_code_utils, 2025): these eight objects and no others, so many images of each, named
like the photos, one channel each, no other files. Maps have the photos' sizes and lie uncompressed,
so that any reader has them; the folder is to be sent as a `.tar.gz`.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.datasets import ImageSet, load_dataset
from ..data.files import check_replaceable, check_writable, complete_folder, explain_full_disk
from ..data.folders import images_in
from ..data.images import image_size
from ..data.validation import load_validation
from ..errors import InputError, InputWarning, Progress, unknown
from ..evaluation.segmentation import pixels_of, threshold_of
from ..patchcore import PatchCore

# How many private photos there are of each object, in either folder.
OBJECTS = {"can": 321, "fabric": 314, "fruit_jelly": 255, "rice": 277, "sheet_metal": 142,
           "vial": 276, "wallplugs": 232, "walnuts": 228}
SPLITS = {"test_private": "regular", "test_private_mixed": "mixed"}
MAPS, MASKS = "anomaly_images", "anomaly_images_thresholded"
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Object:
    """What of MVTec AD 2 a part of a submission takes: good photos to learn, others to set the
    threshold, and the private ones, by folder."""

    name: str
    train: ImageSet
    validation: ImageSet
    private: dict[str, list[Path]]


def find_object(source: str | Path, name: str, datasets: str | Path | None = None) -> Object:
    """An object of MVTec AD 2, by the data set's name or path.

    Raises `InputError` for other names, and where not all of its photos are there.
    """
    if name not in OBJECTS:
        raise unknown("object of MVTec AD 2", name, OBJECTS)
    with warnings.catch_warnings():  # that private and validation photos are left out: not here
        warnings.simplefilter("ignore", InputWarning)
        train, _ = load_dataset(source, name, datasets=datasets)
    validation, home = load_validation(train), train[0].path.parents[2]
    if not len(validation):
        raise InputError(f"{home}: no photos in validation/good, which set the threshold")
    private = {split: images_in(home / split) for split in SPLITS}
    for split, photos in private.items():
        wanted = [f"{stem}.png" for stem in _names(name, split)]
        if [photo.name for photo in photos] != wanted:
            raise InputError(f"{home / split}: holds {len(photos)} photos; a submission needs all "
                             f"{len(wanted)} of MVTec AD 2, {wanted[0]} to {wanted[-1]}")
    return Object(name, train, validation, private)


def check_free(folder: Path) -> None:
    """Raise `InputError` unless a submission may be written there; earlier objects may."""
    check_tiff()
    check_replaceable(folder, {MAPS, MASKS}, "a submission", "choose a new folder")
    check_writable(folder, "another name")


def write_object(model: PatchCore, folder: Path, one: Object, *,
                 progress: Progress | None = None) -> float:
    """Fit `model` to an object's good photos and write its part of a submission; -> the threshold.

    The threshold of pixels is the baseline of the authors' tools: mean plus three standard
    deviations of the pixels of the good validation photos. Both folders of the object are written
    whole, in the place of earlier ones, or not at all.

    Raises `InputError` for scores beyond what float16 holds.
    """
    model.fit(one.train, progress=progress)
    threshold = threshold_of(pixels_of(
        model.stream(list(one.validation), progress=progress), "original"))
    with (explain_full_disk(str(folder), "maps take two bytes a pixel; free some space"),
          complete_folder(folder / MAPS / one.name) as maps,
          complete_folder(folder / MASKS / one.name) as masks):
        for split, photos in one.private.items():
            (maps / split).mkdir()
            (masks / split).mkdir()
            for photo, heat in _maps(model, photos, progress):
                if not heat.max() <= LARGEST:
                    raise InputError(f"{photo}: a score of {heat.max():g} is more than float16 "
                                     f"holds ({LARGEST:g}); take another preset")
                _write_tiff(maps / split / f"{photo.stem}.tiff", heat.astype(np.float16))
                Image.fromarray((heat > threshold).astype(np.uint8) * 255).save(
                    masks / split / f"{photo.stem}.png")
    return threshold


def check_submission(folder: Path, dataset: Path | None = None) -> list[str]:
    """What is wrong with a submission, a line for each rule and place; empty if nothing is.

    Args:
        dataset: the folder of MVTec AD 2; with it, sizes are compared with those of the photos.
    """
    check_tiff()
    problems = list(_unlike(folder, {MAPS, MASKS}, "folders"))
    for kind, suffix in ((MAPS, ".tiff"), (MASKS, ".png")):
        if not (folder / kind).is_dir():
            continue
        problems += _unlike(folder / kind, OBJECTS, "objects")
        for category in OBJECTS:
            if not (folder / kind / category).is_dir():
                continue
            problems += _unlike(folder / kind / category, SPLITS, "folders")
            for split in SPLITS:
                place = folder / kind / category / split
                if place.is_dir():
                    wanted = [f"{name}{suffix}" for name in _names(category, split)]
                    problems += _unlike(place, wanted, "images")
                    problems += _wrong_images(place, wanted, folder, dataset)
    return problems


def _wrong_images(place: Path, names: Sequence[str], folder: Path,
                  dataset: Path | None) -> Iterator[str]:
    """What is wrong with the images of these names that are there."""
    kind, category, split = place.relative_to(folder).parts
    for file in (place / name for name in names):
        if not file.is_file():
            continue
        try:
            size = _check_map(file) if kind == MAPS else _check_mask(file)
        except InputError as error:
            yield str(error)
            continue
        other, whose = ((dataset / category / split / f"{file.stem}.png", "its photo") if dataset
                        else (folder / MAPS / category / split / f"{file.stem}.tiff", "its map"))
        wanted = _size_of(other)
        if wanted and size != wanted:
            yield f"{file}: is {size[1]} x {size[0]}, but {whose} {wanted[1]} x {wanted[0]}"


def _size_of(file: Path) -> tuple[int, ...] | None:
    """Height and width by the header; None if it cannot be read, which is told elsewhere."""
    try:
        if file.suffix != ".tiff":
            return image_size(file)
        import tifffile

        with tifffile.TiffFile(file) as tiff:
            return tiff.pages[0].shape[:2]
    except Exception:  # of damaged files, of many types
        return None


def _check_map(file: Path) -> tuple[int, ...]:
    heat = _read_tiff(file)
    if heat.ndim != 2:
        raise InputError(f"{file}: has several channels or pages {heat.shape}; a map has one")
    if heat.dtype != np.float16:
        raise InputError(f"{file}: is {heat.dtype}; it must be float16")
    if not np.isfinite(heat).all():
        raise InputError(f"{file}: has pixels that are no finite numbers")
    return heat.shape


def _check_mask(file: Path) -> tuple[int, ...]:
    try:
        with Image.open(file, formats=("PNG",)) as image:
            mode, mask = image.mode, np.asarray(image)
    except Exception as error:  # there is hardly a type that no decoder raises
        raise InputError(f"{file}: is no PNG that can be read ({error})") from error
    if mode != "L":
        raise InputError(f"{file}: is of mode {mode}; it must have one channel of 8 bits")
    if others := set(np.unique(mask).tolist()) - {0, 255}:
        raise InputError(f"{file}: has the value {min(others)}; it must be 0 (good) or 255")
    return mask.shape


def _names(category: str, split: str) -> list[str]:
    return [f"{number:03}_{SPLITS[split]}" for number in range(OBJECTS[category])]


def _unlike(place: Path, wanted: Any, what: str) -> Iterator[str]:
    """Where a folder holds too little or too much."""
    if not place.is_dir():
        yield f"{place}: no such folder"
        return
    there = {file.name for file in place.iterdir()}
    for names, verb in ((sorted({*wanted} - there), "lacks"), (sorted(there - {*wanted}), "has")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield (f"{place}: {verb} {', '.join(names[:3])}{more}"
                   + (f"; these are no {what} of a submission" if verb == "has" else ""))


def _maps(model: PatchCore, photos: Sequence[Path],
          progress: Progress | None) -> Iterator[tuple[Path, np.ndarray]]:
    for part in model.stream(list(photos), progress=progress):
        for position, index in enumerate(part.indices):
            yield photos[index], part.over_photo(position, part.model_maps[position])


def check_tiff() -> None:
    """Raise `InputError` where the package that knows TIFF in half precision is not installed."""
    try:
        import tifffile  # noqa: F401
    except ImportError as error:
        raise InputError("maps of a submission are TIFF of half precision: pip install tifffile"
                         ) from error


def _write_tiff(file: Path, pixels: np.ndarray) -> None:
    import tifffile

    tifffile.imwrite(file, pixels)


def _read_tiff(file: Path) -> np.ndarray:
    import tifffile

    try:
        return tifffile.imread(file)
    except Exception as error:  # of damaged files, of many types
        raise InputError(f"{file}: is no TIFF that can be read ({error})") from error
