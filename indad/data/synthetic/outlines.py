"""From changed pixels to a mask: what a person would outline, whole and without specks.

Two drawings differ pixel by pixel, and where the new happens to look like the old, a change has
gaps and falls apart: a chip that slipped changes its edges and its print, but little of the black
between them. Metrics over regions would count each crumb of it like a defect of its own.
"""

import numpy as np

# Half the width, in pixels, of the gaps that a person draws across: narrow ones, so that the
# branches of a crack stay apart. What moved as a whole, or moved what is around it, is outlined as
# a whole: where it was, where it is, and what lies between. Of a chip that was turned around,
# letters grow together, while its dot marks two places, here and there.
GAP = 3
GAPS = {"bent_tooth": 10, "dent": 10, "misplaced": 10, "misplaced_print": 10, "pulled_thread": 10,
        "reversed_chip": 4}
SPECK = 8  # pixels; a smaller region apart from all others is seen by nobody


def outline(change: np.ndarray, defect: str) -> np.ndarray:
    """Changed pixels (h, w) bool -> mask (h, w) bool: gaps and holes closed, specks left out."""
    from scipy import ndimage

    mask = ndimage.binary_fill_holes(_closed(change, GAPS.get(defect, GAP)))
    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    large = np.bincount(regions.ravel()) >= SPECK
    return mask & large[regions]


def _closed(change: np.ndarray, gap: int) -> np.ndarray:
    """Closing by a disc: what no disc of radius `gap` reaches that lies wholly outside.

    Source: Serra, Image Analysis and Mathematical Morphology, 1982; by distances, a disc of any
    radius takes the same time.
    """
    from scipy.ndimage import distance_transform_edt

    change = np.pad(change, gap + 1)  # beyond the border nothing is changed
    near = distance_transform_edt(~change) <= gap
    return (distance_transform_edt(near) > gap)[gap + 1:-gap - 1, gap + 1:-gap - 1]
