"""Wrong answers to the exercises of lesson 06, which their checks must refuse."""

import torch


def _columns(values):
    return [torch.tensor(v).view(3, 1, 1) for v in values]


def applied_to_columns(images, mean, std, other_mean, other_std):
    """Lets the constants apply to the last axis, the columns."""
    mean, std, other_mean, other_std = map(torch.tensor, (mean, std, other_mean, other_std))
    return (images * std + mean - other_mean) / other_std


def not_undone(images, mean, std, other_mean, other_std):
    """Normalises once more without going back to pixels."""
    _, _, other_mean, other_std = _columns((mean, std, other_mean, other_std))
    return (images - other_mean) / other_std


def undone_in_wrong_order(images, mean, std, other_mean, other_std):
    """Adds the mean before it multiplies by the standard deviation."""
    mean, std, other_mean, other_std = _columns((mean, std, other_mean, other_std))
    return ((images + mean) * std - other_mean) / other_std


def other_way_round(images, mean, std, other_mean, other_std):
    """Goes from the second constants to the first."""
    mean, std, other_mean, other_std = _columns((mean, std, other_mean, other_std))
    return (images * other_std + other_mean - mean) / std


def first_colour_only(images, mean, std, other_mean, other_std):
    """Uses the constants of red for all colours."""
    return (images * std[0] + mean[0] - other_mean[0]) / other_std[0]


def reshaped_only(tokens, grid, prefix):
    """Reshapes without moving the width to the front."""
    return tokens[:, prefix:].reshape(len(tokens), -1, *grid)


def one_prefix(tokens, grid, prefix):
    """Drops one token whatever the network, and what is too much at the end."""
    return tokens[:, 1:1 + grid[0] * grid[1]].transpose(1, 2).reshape(len(tokens), -1, *grid)


def dropped_at_the_end(tokens, grid, prefix):
    """Drops tokens at the end instead of the beginning."""
    kept = tokens[:, :grid[0] * grid[1]]
    return kept.transpose(1, 2).reshape(len(tokens), -1, *grid)


def transposed(tokens, grid, prefix):
    """Fills columns first, so that the map is mirrored at its diagonal."""
    kept = tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, grid[1], grid[0])
    return kept.transpose(2, 3)


MUTANTS = {
    "06.1": [applied_to_columns, not_undone, undone_in_wrong_order, other_way_round,
             first_colour_only],
    "06.2": [reshaped_only, one_prefix, dropped_at_the_end, transposed],
}
