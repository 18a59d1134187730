"""New photos through a fitted model, however many: what `python -m indad predict` writes down.

    scores.csv        score, verdict and rank of every photo, the worst first
    regions.json      where each photo is above the map's threshold, in its own pixels
    overlays/         heat map, and worst patch beside the nearest remembered one
    prediction.json   thresholds and where they came from, model, configuration, versions

and, if they are asked for, regions, maps and masks in the formats of other tools, see formats.py.

Photos are read, scored, drawn and forgotten batch by batch; only their rows in the tables stay.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import numpy as np

from ..calibration import conformal_rank, decide
from ..data.arguments import (
    CALLED,
    FLAG,
    PATH,
    SHARE,
    kind,
    maybe,
    number,
    one_of,
    several,
    takes,
)
from ..data.catalog import credits_of
from ..data.files import (
    check_replaceable,
    check_writable,
    clear_interrupted,
    complete_folder,
    explain_full_disk,
    write_json,
    write_scores,
)
from ..data.folders import images_below
from ..data.images import read_image
from ..data.left_out import remarks_on, tell
from ..data.pose import COLUMNS as POSE
from ..engine.machine import environment
from ..engine.prediction import Prediction
from ..errors import InputError, Progress
from ..patchcore import PatchCore
from .explanation import explain, why_picture
from .formats import MAP_WRITERS, REGION_WRITERS, Files, Marked, names_written
from .pictures import ColourScale, overlay, save_picture
from .regions import Region, regions_above
from .verdicts import how_decided, title, verdict

SCORES, REGIONS, PICTURES, RECORD = "scores.csv", "regions.json", "overlays", "prediction.json"
COLUMNS = ("image", "score", "threshold", "verdict", "rank", "regions", "overlay", "reason")
OVERLAYS = ("all", "flagged", "none")
LONGEST_NAME = 150  # bytes of a picture's name; file systems take 255


@dataclass(frozen=True)
class Inspection:
    """What was found in how many photos, and where it is written."""

    folder: Path
    record: dict  # prediction.json
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        record, counts = self.record, self.record["counts"]
        if record["threshold_from"] == "given":
            limit = f"threshold {record['threshold']:.4g} as given"
        else:
            known = record["threshold"]
            limit = f"threshold {'' if known is None else f'{known:.4g}: '}" + how_decided(
                record["calibration"], record["calibrated_on"], record["false_alarm_rate"])
        moved = f"{counts['misplaced']} misplaced, " if "misplaced" in counts else ""
        return (f"{counts['images']} images: {counts['flagged']} flagged, {moved}"
                f"{counts['unreadable']} unreadable; {limit}; results: {self.folder}")


@takes(model=kind(PatchCore, "a PatchCore"), images=several(PATH, least=1), output=PATH,
       false_alarm_rate=maybe(SHARE), threshold=maybe(number()), overlays=one_of(OVERLAYS),
       regions_as=several(one_of(REGION_WRITERS)), maps=maybe(one_of(MAP_WRITERS)), masks=FLAG,
       strict=FLAG, progress=maybe(CALLED))
def inspect_images(model: PatchCore, images: Sequence[str | Path], output: str | Path, *,
                   false_alarm_rate: float | None = None, threshold: float | None = None,
                   overlays: str = "flagged", regions_as: Sequence[str] = (),
                   maps: str | None = None, masks: bool = False, strict: bool = False,
                   model_name: str = "", progress: Progress | None = None) -> Inspection:
    """Score photos and write what was found into a folder, wholly or not at all.

    Args:
        images: files, and folders, which are searched with their sub-folders.
        output: a new folder, or one that this function wrote, which is replaced.
        false_alarm_rate: of the verdicts and regions; the model's own if None.
        threshold: flag scores above it instead; regions are found as before.
        overlays: "flagged": pictures of the photos that somebody will want to look at, which of
            thousands are few; "all" or "none".
        regions_as: formats for the regions besides, "coco", "labelme", "cvat", see formats.py.
        maps: also the map of every photo, as "tiff" or "npz".
        masks: also where maps are above their threshold, as PNG.
        strict: stop at an unreadable photo instead of listing it.
        model_name: what the record calls the model.

    Raises `InputError` for photos that are not there, an output that is something else's, options
    out of range, and if no photo at all (or, if strict, not every one) can be read.

    Example:
        >>> print(inspect_images(PatchCore.load("models/bolts"), ["new"], "found"))
        8 images: ... flagged, 0 unreadable; threshold ...: leave-one-out on 8 good images, ...
    """
    output = Path(output)
    rate = model.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
    decision = {**decide(model.calibration_scores_, model.calibration_peaks_, rate),
                "threshold_from": "model"}
    if threshold is not None:
        decision |= {"threshold": threshold, "threshold_from": "given"}
    if (regions_as or masks) and decision["map_threshold"] is None:
        raise InputError("regions and masks need the map's threshold, and this model has none, as "
                         "no good image was left to take one from")
    photos = find_photos(images)
    check_free(output, list(photos.values()))
    check_writable(output.parent, "--output")
    leftovers = [f"{leftover.name}: left by an interrupted run; removed unread"
                 for leftover in clear_interrupted(output)]
    with (explain_full_disk(str(output), "free some space, or draw fewer overlays"),
          complete_folder(output) as partial, warnings.catch_warnings()):
        warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a file is in its row
        files = Files(partial, regions_as=regions_as, maps=maps, masks=masks,
                      level=decision["map_threshold"])
        notes = _Notes(model, photos, decision, overlays, partial / PICTURES, files)
        for part in model.stream(list(photos.values()), strict=strict, progress=progress):
            notes.add(part)
        if len(notes.unreadable) == len(photos):
            raise InputError(f"none of {len(photos)} images can be read; the first: "
                             f"{notes.unreadable[0]}")
        record = {
            "counts": {"images": len(photos), "unreadable": len(notes.unreadable),
                       "flagged": sum(row["verdict"] == "defective" for row in notes.rows)} | (
                           {"misplaced": sum(row["verdict"] == "misplaced" for row in notes.rows)}
                           if model.align else {}),
            **decision, "false_alarm_rate": rate, "calibration": model.options["calibration"],
            # Names, not the way to them: the folder may be handed on.
            "model": Path(str(model_name)).name,
            "config": {name: Path(str(value)).name if name == "weights" and value else value
                       for name, value in model.options.items()},
            "environment": environment(model.device_),
            "credit": credits_of(model.files_ or ())}  # of the remembered photos in the pictures
        write_scores(partial / SCORES, notes.rows,
                     COLUMNS + files.columns + (POSE if model.align else ()))
        files.finish()
        write_json(partial / REGIONS, notes.regions)
        write_json(partial / RECORD, record)
    return Inspection(output, record, tuple(leftovers + notes.unreadable + notes.undrawn))


def find_photos(images: Sequence[str | Path]) -> dict[str, Path]:
    """Name -> path of each photo, once; a name is the path below what all of them have in common.

    Files are taken whatever their names say; of folders, what `folders.images_below` finds there,
    and what it does not is warned of. Raises `InputError` for what is not there.
    """
    found: dict[str, Path] = {}
    tops = []
    for given in map(Path, images):
        if given.is_dir():
            below = images_below(given)
            tell(remarks_on(given, (given,), set(below), labels=False))
            if not below:
                raise InputError(f"{given}: no images there")
        elif given.is_file():
            below = [given]
        else:
            raise InputError(f"{given}: no such image or folder of images")
        tops.append(os.path.abspath(given if given.is_dir() else given.parent))
        found |= {os.path.abspath(path): path for path in below}
    try:
        top = os.path.commonpath(tops)
    except ValueError:  # on several drives
        top = None
    return {_printable(Path(os.path.relpath(place, top) if top else place).as_posix()): path
            for place, path in found.items()}


def check_free(folder: Path, photos: Sequence[Path]) -> None:
    """Raise `InputError` if results there would replace anything but earlier results."""
    check_replaceable(folder, {SCORES, REGIONS, PICTURES, RECORD} | names_written(),
                      "results of predict", "choose a new folder with --output", needs=RECORD)
    if any(folder.resolve() in photo.resolve().parents for photo in photos):
        raise InputError(f"{folder}: holds images that are to be looked at, and would be replaced; "
                         "choose another folder with --output")


@dataclass
class _Notes:
    """What is kept of the photos that were looked at."""

    model: PatchCore
    photos: dict[str, Path]
    decision: dict
    overlays: str
    folder: Path
    files: Files
    rows: list[dict] = field(default_factory=list)
    regions: dict[str, list | None] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    undrawn: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.names = list(self.photos)
        self.scale: ColourScale | None = None
        self.taken: set[str] = set()

    def add(self, part: Prediction) -> None:
        """Write down one batch, and draw what is to be drawn of it."""
        for index, reason in part.skipped:
            name = self.names[index]
            self.unreadable.append(_printable(reason))
            self.regions[name] = None
            self.rows.append({
                "image": name, "score": None, "verdict": "unreadable",
                "reason": self.unreadable[-1].replace(_printable(str(self.photos[name])), name)})
        limit, level = self.decision["threshold"], self.decision["map_threshold"]
        ranks, notes = [None] * len(part.scores), dict(part.notes)
        if self.decision["calibrated_on"]:
            ranks = conformal_rank(self.model.calibration_scores_, part.scores).tolist()
        for position, (index, score) in enumerate(zip(part.indices, part.scores.tolist(),
                                                      strict=True)):
            name, pose = self.names[index], part.poses[position]
            misplaced = pose.misplaced if pose else ""
            found = verdict(score, limit, misplaced)
            row = {"image": name, "score": score, "threshold": limit, "verdict": found,
                   "rank": ranks[position], "reason": notes.get(index)} | (
                       pose.row() if pose else {})
            flagged = found in ("defective", "misplaced")
            drawn = self.overlays == "all" or (self.overlays == "flagged" and flagged)
            # Laid over a photo, a map only gets lower: one that stays below has no regions there.
            model_map = part.model_maps[position]
            high = level is not None and model_map.max() > level
            regions: list[Region] = []
            photo_map = stem = None
            if drawn or high or self.files.columns:
                photo_map, stem = part.over_photo(position, model_map), self._free(name)
                if high:
                    regions = regions_above(photo_map, level)
                if drawn:
                    row["overlay"] = self._draw(name, stem, score, photo_map, misplaced,
                                                explained=found == "defective")
            row |= self.files.add(Marked(name, stem or "", part.placements[position].original,
                                         regions), photo_map)
            self.regions[name] = None if level is None else [one.plain() for one in regions]
            row["regions"] = None if level is None else len(regions)
            self.rows.append(row)

    def _draw(self, name: str, stem: str, score: float, photo_map: np.ndarray, misplaced: str, *,
              explained: bool) -> str | None:
        """-> the file of the heat map, below the folder of the results."""
        limit, level = self.decision["threshold"], self.decision["map_threshold"]
        if self.scale is None:  # one for all; without a threshold, as hot as the first one drawn
            self.scale = ColourScale.of(self.model.calibration_peaks_,
                                        level or float(photo_map.max()))
        try:
            photo = read_image(self.photos[name], self.model.levels_)
            save_picture(overlay(photo, photo_map, scale=self.scale,
                                 title=title(name, score, limit, misplaced),
                                 outline_above=level),
                         self.folder / f"{stem}.png")
            if explained:
                save_picture(why_picture(self.model, photo, explain(self.model, photo), name),
                             self.folder / f"{stem}_why.png")
        except InputError as error:  # gone since it was scored
            self.undrawn.append(_printable(str(error)))
            return None
        return f"{PICTURES}/{stem}.png"

    def _free(self, name: str) -> str:
        """A name for files that no other photo's have: a/b.jpg -> a_b, if that is still free."""
        flat = name.replace("/", "_")
        short, whole = (stem.encode()[-LONGEST_NAME:].decode(errors="ignore")
                        for stem in (flat.rpartition(".")[0] or flat, flat))
        stems = chain((short, whole), (f"{short}_{number}" for number in count(2)))
        free = next(stem for stem in stems if not _files_of(stem) & self.taken)
        self.taken |= _files_of(free)
        return free


def _files_of(stem: str) -> set[str]:
    return {stem.casefold(), f"{stem}_why".casefold()}  # some systems know no case


def _printable(name: str) -> str:
    """With what no UTF-8 file can hold, half a character of a damaged name, written out."""
    return name.encode(sys.getfilesystemencoding(), "surrogateescape").decode(
        "utf-8", "backslashreplace")
