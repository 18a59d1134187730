"""What was tried for a better `default`, and did not help, or not enough for what it costs.

    python tests/benchmarks/candidates.py --data DATA [--seed 0] [--only NAME ...] [--output DIR]

Each candidate changes one thing of `default`: what a patch is described by, how far it lies from
the good ones, or how an image is scored. On the sets of accuracy.py, with every second test image
of the large ones. Writes candidates.json, a row a category, and candidates.md; what is there
already is not measured again. To try an idea of your own, add a row to CANDIDATES. Not part of the
test run.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.data.datasets import ImageSet, list_categories  # noqa: E402
from indad.data.files import write_json  # noqa: E402
from indad.engine.extraction import PatchFeatures  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.engine.published_features import to_first_grid  # noqa: E402
from indad.features import PATCH_FEATURES, balanced, weighted  # noqa: E402
from indad.metrics import aupro, image_metrics  # noqa: E402
from indad.scores import anomaly_maps  # noqa: E402

LARGE = ("mtd", "mono", "poly")
BEFORE = dict(balance_images=False)  # what balances in its own way starts from maps as they are


@dataclass(frozen=True)
class Candidate:
    """`options` of PatchCore, `describe` as in PATCH_FEATURES, `relate` for the distances."""

    what: str
    options: dict = field(default_factory=dict)
    describe: Callable[[list[Tensor]], Tensor] = weighted
    relate: Callable | None = None
    score: Callable[[Tensor], Tensor] = lambda patches: patches.amax((1, 2))


def of_maps(change: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], Tensor]:
    """Weighted neighbourhoods, then something done to each layer `(b, c, h, w)`."""
    def describe(maps: list[Tensor]) -> Tensor:
        return torch.cat([change(m) for m in to_first_grid([weighted([m]) for m in maps])], 1)
    return describe


def lengths(maps: Tensor) -> Tensor:
    return torch.linalg.vector_norm(maps, dim=1, keepdim=True).clamp_min(1e-6)


def neighbourhood(weights: list[float], mode: str) -> Callable[[list[Tensor]], Tensor]:
    side = torch.tensor(weights) / sum(weights)
    kernel, reach = side[:, None] * side, len(weights) // 2

    def describe(maps: list[Tensor]) -> Tensor:
        return torch.cat(to_first_grid([F.conv2d(
            F.pad(m, (reach,) * 4, mode=mode), kernel.expand(m.shape[1], 1, *kernel.shape),
            groups=m.shape[1]) for m in maps]), 1)
    return describe


def by_spacing(power: float) -> Callable:
    """Less where the bank is sparse around the match: to the power of its spacing, softly."""
    def relate(model: PatchCore, train: PatchFeatures, distances: Tensor,
               matches: Tensor) -> Tensor:
        index = model.fitted_.index
        return softly(distances, index.search(index.bank, 4)[0][:, 1:].mean(1)[matches], power)
    return relate


def by_other_photos(power: float) -> Callable:
    """Less where patches of other good photos, matched to the same entries, lie far as well."""
    def relate(model: PatchCore, train: PatchFeatures, distances: Tensor,
               matches: Tensor) -> Tensor:
        fitted, rows = model.fitted_, model.fitted_.scaled(train.rows)
        owners = fitted.image_of(fitted.coreset_indices)
        sums = torch.zeros(len(fitted.memory_bank))
        counts = torch.zeros_like(sums)
        for photo, patches in enumerate(rows.split(train.patches)):
            others = torch.cdist(patches, fitted.memory_bank)
            others[:, owners == photo] = torch.inf
            near = others.topk(3, 1, largest=False)
            sums.index_add_(0, near.indices[:, 0], near.values.mean(1))
            counts.index_add_(0, near.indices[:, 0], torch.ones(len(patches)))
        around = fitted.index.search(fitted.memory_bank, 9)[1]
        typical = sums.sum() / counts.sum()
        local = (sums[around].sum(1) + 5 * typical) / (counts[around].sum(1) + 5)
        return softly(distances, local[matches], power)
    return relate


def softly(distances: Tensor, local: Tensor, power: float) -> Tensor:
    return distances / ((local / local.median() + 1) / 2) ** power


def worst_regions(patches: Tensor) -> Tensor:
    """The mean of the three highest peaks that are no neighbours of each other."""
    peaks = patches * (patches >= F.max_pool2d(patches[:, None], 5, 1, 2)[:, 0])
    return peaks.flatten(1).topk(3, 1).values.mean(1)


CANDIDATES = [
    Candidate("default"),
    Candidate("neither balanced nor k = 3 (indad-1)", BEFORE | dict(num_neighbors=1)),
    Candidate("images not balanced", BEFORE),
    Candidate("images by the mean length of their vectors", BEFORE, lambda maps: weighted(
        [m / lengths(m).mean((2, 3), keepdim=True) for m in maps])),
    Candidate("images balanced by the power 0.7", BEFORE, lambda maps: weighted(
        [m.sign() * m.abs() ** 0.3 * one.abs() ** 0.7
         for m, one in zip(maps, balanced(maps), strict=True)])),
    Candidate("half of the image's mean taken away", describe=of_maps(
        lambda m: m - m.mean((2, 3), keepdim=True) / 2)),
    Candidate("square roots", describe=of_maps(lambda m: m.sign() * m.abs().sqrt())),
    Candidate("cosine", describe=of_maps(lambda m: m / lengths(m))),
    Candidate("halfway to cosine", describe=of_maps(lambda m: m / lengths(m).sqrt())),
    Candidate("5 x 5 binomial neighbourhood", describe=neighbourhood([1, 4, 6, 4, 1], "constant")),
    Candidate("edge repeated, not zeros", describe=neighbourhood([1, 2, 1], "replicate")),
    Candidate("by the bank's spacing ^ 0.25", relate=by_spacing(0.25)),
    Candidate("by the bank's spacing", relate=by_spacing(1)),
    Candidate("by other photos' distances ^ 0.5", relate=by_other_photos(0.5)),
    Candidate("score: three worst regions", score=worst_regions),
    Candidate("score: less half of the median", score=lambda patches: patches.amax(
        (1, 2)) - patches.flatten(1).median(1).values / 2),
]


def development_sets(data: Path, seed: int) -> Iterator[tuple[str, str, ImageSet, ImageSet]]:
    for category in list_categories("synthetic"):
        yield "synthetic", category, *load_dataset("synthetic", category, seed=seed)
    yield "hazelnut", "hazelnut_reduced", *load_dataset(
        str(data / "mvtec_ad"), "hazelnut_reduced", seed=seed)
    yield "tiles", "mtd", *load_dataset(str(data / "mtd"), "mtd", split="grouped", seed=seed,
                                        shots=50)
    for cells in ("mono", "poly"):
        yield cells, cells, *load_dataset("elpv", cells, seed=seed, shots=60)


def measure(candidate: Candidate, train: ImageSet, test: ImageSet, seed: int) -> dict:
    PATCH_FEATURES["candidate"] = candidate.describe
    model = PatchCore(patch_features="candidate", seed=seed, **candidate.options)
    learned = model.extract(train, training=True)
    model.fit_features(learned)
    found = model.extract(test, training=False)
    distances, indices = model.fitted_.index.search(model.fitted_.scaled(found.rows),
                                                    model.num_neighbors)
    distances = distances.mean(1)
    if candidate.relate:
        distances = candidate.relate(model, learned, distances, indices[:, 0])
    patches = distances.view(-1, *model.fitted_.grid)
    labels = np.array([item.label for item in test])
    auroc = image_metrics(candidate.score(patches).numpy(), labels)["image_auroc"]
    maps, masks = [], []
    for item, anomaly_map in zip(test, anomaly_maps(patches, model.fitted_.size), strict=True):
        mask = np.zeros(anomaly_map.shape, bool) if item.label == 0 else item.mask()
        if mask is not None:
            maps.append(anomaly_map.numpy())
            masks.append(model.transform_.mask(mask) if item.label else mask)
    return {"image_auroc": auroc, "aupro_30": aupro(maps, masks)}


def markdown(rows: list[dict], heading: str) -> str:
    """A line a candidate: set by set, and the mean over the sets of the mean of both metrics.

    Differences from `default` are of the same category and seed; beside is the standard error over
    categories, of their means over seeds, which share test images and so are not independent.
    """
    cells: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    paired: dict = defaultdict(dict)
    for row in rows:
        known = [(metric, row[metric]) for metric in ("image_auroc", "aupro_30")
                 if row[metric] is not None]
        for metric, value in known:
            cells[row["what"]][row["set"]][metric].append(value)
        paired[row["what"]][row["category"], row["seed"]] = mean(value for _, value in known)
    sets = list(cells["default"])
    both = {what: mean(mean(mean(values) for values in found[name].values()) for name in sets)
            for what, found in cells.items() if paired[what].keys() == paired["default"].keys()}
    lines = [heading, "", f"| candidate | {' | '.join(sets)} | mean of both | against default |",
             "|---|" + "---|" * (len(sets) + 2)]
    for what, value in both.items():
        shown = (" / ".join(f"{mean(values):.4f}" for values in cells[what][name].values())
                 for name in sets)
        by_category = defaultdict(list)
        for (category, seed), one in paired[what].items():
            by_category[category].append(one - paired["default"][category, seed])
        changes = [mean(values) for values in by_category.values()]
        against = "" if what == "default" else (
            f"{value - both['default']:+.4f} ± {stdev(changes) / len(changes) ** 0.5:.4f}")
        lines.append(f"| {what} | {' | '.join(shown)} | {value:.4f} | {against} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="candidates; default always")
    parser.add_argument("--output", type=Path, default=Path("results/runs/candidates"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "candidates.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    for name, category, train, test in development_sets(options.data, options.seed):
        if category in LARGE:
            test = test.replaced(test.items[::2])
        for candidate in CANDIDATES:
            mine = {"what": candidate.what, "set": name, "category": category,
                    "seed": options.seed}
            if (options.only and candidate.what not in ("default", *options.only)) or any(
                    mine.items() <= row.items() for row in rows):
                continue
            rows.append(mine | measure(candidate, train, test, options.seed))
            print(*rows[-1].values(), file=sys.stderr)
            write_json(file, {"rows": rows, "environment": environment(pick_device("auto"))})
    order = [candidate.what for candidate in CANDIDATES]
    rows.sort(key=lambda row: order.index(row["what"]))
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    heading = (f"Image AUROC / AUPRO, seed {seeds}, every second test image of "
               f"{', '.join(LARGE)}; each candidate is `default` with that one thing changed. "
               "± is the standard error over categories, paired, of means over seeds.")
    text = markdown(rows, heading)
    (options.output / "candidates.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
