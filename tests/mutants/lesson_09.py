"""Wrong answers to the exercises of lesson 09, which their checks must refuse."""

import torch


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
    "09.1": [not_centred, squared, each_by_its_own_mean, all_differences, with_cdist, in_a_loop,
             not_clamped],
    "09.2": [single_scores, never, without_slack, not_limited, not_standardised, too_low_a_limit],
}
