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


MUTANTS = {
    "00.1": [counts_labels, forgets_good, counts_once, lists_types],
    "00.2": [lowest, largest_by_size, one_too_many, the_scores],
}
