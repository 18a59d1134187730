"""Exercises of lesson 00: read a folder of images, and rank what a model says."""

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


EXERCISES = {
    "00.1": Exercise(_counting, hint="each item knows its defect_type; count them in a dict"),
    "00.2": Exercise(_ranking, hint="higher is more anomalous: take positions of the largest "
                     "scores, as a set of plain int"),
}
