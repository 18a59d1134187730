"""A frozen network as PatchCore sees it: images in, feature maps out."""

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.fused import fold_batch_norms, pad_kernels

if TYPE_CHECKING:
    from timm.models._features import FeatureInfo


def feature_info(network: nn.Module) -> "FeatureInfo":
    """What timm says about the feature maps of a network that gives some."""
    # A cast, because torch declares every attribute of a module a tensor or a module.
    return cast("FeatureInfo", network.feature_info)


class FeatureExtractor(nn.Module):
    """Images `(b, 3, h, w)` -> a list of feature maps `(b, c_i, h_i, w_i)`, shallowest first."""

    def __init__(self, network: nn.Module, name: str, size: tuple[int, int] = (64, 64)):
        super().__init__()
        self.network, self.name = pad_kernels(fold_batch_norms(network, size)), name
        self.channels: list[int] = feature_info(network).channels()
        self.strides: list[int] = feature_info(network).reduction()
        # Some of timm's transformers hand out maps with the channels last.
        self._channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        # Channels-last halves the time of depthwise convolutions on a CPU.
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network(images.contiguous(memory_format=torch.channels_last))
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps


class Ensemble(nn.Module):
    """Several extractors as one: the maps of all, from the finest stride to the coarsest.

    Images come normalised with the first member's statistics, `(mean, std)`; each other member
    gets them with its own, which takes one affine map a channel, and at its own size, a multiple of
    theirs. The map that comes first gives the grid: of equal strides, the first member's.
    """

    scales: Tensor
    shifts: Tensor

    def __init__(self, members: list[FeatureExtractor], statistics: list[tuple],
                 sizes: list[float]):
        super().__init__()
        self.members, self.sizes = nn.ModuleList(members), sizes
        self.name = "+".join(member.name for member in members)
        statistics = [(torch.tensor(mean), torch.tensor(std)) for mean, std in statistics]
        mean, std = statistics[0]
        self.register_buffer("scales", torch.stack([std / s for _, s in statistics]))
        self.register_buffer("shifts", torch.stack([(mean - m) / s for m, s in statistics]))
        strides = [stride for member in members for stride in member.strides]
        self._order = sorted(range(len(strides)), key=strides.__getitem__)
        self.strides: list[int] = [strides[i] for i in self._order]
        channels = [width for member in members for width in member.channels]
        self.channels: list[int] = [channels[i] for i in self._order]
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for member, size, scale, shift in zip(self.members, self.sizes, self.scales, self.shifts,
                                              strict=True):
            seen = images if size == 1 else F.interpolate(
                images, scale_factor=size, mode="bilinear", antialias=size < 1)
            maps += member(seen * scale[:, None, None] + shift[:, None, None])
        return [maps[i] for i in self._order]
