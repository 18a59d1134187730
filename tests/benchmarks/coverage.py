"""Do verdicts keep the false-alarm rate that was wanted? Measured for each way to calibrate.

    python tests/benchmarks/coverage.py [--mtd DATA/mtd] [--splits 200] [--resize 96]

For each synthetic category a pool of good parts is drawn and its features are extracted once. Each
split takes other parts of the pool to train on, and others to count false alarms on; defective
parts tell what a threshold costs in misses. With --mtd also the magnetic tiles, split by tile,
where grouping matters. Adds its tables to coverage.json and coverage.md. Not part of the test run.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.calibration import CALIBRATIONS, conformal_threshold  # noqa: E402
from indad.coreset import CoresetSelection  # noqa: E402
from indad.data.synthetic.categories import CATEGORIES, draw_part  # noqa: E402
from indad.engine.extraction import PatchFeatures  # noqa: E402
from indad.engine.machine import environment  # noqa: E402

RATES = (0.05, 0.10)
SEED = 7  # of the drawn parts: none of them is in the dataset


def drawn_features(model: PatchCore, category: str, pool: int,
                   per_defect: int) -> tuple[PatchFeatures, PatchFeatures]:
    """Features of `pool` good parts, and of defective ones."""
    good = [("good", index) for index in range(pool)]
    bad = [(kind, index) for kind in CATEGORIES[category].defects for index in range(per_defect)]
    return tuple(model.extract([
        Image.fromarray(draw_part(category, defect=kind, index=index, seed=SEED)[0])
        for kind, index in parts]) for parts in (good, bad))


def coverage(base: PatchCore, seed: int, methods: list[tuple[str, bool]], train: PatchFeatures,
             groups: list | None, good: PatchFeatures, bad: PatchFeatures) -> dict:
    """One split -> {(method, grouped, rate): (share of false alarms, share of misses)}."""
    found, fitted, selection = {}, None, None
    for method, grouped in methods:
        model = PatchCore(**base.options | {"calibration": method, "seed": seed})
        model.prepare(shared=base)
        own = method == "held-out"  # another bank
        model.fit_features(train, groups=groups if grouped else None,
                           selection=None if own else selection)
        if own or fitted is None:
            scores = [model.predict_features(images).scores for images in (good, bad)]
            if not own:
                fitted = scores
                selection = CoresetSelection(model.coreset_indices_, model.coreset_radii_)
        for rate in RATES:
            threshold = conformal_threshold(model.calibration_scores_, rate)
            alarms, hits = [(part > threshold).mean() for part in (scores if own else fitted)]
            found[method, grouped, rate] = (alarms, 1 - hits)
    return found


def summary(rows: list[dict]) -> dict:
    """Mean and standard error over splits for each method and rate."""
    told = {}
    for method, grouped, rate in rows[0]:
        alarms, misses = np.array([row[method, grouped, rate] for row in rows]).T
        name = f"{method}, by tile" if grouped else method
        told.setdefault(name, {})[f"{rate:.2f}"] = {
            "false_alarms": float(alarms.mean()),
            "standard_error": float(alarms.std(ddof=1) / len(rows) ** 0.5) if rows[1:] else None,
            "misses": float(misses.mean())}
    return told


def synthetic_splits(base: PatchCore, category: str, args: argparse.Namespace) -> dict:
    pool, bad = drawn_features(base, category, args.pool, 3)
    rows = []
    for split in range(args.splits):
        order = np.random.default_rng(split).permutation(args.pool).tolist()
        train = pool.of(order[:args.train], 1 << 34)
        good = pool.of(order[args.train:args.train + args.test], 1 << 34)
        rows.append(coverage(base, split, [(name, False) for name in CALIBRATIONS], train, None,
                             good, bad))
    return summary(rows)


def tile_splits(base: PatchCore, folder: Path, split: str, seeds: int) -> dict:
    everything, rows, features, place = None, [], None, {}
    for seed in range(seeds):
        train, test = load_dataset(folder, split=split, seed=seed)
        if features is None:
            everything = [*train, *test]
            features = base.extract(everything)
            place = {item.path: i for i, item in enumerate(everything)}
        part = {label: features.of([place[item.path] for item in test if item.label == label],
                                   1 << 34) for label in (0, 1)}
        methods = [(name, False) for name in CALIBRATIONS]
        if split == "grouped":
            methods += [(name, True) for name in CALIBRATIONS]
        rows.append(coverage(base, seed, methods,
                             features.of([place[item.path] for item in train], 1 << 34),
                             train.groups, part[0], part[1]))
    return summary(rows)


def markdown(record: dict) -> str:
    lines = [record["made_by"], "",
             "Shares of good parts that are flagged at a wanted 5 % and 10 %, mean over splits and "
             "its standard error, and of defective ones that are missed."]
    for title, table in record["tables"].items():
        lines += ["", f"## {title}", ""]
        methods = list(next(iter(table.values())))
        lines += ["| | " + " | ".join(f"{name}, {float(rate):.0%}" for name in methods
                                      for rate in RATES) + " |",
                  "|---|" + "---|" * (len(methods) * len(RATES))]
        cells = defaultdict(list)
        for category, found in table.items():
            row = [found[name][f"{rate:.2f}"] for name in methods for rate in RATES]
            for place, cell in enumerate(row):
                cells[place].append(cell)
            lines.append(f"| {category} | " + " | ".join(map(_cell, row)) + " |")
        if len(table) > 1:
            mean = [np.mean([[c["false_alarms"], c["misses"]] for c in cells[i]], axis=0)
                    for i in range(len(cells))]
            worst = [max(c["false_alarms"] for c in cells[i]) for i in range(len(cells))]
            lines += ["| **mean** | " + " | ".join(f"{a:.1%} (missed {m:.0%})" for a, m in mean)
                      + " |", "| **worst** | " + " | ".join(f"{a:.1%}" for a in worst) + " |"]
    return "\n".join(lines) + "\n"


def _cell(cell: dict) -> str:
    error = cell["standard_error"]
    spread = "" if error is None else f" ± {100 * error:.1f}"
    return f"{100 * cell['false_alarms']:.1f}{spread} % (missed {cell['misses']:.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--category", nargs="+", default=list(CATEGORIES), help="none: only the tiles")
    add("--splits", type=int, default=200)
    add("--resize", type=int, default=96, help="256 is what `run` does, and some 20 times slower")
    add("--coreset-ratio", type=float, default=0.1)
    add("--pool", type=int, default=200, help="good parts drawn for each category")
    add("--train", type=int, default=32)
    add("--test", type=int, default=50, help="good parts to count false alarms on")
    add("--mtd", type=Path, help="folder of the magnetic tiles")
    add("--mtd-splits", type=int, default=3)
    add("--mtd-split", nargs="+", default=["grouped"], help="grouped, paper")
    add("--mtd-ratio", type=float, default=0.01)
    add("--output", type=Path, default=Path("results/reference/benchmarks"))
    args = parser.parse_args()
    file = args.output / "coverage.json"
    record = json.loads(file.read_text()) if file.exists() else {"tables": {}}
    record["environment"] = environment(torch.device("cpu"))
    versions = ", ".join(f"{name} {record['environment'][name]}" for name in (
        "python", "threads", "torch", "numpy"))
    record["made_by"] = f"Measured with `python tests/benchmarks/coverage.py` ({versions})."

    def keep(title: str, row: str, found: dict, began: float) -> None:
        record["tables"].setdefault(title, {})[row] = found
        file.write_text(json.dumps(record, indent=1) + "\n")
        (args.output / "coverage.md").write_text(markdown(record))
        print(f"{row}: {time.perf_counter() - began:.0f} s", flush=True)

    base = PatchCore(resize=args.resize, coreset_ratio=args.coreset_ratio, device="cpu")
    title = (f"Synthetic parts at {args.resize} px, coreset ratio {args.coreset_ratio:.0%}: "
             f"{args.splits} splits, {args.train} training and {args.test} good test parts")
    for category in args.category:
        if category in CATEGORIES:
            began = time.perf_counter()
            keep(title, category, synthetic_splits(base, category, args), began)
    if args.mtd:
        base = PatchCore(coreset_ratio=args.mtd_ratio, device="cpu")
        for split in args.mtd_split:
            began = time.perf_counter()
            keep(f"Magnetic tiles, split {split}, coreset ratio {args.mtd_ratio:.0%}: "
                 f"{args.mtd_splits} splits", "mtd",
                 tile_splits(base, args.mtd, split, args.mtd_splits), began)


if __name__ == "__main__":
    main()
