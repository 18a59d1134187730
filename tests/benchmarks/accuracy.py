"""What each setting does to accuracy: all presets, and `default` with one lever moved at a time.

    python tests/benchmarks/accuracy.py --data DATA [--seeds 3] [--parallel 2] [--output DIR]

DATA holds `mvtec_ad/hazelnut_reduced` and `mtd`. Three sets: all synthetic categories; hazelnut;
and the magnetic tiles, split by tile, with 50 training images drawn by each seed and all of the
test images. Writes accuracy.json (every run) and accuracy.md: image AUROC, AUPRO and their means
over the sets, with the standard deviation over seeds, and the difference from `default` on the same
images and seeds. Killed and started again, it goes on where it was. Not part of the test run.
"""

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PRESETS  # noqa: E402
from indad.data.datasets import list_categories  # noqa: E402
from indad.data.files import write_json  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.experiments.plans import expand  # noqa: E402
from indad.experiments.records import read_record, summary_row  # noqa: E402
from indad.experiments.sweep import run_sweep  # noqa: E402
from indad.experiments.tables import spread  # noqa: E402

MTD_SHOTS = 50
METRICS = ("image_auroc", "aupro_30")
SETS = ("synthetic", "hazelnut", "tiles")


@dataclass(frozen=True)
class Lever:
    """A row of the table: a preset, or `default` with something changed."""

    what: str
    setting: str
    preset: str = "default"
    options: dict = field(default_factory=dict)


def moved(what: str, **settings: dict) -> list[Lever]:
    return [Lever(what, name.replace("_", " "), options=options)
            for name, options in settings.items()]


LEVERS = [
    *(Lever("preset", name, preset=name) for name in PRESETS if name != "anomalydino"),
    *moved("input", **{"resize 288": dict(resize=288),
                       "resize 320": dict(resize=320),
                       "resize 256, crop 224": dict(resize=256, crop=224)}),
    *moved("layers", **{"2 (stride 8)": dict(layers=(2,)), "3 (stride 16)": dict(layers=(3,)),
                        "2, 3, 4": dict(layers=(2, 3, 4))}),
    *moved("neighbourhood", **{"plain average": dict(patch_features="concatenate"),
                               "none": dict(patch_features="single"),
                               "unfolded": dict(patch_features="unfolded")}),
    *moved("layer scaling", none=dict(balance_layers=False)),
    *moved("image score", **{"reweighted, b = 9": dict(image_score="reweighted"),
                             "top 1 %": dict(image_score="top"),
                             "peak of the map": dict(image_score="peak")}),
    *moved("neighbours", **{f"k = {k}": dict(num_neighbors=k) for k in (3, 5)}),
    *moved("several", **{"k = 3, no layer scaling": dict(num_neighbors=3, balance_layers=False),
                         "k = 3, no layer scaling, sigma 6": dict(
                             num_neighbors=3, balance_layers=False, map_sigma=6.0),
                         "resize 288, k = 3": dict(resize=288, num_neighbors=3),
                         "resize 288, k = 3, no layer scaling": dict(
                             resize=288, num_neighbors=3, balance_layers=False),
                         "resize 320, k = 3": dict(resize=320, num_neighbors=3)}),
    *moved("coreset ratio", **{"1 %": dict(coreset_ratio=0.01), "25 %": dict(coreset_ratio=0.25)}),
    *moved("map smoothing", **{"sigma 2": dict(map_sigma=2.0), "sigma 6": dict(map_sigma=6.0)}),
    *moved("backbone", lite1=dict(backbone="efficientnet_lite1"),
           lite2=dict(backbone="efficientnet_lite2")),
]


def plans_of(data: Path, seeds: int) -> dict[str, list[tuple[Lever, object]]]:
    """All runs of each set, each with the lever that it belongs to."""
    sources = {"synthetic": ("synthetic", list_categories("synthetic"), {}),
               "hazelnut": (str(data / "mvtec_ad"), ["hazelnut_reduced"], {}),
               "tiles": (str(data / "mtd"), ["mtd"], dict(split="grouped", shots=[MTD_SHOTS]))}
    return {name: [(lever, plan) for lever in LEVERS for plan in expand(
                dataset, categories, presets=(lever.preset,), options=lever.options,
                seeds=range(seeds), **more)]
            for name, (dataset, categories, more) in sources.items()}


def run_all(data: Path, seeds: int, parallel: str, output: Path) -> list[dict]:
    rows = []
    for name, pairs in plans_of(data, seeds).items():
        began, folder = time.time(), output / "runs" / name
        outcomes = run_sweep([plan for _, plan in pairs], output=folder, parallel=parallel,
                             skip_existing=True)
        for (lever, plan), outcome in zip(pairs, outcomes, strict=True):
            row = summary_row(read_record(outcome.folder), "")
            rows.append({"set": name, "what": lever.what, "setting": lever.setting,
                         "category": plan.category, "seed": plan.options["seed"],
                         **{key: row[key] for key in (*METRICS, "pixel_auroc", "image_ap",
                                                      "ms_per_image", "bank_mb")}})
        print(f"{name}: {len(pairs)} runs, {time.time() - began:.0f} s", file=sys.stderr)
    return rows


def by_lever(rows: list[dict], metric: str) -> dict[tuple, dict[str, list[float]]]:
    """(what, setting) -> set -> the mean over categories, seed by seed; "mean" is over the sets."""
    cells: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        cells[row["what"], row["setting"]][row["set"]][row["seed"]].append(row[metric])
    table = {}
    for lever, sets in cells.items():
        means = {name: [sum(seeds[s]) / len(seeds[s]) for s in sorted(seeds)]
                 for name, seeds in sets.items()}
        means["mean"] = [sum(values) / len(values)
                         for values in zip(*(means[name] for name in SETS), strict=True)]
        table[lever] = means
    return table


def markdown(rows: list[dict], heading: str) -> str:
    image, region = (by_lever(rows, metric) for metric in METRICS)
    both = {lever: [(a + b) / 2 for a, b in zip(image[lever]["mean"], region[lever]["mean"],
                                                strict=True)] for lever in image}
    reference = both["preset", "default"]
    lines = [heading, "",
             "| lever | setting | " + " | ".join(f"AUROC {name}" for name in (*SETS, "mean"))
             + " | " + " | ".join(f"AUPRO {name}" for name in (*SETS, "mean"))
             + " | mean of both | against default |", "|---|---|" + "---|" * 10]
    for lever in image:
        cells = [str(spread(table[lever][name])) for table in (image, region)
                 for name in (*SETS, "mean")]
        difference = spread([a - b for a, b in zip(both[lever], reference, strict=True)])
        against = "" if lever == ("preset", "default") else f"{difference.mean:+.4f}" + (
            f" ± {difference.std:.4f}" if difference.std is not None else "")
        lines.append(f"| {lever[0]} | {lever[1]} | " + " | ".join(cells)
                     + f" | {spread(both[lever])} | {against} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parallel", default="1")
    parser.add_argument("--output", type=Path, default=Path("results/runs/accuracy"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = run_all(options.data, options.seeds, options.parallel, options.output)
    write_json(options.output / "accuracy.json",
               {"rows": rows, "environment": environment(pick_device("auto"))})
    heading = (f"Mean ± standard deviation over {options.seeds} seeds; `default` with one setting "
               "changed, unless a preset.")
    text = markdown(rows, heading)
    (options.output / "accuracy.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
