"""Result files, in and out: what a run leaves, and the summary of all runs."""

import csv
import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

import yaml

from ..backbones.registry import BACKBONES, default_size, find_backbone
from ..data.arguments import as_word
from ..data.files import write_json, write_text
from ..data.pose import COLUMNS as POSE
from ..data.reading import read_json
from ..errors import InputError, InputWarning
from ..presets import OPTIONS, PRESETS
from .missing import why_missing
from .valid import METRICS, VARIANT, WITHOUT_EFFECT, check_record

COLUMNS = (*VARIANT, "category", "seed", *METRICS, "images", "seconds", "ms_per_image", "bank_mb",
           "run", "missing")
SCORES = ("image", "label", "defect_type", "score", "threshold", "verdict")
# What runs did before there was an option for it.
AS_BEFORE = {"search": "exact", "balance_images": False, "scales": [1.0],
             "tiles": None, "overlap": None, "scale": None, "region": None, "foreground": None,
             "align": None, "align_tolerance": None, "robust": False}
MOST_SAID = 80  # characters of a folder's name for what is a run's own; systems allow 255


def config_hash(config: dict) -> str:
    """Eight hex digits that name a configuration."""
    config = json.loads(json.dumps(dict(config), default=str))  # tuples and lists are one
    kept = {name: value for name, value in config.items() if name not in WITHOUT_EFFECT
            and (name, value) not in AS_BEFORE.items()}
    text = json.dumps(kept, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_folder(output: Path, config: dict) -> Path:
    """Where a run of `config` belongs: output/dataset/category/backbone-what is its own-hash.

    The hash alone tells runs apart, so a run that is there keeps its folder under any such name.
    """
    place, digest = output / config["dataset"] / config["category"], config_hash(config)
    for found in sorted(place.glob(f"{escape(config['backbone'])}-*{digest}")):
        if found.is_dir():
            return found
    said = [] if config["preset"] == "default" else [config["preset"]]
    said += [f"{name}={as_word(value)}" for name, value in own_options(config).items()]
    said += [f"shots={config['shots']}"] if config.get("shots") else []
    words = re.sub(r"[^\w.,+=-]+", "_", "-".join(said))[:MOST_SAID]
    return place / "-".join([config["backbone"], *([words] if words else []), digest])


def written_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with what the registry of backbones chose, where that was left to it: a result is
    not to be taken for one of another choice."""
    rows = [find_backbone(part) for part in options["backbone"].split("+")]
    chosen = {"resize": None if options["tiles"] else default_size(options["backbone"]),
              "layers": rows[0].layers if len(rows) == 1 else [row.layers for row in rows]}
    return {**options, **{name: value for name, value in chosen.items() if options[name] is None}}


def usual_options(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the options of a run would be with its preset and backbone, and nothing else given."""
    usual = {name: option.default for name, option in OPTIONS.items()}
    usual |= PRESETS.get(told["preset"], {}) | {"backbone": told["backbone"]}
    if not BACKBONES.keys() >= {*str(told["backbone"]).split("+")}:  # timm takes seconds to ask
        return usual
    return written_out(usual | {"tiles": told.get("tiles")}) | {"tiles": usual["tiles"]}


def own_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's options, those that are not as its preset and its backbone have them."""
    usual = usual_options(config)
    return {name: config[name] for name in OPTIONS if name in config
            and name not in WITHOUT_EFFECT and as_word(config[name]) != as_word(usual[name])}


def but_usual(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's variant, where an option is "usual" if its preset or backbone brings it along."""
    usual = usual_options(row) | {"backbone": None}
    return {name: "usual" if name in usual and as_word(usual[name]) == as_word(row.get(name))
            else row.get(name) for name in VARIANT}


def read_record(folder: Path) -> dict | None:
    """The run in a folder, or None if there is no whole one."""
    try:
        return load_record(folder)
    except InputError:
        return None


def load_record(folder: Path) -> dict:
    """The run in a folder; raises `InputError`, saying why, if there is no whole one."""
    file = folder / "metrics.json"
    try:
        return check_record(read_json(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except InputError as error:
        reason = str(error).removeprefix(f"{file}: ")
        raise InputError(f"{file}: not the record of a whole run ({reason}); cut short?"
                         ) from error


def read_all(output: Path) -> list[dict]:
    """All runs below a folder, as the rows of its summary; warns of what is none."""
    rows = []
    for file in sorted(output.glob("*/*/*/metrics.json")):
        if not any(part.startswith(".") for part in file.relative_to(output).parts):
            try:
                record = load_record(file.parent)
            except InputError as error:
                warnings.warn(f"left out of the summary: {error}", InputWarning, stacklevel=3)
                continue
            rows.append(summary_row(record, file.parent.relative_to(output).as_posix()))
    return rows


def summary_row(record: dict, run: str) -> dict:
    """One line of the summary, from a run's record."""
    config, timings = record["config"], record["timings"]
    row = {name: _plain(config.get(name, AS_BEFORE.get(name)))
           for name in (*VARIANT, "category", "seed")}
    for name in ("weights", "region"):  # files of one name are two
        if f"{name}_sha256" in config:
            row[name] = f"{row[name]} {config[f'{name}_sha256'][:8]}"
    if "data_version" in config:  # of drawn parts; another version is another data set
        row["dataset"] = f"{config['dataset']} v{config['data_version']}"
    if row["preset"] == "default" and "balance_images" not in config:
        row["preset"] = "indad-1"  # which is what `default` was
    row |= {name: record["metrics"][name] for name in METRICS}
    counts = record.get("counts", {})
    return row | {"images": counts["test_good"] + counts["test_defective"] if counts else None,
                  "seconds": round(timings["fit_s"] + timings["predict_s"], 2),
                  "ms_per_image": round(1000 / timings["images_per_s"], 2),
                  "bank_mb": round(record["memory_bank"]["bytes"] / 1e6, 3), "run": run,
                  "missing": "; ".join(why_missing(counts, record.get("decision", {})))}


def _plain(value: object) -> object:
    """Sequences as text: (256, 224) -> "256,224"."""
    return as_word(value) if isinstance(value, (list, tuple)) else value


def write_summary(output: Path) -> list[dict]:
    """Bring summary.json, summary.csv and summary.md up to date with all runs below `output`."""
    rows = read_all(output)
    write_json(output / "summary.json", rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(output / "summary.csv", table.getvalue())
    write_text(output / "summary.md", markdown(rows))
    return rows


def write_short(folder: Path, record: dict) -> None:
    """results.yml and results.txt, for whoever reads those of other PatchCore projects.

    The keys and columns are those of PalladinoAlessandro/Anomaly-Detection-with-PatchCore, which
    are rvorias/ind_knn_ad's: image and pixel AUROC, null or n/a where one is missing.
    """
    config, metrics = record["config"], record["metrics"]
    both = [metrics["image_auroc"], metrics["pixel_auroc"]]
    write_text(folder / "results.yml", yaml.safe_dump({
        "per_class_results": {config["category"]: both},
        "average image rocauc": both[0], "average pixel rocauc": both[1],
        "model parameters": {"backbone_name": config["backbone"],
                             "f_coreset": config["coreset_ratio"],
                             "n_reweight": config["reweight_neighbors"]}},
        default_flow_style=False, allow_unicode=True))
    cells = ["n/a" if value is None else f"{100 * value:.1f}" for value in both]
    write_text(folder / "results.txt", f"{config['category']:<20}| {cells[0]}  | {cells[1]}  |")


def read_scores(folder: Path) -> list[dict]:
    """What `write_scores` wrote there; raises `InputError` for anything else."""
    file = folder / "scores.csv"
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            return [_score_row(row) for row in csv.DictReader(lines)]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{file}: not the scores of a run ({error})") from error


def _score_row(row: dict) -> dict:
    if set(row) not in (set(SCORES), {*SCORES, *POSE}) or None in row.values() or (
            row["label"] not in ("0", "1")):
        raise ValueError(f"the line of {str(row.get('image'))[:60]!r} is not whole")
    score, threshold = float(row["score"]), float(row["threshold"]) if row["threshold"] else None
    if not all(map(math.isfinite, (score, threshold or 0))) or not row["image"]:
        raise ValueError(f"the score of {row['image'][:60]!r} is {score}, above {threshold}")
    return {**row, "label": int(row["label"]), "score": score, "threshold": threshold}


SHOWN = (("image AUROC", "image_auroc"), ("pixel AUROC", "pixel_auroc"), ("AUPRO", "aupro_30"),
         ("F1-max", "image_f1_max"))


def format_metric(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def markdown(rows: list[dict]) -> str:
    """The summary as a Markdown table."""
    names = ("dataset", "category", "backbone", "preset", "seed", "split")
    lines = ["| " + " | ".join((*names, *(title for title, _ in SHOWN), "seconds")) + " |",
             "|" + "---|" * (len(names) + len(SHOWN) + 1)]
    for row in rows:
        cells = [str(row.get(name, "")) for name in names]
        cells += [format_metric(row[key]) for _, key in SHOWN]
        lines.append("| " + " | ".join((*cells, f"{row['seconds']:.1f}")) + " |")
    return "\n".join([*lines, *("\n" + reason for reason in reasons(rows))]) + "\n"


def reasons(rows: list[dict]) -> list[str]:
    """A line for each category of which something is n/a, with its reason."""
    return list(dict.fromkeys(f"n/a for {row['category']}: {row['missing']}"
                              for row in rows if row.get("missing")))


def text_table_header() -> str:
    return f"{'category':<20}" + "".join(f"{title:>13}" for title, _ in SHOWN) + f"{'seconds':>10}"


def text_table_row(row: dict) -> str:
    return (f"{row['category']:<20}" + "".join(f"{format_metric(row[key]):>13}"
                                               for _, key in SHOWN) + f"{row['seconds']:>10.1f}")


def in_words(category: str, record: dict) -> list[str]:
    """A line with the metrics that were asked for, or none; with their intervals, if taken."""
    ends = record["intervals"]["ends"] if "intervals" in record else {}
    named = dict(SHOWN) | {name: name for name in record["metrics"] if name not in METRICS}
    values = [f"{title} {format_metric(record['metrics'][name])}" + (
        " ({:.4f} to {:.4f})".format(*ends[name]) if ends.get(name) else "")
        for title, name in named.items() if title == name or ends]
    return [f"{category}: {', '.join(values)}"] if values else []


def mean_row(rows: list[dict], *, by_images: bool = False) -> dict:
    """The mean over categories, all alike or each weighted by its test images; a metric that some
    category lacks has none."""
    weights = [row["images"] if by_images else 1 for row in rows]
    mean = {"category": "weighted by images" if by_images else "mean",
            "seconds": sum(row["seconds"] for row in rows)}
    for _, key in SHOWN:
        values = [row[key] for row in rows]
        mean[key] = None if None in values else sum(
            value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    return mean
