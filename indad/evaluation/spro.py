"""The saturated per-region overlap (sPRO) of MVTec LOCO AD, and the area below its curve.

P. Bergmann, K. Batzner, M. Fauser, D. Sattlegger, C. Steger, "Beyond Dents and Scratches: Logical
Constraints in Unsupervised Anomaly Detection and Localization", IJCV 130 (2022): where a
part is missing, it would be enough to mark some of the places where it could be. So each kind of
defect has a saturation area s, and a defect with pixels A counts as found to min(|A found| / s, 1).
A defect is a file of the ground truth, whether its pixels hang together or not; its grey value
names the kind, whose s is in `defects_config.json` beside the photos. sPRO is the mean over all
defects; the false-positive rate is taken over the pixels that are good in every file, of all
images; areas are counted in the photos' own pixels.

The authors' script refines a list of thresholds until the curve is smooth; here it is exact.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.arguments import number, shown, whole
from ..data.datasets import ImageSet
from ..data.layouts import Item
from ..data.masks import mask_levels
from ..data.reading import read_json
from ..engine.ranks import check_finite, count_ranks
from ..errors import InputError

CONFIG = "defects_config.json"


@dataclass(frozen=True)
class Saturation:
    """Of a kind of defect: how many pixels are enough, or, if relative, which share of them."""

    threshold: float
    relative: bool

    def area(self, size: int) -> int:
        """The saturation area of a defect of `size` pixels, 1 or more."""
        enough = int(self.threshold * size) if self.relative else min(int(self.threshold), size)
        return max(enough, 1)


def config_of(images: ImageSet) -> Path | None:
    """Where the saturation areas of a category are; None if it is none of MVTec LOCO's."""
    places = (images.folder / images.category.removesuffix("_reduced"), images.folder)
    return next((place / CONFIG for place in places if (place / CONFIG).is_file()), None)


def read_saturations(file: Path) -> dict[int, Saturation]:
    """Grey value -> saturation; raises `InputError` for anything but a list of them."""
    try:
        rows = read_json(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    if not isinstance(rows, list):
        raise InputError(f"{file}: is no list of kinds of defects")
    return dict(_saturation(file, row) for row in rows)


def _saturation(file: Path, row: Any) -> tuple[int, Saturation]:
    value, threshold, relative = (row.get(name) if isinstance(row, dict) else None for name in (
        "pixel_value", "saturation_threshold", "relative_saturation"))
    if (isinstance(relative, bool) and whole(1, 255).holds(value)
            and number(0, 1 if relative else None).holds(threshold) and threshold):
        return int(value or 0), Saturation(float(threshold), relative)
    raise InputError(f"{file}: a kind of defect has pixel_value (1 to 255), saturation_threshold "
                     "(pixels, or if relative_saturation is true a share of them); found "
                     f"{shown(row)}")


def defects_of(item: Item, heat: np.ndarray, saturations: dict[int, Saturation],
               inside: np.ndarray | None = None) -> list[tuple[np.ndarray, int]]:
    """The scores and the saturation area of each defect of a photo, in the photo's own pixels.

    Raises `InputError` for a mask of a kind that nobody has named, or of several.
    """
    found = []
    for file in item.mask_paths:
        levels = mask_levels(file)
        if levels.shape != heat.shape:
            raise InputError(f"{file}: the mask is {levels.shape}, the map {heat.shape}")
        values = np.unique(levels[levels > 0]).tolist()
        if len(values) != 1 or values[0] not in saturations:
            raise InputError(f"{file}: marks {', '.join(map(str, values)) or 'nothing'}; a defect "
                             "has one grey value of " + ", ".join(map(str, sorted(saturations))))
        marked = levels > 0
        area = saturations[values[0]].area(int(marked.sum()))
        found.append((heat[marked if inside is None else marked & inside], area))
    return found


def shares(defects: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores `(p,)` of the pixels of some defects, what finding each adds to their summed sPRO, and
    how many defects there are. The first pixels fill the area; any more add nothing."""
    scores, weights = [np.empty(0)], [np.empty(0)]
    for pixels, enough in defects:
        check_finite(pixels)
        scores.append(np.sort(np.ravel(pixels))[::-1])
        weights.append((np.arange(pixels.size) < enough) / enough)
    return np.concatenate(scores), np.concatenate(weights), len(defects)


def auspro(defects: Sequence[tuple[np.ndarray, int]], good: Iterable[np.ndarray],
           limit: float = 0.05) -> float | None:
    """The area below mean sPRO against the false-positive rate up to `limit`, over that limit.

    Args:
        defects: scores `(p,)` of the pixels of each defect, and its saturation area.
        good: the scores of good pixels, in pieces `(m,)` that are asked for one by one.

    None without defects or good pixels. A pixel that belongs to two defects counts for both.
    """
    scores, weights, count = shares(defects)
    if not len(scores):
        return None
    counts, overlap = count_ranks(scores, good, weights / count)
    return counts.weighted(overlap).area(limit) if counts.negatives else None
