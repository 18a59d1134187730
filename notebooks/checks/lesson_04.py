"""Exercises of lesson 04: count AUROC with its ties, and see what two pixel metrics weigh."""

from collections.abc import Iterator

import numpy as np

from indad.metrics import aupro, pixel_metrics

from . import Case, Exercise


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


EXERCISES = {
    "04.1": Exercise(_ranking, hint="for each defective image, count the good ones below it and "
                     "half of those level with it; then divide by the number of pairs"),
    "04.2": Exercise(_planting, hint="one defect's curve is a step at found_at; pixel AUROC weighs "
                     "defects by their pixels, AUPRO weighs them alike and divides by the limit"),
}
