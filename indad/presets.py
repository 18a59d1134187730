"""Named settings of PatchCore, so that a number can be traced to what made it; and what its options
may be.

Each preset is a plain dict of `PatchCore` arguments. The peers' presets copy their image size,
crop and statistics too: they are part of what was measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from textwrap import fill
from types import MappingProxyType
from typing import Any

from .backbones.loading import LAYERS, NORMALIZATIONS, PIXELS, SIDES, SIZES
from .backbones.registry import OFFLINE
from .calibration import CALIBRATIONS
from .data.arguments import (
    FLAG,
    ODD,
    PART,
    PATH,
    SHARE,
    TEXT,
    Option,
    maybe,
    number,
    one_of,
    option,
    whole,
)
from .data.augmentation import AUGMENTATIONS
from .data.drawn import FOREGROUNDS, REGION, check_region
from .data.pose import ALIGNMENTS, TOLERANCE, check_align
from .data.tiles import check_sizes
from .engine.approximate import SEARCHES
from .engine.memory import BUDGET
from .engine.precision import PRECISIONS
from .engine.projections import PROJECTIONS
from .engine.provenance import LEARNING, MAKING
from .errors import InputError
from .features import PATCH_FEATURES
from .scores import BORDERS, IMAGE_SCORES, UPSAMPLINGS

# What the published variants have in common: the nearest neighbour, in features as they come.
_PUBLISHED: dict[str, Any] = dict(balance_images=False, balance_layers=False, num_neighbors=1)

PRESETS: dict[str, dict] = {
    # What this project recommends: the best measured on the sets in results/reference.
    "default": {},
    # A little more accurate, at three times the work of the network: each patch is also seen in the
    # picture half as large again.
    "accurate": dict(scales=(1.0, 1.5)),
    # What `default` was in indad 1, so that its numbers can be made again.
    "indad-1": dict(balance_images=False, num_neighbors=1),
    # amazon-science/patchcore-inspection, IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1
    "amazon": _PUBLISHED | dict(
        resize=256, crop=224, normalization="imagenet", patch_features="adaptive",
        coreset_ratio=0.1, projection="linear", coreset_start="mean",
        squared=True, image_score="max", map_border="symmetric"),
    # anomalib 2.x with the paper's centre crop
    "anomalib": _PUBLISHED | dict(
        resize=(256, 256), crop=224, normalization="imagenet", patch_features="concatenate",
        coreset_ratio=0.1, projection="sparse", coreset_start="random",
        image_score="reweighted", reweight_neighbors=9,
        map_upsampling="nearest", map_border="reflect"),
    # rvorias/ind_knn_ad. Given the same coreset, all scores are equal. It selects in float16,
    # where thousands of distances tie, so its own coreset is another one.
    "ind_knn_ad": _PUBLISHED | dict(
        resize=(256, 256), crop=224, normalization="imagenet", patch_features="unpadded",
        coreset_ratio=0.1, projection="sparse-if-smaller", coreset_start="first",
        image_score="ind_knn_ad", reweight_neighbors=3,
        map_kernel_size=21, map_border="zero"),
    # dammsi/AnomalyDINO, without its background masks: cosine distances of single tokens, all of
    # them kept, the mean of the worst 1 % as score. Made for few shots and DINOv2.
    "anomalydino": _PUBLISHED | dict(
        patch_features="tokens", coreset_ratio=1.0, image_score="top"),
}

# The paper (arXiv 2106.08265): Eq. 7 with the neighbourhood size that anomalib chose, as the
# paper gives none; Gaussian projection and greedy selection; 25, 10 and 1 % of the patches.
_PAPER = _PUBLISHED | dict(
    resize=256, crop=224, normalization="imagenet", patch_features="adaptive",
    projection="linear", coreset_start="random", image_score="reweighted", reweight_neighbors=9)
PRESETS.update({f"paper-{percent}": _PAPER | dict(coreset_ratio=percent / 100)
                for percent in (25, 10, 1)})


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """What `PatchCore` takes, as scikit-learn's estimators do; see `__init__`.

    The constructor stores its arguments and does nothing else; each is an attribute. What is
    changed after fitting takes effect with the next `fit`, before which `predict` refuses.
    """

    backbone: str = option(
        OFFLINE, TEXT, "features", "a name of `list`, any other of timm's, or several joined by +")
    layers: tuple[int, ...] | None = option(
        None, LAYERS, "features", "feature maps, as timm's `out_indices`; the registry's if none")
    weights: str | None = option(
        None, maybe(PATH), "features", "a checkpoint of your own, see `load_backbone`")
    resize: int | tuple[int, int] | None = option(
        None, SIDES, "photos", "side of the square that photos are resized to (if a crop follows, "
        "their shortest side), or height and width; the backbone's own if none")
    crop: int | None = option(
        None, maybe(PIXELS), "photos", "side of the square cut from the middle after that")
    tiles: int | None = option(
        None, maybe(PIXELS), "photos", "instead of resizing: side of the squares that large photos "
        "are cut into, the worst of which decides; there are many patches, so keep 1 % of them")
    overlap: int | None = option(
        None, maybe(whole(0, 8191)), "photos", "pixels that tiles share; an eighth of one if none")
    scale: float | None = option(
        None, maybe(number(0.01, 4)), "photos", "shrinks photos before they are cut into tiles")
    region: str | Sequence | None = option(
        None, REGION, "photos", "where to look, and nowhere else: a mask image, white there; or "
        "polygons, each of points (x, y) in fractions of a photo's width and height, typed like "
        "'0.1,0.1 0.9,0.1 0.5,0.9' with ; between polygons, or the .json file that `serve` gives")
    foreground: str | None = option(
        None, FOREGROUNDS, "photos", "find where to look, by what stands out from the border:")
    align: str | None = option(
        None, one_of((*ALIGNMENTS, None)), "photos", "lay each photo's part where a reference has "
        "it, one of the good photos, by a shift, a rigid motion (and a turn) or a similarity (and "
        "a scale), see data/reference.py; needs OpenCV")
    align_tolerance: tuple[float, ...] | None = option(
        None, TOLERANCE, "photos", "what is misplaced: farther off than this share of the longer "
        "side, turned by more degrees, larger or smaller by more than this share; where not given, "
        "half more than good photos have")
    normalization: str = option(
        "backbone", one_of(NORMALIZATIONS), "features", "by whose mean and deviation pixels are "
        "normalised, those that the backbone was trained with or ImageNet's:")
    patch_features: str = option(
        "weighted", one_of(PATCH_FEATURES), "features", "how feature maps become patch features, "
        "see features.py:")
    scales: tuple[float, ...] = option(
        (1.0,), SIZES, "features", "sizes at which the network sees a photo, see `load_backbone`")
    augmentation: str = option(
        "none", one_of(AUGMENTATIONS), "photos", "views that are added to each training image, see "
        "data/augmentation.py:")
    balance_images: bool = option(
        True, FLAG, "features", "scale the layers of each image to equal variance")
    balance_layers: bool = option(
        True, FLAG, "features", "scale the layers to equal variance over all images")
    coreset_ratio: float = option(
        0.1, PART, "memory", "share of the patches that the memory bank keeps, in (0, 1]")
    coreset: str = option("greedy", one_of(("greedy", "random")), "memory", "how these are chosen:")
    coreset_start: str = option(
        "random", one_of(("random", "first", "mean")), "memory", "where greedy selection begins: "
        "at a random patch, the first, or that of largest mean distance to ten random ones")
    projection: str | None = option(
        None, one_of((*PROJECTIONS, None)), "memory", "what the selection sees: the features "
        "themselves (none) or a random projection, see engine/projections.py:")
    num_neighbors: int = option(
        3, whole(1), "scores", "a patch's score is its mean distance to so many bank entries; "
        "published variants use the nearest one only")
    search: str = option(
        "exact", one_of(SEARCHES), "scores", "how the bank is searched: exact, or by faiss, for a "
        "million patches, ivfpq or hnsw, which may miss some, see engine/approximate.py")
    squared: bool = option(
        False, FLAG, "scores", "square distances, as faiss and the reference implementation do")
    image_score: str = option(
        "max", one_of(IMAGE_SCORES), "scores", "what becomes of an image's patches, see scores.py:")
    reweight_neighbors: int = option(
        9, whole(1), "scores", "b of the paper's Eq. 7, for reweighted image scores")
    map_upsampling: str = option(
        "bilinear", one_of(UPSAMPLINGS), "scores", "how patch scores become a map:")
    map_sigma: float = option(4.0, number(0, 10 ** 6), "scores", "of its Gaussian, in pixels")
    map_kernel_size: int = option(33, ODD, "scores", "of that Gaussian, odd, in pixels")
    map_border: str = option(
        "symmetric", one_of(BORDERS), "scores", "what lies beyond the edge of a map:")
    calibration: str = option(
        "leave-one-out", one_of(CALIBRATIONS), "verdicts", "how good images that the bank has not "
        "seen are found; held-out fits on four fifths of them, see calibration.py:")
    robust: bool = option(
        False, FLAG, "verdicts", "not all photos are good: suspects, which other photos do not "
        "know, and odd scores set no threshold; odd patches of suspects are not remembered, see "
        "learned/suspects.py")
    batch_size: int = option(
        16, whole(1), "machine", "images at a time; changes no score beyond 1e-5 of its size")
    device: str = option(
        "auto", TEXT, "machine", "auto, for the accelerator if there is one, or a name such as "
        "cpu, cuda:1, mps or xpu; moves scores by less than 1e-5 of their size")
    precision: str = option(
        "float32", one_of(PRECISIONS), "machine", "of the backbone; all but float32 are faster "
        "where the device has units for them, and move scores, see indad/backbones/README.md:")
    memory_budget: int | str | None = option(
        None, BUDGET, "machine", "bytes, or like 2GB, that training features may take in memory; "
        "what is larger goes to a float16 file; half of the free memory if none")
    seed: int = option(0, whole(0, 2 ** 63 - 1), "machine", "of everything that is drawn by chance")
    reserve: float = option(
        0.0, number(0, 1), "memory", "share of the patches that is kept beside a greedy bank for "
        "`update`, see learned/growth.py; no score depends on it")
    false_alarm_rate: float = option(
        0.05, SHARE, "verdicts", "share of good photos that may be flagged, to take thresholds for")

    @property
    def options(self) -> Mapping[str, Any]:
        """All parameters that a score may depend on, in the constructor's order; to read."""
        return MappingProxyType({name: getattr(self, name) for name in OPTIONS
                                 if name != "false_alarm_rate"})


OPTIONS: dict[str, Option] = {one.name: one.metadata["option"] for one in fields(Parameters)}
Parameters.__init__.__doc__ = "Args:\n" + "\n".join(
    fill(f"{name}: {one}", 96, initial_indent=" " * 4, subsequent_indent=" " * 8)
    for name, one in OPTIONS.items())

# What a network is made from; what patch features depend on besides. All else works on those.
NETWORK_OPTIONS = (*MAKING, *LEARNING, "device", "precision")
EXTRACTION_OPTIONS = (*NETWORK_OPTIONS, "augmentation")
# What may be changed after fitting: what was learned does not depend on it.
FREE_OPTIONS = ("device", "batch_size", "memory_budget", "precision", "reserve")


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first option of `PatchCore` that is of a wrong type or range."""
    for name, one in OPTIONS.items():
        one.rule.check(name, options[name])
    check_sizes(options)
    check_region(options)
    check_align(options)
    if options["balance_layers"] and options["patch_features"] == "adaptive":
        raise InputError("balance_layers needs features that are channels of layers; "
                         "'adaptive' ones are not; turn it off")
    if options["weights"] and not Path(options["weights"]).is_file():
        raise InputError(f"{options['weights']}: no such checkpoint")
