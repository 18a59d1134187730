"""One ONNX file from pixels to verdict, for places where neither torch nor this package is.

The file holds all that `PatchCore.predict` does after the resize, from the same functions, traced;
only the search is written anew, as products and minima that ONNX knows. No file is left that was
not seen to say what the model says. See onnx_predict.py for how to use one.
"""

import importlib.util
import json
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import __version__
from ..backbones.registry import COARSEST
from ..calibration import conformal_threshold
from ..data.arguments import FLAG, PATH, SHARE, kind, maybe, one_of, takes
from ..data.files import (
    check_writable,
    complete_file,
    explain_full_disk,
    in_units,
    is_full_disk,
)
from ..data.images import as_rgb
from ..data.sources import EXAMPLES, as_list
from ..engine.fused import SameConvolution
from ..errors import InputError, first_line
from ..patchcore import PatchCore
from .frames import frames_of, say

OPSET = 18
SPLIT = 4096  # bank rows compared at a time: 16 MB of distances for an image of 1,024 patches
TOLERANCE = 1e-3  # of a score's size
PIXELS = {"uint8": torch.uint8, "float32": torch.float32}
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
BANK_PRECISIONS = {"float32": torch.float32, "float16": torch.float16}
STEPS = ("upright; RGB, over white; resize (h, w), bilinear and antialiased as Pillow does it, to "
         "both numbers, or the shortest side to the one number if a crop follows; crop from the "
         "middle; mean and std are applied inside")
STEPS_OF_TILES = ("upright; RGB, over white; resize (h, w) by scale, bilinear and antialiased as "
                  "Pillow does it; cut into squares of tiles pixels that share overlap of them or "
                  "more, as few as cover the photo, evenly spread, each of which is an image; the "
                  "largest score of a photo decides; mean and std are applied inside")
STEPS_OF_REGION = ("; but first, what is black in region's PNG seen, in base64 and laid over the "
                   "whole photo, is painted with fill; which pixels are looked at, white in "
                   "inside, is a second input, cut as the photo is; tiles without any are left out")
LARGEST = 2_000_000_000  # bytes that an ONNX file can have, by its format


@dataclass(frozen=True)
class Parity:
    """How an exported file compares with the model that it came from, on some images.

    `score_difference` is the largest, relative to the score, or to a hundredth of the threshold
    where scores are smaller than that; `map_difference` is relative to the highest point of all
    maps. `images_from` says what was compared: "given", "training", or drawn "noise".
    """

    file: Path
    size: int  # bytes
    bank_precision: str
    pixels: str
    sizes: list[tuple[int, int]]  # (h, w) of the images, which were compared at each
    threshold: float
    images: int
    images_from: str
    score_difference: float
    map_difference: float
    verdicts_that_differ: int

    @property
    def holds(self) -> bool:
        return (max(self.score_difference, self.map_difference) <= TOLERANCE
                and self.verdicts_that_differ == 0)

    def __str__(self) -> str:
        sizes = " and ".join(f"{height} x {width}" for height, width in self.sizes)
        return (f"on {self.images} {self.images_from} images of {sizes}, scores differ by up to "
                f"{self.score_difference:.1e} of their size, maps by {self.map_difference:.1e}, "
                f"and {self.verdicts_that_differ} verdicts")


@takes(model=kind(PatchCore, "a PatchCore"), file=PATH, bank_precision=one_of(BANK_PRECISIONS),
       pixels=one_of(PIXELS), dynamic_size=FLAG, false_alarm_rate=maybe(SHARE))
def export_onnx(model: PatchCore, file: str | Path, *, bank_precision: str = "float32",
                pixels: str = "uint8", dynamic_size: bool = False, check_images: object = None,
                false_alarm_rate: float | None = None) -> Parity:
    """Write a fitted model as one ONNX file, and compare the two on images before it is kept.

    Input `image` `(n, h, w, 3)`: RGB pixels as `ImageTransform.pixels` makes them; n is free. Of a
    model that cuts photos into tiles these are tiles, and the worst decides (see onnx_predict.py).
    Of a model with a region a second input `inside` `(n, h, w)` bool says which pixels are looked
    at; then the pixels are those of a photo that is painted over outside.
    Outputs `score` `(n,)` float32, `map` `(n, h, w)` float32 and `verdict` `(n,)` bool. What one
    needs to know besides is in the file's metadata, under "indad", as JSON: threshold,
    preprocessing and names.

    Args:
        bank_precision: "float16" halves the room that the memory bank takes in the file.
        pixels: "uint8", or "float32" for pixels from 0 to 1.
        dynamic_size: let h and w be any multiples of 32, for photos of several shapes, if the
            backbone takes them; the threshold is still that of the model's own size.
        check_images: whatever `predict` takes, up to 50 of them; if None, the model's training
            images, as far as they still lie where they did, or drawn noise if none does.
        false_alarm_rate: for the threshold; the model's own if None.

    Raises `InputError` if a package is missing, if the model has no threshold, if torch cannot
    express it in ONNX, and if scores or maps differ by more than 1e-3 of their size, or a verdict
    does; then no file is left.

    Example:
        >>> print(export_onnx(model, "bolts.onnx", check_images=test))
    """
    _check_packages()
    model.check_fitted()
    if dynamic_size and any(side % COARSEST for side in model.size_):
        raise InputError(f"dynamic_size needs a model whose size is a multiple of {COARSEST}, and "
                         f"this one's is {model.size_}; fit with another resize")
    file, rate = Path(file), false_alarm_rate or model.false_alarm_rate
    if file.suffix != ".onnx":
        raise InputError(f"{file}: give a name that ends in .onnx")
    if not len(model.calibration_scores_):
        raise InputError("the model has no threshold, as one training image leaves no other to "
                         "judge it by, and an interrupted fit is not calibrated; fit again")
    transform = model.transform_
    threshold, map_threshold = (conformal_threshold(good, rate)
                                for good in (model.calibration_scores_, model.calibration_peaks_))
    sources, images_from = _check_sources(model, check_images)
    frames = frames_of(model, sources, EXAMPLES) if model.region_ else None
    if dynamic_size and frames:
        raise InputError("dynamic_size cannot be had of a model with a region: export it without")
    if model.tiles and not frames:
        model, sources = _of_one_tile(model, sources)
    graph = Graph(model, BANK_PRECISIONS[bank_precision], threshold)
    for module in graph.modules():
        if isinstance(module, SameConvolution):
            module.divides = dynamic_size
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    if size > LARGEST:
        raise InputError(f"the model takes {in_units(size)}, but one ONNX file holds "
                         f"{in_units(LARGEST)}; use a smaller coreset_ratio")
    check_writable(file.parent, "FILE")
    with explain_full_disk(f"{file}", "free some space"), complete_file(file) as partial:
        _write(graph.eval(), partial, PIXELS[pixels], dynamic_size, {
            "indad": __version__, "threshold": threshold, "map_threshold": map_threshold,
            "false_alarm_rate": rate, "bank_precision": bank_precision, "pixels": pixels,
            "dynamic_size": dynamic_size, "size": model.size_,
            "preprocessing": transform.settings | {
                "align": model.align,  # beforehand, by indad: the file takes aligned pixels
                "levels": model.levels_,  # (black, white) of photos of more than 8 bits
                "steps": (STEPS_OF_TILES if transform.tiles else STEPS) + (
                    STEPS_OF_REGION if frames else "")},
            "backbone": model.options["backbone"], "image_score": model.options["image_score"]})
        models = [model, *([_of_another_size(model)] if dynamic_size else ())]
        differences = [_compare(one, partial, sources, threshold, pixels, frames)
                       for one in models]
        parity = Parity(file, partial.stat().st_size, bank_precision, pixels,
                        [one.size_ for one in models], threshold,
                        len(frames[0] if frames else sources), images_from,
                        *map(max, zip(*differences, strict=True)))
        if not parity.holds:
            raise InputError(f"{file} was not kept: {parity}; allowed are {TOLERANCE:.0e} and 0")
    return parity


class Graph(nn.Module):
    """Pixels `(n, h, w, 3)` -> score `(n,)`, map `(n, h, w)` and verdict `(n,)`."""

    threshold: Tensor

    def __init__(self, model: PatchCore, precision: torch.dtype, threshold: float):
        super().__init__()
        self.detector = model.module(bank_precision=precision).cpu()
        for module in self.detector.modules():  # half of the export's time goes into these
            if hasattr(module, "inplace"):
                # torch declares every attribute of a module a tensor or a module.
                module.inplace = False  # type: ignore[assignment]
        self.size, self.looks = model.size_, model.region_ is not None
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float32))

    def forward(self, image: Tensor,
                inside: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        full = 1 if image.is_floating_point() else 255
        score, anomaly_map = self.detector(image.permute(0, 3, 1, 2).float() / full, inside)
        return score, anomaly_map, score > self.threshold


def _write(graph: Graph, file: Path, dtype: torch.dtype, dynamic_size: bool,
           metadata: dict) -> None:
    import onnx

    height, width = graph.size
    free = {0: torch.export.Dim("n")}
    if dynamic_size:  # three different sizes, or they would be taken for one
        height, width = 2 * COARSEST, 3 * COARSEST
        free |= {1: COARSEST * torch.export.Dim("h", min=1, max=256),
                 2: COARSEST * torch.export.Dim("w", min=1, max=256)}
    example = {"image": torch.zeros(2, height, width, 3, dtype=dtype)}
    shapes = {"image": free}
    if graph.looks:
        example |= {"inside": torch.ones(2, height, width, dtype=torch.bool)}
        shapes |= {"inside": free}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own insides
        graph(**example)  # fills the caches of constants with real tensors, not with traced ones
        try:
            torch.onnx.export(
                graph, tuple(example.values()), str(file), input_names=list(example),
                output_names=["score", "map", "verdict"], opset_version=OPSET, dynamo=True,
                dynamic_shapes=shapes, external_data=False, verbose=False)
        except Exception as error:  # the exporter has many ways to fail
            if is_full_disk(error):
                raise
            cause: Exception = error
            while isinstance(cause.__cause__, Exception):
                cause = cause.__cause__
            raise InputError(f"torch {torch.__version__} cannot express this model in ONNX"
                             + " with dynamic_size, but may without it" * dynamic_size
                             + f": {first_line(cause)}") from error
    content = onnx.load(file)
    shape = content.graph.input[0].type.tensor_type.shape.dim
    if not all(shape[place].dim_param for place in free):
        raise InputError(f"torch {torch.__version__} fixes what should be free in the shape of the "
                         "input of this model in ONNX; export it with other patch_features"
                         + " or without dynamic_size" * dynamic_size)
    _strip(content)
    content.producer_name, content.producer_version = "indad", __version__
    onnx.helper.set_model_props(content, {"indad": json.dumps(metadata)})
    onnx.checker.check_model(content)
    onnx.save(content, file)


def _strip(message: Any) -> None:
    """Take from a model what the exporter notes of each node: its source lines and their files.

    They say where this machine keeps what, and no runtime reads them.
    """
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)


def _check_sources(model: PatchCore, images: object) -> tuple[list, str]:
    """Up to 50 images to compare on, and where they came from."""
    kept = getattr(model, "examples_", None) or [file for file in model.files_ or ()
                                                 if file and Path(file).is_file()]
    if images is not None:
        sources, images_from = as_list(images), "given"
    elif kept:
        sources, images_from = kept, "training"
    else:
        generator, (height, width) = np.random.default_rng(0), model.size_
        sources = [generator.integers(0, 256, (height, width, 3), np.uint8) // contrast
                   for contrast in (1, 2, 4, 8)]
        images_from = "noise"
    if not sources:
        raise InputError("there are no images to compare on; leave check_images out for noise")
    return sources[:EXAMPLES], images_from


def _of_another_size(model: PatchCore) -> PatchCore:
    """The same model for larger pictures that are not square."""
    return _resizing_to((model.size_[0] + COARSEST, model.size_[1] + 2 * COARSEST), model)


def _of_one_tile(model: PatchCore, sources: list) -> tuple[PatchCore, list]:
    """The same model for tiles that are cut already, and some tiles of these images."""
    side = model.size_[0]
    pieces: list[np.ndarray] = []
    for source in sources:
        if len(pieces) < EXAMPLES:
            image = as_rgb(source, model.levels_)
            pixels = model.transform_.pixels(image)
            pieces += [pixels[tile.top:tile.top + side, tile.left:tile.left + side]
                       for tile in model.transform_.frames((image.height, image.width))]
    return _resizing_to(model.size_, model, align=None, align_tolerance=None), pieces[:EXAMPLES]


def _resizing_to(size: tuple[int, int], model: PatchCore, **changed: Any) -> PatchCore:
    """The same model for whole pictures of this size."""
    other = PatchCore(**model.get_params() | {"resize": size, "crop": None, "tiles": None,
                                              "overlap": None, "scale": None} | changed)
    network = model.prepare()
    reference = network.transform.reference if other.align else None
    other.use(replace(network, transform=replace(network.transform, resize=size, crop=None,
                                                 tiles=None, reference=reference)))
    other.fitted_ = replace(model.fitted_, size=size, options=dict(other.options))
    return other


def _compare(model: PatchCore, file: Path, sources: list, threshold: float,
             kind: str, frames: tuple[np.ndarray, np.ndarray] | None = None,
             ) -> tuple[float, float, int]:
    """The differences of `Parity`."""
    if frames:
        pixels, inside = frames
        known, known_maps = say(model, pixels, inside)
    else:
        wanted = model.predict(sources)
        known, known_maps = wanted.scores, np.asarray(wanted.model_maps)
        pixels = np.stack([model.transform_.pixels(as_rgb(source, model.levels_))
                           for source in sources])
    if kind == "float32":
        pixels = pixels.astype(np.float32) / 255
    scores, maps, verdicts = run_onnx(file, pixels, *([inside] if frames else []))
    size = np.maximum(np.abs(known), threshold / 100)
    return (float(np.max(np.abs(scores - known) / size)),
            float(np.max(np.abs(maps - known_maps)) / np.max(known_maps)),
            int(np.sum(verdicts != (known > threshold))))


def run_onnx(file: Path, pixels: np.ndarray, inside: np.ndarray | None = None,
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, maps and verdicts that onnxruntime computes on the CPU, few images at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = {"image": pixels} | ({} if inside is None else {"inside": inside})
    parts = [session.run(["score", "map", "verdict"],
                         {name: array[i:i + 4] for name, array in given.items()})
             for i in range(0, len(pixels), 4)]
    scores, maps, verdicts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scores, maps, verdicts


def _check_packages() -> None:
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"export needs the package {missing[0]}, which is not installed; run: "
                         f"pip install {' '.join(PACKAGES)}")
