"""One ONNX file from pixels to verdict, for places where neither torch nor this package is.

The file holds all that `PatchCore.predict` does after the resize, from the same functions, traced;
only the search is written anew, as products and minima that ONNX knows. No file is left that was
not seen to say what the model says. See onnx_predict.py for how to use one.
"""

import copy
import importlib.util
import inspect
import json
import logging
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from . import __version__
from .batches import as_list
from .errors import InputError, unknown
from .features import RECIPES, as_rows
from .files import check_writable, complete_file, explain_full_disk, in_units
from .images import as_rgb
from .patchcore import EXAMPLES, PatchCore
from .thresholds import conformal_threshold
from .weights import first_line

OPSET = 18
SPLIT = 4096  # bank rows compared at a time: 16 MB of distances for an image of 1,024 patches
TOLERANCE = 1e-3  # of a score's size
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
BANK_PRECISIONS = {"float32": torch.float32, "float16": torch.float16}
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
    threshold: float
    images: int
    images_from: str
    score_difference: float
    map_difference: float
    verdicts_that_differ: int

    @property
    def holds(self) -> bool:
        return self.score_difference <= TOLERANCE and self.verdicts_that_differ == 0

    def __str__(self) -> str:
        return (f"on {self.images} {self.images_from} images, scores differ by up to "
                f"{self.score_difference:.1e} of their size, maps by {self.map_difference:.1e}, "
                f"and {self.verdicts_that_differ} verdicts")


def export_onnx(model: PatchCore, file: str | Path, *, bank_precision: str = "float32",
                check_images: object = None, false_alarm_rate: float | None = None) -> Parity:
    """Write a fitted model as one ONNX file, and compare the two on images before it is kept.

    Input `image` `(n, h, w, 3)` uint8: RGB pixels as `ImageTransform.pixels` makes them; h and w
    are fixed, as the model's grid is, n is free. Outputs `score` `(n,)` float32, `map` `(n, h, w)`
    float32 and `verdict` `(n,)` bool. What one needs to know besides is in the file's metadata,
    under "indad", as JSON: threshold, preprocessing and names.

    Args:
        bank_precision: "float16" halves the room that the memory bank takes in the file.
        check_images: whatever `predict` takes, up to 50 of them; if None, the model's training
            images, or drawn noise if it has none at hand, as a loaded one.
        false_alarm_rate: for the threshold; the model's own if None.

    Raises `InputError` if a package is missing, if the model has no threshold, if torch cannot
    express it in ONNX, and if scores differ by more than 1e-3 of their size or a verdict differs;
    then no file is left.

    Example:
        >>> print(export_onnx(model, "bolts.onnx", check_images=test))
    """
    _check_packages()
    if bank_precision not in BANK_PRECISIONS:
        raise unknown("bank_precision", bank_precision, BANK_PRECISIONS)
    model._check_fitted()
    file, rate = Path(file), false_alarm_rate or model.false_alarm_rate
    if file.suffix != ".onnx":
        raise InputError(f"{file}: give a name that ends in .onnx")
    if not len(model.good_scores_):
        raise InputError("the model has no threshold, as one training image leaves no other to "
                         "judge it by, and an interrupted fit is not calibrated; fit again")
    threshold, map_threshold = (conformal_threshold(good, rate)
                                for good in (model.good_scores_, model.good_peaks_))
    sources, images_from = _check_sources(model, check_images)
    graph = Graph(model, BANK_PRECISIONS[bank_precision], threshold).eval()
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    if size > LARGEST:
        raise InputError(f"the model takes {in_units(size)}, but one ONNX file holds "
                         f"{in_units(LARGEST)}; use a smaller coreset_ratio")
    check_writable(file.parent, "FILE")
    with explain_full_disk(f"{file}", "free some space"), complete_file(file) as partial:
        _write(graph, partial, {
            "indad": __version__, "threshold": threshold, "map_threshold": map_threshold,
            "false_alarm_rate": rate, "bank_precision": bank_precision,
            "size": model.size_, "preprocessing": asdict(model.transform_) | {
                "steps": "RGB; resize (h, w), bilinear and antialiased as Pillow does it, to both "
                         "numbers, or the shortest side to the one number if a crop follows; crop "
                         "from the middle; mean and std are applied inside"},
            "backbone": model.options["backbone"], "image_score": model.options["image_score"]})
        parity = Parity(file, partial.stat().st_size, bank_precision, threshold, len(sources),
                        images_from, *_compare(model, partial, sources, threshold))
        if not parity.holds:
            raise InputError(f"{file} was not kept: {parity}; allowed are {TOLERANCE:.0e} and 0")
    return parity


class Graph(nn.Module):
    """Pixels `(n, h, w, 3)` uint8 -> score `(n,)`, map `(n, h, w)` and verdict `(n,)`."""

    def __init__(self, model: PatchCore, precision: torch.dtype, threshold: float):
        super().__init__()
        self.extractor = copy.deepcopy(model.extractor_).cpu()
        for module in self.extractor.modules():  # half of the export's time goes into these
            if hasattr(module, "inplace"):
                module.inplace = False
        self.recipe = RECIPES[model.options["patch_features"]]
        self.score, self.grid, self.size = model.score, model.grid_, model.size_
        bank = model.memory_bank_.cpu().clone()
        # Distances do not change when both sides move; near the origin they lose fewer digits.
        origin = bank.mean(0)
        bank = (bank - origin).to(precision)
        for name, tensor in (
                ("mean", torch.tensor(model.transform_.mean).view(3, 1, 1)),
                ("std", torch.tensor(model.transform_.std).view(3, 1, 1)),
                ("scale", model.feature_scale_.cpu().clone()), ("origin", origin), ("bank", bank),
                ("half_norms", bank.float().square().sum(1) / 2),
                ("threshold", torch.tensor(threshold, dtype=torch.float32))):
            self.register_buffer(name, tensor)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        rows = as_rows(self.recipe(self.extractor(pixels))) * self.scale - self.origin
        index = SplitIndex(self.bank.float(), self.half_norms)
        score, anomaly_map = self.score(rows, index, self.grid, self.size)
        return score, anomaly_map, score > self.threshold


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


def _write(graph: Graph, file: Path, metadata: dict) -> None:
    import onnx

    example = torch.zeros(2, *graph.size, 3, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own insides
        graph(example)  # fills the caches of constants with real tensors, not with traced ones
        try:
            torch.onnx.export(
                graph, (example,), str(file), input_names=["image"],
                output_names=["score", "map", "verdict"], opset_version=OPSET, dynamo=True,
                dynamic_shapes={"image": {0: torch.export.Dim("n")}}, external_data=False,
                verbose=False)
        except Exception as error:  # the exporter has many ways to fail
            raise InputError(f"torch {torch.__version__} cannot express this model in ONNX: "
                             f"{first_line(error)}") from error
    content = onnx.load(file)
    if not content.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise InputError(f"torch {torch.__version__} fixes the number of images of this model in "
                         "ONNX; export it with other patch_features")
    content.producer_name, content.producer_version = "indad", __version__
    onnx.helper.set_model_props(content, {"indad": json.dumps(metadata)})
    onnx.checker.check_model(content)
    onnx.save(content, file)


def _check_sources(model: PatchCore, images: object) -> tuple[list, str]:
    """Up to 50 images to compare on, and where they came from."""
    if images is not None:
        sources, images_from = as_list(images), "given"
    elif getattr(model, "examples_", None):
        sources, images_from = model.examples_, "training"
    else:
        generator, (height, width) = np.random.default_rng(0), model.size_
        sources = [generator.integers(0, 256, (height, width, 3), np.uint8) // contrast
                   for contrast in (1, 2, 4, 8)]
        images_from = "noise"
    if not sources:
        raise InputError("there are no images to compare on; leave check_images out for noise")
    return sources[:EXAMPLES], images_from


def _compare(model: PatchCore, file: Path, sources: list,
             threshold: float) -> tuple[float, float, int]:
    """The differences of `Parity`."""
    wanted = model.predict(sources)
    pixels = np.stack([model.transform_.pixels(as_rgb(source)) for source in sources])
    scores, maps, verdicts = run_onnx(file, pixels)
    size = np.maximum(np.abs(wanted.scores), threshold / 100)
    return (float(np.max(np.abs(scores - wanted.scores) / size)),
            float(np.max(np.abs(maps - wanted.model_maps)) / np.max(wanted.model_maps)),
            int(np.sum(verdicts != (wanted.scores > threshold))))


def run_onnx(file: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, maps and verdicts that onnxruntime computes on the CPU, few images at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    parts = [session.run(["score", "map", "verdict"], {"image": pixels[i:i + 4]})
             for i in range(0, len(pixels), 4)]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _check_packages() -> None:
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"export needs the package {missing[0]}, which is not installed; run: "
                         f"pip install {' '.join(PACKAGES)}")
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise InputError(f"export needs torch 2.5 or newer, and this is {torch.__version__}; "
                         "upgrade torch")
