"""Does a model find defects of solar cells, or modules? ELPV's runs, judged inside each module.

    python tests/benchmarks/modules.py RESULTS

RESULTS is the folder that `run` or `benchmark --dataset elpv` wrote. Image AUROC is the share of
pairs of a good and a defective test cell in which the defective one scores higher. Of mono cells,
209 of 313 defective ones are of four modules with hardly a good cell, so most pairs compare cells
of two modules. Prints, for each preset, mean and standard deviation over seeds of three shares: of
all pairs; of pairs of one module; and of all pairs without those four modules. Not part of the
test run.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad.data.elpv import Cell  # noqa: E402
from indad.experiments.records import read_record, read_scores  # noqa: E402

MOSTLY_DEFECTIVE = (1, 361, 421, 481)  # the numbers of their first cells


def shares(rows: list[dict]) -> tuple[float, float, float]:
    """The three shares of one run, from the lines of its scores.csv."""
    scores, labels = (np.array([row[name] for row in rows]) for name in ("score", "label"))
    modules = np.array([Cell(Path(), int(Path(row["image"]).stem[len("cell"):]), 0.0, "").module
                        for row in rows])
    good, bad = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    higher = (np.sign(scores[bad][:, None] - scores[good]) + 1) / 2
    same = modules[bad][:, None] == modules[good]
    others = ~np.isin(modules, MOSTLY_DEFECTIVE)
    return (higher.mean(), higher[same].mean(), higher[others[bad]][:, others[good]].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    found = defaultdict(list)
    for file in sorted(parser.parse_args().results.glob("elpv/*/*/metrics.json")):
        config = read_record(file.parent)["config"]
        found[config["category"], config["split"], config["preset"]].append(
            shares(read_scores(file.parent)))
    for names, values in sorted(found.items()):
        mean, spread = np.mean(values, 0), np.std(values, 0, ddof=min(1, len(values) - 1))
        print(*names, f"({len(values)} runs):", ", ".join(
            f"{what} {m:.4f} ± {s:.4f}" for what, m, s in zip(
                ("all pairs", "of one module", "without four modules"), mean, spread,
                strict=True)))


if __name__ == "__main__":
    main()
