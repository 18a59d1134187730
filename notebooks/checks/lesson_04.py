"""Exercises of lesson 04: what metrics count, how sure they are, and a leak to find."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from indad.metrics import aupro, pixel_metrics

from . import Case, Exercise, brief


def _disordered() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, good, defective in (
            ("one pair, in the right order", [1.0], [2.0]),
            ("one pair, in the wrong order", [2.0], [1.0]),
            ("one pair with equal scores: not higher", [1.0], [1.0]),
            ("two good and three defective scores", [1.0, 5.0], [2.0, 6.0, 4.0]),
            ("fifty and thirty scores", generator.integers(0, 9, 50),
             generator.integers(3, 12, 30))):
        yield Case({"good": np.array(good, float), "defective": np.array(defective, float)},
                   sum(g > d for d in defective for g in good), says)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Pair by pair."""
    good, defective = scores[labels == 0], scores[labels == 1]
    return sum((b > g) + 0.5 * (b == g) for b in defective for g in good) / (
        len(good) * len(defective))


def _ranking() -> Iterator[Case]:
    for says, scores, labels in (
            ("one pair, in the right order", [0.1, 0.9], [0, 1]),
            ("one pair, in the wrong order", [0.9, 0.1], [0, 1]),
            ("one pair with equal scores", [0.5, 0.5], [0, 1]),
            ("a tie beside a right pair", [1.0, 2.0, 2.0], [0, 0, 1]),
            ("a tie among defective images only", [1.0, 2.0, 2.0], [0, 1, 1]),
            ("defective images that come first, scores below 0", [-1.0, -3.0, -2.0], [1, 0, 0])):
        scores, labels = np.array(scores), np.array(labels)
        yield Case({"scores": scores, "labels": labels}, auroc(scores, labels), says)
    generator = np.random.default_rng(0)
    for count, levels in ((30, 4), (200, 20)):
        scores = generator.integers(0, levels, count).astype(float)
        labels = (generator.random(count) < 0.3).astype(int)
        yield Case({"scores": scores, "labels": labels}, auroc(scores, labels),
                   f"{count} images with {levels} different scores")


def resampled(scores: np.ndarray, labels: np.ndarray, draws: int) -> np.ndarray:
    """AUROC of each draw, by how often each image was drawn."""
    above = scores[labels == 1][:, None] - scores[labels == 0]
    table = (above > 0) + 0.5 * (above == 0)
    generator = np.random.default_rng(1)
    rows, columns = (generator.multinomial(n, np.full(n, 1 / n), draws) / n for n in table.shape)
    return np.sum(rows @ table * columns, axis=1)


def _near(low: float, high: float, tolerance: float) -> Callable[[object], str | None]:
    def find(returned: object) -> str | None:
        try:
            ends = [float(value) for value in returned]  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            ends = []
        if len(ends) != 2:
            return f"it returned {brief(returned)}, expected two numbers, low and high"
        for name, found, wanted in zip(("low", "high"), ends, (low, high), strict=True):
            if math.isnan(wanted) != math.isnan(found):
                return (f"{name} is {found:.4f}, expected nan" if math.isnan(wanted)
                        else f"{name} is nan, expected {wanted:.4f}")
            if abs(found - wanted) > tolerance:
                return (f"{name} is {found:.4f}, expected {wanted:.4f} up to {tolerance:.3f} of "
                        "chance")
        return None
    return find


def _resampling() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [12, 30])
    scores, order = generator.normal(size=42) + labels, generator.permutation(42)
    cases = (
            ("all pairs in order: every draw says 1", np.array([1.0, 2, 3, 4]),
             np.array([0, 0, 1, 1])),
            ("all scores alike: every draw says one half", np.zeros(6),
             np.array([0, 1, 0, 1, 0, 1])),
            ("12 good and 30 defective images in any order", scores[order], labels[order]),
            ("the same, rounded: many ties", np.round(scores[order]), labels[order]))
    for says, scores, labels in cases:
        values = resampled(scores, labels, 20_000)
        silent = np.ptp(values) < 1e-12
        low, high = (math.nan, math.nan) if silent else np.percentile(values, [2.5, 97.5])
        # Ends of 2,000 draws scatter by 0.06 standard deviations; those of 90 % are off by 0.31.
        yield Case({"scores": scores, "labels": labels, "draws": 2000}, says=says,
                   judge=_near(low, high, 0.25 * values.std() + 1e-9))


def _flagging() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for says, scores, labels, threshold in (
            ("one good and one defective image, both flagged", [1.0, 2.0], [0, 1], 1.0),
            ("a score at the threshold: it is flagged", [1.0, 2.0], [0, 1], 2.0),
            ("two defective images, one of them missed", [1.0, 2.0, 3.0], [1, 0, 1], 3.0),
            ("nothing flagged: no precision", [1.0, 2.0], [0, 1], 9.0),
            ("sixty images", generator.integers(0, 9, 60), generator.integers(0, 2, 60), 5.0)):
        flagged = [score >= threshold for score in scores]
        hits = sum(one and label for one, label in zip(flagged, labels, strict=True))
        yield Case({"scores": np.array(scores, float), "labels": np.array(labels, int),
                    "threshold": threshold},
                   (hits / sum(flagged) if any(flagged) else math.nan, hits / sum(labels)), says)


def plant(sizes: list[int], found_at: list[float], limit: float) -> tuple[float, float]:
    """Draw such maps, and let the package measure them; `found_at` in whole thousandths."""
    good = 1000
    maps = [-np.arange(good, dtype=float)[None]]  # an image of good pixels, all different
    maps += [np.full((1, size), 0.5 - round(rate * good))  # and one for each defect
             for size, rate in zip(sizes, found_at, strict=True)]
    masks = [np.full(values.shape, place > 0) for place, values in enumerate(maps)]
    found = pixel_metrics(maps, masks)["pixel_auroc"]
    return found, aupro(maps, masks, limit)


def _planting() -> Iterator[Case]:
    for says, sizes, found_at, limit in (
            ("a single defect, found at once", [10], [0.0], 0.3),
            ("a single defect, found half way to the limit", [10], [0.15], 0.3),
            ("a large defect found at once and a small one found late, past the limit",
             [990, 10], [0.0, 0.5], 0.3),
            ("a small defect found at once and a large one found late, past the limit",
             [10, 990], [0.0, 0.5], 0.3),
            ("two defects, both found before the limit", [300, 100], [0.1, 0.2], 0.3),
            ("three defects and another limit", [50, 200, 7], [0.02, 0.3, 0.04], 0.05)):
        yield Case({"sizes": sizes, "found_at": found_at, "limit": limit},
                   plant(sizes, found_at, limit), says)


def _leaking() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    train = generator.integers(60, 160, (4, 12, 12)).astype(np.uint8)
    noise = generator.integers(-3, 4, (12, 12))
    other = generator.integers(60, 160, (3, 12, 12)).astype(np.uint8)
    brighter = np.clip(train[3] + 70.0 + noise, 0, 255).astype(np.uint8)
    for says, test, expected in (
            ("no leak: two other images", other[:2], set()),
            ("a plain copy, beside another image", [other[0], train[1]], {1}),
            ("a copy that was turned by 90 degrees", [np.rot90(train[2]), other[1]], {0}),
            ("a copy that was mirrored", [other[0], other[1], train[0][:, ::-1]], {2}),
            ("a copy in brighter light, with a little noise", [other[2], brighter], {1}),
            ("a darker copy, mirrored and turned", [np.rot90(train[1][::-1], 3) - 40], {0}),
            ("the same other image twice in the test set: no leak", [other[0], other[0]], set())):
        yield Case({"train": train, "test": np.array(test, np.uint8), "limit": 5.0}, expected, says)


EXERCISES = {
    "04.1": Exercise(_disordered, hint="compare each good score with each defective one; higher "
                     "is >, so a tie does not count"),
    "04.2": Exercise(_ranking, hint="for each defective image, count the good ones below it and "
                     "half of those level with it; then divide by the number of pairs"),
    "04.3": Exercise(_resampling, hint="draw good and defective images separately, with "
                     "replacement; where no draw differs from another, say nan and nan"),
    "04.4": Exercise(_flagging, hint="flagged is at least the threshold; precision divides by "
                     "what is flagged, recall by what is defective"),
    "04.5": Exercise(_planting, hint="one defect's curve is a step at found_at; pixel AUROC weighs "
                     "defects by their pixels, AUPRO weighs them alike and divides by the limit"),
    "04.6": Exercise(_leaking, hint="compare floats, each less its own mean, with all eight turns "
                     "and mirrorings; positions are those of test"),
}
