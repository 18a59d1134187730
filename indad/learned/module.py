"""The fitted detector as a `torch.nn.Module`, in operations that every device and ONNX have."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..data.arguments import kind, takes
from ..data.images import ImageTransform
from ..errors import InputError
from .fitted import Fitted

SPLIT = 4096  # bank rows compared at a time: 16 MB of distances for an image of 1,024 patches

Describe = Callable[[Sequence[Tensor], Tensor | None], Tensor]
Score = Callable[..., tuple[Tensor, Tensor]]


class DetectorModule(nn.Module):
    """Pixels `(n, 3, h, w)`, RGB from 0 to 1 -> scores `(n,)` and maps `(n, h, w)`.

    Pixels are those of `ImageTransform.pixels`: resized and cropped, not yet normalised. Which of
    them a model with a region looks at is a second input, `(n, h, w)` bool, as
    `ImageTransform.inside` gives them; if it is left out, those of a square photo. The state
    dict holds the network, the bank and what belongs to them; another module of the same model
    takes it. Moves with `.to(device)`; with `.half()` the network and the bank are float16, while
    distances are float32 all the same.

    Args:
        extractor: images -> feature maps; it is copied.
        patch_features: feature maps -> patch features `(n, d, gh, gw)`.
        score: scaled patches `(n * p, d)`, the bank, its grid and the maps' size -> scores, maps.
        precision: of the bank.

    Example:
        >>> scores, maps = model.module()(torch.zeros(1, 3, 256, 256))
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    origin: Tensor
    bank: Tensor
    half_norms: Tensor

    @takes(precision=kind(torch.dtype, "torch.float32 or torch.float16"))
    def __init__(self, extractor: nn.Module, patch_features: Describe, score: Score,
                 fitted: Fitted, transform: ImageTransform, *,
                 precision: torch.dtype = torch.float32):
        super().__init__()
        self.extractor = copy.deepcopy(extractor)
        if (search := fitted.options.get("search", "exact")) != "exact":
            raise InputError(f"search is {search!r}, but a module and an export search exactly, "
                             "for which the thresholds are too high; fit with search='exact'")
        self.patch_features, self.score = patch_features, score
        # Distances do not change when both sides move; near the origin they lose fewer digits.
        origin = fitted.memory_bank.mean(0)
        bank = (fitted.memory_bank - origin).to(precision)
        inside = None if transform.tiles else transform.inside([transform.placement((256, 256))])
        self.region: Tensor | None
        self.register_buffer("region", inside)
        for name, tensor in (
                ("mean", torch.tensor(transform.mean).view(3, 1, 1).to(bank.device)),
                ("std", torch.tensor(transform.std).view(3, 1, 1).to(bank.device)),
                ("scale", fitted.feature_scale.clone()), ("origin", origin), ("bank", bank),
                ("half_norms", bank.float().square().sum(1) / 2)):
            self.register_buffer(name, tensor)
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if inside is None and self.region is not None:
            inside = self.region.expand(pixels.shape[0], -1, -1)
        images = (pixels.float() - self.mean.float()) / self.std.float()
        maps = [one.float() for one in self.extractor(images.to(self.mean.dtype))]
        features = self.patch_features(maps, inside)
        rows = features.permute(0, 2, 3, 1).flatten(0, 2) * self.scale.float() - self.origin.float()
        index = SplitIndex(self.bank.float(), self.half_norms.float())
        (down, across), (height, width) = features.shape[2:], pixels.shape[2:]
        return self.score(rows, index, (down, across), (height, width), inside=inside)

    def _apply(self, fn: Callable, recurse: bool = True) -> "DetectorModule":
        """Norms are sums: in half precision they are taken anew, of what the bank became."""
        super()._apply(fn, recurse)
        if self.half_norms.dtype != torch.float32:
            self.half_norms = self.bank.float().square().sum(1) / 2
        return self


class SplitIndex:
    """`MemoryIndex` in operations of ONNX, in bounded memory: the bank is searched in splits.

    |q - b|^2 / 2, less the part that is the same for all b, ranks the rows of a split by one
    product; the distances of the best are then taken by subtraction, as there.
    """

    def __init__(self, bank: Tensor, half_norms: Tensor):
        self.bank, self.half_norms = bank, half_norms

    def search(self, queries: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Distances `(n, k)`, ascending, and indices `(n, k)`."""
        costs, rows = [], []
        for start in range(0, self.bank.shape[0], SPLIT):
            bank, half_norms = (t[start:start + SPLIT] for t in (self.bank, self.half_norms))
            found = half_norms - queries @ bank.T
            cost, row = (found.min(1, keepdim=True) if k == 1 else
                         found.topk(min(k, bank.shape[0]), dim=1, largest=False))
            costs.append(cost)
            rows.append(row + start)
        best = torch.cat(costs, 1).topk(k, dim=1, largest=False).indices
        indices = torch.cat(rows, 1).gather(1, best)
        distances = torch.linalg.vector_norm(queries[:, None] - self.bank[indices], dim=2)
        distances, order = distances.topk(k, dim=1, largest=False)
        return distances, indices.gather(1, order)
