"""How an exported file compares with its model: the same scores, and how soon?

    python tests/benchmarks/latency.py --data DATA [--threads 1] [--repeats 60] [--output DIR]

DATA holds `mvtec_ad/hazelnut_reduced` and `mtd`; what is not there is left out. Each model is
fitted with the default preset. Parity is that of `export_onnx`, on 50 images: of the test set, and
where it has fewer, of the training set too. Latency is of one image at a time, at the model's size
and in memory, torch and onnxruntime in turn, so that a drifting machine is fair to both; `predict`
prepares the bank for its search at each call, which is why torch is also measured without that.
Writes latency.json and latency.md. Not part of the test run.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.data.images import read_image  # noqa: E402
from indad.data.sources import EXAMPLES  # noqa: E402
from indad.deploy.export import BANK_PRECISIONS, export_onnx  # noqa: E402
from indad.engine.machine import environment  # noqa: E402
from indad.engine.search import MemoryIndex  # noqa: E402
from indad.features import as_rows  # noqa: E402
from indad.scores import score_images  # noqa: E402

NOTE = "The machine is shared: compare columns, which were measured in turn."


def sources(data: Path | None) -> dict[str, tuple[list, list]]:
    """Images to train on, and to compare on, by name."""
    found = {"synthetic gear": load_dataset("synthetic", "gear")}
    if data and (data / "mvtec_ad").is_dir():
        found["hazelnut_reduced"] = load_dataset(data / "mvtec_ad", "hazelnut_reduced")
    if data and (data / "mtd").is_dir():
        train, test = load_dataset(data / "mtd")
        good, defective = ([item for item in test if item.label == label] for label in (0, 1))
        found["MTD, 50 training images"] = (train[:50], good[::len(good) // 25][:25]
                                            + defective[::len(defective) // 25][:25])
    return {name: (list(train), [*test, *train][:EXAMPLES])
            for name, (train, test) in found.items()}


def in_turn(functions: dict[str, Callable], repeats: int) -> dict[str, dict[str, float]]:
    """p50 and p95 in milliseconds of each, measured A B A B after a few runs to warm up."""
    times = {name: [] for name in functions}
    for i in range(repeats + 5):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            if i >= 5:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: {"p50_ms": round(float(np.percentile(values, 50)), 2),
                   "p95_ms": round(float(np.percentile(values, 95)), 2)}
            for name, values in times.items()}


def latency(model: PatchCore, files: dict[str, Path], image: np.ndarray, threads: int,
            repeats: int) -> dict[str, dict[str, float]]:
    torch.set_num_threads(threads)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    index, network = MemoryIndex(model.memory_bank_), model.prepare()

    @torch.inference_mode()
    def predict_with_a_ready_index() -> None:
        rows = as_rows(network(torch.from_numpy(image)[None])) * model.feature_scale_
        score_images(rows, index, model.grid_, model.size_, model.options)

    functions = {"torch, predict": lambda: model.predict([image]),
                 "torch, bank prepared once": predict_with_a_ready_index}
    for precision, file in files.items():
        session = onnxruntime.InferenceSession(file, settings, ["CPUExecutionProvider"])
        functions[f"onnxruntime, {precision} bank"] = (
            lambda session=session: session.run(None, {"image": image[None]}))
    return in_turn(functions, repeats)


def measure(name: str, train: list, test: list, threads: list[int], repeats: int,
            folder: Path) -> dict:
    model = PatchCore(device="cpu").fit(train)
    row: dict = {"data": name, "training_images": len(train),
                 "bank": list(model.memory_bank_.shape), "parity": [], "latency": {}}
    files = {}
    for precision in BANK_PRECISIONS:
        files[precision] = folder / f"{precision}.onnx"
        parity = export_onnx(model, files[precision], bank_precision=precision, check_images=test)
        row["parity"].append(asdict(parity) | {"file": files[precision].name})
        print(f"{name}, {precision} bank: {parity.size / 1e6:.2f} MB, {parity}", flush=True)
    image = model.transform_.pixels(read_image(test[0].path))
    for count in threads:
        row["latency"][count] = latency(model, files, image, count, repeats)
        print(name, count, json.dumps(row["latency"][count]), flush=True)
    return row


def markdown(rows: list[dict], about: dict, repeats: int) -> str:
    lines = ["# Exported files against their models", "",
             "`python tests/benchmarks/latency.py --data DATA`, default preset. " + NOTE, "",
             "| data | bank | file | images | largest score difference | map | verdicts differ |",
             "|---|---|---|---|---|---|---|"]
    for row in rows:
        lines += [f"| {row['data']} | {row['bank'][0]:,} x {row['bank'][1]}, "
                  f"{parity['bank_precision']} | {parity['size'] / 1e6:.2f} MB | "
                  f"{parity['images']} | {parity['score_difference']:.1e} | "
                  f"{parity['map_difference']:.1e} | {parity['verdicts_that_differ']} |"
                  for parity in row["parity"]]
    lines += ["", f"One image at a time, p50 (p95) of {repeats} runs in milliseconds:", "",
              "| data | threads | " + " | ".join(next(iter(rows[0]["latency"].values()))) + " |",
              "|---|---|---|---|---|---|"]
    for row in rows:
        lines += [f"| {row['data']} | {threads} | " + " | ".join(
            f"{one['p50_ms']:.1f} ({one['p95_ms']:.1f})" for one in columns.values()) + " |"
            for threads, columns in row["latency"].items()]
    lines += ["", ", ".join(f"{name} {value}" for name, value in about.items()), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (train, test) in sources(options.data).items():
            rows.append(measure(name, train, test, options.threads, options.repeats, Path(folder)))
    about = environment(torch.device("cpu")) | {
        name: metadata.version(name) for name in ("onnx", "onnxruntime", "onnxscript")}
    del about["threads"]  # stated in each row
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "latency.json", {"note": NOTE, "repeats": options.repeats,
                                                 "environment": about, "rows": rows})
    write_text(options.output / "latency.md", markdown(rows, about, options.repeats))


if __name__ == "__main__":
    main()
