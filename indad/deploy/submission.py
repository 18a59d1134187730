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

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.datasets import load_dataset
from ..data.files import check_replaceable, check_writable, complete_folder, explain_full_disk
from ..data.folders import images_in
from ..data.images import image_size
from ..data.validation import load_validation
from ..errors import InputError, Progress
from ..evaluation.segmentation import pixels_of, threshold_of
from ..patchcore import PatchCore

# How many private photos there are of each object, in either folder.
OBJECTS = {"can": 321, "fabric": 314, "fruit_jelly": 255, "rice": 277, "sheet_metal": 142,
           "vial": 276, "wallplugs": 232, "walnuts": 228}
SPLITS = {"test_private": "regular", "test_private_mixed": "mixed"}
MAPS, MASKS = "anomaly_images", "anomaly_images_thresholded"
LARGEST = float(np.finfo(np.float16).max)


def private_photos(home: Path, category: str) -> dict[str, list[Path]]:
    """The private photos of an object by folder; raises `InputError` if they are not all there."""
    found = {split: images_in(home / split) for split in SPLITS}
    for split, photos in found.items():
        wanted = [f"{name}.png" for name in _names(category, split)]
        if [photo.name for photo in photos] != wanted:
            raise InputError(f"{home / split}: holds {len(photos)} photos; a submission needs all "
                             f"{len(wanted)} of MVTec AD 2, {wanted[0]} to {wanted[-1]}")
    return found


def write_submission(model: PatchCore, folder: Path, source: str | Path, category: str, *,
                     datasets: str | Path | None = None, frame_progress: Progress | None = None,
                     ) -> float:
    """Fit `model` to an object's good photos and write its part of a submission; -> the threshold.

    The threshold of pixels is the baseline of the authors' tools: mean plus three standard
    deviations of the pixels of the good validation photos. Each of the two folders of the object
    takes the place of an earlier one when it is whole.

    Args:
        folder: of the whole submission, which may hold other objects already.
        source: MVTec AD 2, by name or by path.

    Raises `InputError` for objects and photos that are not the data set's, and for scores beyond
    what float16 holds.
    """
    check_tiff()
    if category not in OBJECTS:
        raise InputError(f"{category}: no object of MVTec AD 2, which has {', '.join(OBJECTS)}")
    check_replaceable(folder, {MAPS, MASKS}, "a submission", "choose a new folder")
    check_writable(folder, "another name")
    train, _ = load_dataset(source, category, datasets=datasets)
    home = next(photo.path for photo in train).parents[2]
    photos, validation = private_photos(home, category), load_validation(train)
    if not len(validation):
        raise InputError(f"{home}: no photos in validation/good, which set the threshold")
    model.fit(train, progress=frame_progress)
    threshold = threshold_of(pixels_of(model.stream(list(validation)), "original"))
    with (explain_full_disk(str(folder), "maps take two bytes a pixel; free some space"),
          complete_folder(folder / MAPS / category) as maps,
          complete_folder(folder / MASKS / category) as masks):
        for split, those in photos.items():
            (maps / split).mkdir()
            (masks / split).mkdir()
            for photo, heat in _maps(model, those, frame_progress):
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
    for name in names:
        file, stem = place / name, name.rpartition(".")[0]
        if not file.is_file():
            continue
        try:
            size = _check_map(file) if kind == MAPS else _check_mask(file)
            photo = dataset / category / split / f"{stem}.png" if dataset else None
            other = folder / MAPS / category / split / f"{stem}.tiff"
            if photo and photo.is_file():
                wanted, whose = image_size(photo), "its photo"
            elif kind == MASKS and other.is_file():
                wanted, whose = _read_tiff(other).shape[:2], "its map"
            else:
                continue
            if size != wanted:
                yield f"{file}: is {size[1]} x {size[0]}, but {whose} {wanted[1]} x {wanted[0]}"
        except InputError as error:
            yield str(error)


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
