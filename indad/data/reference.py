"""The reference that photos are aligned to, learned from good ones.

It is their medoid: the photo that, as they lie, is most like all the others, and so lies as most of
them do. Each good photo is then registered to it. If, aligned, they are like each other, there is a
part to align; photos of a texture are not, however well each fits the reference somewhere.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import InputError
from .arguments import number, several
from .images import as_rgb, readers
from .pose import Pose, aligned_pixels, opencv
from .registration import COARSE, MOST_SIDE, Reference, grey_copy, in_frame

MOST = 60  # photos that are looked at, evenly spread
LIKENESS = 0.7  # that aligned photos have with each other: parts 0.83 or more, textures up to 0.6
REPEATS = 0.7  # that a photo has with itself in another place: parts up to 0.36, lattices 0.9
DOUBTS = 3  # times the doubt (1 - confidence) of nine tenths of the good photos is too much
WIDER = 1.5  # times as far off as any good photo is misplaced
NARROWEST = (0.01, 1.0, 0.01)  # what registration itself may err by, with room to spare


def wanted(options: Mapping[str, Any]) -> Reference | None:
    """What the options of a `PatchCore` say of a reference that is yet to be learned."""
    if options["align"] is None:
        return None
    return Reference(options["align"], given=tuple(options["align_tolerance"] or ()))


def learn_reference(sources: Sequence, levels: Mapping,
                    wanted: Reference | None) -> Reference | None:
    """From good photos to what others are aligned to; None if that is not wanted.

    Args:
        sources: whatever `images.as_rgb` reads; unreadable ones have no say.
        wanted: says how photos are aligned, and the tolerances that are not to be learned.

    Raises `InputError` if, once aligned, the photos are not like each other.
    """
    if wanted is None:
        return None
    some = [sources[i] for i in np.linspace(0, len(sources) - 1, min(MOST, len(sources)),
                                            dtype=int)]

    def look(source: object) -> np.ndarray | None:
        try:
            photo = as_rgb(source, levels)
        except InputError:  # told of where it is read
            return None
        factor = min(MOST_SIDE / max(photo.size), 1)
        size = max(round(photo.width * factor), 1), max(round(photo.height * factor), 1)
        return opencv().resize(np.asarray(photo), size, interpolation=opencv().INTER_AREA)

    with ThreadPoolExecutor(readers()) as pool:
        pictures = [picture for picture in pool.map(look, some) if picture is not None]
        if not pictures:
            return wanted  # nothing will be read either
        greys = [grey_copy(picture) for picture in pictures]
        reference = replace(wanted, picture=pictures[medoid(greys)], least=0.0,
                            tolerance=(np.inf,) * 3)
        poses = list(pool.map(reference.register, greys))
    if (again := reference.repeats()) > REPEATS:
        raise InputError(
            f"align is {wanted.align!r}, but no reference can be found: the pattern repeats, as a "
            f"good photo laid over itself in another place correlates by {again:.2f}, where parts "
            f"do by {REPEATS:g} at most; leave align out: a texture has no pose")
    likeness = _likeness(greys, poses, reference)
    if likeness < LIKENESS:
        raise InputError(
            f"align is {wanted.align!r}, but no reference can be found: laid over each other, "
            f"good photos correlate by {likeness:.2f}, where parts do by {LIKENESS:g} or more; "
            + ("choose align='rigid' if parts are turned, or leave align out: "
               if wanted.align == "shift" else "leave align out: ") + "a texture has no pose")
    doubt = 1 - np.quantile([pose.confidence for pose in poses], 0.1)
    least = float(np.clip(1 - DOUBTS * doubt, 0.5, 0.95))
    sure = [pose for pose in poses if pose.confidence >= least]
    learned = [max(WIDER * max(values), narrowest) for values, narrowest in zip((
        [np.hypot(pose.x, pose.y) for pose in sure], [abs(pose.angle) for pose in sure],
        [abs(pose.scale - 1) for pose in sure]), NARROWEST, strict=True)]
    given = wanted.given
    return replace(reference, least=least, tolerance=(*given, *map(float, learned[len(given):])))


def medoid(greys: Sequence[np.ndarray]) -> int:
    """Position of the copy that, as they lie, correlates most with all of them."""
    flat = np.array([_small(in_frame(grey, greys[0].shape)) for grey in greys])
    return int(_correlations(flat).sum(1).argmax())


def _likeness(greys: Sequence[np.ndarray], poses: Sequence[Pose], reference: Reference) -> float:
    """Median over aligned copies of the mean correlation with the others; 1 for a single one."""
    if len(greys) == 1:
        return 1.0
    size = reference.grey.shape
    flat = np.array([_small(aligned_pixels(in_frame(grey, size), pose))
                     for grey, pose in zip(greys, poses, strict=True)])
    return float(np.median((_correlations(flat).sum(1) - 1) / (len(greys) - 1)))


def _small(grey: np.ndarray) -> np.ndarray:
    """Without the borders, which alignment makes up."""
    cv2, factor = opencv(), COARSE / max(grey.shape)
    height, width = (max(round(side * factor), 1) for side in grey.shape)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return small[height // 8:height - height // 8, width // 8:width - width // 8].ravel()


def _correlations(flat: np.ndarray) -> np.ndarray:
    """`(n, n)` of the rows; of a row that is one grey, 0 with all others."""
    rows = flat.astype(np.float64) - flat.mean(1, keepdims=True, dtype=np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows @ rows.T


def reference_in(settings: object, picture: Tensor | None, options: Mapping[str, Any],
                 file: Path) -> Reference | None:
    """What a saved model is aligned to; raises `InputError` for what no model can have."""
    if (settings is None) != (options["align"] is None):
        raise InputError(f"{file}: align is {options['align']!r}, but the reference is {settings}; "
                         "copy it again")
    known = wanted(options)
    if known is None or picture is None:
        return None
    numbers = several(number(0, 10 ** 6), 3)
    if not (isinstance(settings, dict) and settings.get("align") == known.align
            and settings.get("given") == list(known.given)
            and number(0, 1).holds(settings.get("least")) and numbers.holds(
                settings.get("tolerance"))):
        raise InputError(f"{file}: reference is {str(settings)[:90]}, which does not go with the "
                         "options; copy it again")
    if picture.ndim != 3 or picture.shape[2] != 3 or not (
            min(picture.shape) >= 1 and max(picture.shape) <= MOST_SIDE):
        raise InputError(f"{file}: the reference has the shape {list(picture.shape)}; it must be a "
                         f"picture of up to {MOST_SIDE} pixels a side, in colour")
    return replace(known, picture=picture.cpu().numpy(), least=settings["least"],
                   tolerance=tuple(settings["tolerance"]))
