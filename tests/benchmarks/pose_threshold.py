"""Parts that lie as they were drawn: what alignment does to scores, and what to the threshold.

    python tests/benchmarks/pose_threshold.py [--seeds 2] [--output DIR]

Boards and gears, 24 good photos to learn from, 20 good and 6 of each defect to judge. As they lie,
and by `align="rigid"`; calibrated by leave-one-out or by folds, with a quarter of the patches or
all of them; and the aligned photo interpolated in other ways. 5 % of false alarms wanted. Goes on
with what is in pose_threshold.json; writes that and pose_threshold.md. Not part of the test run.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.data.pose import opencv  # noqa: E402
from indad.data.synthetic.categories import CATEGORIES, draw_part  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.metrics import image_metrics  # noqa: E402

PARTS = ("board", "gear")
RIGID: dict[str, Any] = dict(align="rigid", coreset_ratio=0.25)
WAYS: dict[str, dict[str, Any]] = {
    "as they lie": dict(coreset_ratio=0.25),
    "as they lie, folds": dict(coreset_ratio=0.25, calibration="folds"),
    "rigid": RIGID,
    "rigid, folds": RIGID | dict(calibration="folds"),
    "rigid, all patches": RIGID | dict(coreset_ratio=1.0),
    "rigid, linear": RIGID,
    "rigid, Lanczos": RIGID,
}
OTHER_FILTER = {"rigid, linear": "INTER_LINEAR", "rigid, Lanczos": "INTER_LANCZOS4"}


def judged(part: str, seed: int, way: str) -> dict:
    learn = [draw_part(part, index=i, seed=seed)[0] for i in range(24)]
    kinds = ["good"] * 20 + [kind for kind in CATEGORIES[part].defects for _ in range(6)]
    judge = [draw_part(part, defect=kind, split="test", seed=seed, index=i)[0]
             for i, kind in enumerate(kinds)]
    labels = np.array([kind != "good" for kind in kinds])
    cubic = opencv().INTER_CUBIC
    with patch.object(opencv(), "INTER_CUBIC",
                      getattr(opencv(), OTHER_FILTER[way]) if way in OTHER_FILTER else cubic):
        model = PatchCore(seed=seed, **WAYS[way]).fit(learn)
        scores = model.predict(judge).scores
    flagged = scores > model.threshold_
    return {"part": part, "seed": seed, "way": way, "threshold": model.threshold_,
            "calibrated": float(np.median(model.calibration_scores_)),
            "good": float(np.median(scores[~labels])), "highest": float(scores[~labels].max()),
            "false_alarms": int((flagged & ~labels).sum()), "of_good": int((~labels).sum()),
            "misses": int((~flagged & labels).sum()), "of": int(labels.sum()),
            "image_auroc": image_metrics(scores, labels)["image_auroc"]}


def table(found: dict) -> str:
    lines = ["# Aligned parts, and their threshold", "",
             "`python tests/benchmarks/pose_threshold.py`, which says how. Misses and false alarms "
             "are summed over seeds, all else are means.", "",
             "| part | seeds | way | image AUROC | missed | false alarms | threshold | "
             "highest good score | median good score | median in calibration |",
             "|" + "---|" * 10]
    for part in PARTS:
        for way in WAYS:
            rows = [row for row in found["rows"] if (row["part"], row["way"]) == (part, way)]
            if rows:
                total, mean = ({name: sum(row[name] for row in rows) / count for name in rows[0]
                                if name not in ("part", "way")} for count in (1, len(rows)))
                lines.append(
                    f"| {part} | {len(rows)} | {way} | {mean['image_auroc']:.4f} | "
                    f"{total['misses']:.0f} of {total['of']:.0f} | "
                    f"{total['false_alarms']:.0f} of {total['of_good']:.0f} | " + " | ".join(
                        f"{mean[name]:.2f}" for name in (
                            "threshold", "highest", "good", "calibrated")) + " |")
    known = ", ".join(f"{name} {value}" for name, value in found["environment"].items())
    return "\n".join([*lines, "", known, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2]
                        / "results" / "reference" / "benchmarks")
    options = parser.parse_args()
    file = options.output / "pose_threshold.json"
    found = json.loads(file.read_text()) if file.exists() else {"rows": []}
    known = {(row["part"], row["seed"], row["way"]) for row in found["rows"]}
    for seed in range(options.seeds):
        for part in PARTS:
            for way in WAYS:
                if (part, seed, way) not in known:
                    found["rows"].append(judged(part, seed, way))
                    found["environment"] = environment(pick_device("cpu"))
                    print(json.dumps(found["rows"][-1]), flush=True)
                    write_json(file, found)
                    write_text(options.output / "pose_threshold.md", table(found))


if __name__ == "__main__":
    main()
