"""Wrong answers to the exercises of lesson 00."""

import numpy as np


def counts_labels(items):
    """Counts good and defective instead of each type."""
    good = sum(item.defect_type == "good" for item in items)
    return {"good": good, "defective": len(items) - good}


def forgets_good(items):
    """Leaves the good images out."""
    kinds = {item.defect_type for item in items if item.defect_type != "good"}
    return {kind: sum(item.defect_type == kind for item in items) for kind in kinds}


def counts_once(items):
    """Sets each entry to one and never adds."""
    return {item.defect_type: 1 for item in items}


def lists_types(items):
    """Returns the types without their counts."""
    return sorted({item.defect_type for item in items})


def lowest(scores, k):
    """Takes the smallest scores."""
    return set(np.argsort(scores)[:k].tolist())


def largest_by_size(scores, k):
    """Takes what is farthest from zero."""
    return set(np.argsort(np.abs(scores))[-k:].tolist())


def one_too_many(scores, k):
    """Off by one."""
    return set(np.argsort(scores)[-k - 1:].tolist())


def the_scores(scores, k):
    """Returns the scores, not their positions."""
    return set(np.sort(scores)[-k:].tolist())


def of_images(good, bad):
    """Divides by the number of images."""
    return sum(b > g for b in bad for g in good) / (len(good) + len(bad))


def other_way(good, bad):
    """Counts good above defective."""
    return float((np.asarray(good)[:, None] > bad).mean())


def side_by_side(good, bad):
    """Compares the first with the first, and so on."""
    return float(np.mean([b > g for b, g in zip(bad, good, strict=False)]))


def above_all(good, bad):
    """Counts defective images above every good one."""
    return float((bad > good.max()).mean())


def means_only(good, bad):
    """Compares the means."""
    return float(bad.mean() > good.mean())


def equal_is_called(scores, labels, threshold):
    """Calls an image defective that equals the threshold."""
    called = scores >= threshold
    return int((called & (labels == 0)).sum()), int((~called & (labels == 1)).sum())


def missed_first(scores, labels, threshold):
    """Returns the two counts the other way round."""
    called = scores > threshold
    return int((~called & (labels == 1)).sum()), int((called & (labels == 0)).sum())


def all_called(scores, labels, threshold):
    """Counts every alarm as a false one."""
    called = scores > threshold
    return int(called.sum()), int((~called & (labels == 1)).sum())


def shares(scores, labels, threshold):
    """Returns shares of the good and of the defective images."""
    called = scores > threshold
    return (float(called[labels == 0].mean()) if (labels == 0).any() else 0.0,
            float((~called)[labels == 1].mean()) if (labels == 1).any() else 0.0)


def mean_of_pixels(good, images):
    """One mean and one deviation for all pixels."""
    odd = np.abs(images - good.mean()) / (good.std() + 0.05)
    return odd.max(axis=(1, 2))


def no_deviation(good, images):
    """Forgets to divide."""
    return np.abs(images - good.mean(axis=0)).max(axis=(1, 2))


def brighter_only(good, images):
    """Forgets that darker is odd, too."""
    return ((images - good.mean(axis=0)) / (good.std(axis=0) + 0.05)).max(axis=(1, 2))


def mean_of_odd(good, images):
    """The mean instead of the oddest pixel."""
    odd = np.abs(images - good.mean(axis=0)) / (good.std(axis=0) + 0.05)
    return odd.mean(axis=(1, 2))


def of_all_images(good, images):
    """The oddest pixel of all images, not of each."""
    odd = np.abs(images - good.mean(axis=0)) / (good.std(axis=0) + 0.05)
    return odd.max()


def nothing_added(good, images):
    """Divides by zero where pixels never change."""
    with np.errstate(divide="ignore", invalid="ignore"):
        odd = np.abs(images - good.mean(axis=0)) / good.std(axis=0)
    return odd.max(axis=(1, 2))


MUTANTS = {
    "00.1": [counts_labels, forgets_good, counts_once, lists_types],
    "00.2": [lowest, largest_by_size, one_too_many, the_scores],
    "00.3": [of_images, other_way, side_by_side, above_all, means_only],
    "00.4": [equal_is_called, missed_first, all_called, shares],
    "00.5": [mean_of_pixels, no_deviation, brighter_only, mean_of_odd, of_all_images,
             nothing_added],
}
