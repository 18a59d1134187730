"""Pictures from arrays. Nothing here knows a model or a file layout."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.region import Region

PREDICTED, TRUE = (0, 255, 255), (0, 255, 0)  # outlines: cyan and green, both absent from inferno
TITLE_BAR = 24  # pixels above an overlay that its title takes


@dataclass(frozen=True)
class ColourScale:
    """One scale for all maps of a run, or every good image would look as hot as a defect."""

    low: float   # shown as no heat
    high: float  # shown as the hottest colour

    @classmethod
    def of(cls, good_peaks: np.ndarray, level: float) -> "ColourScale":
        """Around the level that counts as a defect.

        Heat begins near what good images reach, their `(n,)` peaks, so that such
        an image shows as itself.
        """
        low = 0.8 * float(np.median(good_peaks)) if len(good_peaks) else 0.0
        return cls(low, max(2.5 * level - 1.5 * low, low))

    def fractions(self, values: np.ndarray) -> np.ndarray:
        span = max(self.high - self.low, float(np.finfo(np.float32).tiny))
        return np.clip((values - self.low) / span, 0, 1)


def overlay(photo: Image.Image, anomaly_map: np.ndarray, *, scale: ColourScale, title: str,
            outline_above: float | None = None, mask: np.ndarray | None = None,
            height: int = 256) -> Image.Image:
    """Photo, photo under its heat map, and the true mask if known, side by side.

    The outline on the heat map is the *prediction* (where the map exceeds `outline_above`); the
    truth has a panel of its own, so that neither can be taken for the other.
    """
    size = _fitted(photo, height)
    base = np.asarray(photo.resize(size), dtype=np.float32)
    shown = np.asarray(Image.fromarray(anomaly_map).resize(size, Image.Resampling.BILINEAR))
    panels = [base, _outlined(heat(base, scale.fractions(shown)),
                              shown > outline_above if outline_above is not None else None,
                              PREDICTED)]
    if mask is not None:
        small = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size)) > 0
        panels.append(_outlined(base, small, TRUE))
    return _titled(np.concatenate(panels, axis=1).astype(np.uint8), title)


def region_picture(photo: Image.Image, region: Region, height: int = 384) -> Image.Image:
    """A photo of which everything but the region is dimmed."""
    return dimmed(photo.resize(_fitted(photo, height)), region)


def dimmed(photo: Image.Image, region: Region) -> Image.Image:
    inside, pixels = region.over((photo.height, photo.width)), np.asarray(photo)
    shown = np.where(inside[..., None], pixels, pixels // 4 + 32)
    return Image.fromarray(_outlined(shown, inside, PREDICTED).astype(np.uint8))


def match_picture(title: str, *pairs: tuple[Image.Image, tuple | None],
                  height: int = 256) -> Image.Image:
    """A patch, and the training patch that it was measured against, each in its photo and close up.

    Args:
        pairs: a photo and the box of the patch in its pixels; the whole photo alone if None.
    """
    panels = []
    for photo, box in pairs:
        panels.append(np.asarray(framed(photo, box, height)))
        if box:
            panels.append(np.asarray(close_up(photo, box, height)))
    panels = [np.pad(panel, ((0, height - len(panel)), (0, 0), (0, 0))) for panel in panels]
    return _titled(np.concatenate(panels, axis=1), title)


def framed(photo: Image.Image, box: tuple | None, height: int) -> Image.Image:
    """A whole photo with a box of its pixels outlined."""
    whole = photo.resize(_fitted(photo, height))
    return _framed(whole, box and _scaled(box, 0, 0, whole.width / photo.width,
                                          whole.height / photo.height))


def close_up(photo: Image.Image, box: tuple, height: int) -> Image.Image:
    """The box outlined, and what surrounds it, in a square."""
    left, top, right, bottom = _around(box)
    by = height / (bottom - top)
    return _framed(zoomed(photo, box).resize((height, height)), _scaled(box, left, top, by, by))


def zoomed(photo: Image.Image, box: tuple, most: int = 512) -> Image.Image:
    """The box (left, top, right, bottom) and what surrounds it, three times as wide.

    It has the photo's own pixels, or `most` on a side if these are more, as in a long strip.
    """
    left, top, right, bottom = _around(box)
    if (side := right - left) <= most:
        return photo.crop((left, top, right, bottom))
    seen = max(left, 0), max(top, 0), min(right, photo.width), min(bottom, photo.height)
    size = [max(1, round((seen[i + 2] - seen[i]) * most / side)) for i in (0, 1)]
    canvas = Image.new("RGB", (most, most))
    canvas.paste(photo.resize(size, box=seen), (round((seen[0] - left) * most / side),
                                                round((seen[1] - top) * most / side)))
    return canvas


def _fitted(photo: Image.Image, height: int) -> tuple[int, int]:
    """The size of a photo in a panel: so high, or four times so wide if it is a long strip."""
    by = min(height / photo.height, 4 * height / photo.width)
    return max(1, round(photo.width * by)), max(1, round(photo.height * by))


def _around(box: tuple, times: float = 3.0) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    side = max(1, round(times * max(right - left, bottom - top)))
    left, top = round(x - side / 2), round(y - side / 2)
    return left, top, left + side, top + side


def _scaled(box: tuple, left: float, top: float, x: float, y: float) -> tuple:
    return (box[0] - left) * x, (box[1] - top) * y, (box[2] - left) * x, (box[3] - top) * y


def _framed(picture: Image.Image, box: tuple | None) -> Image.Image:
    if box:
        picture = picture.copy()
        ImageDraw.Draw(picture).rectangle(box, outline=PREDICTED, width=2)
    return picture


def save_picture(picture: Image.Image, file: Path) -> None:
    """As PNG. Photos hardly repeat: Huffman coding alone is quick and costs little size."""
    picture.save(file, compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)


def heat(photo: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Lay the colours of `fractions` (h, w) in [0, 1] over a photo `(h, w, 3)` of 0 to 255."""
    from matplotlib import colormaps

    colours = colormaps["inferno"](fractions)[..., :3] * 255
    opacity = 0.75 * fractions[..., None] ** 0.7  # what is not hot stays a photo
    return photo * (1 - opacity) + colours * opacity


def _outlined(image: np.ndarray, region: np.ndarray | None, colour: tuple) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    if region is None or not region.any():
        return image
    image = image.copy()
    image[binary_dilation(region, iterations=2) & ~region] = colour
    return image


def _titled(panel: np.ndarray, title: str, bar: int = TITLE_BAR) -> Image.Image:
    picture = Image.new("RGB", (panel.shape[1], panel.shape[0] + bar), "white")
    picture.paste(Image.fromarray(panel), (0, bar))
    ImageDraw.Draw(picture).text((6, 4), title, fill="black", font=ImageFont.load_default(13))
    return picture
