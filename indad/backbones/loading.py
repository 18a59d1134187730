"""The networks whose feature maps describe a patch: one registry, one way to load them.

timm builds nearly every architecture, lite.py the packaged ones; this file only knows which
weights, layers and pixel statistics belong together. Left out on purpose: training, classification
heads, anything after the last layer that is used.
"""

import importlib
import importlib.util
import logging
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..data.arguments import FLAG, PATH, TEXT, either, maybe, number, one_of, several, takes, whole
from ..data.images import IMAGENET_MEAN, IMAGENET_STD, ImageTransform
from ..errors import InputError, first_line
from .extractor import Ensemble, FeatureExtractor
from .lite import SCALES, build_lite
from .registry import (
    BACKBONES,
    COARSEST,
    OFFLINE,
    Backbone,
    default_size,
    find_backbone,
)
from .weights import Undrawn, cached_hub_file, fetch_address, fill, read_checkpoint, read_package

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

SILENCE = logging.NullHandler()
NORMALIZATIONS = ("backbone", "imagenet")
SIZES = several(number(0.25, 4), least=1)
PIXELS = whole(1, 8192)  # a side of what a network sees; more is a slip of the pen
SIDES = maybe(either(PIXELS, several(PIXELS, 2)))
LAYERS = maybe(several(whole(0), least=1))


@takes(name=TEXT, layers=LAYERS, resize=SIDES, crop=maybe(PIXELS),
       normalization=one_of(NORMALIZATIONS), pretrained=FLAG, weights=maybe(PATH), scales=SIZES)
def load_backbone(name: str = OFFLINE, *, layers: tuple[int, ...] | None = None,
                  resize: int | tuple[int, int] | None = None, crop: int | None = None,
                  normalization: str = "backbone", pretrained: bool = True,
                  weights: str | Path | None = None, scales: tuple[float, ...] = (1.0,),
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
        scales: sizes at which the network sees an image, as multiples of it: the maps of all stand
            beside each other. The first gives the grid.

    Raises `InputError` for an unknown name, layers the network lacks, a size it does not take, or
    weights that are not to be had or do not fit.

    Example:
        >>> extractor, transform = load_backbone("efficientnet_lite0")
        >>> [m.shape for m in extractor(torch.zeros(1, 3, 256, 256))]
        [torch.Size([1, 40, 32, 32]), torch.Size([1, 112, 16, 16])]
    """
    rows = [find_backbone(part) for part in str(name).split("+")]
    if weights is not None and len(rows) > 1:
        raise InputError(f"weights is one file, but {name} has {len(rows)} networks; "
                         "leave weights out, or choose one network")
    statistics = [(row.mean, row.std) if normalization == "backbone"
                  else (IMAGENET_MEAN, IMAGENET_STD) for row in rows]
    if resize is None:
        resize = (default_size(name),) * 2
    transform = ImageTransform(resize, crop, *statistics[0])
    size = transform.size
    setting = "resize" if crop is None else "crop"
    extractors = []
    for scale in scales:
        seen = (int(scale * size[0]), int(scale * size[1]))
        extractors += [FeatureExtractor(
            _create(row, tuple(layers or row.layers), pretrained, size=seen, weights=weights,
                    setting=setting), row.name, seen) for row in rows]
    if len(extractors) == 1 and scales[0] == 1:
        return extractors[0], transform
    return Ensemble(extractors, statistics * len(scales),
                    [scale for scale in scales for _ in rows]), transform


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
                      read_package(row.package, row.name, _shapes(row)))
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
def _shapes(row: Backbone) -> dict[str, Tensor]:
    """Names and shapes of a network's tensors, in its order, without numbers."""
    with torch.device("meta"), Undrawn():
        return _build(row, row.layers, {}).state_dict()


@lru_cache(maxsize=64)
def _options(row: Backbone, layers: tuple[int, ...], size: tuple[int, int], setting: str) -> dict:
    """Find timm's options for a network that takes images of `size` (h, w), without computing.

    Raises `InputError` for layers it lacks and for sizes that it cannot take.
    """
    choices: list[dict] = [{}]
    if row.name not in SCALES and ":" not in row.tag and _config(row).fixed_input_size:
        # Transformers with positions; and among them those that adapt to any size.
        choices = [dict(img_size=size, dynamic_img_size=True), {}, dict(img_size=size)]
    reason = ""
    for options in choices:
        try:
            # Shapes only; for drawing what is not there, torch imports its compilers.
            with torch.device("meta"), Undrawn():
                network = _build(row, layers, options).eval()
        except TypeError:
            continue  # this architecture has no such option
        except (AssertionError, IndexError) as error:
            raise InputError(f"{row.name} has no layers {layers}: {first_line(error)}") from error
        _check_patches(row, network, size, setting)
        # What a registered CNN takes, and ours any, needs no trial.
        if not options and row.name in BACKBONES and (
                row.name in SCALES or not any(side % COARSEST for side in size)):
            return options
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
    if row.name not in SCALES:
        return _build_by_timm(row, layers, options, tensors)
    with nullcontext() if tensors is None else Undrawn():
        return build_lite(row.name, layers, tensors)


def _build_by_timm(row: Backbone, layers: tuple[int, ...], options: dict,
                   tensors: dict[str, Tensor] | None) -> nn.Module:
    import timm  # here and below, because it takes seconds
    from timm.models._features import FeatureGetterNet

    if ":" in row.tag:
        return _build_elsewhere(row, layers, tensors)
    # Without any handler Python would print what timm says about heads that are not used.
    logging.getLogger("timm").addHandler(SILENCE)
    if row.norm:
        options = options | dict(feature_cls=partial(FeatureGetterNet, norm=True))
    if tensors is not None:
        # timm converts and resamples the tensors as it does with those that it downloads.
        overlay: dict = dict(state_dict=tensors)
        options = options | dict(pretrained=True, pretrained_cfg_overlay=overlay)
        if _config(row).num_classes == 0:
            # We want timm to leave aside what the network has no use for, such as a head that was
            # saved with it, and to pass over what is missing, which `fill` finds. It does if the
            # file's head has another number of classes than the network's, because then the head
            # does not fit. By its records these files have no head, which equals our network's
            # none, and timm would insist that names agree one by one. So we say that the file's
            # head has one class, and (or timm would build such a head) that the network's has none.
            overlay["num_classes"] = 1
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


def _module(row: Backbone) -> ModuleType:
    package = row.tag.partition(":")[0]
    if importlib.util.find_spec(package) is None:
        raise InputError(f"the package that builds {row.name} is not installed; run: "
                         f"pip install {package.replace('_', '-')}")
    return importlib.import_module(package)


def _config(row: Backbone) -> "PretrainedCfg":
    """What timm's records say of the weights of a network."""
    import timm

    config = timm.get_pretrained_cfg(row.tag)
    assert config is not None  # the registry's are in them, and other rows are made from them
    return config


def _filled(row: Backbone, layers: tuple[int, ...], options: dict, tensors: dict[str, Tensor],
            source: str | Path) -> nn.Module:
    return fill(partial(_build, row, layers, options), tensors, source, f"{row.name} ({row.tag})")


def _download(row: Backbone, layers: tuple[int, ...], options: dict) -> nn.Module:
    """The network with the weights that its authors or timm published, or an earlier download."""
    if ":" in row.tag:
        addresses = importlib.import_module(f"{_module(row).__name__}.resnet").model_urls
        address = addresses[f"{row.tag.partition(':')[2]}_lpf4_finetune"]
        return _filled(row, layers, options, fetch_address(address, check_hash=True), address)
    config = _config(row)
    if not config.has_weights:
        raise InputError(f"there are no weights of {row.name}: give a file of them as weights, "
                         "or choose another backbone")
    if config.hf_hub_id:
        file = cached_hub_file(config.hf_hub_id, config.hf_hub_filename)
        if file is not None:
            return _filled(row, layers, options, read_checkpoint(file), file)
    return _build(row, layers, options | dict(pretrained=True))


