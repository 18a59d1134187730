"""PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265): remember good patches, measure the rest.

    images -> backbone -> patch features -> coreset -> memory bank -> nearest distance
           -> anomaly map + image score

The steps are functions in features.py, coreset.py, neighbors.py and scores.py; this class only
wires them. Left out: saving, export and the approximate (IVFPQ) search of the reference code.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from .backbones import OFFLINE, load_backbone, pick_device
from .batches import Batch, as_list, load_batches
from .coreset import greedy_coreset, random_coreset
from .errors import InputError, unknown
from .features import RECIPES, as_rows, layer_scales
from .images import Frame, ImageTransform, to_photo
from .neighbors import nearest
from .projections import PROJECTIONS, mean_distances
from .scores import BORDERS, IMAGE_SCORES, anomaly_maps

Progress = Callable[[str, int, int], None]  # (what, done, total)


@dataclass
class Prediction:
    """What a model says about n images; higher is more anomalous.

    Attributes:
        scores: `(n,)` float32, one number an image.
        model_maps: `(n, h, w)` float32, in the frame that the model saw; metrics use these.
        frames: where that frame lies in each photo.
        indices: positions in the source of the images that could be read.
        transform: what took the photos there; it takes their masks there too.
        skipped: (position, reason) of those that could not.
    """

    scores: np.ndarray
    model_maps: np.ndarray
    frames: list[Frame]
    indices: list[int]
    transform: ImageTransform
    skipped: list[tuple[int, str]] = field(default_factory=list)

    @property
    def maps(self) -> "PhotoMaps":
        """The maps in the pixels of the original photos, `(h_i, w_i)` each, computed on access."""
        return PhotoMaps(self)


class PhotoMaps(Sequence):
    """A sequence of maps that are laid over their photos only when asked for."""

    def __init__(self, prediction: Prediction):
        self._prediction = prediction

    def __len__(self) -> int:
        return len(self._prediction.frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return to_photo(self._prediction.model_maps[index], self._prediction.frames[index])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """`(n, h, w)`, if all photos have one size."""
        return np.stack(list(self)).astype(dtype or np.float32)


class PatchCore(nn.Module):
    """Anomaly detection from good images only.

    The constructor stores its arguments and does nothing else; learned state ends in "_".

    Args:
        backbone: a name of `backbones.BACKBONES`.
        layers: feature maps to use, as timm's `out_indices`; the registry's choice if None.
        resize, crop, normalization: see `images.ImageTransform` and `load_backbone`.
        patch_features: "weighted", "concatenate", "adaptive" or "unpadded", see features.py.
        balance_layers: scale the layers to equal variance, see `features.layer_scales`.
        coreset_ratio: share of the patches that the memory bank keeps, in (0, 1].
        coreset: "greedy" or "random".
        coreset_start: where greedy selection begins: at a "random" patch, at the "first", or at
            the patch with the largest "mean" distance to ten random ones.
        projection: what the selection sees: the features themselves (None), or a random
            projection: "linear", "sparse" or "sparse-if-smaller", see projections.py.
        num_neighbors: a patch's score is its mean distance to so many bank entries.
        squared: square the distances, as faiss and so the reference implementation do.
        image_score: "max", "reweighted", "top" or "ind_knn_ad", see scores.py.
        reweight_neighbors: b of Eq. 7.
        map_upsampling, map_sigma, map_kernel_size, map_border: see `scores.anomaly_maps`.
        batch_size, device: change speed, never a score (beyond 1e-4).
        seed: fixes the start, the projection and the calibration subset.

    Learned: `memory_bank_` (m, d), `coreset_indices_` (m,) rows of all training patches in the
    order of picking, `coreset_radii_` (m,), `grid_` (patches down, across), `transform_`, and
    `good_scores_`, `good_peaks_`: leave-one-out scores and map peaks of good images, from which
    thresholds.py takes its decision; `timings_` in seconds; `skipped_` (position, reason).

    Example:
        >>> model = PatchCore(coreset_ratio=0.1).fit(train)
        >>> prediction = model.predict(test)
        >>> prediction.scores.shape, prediction.maps[0].shape
    """

    def __init__(self, *, backbone: str = OFFLINE, layers: tuple[int, ...] | None = None,
                 resize: int | tuple[int, int] = (256, 256), crop: int | None = None,
                 normalization: str = "backbone", patch_features: str = "weighted",
                 balance_layers: bool = True,
                 coreset_ratio: float = 0.1, coreset: str = "greedy",
                 coreset_start: str = "random", projection: str | None = None,
                 num_neighbors: int = 1, squared: bool = False, image_score: str = "max",
                 reweight_neighbors: int = 9, map_upsampling: str = "bilinear",
                 map_sigma: float = 4.0, map_kernel_size: int = 33,
                 map_border: str = "symmetric", batch_size: int = 16, device: str = "auto",
                 seed: int = 0):
        super().__init__()
        self.options = {name: value for name, value in locals().items()
                        if name not in ("self", "__class__")}

    def fit(self, images: object, *, strict: bool = True,
            progress: Progress | None = None) -> "PatchCore":
        """Fill the memory bank from good images.

        Args:
            images: a dataset, or a list of paths, PIL images, arrays or tensors.
            strict: raise at the first unreadable image; otherwise go on without it and list it
                in `skipped_`.
            progress: called as `progress(what, done, total)`.

        Raises `InputError` for options out of range, no images, or (if strict) an unreadable one.
        """
        self.check_options()
        o = self.options
        self.device_ = pick_device(o["device"])
        extractor, self.transform_ = load_backbone(
            o["backbone"], layers=o["layers"], resize=o["resize"], crop=o["crop"],
            normalization=o["normalization"])
        self.extractor_ = extractor.to(self.device_)
        self.register_buffer("feature_scale_", torch.ones(1, device=self.device_))
        began = time.perf_counter()
        features = self._remember(as_list(images), strict, progress)  # (n, d)
        if o["balance_layers"]:
            self.feature_scale_ = layer_scales(features, self.extractor_.channels)
            features *= self.feature_scale_
        extracted = time.perf_counter()
        indices, radii = self._select(features, progress)
        selected = time.perf_counter()
        self.register_buffer("memory_bank_", features[indices])
        self.register_buffer("coreset_indices_", indices)
        self.register_buffer("coreset_radii_", radii)
        self.good_scores_, self.good_peaks_ = self._leave_one_out(features, progress)
        self.timings_ = {"extract_s": extracted - began, "coreset_s": selected - extracted,
                         "fit_s": time.perf_counter() - began}
        return self

    @torch.inference_mode()
    def predict(self, images: object, *, strict: bool = True,
                progress: Progress | None = None) -> Prediction:
        """Score images: a dataset, a path, a PIL image, an array, a tensor, or a list of them."""
        if not hasattr(self, "memory_bank_"):
            raise InputError("this PatchCore has no memory bank yet; call fit(images) first")
        sources = as_list(images)
        scores, maps, frames, indices, skipped = [], [], [], [], []
        for batch in self._batches(sources, strict):
            skipped += batch.skipped
            if batch.indices:
                batch_scores, batch_maps = self.score(self.patch_features(batch.pixels),
                                                      self.memory_bank_, batch.size)
                scores.append(batch_scores.cpu().numpy())
                maps.append(batch_maps.cpu().numpy())
                frames += batch.frames
                indices += batch.indices
            if progress:
                progress("scoring", len(indices) + len(skipped), len(sources))
        if not indices:
            raise InputError("no readable image to score"
                             + (f": {skipped[0][1]}" if skipped else ""))
        return Prediction(np.concatenate(scores), np.concatenate(maps), frames, indices,
                          self.transform_, skipped)

    @torch.inference_mode()
    def patch_features(self, pixels: Tensor) -> Tensor:
        """Normalised images `(b, 3, h, w)` -> patch features `(b, d, gh, gw)`."""
        maps = self.extractor_(pixels.to(self.device_))
        features = RECIPES[self.options["patch_features"]](maps)
        return features * self.feature_scale_[:, None, None]

    def score(self, features: Tensor, bank: Tensor,
              size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Patch features `(b, d, gh, gw)` and a bank -> scores `(b,)` and maps `(b, h, w)`."""
        o = self.options
        b, d, *grid = features.shape
        rows = as_rows(features)
        distances, indices = nearest(rows, bank, min(o["num_neighbors"], len(bank)))
        patches = (distances.square() if o["squared"] else distances).mean(1).view(b, -1)
        scores = IMAGE_SCORES[o["image_score"]](
            patches, rows.view(b, -1, d), indices[:, 0].view(b, -1), bank, o["reweight_neighbors"])
        maps = anomaly_maps(patches.view(b, *grid), size, upsampling=o["map_upsampling"],
                            sigma=o["map_sigma"], kernel_size=o["map_kernel_size"],
                            border=o["map_border"])
        return scores, maps

    def _remember(self, sources: list, strict: bool, progress: Progress | None) -> Tensor:
        """All training patches `(n, d)`, written into one array so that nothing is held twice."""
        features, filled, read, self.skipped_ = None, 0, 0, []
        for batch in self._batches(sources, strict):
            self.skipped_ += batch.skipped
            if batch.indices:
                maps = self.patch_features(batch.pixels)
                rows = as_rows(maps).cpu()
                if features is None:
                    self.grid_, self.size_ = tuple(maps.shape[-2:]), batch.size
                    per_image = len(rows) // len(batch.indices)
                    features = torch.empty(len(sources) * per_image, rows.shape[1])
                features[filled:filled + len(rows)] = rows
                filled += len(rows)
                read += len(batch.indices)
            if progress:
                progress("extracting features", read + len(self.skipped_), len(sources))
        if features is None:
            raise InputError("no readable good image to learn from"
                             + (f": {self.skipped_[0][1]}" if self.skipped_ else ""))
        return features[:filled].to(self.device_)

    def _select(self, features: Tensor, progress: Progress | None) -> tuple[Tensor, Tensor]:
        o = self.options
        count = len(features)
        size = max(1, int(count * o["coreset_ratio"]))
        if o["coreset"] == "random" or size == count:
            indices = random_coreset(count, size, seed=o["seed"])
            return indices.to(features.device), torch.full((size,), float("nan"))
        seen = features
        if o["projection"]:
            seen = PROJECTIONS[o["projection"]](features, o["seed"])
        known = mean_distances(seen, o["seed"]) if o["coreset_start"] == "mean" else None
        selection = greedy_coreset(
            seen, size, start=0 if o["coreset_start"] == "first" else None, seed=o["seed"],
            distances=known,
            progress=progress and (lambda done, total: progress("selecting coreset", done, total)))
        return selection.indices.to(features.device), selection.radii

    @torch.inference_mode()
    def _leave_one_out(self, features: Tensor, progress: Progress | None,
                       limit: int = 100) -> tuple[np.ndarray, np.ndarray]:
        """How the model scores good images it has not seen, from the training images themselves.

        Each of up to `limit` images, drawn by seed, is scored against the bank without its own
        patches. Returns image scores and the peaks of the maps, `(k,)` each; empty for one image.
        """
        patches = self.grid_[0] * self.grid_[1]
        images = len(features) // patches
        owners = self.coreset_indices_ // patches  # the image that each bank entry came from
        chosen = random_coreset(images, min(images, limit), seed=self.options["seed"]).tolist()
        scores, peaks = [], []
        for done, image in enumerate(chosen):
            others = self.memory_bank_[owners != image]
            if len(others):
                rows = features[image * patches:(image + 1) * patches]  # (p, d)
                score, maps = self.score(rows.T.reshape(1, -1, *self.grid_), others, self.size_)
                scores.append(float(score))
                peaks.append(float(maps.max()))
            if progress:
                progress("calibrating", done + 1, len(chosen))
        return np.array(scores), np.array(peaks)

    def _batches(self, sources: list, strict: bool) -> Iterator[Batch]:
        return load_batches(sources, self.transform_, batch_size=self.options["batch_size"],
                            strict=strict)

    def check_options(self) -> None:
        o = self.options
        if not 0 < o["coreset_ratio"] <= 1:
            raise InputError(f"coreset_ratio is {o['coreset_ratio']}; it must be in (0, 1]")
        for name, known in (("patch_features", RECIPES), ("coreset", ("greedy", "random")),
                            ("coreset_start", ("random", "first", "mean")),
                            ("image_score", IMAGE_SCORES), ("map_border", BORDERS),
                            ("map_upsampling", ("bilinear", "nearest")),
                            ("projection", (*PROJECTIONS, None))):
            if o[name] not in known:
                raise unknown(name, o[name], [str(k) for k in known])
        if o["balance_layers"] and o["patch_features"] == "adaptive":
            raise InputError("balance_layers needs features that are channels of layers; "
                             "'adaptive' ones are not")
        for name in ("num_neighbors", "reweight_neighbors", "batch_size", "map_kernel_size"):
            if o[name] < 1:
                raise InputError(f"{name} is {o[name]}; it must be at least 1")
        if o["map_kernel_size"] % 2 == 0:
            raise InputError(f"map_kernel_size is {o['map_kernel_size']}; it must be odd")
