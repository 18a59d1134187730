"""Wrong answers to the exercises of lesson 04, which their checks must refuse."""

import numpy as np


def ties_count_nothing(scores, labels):
    """A tie counts as a wrong order."""
    good, defective = np.sort(scores[labels == 0]), scores[labels == 1]
    return np.searchsorted(good, defective, side="left").mean() / len(good)


def ties_count_whole(scores, labels):
    """A tie counts as a right order."""
    good, defective = np.sort(scores[labels == 0]), scores[labels == 1]
    return np.searchsorted(good, defective, side="right").mean() / len(good)


def upside_down(scores, labels):
    """Low scores taken for anomalous."""
    good, defective = scores[labels == 0][None], scores[labels == 1][:, None]
    return np.mean((defective < good) + 0.5 * (defective == good))


def good_not_sorted(scores, labels):
    """searchsorted on scores that are not in order."""
    good, defective = scores[labels == 0], scores[labels == 1]
    below = np.searchsorted(good, defective, side="left")
    return (below + np.searchsorted(good, defective, side="right")).mean() / 2 / len(good)


def order_of_argsort(scores, labels):
    """Ranks without ties: whoever comes first in the array ranks lower."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    positives = labels.sum()
    wins = ranks[labels == 1].sum() - positives * (positives + 1) / 2
    return wins / (positives * (len(labels) - positives))


def always_one(scores, labels):
    """The answer to the first case."""
    return 1.0


def limit_not_divided(sizes, found_at, limit=0.3):
    """The area, not divided by the limit."""
    sizes, found_at = np.asarray(sizes, float), np.asarray(found_at, float)
    return np.sum(sizes * (1 - found_at)) / sizes.sum(), np.mean(np.maximum(limit - found_at, 0))


def negative_areas(sizes, found_at, limit=0.3):
    """Defects found past the limit count below nothing."""
    sizes, found_at = np.asarray(sizes, float), np.asarray(found_at, float)
    return np.sum(sizes * (1 - found_at)) / sizes.sum(), np.mean(limit - found_at) / limit


def both_by_area(sizes, found_at, limit=0.3):
    """AUPRO weighed by pixels."""
    sizes, found_at = np.asarray(sizes, float), np.asarray(found_at, float)
    weights = sizes / sizes.sum()
    return (np.sum(weights * (1 - found_at)),
            np.sum(weights * np.maximum(limit - found_at, 0)) / limit)


def both_alike(sizes, found_at, limit=0.3):
    """Pixel AUROC with each defect alike."""
    found_at = np.asarray(found_at, float)
    return np.mean(1 - found_at), np.mean(np.maximum(limit - found_at, 0)) / limit


def swapped(sizes, found_at, limit=0.3):
    """The two metrics in the wrong order."""
    sizes, found_at = np.asarray(sizes, float), np.asarray(found_at, float)
    return (np.mean(np.maximum(limit - found_at, 0)) / limit,
            np.sum(sizes * (1 - found_at)) / sizes.sum())


def fixed_limit(sizes, found_at, limit=0.3):
    """The limit is ignored."""
    sizes, found_at = np.asarray(sizes, float), np.asarray(found_at, float)
    return (np.sum(sizes * (1 - found_at)) / sizes.sum(),
            np.mean(np.maximum(0.3 - found_at, 0)) / 0.3)


MUTANTS = {
    "04.1": [ties_count_nothing, ties_count_whole, upside_down, good_not_sorted, order_of_argsort,
             always_one],
    "04.2": [limit_not_divided, negative_areas, both_by_area, both_alike, swapped, fixed_limit],
}
