"""PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265): remember good patches, measure the rest.

    images -> backbone -> patch features -> coreset -> memory bank -> nearest distance
           -> anomaly map + image score

The steps are functions in features.py, coreset.py, neighbors.py, scores.py and calibration.py,
put together in learned/; this class only wires them.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .coreset import CoresetInterrupted, CoresetSelection
from .data.arguments import FLAG, as_path, kind
from .data.levels import Levels
from .data.region import Region
from .data.sources import as_list, training_set
from .engine.extraction import PatchFeatures, features_in
from .engine.memory import memory_budget
from .engine.prediction import Prediction, joined
from .engine.upsampling import check_blur
from .errors import Progress
from .features import PatchNetwork, load_network
from .learned import estimator, storage
from .learned.copies import each_once, learned_digests
from .learned.fitted import Fitted
from .learned.growth import grow
from .learned.learning import learn
from .learned.module import DetectorModule
from .learned.plan import FitPlan, plan_fit
from .learned.scoring import check_features, scored
from .presets import NETWORK_OPTIONS, Parameters, check_options
from .scores import score_images


def _learned(name: str) -> Any:
    """A field of what was learned, under its name with an underscore, as scikit-learn has them."""
    return property(lambda model: getattr(model.fitted_, name), doc=f"`Fitted.{name}`")


def _of_network(name: str) -> Any:
    return property(lambda model: getattr(model.prepare(), name), doc=f"`PatchNetwork.{name}`")


class PatchCore(estimator.Estimator, Parameters):
    """Anomaly detection from good images only, as a scikit-learn estimator.

    What the constructor takes: see `__init__`, made from the table in `presets.Parameters`; what
    scikit-learn asks besides, like `score_samples`, is in `learned.estimator.Estimator`.

    Learned: `fitted_`, one record, see `learned.fitted.Fitted`; its fields are also attributes that
    end in "_": `memory_bank_` (m, d), `coreset_indices_` (m,), `calibration_scores_` (k,), ...

    Example:
        >>> model = PatchCore(coreset_ratio=0.1).fit(train)
        >>> prediction = model.predict(test)
        >>> prediction.scores.shape, prediction.maps[0].shape
    """

    fitted_: Fitted
    memory_bank_, feature_scale_, reserve_, reserve_indices_ = map(
        _learned, ("memory_bank", "feature_scale", "reserve", "reserve_indices"))
    coreset_indices_, coreset_radii_, calibration_scores_, calibration_peaks_ = map(
        _learned, ("coreset_indices", "coreset_radii", "calibration_scores", "calibration_peaks"))
    grid_, size_, images_, views_ = map(_learned, ("grid", "size", "images", "views"))
    given_, fitted_on_, files_ = map(_learned, ("given", "fitted_on", "files"))
    fingerprint_, examples_, levels_ = map(_learned, ("fingerprint", "examples", "levels"))
    selected_from_, skipped_, timings_ = map(_learned, ("selected_from", "skipped", "timings"))
    extractor_, device_ = map(_of_network, ("extractor", "device"))
    region_ = _learned("region")
    transform_ = property(lambda model: model.prepare().looking_at(
        getattr(getattr(model, "fitted_", None), "region", None)).transform,
        doc="`PatchNetwork.transform`, with the region that is looked at")

    def fit(self, X: object, y: object = None, *, groups: Sequence | None = None,
            strict: bool = True, progress: Progress | None = None) -> "PatchCore":
        """Fill the memory bank from good images.

        Args:
            X: a folder, a dataset, or a list of paths, PIL images, arrays or tensors; for all that
                is taken see `data.sources.as_list`. Or a list of their features, see `extract`.
            y: labels `(n,)`; images that are not 0 (good) are left out. All are good if None.
            groups: a label for each image; images of one label show the same part and are
                calibrated as one, see calibration.py. What the dataset knows (`.groups`) if None.
            strict: raise at the first unreadable image; otherwise go on without it and list it
                in `skipped_`.
            progress: called as `progress(what, done, total)`.

        Raises `InputError` for options out of range, no images, or (if strict) an unreadable one.
        Whatever stops it leaves the model as it was; but Ctrl-C while the coreset is selected
        leaves one with the patches picked so far: it can predict, but has no threshold, as nothing
        was calibrated.
        """
        began = time.perf_counter()
        network = self.prepare()
        training = training_set(X, y, groups)
        if (known := features_in(training.sources, self.memory_budget)) is not None:
            return self.fit_features(known, groups=training.groups, copy=False, progress=progress)
        features = each_once(training, partial(self.extract, training=True, strict=strict,
                                               progress=progress))
        self._assign(features, network, training=training, progress=progress, copy=False,
                     extract_s=time.perf_counter() - began)
        return self

    def fit_features(self, features: PatchFeatures, *, groups: Sequence | None = None,
                     selection: CoresetSelection | None = None, copy: bool = True,
                     progress: Progress | None = None) -> "PatchCore":
        """Fill the memory bank from extracted features.

        Args:
            groups: a label for each of the images that could be read, see `fit`.
            selection: the picks of an earlier fit of the same features with a larger
                `coreset_ratio` and the same seed; as picks are nested, its first ones are these.
            copy: leave the features as they are; otherwise their rows may be scaled where they
                lie, which saves memory where nobody needs them again.
        """
        self._assign(features, self.prepare(), groups=groups, selection=selection, copy=copy,
                     progress=progress)
        return self

    def _assign(self, features: PatchFeatures, network: PatchNetwork, **how: Any) -> None:
        """Learn, and keep what was learned once all of it is there."""
        try:
            self.fitted_ = learn(features, self.options, channels=network.channels,
                                 device=network.device, **how)
        except CoresetInterrupted as stopped:
            self.fitted_ = stopped.fitted
            raise

    def update(self, X: object, *, groups: Sequence | None = None, strict: bool = True,
               progress: Progress | None = None) -> "PatchCore":
        """Learn more good images later, without those learned before.

        The bank grows to `coreset_ratio` of all patches seen, by those of the new images (and of
        the reserve, if one was kept) that are farthest from it, see learned/growth.py, also for
        what becomes of the threshold. The scales of the layers stay those of the first images:
        others would make every distance another. So when the new images look very different
        (another camera), fit again on all of them.

        Takes what `fit` takes; here `skipped_` counts from the first of the new images. Copies of
        what was learned are left out. Raises what `fit` raises, and `InputError` if there is no
        bank yet. Whatever stops it, Ctrl-C included, leaves the model as it was.
        """
        fitted, began = self.check_fitted(), time.perf_counter()
        training = training_set(X, groups=groups)
        extract = partial(self.extract, training=True, levels=fitted.levels,
                          region=fitted.region, strict=strict, progress=progress)
        features = each_once(training, extract, learned_digests(fitted))
        if len(features):  # not nothing but copies
            self.fitted_ = grow(fitted, features, self.options, training=training,
                                progress=progress, extract_s=time.perf_counter() - began)
        return self

    def extract(self, X: object, *, training: bool = False, levels: Levels | None = None,
                region: Region | None = None, strict: bool = True,
                progress: Progress | None = None) -> PatchFeatures:
        """Patch features of images, as `fit_features` and `predict_features` take them; the list of
        their `photos` is what `fit` and `predict` take, also in scikit-learn's searches.

        They depend on `presets.EXTRACTION_OPTIONS`, and on `levels` and `region` (the model's, or
        of these images if they train). `training` adds views by `augmentation`. Raises as `fit`.
        """
        FLAG.check("training", training)
        if levels is None and not training and self.__sklearn_is_fitted__():
            levels, region = self.fitted_.levels, self.fitted_.region
        return self.prepare().extract(
            as_list(X), augmentation=self.augmentation if training else "none", levels=levels,
            region=region, batch_size=self.batch_size, budget=memory_budget(self.memory_budget),
            strict=strict, progress=progress)

    def plan(self, X: object) -> FitPlan:
        """What `fit` will take: time, memory, patches; see `plan_fit`."""
        network = self.prepare()
        return plan_fit(network, network.transform, training_set(X).sources, self.options)

    def predict(self, X: object, *, strict: bool = True,
                progress: Progress | None = None) -> Prediction:
        """Score images: whatever `fit` takes; of a folder, all images in it and below.

        An array made of it is its `scores`; for forked processes see engine/threads.py.
        """
        return joined(self.stream(X, strict=strict, progress=progress))

    @torch.inference_mode()
    def stream(self, X: object, *, strict: bool = True,
               progress: Progress | None = None) -> Iterator[Prediction]:
        """What `predict` says, batch by batch, so that any number of images takes the same memory.

        `indices` and `skipped` count from the first of all images; a batch of unreadable ones has
        no scores.
        """
        fitted, network, sources = self.check_fitted(), self.prepare(), as_list(X)
        if (known := features_in(sources, self.memory_budget)) is not None:
            yield self.predict_features(known)
            return
        parts = network.describe(sources, batch_size=self.batch_size, strict=strict,
                                 what="scoring", levels=fitted.levels, region=fitted.region,
                                 progress=progress)
        yield from scored(fitted, parts, self.transform_, self.options)

    @torch.inference_mode()
    def predict_features(self, features: PatchFeatures) -> Prediction:
        """Score images whose features were extracted before, by a model with the same options."""
        kind(PatchFeatures, "what extract returned").check("features", features)
        check_features(features, fitted := self.check_fitted())
        prediction = joined(scored(fitted, features.split(self.batch_size), self.transform_,
                                   self.options))
        return replace(prediction, skipped=features.skipped)

    def module(self, *, bank_precision: torch.dtype = torch.float32) -> DetectorModule:
        """The fitted detector as a `torch.nn.Module`: pixels in, scores and maps out.

        It has a state dict, moves between devices and precisions, and is what exports trace; for
        what goes in, see `DetectorModule`.
        """
        fitted, network = self.check_fitted(), self.prepare()
        return DetectorModule(
            network.extractor, network.describe_maps, partial(score_images, options=fitted.options),
            fitted, self.transform_, precision=bank_precision)

    def save(self, folder: str | Path) -> None:
        """Write the fitted model into a folder: `model.safetensors`, and `model.json` to read.

        Raises `InputError` if there is nothing to save, or something else in the folder.
        """
        storage.write_model(as_path("folder", folder), *storage.describe(
            self.check_fitted(), self.prepare(), self.false_alarm_rate))

    @classmethod
    def load(cls, folder: str | Path, *, weights: str | Path | None = None, device: str = "auto",
             precision: str = "float32") -> "PatchCore":
        """A saved model, to predict with: on the same device its scores are the same to the bit.

        Args:
            weights: where the checkpoint lies that the model was fitted with, if that has moved.
            device, precision: as of the constructor; they are no part of a model.

        Executes nothing that is in the files. Raises `InputError` for files that are missing,
        changed or of a newer format, and for a backbone that is not the one it was fitted with.
        """
        folder = as_path("folder", folder)
        record, tensors = storage.read_model(folder)
        with storage.odd_record_explained(folder):
            model = cls(**storage.options_of(record, folder, weights), device=device,
                        precision=precision)
            model.fitted_ = storage.restore(record, tensors, folder, options=dict(model.options),
                                            network=model.prepare())
            return model.set_params(false_alarm_rate=record["thresholds"]["false_alarm_rate"])

    def prepare(self, *, shared: "PatchCore | None" = None) -> PatchNetwork:
        """Check the options; the network that they name: loaded once, or that of `shared`."""
        options = self.get_params()
        for model in (self, shared):
            loaded, network = getattr(model, "_loaded", (None, None))
            if network is not None and loaded == self._wanted():
                check_options(options | {"weights": None})  # whose file may be gone by now
                break
        else:
            check_options(options)
            network = load_network(self.options)
            check_blur("map_kernel_size", self.map_kernel_size, self.map_sigma,
                       network.transform.size)
        self.use(network)
        return network.aligned_to(getattr(getattr(self, "fitted_", None), "reference", None))

    def use(self, network: PatchNetwork) -> None:
        """Take this network for the one that the options name."""
        self._loaded = (self._wanted(), network)

    def _wanted(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in NETWORK_OPTIONS}

    @property
    def threshold_(self) -> float | None:
        """The score above which an image is called defective, for `false_alarm_rate`."""
        return self.check_fitted().thresholds(self.false_alarm_rate)["score"]

    def check_fitted(self) -> Fitted:
        """What was learned, on the device that is wanted; raises `InputError` if it is stale."""
        if not self.__sklearn_is_fitted__():
            raise estimator.NotFitted(
                "this PatchCore has no memory bank yet; call fit(images) first")
        self.fitted_.check_unchanged(self.options)
        self.fitted_ = self.fitted_.to(self.prepare().device)
        return self.fitted_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fitted_")
