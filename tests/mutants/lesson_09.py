"""Wrong answers to the exercises of lesson 09, which their checks must refuse."""

import numpy as np
import torch


def absolute(scores, others, tolerance):
    """Takes the tolerance for a difference, not for a share."""
    return bool((np.abs(others - scores) <= tolerance).all())


def above_only(scores, others, tolerance):
    """Forgets that scores may be lower."""
    return bool((others - scores <= tolerance * scores).all())


def on_average(scores, others, tolerance):
    """Lets photos that agree make up for one that does not."""
    return bool(np.abs(others - scores).mean() <= tolerance * scores.mean())


def divided(scores, others, tolerance):
    """Divides by a score that may be 0."""
    with np.errstate(invalid="ignore"):
        return bool((np.abs(others - scores) / scores <= tolerance).all())


def one_dimension(photos, side, ratio, width, size):
    """Forgets that patches lie in rows and columns."""
    return round(photos * side * ratio) * width * size / 1e6


def in_mebibytes(photos, side, ratio, width, size):
    """1,048,576 bytes."""
    return round(photos * side ** 2 * ratio) * width * size / 2 ** 20


def not_rounded(photos, side, ratio, width, size):
    """Keeps a part of a patch."""
    return photos * side ** 2 * ratio * width * size / 1e6


def always_float32(photos, side, ratio, width, size):
    """Four bytes, whatever is asked."""
    return round(photos * side ** 2 * ratio) * width * 4 / 1e6


def not_centred(queries, bank):
    """Forgets that digits cancel far from the origin."""
    squares = (queries * queries).sum(1)[:, None] + (bank * bank).sum(1) - 2 * queries @ bank.T
    return squares.clamp_min(0).sqrt()


def squared(queries, bank):
    """Forgets the root."""
    queries, bank = queries - bank.mean(0), bank - bank.mean(0)
    return ((queries * queries).sum(1)[:, None] + (bank * bank).sum(1)
            - 2 * queries @ bank.T).clamp_min(0)


def each_by_its_own_mean(queries, bank):
    """Moves each set by its own mean, which changes distances."""
    queries, bank = queries - queries.mean(0), bank - bank.mean(0)
    squares = (queries * queries).sum(1)[:, None] + (bank * bank).sum(1) - 2 * queries @ bank.T
    return squares.clamp_min(0).sqrt()


def all_differences(queries, bank):
    """Makes a number for each pair and dimension."""
    return (queries[:, None] - bank).square().sum(2).sqrt()


def with_cdist(queries, bank):
    """Uses what was to be replaced."""
    return torch.cdist(queries, bank)


def in_a_loop(queries, bank):
    """Goes through the queries one by one."""
    return torch.stack([(bank - query).square().sum(1).sqrt() for query in queries])


def not_clamped(queries, bank):
    """Takes roots of squares that rounding left below zero."""
    queries, bank = queries - bank.mean(0), bank - bank.mean(0)
    squares = (queries * queries).sum(1)[:, None] + (bank * bank).sum(1) - 2 * queries @ bank.T
    return squares.sqrt()


def single_scores(scores, mean, std):
    """Looks at single scores: three standard deviations happen by chance."""
    return next((i for i, score in enumerate(scores) if score > mean + 3 * std), -1)


def never(scores, mean, std):
    """Raises no alarm at all."""
    return -1


def without_slack(scores, mean, std):
    """Adds up all that is above the mean, chance included."""
    total = 0.0
    for i, score in enumerate(scores):
        total = max(0.0, total + min((score - mean) / std, 3))
        if total > 10:
            return i
    return -1


def not_limited(scores, mean, std):
    """Lets a single defective part count in full."""
    total = 0.0
    for i, score in enumerate(scores):
        total = max(0.0, total + (score - mean) / std - 0.5)
        if total > 10:
            return i
    return -1


def not_standardised(scores, mean, std):
    """Forgets to divide by the standard deviation."""
    total = 0.0
    for i, score in enumerate(scores):
        total = max(0.0, total + min(score - mean, 3) - 0.5)
        if total > 10:
            return i
    return -1


def too_low_a_limit(scores, mean, std):
    """A limit that chance reaches within 500 photos."""
    total = 0.0
    for i, score in enumerate(scores):
        total = max(0.0, total + min((score - mean) / std, 3) - 0.5)
        if total > 3:
            return i
    return -1


MUTANTS = {
    "09.1": [absolute, above_only, on_average, divided],
    "09.2": [one_dimension, in_mebibytes, not_rounded, always_float32],
    "09.3": [not_centred, squared, each_by_its_own_mean, all_differences, with_cdist, in_a_loop,
             not_clamped],
    "09.4": [single_scores, never, without_slack, not_limited, not_standardised, too_low_a_limit],
}
