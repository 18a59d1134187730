"""How exact and how fast indad is on this machine's GPU, and how far from what the card can do.

    python tests/gpu/measure.py [--data DATA] [--output DIR] [--device cpu --small]

DATA holds `mvtec_ad/hazelnut_reduced`. Writes gpu.json and gpu.md. Times are medians of runs that
wait for the device; ratios are of times in this run. Wide networks have random weights: their speed
does not depend on them. The *roofline*: what a product of large float32 matrices and a copy of a
large tensor reach on this card, measured first; each row says which share of that it reaches.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.backbones.loading import load_backbone  # noqa: E402
from indad.backbones.registry import BACKBONES  # noqa: E402
from indad.coreset import greedy_coreset  # noqa: E402
from indad.engine.batches import load_batches  # noqa: E402
from indad.engine.machine import device_name, environment, pick_device  # noqa: E402
from indad.engine.precision import PRECISIONS, in_float32  # noqa: E402
from indad.engine.search import MemoryIndex  # noqa: E402
from indad.features import PatchNetwork  # noqa: E402

WIDE = "wide_resnet50_2"


class Bench:
    """Rows of (section, what, value, unit, how), timed on one device."""

    def __init__(self, device: torch.device):
        self.device, self.rows = device, []
        # Few CPUs have units for float16; without, it takes minutes.
        self.precisions = [name for name in PRECISIONS
                           if name != "float16" or device.type != "cpu"]

    def add(self, section: str, what: str, value: float, unit: str, how: str = "") -> float:
        self.rows.append(dict(section=section, what=what, value=float(f"{value:.4g}"), unit=unit,
                              how=how))
        print(f"{section:<12}{what:<52}{value:>12.4g} {unit:<10} {how}", flush=True)
        return value

    def seconds(self, function: Callable, repeats: int = 5) -> float:
        """Median, after one run that is not counted."""
        times = []
        for _ in range(repeats + 1):
            self.wait()
            began = time.perf_counter()
            function()
            self.wait()
            times.append(time.perf_counter() - began)
        return median(times[1:])

    def wait(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()


@in_float32
def roofline(bench: Bench, side: int) -> tuple[float, float]:
    """Float32 operations and bytes a second that the device reaches."""
    square = torch.randn(side, side, device=bench.device)
    product = bench.seconds(lambda: square @ square)
    copy = bench.seconds(lambda: square.clone())
    return (bench.add("roofline", f"float32 product, {side}²", 2e-12 * side ** 3 / product,
                      "TFLOP/s") * 1e12,
            bench.add("roofline", "copy, read and written", 8e-9 * side ** 2 / copy, "GB/s") * 1e9)


@torch.inference_mode()
def patch_rows(name: str, recipe: str, images: list, count: int, device: torch.device,
               ) -> torch.Tensor:
    """`(count, d)` patch features of images on the device; views are moved by some pixels."""
    extractor, transform = load_backbone(name, resize=256, pretrained=name != WIDE)
    network = PatchNetwork(extractor.to(device), extractor.channels, transform, device, recipe)
    rows: list[torch.Tensor] = []
    while sum(map(len, rows)) < count:
        for batch in load_batches(images, transform, batch_size=16, strict=True):
            found = network(batch.pixels.roll(3 * len(rows), 2))
            rows.append(found.permute(0, 2, 3, 1).flatten(0, 2))
            if sum(map(len, rows)) >= count:
                break
    return torch.cat(rows)[:count]


@in_float32
def nearest_cost(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The bare product that selection and search cannot do without, and its minimum."""
    return torch.cat([(part @ others.T).amin(1) for part in rows.split(32768)])


def coreset_and_search(bench: Bench, rows: torch.Tensor, peak: tuple[float, float]) -> None:
    (count, dim), size = rows.shape, len(rows) // 10
    others = rows[torch.randperm(count, device=rows.device)[:size]]
    bare = bench.seconds(lambda: nearest_cost(rows, others))
    what = f"{count:,} x {dim}, 10 %"
    operations, moved = 2.0 * count * size * dim, 4.0 * (count * dim + count * size)
    limit = max(operations / peak[0], moved / peak[1])
    bench.add("coreset", f"bare product, {what}", bare, "s",
              f"{limit / bare:.0%} of the roofline")
    taken = bench.seconds(lambda: greedy_coreset(rows, size, seed=0), 3)
    bench.add("coreset", f"selection, {what}", taken, "s", f"{taken / bare:.2f} bare products")
    here = rows.cpu()
    streamed = bench.seconds(lambda: greedy_coreset(here, size, seed=0, device=bench.device), 1)
    bench.add("coreset", f"selection, streamed from memory, {what}", streamed, "s",
              f"{streamed / bare:.2f} bare products")
    index, queries = MemoryIndex(others), rows[:16384]
    alone = bench.seconds(lambda: nearest_cost(queries, others))
    for k in (1, 9):
        found = bench.seconds(lambda k=k: index.search(queries, k))
        bench.add("search", f"{len(queries):,} in {size:,} x {dim}, k = {k}", found, "s",
                  f"{found / alone:.2f} bare products")


@torch.inference_mode()
def extraction(bench: Bench, name: str, batch: int, size: int) -> float:
    """Images a second: ours in every precision, plain timm in channels-last, anomalib's model."""
    import timm

    row = BACKBONES[name]
    extractor, transform = load_backbone(name, resize=size, pretrained=False)
    extractor = extractor.to(bench.device)
    pixels = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8,
                           device=bench.device)
    best = 0.0
    for precision in bench.precisions:
        network = PatchNetwork(extractor, extractor.channels, transform, bench.device,
                               precision=precision)
        rate = batch / bench.seconds(lambda network=network: network(pixels))
        bench.add("extraction", f"{name}, {precision}", rate, "images/s", f"{batch} of {size} px")
        best = rate if precision == "float32" else best
    plain = timm.create_model(row.tag, features_only=True, out_indices=row.layers).eval().to(
        bench.device, memory_format=torch.channels_last)
    images = torch.rand(batch, 3, size, size, device=bench.device).contiguous(
        memory_format=torch.channels_last)
    rate = batch / bench.seconds(in_float32(lambda: plain(images)))
    bench.add("extraction", f"{name}, plain timm, float32, channels-last", rate, "images/s",
              f"indad {best / rate:.2f} times as fast, normalising and patches included")
    try:
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    except ImportError:
        print("anomalib is not installed: not measured beside it")
        return best
    peer = PatchcoreModel(layers=["layer2", "layer3"], backbone=name, pre_trained=False).to(
        bench.device).train()
    rate = batch / bench.seconds(in_float32(lambda: peer(images)))
    bench.add("extraction", f"{name}, anomalib's model", rate, "images/s",
              f"indad {best / rate:.2f} times as fast")
    return best


def end_to_end(bench: Bench, train: list, test: list, name: str, rate: float) -> None:
    images = test * (1 + (600 if bench.device.type != "cpu" else 24) // len(test))
    model = PatchCore(backbone=name, device=str(bench.device), batch_size=32)
    taken = bench.seconds(lambda: model.fit(train), 3)
    bench.add("fit", f"{name}, {len(train)} images", taken, "s",
              ", ".join(f"{key} {value:.2f}" for key, value in model.timings_.items()))
    reading = len(images) / bench.seconds(lambda: [None for _ in load_batches(
        images, model.transform_, batch_size=32, strict=True)], 3)
    bench.add("predict", "readers alone", reading, "images/s", f"{len(images)} images")
    found = len(images) / bench.seconds(lambda: model.predict(images), 3)
    bench.add("predict", f"{name}, all of it", found, "images/s",
              f"{found / min(reading, rate):.2f} of the slower of readers and backbone")


def parity(bench: Bench, train: list, test: list) -> None:
    """The same bank on both devices: how far scores and maps differ, as a share of their size."""
    for options in ({}, dict(image_score="reweighted", num_neighbors=3),
                    dict(patch_features="adaptive", balance_layers=False)):
        model = PatchCore(device="cpu", resize=256, **options).fit(train)
        here = model.predict(test)
        model.set_params(device=str(bench.device))
        for precision in bench.precisions:
            model.set_params(precision=precision)
            there = model.predict(test)
            far = np.abs(there.scores / here.scores - 1).max()
            maps = np.abs(there.model_maps - here.model_maps).max() / here.model_maps.max()
            bench.add("parity", f"{precision}, {options or 'default'}", far, "of scores",
                      f"maps {maps:.1e} of their largest" + (
                          "" if precision != "float32" or far < 1e-5 else "  ABOVE 1e-5"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="real images; drawn ones if not given")
    parser.add_argument("--output", type=Path,
                        default=Path(__file__).parents[2] / "results/reference/benchmarks")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="sizes for a rehearsal on a CPU")
    options = parser.parse_args()
    bench = Bench(pick_device(options.device))
    print(device_name(bench.device), torch.__version__, flush=True)
    source = options.data / "mvtec_ad" if options.data else "synthetic"
    train, test = map(list, load_dataset(source, "hazelnut_reduced" if options.data
                                         else "gear_reduced"))
    if options.small:
        train, test = train[:8], test[:6]
    peak = roofline(bench, 1024 if options.small else 8192)
    parity(bench, train, test)
    count, size = (4096, 96) if options.small else (200_000, 256)
    for name, recipe in (("efficientnet_lite0", "weighted"), (WIDE, "adaptive")):
        coreset_and_search(bench, patch_rows(name, recipe, train, count, bench.device), peak)
    rates = {name: extraction(bench, name, 8 if options.small else 128, size)
             for name in ("efficientnet_lite0", WIDE)}
    end_to_end(bench, train, test, "efficientnet_lite0", rates["efficientnet_lite0"])
    write(bench, options.output)
    return int(any("ABOVE" in row["how"] for row in bench.rows))


def write(bench: Bench, folder: Path) -> None:
    known = environment(bench.device)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(dict(environment=known, rows=bench.rows),
                                                indent=1) + "\n")
    lines = [f"# On a GPU: {device_name(bench.device)}", "",
             "Made by `tests/gpu/run` (tests/gpu/measure.py says what is measured and how), with "
             f"torch {known['torch']}, timm {known['timm']}, Python {known['python']}.", "",
             "| section | what | | | |", "|---|---|---:|---|---|"]
    lines += [f"| {row['section']} | {row['what']} | {row['value']:.4g} | {row['unit']} "
              f"| {row['how']} |" for row in bench.rows]
    (folder / "gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
