"""How a part is found again in a photo: turned copies of a reference, laid over it wherever they
fit best, and the best of those places made exact.

Coarse: the normalised correlation of each turned copy with each place, by Fourier transforms of
copies of 64 pixels (Lewis 1995, "Fast normalized cross-correlation", with a round window). Fine:
OpenCV's `findTransformECC` (Evangelidis & Psarakis, TPAMI 2008), from the few best places, on
copies of 128 and then 256 pixels. Light and contrast, one for all of a photo, cancel in both.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from .pose import SIDE, Pose, aligned_mask, aligned_pixels, opencv, pose_of

MOST_SIDE = 512
COARSE, STEP = 64, 3  # pixels, and degrees between turned copies
SCALES = (0.85, 1.0, 1.18)
PLACES = 4  # that are made exact
ALIKE = 0.005  # correlations that differ by less are equal: then the smallest turn is meant
LEAST_SHARE = 0.25  # of the reference that has to be in the photo
_tables = Lock()


@dataclass(frozen=True, eq=False)
class Reference:
    """What photos are aligned to, see reference.py for how it is learned.

    Attributes:
        align: one of `pose.ALIGNMENTS`.
        picture: `(h, w, 3)` uint8, of up to `MOST_SIDE` pixels a side.
        least: confidence below which a pose is not used.
        tolerance: of the offset as a share of the longer side, of the turn in degrees, and of the
            scale as a share; beyond it, a part is misplaced.
        given: the first of these that were not learned but wanted so.
    """

    align: str
    picture: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 3), np.uint8))
    least: float = 0.0
    tolerance: tuple[float, ...] = (np.inf, np.inf, np.inf)
    given: tuple[float, ...] = ()

    @property
    def known(self) -> bool:
        """Has it been learned?"""
        return self.picture.size > 0

    @property
    def settings(self) -> dict[str, Any]:
        """All of it but the picture, as JSON has it."""
        return {"align": self.align, "least": self.least, "tolerance": list(self.tolerance),
                "given": list(self.given)}

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(f"{self.settings}".encode() + self.picture.tobytes()).hexdigest()

    def plain(self) -> tuple:
        """As `torch.save` keeps it, and `from_plain` takes it."""
        return (self.align, torch.from_numpy(self.picture), self.least, self.tolerance, self.given)

    @classmethod
    def from_plain(cls, plain: tuple) -> "Reference":
        align, picture, *rest = plain
        return cls(align, picture.numpy(), *rest)

    def is_like(self, other: "Reference | None") -> bool:
        """Are both for the same options?"""
        return other is not None and (self.align, self.given) == (other.align, other.given)

    def register(self, photo: Image.Image | np.ndarray) -> Pose:
        """Pose of a photo, RGB or grey, of any size."""
        grey = in_frame(grey_copy(photo), self.grey.shape)
        half_reference, half = (_shrunk(one, SIDE // 2) for one in (self.grey, grey))
        found = [self._exact(start, half_reference, half, 15) for start in self._places(grey)]
        best = max(one.confidence for one in found)
        pose = min((one for one in found if one.confidence >= best - ALIKE),
                   key=lambda one: (abs(one.angle), -one.confidence))
        pose = self._exact(pose, self.grey, grey, 30)
        pose = replace(pose, used=pose.confidence >= self.least)
        return replace(pose, misplaced=self.beyond(pose) if pose.used else "")

    def aligned(self, photo: Image.Image, pose: Pose | None) -> Image.Image:
        """The photo as if its part lay where the reference's does, in a picture of the same size.

        What lay outside the photo is the reference's, in the photo's light: good by definition, so
        nothing that was not seen counts as evidence. Without a pose the photo stays as it is.
        """
        if pose is None:
            return photo
        cv2, pixels = opencv(), np.asarray(photo)
        height, width = pixels.shape[:2]
        found = aligned_pixels(pixels, pose)
        known = aligned_mask(np.ones((height, width), bool), pose).view(np.uint8)
        if not known.all():
            other = cv2.resize(self.picture, (width, height), interpolation=cv2.INTER_AREA)
            light = cv2.resize(self._light(found, known), (width, height))
            for row in range(0, height, 256):  # or it would take 24 bytes a pixel
                some = slice(row, row + 256)
                lit = np.clip(np.rint(other[some] * light[some]), 0, 255).astype(np.uint8)
                cv2.copyTo(lit, 1 - known[some], found[some])
        return Image.fromarray(found)

    def _light(self, found: np.ndarray, known: np.ndarray) -> np.ndarray:
        """`(h, w, 3)` float32, small: how many times as light as the reference a photo is, near
        each place; where nothing of it is known, as near the next place where it is."""
        cv2, (height, width) = opencv(), self.grey.shape
        small, inside, other = (cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA)
                                for one in (found, known.astype(np.float32), self.picture))
        weight = (inside > 0.999).astype(np.float32)[..., None]
        seen, meant = (sum(trust * cv2.GaussianBlur(one * weight, (0, 0), sigma)
                           for sigma, trust in ((SIDE / 32, 1.0), (SIDE / 8, 1e-2),
                                                (SIDE / 2, 1e-4))) for one in (small, other))
        return (seen + 1e-6) / (meant + 1e-6)

    def beyond(self, pose: Pose) -> str:
        """What of a pose is beyond the tolerance, in words."""
        offset, turn, scale = self.tolerance
        off = float(np.hypot(pose.x, pose.y))
        said = []
        if off > offset:
            said.append(f"{100 * off:.1f} % of the longer side off (tolerance {100 * offset:.1f})")
        if abs(pose.angle) > turn:
            said.append(f"turned by {pose.angle:.1f} degrees (tolerance {turn:.1f})")
        if abs(pose.scale - 1) > scale:
            said.append(f"{pose.scale:.3f} times as large (tolerance {scale:.3f})")
        return ", ".join(said)

    def repeats(self) -> float:
        """How well the picture fits itself in the best of other places, 1 at most: a lattice does
        at the next knot."""
        cv2, table = opencv(), self._table()
        fits = self._fits(self.grey)[table.scales.index(1.0)][np.abs(table.angles).argmin()]
        height, width = fits.shape
        down, across = np.indices(fits.shape)
        far = np.hypot(down - height // 2, across - width // 2) > max(fits.shape) / 10
        peaks = cv2.dilate(fits, np.ones((3, 3))) == fits
        return float(fits[far & peaks].max(initial=0.0))

    def _places(self, grey: np.ndarray) -> list[Pose]:
        """The best places of the turned copies that fit better than those turned a little more or
        less."""
        table, best = self._table(), []
        for fits in self._fits(grey):
            places = fits.reshape(len(fits), -1).argmax(1)
            down, across = np.divmod(places, fits.shape[2])
            best.append(np.column_stack([fits[np.arange(len(fits)), down, across], down, across]))
        height, width = fits.shape[1] - 1, fits.shape[2] - 1
        fit = np.array(best)  # (scales, turns, 3)
        value = fit[..., 0]
        peaks = (value >= np.roll(value, 1, 1)) & (value >= np.roll(value, -1, 1))
        scales, turns = np.nonzero(peaks)
        order = np.argsort(-value[scales, turns], kind="stable")[:PLACES]
        longer = max(height, width)
        return [Pose(float(fit[k, t, 2] - width // 2) / longer,
                     float(fit[k, t, 1] - height // 2) / longer,
                     float(table.angles[t]), table.scales[k], float(value[k, t]))
                for k, t in zip(scales[order], turns[order], strict=True)]

    def _fits(self, grey: np.ndarray) -> list[np.ndarray]:
        """Of each scale, `(turns, h + 1, w + 1)` correlations of the turned copies with each place,
        from half the frame above and left of the middle to half below and right."""
        cv2, small = opencv(), _shrunk(grey, COARSE).astype(np.float32)
        table = self._table()
        (height, width), total = small.shape, table.window.sum()
        wide = cv2.copyMakeBorder(small, height // 2, height - height // 2, width // 2,
                                  width - width // 2, cv2.BORDER_REPLICATE)
        seen = np.fft.rfft2(wide)
        sums, squares = (np.fft.irfft2(one * table.window_spectrum, wide.shape)
                         for one in (seen, np.fft.rfft2(wide * wide)))
        spread = np.sqrt(np.maximum(squares - sums * sums / total, 1e-3 * squares.max() + 1e-6))
        return [(np.fft.irfft2(spectra * seen, wide.shape) / spread)[:, :height + 1, :width + 1]
                for spectra in table.spectra]

    def _exact(self, start: Pose, reference: np.ndarray, grey: np.ndarray, rounds: int) -> Pose:
        """The pose near `start` that makes the two most alike; `start` if none does."""
        cv2 = opencv()
        kind = {"shift": cv2.MOTION_TRANSLATION, "rigid": cv2.MOTION_EUCLIDEAN,
                "similarity": cv2.MOTION_AFFINE}[self.align]
        matrix, (height, width) = start.matrix(reference.shape), reference.shape
        known = replace(start, confidence=_alike(reference, grey, matrix))
        # From a copy that lies alike: OpenCV takes turns of up to 90 degrees only.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        inside = cv2.warpAffine(np.ones(grey.shape, np.uint8), matrix, (width, height), flags=flags)
        laid = cv2.warpAffine(grey, matrix, (width, height), flags=flags,
                              borderMode=cv2.BORDER_REPLICATE)
        try:
            _, rest = cv2.findTransformECC(reference, laid, np.eye(2, 3, dtype=np.float32), kind,
                                           (3, rounds, 1e-7), inside, 5)
        except cv2.error:  # it did not converge
            return known
        found = matrix[:, :2] @ rest
        found[:, 2] += matrix[:, 2]
        pose = pose_of(found, reference.shape)
        if self.align == "shift":
            pose = replace(pose, angle=0.0, scale=1.0)
        if self.align == "rigid":
            pose = replace(pose, scale=1.0)
        exact = replace(pose, confidence=_alike(reference, grey, pose.matrix(reference.shape)))
        return exact if exact.confidence >= known.confidence else known

    def _table(self) -> "_Table":
        with _tables:
            return self._made

    @cached_property
    def grey(self) -> np.ndarray:
        """`(h, w)` uint8, the longer side of `SIDE` pixels."""
        return grey_copy(self.picture)

    @cached_property
    def _made(self) -> "_Table":
        return _Table(_shrunk(self.grey, COARSE).astype(np.float32), self.align)


def check_aligned_alike(found: Reference | None, known: Reference | None) -> None:
    """Raise `InputError` if features are not of photos aligned to what a model has learned."""
    if found is not known and (found and found.digest) != (known and known.digest):
        raise InputError("these features are of photos " + (
            "that are not aligned as the model's are" if found is None or known is None
            else "aligned to another reference than the model's")
            + "; extract them again with the fitted model")


class _Table:
    """Turned copies of a reference, each of mean 0 and length 1 in a round window, as spectra."""

    def __init__(self, small: np.ndarray, align: str):
        cv2, (height, width) = opencv(), small.shape
        y, x = (np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in small.shape)
        self.window = np.clip((1 - np.hypot(y[:, None], x)) / 0.15, 0, 1).astype(np.float32)
        self.angles = np.zeros(1) if align == "shift" else np.arange(-180.0, 180.0, STEP)
        self.scales = SCALES if align == "similarity" else (1.0,)
        total = max(float(self.window.sum()), 1e-6)
        self.window_spectrum = np.conj(np.fft.rfft2(self.window, (2 * height, 2 * width)))
        self.spectra = []
        for scale in self.scales:
            copies = []
            for angle in self.angles:
                copy = cv2.warpAffine(small, Pose(angle=angle, scale=scale).matrix(small.shape),
                                      (width, height), borderMode=cv2.BORDER_REPLICATE)
                copy = copy - (copy * self.window).sum() / total
                length = np.sqrt((copy * copy * self.window).sum())
                copies.append(copy * self.window / max(float(length), 1e-6))
            spectra = np.conj(np.fft.rfft2(np.array(copies), (2 * height, 2 * width)))
            self.spectra.append(spectra.astype(np.complex64))


def grey_copy(photo: Image.Image | np.ndarray) -> np.ndarray:
    """`(h, w)` uint8 whose longer side has `SIDE` pixels, of a photo, RGB or grey."""
    cv2, pixels = opencv(), np.asarray(photo)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return _shrunk(pixels, SIDE)


def in_frame(grey: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A copy with the reference's height and width: centred, cut or continued."""
    if grey.shape == tuple(size):
        return grey
    cv2, (height, width) = opencv(), size
    shift = np.array([[1, 0, (grey.shape[1] - width) / 2], [0, 1, (grey.shape[0] - height) / 2]])
    return cv2.warpAffine(grey, shift, (width, height), borderMode=cv2.BORDER_REPLICATE,
                          flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _shrunk(grey: np.ndarray, side: int) -> np.ndarray:
    cv2, factor = opencv(), side / max(grey.shape)
    height, width = (max(round(one * factor), 1) for one in grey.shape)
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)


def _alike(reference: np.ndarray, grey: np.ndarray, matrix: np.ndarray) -> float:
    """Correlation of the two, slightly blurred, where both are known."""
    cv2, (height, width) = opencv(), reference.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.ones(grey.shape, np.uint8), matrix, (width, height), flags=flags) > 0
    if inside.sum() < LEAST_SHARE * inside.size:
        return -1.0
    laid = cv2.warpAffine(grey, matrix, (width, height), flags=flags,
                          borderMode=cv2.BORDER_REPLICATE)
    one, other = (cv2.GaussianBlur(picture, (5, 5), 0)[inside].astype(np.float32)
                  for picture in (reference, laid))
    one, other = one - one.mean(), other - other.mean()
    length = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / length if length > 1e-3 else 0.0
