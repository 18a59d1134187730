"""Exercises of lesson 10: tiles that cover, points in polygons, photos that others support."""

import math
from collections.abc import Iterator

import numpy as np

from . import Case, Exercise


def _widths() -> Iterator[Case]:
    for width, photo, network, says in ((8, 400, 100, "a photo made a quarter as large"),
                                        (2, 480, 160, "less than a pixel"),
                                        (3, 128, 256, "a photo that is enlarged")):
        yield Case({"width": width, "photo": photo, "network": network}, width * network / photo,
                   says)


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """One more tile at a time, until they cover the side."""
    count = 1
    while tile + (count - 1) * (tile - overlap) < length:
        count += 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)] if count > 1 else [0]


def _tiles() -> Iterator[Case]:
    for length, tile, overlap, says in (
            (512, 512, 64, "a side of exactly one tile"),
            (1000, 500, 0, "two tiles without overlap"),
            (1001, 500, 0, "one pixel more than two tiles cover"),
            (1000, 512, 64, "tiles that share more than they must, to be evenly spread"),
            (960, 512, 64, "tiles that share exactly what they must"),
            (2048, 256, 255, "an overlap of all but one pixel")):
        yield Case({"length": length, "tile": tile, "overlap": overlap},
                   starts(length, tile, overlap), says)


def inside(x: float, y: float, polygon: list) -> bool:
    """By the angles under which the edges are seen, which add up to a whole turn from inside."""
    turn = 0.0
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        angle = math.atan2(y2 - y, x2 - x) - math.atan2(y1 - y, x1 - x)
        turn += (angle + math.pi) % (2 * math.pi) - math.pi
    return abs(turn) > math.pi


SQUARE = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]
ARROW = [(0.1, 0.1), (0.9, 0.5), (0.1, 0.9), (0.4, 0.5)]


def _points() -> Iterator[Case]:
    for x, y, polygon, says in (
            (0.5, 0.5, SQUARE, "the middle of a square"),
            (0.1, 0.5, SQUARE, "a point left of it: two edges lie to the right"),
            (0.9, 0.5, SQUARE, "a point right of it"),
            (0.5, 0.9, SQUARE, "a point below it"),
            (0.5, 0.3, ARROW, "a point in the upper wing of an arrow"),
            (0.2, 0.5, ARROW, "a point in the notch of an arrow, at the height of two corners"),
            (0.6, 0.5, ARROW, "a point in an arrow, at the height of its tip"),
            (0.3, 0.7, [*reversed(ARROW)], "the lower wing, with the corners the other way round"),
            (0.2, 0.6, [(0.1, 0.5), (0.5, 0.1), (0.5, 0.9)],
             "a triangle whose last edge closes it")):
        yield Case({"x": x, "y": y, "polygon": polygon}, inside(x, y, polygon), says)


def support(distances: np.ndarray, photos: np.ndarray, k: int) -> float:
    nearest: dict[int, float] = {}
    for distance, photo in zip(distances.tolist(), photos.tolist(), strict=True):
        nearest[photo] = min(distance, nearest.get(photo, math.inf))
    return sorted(nearest.values())[:k][-1]


def _supports() -> Iterator[Case]:
    generator = np.random.default_rng(0)
    for distances, photos, k, says in (
            ([3.0, 1.0, 2.0], [0, 1, 2], 1, "k = 1: the nearest patch of all"),
            ([3.0, 1.0, 2.0], [0, 1, 2], 2, "three photos of a patch each, k = 2"),
            ([1.0, 1.1, 1.2, 9.0], [5, 5, 5, 7], 2,
             "one photo with three near patches: it counts once"),
            ([4.0, 2.0], [3, 9], 5, "fewer photos than k"),
            (generator.uniform(1, 9, 60), generator.integers(0, 12, 60), 4,
             "sixty patches of a dozen photos")):
        case = {"distances": np.asarray(distances), "photos": np.asarray(photos), "k": k}
        yield Case(case, support(**case), says)


def strangeness(patches: np.ndarray, k: int) -> np.ndarray:
    """One patch at a time, as it is said."""
    numbers = []
    for i, own in enumerate(patches):
        others = [other for j, other in enumerate(patches) if j != i]
        numbers.append(max(sorted(min(math.dist(patch, theirs) for theirs in other)
                                  for other in others)[k - 1] for patch in own))
    return np.array(numbers)


def suspects(patches: np.ndarray, k: int) -> list[int]:
    numbers = strangeness(patches, k)
    middle = float(np.median(numbers))
    limit = middle + 6 * float(np.median(np.abs(numbers - middle)))
    return [int(i) for i in np.argsort(-numbers) if numbers[i] > limit]


def _lists(expected: list[int]):
    def judge(returned: object) -> str | None:
        try:
            found = [int(position) for position in returned]  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            return f"it returned {returned!r}, expected a list of positions"
        if found == expected:
            return None
        order = " in another order" if sorted(found) == sorted(expected) else ""
        return f"it returned {found}, expected {expected}{order}"
    return judge


def _photos() -> Iterator[Case]:
    def case(odd: dict[int, float], k: int, says: str, photos: int = 12, patches: int = 6,
             together: bool = False) -> Case:
        generator = np.random.default_rng(photos + k)
        kinds = generator.uniform(0, 20, (patches, 4))  # what is to be seen at each place
        values = kinds + generator.uniform(-1, 1, (photos, patches, 4))
        for photo, far in odd.items():
            values[photo, photo % patches] += far
        if together:  # all have the odd patch of the first of them, which has it three times
            first = [*odd][0]
            values[first, :3] = values[first, first % patches]
            for photo in odd:
                values[photo, photo % patches] = values[first, 0] + 0.1 * photo
        return Case({"patches": values, "k": k}, says=says, judge=_lists(suspects(values, k)))

    yield case({}, 1, "twelve photos, all alike: nobody is suspect")
    yield case({3: 40.0}, 1, "photo 3 with a patch that no other has")
    yield case({2: 30.0, 7: 60.0}, 2, "two odd photos: the strangest comes first")
    yield case({1: 40.0, 7: 40.0}, 2, "two photos with the same defect, and k = 2")
    yield case({0: 40.0, 5: 40.0}, 2, "an odd patch three times in photo 0 and once in photo 5: "
               "that is one photo that supports it, not two", together=True)
    yield case({0: 40.0, 5: 40.0}, 1, "two photos with the same odd patch, and k = 1: each "
               "vouches for the other", together=True)
    yield case({4: 300.0, 5: 60.0, 9: 40.0}, 3, "one photo so odd that mean and standard deviation "
               "would hide the others")


EXERCISES = {
    "10.1": Exercise(_widths, hint="everything in the photo shrinks by network / photo; do not "
                     "round"),
    "10.2": Exercise(_tiles, hint="tiles after the first: (length - tile) / (tile - overlap), "
                     "rounded up; then spread them evenly from 0 to length - tile"),
    "10.3": Exercise(_points, hint="count the edges that a ray to the right crosses; the last "
                     "corner is joined with the first"),
    "10.4": Exercise(_supports, hint="first the nearest patch of each photo, then the k-th "
                     "smallest of these"),
    "10.5": Exercise(_photos, hint="leave the photo itself out; of each other photo only the "
                     "nearest patch counts; then the k-th smallest, and the largest over patches"),
}
