"""What was found, in the formats of other tools: regions for those that annotate, maps and masks.

    coco.json     regions to the pixel, holes and all, for COCO's tools, FiftyOne, CVAT, ...
    labelme/      outlines, a file for each photo that has regions, to be laid beside the photos
    cvat.xml      outlines, "CVAT for images 1.1"
    maps/         the map of each photo, float32 in its own pixels, higher is more anomalous
    masks/        where it is above its threshold: 255, else 0

All are made photo by photo, and take the room of their regions only. A new format is a row of
`REGION_WRITERS` or `MAP_WRITERS`.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from ..data.files import write_text
from .regions import Region, outlines

LABEL = "anomaly"
MAPS, MASKS = "maps", "masks"


@dataclass(frozen=True)
class Marked:
    """A photo, and what was found on it.

    Attributes:
        name: as the tables have it; `stem`: of files that are made of it.
        size: (h, w) in pixels, once the photo is upright.
    """

    name: str
    stem: str
    size: tuple[int, int]
    regions: Sequence[Region]


class Writer:
    """The regions of many photos in one format, in a file or folder of this name."""

    name: str

    def __init__(self, place: Path):
        self.place = place

    def add(self, photo: Marked) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """When all photos were added."""


class Coco(Writer):
    """https://cocodataset.org/#format-data: run lengths down the columns, from the first pixel."""

    name = "coco.json"

    def __init__(self, place: Path):
        super().__init__(place)
        self.images: list[dict] = []
        self.annotations: list[dict] = []

    def add(self, photo: Marked) -> None:
        height, width = photo.size
        self.images.append({"id": len(self.images) + 1, "file_name": photo.name, "width": width,
                            "height": height})
        for region in photo.regions:
            left, top, right, bottom = region.box
            self.annotations.append({
                "id": len(self.annotations) + 1, "image_id": len(self.images), "category_id": 1,
                "bbox": [left, top, right - left, bottom - top], "area": region.area, "iscrowd": 0,
                "score": region.peak,
                "segmentation": {"size": [height, width], "counts": run_lengths(region, photo.size)}
            })

    def finish(self) -> None:
        write_text(self.place, json.dumps({
            "info": {"description": "where maps are above their threshold; score: the peak"},
            "images": self.images, "annotations": self.annotations,
            "categories": [{"id": 1, "name": LABEL, "supercategory": ""}]}))


class LabelMe(Writer):
    """The files that labelme's window opens and saves."""

    name = "labelme"

    def __init__(self, place: Path):
        super().__init__(place)
        place.mkdir()

    def add(self, photo: Marked) -> None:
        if photo.regions:
            write_text(self.place / f"{photo.stem}.json", json.dumps({
                "version": "5.0.0", "flags": {}, "shapes": [
                    {"label": LABEL, "points": points.tolist(), "group_id": number,
                     "shape_type": "polygon", "flags": {}}
                    for number, region in enumerate(photo.regions) for points in outlines(region)],
                "imagePath": photo.name, "imageData": None, "imageHeight": photo.size[0],
                "imageWidth": photo.size[1]}))


class Cvat(Writer):
    """https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/, for images."""

    name = "cvat.xml"

    def __init__(self, place: Path):
        super().__init__(place)
        self.count = 0
        self.lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>",
                      "  <version>1.1</version>"]

    def add(self, photo: Marked) -> None:
        height, width = photo.size
        self.lines.append(f'  <image id="{self.count}" name={quoteattr(_of_xml(photo.name))} '
                          f'width="{width}" height="{height}">')
        self.lines += [
            f'    <polygon label="{LABEL}" source="auto" occluded="0" z_order="0" '
            f'group_id="{number}" points="{";".join(f"{x:.2f},{y:.2f}" for x, y in points)}"/>'
            for number, region in enumerate(photo.regions, start=1) for points in outlines(region)]
        self.lines.append("  </image>")
        self.count += 1

    def finish(self) -> None:
        write_text(self.place, "\n".join([*self.lines, "</annotations>"]) + "\n")


def _of_xml(name: str) -> str:
    """Without the characters that XML cannot hold in any way."""
    return re.sub("[^\t\n\r -\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", name)


def run_lengths(region: Region, size: tuple[int, int]) -> list[int]:
    """Pixels not in the region, in it, not in it, ..., down the columns of a photo of (h, w)."""
    height, width = size
    columns, rows = np.nonzero(region.pixels.T)
    at = (region.box[0] + columns) * height + region.box[1] + rows
    breaks = np.flatnonzero(np.diff(at) != 1) + 1
    ends = np.stack([at[[0, *breaks]], at[[*(breaks - 1), -1]] + 1], axis=1).ravel()
    return np.diff(ends, prepend=0, append=height * width).tolist()


def _tiff(file: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(file)  # not packed: maps hardly get smaller, and all can read it


def _npz(file: Path, values: np.ndarray) -> None:
    np.savez(file, map=values)


REGION_WRITERS: dict[str, type[Writer]] = {"coco": Coco, "labelme": LabelMe, "cvat": Cvat}
# By the ending of the files.
MAP_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {"tiff": _tiff, "npz": _npz}


def names_written() -> set[str]:
    """What there may be in a folder of results besides the tables."""
    return {MAPS, MASKS, *(writer.name for writer in REGION_WRITERS.values())}


class Files:
    """The files that were asked for, in a folder that is being written.

    Args:
        regions_as: names of `REGION_WRITERS`; `maps`: one of `MAP_WRITERS` or None.
        level: of the masks.
    """

    def __init__(self, folder: Path, *, regions_as: Collection[str] = (), maps: str | None = None,
                 masks: bool = False, level: float | None = None):
        self.folder, self.maps, self.masks, self.level = folder, maps, masks, level
        writers = [REGION_WRITERS[name] for name in dict.fromkeys(regions_as)]
        self.writers = [writer(folder / writer.name) for writer in writers]
        self.columns = (MAPS[:-1],) * bool(maps) + (MASKS[:-1],) * masks
        for name in self.columns:
            (folder / f"{name}s").mkdir()

    def add(self, photo: Marked, photo_map: np.ndarray | None) -> dict[str, str]:
        """Write down a photo; `photo_map` `(h, w)` is needed if there are `columns`, which is what
        is returned: the files' names."""
        for writer in self.writers:
            writer.add(photo)
        row = {}
        if self.maps and photo_map is not None:
            row["map"] = f"{MAPS}/{photo.stem}.{self.maps}"
            MAP_WRITERS[self.maps](self.folder / row["map"], photo_map)
        if self.masks and photo_map is not None:
            row["mask"] = f"{MASKS}/{photo.stem}.png"
            Image.fromarray(255 * (photo_map > self.level).astype(np.uint8)).save(
                self.folder / row["mask"])
        return row

    def finish(self) -> None:
        for writer in self.writers:
            writer.finish()
