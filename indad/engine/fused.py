"""A network that is never trained again computes faster: the same numbers from less work."""

import copy
from itertools import pairwise
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batch_norms(network: nn.Module, size: tuple[int, int] = (64, 64)) -> nn.Module:
    """Merge each frozen batch norm into the convolution before it: a third of the time on a CPU.

    A convolution and the norm that follows it among the children of one module are taken for a
    pair. As this says nothing about how data flows, a trial image must come out the same; a
    network for which it does not is returned unchanged. `size` (h, w) is one that the network
    takes, should a small trial image not do.
    """
    network = network.eval()
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    folded = copy.deepcopy(network)
    for parent in list(folded.modules()):
        for (_, convolution), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None  # frozen
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
                    norm.eps, norm.weight, norm.bias)
                # timm's norms carry their activation with them.
                setattr(parent, norm_name, getattr(norm, "act", nn.Identity()))
    try:
        same = _agree(network, folded, (64, 64))
    except (AssertionError, RuntimeError, ValueError):  # too small for it
        same = _agree(network, folded, size)
    return folded if same else network


def _agree(network: nn.Module, other: nn.Module, size: tuple[int, int]) -> bool:
    trial = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.std()))
                   for a, b in zip(network(trial), other(trial), strict=True))


class SameConvolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding that pads its kernel instead of its maps.

    That padding puts an odd pixel to the right and below, which torch does by copying the maps: a
    sixth of EfficientNet-Lite0's time. A kernel with one more row of zeros above, one more column
    on its left, and as much padding on either side gives the same numbers, to the bit. On a GPU the
    copy costs less than a kernel of an even size: there it is made.

    With `divides` the sides of all maps are multiples of the stride, so that padding does not
    depend on them: for an export that leaves them free.
    """

    divides = False

    @classmethod
    def like(cls, convolution: nn.Conv2d) -> "SameConvolution":
        """One that computes what timm's `Conv2dSame` does, with the very same parameters."""
        (height, width), (down, right) = convolution.kernel_size, convolution.stride
        same = cls(convolution.in_channels, convolution.out_channels, (height, width),
                   (down, right), groups=convolution.groups, bias=convolution.bias is not None,
                   device="meta")  # its own parameters, which are dropped, take and draw nothing
        same.weight, same.bias = convolution.weight, convolution.bias
        return same.train(convolution.training)

    def forward(self, maps: Tensor) -> Tensor:
        missing = [max(kernel - (stride if self.divides else side % stride or stride), 0)
                   for kernel, stride, side in zip(self.weight.shape[2:], self.stride,
                                                   maps.shape[2:], strict=True)]
        if maps.device.type != "cpu":
            before = [count // 2 for count in missing]
            sides = (before[1], missing[1] - before[1], before[0], missing[0] - before[0])
            return F.conv2d(F.pad(maps, sides), self.weight, self.bias, self.stride, 0, 1,
                            self.groups)
        odd = [count % 2 for count in missing]
        weight = F.pad(self.weight, (odd[1], 0, odd[0], 0))
        padding = [count // 2 + one for count, one in zip(missing, odd, strict=True)]
        return F.conv2d(maps, weight, self.bias, self.stride, padding, 1, self.groups)


def pad_kernels(network: nn.Module) -> nn.Module:
    """Replace timm's convolutions with "same" padding by `SameConvolution`.

    In place, and the network comes back; unless it is such a convolution itself.
    """
    if _can_pad_kernel(network):
        return SameConvolution.like(network)
    for parent in list(network.modules()):  # a list, as they are replaced on the way
        for name, module in list(parent.named_children()):
            if _can_pad_kernel(module):
                setattr(parent, name, SameConvolution.like(module))
    return network


def _can_pad_kernel(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    # Exactly this class: those made from it may compute something else. By its name, because
    # importing it takes seconds, and where nobody has imported it there is no such convolution.
    made = type(module)
    return ((made.__module__.partition(".")[0], made.__name__) == ("timm", "Conv2dSame")
            and isinstance(module, nn.Conv2d) and module.dilation == (1, 1))
