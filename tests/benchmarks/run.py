"""Measure reading, extraction, coreset, search and the whole, beside literal versions and peers.

    python tests/benchmarks/run.py --data DATA [--only coreset search ...] [--output DIR]

DATA holds `mvtec_ad/hazelnut_reduced` and `mtd`. anomalib is measured too if it is installed
(tests/benchmarks/requirements.txt), on the same weights and images, in turn with indad in the same
process. Writes benchmarks.json, benchmarks.md and scaling.png. Times are medians, ratios are of
times in this run. Loops that would take minutes to hours are timed for their first picks and
scaled, and say so. Not part of the test run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PRESETS, PatchCore, load_dataset  # noqa: E402
from indad.backbones.loading import _create, load_backbone  # noqa: E402
from indad.backbones.registry import BACKBONES, OFFLINE  # noqa: E402
from indad.coreset import greedy_coreset, greedy_coreset_one_at_a_time  # noqa: E402
from indad.data.images import ImageTransform, as_rgb, readers  # noqa: E402
from indad.engine.batches import load_batches  # noqa: E402
from indad.engine.boxes import bfloat16_is_faster  # noqa: E402
from indad.engine.machine import environment  # noqa: E402
from indad.engine.search import MemoryIndex  # noqa: E402
from indad.engine.selection import random_start  # noqa: E402
from indad.features import as_rows, concatenate, layer_scales, weighted  # noqa: E402

LOOP_PICKS = 300


class Report:
    """Rows of (section, what, value, unit, how)."""

    def __init__(self):
        self.rows: list[dict] = []

    def add(self, section: str, what: str, value: float, unit: str, how: str = "") -> None:
        self.rows.append(dict(section=section, what=what, value=float(f"{value:.4g}"), unit=unit,
                              how=how))
        print(f"{section:<22}{what:<58}{value:>12.4g} {unit:<4} {how}", flush=True)


def seconds(function: Callable, repeats: int = 3, clock: Callable = time.perf_counter) -> float:
    times = []
    for _ in range(repeats):
        began = clock()
        function()
        times.append(clock() - began)
    return median(times)


def in_turn(functions: dict[str, Callable], repeats: int,
            clock: Callable = time.perf_counter) -> dict[str, float]:
    """Median seconds of each, measured A B A B, so that a drifting machine is fair to both."""
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function, 1, clock))
    return {name: median(values) for name, values in times.items()}


class PeakMemory:
    """The most memory of its own (not of mapped files) that the process took inside the block."""

    def __enter__(self) -> "PeakMemory":
        self.before = self.peak = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.added_mb = (self.peak - self.before) / 1024

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@torch.inference_mode()
def features_of(dataset, *, images: int | None = None, recipe=concatenate, resize=(256, 256),
                crop: int | None = 224, balance: bool = False) -> torch.Tensor:
    extractor, transform = load_backbone(OFFLINE, resize=resize, crop=crop)
    sources = list(dataset)[:images]
    parts = [as_rows(recipe(extractor(transform.normalize(batch.pixels))))
             for batch in load_batches(sources, transform, batch_size=16, strict=True)]
    features = torch.cat(parts)
    return (features * layer_scales(features, extractor.channels) if balance else features).clone()


def matrix_vector_loop(features: torch.Tensor, picks: int) -> None:
    """The loop at its best: one matrix-vector product a pick, norms taken once, no temporaries."""
    half_norms = features.square().sum(1) / 2
    costs = torch.full_like(half_norms, torch.inf)
    pick, product = random_start(len(features), 0), torch.empty_like(half_norms)
    for _ in range(picks):
        torch.mv(features, features[pick], out=product)
        torch.sub(half_norms, product, out=product).add_(half_norms[pick])
        torch.minimum(costs, product, out=costs)
        pick = int(costs.argmax())


def coreset_against_loops(report: Report, section: str, features: torch.Tensor, ratio: float,
                          repeats: int) -> None:
    size = int(len(features) * ratio)
    scale = size / LOOP_PICKS
    how = f"first {LOOP_PICKS} of {size:,} picks, scaled"
    ours = seconds(lambda: greedy_coreset(features, size), repeats)
    shape = f"{len(features):,} x {features.shape[1]} at {ratio:.0%}"
    report.add(section, f"indad, {shape}", ours, "s", f"median of {repeats}")
    literal = scale * seconds(lambda: greedy_coreset_one_at_a_time(features, LOOP_PICKS), 1)
    vector = scale * seconds(lambda: matrix_vector_loop(features, LOOP_PICKS), 1)
    report.add(section, "literal loop", literal, "s", how)
    report.add(section, "loop of matrix-vector products", vector, "s", how)
    chunk = features[:size]
    share = max(1, len(features) // 50_000)
    product = share * seconds(lambda: [torch.mm(part, chunk.T).amin(1)
                                       for part in features[::share].split(2048)], 1)
    report.add(section, "bare product of all points with all picks", product, "s",
               f"a {share}th, scaled")
    report.add(section, "literal loop / indad", literal / ours, "x")
    report.add(section, "matrix-vector loop / indad", vector / ours, "x")
    report.add(section, "bare product / indad", product / ours, "x")
    peer = anomalib()
    if peer is None:
        return
    if len(features) < 100_000:
        peers = seconds(lambda: peer.select(features, ratio), 1)
        how = "all picks"
    else:
        few = 40
        peers = size / few * seconds(lambda: peer.select(features, few / len(features) * 1.001), 1)
        how = f"first {few} picks, scaled"
    report.add(section, "anomalib", peers, "s", how)
    report.add(section, "anomalib / indad", peers / ours, "x")


def bench_coreset(report: Report, data: Path, output: Path) -> None:
    hazelnut, _ = load_dataset(data / "mvtec_ad", "hazelnut_reduced")
    coreset_against_loops(report, "coreset, hazelnut", features_of(hazelnut), 0.1, 5)
    tiles, _ = load_dataset(data / "mtd")
    coreset_against_loops(report, "coreset, tiles", features_of(tiles, images=320), 0.1, 3)
    coreset_against_loops(report, "coreset, tiles, 1 %", features_of(tiles, images=320), 0.01, 3)


def bench_all_tiles(report: Report, data: Path, output: Path) -> None:
    """In a process of its own, whose memory no earlier section has stretched."""
    tiles, _ = load_dataset(data / "mtd")
    features = features_of(tiles, recipe=weighted, resize=(224, 224), crop=None, balance=True)
    file = output / "tiles.float32"
    try:
        features.numpy().tofile(file)
        told = in_child("all_tiles_child", file, len(features) // 10)
    finally:
        file.unlink(missing_ok=True)
    report.add("coreset of all tiles", f"indad, {len(features):,} x 152 at 10%, default features",
               told["seconds"], "s", "1 run")
    report.add("coreset of all tiles", "memory above the features", told["added_mb"], "MB")


def all_tiles_child(file: str, size: int) -> None:
    tell_of(torch.from_numpy(np.fromfile(file, np.float32).reshape(-1, 152)), size)


def in_child(function: str, file: Path, size: int) -> dict:
    code = (f"import sys; sys.path[:0] = {sys.path[:1]!r}\n"
            f"from tests.benchmarks.run import {function}\n{function}({str(file)!r}, {size})")
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def tell_of(features: torch.Tensor, size: int) -> None:
    began = time.perf_counter()
    with PeakMemory() as memory:
        selection = greedy_coreset(features, size)
    print(json.dumps({"seconds": time.perf_counter() - began, "added_mb": memory.added_mb,
                      "indices": selection.indices.tolist()}))


def bench_scaling(report: Report, data: Path, output: Path) -> None:
    """How selection grows with patches, ratio and dimension; and the picture of it."""
    tiles, _ = load_dataset(data / "mtd")
    features = features_of(tiles, images=320)
    features = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(0))]
    curves: dict[str, list] = {"patches": [], "ratio": [], "dimension": []}

    def measure(curve: str, x: float, points: torch.Tensor, ratio: float, name: str) -> None:
        took = seconds(lambda: greedy_coreset(points, int(len(points) * ratio)), 2)
        curves[curve].append((x, took))
        report.add("scaling", name, took, "s", "median of 2")

    for images in (20, 40, 80, 160, 320):
        count = 784 * images
        measure("patches", count, features[:count], 0.1, f"{count:,} patches x 152, 10%")
    for ratio in (0.01, 0.05, 0.1, 0.25):
        measure("ratio", ratio, features[:125_440], ratio, f"125,440 patches x 152, {ratio:.0%}")
    for dim in (38, 76, 152, 384, 1024):
        # A random projection keeps distances, whether it narrows or widens.
        mix = torch.randn(152, dim, generator=torch.Generator().manual_seed(0)) / dim ** 0.5
        measure("dimension", dim, features[:62_720] @ mix, 0.1, f"62,720 patches x {dim}, 10%")
    draw_scaling(curves, output / "scaling.png")


def draw_scaling(curves: dict[str, list], file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    titles = {"patches": "patches (x 152, 10 %)", "ratio": "coreset ratio (125,440 x 152)",
              "dimension": "dimension (62,720 patches, 10 %)"}
    for axes, (name, points) in zip(figure.subplots(1, 3), curves.items(), strict=True):
        x, y = np.array(points).T
        slope = np.polyfit(np.log(x), np.log(y), 1)[0]
        axes.loglog(x, y, "o-", color="#0b6e99")
        for a, b in points:
            axes.annotate(f"{b:.2g}", (a, b), textcoords="offset points", xytext=(0, 6),
                          ha="center", fontsize=8)
        axes.set(xlabel=titles[name], ylabel="seconds" if name == "patches" else "",
                 title=f"grows as {name}$^{{{slope:.1f}}}$")
        axes.set_xticks(x, [f"{value:.0%}" if value < 1 else f"{value / 1000:.0f}k"
                            if value > 2000 else f"{value:.0f}" for value in x])
        axes.minorticks_off()
        axes.margins(0.12, 0.2)
        axes.grid(True, which="major", alpha=0.3)
    figure.savefig(file, dpi=110)


def bench_search(report: Report, data: Path, output: Path) -> None:
    report.add("search", "bfloat16 products used on this processor",
               float(bfloat16_is_faster(152)), "")
    hazelnut, hazelnut_test = load_dataset(data / "mvtec_ad", "hazelnut_reduced")
    tiles, tiles_test = load_dataset(data / "mtd")
    for name, train, test, images in (("hazelnut", hazelnut, hazelnut_test, None),
                                      ("tiles", tiles, tiles_test, 320)):
        features = features_of(train, images=images)
        bank = features[greedy_coreset(features, 25_088).indices]
        good = features_of([item for item in test if item.label == 0][:8])
        for queries, how in ((good[:784], "one good image"), (good, f"{len(good) // 784} images")):
            methods = {method: MemoryIndex(bank, method=method)
                       for method in ("auto", "float32", "bfloat16", "faiss")}
            calls = {"bare": lambda queries=queries, bank=bank: torch.mm(queries, bank.T)}
            calls |= {method: lambda index=index, queries=queries: index.search(queries)
                      for method, index in methods.items()}
            for call in calls.values():
                call()
            times = in_turn(calls, 15)
            what = f"{len(queries)} test patches in {len(bank):,} x 152"
            for method, took in times.items():
                report.add(f"search, {name}", f"{method}: {what}", 1e3 * took, "ms", how)
            for method in ("auto", "float32"):
                report.add(f"search, {name}", f"{method} / bare product", times[method] /
                           times["bare"], "x", how)


def bench_neighbors(report: Report, data: Path, output: Path) -> None:
    """k neighbours against one, and both against what they were searched with before.

    One thread, and its processor time: what else the machine does is not in it. The twin,
    `IndexFlatL2`, is what k > 1 was searched with before.
    """
    import faiss

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    for name, place, images in (("hazelnut", ("mvtec_ad", "hazelnut_reduced"), None),
                                ("tiles", ("mtd",), 320)):
        train, test = load_dataset(data / place[0], *place[1:])
        good = list(train)[:images]
        tried = [next(item for item in test if item.label == label) for label in (0, 1)]
        features = features_of(good + tried, recipe=weighted, crop=None, balance=True)
        rows, patches = features[:-2 * 1024], features[-2 * 1024:].split(1024)
        bank = rows[greedy_coreset(rows, 32_768).indices]
        blocks, flat = MemoryIndex(bank), MemoryIndex(bank, method="faiss")
        for what, queries in zip(("good", "defective"), patches, strict=True):
            calls = {"bare product": partial(torch.mm, queries, bank.T)}
            for k in (1, 3, 9):
                for how, index in (("indad", blocks), ("IndexFlatL2", flat)):
                    calls[f"{how}, k = {k}"] = partial(index.search, queries, k)
            for call in calls.values():
                call()
            times = in_turn(calls, 15, time.process_time)
            bare, one = times["bare product"], times["indad, k = 1"]
            for call, took in times.items():
                report.add(f"neighbors, {name}", f"{call}: 1,024 {what} patches in 32,768 x 152",
                           1e3 * took, "ms", f"{took / bare:.2f} of the bare product")
            for k in (3, 9):
                report.add(f"neighbors, {name}", f"k = {k} / k = 1, {what} patches",
                           times[f"indad, k = {k}"] / one, "x")


def bench_extraction(report: Report, data: Path, output: Path) -> None:
    tiles, _ = load_dataset(data / "mtd")
    sources = list(tiles)[:96]
    extractor, transform = load_backbone(OFFLINE, resize=(256, 256), crop=224)
    pixels = next(load_batches(sources[:16], transform, batch_size=16, strict=True)).pixels
    pixels = transform.normalize(pixels)

    @torch.inference_mode()
    def ours() -> None:
        concatenate(extractor(pixels))

    calls = {"indad": ours}
    peer = anomalib()
    if peer:
        calls["anomalib"] = peer.extractor(pixels)
    for call in calls.values():
        call()
    times = in_turn(calls, 9)
    for name, took in times.items():
        report.add("extraction", f"{name}, batch of 16 at 224 px", 16 / took, "1/s", "images")
    if peer:
        report.add("extraction", "anomalib / indad", times["anomalib"] / times["indad"], "x")
    reading = seconds(lambda: [transform.pixels(as_rgb(one)) for one in sources], 3)
    both = seconds(lambda: features_of(sources), 3)
    compute = times["indad"] * len(sources) / 16
    report.add("extraction", "reading alone", len(sources) / reading, "1/s", "images")
    report.add("extraction", "reading and backbone, overlapped", len(sources) / both, "1/s",
               f"{(reading + compute) / both:.2f}x of one after the other")


def photo_like(height: int, width: int, seed: int) -> Image.Image:
    """Soft blotches of three sizes, and grain: it compresses as photos of surfaces do."""
    noise = np.random.default_rng(seed).standard_normal
    blotches = sum(weight * sigma * gaussian_filter(noise((height, width, 3)), (sigma, sigma, 0.3))
                   for sigma, weight in ((30, 40), (6, 25), (1.2, 6)))
    grey = 120 + blotches + 2 * noise((height, width, 3))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def read_literally(file: Path, transform: ImageTransform) -> np.ndarray:
    """What reading means, each step a new picture, up to the normalised image."""
    with Image.open(file) as image:
        image.load()
        image = ImageOps.exif_transpose(image).convert("RGB")
    pixels = transform.pixels(image).astype(np.float32) / 255
    mean, std = np.float32(transform.mean), np.float32(transform.std)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))


def bench_reading(report: Report, data: Path, output: Path) -> None:
    """Files to pixels, by one reader and by all; then how near `predict` comes to what it needs.

    One reader's time is that of the processor: what else the machine does is not in it.
    """
    transform = ImageTransform()
    with tempfile.TemporaryDirectory() as folder:
        for name, suffix, size, count in (("1,024-pixel PNG", "png", (1024, 1024), 24),
                                          ("1,024-pixel JPEG", "jpg", (1024, 1024), 24),
                                          ("4,000 x 3,000 JPEG", "jpg", (3000, 4000), 2)):
            files = [Path(folder) / f"{size[1]}_{i}.{suffix}" for i in range(count)]
            for i, file in enumerate(files):
                photo_like(*size, seed=i % 6).save(file, quality=92)
            calls = {
                "decoding alone, Pillow": lambda files=files: [Image.open(f).load() for f in files],
                "literally, one reader": lambda files=files: [read_literally(f, transform)
                                                              for f in files],
                "indad, one reader": lambda files=files: [transform.pixels(as_rgb(f))
                                                          for f in files]}
            times = in_turn(calls, 5, time.thread_time)
            times[f"indad, {readers()} readers, by the clock"] = seconds(lambda files=files: list(
                load_batches(files, transform, batch_size=16, strict=True)), 5)
            for what, took in times.items():
                report.add("reading", f"{name}, {what}", 1e3 * took / count, "ms", "an image")
            report.add("reading", f"{name}, literally / indad, one reader",
                       times["literally, one reader"] / times["indad, one reader"], "x")
            if suffix == "png":
                model = PatchCore(coreset_ratio=0.01).fit(files[:6])
                beside_its_parts(report, name, model, files)


def beside_its_parts(report: Report, name: str, model: PatchCore, files: list[Path]) -> None:
    """`predict` beside the rates of what it waits for: on a CPU they share the cores."""
    network = model.prepare()
    batches = list(load_batches(files, network.transform, batch_size=16, strict=True))
    calls = {
        "readers alone": lambda: list(load_batches(files, network.transform, batch_size=16,
                                                   strict=True)),
        "backbone alone": lambda: [float(network(batch.pixels).sum()) for batch in batches],
        "predict": lambda: model.predict(files)}
    rates = {what: len(files) / took for what, took in in_turn(calls, 5).items()}
    for what, rate in rates.items():
        report.add("reading, predict", f"{name}, {what}", rate, "1/s", "images")
    reading, backbone, predict = rates.values()
    report.add("reading, predict", f"{name}, share of the slower of its parts",
               predict / min(reading, backbone), "x", str(model.device_))
    report.add("reading, predict", f"{name}, share of both one after the other on the same cores",
               predict * (1 / reading + 1 / backbone), "x")


def bench_end_to_end(report: Report, data: Path, output: Path) -> None:
    train, test = load_dataset(data / "mvtec_ad", "hazelnut_reduced")
    models: dict[str, Any] = {}

    def fit_ours(preset: str) -> None:
        models[preset] = PatchCore(**PRESETS[preset]).fit(train)

    calls = {"indad": lambda: fit_ours("anomalib"), "default": lambda: fit_ours("default")}
    peer = anomalib()
    if peer:
        calls["anomalib"] = lambda: models.update(peer=peer.fit(train))
    fit_ours("anomalib")  # warm
    times = in_turn(calls, 2 if peer else 5)
    names = {"indad": "indad, preset anomalib, calibrated", "default": "indad, preset default",
             "anomalib": "anomalib"}
    for name, took in times.items():
        report.add("end to end, fit", f"{names[name]}, 50 images, 10 %", took, "s")
    many = list(test) * 4  # 40 images
    calls = {"indad": lambda: models["anomalib"].predict(many),
             "default": lambda: models["default"].predict(many)}
    if peer:
        calls["anomalib"] = lambda: peer.predict(models["peer"], many)
    for call in calls.values():
        call()
    predicted = in_turn(calls, 7)
    for name, took in predicted.items():
        report.add("end to end, predict", names[name], len(many) / took, "1/s", "images")
    if peer:
        report.add("end to end, fit", "anomalib / indad", times["anomalib"] / times["indad"], "x")
        report.add("end to end, predict", "anomalib / indad",
                   predicted["anomalib"] / predicted["indad"], "x")
    one = [next(iter(test))]
    took = seconds(lambda: models["default"].predict(one), 15)
    report.add("end to end, predict", "indad, preset default, one image at a time", 1e3 * took,
               "ms")


def bench_out_of_core(report: Report, data: Path, output: Path) -> None:
    """A million patches in a file, selected in a process of its own under 300 MB, and in memory."""
    train, test = load_dataset(data / "mtd")
    file = output / "million.float16"
    try:
        mapped = np.memmap(file, np.float16, "w+", shape=(1_000_000, 152))
        filled, sources = 0, [*train, *test]
        for i in range(0, len(sources), 64):
            if filled < len(mapped):
                part = features_of(sources[i:i + 64], crop=None)[:len(mapped) - filled]
                mapped[filled:filled + len(part)] = part.half().numpy()
                filled += len(part)
        if filled < len(mapped):
            raise SystemExit(f"{data}: too few images for a million patches")
        mapped.flush()
        in_memory = torch.from_numpy(np.array(mapped))
        for ratio in (0.01, 0.1):
            size = int(len(mapped) * ratio)
            told = in_child("out_of_core_child", file, size)
            began = time.perf_counter()
            selection = greedy_coreset(in_memory, size)
            took = time.perf_counter() - began
            same = selection.indices.tolist() == told["indices"]
            what = f"1,000,000 x 152 at {ratio:.0%}"
            report.add("out of core", f"from a file, {what}", told["seconds"], "s")
            report.add("out of core", f"memory taken, {what}", told["added_mb"], "MB", "bound 300")
            report.add("out of core", f"in memory, {what}", took, "s")
            report.add("out of core", f"same picks in the same order, {what}", float(same), "")
    finally:
        file.unlink(missing_ok=True)


def out_of_core_child(file: str, size: int) -> None:
    tell_of(torch.from_numpy(np.memmap(file, np.float16, "r+", shape=(1_000_000, 152))), size)


class Anomalib:
    """anomalib's own PatchCore model and sampler, with the weights and pixels that indad uses."""

    def __init__(self):
        from anomalib.models.components import KCenterGreedy
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel

        self._model, self._sampler = PatchcoreModel, KCenterGreedy
        _, self._transform = load_backbone(OFFLINE, resize=(256, 256), crop=224,
                                           normalization="imagenet")

    def select(self, features: torch.Tensor, ratio: float) -> None:
        torch.manual_seed(0)
        self._sampler(embedding=features, sampling_ratio=ratio).select_coreset_idxs()

    def new(self):
        model = self._model(layers=["blocks.2", "blocks.4"], backbone="tf_efficientnet_lite0",
                            pre_trained=False)
        state = _create(BACKBONES[OFFLINE], (2, 3), True).state_dict()
        model.feature_extractor.feature_extractor.load_state_dict(state)
        return model

    def batches(self, sources):
        for batch in load_batches(list(sources), self._transform, batch_size=16, strict=True):
            yield self._transform.normalize(batch.pixels)

    def extractor(self, pixels: torch.Tensor) -> Callable:
        model = self.new().train()
        model.feature_extractor.eval()

        def call() -> None:
            model(pixels)
            model.embedding_store.clear()

        return call

    def fit(self, train):
        model = self.new().train()
        model.feature_extractor.eval()
        for images in self.batches(train):
            model(images)
        model.subsample_embedding(0.1)
        return model.eval()

    def predict(self, model, sources) -> None:
        with torch.no_grad():
            for images in self.batches(sources):
                model(images)


def anomalib() -> Anomalib | None:
    try:
        return Anomalib()
    except ImportError:
        return None


SECTIONS = {"reading": bench_reading, "coreset": bench_coreset, "all_tiles": bench_all_tiles,
            "search": bench_search, "neighbors": bench_neighbors, "extraction": bench_extraction,
            "end_to_end": bench_end_to_end, "out_of_core": bench_out_of_core,
            "scaling": bench_scaling}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True,
                        help="folder with mvtec_ad/hazelnut_reduced and mtd")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("results/runs/benchmarks"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    known = environment(torch.device("cpu")) | {"cores": os.cpu_count()}
    try:
        from importlib import metadata

        known["anomalib"] = metadata.version("anomalib")
    except metadata.PackageNotFoundError:
        known["anomalib"] = None
    report = Report()
    for name in options.only:
        SECTIONS[name](report, options.data, options.output)
        write(options.output, known, report.rows)


def write(output: Path, known: dict, rows: list[dict]) -> None:
    """Sections measured now replace those of an earlier run; the rest stays."""
    file = output / "benchmarks.json"
    earlier = json.loads(file.read_text())["rows"] if file.exists() else []
    kinds = {row["section"].split(",")[0] for row in rows}
    rows = [row for row in earlier if row["section"].split(",")[0] not in kinds] + rows
    file.write_text(json.dumps({"environment": known, "rows": rows}, indent=1) + "\n")
    versions = ", ".join(f"{name} {value}" for name, value in known.items() if value)
    lines = [f"Measured with `python tests/benchmarks/run.py --data DATA` ({versions}).", "",
             "| section | what | value | how |", "|---|---|---|---|"]
    lines += [f"| {row['section']} | {row['what']} | {row['value']:g} {row['unit']} | "
              f"{row['how']} |" for row in rows]
    (output / "benchmarks.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
