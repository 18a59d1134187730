"""From images to patch features: what PatchCore remembers about each place in a picture.

    images -> frozen network -> feature maps, balanced -> patch features, one row a place

Each image's maps are brought to one variance first, as light and contrast shrink or stretch them
(`balanced`). How maps become patch features is a function `(maps) -> (b, d, h, w)` on the grid of
the first map: `weighted`, `unfolded` and `single` (ours), `concatenate` (anomalib, and the plain
reading of the paper), and what other projects do, in engine/published_features.py. All but `tokens`
are linear, so pooling and resizing commute, and only `unfolded` has to build the nine-fold tensor
that the reference implementation builds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones.loading import load_backbone
from .data.augmentation import augmented, views_per_image
from .data.images import ImageTransform
from .data.levels import Levels
from .data.reference import learn_reference, wanted
from .data.region import Region
from .data.registration import Reference
from .data.survey import count_frames, levels_of
from .data.tiles import tiling
from .engine.batches import to_device
from .engine.extraction import PatchFeatures, describe_images, gather
from .engine.looking import Look, look_of
from .engine.machine import pick_device
from .engine.precision import AUTOCAST, products
from .engine.provenance import kept
from .engine.published_features import adaptive, to_first_grid, tokens, unpadded
from .engine.scaling import layer_scales, variances
from .engine.threads import has_hooks, in_threads, let_forks_compute
from .errors import Progress

__all__ = ["PATCH_FEATURES", "PatchNetwork", "adaptive", "as_rows", "balanced", "concatenate",
           "layer_scales", "load_network", "patch_features", "single", "tokens", "unfolded",
           "unpadded", "weighted"]


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Average 3x3 neighbourhoods, resize deeper maps to the first one's grid, concatenate.

    Maps `(b, c_i, h_i, w_i)` -> `(b, sum of c_i, h_0, w_0)`. Zero padding counts in the mean, as
    in `AvgPool2d(3, 1, 1)` of anomalib's `torch_model.py`.
    """
    return torch.cat(to_first_grid([F.avg_pool2d(m, 3, stride=1, padding=1) for m in maps]), 1)


def weighted(maps: Sequence[Tensor]) -> Tensor:
    """Like `concatenate`, but in the 3x3 neighbourhood the centre counts 4, sides 2, corners 1.

    Shapes as there. The plain average spreads a small defect over nine patches; with binomial
    weights it stays sharper, at the same context.
    """
    side = torch.tensor([1.0, 2.0, 1.0]) / 4
    pooled = [F.conv2d(m, (side[:, None] * side).to(m).expand(m.shape[1], 1, 3, 3), padding=1,
                       groups=m.shape[1]) for m in maps]
    return torch.cat(to_first_grid(pooled), 1)


def unfolded(maps: Sequence[Tensor]) -> Tensor:
    """Keep the 3x3 neighbourhood as it lies: nine times the numbers, no average.

    Maps `(b, c_i, h_i, w_i)` -> `(b, 9 * sum of c_i, h_0, w_0)`, zero beyond the edge. Tells
    apart what an average cannot, an edge left from an edge right, at nine times the cost.
    """
    return torch.cat(to_first_grid([F.unfold(m, 3, padding=1).unflatten(2, m.shape[-2:])
                                     for m in maps]), 1)


def single(maps: Sequence[Tensor]) -> Tensor:
    """Each place by itself, no neighbourhood: what one would do without the paper.

    Maps `(b, c_i, h_i, w_i)` -> `(b, sum of c_i, h_0, w_0)`.
    """
    return torch.cat(to_first_grid(maps), 1)


PATCH_FEATURES: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "weighted": weighted, "concatenate": concatenate, "unfolded": unfolded, "adaptive": adaptive,
    "unpadded": unpadded, "single": single, "tokens": tokens,
}


def balanced(maps: Sequence[Tensor], inside: Tensor | None = None) -> list[Tensor]:
    """Divide each map of each image by its standard deviation over the places: less light or
    contrast shrinks a photo's maps, and with them the distance that a defect makes.

    Maps `(b, c_i, h_i, w_i)` -> the same shapes, and for each image `(c_i, h_i, w_i)` a total
    variance of 1. The means stay. What `layer_scales` does for a set, done for an image. With the
    pixels `inside` a region, `(b, h, w)` bool, places without any of them do not count.
    """
    deviations = [variances(m, inside).sum(1, keepdim=True).sqrt() for m in maps]
    return [m / one.clamp_min(1e-6) for m, one in zip(maps, deviations, strict=True)]


def patch_features(maps: Sequence[Tensor], inside: Tensor | None = None, *, how: str,
                   balance_images: bool) -> Tensor:
    """Feature maps -> patch features `(b, d, gh, gw)`, not yet scaled; `how` names them."""
    return PATCH_FEATURES[how](balanced(maps, inside) if balance_images else maps)


def as_rows(features: Tensor) -> Tensor:
    """`(b, d, h, w)` -> `(b * h * w, d)`: one row a patch, image by image, row by row."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


@dataclass(frozen=True)
class PatchNetwork:
    """Images in, patch features out: a frozen network, and all that belongs to it.

    Attributes:
        extractor: images `(b, 3, h, w)` -> feature maps; of `channels` numbers each.
        transform: what makes a picture an image for it.
        describe_maps: feature maps -> patch features, `patch_features` with all its options.
        precision: a name of `engine.precision.PRECISIONS`.
        look: (network, good photos, levels) -> the region to look at, see engine/looking.py.
        options: of `PatchCore`, what features depend on, as they keep it.
    """

    extractor: nn.Module
    channels: Sequence[int]
    transform: ImageTransform
    device: torch.device
    describe_maps: Callable[..., Tensor] = weighted
    precision: str = "float32"
    look: Look | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *frames: Tensor) -> Tensor:
        """Pixels `(b, h, w, 3)` uint8, and which of them are looked at if not all are, `(b, h, w)`
        bool -> patch features `(b, d, gh, gw)`, not yet scaled."""
        if self.device.type != "cpu" or has_hooks(self.extractor):
            return self._described(frames)
        each = zip(*(one.split(1) for one in frames), strict=True)
        return torch.cat(in_threads(self._described, list(each)))

    @torch.inference_mode()
    def _described(self, frames: Sequence[Tensor]) -> Tensor:
        pixels, *inside = frames
        images = self.transform.normalize(to_device(pixels, self.device))
        mixed = AUTOCAST.get(self.precision)
        with (products("tf32" if self.precision == "tf32" else "float32"),
              torch.autocast(self.device.type, mixed, enabled=mixed is not None)):
            maps = [feature_map.float() for feature_map in self.extractor(images)]
        with products("float32"):
            return self.describe_maps(maps, *(one.to(self.device) for one in inside))

    def looking_at(self, region: Region | None) -> "PatchNetwork":
        """The same, of photos of which only a region is seen."""
        return replace(self, transform=replace(self.transform, region=region))

    def aligned_to(self, reference: Reference | None) -> "PatchNetwork":
        """The same with what was learned, if it is of the kind that the options want."""
        if reference is None or not reference.is_like(self.transform.reference):
            return self
        return replace(self, transform=replace(self.transform, reference=reference))

    def describe(self, sources: Sequence, *, batch_size: int, strict: bool, what: str,
                 levels: Levels | None = None, region: Region | None = None,
                 progress: Progress | None = None) -> Iterator[PatchFeatures]:
        """Patch features batch by batch, while the next images are being read."""
        seen = self.looking_at(region)
        return describe_images(sources, seen.transform, seen, batch_size=batch_size, strict=strict,
                               what=what, levels=levels, progress=progress)

    def extract(self, sources: Sequence, *, augmentation: str = "none", batch_size: int,
                budget: int, strict: bool, levels: Levels | None = None,
                region: Region | None = None, progress: Progress | None = None) -> PatchFeatures:
        """Patch features of all images as one table, in memory within `budget` bytes or in a file.

        `augmentation` adds views of each image; `levels` as for `levels.outside`: if None, they and
        the `region` to look at are taken from these images. Raises `InputError` for an unreadable
        image if strict, and if none can be read.
        """
        views = views_per_image(augmentation)
        network = self
        if levels is None:
            levels = levels_of(sources)
            network = self.aligned_to(learn_reference(sources, levels, self.transform.reference))
            region = self.look and self.look(network, sources, levels)
        parts = network.describe(augmented(list(sources), augmentation), batch_size=batch_size,
                              strict=strict, what="extracting features", levels=levels,
                              region=region, progress=progress)
        frames = count_frames(sources, self.looking_at(region).transform)
        return replace(gather(parts, views * frames, budget, views), options=self.options)


def load_network(options: Mapping[str, Any]) -> PatchNetwork:
    """The network that the options of a `PatchCore` name; raises what `load_backbone` raises."""
    let_forks_compute()
    device = pick_device(options["device"])
    tiles = options["tiles"]
    extractor, transform = load_backbone(
        options["backbone"], layers=options["layers"], weights=options["weights"],
        resize=tiles or options["resize"], crop=options["crop"],
        normalization=options["normalization"], scales=options["scales"])
    if tiles:
        transform = replace(transform, **tiling(options))
    transform = replace(transform, reference=wanted(options))
    describe_maps = partial(patch_features, how=options["patch_features"],
                            balance_images=options["balance_images"])
    return PatchNetwork(extractor.to(device), extractor.channels, transform, device,
                        describe_maps, options["precision"], look_of(options), kept(options))
