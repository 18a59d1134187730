"""Defective photos among the good ones: are they found, and what becomes of the verdicts?

    python tests/benchmarks/suspects.py --data DATA [--seeds 3] [--only NAME ...] [--output DIR]

DATA holds `mvtec_ad/hazelnut_reduced` and `mtd`. Every drawn category; hazelnut; magnetic tiles,
split by tile, and solar cells (ELPV), mono- and polycrystalline, 40 to learn. 0, 2, 5 and 10 % of
the training photos are defective ones, drawn by seed from the test set and taken out of it; up to
40 good and 30 other defective photos test. For each share: which photos are suspect, and verdicts
(5 % false alarms wanted) of

    plain    all photos are taken for good
    robust   `robust=True`
    muted    the same, but all scores of calibration set the threshold, as long as no suspect's
    trimmed  plain, but scores of calibration beyond the same limit set no threshold

`first tenth` is the share of the defective ones in the first tenth of the list; `own` how many of
them the model calls defective itself. And "same": one defect, cut out by its mask and pasted in the
same place into 2, 3 and 5 of the good photos: do they vouch for each other?

To be affordable, each photo is described once, layers are scaled as those of the clean photos are
(of gears, a tenth of them bad, 0.0002 off), and each pair of photos is compared once; all else is
the package's. Writes suspects.json, where it goes on, with all scores, so that another rule for
thresholds needs no other run, and suspects.md. Not part of the test run.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import norm, t
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
from indad.engine.groups import draw_groups  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.engine.scaling import layer_scales  # noqa: E402
from indad.engine.support import SHARE  # noqa: E402
from indad.learned.suspects import (  # noqa: E402
    LEAST_SPREAD,
    Suspects,
    judging,
    limited,
    robust_limit,
)
from indad.metrics import evaluate, image_metrics  # noqa: E402

SHARES, SAME, BUDGET = (0.0, 0.02, 0.05, 0.1), (2, 3, 5), 4 << 30
WAYS = {"plain": ("plain", False), "robust": ("robust", True), "muted": ("robust", False),
        "trimmed": ("plain", True)}  # the bank, and whether odd scores set no threshold
RATE, LEARN, GOOD, BAD, MIXED = 0.05, 40, 40, 30, 10


@dataclass
class Set:
    """A category's photos, each described once: training, good and defective test photos, and some
    of the training ones with one and the same defect, if photos and defects are of one size.

    `nearest[i, :, j]`: how far the patches of photo i are from the nearest of photo j, of those
    that are ever learned.
    """

    name: str
    seed: int
    items: list[Item]
    counts: tuple[int, int, int]
    features: PatchFeatures
    source: ImageSet
    hosts: list[int]
    pasted: str
    scale: Tensor = field(default_factory=lambda: torch.ones(1))
    nearest: Tensor = field(default_factory=lambda: torch.empty(0))

    def of(self, photos: list[int]) -> PatchFeatures:
        return self.features.of(photos, BUDGET)

    def mixed(self, share: float) -> tuple[list[int], list[int]]:
        """Photos to learn, the defective ones last, and those to test: good, then defective."""
        train, good, bad = self.counts
        count = min(max(1, round(share * train / (1 - share))) if share else 0, bad // 2)
        order = self.drawn()
        return ([*range(train), *order[:count]],
                [*range(train, train + good), *order[count:count + BAD]])

    def drawn(self) -> list[int]:
        """Defective photos in the order in which they are mixed in."""
        train, good, bad = self.counts
        return (train + good + np.random.default_rng([self.seed, 1]).permutation(bad)).tolist()

    def support(self, photos: list[int]) -> Tensor:
        """`(n, p)`: of the patches of photos among each other, as `engine.support` has it."""
        others = torch.tensor(photos)
        needed = math.ceil(round(SHARE * (len(photos) - 1), 9))
        return torch.stack([self.nearest[i][:, others[others != i]].kthvalue(needed).values
                            for i in photos])


def sets(data: Path, only: list[str] | None, seed: int,
         known: Collection[tuple]) -> Iterator[Set]:
    places = {**{name: ("synthetic", {}) for name in list_categories("synthetic")},
              "hazelnut_reduced": (str(data / "mvtec_ad"), {}),
              "mtd": (str(data / "mtd"), dict(split="grouped", shots=LEARN)),
              **{cells: ("elpv", dict(shots=LEARN)) for cells in ("mono", "poly")}}
    for name, (source, how) in places.items():
        if only and name not in only or (name, seed, max(SHARES)) in known:
            continue
        train, test = load_dataset(source, name, seed=seed, **how)
        generator = np.random.default_rng(seed)
        good, bad = (generator.permutation(np.flatnonzero(test.labels == label))[:most]
                     for label, most in ((0, GOOD), (1, BAD + MIXED)))
        items = [*train, *(test[i] for i in good), *(test[i] for i in bad)]
        hosts, pictures, defect = pasted(items, len(train), len(good), seed)
        model = PatchCore(seed=seed)
        features = model.extract([*items, *pictures], training=True)
        found = Set(name, seed, items, (len(train), len(good), len(bad)), features, test, hosts,
                    defect)
        found.scale = layer_scales(found.of(list(range(len(train)))).rows,
                                   model.prepare().channels)
        found.nearest = all_nearest(found)
        yield found


def pasted(items: list[Item], train: int, good: int, seed: int,
           ) -> tuple[list[int], list[np.ndarray], str]:
    """Some of the good photos with one and the same defect; none where there is no mask."""
    generator = np.random.default_rng([seed, 2])
    defects = [item for item in items[train + good:] if item.mask() is not None]
    if not defects:
        return [], [], ""
    defect = defects[generator.integers(len(defects))]
    pixels, mask = np.asarray(as_rgb(defect.path)), defect.mask()
    hosts = generator.permutation(train)[:max(SAME)].tolist()
    pictures = [np.asarray(as_rgb(items[host].path)).copy() for host in hosts]
    if any(picture.shape != pixels.shape for picture in pictures):  # photos of many sizes
        return [], [], ""
    for picture in pictures:
        picture[mask] = pixels[mask]
    return hosts, pictures, defect.defect_type


def all_nearest(photos: Set) -> Tensor:
    """`Set.nearest`; each pair of photos is one product, which says it for both."""
    count, patches = len(photos.features), photos.features.patches
    ever = [*range(photos.counts[0]), *photos.drawn()[:len(photos.mixed(max(SHARES))[0])
                                                      - photos.counts[0]],
            *range(len(photos.items), count)]
    rows = (photos.features.rows * photos.scale).split(patches)
    origin = rows[0].mean(0)
    rows = [part - origin for part in rows]  # near the origin a product loses fewer digits
    nearest = torch.full((count, patches, count), torch.inf)
    for place, i in enumerate(ever):
        for j in ever[:place]:
            squares = torch.addmm(rows[j].square().sum(1), rows[i], rows[j].T, alpha=-2)
            squares += rows[i].square().sum(1, keepdim=True)
            nearest[i, :, j] = squares.amin(1).clamp_min(0).sqrt()
            nearest[j, :, i] = squares.amin(0).clamp_min(0).sqrt()
    return nearest


def mixed(photos: Set, share: float) -> dict:
    """One share of defective photos in training: what both models say of all photos."""
    train, seed = photos.counts[0], photos.seed
    learned, test = photos.mixed(share)
    count, n = len(learned) - train, len(learned)
    support = photos.support(learned)
    scores = support.amax(1).double().numpy()
    limit, _ = robust_limit(scores)
    first = set(scores.argsort()[::-1][:max(count, math.ceil(n / 10))].tolist())
    suspects = set(np.flatnonzero(scores > limit).tolist())
    row = {"set": photos.name, "share": share, "seed": seed, "photos": n, "bad": count,
           "good": photos.counts[1], "defective": len(test) - photos.counts[1],
           "first_tenth": sum(i in first for i in range(train, n)),
           "suspects": sum(i >= train for i in suspects),
           "false_suspects": sum(i < train for i in suspects)}
    asked, own = photos.of(test), photos.of(learned[train:]) if count else None
    images = photos.source.replaced([photos.items[i] for i in test])
    masked = share == 0 and any(item.mask() is not None for item in images)
    selection = None
    for way in ("plain", "robust"):
        if way == "robust" and not suspects:  # the same model, to the bit
            row[way] = row["plain"]
            continue
        model = PatchCore(seed=seed, robust=way == "robust")
        with (patch("indad.learned.learning.layer_scales", lambda *_: photos.scale),
              patch("indad.learned.suspects.supports", lambda *_: support.flatten()),
              patch("indad.learned.learning.judging", lambda *all_of_it: all_of_it)):
            model.fit_features(photos.of(learned), selection=selection, copy=False)
        selection = CoresetSelection(model.coreset_indices_, model.coreset_radii_)
        silent = suspects if way == "robust" else set()
        assert way == "plain" or silent == {i for i, _ in model.fitted_.suspects.photos}
        judges = [members[0] for members in draw_groups(n, silent=silent, seed=seed)]
        by_photo = dict(zip(judges, model.calibration_scores_, strict=True))
        prediction = model.predict_features(asked)
        row[way] = {**{name: kept(by_photo[i] for i in part if i in by_photo) for name, part in (
                        ("good", range(train)), ("bad", range(train, n)))},
                    "test": kept(prediction.scores),
                    "own": kept(model.predict_features(own).scores if own else [])}
        if masked:
            row[way]["aupro"] = evaluate(prediction, images)["aupro_30"]
    return row


def kept(scores: Iterable[float]) -> str:
    """Numbers as one line of JSON holds them."""
    return " ".join(f"{score:.5g}" for score in scores)


def numbers(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=float)


def shared(photos: Set) -> list[dict]:
    """The same defect in 2, 3 and 5 of the good photos: who is suspect?"""
    train, rows = photos.counts[0], []
    for same in SAME if photos.hosts else ():
        hurt = photos.hosts[:same]
        place = {host: len(photos.items) + i for i, host in enumerate(hurt)}
        scores = photos.support([place.get(i, i) for i in range(train)]).amax(1).double().numpy()
        first = set(scores.argsort()[::-1][:max(same, math.ceil(train / 10))].tolist())
        suspects = set(np.flatnonzero(scores > robust_limit(scores)[0]).tolist())
        rows.append({"set": photos.name, "seed": photos.seed, "same": same, "photos": train,
                     "defect": photos.pasted, "first_tenth": len(first & set(hurt)),
                     "suspects": len(suspects & set(hurt)),
                     "false_suspects": len(suspects - set(hurt))})
    return rows


def by_deviations(logs: np.ndarray, reach: float, lower: bool = False) -> float:
    """Robust deviations above the median, or those of the lower half, where no defects are."""
    middle = np.median(logs)
    spread = np.median(np.abs((logs[logs <= middle] if lower else logs) - middle))
    return middle + t.ppf(norm.cdf(reach), len(logs) - 1) * max(1.4826 * spread, LEAST_SPREAD)


def after_a_jump(logs: np.ndarray) -> float:
    """Three deviations, but no score is odd that is less than one away from the next below."""
    one = by_deviations(logs, 1.0) - np.median(logs)
    ordered = np.sort(logs)
    odd = np.flatnonzero((ordered[1:] > by_deviations(logs, 3.0)) & (np.diff(ordered) > one))
    return ordered[odd[0]:odd[0] + 2].mean() if len(odd) else np.inf


# Of logarithms of scores -> beyond which they set no threshold.
LIMITS = {
    "2.5 deviations": lambda logs: by_deviations(logs, 2.5),
    "3 deviations (taken)": lambda logs: by_deviations(logs, 3.0),
    "3.5 deviations": lambda logs: by_deviations(logs, 3.5),
    "4 deviations": lambda logs: by_deviations(logs, 4.0),
    "3 of the lower half": lambda logs: by_deviations(logs, 3.0, lower=True),
    "one of a hundred clean sets has an odd score": lambda logs: by_deviations(
        logs, norm.isf(0.01 / len(logs))),
    "3 deviations, after a jump": after_a_jump}


def judged(row: dict, way: str, limit_of: Callable | None = None) -> dict:
    """What one way, or `robust` with another limit, makes of the scores of `mixed`."""
    bank, trim = WAYS[way]
    found = row[bank]
    scores = np.concatenate([numbers(found["good"]), numbers(found["bad"])])
    record = Suspects(1.0, 1.0, [], 0)
    if trim:
        record = (limited(record, scores) if limit_of is None
                  else replace(record, trusted=float(np.exp(limit_of(np.log(scores))))))
    stay, _, record = judging(scores, scores, record)
    threshold, limit = conformal_threshold(stay, RATE), record.trusted or np.inf
    labels = np.repeat([0, 1], [row["good"], row["defective"]])
    test = numbers(found["test"])
    flagged = test > threshold
    return {"threshold": threshold, "misses": int((~flagged & (labels == 1)).sum()),
            "false_alarms": int((flagged & (labels == 0)).sum()),
            "own": int((numbers(found["own"]) > threshold).sum()),
            "odd": int((numbers(found["bad"]) > limit).sum()),
            "false_odd": int((numbers(found["good"]) > limit).sum()),
            "image_auroc": image_metrics(test, labels)["image_auroc"], "aupro": found.get("aupro")}


def table(found: dict) -> str:
    same = found["same"]
    rows = [row | {"ways": {way: judged(row, way) for way in WAYS}} for row in found["mixed"]]
    seeds = len({row["seed"] for row in rows})
    lines = ["# Suspects among the good photos", "",
             "`python tests/benchmarks/suspects.py`, which says how. Sums over "
             f"{seeds} seed{'s' * (seeds != 1)}; thresholds, AUROC and AUPRO are means. `odd`: "
             "photos that are not suspect, but whose scores of calibration set no threshold.", "",
             "| set | bad in training | in the first tenth | suspect | odd | good ones suspect | "
             "odd | threshold plain, robust | missed plain, robust | false alarms plain, robust | "
             "own plain, robust | AUROC plain, robust |", "|" + "---|" * 12]
    for share in SHARES:
        for name in [*dict.fromkeys(row["set"] for row in rows), "all"]:
            some = [row for row in rows if row["share"] == share and name in (row["set"], "all")]
            if some:
                lines.append(line(name, share, some))
    lines += ["", "The other ways, summed over all sets:", "",
              "| bad in training | way | missed | false alarms | own | odd | good ones odd | AUROC "
              "| AUPRO |", "|" + "---|" * 9]
    for share in SHARES:
        some = [row for row in rows if row["share"] == share]
        for way in WAYS if some else ():
            ways = [row["ways"][way] for row in some]
            pro = [one["aupro"] for one in ways if one["aupro"] is not None]
            lines.append(
                f"| {100 * share:.0f} % | {way} | {of(ways, 'misses', some, 'defective')} | "
                f"{of(ways, 'false_alarms', some, 'good')} | {of(ways, 'own', some, 'bad')} | "
                f"{of(ways, 'odd', some, 'bad')} | {sum(one['false_odd'] for one in ways)} | "
                f"{mean(one['image_auroc'] for one in ways):.4f} | "
                f"{f'{mean(pro):.4f}' if pro else '-'} |")
    lines += ["", "`robust` with other limits of scores of calibration; false alarms, and missed:",
              "", "| limit | good ones odd, of clean sets | "
              + " | ".join(f"{100 * share:.0f} %, false | missed" for share in SHARES) + " |",
              "|" + "---|" * (2 + 2 * len(SHARES))]
    for name, limit_of in LIMITS.items():
        tried = {share: [judged(row, "robust", limit_of) for row in rows if row["share"] == share]
                 for share in SHARES}
        lines.append(f"| {name} | {sum(one['false_odd'] for one in tried[0.0])} | " + " | ".join(
            f"{sum(one['false_alarms'] for one in some)} | {sum(one['misses'] for one in some)}"
            for some in tried.values()) + " |")
    lines += ["", "One defect in so many photos of a set:", "",
              "| set | photos with it | in the first tenth | suspect | others suspect |",
              "|---|---|---|---|---|"]
    for name in [*dict.fromkeys(row["set"] for row in same), "all"]:
        for count in SAME:
            some = [row for row in same if row["same"] == count and name in (row["set"], "all")]
            if some:
                photos = {row["photos"] for row in some}
                lines.append(f"| {name} | {count} of {' or '.join(map(str, sorted(photos)))} | "
                             f"{of(some, 'first_tenth', some, 'same')} | "
                             f"{of(some, 'suspects', some, 'same')} | "
                             f"{sum(row['false_suspects'] for row in some)} |")
    known = ", ".join(f"{name} {value}" for name, value in found["environment"].items())
    return "\n".join([*lines, "", known, ""])


def of(rows: list[dict], what: str, wholes: list[dict], whole: str) -> str:
    return f"{sum(row[what] for row in rows)} of {sum(row[whole] for row in wholes)}"


def line(name: str, share: float, rows: list[dict]) -> str:
    robust = [row["ways"]["robust"] for row in rows]

    def both(what: str) -> str:
        return ", ".join(str(sum(row["ways"][way][what] for row in rows))
                         for way in ("plain", "robust"))

    def means(what: str, digits: int) -> str:
        return ", ".join(f"{mean(row['ways'][way][what] for row in rows):.{digits}f}"
                         for way in ("plain", "robust"))

    bad, good, defective = (sum(row[what] for row in rows)
                            for what in ("bad", "good", "defective"))
    found = (of(rows, "first_tenth", rows, "bad"), of(rows, "suspects", rows, "bad"),
             str(sum(one["odd"] for one in robust)))
    return (f"| {name} | {bad} ({100 * share:.0f} %) | "
            f"{' | '.join(found if share else ('-', '-', '-'))} | "
            f"{sum(row['false_suspects'] for row in rows)} | "
            f"{sum(one['false_odd'] for one in robust)} | {means('threshold', 1)} | "
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
    known = {(row["set"], row["seed"], row["share"]) for row in found["mixed"]}
    for seed in range(options.seeds):
        for photos in sets(options.data, options.only, seed, known):
            began = time.time()
            found["mixed"] += [mixed(photos, share) for share in SHARES]
            found["same"] += shared(photos)
            found["environment"] = environment(pick_device("cpu"))
            write_json(file, found)
            print(f"{photos.name}, seed {seed}: {time.time() - began:.0f} s", flush=True)
    write_text(options.output / "suspects.md", table(found))


if __name__ == "__main__":
    main()
