"""More views of few good images: rotated, mirrored, or slightly changed, before patches are taken.

With one to sixteen shots the memory bank has not seen every pose and light; views stand in for the
parts that nobody photographed. They help where parts lie at any angle, and hurt where a turned part
*is* the defect: measure before use.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import affine_transform

from ..errors import unknown
from .images import as_rgb

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def turned(image: Image.Image, degrees: float, *, scale: float = 1.0,
           shift: tuple[float, float] = (0.0, 0.0), border: str = "mirror") -> Image.Image:
    """Rotate counter-clockwise about the centre, scale, shift by (down, right); the size stays.

    `border` fills the corners: "mirror" as OpenCV's default, "constant" for black.
    """
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    pixels = np.asarray(image)
    centre = np.array(pixels.shape[:2]) / 2 - 0.5
    offset = centre - matrix @ (centre + shift)
    channels = [affine_transform(pixels[..., c], matrix, offset, order=1, mode=border)
                for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=2))


def _affine(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    shift = tuple(generator.integers(-16, 17, 2).tolist())
    return turned(image, generator.uniform(-5, 5), scale=generator.uniform(0.95, 1.05),
                  shift=shift, border="constant")


def _brightness(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    contrast, brightness = 1 + generator.uniform(-0.1, 0.1), 255 * generator.uniform(-0.1, 0.1)
    return image.point(lambda value: contrast * value + brightness)


def _blur(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.BoxBlur(1))


def _sharpen(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    alpha, lightness = generator.uniform(0.1, 0.3), generator.uniform(0.5, 1.0)
    kernel = np.full(9, -alpha)
    kernel[4] = (1 - alpha) + alpha * (8 + lightness)
    return image.filter(ImageFilter.Kernel((3, 3), kernel.tolist(), scale=1))


def _flip(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    axis = generator.integers(2)
    return image.transpose((Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)[axis])


def _one_of(changes: tuple[Change, ...]) -> Change:
    return lambda image, generator: changes[generator.integers(len(changes))](image, generator)


def _rotation(degrees: float) -> Change:
    return lambda image, generator: turned(image, degrees)


def _mirror(how: Image.Transpose) -> Change:
    return lambda image, generator: image.transpose(how)


_SANTOS = (_affine, _brightness, _blur)
# Each row: the views that are added to the image itself.
AUGMENTATIONS: dict[str, tuple[Change, ...]] = {
    "none": (),
    # AnomalyDINO (arXiv 2405.14529): every 45 degrees.
    "rotations": tuple(_rotation(degrees) for degrees in range(45, 360, 45)),
    "flips": tuple(_mirror(how) for how in (
        Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.ROTATE_180)),
    # Santos et al. (arXiv 2307.10792), the sets that scortexio/patchcore-few-shot has for MVTec AD
    # and for VisA; eight views an image, as in its experiments.
    "santos": (_one_of(_SANTOS),) * 8,
    "santos-visa": (_one_of((*_SANTOS, _sharpen, _flip)),) * 8,
}


@dataclass(frozen=True)
class View:
    """A view of an image that is made when it is read; number 0 is the image itself."""

    source: object
    augmentation: str
    number: int

    def as_rgb(self) -> Image.Image:
        return self.read_by(None, None)

    def read_by(self, levels: Mapping | None, notes: list[str] | None) -> Image.Image:
        """What is drawn at random depends on the picture and the number, on no seed of a run."""
        return self.of(as_rgb(self.source, levels, notes if self.number == 0 else None))

    def of(self, image: Image.Image) -> Image.Image:
        """This view of the picture, once it is read."""
        if self.number == 0:
            return image
        generator = np.random.default_rng([zlib.crc32(image.tobytes()), self.number])
        return AUGMENTATIONS[self.augmentation][self.number - 1](image, generator)


def views_per_image(augmentation: str) -> int:
    """How many views an image has, itself included. Raises `InputError` for unknown names."""
    if augmentation not in AUGMENTATIONS:
        raise unknown("augmentation", augmentation, AUGMENTATIONS)
    return 1 + len(AUGMENTATIONS[augmentation])


def augmented(sources: list, augmentation: str) -> list:
    """All views of all sources: those of one image stand together, the image itself first."""
    count = views_per_image(augmentation)
    if count == 1:
        return sources
    return [View(source, augmentation, number) for source in sources for number in range(count)]
