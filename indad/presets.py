"""Named settings of PatchCore, so that a number can be traced to what made it; and what its options
may be.

Each preset is a plain dict of `PatchCore` arguments. The peers' presets copy their image size,
crop and statistics too: they are part of what was measured.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sklearn.base import BaseEstimator

from .backbones.loading import NORMALIZATIONS, PIXELS, SIZES
from .backbones.registry import OFFLINE
from .calibration import CALIBRATIONS
from .data.arguments import (
    FLAG,
    PART,
    PATH,
    SHARE,
    TEXT,
    Rule,
    either,
    maybe,
    number,
    one_of,
    several,
    whole,
)
from .data.augmentation import AUGMENTATIONS
from .data.drawn import check_region
from .data.pose import ALIGNMENTS, TOLERANCE, check_align
from .data.tiles import check_sizes
from .engine.approximate import SEARCHES
from .engine.memory import memory_budget
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

class Parameters(BaseEstimator):
    """What `PatchCore` takes, as scikit-learn's estimators do.

    The constructor stores its arguments and does nothing else; each is an attribute. What is
    changed after fitting takes effect with the next `fit`, before which `predict` refuses.

    Args:
        backbone: a name of `backbones.registry.BACKBONES`.
        layers: feature maps to use, as timm's `out_indices`; the registry's choice if None.
        weights: a checkpoint of one's own for the backbone, see `load_backbone`.
        resize, crop, normalization: see `images.ImageTransform` and `load_backbone`.
        tiles, overlap, scale: a photo is not resized but cut into squares of so many pixels, the
            worst of which decides; they share `overlap` of them, an eighth if None. It may be
            shrunk by `scale` first. Large photos have many patches: keep 1 % of them.
        region: where to look: the path of a mask, white there, or polygons, each a list of points
            (x, y) in fractions of the photo's width and height. Nothing outside counts.
        foreground: "auto" finds the region, as what stands out from the border of good photos.
        align: lay the part of each photo where a reference has it, one of the good photos: by a
            "shift", a "rigid" motion or a "similarity", see data/reference.py. Needs OpenCV.
        align_tolerance: what is "misplaced": farther off, as a share of the photo's longer side,
            turned by more degrees, or larger or smaller by a greater share; what is not given is
            half more than good photos have.
        patch_features: "weighted", "concatenate", "unfolded", "single", "adaptive", "unpadded"
            or "tokens", see features.py.
        scales: sizes at which the network sees each image, see `load_backbone`.
        augmentation: views that are added to each training image, see data/augmentation.py.
        balance_images: scale the layers of each image to equal variance, see `features.balanced`.
        balance_layers: scale the layers to equal variance over all, see `features.layer_scales`.
        coreset_ratio: share of the patches that the memory bank keeps, in (0, 1].
        coreset: "greedy" or "random".
        coreset_start: where greedy selection begins: at a "random" patch, at the "first", or at
            the patch with the largest "mean" distance to ten random ones.
        projection: what the selection sees: the features themselves (None), or a random
            projection: "linear", "sparse" or "sparse-if-smaller", see engine/projections.py.
        num_neighbors: a patch's score is its mean distance to so many bank entries; published
            variants use the nearest one only.
        search: how the bank is searched: "exact", or approximately, for banks of a million patches,
            by faiss, "ivfpq" or "hnsw", see engine/approximate.py. Thresholds come from the same.
        squared: square the distances, as faiss and so the reference implementation do.
        image_score: "max", "reweighted", "top", "peak" or "ind_knn_ad", see scores.py.
        reweight_neighbors: b of Eq. 7.
        map_upsampling, map_sigma, map_kernel_size, map_border: see `scores.anomaly_maps`.
        calibration: how good images that the bank has not seen are found, "leave-one-out", "folds"
            or "held-out" (which fits on four fifths of the images), see calibration.py.
        robust: not all photos are good: suspects, which others do not know, and odd scores set no
            threshold; odd patches of suspects are not remembered, see learned/suspects.py.
        batch_size: changes speed, never a score (beyond 1e-5 of its size).
        device: "cpu", "cuda", "cuda:1", "mps", "xpu", or "auto" for the accelerator if there is
            one. With the same bank, scores differ by less than 1e-5 of their size.
        precision: of the backbone. "float32" is that, whatever torch is set to; "tf32", "float16"
            and "bfloat16" (the two in mixed precision) are faster where the device has units for
            them, and move scores, see indad/backbones/README.md.
        memory_budget: bytes, or a text such as "2GB", that training features may take in memory;
            what is larger goes to a float16 file. Half of the free memory if None.
        seed: fixes the start, the projection and the images that calibrate.
        reserve: share of the patches that is kept beside a greedy bank for `update`, see
            learned/growth.py. Nothing is searched there: no score depends on it.
        false_alarm_rate: that `threshold_`, `save` and `export_onnx` take thresholds for.
    """

    def __init__(self, *, backbone: str = OFFLINE, layers: tuple[int, ...] | None = None,
                 weights: str | None = None, resize: int | tuple[int, int] | None = None,
                 crop: int | None = None, tiles: int | None = None, overlap: int | None = None,
                 scale: float | None = None, region: str | Sequence | None = None,
                 foreground: str | None = None, align: str | None = None,
                 align_tolerance: tuple[float, ...] | None = None, normalization: str = "backbone",
                 patch_features: str = "weighted", scales: tuple[float, ...] = (1.0,),
                 augmentation: str = "none", balance_images: bool = True,
                 balance_layers: bool = True, coreset_ratio: float = 0.1, coreset: str = "greedy",
                 coreset_start: str = "random", projection: str | None = None,
                 num_neighbors: int = 3, search: str = "exact", squared: bool = False,
                 image_score: str = "max", reweight_neighbors: int = 9,
                 map_upsampling: str = "bilinear", map_sigma: float = 4.0,
                 map_kernel_size: int = 33, map_border: str = "symmetric",
                 calibration: str = "leave-one-out", robust: bool = False, batch_size: int = 16,
                 device: str = "auto", precision: str = "float32",
                 memory_budget: int | str | None = None, seed: int = 0, reserve: float = 0.0,
                 false_alarm_rate: float = 0.05):
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.resize, self.crop, self.normalization = resize, crop, normalization
        self.tiles, self.overlap, self.scale = tiles, overlap, scale
        self.region, self.foreground = region, foreground
        self.align, self.align_tolerance = align, align_tolerance
        self.patch_features, self.scales, self.augmentation = patch_features, scales, augmentation
        self.balance_images, self.balance_layers = balance_images, balance_layers
        self.coreset_ratio = coreset_ratio
        self.coreset, self.coreset_start, self.projection = coreset, coreset_start, projection
        self.num_neighbors, self.search, self.squared = num_neighbors, search, squared
        self.image_score = image_score
        self.reweight_neighbors, self.map_upsampling = reweight_neighbors, map_upsampling
        self.map_sigma, self.map_kernel_size = map_sigma, map_kernel_size
        self.map_border, self.calibration, self.robust = map_border, calibration, robust
        self.batch_size, self.device, self.precision = batch_size, device, precision
        self.memory_budget, self.seed = memory_budget, seed
        self.reserve, self.false_alarm_rate = reserve, false_alarm_rate

    @property
    def options(self) -> Mapping[str, Any]:
        """All parameters that a score may depend on, in the constructor's order; to read."""
        names = inspect.signature(type(self).__init__).parameters
        return MappingProxyType({name: getattr(self, name) for name in names
                                 if name not in ("self", "false_alarm_rate")})


# What a network is made from; what patch features depend on besides. All else works on those.
NETWORK_OPTIONS = (*MAKING, *LEARNING, "device", "precision")
EXTRACTION_OPTIONS = (*NETWORK_OPTIONS, "augmentation")
# What may be changed after fitting: what was learned does not depend on it.
FREE_OPTIONS = ("device", "batch_size", "memory_budget", "precision", "reserve")

# What each option may be, by itself.
RULES: dict[str, Rule] = {
    "backbone": TEXT, "layers": maybe(several(whole(0), least=1)), "weights": maybe(PATH),
    "resize": maybe(either(PIXELS, several(PIXELS, 2))), "crop": maybe(PIXELS),
    "tiles": maybe(PIXELS), "overlap": maybe(whole(0, 8191)), "scale": maybe(number(0.01, 4)),
    "align": one_of((*ALIGNMENTS, None)), "align_tolerance": TOLERANCE,
    "normalization": one_of(NORMALIZATIONS), "patch_features": one_of(PATCH_FEATURES),
    "scales": SIZES, "augmentation": one_of(AUGMENTATIONS),
    "balance_images": FLAG, "balance_layers": FLAG, "coreset_ratio": PART,
    "coreset": one_of(("greedy", "random")), "coreset_start": one_of(("random", "first", "mean")),
    "projection": one_of((*PROJECTIONS, None)), "num_neighbors": whole(1),
    "search": one_of(SEARCHES), "squared": FLAG, "image_score": one_of(IMAGE_SCORES),
    "reweight_neighbors": whole(1),
    "map_upsampling": one_of(UPSAMPLINGS), "map_sigma": number(0, 10 ** 6),
    "map_kernel_size": Rule(lambda value: whole(1).holds(value) and value % 2 == 1,
                            "odd, in pixels"),
    "map_border": one_of(BORDERS), "calibration": one_of(CALIBRATIONS), "robust": FLAG,
    "batch_size": whole(1), "device": TEXT, "precision": one_of(PRECISIONS),
    "seed": whole(0, 2 ** 63 - 1), "reserve": number(0, 1), "false_alarm_rate": SHARE,
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first option of `PatchCore` that is of a wrong type or range."""
    for name, rule in RULES.items():
        rule.check(name, options[name])
    memory_budget(options["memory_budget"])
    check_sizes(options)
    check_region(options)
    check_align(options)
    if options["balance_layers"] and options["patch_features"] == "adaptive":
        raise InputError("balance_layers needs features that are channels of layers; "
                         "'adaptive' ones are not")
    if options["weights"] and not Path(options["weights"]).is_file():
        raise InputError(f"{options['weights']}: no such checkpoint")
