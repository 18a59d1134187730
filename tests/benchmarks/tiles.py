"""Large photos: shrunk to what the network likes, against cut into tiles at their own resolution.

    python tests/benchmarks/tiles.py [--seeds 3] [--learn 8] [--output DIR] [--only NAME ...]

Two drawn sets of 2,048 pixels, with defects of 20 to 60: "textures", soft noise of many scales with
a thin scratch, and "panels" of 8 x 8 circuit boards (the drawn parts "board", 256 pixels each), one
of which has one of its defects. Eight good photos to learn from, eight good and eight defective to
judge. "cells": real photos that are hardly larger than what the network likes, 300 x 300 pixels
(ELPV, mono; `pip install elpv-dataset`), 60 to learn from and every fourth to judge; they have no
masks. And "growth": bytes and seconds of `predict` for one photo of 512 to 8,192 pixels, each
read from a PNG file by a process of its own, with a model of tiles of 512. Writes tiles.json,
tiles.md and tiles.png; what is in tiles.json and not measured now stays. Seconds are the
processor's, so that a busy machine changes them little; OMP_NUM_THREADS=1. Not part of the test
run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.data.synthetic.categories import CATEGORIES, draw_part  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402
from indad.metrics import image_metrics, pixel_metrics  # noqa: E402
from indad.presets import PRESETS  # noqa: E402

SIDE = 2048
WAYS: dict[str, dict] = {
    "resized to 256": {}, "resized to 512": dict(resize=512),
    "tiles of 512, 1 %": dict(tiles=512, overlap=64, coreset_ratio=0.01),
    "tiles of 512 at half the size, 1 %": dict(tiles=512, overlap=64, scale=0.5,
                                               coreset_ratio=0.01),
    "tiles of 512, 1 %, preset `accurate`": dict(tiles=512, overlap=64, coreset_ratio=0.01,
                                                 **PRESETS["accurate"])}
SIDES = (512, 1024, 2048, 4096, 8192)


def texture(generator: np.random.Generator, defective: bool,
            side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise of many scales, and a scratch of 20 to 60 pixels, two wide."""
    grey = np.full((side, side), 128, np.float32)
    for cell, height in ((256, 14), (64, 10), (16, 9), (6, 8)):
        lattice = generator.normal(0, height, (side // cell + 3,) * 2).astype(np.float32)
        grey += np.asarray(Image.fromarray(lattice).resize(
            ((side // cell + 3) * cell,) * 2, Image.Resampling.BICUBIC))[:side, :side]
    grey += generator.normal(0, 4, grey.shape).astype(np.float32)
    mask = np.zeros((side, side), bool)
    if defective:
        length, angle = generator.uniform(20, 60), generator.uniform(0, np.pi)
        y, x = generator.uniform(100, side - 100, 2)
        for along in np.arange(0, length, 0.3):
            top, left = int(y + along * np.sin(angle)), int(x + along * np.cos(angle))
            mask[top:top + 2, left:left + 2] = True
        grey[mask] += 45
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), mask


def panel(generator: np.random.Generator, defective: bool) -> tuple[np.ndarray, np.ndarray]:
    """8 x 8 boards, all different; one of them has a defect."""
    across = SIDE // 256
    pixels, mask = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), bool)
    bad = int(generator.integers(across ** 2)) if defective else -1
    defects = CATEGORIES["board"].defects
    for number in range(across ** 2):
        place = tuple(slice(256 * i, 256 * i + 256) for i in divmod(number, across))
        kind = defects[generator.integers(len(defects))] if number == bad else "good"
        pixels[place], mask[place] = draw_part("board", defect=kind, split="test", seed=1,
                                               index=int(generator.integers(10 ** 6)))
    return pixels, mask


SETS = {"textures": texture, "panels": panel}
CELLS: dict[str, dict] = {
    "resized to 256": {}, "at their own size": dict(resize=300),
    "tiles of 256": dict(tiles=256, overlap=32), "tiles of 160": dict(tiles=160, overlap=20)}
ALL: dict[str, dict[str, dict]] = {"textures": WAYS, "panels": WAYS, "cells": CELLS}


def photos(name: str, seed: int, learn: int) -> tuple[Sequence, list, np.ndarray, list | None]:
    """Good ones, those to judge, which of them are defective, and their masks if they have some."""
    if name == "cells":
        train, test = load_dataset("elpv", "mono", seed=seed, shots=60)
        some = test.replaced(test.items[::4])
        return train, list(some), some.labels > 0, None
    generator = np.random.default_rng([seed, sorted(SETS).index(name)])
    good = [SETS[name](generator, False)[0] for _ in range(learn)]
    pixels, masks = zip(*(SETS[name](generator, number % 2 == 1) for number in range(16)),
                        strict=True)
    return good, list(pixels), np.array([mask.any() for mask in masks]), list(masks)


def judged(name: str, seed: int, learn: int, ways: dict[str, dict]) -> list[dict]:
    """A row for each way."""
    good, test, labels, masks = photos(name, seed, learn)
    rows = []
    for way, options in ways.items():
        began = time.process_time()
        model = PatchCore(seed=seed, **options).fit(good)
        fitted = time.process_time()
        prediction = model.predict(test)
        seconds = (time.process_time() - fitted) / len(test)
        flagged = prediction.scores > model.threshold_
        rows.append({"set": name, "seed": seed, "way": way, "fit_s": fitted - began,
                     "photo_s": seconds, "bank": len(model.memory_bank_),
                     "image_auroc": image_metrics(prediction.scores, labels)["image_auroc"],
                     "aupro_30": masks and pixel_metrics(prediction.maps, masks)["aupro_30"],
                     "false_alarms": int((flagged & ~labels).sum()),
                     "misses": int((~flagged & labels).sum()),
                     "good": int((~labels).sum()), "defective": int(labels.sum())})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def growth() -> list[dict]:
    """A row for each size of a photo, measured in a process of its own."""
    generator = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        PatchCore(tiles=512, overlap=64, coreset_ratio=0.01).fit(
            [texture(generator, False)[0] for _ in range(2)]).save(Path(folder) / "model")
        for side in SIDES:
            Image.fromarray(texture(generator, True, side)[0]).save(Path(folder) / "photo.png",
                                                                    compress_level=1)
            said = subprocess.run([sys.executable, __file__, "--one", folder], check=True,
                                  capture_output=True, text=True).stdout
            rows.append({"side": side, **json.loads(said)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def one(folder: str) -> None:
    model = PatchCore.load(Path(folder) / "model")
    model.predict([np.zeros((512, 512, 3), np.uint8)])
    before = peak()
    began = time.process_time()
    prediction = model.predict([Path(folder) / "photo.png"])
    found = time.process_time() - began
    assert prediction.maps[0].max() > 0
    print(json.dumps({"seconds": found, "with_map_s": time.process_time() - began,
                      "before_bytes": before,
                      "peak_bytes": peak()}))


def peak() -> int:
    """Most bytes that this process held; not `ru_maxrss`, in which its parent's are."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def table(found: dict) -> str:
    lines = ["# Tiles", "", "`python tests/benchmarks/tiles.py`, which says how.", ""]
    seeds = sorted({row["seed"] for row in found["judged"]})
    lines += [f"Mean ± standard deviation over {len(seeds)} seeds; false alarms and misses are "
              "counted over all seeds, of as many photos as stand behind them.", "",
              "| set | | image AUROC | AUPRO | false alarms | misses | bank | to fit | a photo |",
              "|---|---|---|---|---|---|---|---|---|"]
    for name, ways in ALL.items():
        for way in ways:
            rows = [row for row in found["judged"] if (row["set"], row["way"]) == (name, way)]
            if not rows:
                continue
            numbers = []
            for metric in ("image_auroc", "aupro_30"):
                values = [row[metric] for row in rows if row[metric] is not None]
                spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
                numbers.append(f"{mean(values):.4f}{spread}" if values else "")
            counts = [f"{sum(row[what] for row in rows)} of "
                      f"{sum(row.get(of, 8) for row in rows)}"
                      for what, of in (("false_alarms", "good"), ("misses", "defective"))]
            took = [f"{mean(row[what] for row in rows):.1f} s" for what in ("fit_s", "photo_s")]
            lines.append(f"| {name} | {way} | " + " | ".join(
                [*numbers, *counts, f"{rows[0]['bank']:,}", *took]) + " |")
    lines += ["", "One photo, read from a PNG file and scored with tiles of 512; bytes are the "
              "peak of the whole process.", "",
              "| pixels | seconds | and its map | peak | of it before |", "|---|---|---|---|---|"]
    for row in found["growth"]:
        lines.append(f"| {row['side']:,} x {row['side']:,} | {row['seconds']:.2f} | "
                     f"{row['with_map_s']:.2f} | {row['peak_bytes'] / 1e6:,.0f} MB | "
                     f"{row['before_bytes'] / 1e6:,.0f} MB |")
    known = ", ".join(f"{name} {value}" for name, value in found["environment"].items())
    return "\n".join([*lines, "", known, ""])


def draw(rows: list[dict], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure((8, 3), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    pixels = [row["side"] ** 2 / 1e6 for row in rows]
    seconds.loglog(pixels, [row["seconds"] for row in rows], "o-", label="measured")
    seconds.loglog(pixels, [rows[-1]["seconds"] * one / pixels[-1] for one in pixels], ":",
                   color="grey", label="as many as pixels")
    seconds.set(xlabel="million pixels", ylabel="seconds of the processor")
    seconds.legend()
    memory.semilogx(pixels, [row["peak_bytes"] / 1e6 for row in rows], "o-")
    memory.set(xlabel="million pixels", ylabel="peak of the process, MB", ylim=(0, None))
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learn", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2]
                        / "results" / "reference" / "benchmarks")
    parser.add_argument("--only", nargs="+", default=[*ALL, "growth"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return one(options.one)
    file = options.output / "tiles.json"
    found = json.loads(file.read_text()) if file.exists() else {"judged": [], "growth": []}
    for name in options.only:
        if name == "growth":
            found["growth"] = growth()
            continue
        for seed in range(options.seeds):
            known = {row["way"] for row in found["judged"]
                     if (row["set"], row["seed"]) == (name, seed)}
            ways = {way: how for way, how in ALL[name].items() if way not in known}
            if ways:
                found["judged"] += judged(name, seed, options.learn, ways)
                write_json(file, found)
    found["environment"] = environment(pick_device("cpu"))
    write_json(file, found)
    write_text(options.output / "tiles.md", table(found))
    if found["growth"]:
        draw(found["growth"], options.output / "tiles.png")


if __name__ == "__main__":
    main()
