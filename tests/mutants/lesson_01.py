"""Plausible wrong answers to the exercises of lesson 01; the checker must refuse all of them."""

import torch
import torch.nn.functional as F


def no_padding(feature_map, k):
    """Loses a rim of cells."""
    return F.avg_pool2d(feature_map, k, stride=1).permute(0, 2, 3, 1).flatten(0, 2)


def rim_not_counted(feature_map, k):
    """Divides by the cells inside the picture instead of k * k."""
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2, count_include_pad=False)
    return pooled.permute(0, 2, 3, 1).flatten(0, 2)


def reshaped_only(feature_map, k):
    """Forgets to bring the channels to the end."""
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2)
    return pooled.reshape(-1, feature_map.shape[1])


def column_by_column(feature_map, k):
    """Walks through the grid in the wrong direction."""
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2)
    return pooled.permute(0, 3, 2, 1).flatten(0, 2)


def first_image_only(feature_map, k):
    """Written for a batch of one."""
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2)
    return pooled[0].permute(1, 2, 0).flatten(0, 1)


def images_inside(feature_map, k):
    """Image by image inside a place, instead of place by place inside an image."""
    pooled = F.avg_pool2d(feature_map, k, stride=1, padding=k // 2)
    return pooled.permute(2, 3, 0, 1).flatten(0, 2)


def always_three(feature_map, k):
    """Ignores k."""
    return F.avg_pool2d(feature_map, 3, 1, 1).permute(0, 2, 3, 1).flatten(0, 2)


def stride_first(steps):
    """Takes a step's own stride for the gaps that it reaches over."""
    field, stride = 1, 1
    for kernel, step in steps:
        stride *= step
        field += (kernel - 1) * stride
    return field, stride


def no_stride(steps):
    """Adds kernels as if cells were always neighbouring pixels."""
    stride = 1
    for _, step in steps:
        stride *= step
    return 1 + sum(kernel - 1 for kernel, _ in steps), stride


def whole_kernel(steps):
    """Adds k instead of k - 1."""
    field, stride = 1, 1
    for kernel, step in steps:
        field += kernel * stride
        stride *= step
    return field, stride


def strides_added(steps):
    """Adds strides, which multiply."""
    field, stride = 1, 1
    for kernel, step in steps:
        field += (kernel - 1) * stride
        stride += step - 1
    return field, stride


def swapped(steps):
    """Returns stride and field."""
    field, stride = 1, 1
    for kernel, step in steps:
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def this_backbone(steps):
    """Returns what was printed above."""
    return 67, 8


def one_side(height, width, stride):
    """Takes every grid for a square one."""
    return (height // stride) ** 2


def area_by_stride(height, width, stride):
    """Divides the pixels by the stride once."""
    return height * width // stride


def cells_of_a_side(height, width, stride):
    """Counts one side only."""
    return height // stride


def as_a_pair(height, width, stride):
    """Returns both sides."""
    return height // stride, width // stride


def _stretched(maps, **how):
    return [F.interpolate(one, maps[0].shape[-2:], **how) for one in maps]


def nearest_cell(maps):
    """Repeats cells instead of passing between them."""
    return torch.cat(_stretched(maps, mode="nearest"), 1)


def corners_aligned(maps):
    """Lays corner on corner, which shifts all that is between."""
    return torch.cat(_stretched(maps, mode="bilinear", align_corners=True), 1)


def onto_the_last(maps):
    """Shrinks all to the coarsest grid."""
    return torch.cat(_stretched(maps[::-1], mode="bilinear")[::-1], 1)


def deepest_first(maps):
    """Joins in the other order."""
    return torch.cat(_stretched(maps, mode="bilinear")[::-1], 1)


def joined_as_images(maps):
    """Joins along the images where channels allow it, else sums."""
    same = _stretched(maps, mode="bilinear")
    return torch.cat(same, 0) if len({one.shape[1] for one in same}) == 1 else same[0]


def summed(maps):
    """Adds the means of the maps up."""
    return sum(one.mean(1, keepdim=True) for one in _stretched(maps, mode="bilinear"))


def by_height(row, h, w):
    """Divides by the height, which is right for square grids only."""
    image, place = divmod(row, h * w)
    return image, *divmod(place, h)


def x_first(row, h, w):
    """Returns the column before the line."""
    image, place = divmod(row, h * w)
    return image, place % w, place // w


def place_by_place(row, h, w):
    """As if all images came at each place."""
    return row % (h * w), row // (h * w) // w, row // (h * w) % w


def line_of_all(row, h, w):
    """Counts lines through all images."""
    return row // (h * w), row // w, row % w


MUTANTS = {
    "01.1": [one_side, area_by_stride, cells_of_a_side, as_a_pair],
    "01.2": [stride_first, no_stride, whole_kernel, strides_added, swapped, this_backbone],
    "01.3": [nearest_cell, corners_aligned, onto_the_last, deepest_first, joined_as_images, summed],
    "01.4": [by_height, x_first, place_by_place, line_of_all],
    "01.5": [no_padding, rim_not_counted, reshaped_only, column_by_column, first_image_only,
             images_inside, always_three],
}
