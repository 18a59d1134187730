"""What approximate search costs and misses, in banks of up to ten million patches.

    python tests/benchmarks/approximate.py --data DATA [--millions 0.1 1 10] [--graph-up-to 1]

Banks are patches of 320 good magnetic tiles (DATA/mtd, default features) and, beyond those,
mixtures of two that lie side by side, with weights drawn by seed. Queries are 64 patches, spread
evenly, of each of 40 good and 40 defective test images; the score of an image is its largest
distance. Recall is the share of queries whose nearest row is found; times are one thread's
processor time, searches per 1,024 patches. The exact search goes through parts of a million rows,
so that memory holds them. "hnsw" is left out above --graph-up-to million: linking takes one thread
hours. Writes approximate.json and approximate.md, size by size; sizes that are not measured now
stay as they are there. Not part of the test run.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore, load_dataset  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.engine import approximate  # noqa: E402
from indad.engine.machine import environment  # noqa: E402
from indad.engine.search import MemoryIndex  # noqa: E402
from indad.features import layer_scales  # noqa: E402
from indad.metrics import image_metrics  # noqa: E402

PART = 1_000_000
HOW = {"exact": "exact, by parts of a million", "ivfpq": "ivfpq",
       "ivfpq-1": "ivfpq, one cell visited as the reference implementation does", "hnsw": "hnsw"}


def patches(data: Path) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Good patches `(n, d)`, query patches `(images * 64, d)`, labels of their images."""
    train, test = load_dataset(data / "mtd")
    model = PatchCore()
    good = model.extract(list(train)[:320])
    scale = layer_scales(good.rows, model.prepare().channels)
    tried = [item for label in (0, 1)
             for item in [one for one in test if one.label == label][:40]]
    found = model.extract(tried)
    grid = (found.rows * scale).view(len(tried), *found.grid, -1)[:, 2::4, 2::4]
    return good.rows * scale, grid.flatten(0, 2), np.array([item.label for item in tried])


def bank_of(rows: torch.Tensor, count: int) -> torch.Tensor:
    """`(count, d)`: real patches first, then mixtures of neighbours."""
    generator = torch.Generator().manual_seed(0)
    bank = torch.empty(count, rows.shape[1])
    bank[:len(rows)] = rows[torch.randperm(len(rows), generator=generator)[:count]]
    for begin in range(len(rows), count, PART):
        part = bank[begin:begin + PART]
        one = torch.randint(len(rows) - 1, (len(part),), generator=generator)
        weight = torch.rand(len(part), 1, generator=generator)
        part.copy_(torch.lerp(rows[one], rows[one + 1], weight))
    return bank


def exactly(bank: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """Distances `(n,)`, and seconds of preparing and of searching."""
    best, times = torch.full((len(queries),), torch.inf), np.zeros(2)
    for part in bank.split(PART):
        index = MemoryIndex(part)
        began = time.process_time()
        index.search(queries[:1])
        ready = time.process_time()
        best = best.minimum(index.search(queries)[0][:, 0])
        times += ready - began, time.process_time() - ready
    return best, *times.tolist()


def approximately(index: approximate.ApproximateIndex, queries: torch.Tensor, cells: int,
                  ) -> tuple[torch.Tensor, float, float]:
    began = time.process_time()
    index._built()
    ready = time.process_time()
    visited, approximate.VISITED = approximate.VISITED, cells
    try:
        found = index.search(queries)[0][:, 0]
    finally:
        approximate.VISITED = visited
    return found, ready - began, time.process_time() - ready


def measure(bank: torch.Tensor, queries: torch.Tensor, labels: np.ndarray, how: list[str],
            ) -> list[dict]:
    rows, built = [], {}
    for name in how:
        method = name.partition("-")[0]
        if method == "exact":
            distances, build, search = true, *_ = exactly(bank, queries)
        else:
            built.setdefault(method, approximate.ApproximateIndex(bank, method, 0))
            cells = 1 if name == "ivfpq-1" else approximate.VISITED
            distances, build, search = approximately(built[method], queries, cells)
        scores = distances.view(len(labels), -1).amax(1).numpy()
        rows.append({
            "rows": len(bank), "search": name, "build_s": round(build, 1),
            "ms": round(1e6 * 1.024 * search / len(queries), 1),
            "recall": round(float((distances <= true * (1 + 1e-5)).float().mean()), 4),
            "longer": round(float((distances / true).mean() - 1), 4),
            "image_auroc": round(image_metrics(scores, labels)["image_auroc"], 4)})
        print(rows[-1], flush=True)
    return rows


def markdown(rows: list[dict], about: dict) -> str:
    lines = ["# Approximate search", "",
             "`python tests/benchmarks/approximate.py --data DATA`, which says how. \"Longer\" is "
             "by how much the distances are above the exact ones on average.", "",
             "| bank rows | search | to build | 1,024 patches | recall | longer | image AUROC |",
             "|---|---|---|---|---|---|---|"]
    lines += [f"| {row['rows']:,} | {HOW[row['search']]} | {row['build_s']:g} s | {row['ms']:g} ms "
              f"| {row['recall']:.3f} | {row['longer']:.2%} | {row['image_auroc']:.4f} |"
              for row in rows]
    versions = ", ".join(f"{name} {value}" for name, value in about.items() if value)
    return "\n".join([*lines, "", versions, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with mtd in it")
    parser.add_argument("--millions", type=float, nargs="+", default=[0.1, 1, 10])
    parser.add_argument("--graph-up-to", type=float, default=1, help="millions")
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    good, queries, labels = patches(options.data)
    about, file = environment(torch.device("cpu")), options.output / "approximate.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    for millions in options.millions:
        how = [name for name in HOW if name != "hnsw" or millions <= options.graph_up_to]
        size = int(millions * 1e6)
        rows = [row for row in rows if row["rows"] != size]
        rows += measure(bank_of(good, size), queries, labels, how)
        rows.sort(key=lambda row: (row["rows"], list(HOW).index(row["search"])))
        write_json(file, {"environment": about, "rows": rows})
        write_text(options.output / "approximate.md", markdown(rows, about))


if __name__ == "__main__":
    main()
