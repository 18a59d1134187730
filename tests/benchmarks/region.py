"""A region of interest on drawn objects: marks outside and inside it, its margin, its foreground.

    python tests/benchmarks/region.py [--seeds 3] [--marks 1000] [--output DIR]

Gear, capsule and board, drawn with each seed: 32 good photos to learn from, 16 good ones and 5 of
each defect to judge. "marks": round spots of any colour, 2 to 8 pixels in radius, painted on the
good test photos where `foreground="auto"` does not look (and farther than the margin), within the
margin (fewer), and where it looks; a third of them on each object, spread over the seeds.
"margins": the same with other margins, seed 0. "foreground": silhouettes found in 16 good photos by
three ways, against the true ones (intersection over union). "accuracy": with `foreground="auto"`
and without; pixels are counted in the region, of both. "aligned": spots outside with
`align="rigid"` besides, seed 0, a tenth of the marks: what they do to the pose, which is found in
the whole photo, and to scores. "reasons", seeds 0 and 1: AUPRO with as many bank entries as without
a region, without the balance between images, and 24 pixels farther in. Writes region.json,
region.md and region.png, the drawn objects with what is looked at; what is in region.json stays.
Not part of the test run.
"""

import argparse
import json
import math
import sys
import warnings
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_erosion, zoom

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.data.pose import laid_back  # noqa: E402
from indad.data.synthetic import objects  # noqa: E402
from indad.data.synthetic.categories import CATEGORIES, _generator, draw_part  # noqa: E402
from indad.data.synthetic.parts import box, disc  # noqa: E402
from indad.deploy.pictures import region_picture  # noqa: E402
from indad.engine import looking  # noqa: E402
from indad.engine.foreground import otsu, silhouettes  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.metrics import image_metrics, pixel_metrics  # noqa: E402

OBJECTS, TEXTURES = ("gear", "capsule", "board"), ("weave", "tiles", "wood")
MARGINS = (0.0, 8.0, 24.0)
WHOLE = (256, 256)


def true_silhouette(category: str, index: int, seed: int) -> np.ndarray:
    """`(256, 256)` bool of a good training photo, from the numbers that it is drawn with."""
    part, flaw = (_generator(seed, category, "train", "good", purpose, index)
                  for purpose in ("part", "flaw"))
    if category == "gear":
        canvas = objects._jitter_pose(part, 6.0, math.pi)
        return objects._teeth(canvas, disc(canvas.u, canvas.v, 0.0),
                              np.arctan2(canvas.v, canvas.u), "good", flaw) < 0
    if category == "capsule":
        canvas = objects._jitter_pose(part, 9.0, 0.22)
        return objects._rod(canvas.u, canvas.v) < objects.CAPSULE_RADIUS
    canvas = objects._jitter_pose(part, 4.0, 0.03)
    return box(canvas.u, canvas.v, 114, 108, 6) < 0


def by_features(photos: list, to_border: bool) -> np.ndarray:
    """Silhouettes from patch features: their first principal component over all photos, its sign
    so that the middle is part (AnomalyDINO's idea); or their distance to those at the border."""
    network = PatchCore().prepare()
    found = network(torch.from_numpy(np.stack([network.transform.pixels(one) for one in photos])))
    grid = found.shape[2:]
    rows = found.permute(0, 2, 3, 1).flatten(0, 2)
    rows = (rows - rows.mean(0)) / rows.std(0).clamp_min(1e-6)
    border = torch.ones(grid, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    if to_border:
        known = rows[border.flatten().repeat(len(photos))][::4]
        away = torch.cdist(rows, known).kthvalue(3, dim=1).values
    else:
        away = rows @ torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -1]
        middle = torch.zeros(grid, dtype=torch.bool)
        middle[grid[0] // 4:-grid[0] // 4, grid[1] // 4:-grid[1] // 4] = True
        where = [mask.flatten().repeat(len(photos)) for mask in (middle, border)]
        away *= 1 if away[where[0]].mean() > away[where[1]].mean() else -1
    values = away.view(-1, *grid).numpy()
    return zoom(values, (1, 256 / grid[0], 256 / grid[1]), order=1) > otsu(values)


def foregrounds(seeds: int) -> list[dict]:
    """A row for each object and way."""
    rows = []
    for category in OBJECTS:
        found: dict[str, list[float]] = {}
        for seed in range(seeds):
            photos = [Image.fromarray(draw_part(category, index=i, seed=seed)[0])
                      for i in range(16)]
            truth = [true_silhouette(category, i, seed) for i in range(16)]
            ways = {"colour against the border": zoom(silhouettes(photos), (1, 2, 2), order=0),
                    "first principal component of features": by_features(photos, False),
                    "features against the border": by_features(photos, True)}
            for way, masks in ways.items():
                found.setdefault(way, []).extend(
                    float((one & true).sum() / (one | true).sum())
                    for one, true in zip(masks, truth, strict=True))
        rows += [{"category": category, "way": way, "photos": len(values), "iou": mean(values),
                  "worst": min(values)} for way, values in found.items()]
    print(json.dumps(rows), flush=True)
    return rows


def refusals(seeds: int) -> list[dict]:
    """Textures fill the photo: there is nothing to leave out."""
    rows = []
    for category in TEXTURES:
        whole = 0
        for seed in range(seeds):
            photos = [draw_part(category, index=i, seed=seed)[0] for i in range(16)]
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                network = PatchCore(foreground="auto").prepare()
                whole += network.look(network, photos, {}) is None and len(told) == 1
        rows.append({"category": category, "seeds": seeds, "whole_photo_and_said": whole})
    print(json.dumps(rows), flush=True)
    return rows


def drawn(category: str, seed: int) -> tuple[list, list, list, np.ndarray]:
    """Photos to learn from; and to judge, with their masks and labels."""
    learn = [draw_part(category, index=i, seed=seed)[0] for i in range(32)]
    names = ["good"] * 16 + [name for name in CATEGORIES[category].defects for _ in range(5)]
    test = [draw_part(category, defect=name, split="test", seed=seed,
                      index=i if name == "good" else i % 5) for i, name in enumerate(names)]
    return (learn, [one for one, _ in test], [mask for _, mask in test],
            np.array([name != "good" for name in names]))


def reasons(category: str, seed: int) -> list[dict]:
    """A row for each model: AUPRO in the region, and where it is made smaller by 24 pixels."""
    learn, pictures, masks, _ = drawn(category, seed)
    auto = PatchCore(seed=seed, foreground="auto").fit(learn)
    plain = PatchCore(seed=seed).fit(learn)
    ratio = 0.1 * len(plain.memory_bank_) / len(auto.memory_bank_)
    models = {"without": plain, "with": auto, "with, as many entries": PatchCore(
        seed=seed, foreground="auto", coreset_ratio=ratio).fit(learn),
        "without, images not balanced": PatchCore(seed=seed, balance_images=False).fit(learn),
        "with, as many, images not balanced": PatchCore(
            seed=seed, foreground="auto", coreset_ratio=ratio, balance_images=False).fit(learn)}
    inside = auto.region_.over(WHOLE)
    rows = []
    for name, model in models.items():
        maps = list(model.predict(pictures).model_maps)
        whole, inner = (pixel_metrics(maps, masks, [where] * len(masks))["aupro_30"]
                        for where in (inside, binary_erosion(inside, iterations=24)))
        rows.append({"category": category, "seed": seed, "region": name,
                     "entries": len(model.memory_bank_), "aupro": whole, "aupro_inner": inner})
    print(json.dumps(rows), flush=True)
    return rows


def judged(category: str, seed: int, margin: float, marks: int) -> dict:
    """What a model with and one without the foreground say of test photos, and of marks."""
    looking.MARGIN = margin
    learn, pictures, masks, labels = drawn(category, seed)
    plain = PatchCore(seed=seed).fit(learn)
    model = PatchCore(seed=seed, foreground="auto").fit(learn)
    inside, seen = model.region_.over(WHOLE), model.region_.seen_over(WHOLE)
    row = {"category": category, "seed": seed, "pixels": margin, "looked_at": float(inside.mean()),
           "seen": float(seen.mean())}
    scores = {}
    for name, one in (("plain", plain), ("auto", model)):
        found = one.predict(pictures)
        flagged = found.scores > one.threshold_
        pixels = pixel_metrics(list(found.model_maps), masks, [inside] * len(masks))
        scores[name] = found.scores
        row |= {f"{name}_auroc": image_metrics(found.scores, labels)["image_auroc"],
                f"{name}_aupro": pixels["aupro_30"],
                f"{name}_false_alarms": int((flagged & ~labels).sum()),
                f"{name}_misses": int((~flagged & labels).sum())}
    if (cut := sum(bool(mask.any() and not (mask & inside).any()) for mask in masks)):
        row["defects_outside"] = cut
    return row | marked(plain, model, pictures[:16], scores, inside, seen, seed, marks)


def marked(plain: PatchCore, model: PatchCore, photos: list, before: dict, inside: np.ndarray,
           seen: np.ndarray, seed: int, marks: int) -> dict:
    """How many verdicts change when a spot is painted somewhere."""
    generator, row = np.random.default_rng([seed, len(photos)]), {}
    y, x = np.mgrid[:256, :256]
    for place, where in (("outside", ~seen), ("margin", seen & ~inside), ("inside", inside)):
        spots, of = [], []
        free = np.argwhere(where)
        for _ in range(len(free) and (marks if place != "margin" else marks // 4)):
            for _ in range(1000):
                top, left = free[generator.integers(len(free))]
                spot = (y - top) ** 2 + (x - left) ** 2 <= generator.uniform(2, 8) ** 2
                if where[spot].all() or place == "inside":
                    break
            else:
                spot &= where
            of.append(int(generator.integers(len(photos))))
            spots.append(photos[of[-1]].copy())
            spots[-1][spot] = generator.integers(0, 256, 3)
        if not spots:
            row[place] = {"marks": 0}
            continue
        with_region, without = model.predict(spots).scores, plain.predict(spots).scores
        flagged, known = with_region > model.threshold_, without > plain.threshold_
        row[place] = {
            "marks": len(spots),
            "changed": int((flagged != (before["auto"][of] > model.threshold_)).sum()),
            "scores_changed": int((with_region != before["auto"][of]).sum()),
            "changed_without_region": int(
                (known != (before["plain"][of] > plain.threshold_)).sum()),
            "verdicts_that_differ": int((flagged != known).sum()),
            "flagged": int(flagged.sum()), "flagged_without_region": int(known.sum())}
    return row


def aligned(category: str, marks: int) -> dict:
    """What spots outside, beyond the margin, do to photos that are aligned first."""
    photos = [draw_part(category, index=i, seed=0)[0] for i in range(48)]
    model = PatchCore(foreground="auto", align="rigid", coreset_ratio=0.25).fit(photos[:32])
    photos, generator = photos[32:], np.random.default_rng(0)
    before = model.predict(photos)
    seen, (y, x) = model.region_.seen_over(WHOLE), np.mgrid[:256, :256]
    spots, of = [], []
    while len(spots) < marks:
        of.append(int(generator.integers(len(photos))))
        pose = before.poses[of[-1]]
        away = ~(laid_back(seen.astype(np.float32), pose if pose.used else None) > 0)
        free = np.argwhere(away)
        top, left = free[generator.integers(len(free))]
        spots.append(photos[of[-1]].copy())
        spots[-1][away & ((y - top) ** 2 + (x - left) ** 2 <= generator.uniform(2, 8) ** 2)] = (
            generator.integers(0, 256, 3))
    found = model.predict(spots)
    moved = [(256 * np.hypot(one.x - known.x, one.y - known.y), abs(one.angle - known.angle))
             for one, known in zip(found.poses, (before.poses[i] for i in of), strict=True)]
    change = np.abs(found.scores / before.scores[of] - 1)
    flagged = before.scores > model.threshold_
    return {"category": category, "marks": marks,
            "changed": int(((found.scores > model.threshold_) != flagged[of]).sum()),
            "pixels": [float(np.quantile([one for one, _ in moved], q)) for q in (0.5, 1)],
            "degrees": [float(np.quantile([one for _, one in moved], q)) for q in (0.5, 1)],
            "score": [float(np.quantile(change, q)) for q in (0.5, 1)]}


def table(heads: list[str], rows: list[list]) -> str:
    lines = [heads, ["---"] * len(heads), *[[str(one) for one in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def written(found: dict) -> str:
    marks, parts = found["marks"], []
    found = {"margins": [], **found}
    sums = {place: {name: sum(row[place].get(name, 0) for row in marks)
                    for name in marks[0]["inside"]}
            for place in ("outside", "margin", "inside")}
    parts += ["# A region of interest\n", "Made by `python tests/benchmarks/region.py`; what is "
              "drawn, painted and counted is said there.\n", "## Marks\n", table(
                  ["painted", "marks", "verdicts changed", "scores changed",
                   "verdicts changed without a region", "flagged", "flagged without a region",
                   "verdicts that differ with and without"],
                  [[{"outside": "outside, beyond the margin", "margin": "within the margin",
                     "inside": "inside"}[place], *(one[name] for name in (
                         "marks", "changed", "scores_changed", "changed_without_region", "flagged",
                         "flagged_without_region", "verdicts_that_differ"))]
                   for place, one in sums.items()])]
    parts += ["## Margins (seed 0; mean of the three objects)\n", table(
        ["pixels of 256", "image AUROC", "AUPRO", "inside: verdicts that differ from no region",
         "in the margin: verdicts changed", "share of the photo that is painted over"],
        [[f"{margin:g}", *(f"{mean(row[name] for row in rows):.4f}" for name in
                           ("auto_auroc", "auto_aupro")),
          *(f"{100 * sum(row[place].get(name, 0) for row in rows) / n:.1f} %" if (n := sum(
              row[place]["marks"] for row in rows)) else "-" for place, name in (
                  ("inside", "verdicts_that_differ"), ("margin", "changed"))),
          f"{100 * mean(1 - row['seen'] for row in rows):.0f} %"]
         for margin in MARGINS if (rows := [row for row in found["margins"]
                                            if row["pixels"] == margin])])]
    parts += ["## Aligned first (`align=\"rigid\"`, seed 0): marks beyond the margin\n", table(
        ["object", "marks", "verdicts changed", "pose moved by pixels of 256: median, most",
         "degrees", "score changed by"],
        [[row["category"], row["marks"], row["changed"],
          *("{:.3f}, {:.3f}".format(*row[name]) for name in ("pixels", "degrees")),
          "{:.2%}, {:.2%}".format(*row["score"])] for row in found["aligned"]])]
    parts += ["## Foreground against the true silhouettes (intersection over union)\n", table(
        ["object", "way", "photos", "mean", "worst photo"],
        [[row["category"], row["way"], row["photos"], f"{row['iou']:.3f}", f"{row['worst']:.3f}"]
         for row in found["foreground"]])]
    parts += ["Textures fill the photo. Seeds where that was said, and the whole photo taken: "
              + ", ".join(f"{row['category']} {row['whole_photo_and_said']} of {row['seeds']}"
                          for row in found["textures"]) + ".\n"]
    parts += ["## Accuracy with `foreground=\"auto\"` and without (mean over the seeds)\n", table(
        ["object", "of the photo looked at", "image AUROC without", "with", "AUPRO without", "with",
         "false alarms of good photos without", "with", "misses without", "with"],
        [[category, f"{100 * mean(row['looked_at'] for row in rows):.0f} %",
          *(f"{mean(row[name] for row in rows):.4f}" for name in (
              "plain_auroc", "auto_auroc", "plain_aupro", "auto_aupro")),
          *(sum(row[name] for row in rows) for name in (
              "plain_false_alarms", "auto_false_alarms", "plain_misses", "auto_misses"))]
         for category in OBJECTS if (rows := [row for row in marks
                                              if row["category"] == category])])]
    parts += ["## Why AUPRO is lower with a region\n", table(
        ["object", "seed", "region", "bank entries", "AUPRO", "24 pixels farther in"],
        [[row["category"], row["seed"], row["region"], f"{row['entries']:,}",
          f"{row['aupro']:.4f}", f"{row['aupro_inner']:.4f}"] for row in found["reasons"]])]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--marks", type=int, default=1000)
    parser.add_argument("--output", default="results/reference/benchmarks", type=Path)
    options = parser.parse_args()
    usual, each = looking.MARGIN, -(-options.marks // (len(OBJECTS) * options.seeds))
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "region.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    found |= {"environment": environment(pick_device("cpu")), "margin": usual}
    if "foreground" not in found:
        found |= {"foreground": foregrounds(options.seeds), "textures": refusals(options.seeds)}
    if "aligned" not in found:
        found["aligned"] = [aligned(category, -(-options.marks // 30)) for category in OBJECTS]
    if "reasons" not in found:
        found["reasons"] = [row for category in ("gear", "board") for seed in range(2)
                            for row in reasons(category, seed)]
    for name, wanted in (
            ("marks", [(category, seed, usual) for seed in range(options.seeds)
                       for category in OBJECTS]),
            ("margins", [(category, 0, margin) for margin in MARGINS for category in OBJECTS])):
        rows = found.setdefault(name, [])
        for category, seed, margin in wanted:
            known = [row for row in found["marks"] + rows if (
                row["category"], row["seed"], row["pixels"]) == (category, seed, margin)]
            if known:
                rows += [row for row in known[:1] if row not in rows]
                continue
            rows.append(judged(category, seed, margin, each))
            print(json.dumps(rows[-1]), flush=True)
            write_json(file, found)
            write_text(options.output / "region.md", written(found))
    looking.MARGIN = usual
    write_json(file, found)
    write_text(options.output / "region.md", written(found))
    pictures = []
    for category in OBJECTS:
        learn = [draw_part(category, index=i)[0] for i in range(16)]
        network = PatchCore(foreground="auto").prepare()
        pictures.append(region_picture(Image.fromarray(learn[0]), network.look(network, learn, {})))
    Image.fromarray(np.concatenate([np.asarray(one) for one in pictures], axis=1)).save(
        options.output / "region.png")


if __name__ == "__main__":
    main()
