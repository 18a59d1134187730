"""How far metrics are from their references; writes results/reference/benchmarks/references.md

    python tests/benchmarks/references.py

The references are scikit-learn, anomalib's AUPIMO (its numbers lie in tests/fixtures, with the
script that made them), and definitions taken literally, pair by pair or threshold by threshold; the
maps are drawn, seeds 0 to 4. The tests hold each to 1e-9.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
sys.path[:0] = [str(REPOSITORY), str(TESTS)]

from fixtures.make_aupimo import CASES, draw  # noqa: E402
from test_delong import brute, drawn  # noqa: E402
from test_metrics import best_f1, literal_aupro, pictures  # noqa: E402
from test_pimo import ANOMALIB, ours  # noqa: E402
from test_spro import literal_auspro  # noqa: E402

from indad.evaluation.delong import delong_covariance  # noqa: E402
from indad.evaluation.segmentation import at_threshold  # noqa: E402
from indad.evaluation.spro import auspro  # noqa: E402
from indad.metrics import pixel_metrics  # noqa: E402

SEEDS = range(5)


def of_pixels() -> dict[str, float]:
    """Five sets of six drawn maps, with few levels, so that many pixels tie."""
    far: dict[str, float] = {}
    for seed in SEEDS:
        maps, masks = pictures(seed, digits=1)
        found, labels, scores = pixel_metrics(list(maps), list(masks)), masks.ravel(), maps.ravel()
        wanted = {"pixel_auroc": roc_auc_score(labels, scores),
                  "pixel_ap": average_precision_score(labels, scores),
                  "pixel_f1_max": best_f1(labels, scores),
                  "aupro_30": literal_aupro(maps, masks, 0.3),
                  "aupro_5": literal_aupro(maps, masks, 0.05)}
        flagged = scores > 1
        counts = np.array([np.sum(flagged & labels), np.sum(flagged & ~labels),
                           np.sum(~flagged & labels)])
        found["seg_f1"] = float(at_threshold(counts, counts)["seg_f1"])
        wanted["seg_f1"] = f1_score(labels, flagged)
        for name, value in wanted.items():
            far[name] = max(far.get(name, 0), abs(found[name] - value))
    return far


def of_aupimo(exact: bool) -> float:
    return max(float(np.abs(ours(*draw(name)).areas - ANOMALIB[name]).max())
               for name, case in CASES.items() if (case[3] is not None) == exact)


def of_auspro() -> float:
    far = 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        good = np.round(rng.normal(size=3000), 1)
        defects = [(np.round(rng.normal(size=size) + 1, 1), enough)
                   for size, enough in ((50, 20), (9, 9), (200, 1))]
        found = auspro(defects, [good])
        far = max(far, abs((found or 0) - literal_auspro(defects, good)))
    return far


def of_delong() -> float:
    far = 0.0
    for seed in SEEDS:
        scores, labels = drawn(seed, digits=1)
        for found, wanted in zip(delong_covariance(scores, labels), brute(scores, labels),
                                 strict=True):
            far = max(far, float(np.abs(found - wanted).max()))
    return far


def main() -> None:
    version = json.loads((TESTS / "fixtures" / "aupimo.json").read_text())["anomalib"]
    scikit = {"pixel_auroc", "pixel_ap", "pixel_f1_max", "seg_f1"}
    rows = [(name, "scikit-learn" if name in scikit else "its definition, literally", value)
            for name, value in of_pixels().items()]
    rows += [("aupimo, on grids that are exact", f"anomalib {version}", of_aupimo(True)),
             ("aupimo, on real numbers", f"anomalib {version}, 100,000 thresholds",
              of_aupimo(False)),
             ("auspro_5", "its definition, literally", of_auspro()),
             ("DeLong's covariance", "all pairs", of_delong())]
    lines = ["# Metrics and their references", "", "`python tests/benchmarks/references.py`", "",
             "| metric | reference | farthest |", "|---|---|---|",
             *(f"| {name} | {reference} | {value:.1e} |" for name, reference, value in rows)]
    file = REPOSITORY / "results" / "reference" / "benchmarks" / "references.md"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
