"""PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265): remember good patches, measure the rest.

    images -> backbone -> patch features -> coreset -> memory bank -> nearest distance
           -> anomaly map + image score

The steps are functions in features.py, growth.py, coreset.py, neighbors.py and scores.py; this
class only wires them. Left out: the approximate (IVFPQ) search of the reference code.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .augmentation import augmented, views_per_image
from .backbones import OFFLINE, load_backbone, pick_device
from .batches import Batch, as_list, fingerprint_of, load_batches
from .calibration import CALIBRATION_IMAGES, FOLDS, hold_out
from .coreset import CHUNK_ROWS, CoresetInterrupted, CoresetSelection, expected_seconds
from .errors import InputError
from .extraction import PatchFeatures, gather
from .features import RECIPES, as_rows, layer_scales
from .growth import calibrate, grow, room, select, worst_covered
from .images import path_of
from .memory import FitPlan, fits, memory_budget
from .neighbors import MemoryIndex
from .options import check_options
from .prediction import Prediction, joined
from .scores import IMAGE_SCORES, anomaly_maps
from .storage import describe, options_of, read_model, restore, write_model

Progress = Callable[[str, int, int], None]  # (what, done, total)
EXAMPLES = 50  # training images that are remembered (not copied), for an export's check
LOAD_OPTIONS = ("backbone", "layers", "weights", "resize", "crop", "normalization", "device")
# What patch features depend on; everything else works on extracted ones.
EXTRACTION_OPTIONS = (*LOAD_OPTIONS, "patch_features", "augmentation", "precision")


class PatchCore(nn.Module):
    """Anomaly detection from good images only.

    The constructor stores its arguments and does nothing else; learned state ends in "_".

    Args:
        backbone: a name of `backbones.BACKBONES`.
        layers: feature maps to use, as timm's `out_indices`; the registry's choice if None.
        weights: a checkpoint of one's own for the backbone, see `load_backbone`.
        resize, crop, normalization: see `images.ImageTransform` and `load_backbone`.
        patch_features: "weighted", "concatenate", "unfolded", "single", "adaptive", "unpadded"
            or "tokens", see features.py.
        augmentation: views that are added to each training image, see augmentation.py.
        balance_layers: scale the layers to equal variance, see `features.layer_scales`.
        coreset_ratio: share of the patches that the memory bank keeps, in (0, 1].
        coreset: "greedy" or "random".
        coreset_start: where greedy selection begins: at a "random" patch, at the "first", or at
            the patch with the largest "mean" distance to ten random ones.
        projection: what the selection sees: the features themselves (None), or a random
            projection: "linear", "sparse" or "sparse-if-smaller", see projections.py.
        num_neighbors: a patch's score is its mean distance to so many bank entries; published
            variants use the nearest one only.
        squared: square the distances, as faiss and so the reference implementation do.
        image_score: "max", "reweighted", "top", "peak" or "ind_knn_ad", see scores.py.
        reweight_neighbors: b of Eq. 7.
        map_upsampling, map_sigma, map_kernel_size, map_border: see `scores.anomaly_maps`.
        calibration: how good images that the bank has not seen are found, "leave-one-out", "folds"
            or "held-out" (which fits on four fifths of the images), see calibration.py.
        batch_size, device: change speed, never a score (beyond 1e-4).
        precision: of the backbone: "float32", or "float16" for mixed precision, which is faster on
            a GPU and moves scores of EfficientNet-Lite0 by up to 1.5e-3 of their size.
        memory_budget: bytes, or a text such as "2GB", that training features may take in memory;
            what is larger goes to a float16 file. Half of the free memory if None.
        seed: fixes the start, the projection and the images that calibrate.
        reserve: share of the patches that is kept beside a greedy bank for `update`, see growth.py.
            Nothing is searched there: no score depends on it.

    Learned: `memory_bank_` (m, d), `coreset_indices_` (m,) rows of all patches fitted on in the
    order of picking, `coreset_radii_` (m,), `reserve_` (r, d) and `reserve_indices_` (r,), the
    same of the reserve, `grid_` (patches down, across), `transform_`, and
    `good_scores_`, `good_peaks_`: scores and map peaks of good images as if they were new, from
    which thresholds.py takes its decision; `timings_` in seconds; `skipped_` (position, reason);
    `selected_from_`: "float32", or "float16" if the features were above the memory budget;
    `fitted_on_`, positions of the images that the bank was selected from, among all that `fit` and
    then `update` were given; `images_`, how many these are, and `given_`, how many those;
    `files_` (given_,), their paths, None where a picture was given instead, and `fingerprint_`, a
    SHA-256 over their contents; `examples_`, the first of them; all if `fit` was given images.

    `false_alarm_rate`, 5 %, is the one that `save` and `export_onnx` take thresholds for.

    Example:
        >>> model = PatchCore(coreset_ratio=0.1).fit(train)
        >>> prediction = model.predict(test)
        >>> prediction.scores.shape, prediction.maps[0].shape
    """

    false_alarm_rate = 0.05

    def __init__(self, *, backbone: str = OFFLINE, layers: tuple[int, ...] | None = None,
                 weights: str | None = None,
                 resize: int | tuple[int, int] | None = None, crop: int | None = None,
                 normalization: str = "backbone", patch_features: str = "weighted",
                 augmentation: str = "none", balance_layers: bool = True,
                 coreset_ratio: float = 0.1, coreset: str = "greedy",
                 coreset_start: str = "random", projection: str | None = None,
                 num_neighbors: int = 1, squared: bool = False, image_score: str = "max",
                 reweight_neighbors: int = 9, map_upsampling: str = "bilinear",
                 map_sigma: float = 4.0, map_kernel_size: int = 33,
                 map_border: str = "symmetric", calibration: str = "leave-one-out",
                 batch_size: int = 16, device: str = "auto",
                 precision: str = "float32", memory_budget: int | str | None = None,
                 seed: int = 0, reserve: float = 0.0):
        super().__init__()
        self.options = {name: value for name, value in locals().items()
                        if name not in ("self", "__class__")}

    def fit(self, images: object, *, groups: Sequence | None = None, strict: bool = True,
            progress: Progress | None = None) -> "PatchCore":
        """Fill the memory bank from good images.

        Args:
            images: a dataset, or a list of paths, PIL images, arrays or tensors.
            groups: a label for each image; images of one label show the same part and are
                calibrated as one, see calibration.py. What the dataset knows (`.groups`) if None.
            strict: raise at the first unreadable image; otherwise go on without it and list it
                in `skipped_`.
            progress: called as `progress(what, done, total)`.

        Raises `InputError` for options out of range, no images, or (if strict) an unreadable one.
        Ctrl-C while the coreset is selected leaves a model with the patches picked so far: it can
        predict, but has no threshold, as nothing was calibrated.
        """
        began = time.perf_counter()
        features, groups = self._extract_good(images, groups, strict, progress)
        extract_s = time.perf_counter() - began
        self.fit_features(features, groups=groups, progress=progress)
        sources = as_list(images)
        self.examples_, self.files_ = sources[:EXAMPLES], [path_of(image) for image in sources]
        self.fingerprint_ = fingerprint_of(sources, self.skipped_)
        self.timings_["extract_s"] += extract_s
        self.timings_["fit_s"] += extract_s
        return self

    def update(self, images: object, *, groups: Sequence | None = None, strict: bool = True,
               progress: Progress | None = None) -> "PatchCore":
        """Learn more good images later, without those learned before.

        The bank grows to `coreset_ratio` of all patches seen, by those of the new images (and of
        the reserve, if one was kept) that are farthest from it, see growth.py, also for what
        becomes of the threshold. The scales of the
        layers stay those of the first images: others would make every distance another. So when
        the new images look very different (another camera), fit again on all of them.

        Takes what `fit` takes; here `skipped_` counts from the first of the new images. Raises what
        `fit` raises, and `InputError` if there is no bank yet. Whatever stops it, Ctrl-C included,
        leaves the model as it was.

        Example:
            >>> model = PatchCore.load("bolts").update(more)
            >>> model.save("bolts")
        """
        self._check_fitted()
        began = time.perf_counter()
        features, groups = self._extract_good(images, groups, strict, progress)
        extracted, skipped = time.perf_counter(), features.skipped
        sources = as_list(images)
        fingerprint = self.fingerprint_ and fingerprint_of(sources, skipped, self.fingerprint_)
        features, judges, positions = self._held_out(features, groups)
        grow(self, self._scaled(features.rows), judges, groups, progress)
        self.skipped_, self.fitted_on_ = skipped, self.fitted_on_ + [
            self.given_ + position for position in positions]
        self.files_ = (self.files_ or [None] * self.given_) + [
            path_of(image) for image in sources]
        self.fingerprint_, self.given_ = fingerprint, self.given_ + len(sources)
        self.timings_ = {"extract_s": extracted - began, "fit_s": time.perf_counter() - began}
        return self

    def extract(self, images: object, *, training: bool = False, strict: bool = True,
                progress: Progress | None = None) -> PatchFeatures:
        """Patch features of images, as `fit_features` and `predict_features` take them.

        They depend on `EXTRACTION_OPTIONS` only: one extraction serves every coreset, score and
        seed. `training` adds the views of `augmentation`. Raises what `fit` raises.
        """
        self.prepare()
        sources, views = as_list(images), 1
        if training:
            views = views_per_image(self.options["augmentation"])
            sources = augmented(sources, self.options["augmentation"])
        features = gather(self._parts(sources, strict, "extracting features", progress),
                          len(sources), memory_budget(self.options["memory_budget"]))
        features.views = views
        # Readers and skippers count images; of an unreadable one all views are.
        features.skipped = [(i // views, why) for i, why in features.skipped if i % views == 0]
        return features

    def fit_features(self, features: PatchFeatures, *, groups: Sequence | None = None,
                     selection: CoresetSelection | None = None,
                     progress: Progress | None = None) -> "PatchCore":
        """Fill the memory bank from extracted features; their rows are scaled in place.

        Args:
            groups: a label for each of the images that could be read, see `fit`.
            selection: the picks of an earlier fit of the same features with a larger
                `coreset_ratio` and the same seed; as picks are nested, its first ones are these.
        """
        self.prepare()
        began = time.perf_counter()
        self.skipped_, self.examples_ = features.skipped, []
        self.files_ = self.fingerprint_ = None
        self.given_ = len(features) // features.views + len(features.skipped)
        features, judges, self.fitted_on_ = self._held_out(features, groups)
        self.grid_, self.size_, self.views_ = features.grid, features.size, features.views
        self.images_ = len(features) // features.views
        rows = self._on_device(features.rows)
        self.register_buffer("feature_scale_", torch.ones(1, device=self.device_))
        if self.options["balance_layers"]:
            self.feature_scale_ = layer_scales(rows, self.extractor_.channels).to(self.device_)
        rows = self._scaled(rows)
        self.selected_from_ = str(rows.dtype).removeprefix("torch.")
        scaled = time.perf_counter()
        try:
            picked = self._select(rows, progress) if selection is None else (
                _first_picks(selection, room(self.options, len(rows))))
        except CoresetInterrupted as stopped:
            self.keep(rows[stopped.selection.indices], stopped.selection)
            raise
        self.keep(rows[picked.indices], picked)
        left = worst_covered(rows, self.memory_bank_, picked.indices, self.options, len(rows))
        self.keep_reserve(rows[left], left)
        selected = time.perf_counter()
        owners = self.coreset_indices_ // (features.patches * self.views_)
        self.good_scores_, self.good_peaks_ = calibrate(self, rows, self.memory_bank_, owners,
                                                        judges, groups, progress)
        self.timings_ = {"extract_s": scaled - began, "coreset_s": selected - scaled,
                         "fit_s": time.perf_counter() - began}
        return self

    @torch.inference_mode()
    def plan(self, images: object) -> FitPlan:
        """What `fit` will take, from two of the images and timings of a moment.

        Raises `InputError` for options out of range or when neither image can be read.
        """
        self.prepare()
        o, sources = self.options, as_list(images)
        batch = next(self._batches(sources[:2], strict=False), None)
        if batch is None or not batch.indices:
            raise InputError("no readable good image among the first two"
                             + (f": {batch.skipped[0][1]}" if batch else ""))
        _, dim, *grid = self.patch_features(batch.pixels).shape  # the first run is slow
        began = time.perf_counter()
        self.patch_features(next(self._batches(sources[:2], strict=False)).pixels)
        per_image = (time.perf_counter() - began) / len(batch.indices)
        views = views_per_image(o["augmentation"])
        patches = len(sources) * views * grid[0] * grid[1]
        size = room(o, patches)
        searched = min(len(sources), CALIBRATION_IMAGES) * grid[0] * grid[1]
        searched += patches * (o["reserve"] > 0)
        # A fold selects four fifths of the coreset from four fifths of the patches.
        selections = 1 + 0.64 * FOLDS * (o["calibration"] == "folds")
        seconds = per_image * views * len(sources) + expected_seconds(
            int(selections * patches), size, searched, dim)
        return FitPlan(len(sources), patches, dim, size, memory_budget(o["memory_budget"]), seconds)

    @torch.inference_mode()
    def predict(self, images: object, *, strict: bool = True,
                progress: Progress | None = None) -> Prediction:
        """Score images: a dataset, a path, a PIL image, an array, a tensor, or a list of them."""
        return joined(self.stream(images, strict=strict, progress=progress))

    @torch.inference_mode()
    def stream(self, images: object, *, strict: bool = True,
               progress: Progress | None = None) -> Iterator[Prediction]:
        """What `predict` says, batch by batch, so that any number of images takes the same memory.

        `indices` and `skipped` count from the first of all images; a batch of unreadable ones has
        no scores.
        """
        self._check_fitted()
        yield from self._scored(self._parts(as_list(images), strict, "scoring", progress))

    @torch.inference_mode()
    def predict_features(self, features: PatchFeatures) -> Prediction:
        """Score images whose features were extracted before, by a model with the same options."""
        self._check_fitted()
        prediction = joined(self._scored(features.split(self.options["batch_size"])))
        prediction.skipped = features.skipped
        return prediction

    def _scored(self, parts: Iterable[PatchFeatures]) -> Iterator[Prediction]:
        index = MemoryIndex(self.memory_bank_)
        for part in parts:
            scores, maps = np.empty(0, np.float32), np.empty((0, *self.size_), np.float32)
            if len(part):
                rows = part.rows.to(self.device_, torch.float32) * self.feature_scale_
                scores, maps = (found.cpu().numpy() for found in
                                self.score(rows, index, part.grid, part.size))
            yield Prediction(scores, maps, part.frames, part.indices, self.transform_,
                             part.skipped)

    def save(self, folder: str | Path) -> None:
        """Write the fitted model into a folder: `model.safetensors`, and `model.json` to read.

        Raises `InputError` if there is nothing to save, or something else in the folder.
        """
        self._check_fitted()
        write_model(Path(folder), *describe(self))

    @classmethod
    def load(cls, folder: str | Path, *, weights: str | Path | None = None, device: str = "auto",
             precision: str = "float32") -> "PatchCore":
        """A saved model, to predict with: on the same device its scores are the same to the bit.

        Args:
            weights: where the checkpoint lies that the model was fitted with, if it had one of
                its own and that has moved.
            device, precision: as of the constructor; they are no part of a model.

        Executes nothing that is in the files. Raises `InputError` for files that are missing,
        changed or of a newer format, and for a backbone that is not the one it was fitted with.

        Example:
            >>> model.save("bolts")
            >>> PatchCore.load("bolts").predict("new.jpg").scores
        """
        folder = Path(folder)
        record, tensors = read_model(folder)
        try:
            model = cls(**options_of(record, folder, weights), device=device, precision=precision)
            model.prepare()
            restore(model, record, tensors, folder)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: its record is not as indad writes it "
                             f"({type(error).__name__}: {error})") from error
        return model

    @torch.inference_mode()
    def patch_features(self, pixels: Tensor) -> Tensor:
        """Normalised images `(b, 3, h, w)` -> patch features `(b, d, gh, gw)`, not yet scaled."""
        half = self.options["precision"] == "float16"
        with torch.autocast(self.device_.type, torch.float16, enabled=half):
            maps = [feature_map.float() for feature_map in self.extractor_(pixels.to(self.device_))]
        return RECIPES[self.options["patch_features"]](maps)

    def score(self, rows: Tensor, index: MemoryIndex, grid: tuple[int, int],
              size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Scaled patches `(n * p, d)` and a bank -> scores `(n,)` and maps `(n, h, w)`."""
        o = self.options
        distances, indices = index.search(rows, min(o["num_neighbors"], len(index.bank)))
        per_image = (-1, grid[0] * grid[1])
        patches = (distances.square() if o["squared"] else distances).mean(1).view(per_image)
        maps = anomaly_maps(patches.view(-1, *grid), size, upsampling=o["map_upsampling"],
                            sigma=o["map_sigma"], kernel_size=o["map_kernel_size"],
                            border=o["map_border"])
        scores = IMAGE_SCORES[o["image_score"]](
            patches, rows.view(*per_image, rows.shape[1]), indices[:, 0].view(per_image), index,
            o["reweight_neighbors"], maps)
        return scores, maps

    def prepare(self, *, shared: "PatchCore | None" = None) -> None:
        """Backbone, transform and device, as the options say; those of `shared` if they fit."""
        self.check_options()
        o = self.options
        wanted = {name: o[name] for name in LOAD_OPTIONS}
        if getattr(self, "_loaded", None) == wanted:  # plan, then fit: once is enough
            return
        if shared is not None and getattr(shared, "_loaded", None) == wanted:
            self.device_, self.transform_ = shared.device_, shared.transform_
            self.extractor_ = shared.extractor_
        else:
            self.device_ = pick_device(o["device"])
            extractor, self.transform_ = load_backbone(
                o["backbone"], layers=o["layers"], weights=o["weights"], resize=o["resize"],
                crop=o["crop"], normalization=o["normalization"])
            self.extractor_ = extractor.to(self.device_)
        self._loaded = wanted

    def keep(self, bank: Tensor, selection: CoresetSelection) -> None:
        """Make these patches `(m, d)`, which `selection` chose, the memory bank."""
        self.register_buffer("memory_bank_", bank.to(self.device_, torch.float32))
        self.register_buffer("coreset_indices_", selection.indices.to(self.device_))
        self.register_buffer("coreset_radii_", selection.radii)
        self.keep_reserve(bank.new_empty(0, bank.shape[1]), selection.indices.new_empty(0))
        self.good_scores_ = self.good_peaks_ = np.empty(0)

    def keep_reserve(self, rows: Tensor, indices: Tensor) -> None:
        """Make these patches `(r, d)`, rows `(r,)` of all, the reserve of the memory bank."""
        self.register_buffer("reserve_", rows.to(self.device_, torch.float32))
        self.register_buffer("reserve_indices_", indices.to(self.device_))

    def _extract_good(self, images: object, groups: Sequence | None, strict: bool,
                      progress: Progress | None) -> tuple[PatchFeatures, list | None]:
        """Features of good images, and the group of each that could be read."""
        groups = getattr(images, "groups", None) if groups is None else groups
        if groups is not None and len(groups) != (count := len(as_list(images))):
            raise InputError(f"groups has {len(groups)} labels for {count} images; give one each")
        features = self.extract(images, training=True, strict=strict, progress=progress)
        return features, features.pick(groups)

    def _held_out(self, features: PatchFeatures, groups: Sequence | None,
                  ) -> tuple[PatchFeatures, Tensor | None, list[int]]:
        """-> features to learn, those of the judges if they are held out, positions of the first.
        """
        positions = [i // features.views for i in features.indices[::features.views]]
        if self.options["calibration"] != "held-out":
            return features, None, positions
        kept, held_out = hold_out(len(positions), groups, seed=self.options["seed"])
        budget = memory_budget(self.options["memory_budget"])
        return (features.of(kept, budget), features.of(held_out, budget).rows,
                [positions[image] for image in kept])

    def _scaled(self, rows: Tensor) -> Tensor:
        """The same rows, scaled in place."""
        rows = self._on_device(rows)
        for part in rows.split(CHUNK_ROWS) if self.options["balance_layers"] else ():
            part *= self.feature_scale_.to(part.device)
        return rows

    def _parts(self, sources: list, strict: bool, what: str,
               progress: Progress | None) -> Iterator[PatchFeatures]:
        """Features batch by batch, while the next images are being read."""
        done = 0
        for batch in self._batches(sources, strict):
            part = PatchFeatures(torch.empty(0), (0, 0), (0, 0), [], [], batch.skipped)
            if batch.indices:
                maps = self.patch_features(batch.pixels)
                part = PatchFeatures(as_rows(maps), tuple(maps.shape[-2:]), batch.size,
                                     batch.frames, batch.indices, batch.skipped)
            yield part
            done += len(batch.indices) + len(batch.skipped)
            if progress:
                progress(what, done, len(sources))

    def _on_device(self, rows: Tensor) -> Tensor:
        """On the GPU if there is one and they take no more than half of what is free there."""
        if self.device_.type == "cuda" and fits(*rows.shape,
                                                torch.cuda.mem_get_info(self.device_)[0] // 2):
            return rows.to(self.device_)
        return rows

    def _check_fitted(self) -> None:
        if not hasattr(self, "memory_bank_"):
            raise InputError("this PatchCore has no memory bank yet; call fit(images) first")

    def _select(self, rows: Tensor, progress: Progress | None) -> CoresetSelection:
        return select(rows, room(self.options, len(rows)), self.options, progress=progress)

    def _batches(self, sources: list, strict: bool) -> Iterator[Batch]:
        return load_batches(sources, self.transform_, batch_size=self.options["batch_size"],
                            strict=strict)

    def check_options(self) -> None:
        check_options(self.options)


def _first_picks(selection: CoresetSelection, size: int) -> CoresetSelection:
    if len(selection.indices) < size:
        raise ValueError(f"the selection has {len(selection.indices)} picks, {size} are needed")
    return CoresetSelection(selection.indices[:size], selection.radii[:size])
