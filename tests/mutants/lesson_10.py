"""Wrong answers to the exercises of lesson 10, which their checks must refuse."""

import math

import numpy as np


def upside_down(width, photo, network):
    """Enlarges where it should shrink."""
    return width * photo / network


def whole_pixels(width, photo, network):
    """Rounds, and loses what is less than a pixel."""
    return round(width * network / photo)


def never_enlarged(width, photo, network):
    """Believes that photos only shrink."""
    return width * min(network / photo, 1)


def rounded_down(length, tile, overlap):
    """One tile too few where the division leaves a rest."""
    more = (length - tile) // (tile - overlap)
    return [round(i * (length - tile) / more) for i in range(more + 1)] if more else [0]


def not_spread(length, tile, overlap):
    """Begins a step after the other, and moves only the last one back."""
    found = list(range(0, length - tile, tile - overlap))
    return [*found, length - tile]


def one_too_many(length, tile, overlap):
    """One more than needed where they fit exactly."""
    more = (length - tile) // (tile - overlap) + 1
    return [round(i * (length - tile) / more) for i in range(more + 1)]


def without_overlap(length, tile, overlap):
    """Forgets the overlap."""
    more = math.ceil((length - tile) / tile)
    return [round(i * (length - tile) / more) for i in range(more + 1)] if more else [0]


def _crossings(x, y, edges, right=True):
    return sum(((y1 > y) != (y2 > y)) and (
        (x1 + (y - y1) / (y2 - y1) * (x2 - x1) > x) or not right)
        for (x1, y1), (x2, y2) in edges)


def _edges(polygon):
    return list(zip(polygon, polygon[1:] + polygon[:1], strict=True))


def left_open(x, y, polygon):
    """Forgets the edge from the last corner to the first."""
    return _crossings(x, y, _edges(polygon)[:-1]) % 2 == 1


def whole_line(x, y, polygon):
    """Counts crossings to the left as well."""
    return _crossings(x, y, _edges(polygon), right=False) % 2 == 1


def any_crossing(x, y, polygon):
    """One crossing or more means inside."""
    return _crossings(x, y, _edges(polygon)) > 0


def box(x, y, polygon):
    """Asks the box around the polygon."""
    xs, ys = zip(*polygon, strict=True)
    return min(xs) < x < max(xs) and min(ys) < y < max(ys)


def corners_twice(x, y, polygon):
    """Counts both edges at a corner that lies at the point's height."""
    count = 0
    for (x1, y1), (x2, y2) in _edges(polygon):
        if min(y1, y2) <= y <= max(y1, y2) and y1 != y2:
            count += x1 + (y - y1) / (y2 - y1) * (x2 - x1) > x
    return count % 2 == 1


def nearest_patches(distances, photos, k):
    """The k-th nearest patch, so that one photo may support all by itself."""
    return float(np.sort(distances)[min(k, len(distances)) - 1])


def from_zero(distances, photos, k):
    """One photo too far."""
    nearest = sorted(distances[photos == photo].min() for photo in np.unique(photos))
    return float(nearest[min(k, len(nearest) - 1)])


def means(distances, photos, k):
    """A photo is as near as its patches on average."""
    nearest = sorted(distances[photos == photo].mean() for photo in np.unique(photos))
    return float(nearest[min(k, len(nearest)) - 1])


def infinite(distances, photos, k):
    """No support at all where there are too few photos."""
    nearest = sorted(distances[photos == photo].min() for photo in np.unique(photos))
    return float(nearest[k - 1]) if k <= len(nearest) else math.inf


def _suspects(patches, k, *, itself=False, pooled=False, over=np.max, middle=np.median,
              spread=lambda x: np.median(np.abs(x - np.median(x))), by=lambda x: np.argsort(-x)):
    strange = []
    for i, own in enumerate(patches):
        apart = [np.linalg.norm(own[:, None] - other[None], axis=2)
                 for j, other in enumerate(patches) if itself or j != i]
        near = np.concatenate(apart, 1) if pooled else np.stack([one.min(1) for one in apart], 1)
        strange.append(over(np.sort(near, 1)[:, k - 1]))
    strange = np.array(strange)
    limit = middle(strange) + 6 * spread(strange)
    return [int(i) for i in by(strange) if strange[i] > limit]


def itself_too(patches, k):
    """A photo supports itself."""
    return _suspects(patches, k, itself=True)


def among_patches(patches, k):
    """The k-th nearest patch, whichever photos these are of."""
    return _suspects(patches, k, pooled=True)


def mean_patch(patches, k):
    """A photo is as strange as its patches on average."""
    return _suspects(patches, k, over=np.mean)


def mean_and_deviation(patches, k):
    """What a single outlier moves."""
    return _suspects(patches, k, middle=np.mean, spread=np.std)


def by_position(patches, k):
    """In the order of the photos, not of how strange they are."""
    return _suspects(patches, k, by=lambda x: range(len(x)))


def one_too_far(patches, k):
    """Counts from one where arrays count from zero."""
    return _suspects(patches, min(k + 1, len(patches) - 1))


MUTANTS = {
    "10.1": [upside_down, whole_pixels, never_enlarged],
    "10.2": [rounded_down, not_spread, one_too_many, without_overlap],
    "10.3": [left_open, whole_line, any_crossing, box, corners_twice],
    "10.4": [nearest_patches, from_zero, means, infinite],
    "10.5": [itself_too, among_patches, mean_patch, mean_and_deviation, by_position, one_too_far],
}
