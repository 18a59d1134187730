"""Exercises of lesson 00: what a set holds, what scores say, and a rival without a network."""

from collections.abc import Iterator

import numpy as np

from . import Case, Exercise


def count_types(items: list) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in items:
        counts[item.defect_type] = counts.get(item.defect_type, 0) + 1
    return counts


class Photo:
    """Stands in for an item of a dataset: a defect type, and "good" is one."""

    def __init__(self, defect_type: str):
        self.defect_type = defect_type

    def __repr__(self) -> str:
        return f"<{self.defect_type}>"


def _counting() -> Iterator[Case]:
    for says, types in {
            "a single good image": ["good"], "two types": ["crack", "good", "crack"],
            "an empty set": [], "many images": ["good", "bent", "good", "cut", "bent"] * 3}.items():
        photos = [Photo(kind) for kind in types]
        yield Case({"items": photos}, count_types(photos), says)


def highest(scores: np.ndarray, k: int) -> set[int]:
    return {int(i) for i in np.argsort(-scores, kind="stable")[:k]}


def _ranking() -> Iterator[Case]:
    yield Case({"scores": np.array([0.1, 0.9, 0.5]), "k": 1}, {1}, "three images")
    yield Case({"scores": np.array([3.0, 1.0, 2.0]), "k": 2}, {0, 2}, "scores above 1")
    yield Case({"scores": np.array([-1.0, -3.0, -2.0]), "k": 1}, {0}, "negative scores")
    generator = np.random.default_rng(0)
    for count in (10, 50):
        scores = generator.random(count)
        yield Case({"scores": scores, "k": 5}, highest(scores, 5), f"{count} random scores")


def share_in_order(good: np.ndarray, bad: np.ndarray) -> float:
    return float(np.mean([b > g for b in bad for g in good]))


def _pairing() -> Iterator[Case]:
    def case(says: str, good: list | np.ndarray, bad: list | np.ndarray) -> Case:
        good, bad = np.asarray(good, float), np.asarray(bad, float)
        return Case({"good": good, "bad": bad}, share_in_order(good, bad), says)

    yield case("one pair, in order", [1], [2])
    yield case("one pair, the wrong way round", [2], [1])
    yield case("two pairs, one of them in order", [1, 3], [2])
    yield case("one good image, three defective ones", [2], [1, 3, 4])
    yield case("a defective image below all good ones", [2, 3, 4], [1, 5])
    generator = np.random.default_rng(0)
    yield case("20 and 30 random scores", generator.normal(0, 1, 20), generator.normal(1, 1, 30))


def mistakes(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[int, int]:
    called = [score > threshold for score in scores]
    return (sum(one and label == 0 for one, label in zip(called, labels, strict=True)),
            sum(not one and label == 1 for one, label in zip(called, labels, strict=True)))


def _judging() -> Iterator[Case]:
    def case(says: str, scores: list | np.ndarray, labels: list | np.ndarray,
             threshold: float) -> Case:
        arguments = (np.asarray(scores, float), np.asarray(labels), threshold)
        return Case(dict(zip(("scores", "labels", "threshold"), arguments, strict=True)),
                    mistakes(*arguments), says)

    yield case("one good image below the threshold", [1], [0], 2)
    yield case("one good image above it", [3], [0], 2)
    yield case("one defective image below it", [1], [1], 2)
    yield case("two false alarms, one missed", [5, 4, 1, 6], [0, 0, 1, 1], 3)
    yield case("a good image whose score equals the threshold passes", [2, 5], [0, 1], 2)
    yield case("a defective image whose score equals it is missed", [2, 1], [1, 0], 2)
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 12])
    yield case("42 random images", generator.normal(labels, 1), labels, 0.7)


def pixel_rival(good: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Pixel by pixel, as one would explain it."""
    scores = []
    for image in images:
        odd = [abs(image[y, x] - good[:, y, x].mean()) / (good[:, y, x].std() + 0.05)
               for y, x in np.ndindex(*image.shape)]
        scores.append(max(odd))
    return np.array(scores)


def _rivalling() -> Iterator[Case]:
    def case(says: str, good: list | np.ndarray, images: list | np.ndarray) -> Case:
        good, images = np.asarray(good, float), np.asarray(images, float)
        return Case({"good": good, "images": images}, pixel_rival(good, images), says)

    yield case("one pixel, two equal good images: no deviation", [[[0.5]], [[0.5]]], [[[0.6]]])
    yield case("one pixel that varies", [[[0.4]], [[0.6]]], [[[0.8]]])
    yield case("a pixel darker than the mean", [[[0.4]], [[0.6]]], [[[0.1]]])
    yield case("two pixels, one of which varies: the other is the odd one",
               [[[0.2, 0.5]], [[0.8, 0.5]]], [[[0.9, 0.7]]])
    generator = np.random.default_rng(0)
    good = generator.random((6, 3, 4))
    yield case("an image that is one of the good ones", good, good[:1])
    yield case("three images of 3 x 4 pixels", good, generator.random((3, 3, 4)))


EXERCISES = {
    "00.1": Exercise(_counting, hint="each item knows its defect_type; count them in a dict"),
    "00.2": Exercise(_ranking, hint="higher is more anomalous: take positions of the largest "
                     "scores, as a set of plain int"),
    "00.3": Exercise(_pairing, hint="count the pairs in which the defective score is greater, and "
                     "divide by the number of pairs, len(good) * len(bad)"),
    "00.4": Exercise(_judging, hint="called defective means score > threshold, not >=; return "
                     "(false alarms, missed) in this order"),
    "00.5": Exercise(_rivalling, hint="mean and standard deviation over the images (axis 0), not "
                     "over the pixels; 0.05 is added to the deviation, and the largest counts"),
}
