"""Defective photos among the good ones: are they found, and what becomes of the verdicts?

    python tests/benchmarks/suspects.py --data DATA [--seeds 3] [--only NAME ...] [--output DIR]

DATA holds `mvtec_ad/hazelnut_reduced` and `mtd`. Every drawn category; hazelnut; magnetic tiles,
split by tile, 50 to learn; solar cells (ELPV), mono- and polycrystalline, 60 to learn. 0, 2, 5 and
10 % of the training photos are defective ones, drawn by seed from the test set and taken out of it;
of the large sets 80 good and 40 other defective photos test. Each photo is described once. For
each share: which photos are suspect, and verdicts (5 % false alarms wanted) of

    plain    all photos are taken for good
    robust   `robust=True`
    trimmed  plain, but calibration scores beyond the same robust limit of theirs set no threshold
    soft     no suspects judge, as in `robust`, but the whole bank is kept, and distances to entries
             with less support than is usual are multiplied by how much less, as SoftPatch does

`first tenth` is the share of the defective ones in the first tenth of the list; `own` how many of
them the model calls defective itself. And "same": one defect, cut out by its mask and pasted in the
same place into 2, 3 and 5 of the good photos: do they vouch for each other? Writes suspects.json,
where it goes on, and suspects.md. Not part of the test run.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import numpy as np
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.calibration import conformal_threshold  # noqa: E402
from indad.coreset import CoresetSelection  # noqa: E402
from indad.data.datasets import ImageSet, list_categories  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.data.images import as_rgb  # noqa: E402
from indad.data.layouts import Item  # noqa: E402
from indad.engine.extraction import PatchFeatures  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.engine.search import Index  # noqa: E402
from indad.engine.support import supports as engine_supports  # noqa: E402
from indad.learned.suspects import photo_scores, robust_limit  # noqa: E402
from indad.metrics import evaluate, image_metrics  # noqa: E402

SHARES, SAME, BUDGET = (0.0, 0.02, 0.05, 0.1), (2, 3, 5), 4 << 30
WAYS = ("plain", "robust", "trimmed", "soft")
RATE, GOOD, BAD = 0.05, 80, 40


@dataclass
class Set:
    """A category's photos, each described once: training, good and defective test photos."""

    name: str
    items: list[Item]
    counts: tuple[int, int, int]
    features: PatchFeatures
    source: ImageSet

    def of(self, photos: list[int]) -> PatchFeatures:
        return self.features.of(photos, BUDGET)


def sets(data: Path, only: list[str] | None, seed: int) -> Iterator[Set]:
    places = {**{name: ("synthetic", {}) for name in list_categories("synthetic")},
              "hazelnut_reduced": (str(data / "mvtec_ad"), {}),
              "mtd": (str(data / "mtd"), dict(split="grouped", shots=50)),
              **{cells: ("elpv", dict(shots=60)) for cells in ("mono", "poly")}}
    for name, (source, how) in places.items():
        if only and name not in only:
            continue
        train, test = load_dataset(source, name, seed=seed, **how)
        generator = np.random.default_rng(seed)
        good, bad = (generator.permutation(np.flatnonzero(test.labels == label))[:most]
                     for label, most in ((0, GOOD), (1, BAD + 10)))
        items = [*train, *(test[i] for i in good), *(test[i] for i in bad)]
        yield Set(name, items, (len(train), len(good), len(bad)),
                  PatchCore(seed=seed).extract(items, training=True), test)


def mixed(photos: Set, share: float, seed: int) -> dict:
    """One share of defective photos in training, judged in all ways."""
    (train, good, bad), generator = photos.counts, np.random.default_rng([seed, 1])
    count = max(1, round(share * train / (1 - share))) if share else 0
    count = min(count, bad // 2)
    order = train + good + generator.permutation(bad)
    learned = [*range(train), *order[:count].tolist()]
    test = [*range(train, train + good), *order[count:count + BAD].tolist()]
    labels = np.array([photos.items[i].label for i in test])
    asked, own = photos.of(test), photos.of(learned[train:]) if count else None
    plain = PatchCore(seed=seed).fit_features(photos.of(learned))
    fitted = plain.fitted_
    robust, support = doubtful(PatchCore(seed=seed, robust=True), photos.of(learned),
                               CoresetSelection(fitted.coreset_indices, fitted.coreset_radii))
    found = robust.fitted_.suspects
    rows = photos.of(learned).rows * fitted.feature_scale
    patches, n = photos.features.patches, len(learned)
    starts = [patches * i for i in range(n + 1)]
    listed = photo_scores(support, [patches] * n).argsort()[::-1]
    first = set(listed[:max(count, math.ceil(n / 10))].tolist())
    suspects = [position for position, _ in found.photos]
    row = {"set": photos.name, "share": share, "seed": seed, "photos": n, "bad": count,
           "good": int((labels == 0).sum()), "defective": int(labels.sum()),
           "first_tenth": sum(i in first for i in range(train, n)),
           "suspects": sum(i >= train for i in suspects),
           "false_suspects": sum(i < train for i in suspects), "muted": found.patches, "ways": {}}
    scores = plain.calibration_scores_
    thresholds = {"plain": plain.threshold_, "robust": robust.threshold_, "trimmed":
                  conformal_threshold(scores[scores <= robust_limit(scores)[0]], RATE)}
    for way, threshold in thresholds.items():
        model = robust if way == "robust" else plain
        prediction = model.predict_features(asked)
        row["ways"][way] = judged(threshold, prediction.scores, labels,
                                  model.predict_features(own).scores if own else np.zeros(0))
        masked = any(photos.items[i].mask() is not None for i in test)
        if masked and share == 0 and way != "trimmed":
            images = photos.source.replaced([photos.items[i] for i in test])
            row["ways"][way]["aupro"] = evaluate(prediction, images)["aupro_30"]
    weights = (support[fitted.coreset_indices] / found.usual).clamp_min(1)
    owners = fitted.image_of(fitted.coreset_indices)
    silent = set(suspects)
    kept = [weighted(rows[starts[i]:starts[i + 1]], fitted.index.without(owners == i),
                     weights[owners != i]) for i in range(n) if i not in silent]
    asked_rows = fitted.scaled(asked.rows).split(patches)
    row["ways"]["soft"] = judged(
        conformal_threshold(np.array(kept), RATE),
        np.array([weighted(one, fitted.index, weights) for one in asked_rows]), labels,
        np.array([weighted(rows[starts[i]:starts[i + 1]], fitted.index, weights)
                  for i in range(train, n)]))
    return row


def doubtful(model: PatchCore, features: PatchFeatures,
             selection: CoresetSelection | None = None) -> tuple[PatchCore, Tensor]:
    """A robust model, fitted, and the support of each patch that it found on the way."""
    found = []

    def supports(*arguments: object) -> Tensor:
        found.append(engine_supports(*arguments))
        return found[-1]

    with patch("indad.learned.suspects.supports", supports):
        model.fit_features(features, selection=selection, copy=False)
    return model, found[0]


def weighted(patches: Tensor, index: Index, weights: Tensor) -> float:
    distances, nearest = index.search(patches, 3)
    return float((distances * weights[nearest]).mean(1).max())


def judged(threshold: float, scores: np.ndarray, labels: np.ndarray, own: np.ndarray) -> dict:
    flagged = scores > threshold
    return {"threshold": float(threshold), "misses": int((~flagged & (labels == 1)).sum()),
            "false_alarms": int((flagged & (labels == 0)).sum()),
            "own": int((own > threshold).sum()),
            "image_auroc": image_metrics(scores, labels)["image_auroc"]}


def pasted(photos: Set, seed: int) -> list[dict]:
    """The same defect in 2, 3 and 5 of the good photos."""
    (train, good, _), generator = photos.counts, np.random.default_rng([seed, 2])
    defects = [item for item in photos.items[train + good:] if item.mask() is not None]
    if not defects:
        return []
    rows = []
    defect = defects[generator.integers(len(defects))]
    pixels, mask = np.asarray(as_rgb(defect.path)), defect.mask()
    hosts = generator.permutation(train)[:max(SAME)].tolist()
    hurt = []
    for host in hosts:
        picture = np.asarray(as_rgb(photos.items[host].path)).copy()
        if picture.shape != pixels.shape:  # photos of many sizes
            return []
        picture[mask] = pixels[mask]
        hurt.append(picture)
    described = PatchCore(seed=seed).extract(hurt, training=True).rows
    for same in SAME:
        features = photos.of(list(range(train)))
        patches = features.patches
        for place, host in enumerate(hosts[:same]):
            features.rows[host * patches:(host + 1) * patches] = described[
                place * patches:(place + 1) * patches]
        model, support = doubtful(PatchCore(
            seed=seed, robust=True, coreset="random", coreset_ratio=0.01), features)
        listed = photo_scores(support, [patches] * train).argsort()[::-1]
        first = set(listed[:max(same, math.ceil(train / 10))].tolist())
        suspects = {position for position, _ in model.fitted_.suspects.photos}
        rows.append({"set": photos.name, "seed": seed, "same": same, "photos": train,
                     "defect": defect.defect_type, "first_tenth": len(first & set(hosts[:same])),
                     "suspects": len(suspects & set(hosts[:same])),
                     "false_suspects": len(suspects - set(hosts[:same]))})
    return rows


def table(found: dict) -> str:
    rows, same = found["mixed"], found["same"]
    seeds = len({row["seed"] for row in rows})
    lines = ["# Suspects among the good photos", "",
             "`python tests/benchmarks/suspects.py`, which says how. Sums over "
             f"{seeds} seed{'s' * (seeds != 1)}; thresholds and AUROC are means.", "",
             "| set | bad in training | in the first tenth | suspect | good ones suspect | "
             "threshold plain, robust | missed plain, robust | false alarms plain, robust | "
             "own plain, robust | AUROC plain, robust |", "|" + "---|" * 10]
    names = list(dict.fromkeys(row["set"] for row in rows))
    for share in SHARES:
        for name in [*names, "all"]:
            some = [row for row in rows if row["share"] == share and name in (row["set"], "all")]
            if some:
                lines.append(line(name, share, some))
    lines += ["", "The other ways, summed over all sets:", "",
              "| bad in training | way | missed | false alarms | own | AUROC | AUPRO |",
              "|---|---|---|---|---|---|---|"]
    for share in SHARES:
        some = [row for row in rows if row["share"] == share]
        for way in WAYS if some else ():
            ways = [row["ways"][way] for row in some]
            pro = [] if share else [one["aupro"] for one in ways if one.get("aupro") is not None]
            lines.append(
                f"| {100 * share:.0f} % | {way} | "
                f"{of(ways, 'misses', some, 'defective')} | "
                f"{of(ways, 'false_alarms', some, 'good')} | {of(ways, 'own', some, 'bad')} | "
                f"{mean(one['image_auroc'] for one in ways):.4f} | "
                f"{f'{mean(pro):.4f}' if pro else '-'} |")
    lines += ["", "One defect in so many photos of a set:", "",
              "| set | photos with it | in the first tenth | suspect | others suspect |",
              "|---|---|---|---|---|"]
    for name in [*dict.fromkeys(row["set"] for row in same), "all"]:
        for count in SAME:
            some = [row for row in same if row["same"] == count and name in (row["set"], "all")]
            if some:
                photos = some[0]["photos"] if name != "all" else "32 to 50"
                lines.append(f"| {name} | {count} of {photos} | "
                             f"{of(some, 'first_tenth', some, 'same')} | "
                             f"{of(some, 'suspects', some, 'same')} | "
                             f"{sum(row['false_suspects'] for row in some)} |")
    known = ", ".join(f"{name} {value}" for name, value in found["environment"].items())
    return "\n".join([*lines, "", known, ""])


def of(rows: list[dict], what: str, wholes: list[dict], whole: str) -> str:
    return f"{sum(row[what] for row in rows)} of {sum(row[whole] for row in wholes)}"


def line(name: str, share: float, rows: list[dict]) -> str:
    def both(what: str) -> str:
        return ", ".join(str(sum(row["ways"][way][what] for row in rows))
                         for way in ("plain", "robust"))

    def means(what: str, digits: int) -> str:
        return ", ".join(f"{mean(row['ways'][way][what] for row in rows):.{digits}f}"
                         for way in ("plain", "robust"))

    bad, good, defective = (sum(row[what] for row in rows)
                            for what in ("bad", "good", "defective"))
    return (f"| {name} | {bad} ({100 * share:.0f} %) | "
            + (f"{of(rows, 'first_tenth', rows, 'bad')} | {of(rows, 'suspects', rows, 'bad')}"
               if share else "- | -")
            + f" | {sum(row['false_suspects'] for row in rows)} | {means('threshold', 1)} | "
            f"{both('misses')} of {defective} | {both('false_alarms')} of {good} | "
            f"{both('own') if share else '-'} | {means('image_auroc', 4)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2]
                        / "results" / "reference" / "benchmarks")
    options = parser.parse_args()
    file = options.output / "suspects.json"
    found = json.loads(file.read_text()) if file.exists() else {"mixed": [], "same": []}
    for seed in range(options.seeds):
        for photos in sets(options.data, options.only, seed):
            began, key = time.time(), (photos.name, seed)
            for share in SHARES:
                if (*key, share) not in [(row["set"], row["seed"], row["share"])
                                         for row in found["mixed"]]:
                    found["mixed"].append(mixed(photos, share, seed))
                    write_json(file, found)
            if key not in [(row["set"], row["seed"]) for row in found["same"]]:
                found["same"] += pasted(photos, seed)
            found["environment"] = environment(pick_device("cpu"))
            write_json(file, found)
            write_text(options.output / "suspects.md", table(found))
            print(f"{photos.name}, seed {seed}: {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
