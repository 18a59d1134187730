"""Wrong answers to the exercises of lesson 06, which their checks must refuse."""

import torch
from torch.nn import functional


def licence_alone(rows, licences, most_mb):
    """However large."""
    return [row["name"] for row in rows if row["licence"] in licences]


def either(rows, licences, most_mb):
    """One of the two conditions is enough."""
    return [row["name"] for row in rows
            if row["licence"] in licences or row["weights_mb"] <= most_mb]


def smaller_only(rows, licences, most_mb):
    """The size itself is refused."""
    return [row["name"] for row in rows
            if row["licence"] in licences and row["weights_mb"] < most_mb]


def whole_rows(rows, licences, most_mb):
    """Rows instead of names."""
    return [row for row in rows if row["licence"] in licences and row["weights_mb"] <= most_mb]


def rounded_up(pixels, steps):
    """As if a kernel might stick out."""
    total = 1
    for kernel, stride, padding in steps:
        pixels, total = -((pixels + 2 * padding - kernel) // -stride) + 1, total * stride
    return pixels, total


def one_padding(pixels, steps):
    """Padding on one side only."""
    total = 1
    for kernel, stride, padding in steps:
        pixels, total = (pixels + padding - kernel) // stride + 1, total * stride
    return pixels, total


def divided(pixels, steps):
    """Pixels by stride, whatever the kernel."""
    total = 1
    for _, stride, _ in steps:
        total *= stride
    return pixels // total, total


def strides_added(pixels, steps):
    """Strides that add up."""
    places, _ = grid(pixels, steps)
    return places, sum(stride for _, stride, _ in steps)


def grid(pixels, steps):
    """Right, but for what the mutants make of it."""
    total = 1
    for kernel, stride, padding in steps:
        pixels, total = (pixels + 2 * padding - kernel) // stride + 1, total * stride
    return pixels, total


def stride_first(pixels, steps):
    """The two in the wrong order."""
    return grid(pixels, steps)[::-1]


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


def _blurred(maps, mode="reflect"):
    p = functional.pad(maps, (1, 1, 1, 1), mode=mode)
    p = (p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4
    return (p[..., :-2, :] + 2 * p[..., 1:-1, :] + p[..., 2:, :]) / 4


def dropped_alone(maps):
    """No blur."""
    return maps[..., ::2, ::2]


def blurred_afterwards(maps):
    """Drops first: what was between is lost."""
    return _blurred(maps[..., ::2, ::2])


def black_beyond(maps):
    """Zero beyond the edge: the rim gets dark."""
    return _blurred(maps, "constant")[..., ::2, ::2]


def edge_repeated(maps):
    """The edge itself is repeated."""
    return _blurred(maps, "replicate")[..., ::2, ::2]


def plain_mean(maps):
    """Nine equal weights."""
    p = functional.pad(maps, (1, 1, 1, 1), mode="reflect")
    return functional.avg_pool2d(p, 3, stride=2)


def from_the_second(maps):
    """Every second place from the second on."""
    return _blurred(maps)[..., 1::2, 1::2]


def one_direction(maps):
    """Blurs along rows only."""
    p = functional.pad(maps, (1, 1, 0, 0), mode="reflect")
    return ((p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4)[..., ::2, ::2]


def rest_counts(widths, patches, budget):
    """Rounds up: more numbers than there is room for."""
    return {name: max(1, min(-(budget // -width), patches[name]))
            for name, width in widths.items()}


def more_than_there_are(widths, patches, budget):
    """Remembers patches that nobody has."""
    return {name: max(1, budget // width) for name, width in widths.items()}


def none_at_all(widths, patches, budget):
    """An empty bank where a patch is too wide."""
    return {name: min(budget // width, patches[name]) for name, width in widths.items()}


def shared_out(widths, patches, budget):
    """The budget divided among the networks."""
    return {name: max(1, min(budget // len(widths) // width, patches[name]))
            for name, width in widths.items()}


def as_shares(widths, patches, budget):
    """Shares instead of numbers of patches."""
    return {name: max(1, min(budget // width, patches[name])) / patches[name]
            for name, width in widths.items()}


MUTANTS = {
    "06.1": [licence_alone, either, smaller_only, whole_rows],
    "06.2": [applied_to_columns, not_undone, undone_in_wrong_order, other_way_round,
             first_colour_only],
    "06.3": [rounded_up, one_padding, divided, strides_added, stride_first],
    "06.4": [reshaped_only, one_prefix, dropped_at_the_end, transposed],
    "06.5": [dropped_alone, blurred_afterwards, black_beyond, edge_repeated, plain_mean,
             from_the_second, one_direction],
    "06.6": [rest_counts, more_than_there_are, none_at_all, shared_out, as_shares],
}
