"""What each setting does to accuracy: all presets, and `default` with one lever moved at a time.

    python tests/benchmarks/accuracy.py --data DATA [--seeds 3] [--parallel 2] [--output DIR]
        [--only preset neighbours ...]

DATA holds `mvtec_ad/hazelnut_reduced` and `mtd`. Five sets: all synthetic categories; hazelnut; the
magnetic tiles, split by tile, with 50 training images drawn by each seed and all of the test
images; and solar cells (ELPV, `pip install elpv-dataset`), mono- and polycrystalline, 60 to learn,
which have no masks. Writes accuracy.json (every run) and accuracy.md: image AUROC, AUPRO and the
mean over the sets of each set's mean of the two, with the standard deviation over seeds, and the
difference from `default` on the same images and seeds. Killed and started again, it goes on where
it was. Not part of the test run.
"""

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PRESETS  # noqa: E402
from indad.data.datasets import list_categories  # noqa: E402
from indad.data.files import write_json  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.experiments.plans import RunPlan, expand  # noqa: E402
from indad.experiments.records import read_record, summary_row  # noqa: E402
from indad.experiments.sweep import run_sweep  # noqa: E402
from indad.experiments.tables import spread  # noqa: E402

METRICS = ("image_auroc", "aupro_30")
SETS = ("synthetic", "hazelnut", "tiles", "mono", "poly")
MASKED = SETS[:3]


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
    *moved("balance", **{"not of images": dict(balance_images=False),
                         "not of layers": dict(balance_layers=False),
                         "neither": dict(balance_images=False, balance_layers=False)}),
    *moved("image score", **{"reweighted, b = 9": dict(image_score="reweighted"),
                             "top 1 %": dict(image_score="top"),
                             "peak of the map": dict(image_score="peak")}),
    *moved("neighbours", **{f"k = {k}": dict(num_neighbors=k) for k in (1, 5)}),
    *moved("coreset ratio", **{"1 %": dict(coreset_ratio=0.01), "25 %": dict(coreset_ratio=0.25)}),
    *moved("map smoothing", **{"sigma 2": dict(map_sigma=2.0), "sigma 6": dict(map_sigma=6.0)}),
    *moved("backbone", lite1=dict(backbone="efficientnet_lite1"),
           lite2=dict(backbone="efficientnet_lite2"),
           **{"lite0 and lite2": dict(backbone="efficientnet_lite0+efficientnet_lite2")}),
]


def plans_of(data: Path, seeds: int, levers: list[Lever]) -> dict[str, list[tuple[Lever, RunPlan]]]:
    """All runs of each set, each with the lever that it belongs to."""
    sources = {"synthetic": ("synthetic", list_categories("synthetic"), {}),
               "hazelnut": (str(data / "mvtec_ad"), ["hazelnut_reduced"], {}),
               "tiles": (str(data / "mtd"), ["mtd"], dict(split="grouped", shots=[50])),
               **{cells: ("elpv", [cells], dict(shots=[60])) for cells in ("mono", "poly")}}
    return {name: [(lever, plan) for lever in levers for plan in expand(
                dataset, categories, presets=(lever.preset,), options=lever.options,
                seeds=range(seeds), **more)]
            for name, (dataset, categories, more) in sources.items()}


def run_all(data: Path, seeds: int, parallel: str, output: Path,
            levers: list[Lever]) -> list[dict]:
    rows = []
    for name, pairs in plans_of(data, seeds, levers).items():
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
    """(what, setting) -> set -> the mean over categories, seed by seed."""
    cells: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        if row[metric] is not None:
            cells[row["what"], row["setting"]][row["set"]][row["seed"]].append(row[metric])
    return {lever: {name: [mean(seeds[seed]) for seed in sorted(seeds)]
                    for name, seeds in sets.items()} for lever, sets in cells.items()}


def markdown(rows: list[dict], heading: str) -> str:
    image, region = (by_lever(rows, metric) for metric in METRICS)
    both = {lever: [mean(mean(table[lever][name][seed] for table in (image, region)
                              if name in table[lever]) for name in SETS)
                    for seed in range(len(image[lever][SETS[0]]))] for lever in image}
    reference = both["preset", "default"]
    lines = [heading, "",
             "| lever | setting | " + " | ".join(f"AUROC {name}" for name in SETS)
             + " | " + " | ".join(f"AUPRO {name}" for name in MASKED)
             + " | mean of both | against default |", "|---|---|" + "---|" * 10]
    for lever in image:
        cells = [str(spread(table[lever][name]))
                 for table, names in ((image, SETS), (region, MASKED)) for name in names]
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
    parser.add_argument("--only", nargs="+", metavar="LEVER", help="levers or settings; default "
                        "always")
    parser.add_argument("--output", type=Path, default=Path("results/runs/accuracy"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    only = options.only and {"default", *options.only}
    levers = [lever for lever in LEVERS if not only or only & {lever.what, lever.setting}]
    rows = run_all(options.data, options.seeds, options.parallel, options.output, levers)
    write_json(options.output / "accuracy.json",
               {"rows": rows, "environment": environment(pick_device("auto"))})
    heading = (f"Mean ± standard deviation over {options.seeds} seeds; `default` with one setting "
               "changed, unless a preset.")
    text = markdown(rows, heading)
    (options.output / "accuracy.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
