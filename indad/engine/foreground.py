"""Which part of good photos is the part, and which what lies behind it: by colour.

What lies along the border of the photos is taken for background; how far each pixel is from its
colours (Mahalanobis distance, in logarithms) falls in two by Otsu's threshold. Of the ways tried
this one lies best over the true silhouettes of the drawn objects, better than AnomalyDINO's first
principal component of patch features (arXiv 2405.14529), see region.md in
results/reference/benchmarks.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import binary_closing, binary_dilation, binary_fill_holes, gaussian_filter

from ..errors import InputWarning

SIDE = 128
GRAIN = 5.0   # grey levels by which colours differ for nothing
GAP = 4       # pixels of SIDE that a hole or notch may be wide and is still part
AROUND = 4    # pixels of SIDE that the part of all photos is larger
SELDOM = 0.05  # of the photos in which a place must be part
TOUCHING = 0.2  # of the border: with more of it called part, there is no background to be told


def find_foreground(photos: Sequence[Image.Image]) -> np.ndarray | None:
    """`(SIDE, SIDE)` bool, over the whole photo: where the part lies in more than a few of them,
    and a little around. None, and a warning, where part and background cannot be told apart."""
    parts = silhouettes(photos)
    border = _border(parts.shape[1:])
    touching, share = parts[:, border].mean(), parts.mean()
    if touching > TOUCHING or not 0.005 < share < 0.95:
        warnings.warn("foreground='auto' cannot tell part from background "
                      f"({100 * touching:.0f} % of the photos' border looks like part, and "
                      f"{100 * share:.0f} % of all): the whole photo is looked at; say where to "
                      "look with region", InputWarning, stacklevel=2)
        return None
    return binary_dilation(parts.mean(0) > min(SELDOM, 0.99 / len(parts)), iterations=AROUND)


def silhouettes(photos: Sequence[Image.Image]) -> np.ndarray:
    """`(n, SIDE, SIDE)` bool: the part in each of these photos."""
    pixels = np.stack([gaussian_filter(np.asarray(
        photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=float), (1, 1, 0))
        for photo in photos])
    behind = pixels[:, _border((SIDE, SIDE))].reshape(-1, 3)
    spread = np.cov(behind.T) + GRAIN ** 2 * np.eye(3)
    away = np.linalg.norm((pixels - behind.mean(0)) @ np.linalg.cholesky(np.linalg.inv(spread)),
                          axis=3)
    away = np.log1p(away)
    return np.stack([_whole(one) for one in away > otsu(away)])


def _whole(part: np.ndarray) -> np.ndarray:
    """Gaps closed and holes filled."""
    wide = np.pad(part, 2 * GAP)
    return binary_fill_holes(binary_closing(wide, iterations=GAP))[2 * GAP:-2 * GAP,
                                                                   2 * GAP:-2 * GAP]


def otsu(values: np.ndarray) -> float:
    """The threshold that leaves the least variance on both of its sides (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * centres)
    between = (mass[-1] * below / below[-1] - mass) ** 2 / np.maximum(
        below * (below[-1] - below), 1e-9)
    return float(centres[between[:-1].argmax()])


def _border(size: tuple[int, ...]) -> np.ndarray:
    border = np.ones(size, bool)
    border[1:-1, 1:-1] = False
    return border
