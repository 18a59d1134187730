"""Random weights in a tenth of the time: out of a pool of numbers that is drawn once.

For tests that build many networks and do not care which numbers they hold. Where the numbers begin
follows torch's seed, so that the same seed still gives the same network, and another one another.
"""

import torch
from torch.overrides import TorchFunctionMode

from indad.backbones.weights import DRAWS

HALF = 1_000_003
POOL = torch.randn(HALF, generator=torch.Generator().manual_seed(0)).repeat(2)


class Pooled(TorchFunctionMode):
    """While this is on, networks begin with numbers of about the usual size."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        tensor = arguments[0] if arguments else named.get("tensor")
        # Without memory there is nothing to be drawn, and of a vector it takes no time.
        if function not in DRAWS or tensor.ndim < 2 or tensor.is_meta:
            return function(*arguments, **named)
        if function is torch.Tensor.erfinv_:  # the last step of a draw that was begun
            return tensor
        place, count = int(torch.randint(HALF, ())), tensor.numel()
        drawn = POOL[place:place + HALF].repeat(count // HALF + 1)[:count].view(tensor.shape)
        return tensor.detach().copy_(drawn).mul_(tensor[0].numel() ** -0.5)
