"""Pictures from arrays. Nothing here knows a model or a file layout."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PREDICTED, TRUE = (0, 255, 255), (0, 255, 0)  # outlines: cyan and green, both absent from inferno
TITLE_BAR = 24  # pixels above an overlay that its title takes


@dataclass(frozen=True)
class ColourScale:
    """One scale for all maps of a run, or every good image would look as hot as a defect."""

    low: float   # shown as no heat
    high: float  # shown as the hottest colour

    @classmethod
    def of(cls, good_peaks: np.ndarray, level: float) -> "ColourScale":
        """Heat begins near what the maps of good images reach, so a good image shows as itself.

        `level` is the threshold of the map.
        """
        floor = 0.8 * float(np.median(good_peaks)) if len(good_peaks) else 0.0
        return cls(low=floor, high=max(2.5 * level - 1.5 * floor, floor))

    def fractions(self, values: np.ndarray) -> np.ndarray:
        span = max(self.high - self.low, np.finfo(np.float32).tiny)
        return np.clip((values - self.low) / span, 0, 1)


def overlay(photo: Image.Image, anomaly_map: np.ndarray, *, scale: ColourScale, title: str,
            outline_above: float | None = None, mask: np.ndarray | None = None,
            height: int = 256) -> Image.Image:
    """Photo, photo under its heat map, and the true mask if known, side by side.

    The outline on the heat map is the *prediction* (where the map exceeds `outline_above`); the
    truth has a panel of its own, so that neither can be taken for the other.
    """
    size = (max(1, round(photo.width * height / photo.height)), height)
    base = np.asarray(photo.resize(size), dtype=np.float32)
    shown = np.asarray(Image.fromarray(anomaly_map).resize(size, Image.Resampling.BILINEAR))
    panels = [base, _outlined(heat(base, scale.fractions(shown)),
                              shown > outline_above if outline_above is not None else None,
                              PREDICTED)]
    if mask is not None:
        small = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size)) > 0
        panels.append(_outlined(base, small, TRUE))
    return _titled(np.concatenate(panels, axis=1).astype(np.uint8), title)


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
