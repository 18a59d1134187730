"""One run: load a category, fit, predict, evaluate, write everything down."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..backbones.registry import find_backbone
from ..calibration import decide
from ..data.arguments import (
    CALLED,
    FLAG,
    NAMED,
    PATH,
    SHARE,
    TEXT,
    kind,
    maybe,
    one_of,
    several,
    takes,
    whole,
)
from ..data.audit_masks import covering_most
from ..data.catalog import credit
from ..data.copies import tell_near_copies, without_copies
from ..data.datasets import PROTOCOLS, SPLITS, ImageSet, fingerprint, load_dataset
from ..data.drawn import in_text
from ..data.files import (
    check_writable,
    clear_interrupted,
    complete_folder,
    explain_full_disk,
    sha256_of,
    write_json,
    write_scores,
)
from ..data.images import read_image
from ..data.layouts import Item
from ..data.left_out import tell
from ..data.orientation import masks_in_doubt
from ..data.pose import COLUMNS as POSE
from ..deploy.explanation import explain_features, why_picture, write_region
from ..deploy.pictures import ColourScale, overlay, save_picture
from ..deploy.verdicts import title, verdict
from ..engine.machine import environment, peak_memory_mb
from ..engine.prediction import Prediction
from ..errors import InputError, Progress, unknown
from ..evaluation.measures import MEASURES
from ..learned.plan import FitPlan
from ..metrics import FRAMES, evaluate
from ..patchcore import PatchCore
from ..presets import OPTIONS, PRESETS, check_options
from . import records as results
from .measuring import check_measures, measured


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: its folder and record (metrics.json), what it left out, its model."""

    folder: Path
    record: dict
    warnings: tuple[str, ...] = ()
    model: PatchCore | None = None  # none if an earlier result was kept


@takes(dataset=PATH, category=maybe(TEXT), preset=one_of(PRESETS), options=maybe(NAMED),
       split=one_of(SPLITS), shots=maybe(whole()), protocol=one_of(PROTOCOLS),
       frame=one_of(FRAMES), false_alarm_rate=SHARE, overlays=whole(0), datasets=maybe(PATH),
       output=PATH, skip_existing=FLAG, strict=FLAG, measures=several(one_of(MEASURES)),
       progress=maybe(CALLED), on_plan=maybe(CALLED), shared=maybe(kind(PatchCore, "a PatchCore")))
def run(dataset: str, category: str | None = None, *, preset: str = "default",
        options: dict | None = None, split: str = "paper", shots: int | None = None,
        protocol: str = "random", frame: str = "model", false_alarm_rate: float = 0.05,
        overlays: int = 12, datasets: str | Path | None = None,
        output: str | Path = "results/runs", skip_existing: bool = False, strict: bool = False,
        measures: Sequence[str] = (), progress: Progress | None = None,
        on_plan: Callable[[FitPlan], None] | None = None,
        shared: PatchCore | None = None) -> RunResult:
    """Run one category from photos to result files.

    Args:
        dataset, category, split, shots, protocol, datasets: see `data.load_dataset`.
        preset, options: arguments of `PatchCore`; options override the preset.
        false_alarm_rate: of the verdicts, see `thresholds.conformal_threshold`.
        overlays: at most so many pictures: the mistakes first, then a spread over all images.
        skip_existing: keep a complete result of exactly this configuration and data.
        strict: stop at an unreadable image instead of going on without it.
        measures: names of `evaluation.measures.MEASURES`, besides what `evaluate` takes.
        on_plan: called before fitting with what it will take.
        shared: a model of an earlier run, whose backbone is used again if it is the one wanted.

    Raises `InputError` for anything wrong with what was given.
    """
    model = make_model(preset, options)
    check_writable(Path(output), "--output")
    train, test = load_dataset(dataset, category, datasets=datasets, split=split, shots=shots,
                               protocol=protocol, seed=model.options["seed"], progress=progress)
    check_test(train, test)
    train, test = without_copies(train, test)
    measures = check_measures(test, measures)
    config = make_config(train, model, preset=preset, split=split, shots=shots, protocol=protocol,
                         frame=frame, false_alarm_rate=false_alarm_rate)
    folder = results.run_folder(Path(output), config)
    data = fingerprint(train, test)
    record = existing(folder, data, measures) if skip_existing else None
    if record:
        return RunResult(folder, record)
    warnings = [f"{leftover.name}: left by an interrupted run; removed unread"
                for leftover in clear_interrupted(folder)] + masks_in_doubt(test)

    tell_near_copies(train, test, train.groups)
    model.prepare(shared=shared)
    if on_plan:
        on_plan(model.plan(train))
    model.fit(train, strict=strict, progress=progress)
    began = time.perf_counter()
    prediction = model.predict(test, strict=strict, progress=progress)
    timings = {**model.timings_, "predict_s": time.perf_counter() - began}
    warnings += [reason for _, reason in model.skipped_ + prediction.skipped]
    record = write_run(folder, config, data, model, prediction, train, test, timings=timings,
                       overlays=overlays, measures=measures, progress=progress)
    if model.fitted_.suspects and model.fitted_.suspects.photos:
        warnings.append(record["suspects"])
    return RunResult(folder, record, tuple(warnings), model)


@takes(preset=one_of(PRESETS), options=maybe(NAMED))
def make_model(preset: str, options: dict | None) -> PatchCore:
    """An unfitted model with a preset's options, its own on top; raises `InputError`."""
    chosen = PRESETS[preset] | (options or {})
    for name in chosen:
        if name not in OPTIONS:
            raise unknown("option of PatchCore", name, OPTIONS)
    model = PatchCore(**chosen)
    check_options(model.get_params())
    for name in model.backbone.split("+"):
        find_backbone(name)
    return model


def check_run(frame: str, false_alarm_rate: float) -> None:
    """Raise `InputError` for what only the evaluation needs, before anything is computed."""
    one_of(FRAMES).check("frame", frame)
    SHARE.check("false_alarm_rate", false_alarm_rate)


def check_test(train: ImageSet, test: ImageSet) -> None:
    """Raise `InputError` now, and not after the fit, if there is nothing to test on."""
    if not len(test):
        raise InputError(f"{train.category}: no test images; {len(train)} good photos are too few "
                         "to hold out a fifth, and there is no folder of defects (to learn "
                         "without a test: python -m indad fit)")


def make_config(train: ImageSet, model: PatchCore, **choices: object) -> dict:
    """All that a result depends on besides the data: what a run's folder is named after."""
    drawn = {} if train.version is None else {"data_version": train.version}
    return {"dataset": train.dataset, "category": train.category, **drawn, **choices,
            **results.written_out(model.options), **checkpoint_of(model), **mask_of(model)}


def checkpoint_of(model: PatchCore) -> dict[str, str]:
    """A checkpoint of one's own: its name, and its SHA-256, as another may have that name."""
    weights = model.options["weights"]
    return ({"weights": Path(weights).name, "weights_sha256": sha256_of(Path(weights))}
            if weights else {})


def mask_of(model: PatchCore) -> dict[str, str | None]:
    """The region, in text: a mask's name, and its SHA-256, as for a checkpoint."""
    region = model.options["region"]
    if not PATH.holds(region):
        return {"region": in_text(region)}
    if not Path(region).is_file():
        raise InputError(f"{region}: no such mask; region takes the path of an image, or points")
    return {"region": Path(region).name, "region_sha256": sha256_of(Path(region))}


def existing(folder: Path, data: str, measures: Sequence[str] = ()) -> dict | None:
    """The record of a complete run of this version on exactly these data, or None."""
    record = results.read_record(folder)
    if record is None or record["data_fingerprint"] != data or not (
            {"calibration", "calibrated_on"} <= record["decision"].keys()
            and {*measures} <= {*record.get("measured", ())}):
        return None
    try:
        results.read_scores(folder)
    except InputError:
        return None
    return record


def write_run(folder: Path, config: dict, data: str, model: PatchCore, prediction: Prediction,
              train: ImageSet, test: ImageSet, *, timings: dict[str, float], overlays: int = 0,
              measures: Sequence[str] = (), progress: Progress | None = None) -> dict:
    """Evaluate a prediction and write metrics.json, scores.csv and pictures; -> the record."""
    decision = _decide(model, prediction, test, config["false_alarm_rate"])
    bank = model.memory_bank_
    record = {
        "metrics": evaluate(prediction, test, frame=config["frame"]),
        "counts": _counts(train, test, model, prediction),
        "decision": decision,
        "timings": {**timings, "images_per_s": len(prediction.scores) / timings["predict_s"]},
        "memory_bank": {"patches": len(bank), "dim": bank.shape[1],
                        "bytes": bank.numel() * bank.element_size(),
                        "selected_from": model.selected_from_},
        "peak_memory_mb": peak_memory_mb(),
        "config": config, "environment": environment(model.device_), "data_fingerprint": data,
        "credit": credit(train.dataset),  # of the photos in overlays and explanations
    }
    if names := check_measures(test, measures):
        more = measured(names, model, prediction, train, test, config=config, decision=decision,
                        progress=progress)
        record |= more | {"metrics": record["metrics"] | more["metrics"]}
    if model.levels_:
        record["levels"] = model.levels_  # of photos of more than 8 bits
    if model.fitted_.suspects:
        record["suspects"] = model.fitted_.suspects.in_words(
            len(train), [item.path.name for item in train])
    with (explain_full_disk(str(folder), "free some space, or draw fewer overlays"),
          complete_folder(folder) as partial):
        write_json(partial / "metrics.json", record)
        results.write_short(partial, record)
        write_scores(partial / "scores.csv", _score_rows(prediction, test, decision),
                     results.SCORES + (POSE if model.align else ()))
        _write_pictures(partial, prediction, test, model, decision, overlays, progress)
        write_region(partial, model)
    return record


def _decide(model: PatchCore, prediction: Prediction, test: ImageSet,
            false_alarm_rate: float) -> dict:
    """Thresholds from good training images, and what they do to the test images."""
    decision = decide(model.calibration_scores_, model.calibration_peaks_, false_alarm_rate)
    decision |= {"calibration": model.options["calibration"], "false_alarms": None, "misses": None}
    if model.align:
        decision["misplaced"] = sum(bool(pose and pose.misplaced) for pose in prediction.poses)
    if decision["threshold"] is None:
        return decision
    labels = test.labels[prediction.indices]
    flagged = prediction.scores > decision["threshold"]
    return decision | {"false_alarms": int(np.sum(flagged & (labels == 0))),
                       "misses": int(np.sum(~flagged & (labels == 1)))}


def _counts(train: ImageSet, test: ImageSet, model: PatchCore, prediction: Prediction) -> dict:
    labels = test.labels[prediction.indices]
    tell(covering_most(test))
    masks = [item.mask() is not None for item in (test[i] for i in prediction.indices)
             if item.label]
    return {"train": len(train) - len(model.skipped_), "test_good": int(np.sum(labels == 0)),
            "test_defective": int(np.sum(labels == 1)), "test_masks": sum(masks),
            "unreadable": len(model.skipped_) + len(prediction.skipped)}


def _score_rows(prediction: Prediction, test: ImageSet, decision: dict) -> list[dict]:
    rows = []
    for score, index, pose in zip(prediction.scores.tolist(), prediction.indices,
                                  prediction.poses, strict=True):
        item, threshold = test[index], decision["threshold"]
        rows.append({"image": test.name_of(item), "label": item.label,
                     "defect_type": item.defect_type, "score": score, "threshold": threshold,
                     "verdict": verdict(score, threshold, pose.misplaced if pose else ""),
                     **(pose.row() if pose else {})})
    return rows


def _write_pictures(folder: Path, prediction: Prediction, test: ImageSet, model: PatchCore,
                    decision: dict, limit: int, progress: Progress | None) -> None:
    """The heat maps of some images, and under the same names why those of them are flagged."""
    overlays, explanations = folder / "overlays", folder / "explanations"
    overlays.mkdir()
    level, threshold = decision["map_threshold"], decision["threshold"]
    scale = ColourScale.of(model.calibration_peaks_, level or float(prediction.peaks.max()))
    chosen = _worth_showing(prediction, test, threshold, limit)
    flagged: dict[str, Item] = {}
    for done, position in enumerate(chosen):
        item, score = test[prediction.indices[position]], float(prediction.scores[position])
        picture = overlay(
            read_image(item.path, model.levels_), prediction.maps[position], scale=scale,
            title=title(f"{item.defect_type}/{item.path.stem}", score, threshold,
                        pose.misplaced if (pose := prediction.poses[position]) else ""),
            outline_above=level, mask=item.mask() if item.label else None)
        name = f"{item.defect_type}_{item.path.stem}.png"
        if (overlays / name).exists():  # a.jpg beside a.png
            name = f"{item.defect_type}_{item.path.name}.png"
        save_picture(picture, overlays / name)
        if threshold is not None and score > threshold:
            flagged[name] = item
        if progress:
            progress("drawing overlays", done + 1, len(chosen))
    if flagged:
        explanations.mkdir()
        features = model.extract(list(flagged.values()))
        for number, (name, item) in enumerate(flagged.items()):
            save_picture(why_picture(
                model, read_image(item.path, model.levels_),
                explain_features(model, features, number),
                f"{item.defect_type}/{item.path.stem}"), explanations / name)


def _worth_showing(prediction: Prediction, test: ImageSet, threshold: float | None,
                   limit: int) -> list[int]:
    """Positions to draw: wrong verdicts first, then images spread evenly over all defect types."""
    labels = test.labels[prediction.indices]
    limit = min(limit, len(labels))
    wrong = [] if threshold is None else np.flatnonzero((prediction.scores > threshold)
                                                        != (labels == 1)).tolist()
    wrong = [wrong[i] for i in np.linspace(0, len(wrong) - 1, min(len(wrong), limit // 2),
                                           dtype=int)] if wrong else []
    rest = [i for i in range(len(labels)) if i not in set(wrong)]
    spread = np.linspace(0, len(rest) - 1, min(limit - len(wrong), len(rest)), dtype=int)
    return sorted({*wrong, *(rest[i] for i in spread)})


