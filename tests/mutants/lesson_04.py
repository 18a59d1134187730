"""Wrong answers to the exercises of lesson 04, which their checks must refuse."""

import math

import numpy as np


def right_pairs(good, defective):
    """Pairs in the right order."""
    return sum(g < d for d in defective for g in good)


def ties_are_wrong(good, defective):
    """A tie counts as a wrong order."""
    return sum(g >= d for d in defective for g in good)


def share_of_wrong(good, defective):
    """A share instead of a count."""
    return np.mean([g > d for d in defective for g in good])


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


def _interval(scores, labels, draws, *, percents=(2.5, 97.5), seed=0):
    bad, good = scores[labels == 1][:, None], scores[labels == 0][None, :]
    table = (bad > good) + 0.5 * (bad == good)
    m, n = table.shape
    generator = np.random.default_rng(seed)
    values = [table[generator.integers(0, m, m)][:, generator.integers(0, n, n)].mean()
              for _ in range(draws)]
    silent = np.ptp(values) < 1e-12
    return (math.nan, math.nan) if silent else tuple(np.percentile(values, percents))


def sure_of_the_perfect(scores, labels, draws):
    """1 to 1 where every draw says the same."""
    low, high = _interval(scores, labels, draws)
    return (1.0, 1.0) if math.isnan(low) else (low, high)


def ninety(scores, labels, draws):
    """The middle 90 %."""
    return _interval(scores, labels, draws, percents=(5, 95))


def pairs_alone(scores, labels, draws):
    """Pairs drawn as if they were independent."""
    bad, good = scores[labels == 1][:, None], scores[labels == 0][None, :]
    table = ((bad > good) + 0.5 * (bad == good)).ravel()
    generator = np.random.default_rng(0)
    values = [generator.choice(table, len(table)).mean() for _ in range(draws)]
    return (math.nan, math.nan) if np.ptp(values) < 1e-12 else tuple(
        np.percentile(values, [2.5, 97.5]))


def without_replacement(scores, labels, draws):
    """Shuffles: every draw has the same images."""
    return math.nan, math.nan


def silence_at_one_only(scores, labels, draws):
    """Knows the perfect score, and no other that never moves."""
    low, high = _interval(scores, labels, draws)
    if not math.isnan(low):
        return low, high
    middle = float(ties_count_whole(scores, labels))
    half = (middle + float(ties_count_nothing(scores, labels))) / 2
    return (math.nan, math.nan) if half == 1 else (half, half)


def strictly_above(scores, labels, threshold):
    """What is at the threshold is not flagged."""
    return _precision_recall(scores > threshold, labels)


def _precision_recall(flagged, labels):
    hits = np.sum(flagged & (labels == 1))
    return (hits / flagged.sum() if flagged.any() else math.nan), hits / np.sum(labels == 1)


def recall_first(scores, labels, threshold):
    """The two in the wrong order."""
    return _precision_recall(scores >= threshold, labels)[::-1]


def perfect_when_silent(scores, labels, threshold):
    """Precision 1 where nothing is flagged."""
    precision, recall = _precision_recall(scores >= threshold, labels)
    return (1.0 if math.isnan(precision) else precision), recall


def accuracy(scores, labels, threshold):
    """Right verdicts taken for precision."""
    flagged = scores >= threshold
    return np.mean(flagged == labels), _precision_recall(flagged, labels)[1]


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


def _leaks(train, test, limit, *, views, centred=True):
    def ready(images):
        images = np.asarray(images, float)
        return images - images.mean((1, 2), keepdims=True) if centred else images

    train = ready(train)
    return {place for place, image in enumerate(ready(test))
            if any(np.abs(train - view).mean((1, 2)).min() < limit for view in views(image))}


def _eight(image):
    return [np.rot90(one, k) for one in (image, image[:, ::-1]) for k in range(4)]


def exact_copies(train, test, limit):
    """Finds what is the same to the pixel."""
    return {place for place, image in enumerate(test) if (train == image).all((1, 2)).any()}


def never_mirrored(train, test, limit):
    """Turns, and no mirroring."""
    return _leaks(train, test, limit, views=lambda image: _eight(image)[:4])


def never_turned(train, test, limit):
    """The image and its mirrored ones."""
    return _leaks(train, test, limit, views=lambda image: [image, image[:, ::-1], image[::-1]])


def same_light_only(train, test, limit):
    """The means are not subtracted."""
    return _leaks(train, test, limit, views=_eight, centred=False)


def wraps_around(train, test, limit):
    """Differences of uint8."""
    return {place for place, image in enumerate(test)
            if any(np.abs(train - view).mean((1, 2)).min() < limit for view in _eight(image))}


def within_the_test_set(train, test, limit):
    """Takes images that are twice in the test set for leaks."""
    found = _leaks(train, test, limit, views=_eight)
    return found | {i for i, one in enumerate(test) for j, other in enumerate(test)
                    if i != j and (one == other).all()}


def as_a_list(train, test, limit):
    """Flags instead of positions."""
    found = _leaks(train, test, limit, views=_eight)
    return [place in found for place in range(len(test))]


MUTANTS = {
    "04.1": [right_pairs, ties_are_wrong, share_of_wrong],
    "04.2": [ties_count_nothing, ties_count_whole, upside_down, good_not_sorted, order_of_argsort,
             always_one],
    "04.3": [sure_of_the_perfect, ninety, pairs_alone, without_replacement, silence_at_one_only],
    "04.4": [strictly_above, recall_first, perfect_when_silent, accuracy],
    "04.5": [limit_not_divided, negative_areas, both_by_area, both_alike, swapped, fixed_limit],
    "04.6": [exact_copies, never_mirrored, never_turned, same_light_only, wraps_around,
             within_the_test_set, as_a_list],
}
