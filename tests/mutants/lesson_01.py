"""Plausible wrong answers to the exercises of lesson 01; the checker must refuse all of them."""

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


MUTANTS = {
    "01.1": [no_padding, rim_not_counted, reshaped_only, column_by_column, first_image_only,
             images_inside, always_three],
    "01.2": [stride_first, no_stride, whole_kernel, strides_added, swapped, this_backbone],
}
