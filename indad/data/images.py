"""From a picture to the tensor a network sees, and from the anomaly map back to the picture.

The same `ImageTransform` serves training, prediction and export: two transforms that should agree
but do not (bilinear here, bicubic there) is the commonest bug of PatchCore implementations.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..errors import InputError, first_line
from .arrays import to_rgb_array
from .levels import outside
from .pixels import (
    MOST_PIXELS,
    ORIENTATION,
    deep_numbers,
    is_deep,
    open_photo,
    pages_left_out,
    rgb_of,
    upright_rgb,
)
from .pose import Pose, aligned_mask, laid_back
from .region import Region
from .registration import Reference
from .tiles import tile_starts

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOST_READERS = 32  # more of them would wait for Python's lock
LARGE_PIXELS = 2 ** 24
_one_large_at_a_time = Lock()  # or each reader would hold as much


def readers() -> int:
    """Threads that decode files at the same time: as many as there are cores."""
    return min(cores(), MOST_READERS)


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use.

    Those of the machine, of the process's mask, of its container, whichever are the fewest.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            share = math.ceil(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):  # no such container, or "max"
            continue
        count = min(count or share, share) if share > 0 else count
    return count or 1


def read_image(path: str | Path, levels: Mapping | None = None,
               notes: list[str] | None = None) -> Image.Image:
    """Read a file as an upright 8-bit RGB picture, whatever its mode; see `to_rgb`.

    Raises `InputError` that names the file when it is missing, truncated, not an image, or of more
    than `MOST_PIXELS`.
    """
    with to_decode(path) as image:
        return to_rgb(image, levels, notes)


@contextmanager
def to_decode(path: str | Path) -> Iterator[Image.Image]:
    """The picture in a file, small enough to be decoded, when it is its turn; as `opened`."""
    with opened(path) as image:
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise InputError(f"{path}: {image.width} x {image.height} pixels are too many; at most "
                             f"{MOST_PIXELS / 1e6:.0f} million are read: cut it or make it smaller")
        with _one_large_at_a_time if pixels > LARGE_PIXELS else nullcontext():
            yield image


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a picture once it is upright, from the file's header alone."""
    with opened(path) as image:
        width, height = image.size
        if tags := getattr(image, "tag_v2", None):  # of a TIFF, whose size Pillow has turned
            width, height = tags[256], tags[257]
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)  # EXIF says: on its side
    return (width, height) if turned else (height, width)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """The picture in a file, not yet decoded; whatever goes wrong inside is an `InputError`."""
    try:
        with open_photo(path) as image:
            yield image
    except FileNotFoundError:
        raise InputError(f"{path}: no such image") from None
    except InputError:
        raise
    except Exception as error:  # there is hardly a type that no decoder raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable image ({reason})") from error


def to_rgb(image: Image.Image, levels: Mapping | None = None,
           notes: list[str] | None = None) -> Image.Image:
    """Turn any Pillow picture upright and into RGB, see `pixels.upright_rgb`.

    `levels` are those of a model, see levels.py; `notes` get what does not fit them, and that
    there are more pages.
    """
    if notes is not None and (said := pages_left_out(image)):
        notes.append(said)
    if levels is not None and notes is not None and is_deep(image):
        numbers, image = deep_numbers(image)
        notes += [note] if numbers is not None and (note := outside(numbers, levels)) else []
        return rgb_of(numbers, image, levels)
    return upright_rgb(image, levels or {})


def as_rgb(source: object, levels: Mapping | None = None,
           notes: list[str] | None = None) -> Image.Image:
    """Accept what people have in hand: a path, a Pillow picture, an array, a tensor or an item.

    Arrays and tensors are read by `arrays.picture_of`. Anything with a `path` is read from there;
    what has an `as_rgb()` of its own is asked for it, or, as a view (see augmentation.py) passes
    them on, `read_by(levels, notes)`, which are as for `to_rgb`.
    """
    source = getattr(source, "path", source)
    if hasattr(source, "read_by"):
        return source.read_by(levels, notes)
    if hasattr(source, "as_rgb"):
        return source.as_rgb()
    if isinstance(source, (str, Path)):
        return read_image(source, levels, notes)
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise InputError(f"an image of {source.width} x {source.height} pixels shows nothing")
        try:
            return to_rgb(source, levels, notes)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read an image of mode {source.mode} "
                             f"({first_line(error)})") from error
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return to_rgb_array(source, levels, notes)
    raise InputError(f"cannot read an image from {type(source).__name__}; give a path, a PIL "
                     "image, an (h, w, 3) array or a (3, h, w) tensor")


def path_of(source: object) -> str | None:
    """The path of what `as_rgb` would read from a file, as it was given; None of anything else."""
    source = getattr(source, "path", source)
    return str(source) if isinstance(source, (str, Path)) else None


def digest_of(source: object) -> bytes:
    """SHA-256 of an image's file, or of its pixels if it comes from none."""
    if path := path_of(source):
        stat = Path(path).stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    image = as_rgb(source)
    return hashlib.sha256(f"{image.size}\n".encode() + image.tobytes()).digest()


@lru_cache(maxsize=100_000)
def _digest(path: str, size: int, modified: int) -> bytes:
    """Of a file, read once a process unless it changes: sweeps ask again and again."""
    return hashlib.sha256(Path(path).read_bytes()).digest()


@dataclass(frozen=True)
class Placement:
    """Where a frame, what the network sees at once, lies in one photo: the photo's size, and the
    frame's size and offset when the photo is resized."""

    original: tuple[int, int]  # (h, w) of the photo
    resized: tuple[int, int]   # (h, w) after the resize
    top: int                   # offset of the crop in the resized picture
    left: int
    size: tuple[int, int]      # (h, w) of the crop: what the model saw
    pose: Pose | None = None   # of the part in the photo, if photos are aligned first

    @property
    def moved(self) -> Pose | None:
        """The pose that the photo was aligned by."""
        return self.pose if self.pose and self.pose.used else None


@dataclass(frozen=True)
class ImageTransform:
    """Resize, centre crop and normalise; and the same for masks, and back again for maps.

    `resize` is `(h, w)`, or one number: the shortest side if a crop follows, else both sides.
    `crop` is the side of a centred square, or None to keep everything.

    With `tiles`, a photo keeps its own resolution, but for `scale`, and is cut into squares of so
    many pixels that share `overlap` or more (see tiles.py); `resize` and `crop` then do nothing.

    What lies outside a `region` is painted over first, and tiles without any of it are left out.
    With a `reference` that has been learned, a photo is first aligned to it (see registration.py).
    """

    resize: int | tuple[int, int] = (256, 256)
    crop: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    tiles: int | None = None
    overlap: int = 0
    scale: float = 1.0
    region: Region | None = None
    reference: Reference | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """All of it but the reference, as JSON has it."""
        return {name: value for name, value in asdict(replace(self, reference=None)).items()
                if name != "reference"}

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of what the network sees, the same for a photo of any size."""
        return (self.tiles, self.tiles) if self.tiles else self.placement((256, 256)).size

    def placement(self, original: tuple[int, int]) -> Placement:
        """Work out the geometry for a photo of `original` (h, w) pixels: of all of it, if tiled."""
        height, width = original
        if self.tiles:
            whole = (max(round(height * self.scale), 1), max(round(width * self.scale), 1))
            return Placement(original, whole, 0, 0, whole)
        if isinstance(self.resize, int) and self.crop is None:
            resized = (self.resize, self.resize)
        elif isinstance(self.resize, int):
            shortest = min(height, width)
            resized = (self.resize * height // shortest, self.resize * width // shortest)
        else:
            resized = (self.resize[0], self.resize[1])
        size = resized if self.crop is None else (self.crop, self.crop)
        if size[0] > resized[0] or size[1] > resized[1]:
            raise InputError(f"crop {self.crop} is larger than the resized picture {resized}; "
                             "choose a smaller crop or a larger resize")
        top, left = (round((resized[i] - size[i]) / 2) for i in (0, 1))
        return Placement(original, resized, top, left, size)

    def placed(self, image: Image.Image) -> Placement:
        """The geometry for this very picture: with its pose, if pictures are aligned."""
        placement = self.placement((image.height, image.width))
        if self.reference is None or not self.reference.known:
            return placement
        return replace(placement, pose=self.reference.register(image))

    def aligned(self, image: Image.Image, placement: Placement) -> Image.Image:
        """The picture as if its part lay where the reference's does."""
        return self.reference.aligned(image, placement.moved) if self.reference else image

    def frames(self, original: tuple[int, int], pose: Pose | None = None) -> list[Placement]:
        """What the network sees of a photo of `original` (h, w) pixels: its tiles row by row, or
        one frame."""
        whole = replace(self.placement(original), pose=pose)
        if not self.tiles:
            return [whole]
        down, across = (tile_starts(side, self.tiles, self.overlap) for side in whole.size)
        found = [replace(whole, top=top, left=left, size=self.size)
                 for top in down for left in across]
        return [one for one in found if self.region is None or self.region.within(one).any()]

    def inside(self, placements: Sequence[Placement]) -> torch.Tensor | None:
        """`(n, h, w)` bool: the pixels of these frames that are looked at; None if all are."""
        if self.region is None:
            return None
        return torch.from_numpy(np.stack([self.region.within(one) for one in placements]))

    def check(self, original: tuple[int, int], name: str) -> None:
        """Raise `InputError` if a photo of `original` (h, w) pixels is smaller than a tile, or has
        not the shape of the region's mask."""
        if self.region:
            self.region.check(original, name)
        if not self.tiles:
            return
        height, width = self.placement(original).size
        if min(height, width) < self.tiles:
            at = "" if self.scale == 1 else f" at scale {self.scale:g}"
            raise InputError(f"{name}: {width} x {height} pixels{at} are less than a tile of "
                             f"{self.tiles}; choose tiles of {min(height, width)} or less, or none")

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """RGB picture -> `(3, h, w)` float32, normalised."""
        return self.normalize(torch.tensor(self.pixels(image))[None])[0].contiguous()

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """`(b, h, w, 3)` uint8 -> `(b, 3, h, w)` float32, where they lie, channels last."""
        full, mean, std = _constants(tuple(self.mean), tuple(self.std), pixels.device)
        return (pixels / full).sub_(mean).div_(std).permute(0, 3, 1, 2)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """RGB picture -> `(h, w, 3)` uint8, aligned, resized and cropped: all but the
        normalisation."""
        placement = self.placed(image)
        return self.cut(self.aligned(image, placement), placement)

    def cut(self, image: Image.Image, placement: Placement) -> np.ndarray:
        """The same of a picture that is aligned."""
        image = image if self.region is None else self.region.painted(image)
        return np.asarray(self._cut(image, placement, Image.Resampling.BILINEAR))

    def mask(self, mask: np.ndarray, pose: Pose | None = None) -> np.ndarray:
        """`(h, w)` bool mask of the photo -> the mask in the model's frame, of a photo that was
        aligned by `pose`.

        Nearest neighbour: a bilinear resize followed by a cast to int, as the reference
        implementation does it, shaves a pixel off every defect.
        """
        image = Image.fromarray(aligned_mask(mask, pose).astype(np.uint8))
        placement = self.placement(mask.shape)
        return np.asarray(self._cut(image, placement, Image.Resampling.NEAREST)) > 0

    @staticmethod
    def _cut(image: Image.Image, placement: Placement, filter: Image.Resampling) -> Image.Image:
        if placement.resized != placement.original:  # else it would be a copy
            image = image.resize(placement.resized[::-1], filter)
        (height, width), top, left = placement.size, placement.top, placement.left
        if placement.size == placement.resized:
            return image
        return image.crop((left, top, left + width, top + height))


@lru_cache(maxsize=16)
def _constants(mean: tuple, std: tuple, device: torch.device) -> tuple[torch.Tensor, ...]:
    """255, mean and std where the pixels are: once, as a copy would wait for what a GPU computes.

    255 as a tensor, because CUDA multiplies by the reciprocal of a plain number, which rounds.
    """
    return tuple(torch.tensor(value, dtype=torch.float32, device=device)
                 for value in (255, mean, std))


def to_photo(anomaly_map: np.ndarray, placement: Placement) -> np.ndarray:
    """Lay a map `(h, w)` from the model's frame over the photo: undo crop, resize and alignment.

    What was cut away was never looked at; it gets the map's lowest value, "no evidence".
    """
    canvas = np.full(placement.resized, anomaly_map.min(), dtype=np.float32)
    (height, width), top, left = placement.size, placement.top, placement.left
    canvas[top:top + height, left:left + width] = anomaly_map
    if placement.resized != placement.original:
        tensor = torch.from_numpy(canvas)[None, None]
        canvas = F.interpolate(tensor, placement.original, mode="bilinear", align_corners=False,
                               antialias=True)[0, 0].numpy()
    return laid_back(canvas, placement.moved)
