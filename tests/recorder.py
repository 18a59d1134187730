"""Writes down what a user measures, so that a change that should change nothing can be held to it.

    python tests/recorder.py before.json [--images hazelnut/train/good hazelnut/test/crack]
    python tests/recorder.py after.json --compare before.json

Every array and file is kept as the first digits of its SHA-256: on one machine, with the same
packages, two commits agree to the bit or differ in a name that says where. `tests/test_recorded.py`
holds the numbers of `small` to those in fixtures/recorded.json on any machine, within rounding.
Options are set beside those of the preset `indad-1`, which does what the first version did.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from indad import PatchCore, load_dataset
from indad.presets import PRESETS

SMALL = dict(resize=96)
OPTIONS: dict[str, dict] = {
    "scores-reweighted": dict(image_score="reweighted"),
    "scores-top": dict(image_score="top"),
    "scores-peak": dict(image_score="peak"),
    "scores-ind_knn_ad": dict(image_score="ind_knn_ad", reweight_neighbors=3),
    **{f"features-{name}": dict(patch_features=name, balance_layers=name != "adaptive")
       for name in ("concatenate", "unfolded", "adaptive", "unpadded", "single", "tokens")},
    "layers-not-scaled": dict(balance_layers=False),
    "layers": dict(layers=(1, 2, 3)),
    "calibration-folds": dict(calibration="folds"),
    "calibration-folds-projected": dict(calibration="folds", projection="sparse",
                                        coreset_start="mean"),
    "calibration-folds-random": dict(calibration="folds", coreset="random"),
    "calibration-folds-whole": dict(calibration="folds", coreset_ratio=1.0),
    "calibration-held-out": dict(calibration="held-out"),
    "projection-linear": dict(projection="linear"),
    "projection-sparse": dict(projection="sparse"),
    "projection-sparse-if-smaller": dict(projection="sparse-if-smaller"),
    "start-first": dict(coreset_start="first"),
    "start-mean": dict(coreset_start="mean"),
    "coreset-random": dict(coreset="random"),
    "coreset-whole": dict(coreset_ratio=1.0),
    "coreset-one-percent": dict(coreset_ratio=0.01, seed=5),
    "neighbors-3-squared": dict(num_neighbors=3, squared=True),
    "map": dict(map_upsampling="nearest", map_sigma=2.0, map_kernel_size=9, map_border="reflect"),
    "map-zero": dict(map_border="zero", map_sigma=0.0),
    "augmentation-flips": dict(augmentation="flips"),
    "augmentation-santos": dict(augmentation="santos", coreset_ratio=0.05),
    "reserve": dict(reserve=0.05),
    "half": dict(precision="float16"),
    "in-a-file": dict(memory_budget=1000),
    "not-square": dict(resize=(96, 128)),
    "crop": dict(resize=112, crop=96),
    "imagenet": dict(normalization="imagenet"),
    "ensemble": dict(backbone="efficientnet_lite0+efficientnet_lite1"),
    "lite2": dict(backbone="efficientnet_lite2"),
    "images-not-balanced": dict(balance_images=False),
    "scales": dict(scales=(1.0, 0.5)),
}
_DEFAULT = {name: PatchCore().options[name] for name in PRESETS["indad-1"]}
NEW = {"default": _DEFAULT, "accurate": _DEFAULT | PRESETS["accurate"]}
SHOWN = 4  # numbers of each kind that are kept as they are


def digest(value: object) -> str:
    if isinstance(value, np.ndarray):
        value = f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, Path):
        value = value.read_bytes()
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(value).hexdigest()[:16]


def of_model(model: PatchCore, test: list) -> dict[str, object]:
    """What a fitted model learned, and what it says of some images."""
    from indad.calibration import decide

    prediction = model.predict(test)
    found = {"bank": model.memory_bank_, "picks": model.coreset_indices_,
             "radii": model.coreset_radii_, "scales": model.feature_scale_,
             "reserve": model.reserve_, "reserve_picks": model.reserve_indices_}
    arrays = {name: tensor.cpu().numpy() for name, tensor in found.items()}
    arrays |= {"calibration_scores": model.calibration_scores_,
               "calibration_peaks": model.calibration_peaks_,
               "scores": prediction.scores, "maps": prediction.model_maps,
               "photo_map": prediction.maps[0]}
    kept: dict[str, object] = {name: digest(array) for name, array in arrays.items()}
    decided = decide(model.calibration_scores_, model.calibration_peaks_, 0.05)
    return kept | {
        "threshold": decided["threshold"], "map_threshold": decided["map_threshold"],
        "first_scores": arrays["scores"][:SHOWN].tolist(),
        "first_peaks": arrays["maps"].max((1, 2))[:SHOWN].tolist(),
        "first_picks": arrays["picks"][:SHOWN].tolist(), "patches": len(arrays["bank"])}


def of_case(options: dict, good: list, test: list) -> dict[str, object]:
    """Fit and predict; save and load; with a reserve also update. All of it written down."""
    model = PatchCore(**PRESETS["indad-1"] | options).fit(good)
    kept = of_model(model, test)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model")
        for file in sorted(Path(folder, "model").iterdir()):
            kept[file.name] = digest(file)
        loaded = PatchCore.load(f"{folder}/model", precision=options.get("precision", "float32"))
        kept["loaded_scores"] = digest(loaded.predict(test).scores)
        if options.get("reserve"):
            kept |= {f"updated_{name}": value for name, value in
                     of_model(loaded.update(test[:3]), test).items()}
    return kept


def of_export(good: list, test: list) -> dict[str, object]:
    from indad.deploy.export import export_onnx, run_onnx

    kept: dict[str, object] = {}
    for name, options in (("max", {}), ("reweighted", dict(num_neighbors=2, balance_layers=False,
                                                           image_score="reweighted"))):
        model = PatchCore(resize=96, **PRESETS["indad-1"] | options).fit(good)
        for precision in ("float32", "float16"):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "model.onnx")
                export_onnx(model, file, bank_precision=precision, check_images=test)
                pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
                for kind, array in zip(("scores", "maps", "verdicts"), run_onnx(file, pixels),
                                       strict=True):
                    kept[f"{name}_{precision}_{kind}"] = digest(array)
    return kept


def of_commands(folder: Path) -> dict[str, object]:
    """The files that commands leave, without what is a time, a version or a size of memory."""
    from indad.cli import main

    common = ["--datasets", "datasets", "--resize", "96", "--seed", "1"]
    for words in (["run", "--category", "tiles", "--output", "runs", *common],
                  ["run", "--category", "gear", "--shots", "8", "--image-score", "top",
                   "--output", "runs", "--frame", "original", *common],
                  ["benchmark", "--category", "tiles", "gear", "--coreset-ratio", "0.1", "0.02",
                   "--shots", "4", "8", "--output", "sweep", *common[:4]],
                  ["fit", "datasets/synthetic/gear", "--output", "model", *common],
                  ["predict", "model", "datasets/synthetic/gear/test", "--output", "found"],
                  ["report", "runs"]):
        if main(words):
            raise SystemExit(f"{words} failed")
    kept = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_file() or name.startswith("datasets") or "/." in f"/{name}":
            continue
        if file.suffix == ".json" and file.name != "model.json":
            kept[name] = digest(_without_times(json.loads(file.read_text())))
        elif file.suffix in (".csv", ".md", ".html", ".tex", ".svg"):
            kept[name] = digest(_no_decimals_of_times(file))
        elif not file.name.startswith("benchmark-"):  # figures with milliseconds on an axis
            kept[name] = digest(file)
    return kept


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items()
                if key not in ("timings", "peak_memory_mb", "environment", "seconds",
                               "ms_per_image", "fit_s", "predict_s")}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _no_decimals_of_times(file: Path) -> str:
    """Tables hold seconds among their columns; only names of columns and of rows are left."""
    if file.name == "scores.csv":
        return file.read_text()
    return re.sub(r"[\d.]+", "#", file.read_text()) if file.suffix != ".svg" else file.name


def small() -> dict[str, dict[str, object]]:
    """The part that the tests do again: drawn parts, a few presets and options."""
    train, test = load_dataset("synthetic", "capsule", shots=6)
    good, shown = [item.path for item in train], [item.path for item in test][::9]
    cases = {**NEW, "indad-1": {}, "amazon": PRESETS["amazon"] | dict(resize=112, crop=96),
             "anomalib": PRESETS["anomalib"] | dict(resize=(112, 112), crop=96),
             "ind_knn_ad": PRESETS["ind_knn_ad"] | dict(resize=(112, 112), crop=96),
             **{name: OPTIONS[name] for name in (
                 "calibration-folds", "calibration-held-out", "neighbors-3-squared", "reserve",
                 "map", "features-unfolded", "projection-sparse", "augmentation-flips")}}
    return {name: of_case(SMALL | options, good, shown) for name, options in cases.items()}


def everything(images: list[str]) -> dict[str, dict[str, object]]:
    sets = {}
    for category in ("gear", "weave"):
        train, test = load_dataset("synthetic", category, shots=10)
        sets[category] = [item.path for item in train], [item.path for item in test][::5]
    if images:
        good, *others = (sorted(Path(folder).glob("*.png")) for folder in images)
        sets["given"] = good[:12], [file for files in others for file in files]
    found: dict[str, dict[str, object]] = {"small": small()}
    for name, (good, test) in sets.items():
        small_ones = {case: SMALL | options for case, options in OPTIONS.items()}
        for case, options in (PRESETS | NEW | small_ones).items():
            print(name, case, file=sys.stderr)
            if case == "anomalydino":
                options = options | dict(resize=96)
            found[f"{name}/{case}"] = of_case(options, good, test)
        found[f"{name}/onnx"] = of_export(good, test)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found["commands"] = of_commands(Path(folder))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--images", nargs="+", default=[],
                        help="a folder of good photos to learn from, and folders to score")
    parser.add_argument("--compare", help="an earlier output; exit status 1 if anything differs")
    options = parser.parse_args()
    output = Path(options.output).absolute()
    before = json.loads(Path(options.compare).read_text()) if options.compare else None
    found = everything(options.images)
    output.write_text(json.dumps(found, indent=1) + "\n")
    if before is not None:
        differ = sorted(f"{case}: {name}" for case in before | found
                        for name in before.get(case, {}) | found.get(case, {})
                        if before.get(case, {}).get(name) != found.get(case, {}).get(name))
        print("\n".join(differ) or "nothing differs")
        raise SystemExit(bool(differ))


if __name__ == "__main__":
    main()
