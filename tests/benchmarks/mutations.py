"""Damaged and hostile forms of each kind of file that is read back: none may end in a traceback.

    python tests/benchmarks/mutations.py [--files 2000] [--seed 0] [--output DIR]

Of each kind (model, record and scores of a run, journal and tables of a sweep, notes of a drawing
and of a download) so many mutations are read by whatever reads it in earnest. Bytes are flipped,
overwritten, cut, repeated or appended; in JSON a value is also exchanged for one of another kind or
size, and a model's record is sealed again afterwards. Counted are crashes: whatever is not an
`InputError`. Writes mutations.json and mutations.md. Not part of the test run, but for a few of
each (tests/test_mutations.py).
"""

import argparse
import copy
import csv
import io
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz import flipped, overwritten, picture, repeated, truncated  # noqa: E402

from indad import PatchCore, features  # noqa: E402
from indad.data.download import fetch  # noqa: E402
from indad.data.files import sha256_of, write_json, write_scores, write_text  # noqa: E402
from indad.data.synthetic import categories  # noqa: E402
from indad.engine.machine import environment, peak_memory_mb  # noqa: E402
from indad.errors import InputError  # noqa: E402
from indad.experiments import records, sweep  # noqa: E402
from indad.experiments.report import write_report  # noqa: E402
from indad.experiments.run import existing  # noqa: E402
from indad.learned import storage  # noqa: E402
from indad.metrics import image_metrics  # noqa: E402

ODD = (None, True, -1, 0, 1, 7, 0.5, -0.5, 10 ** 12, 10 ** 19, 10 ** 400, 1e300, float("nan"),
       float("inf"), "", "x", "\ud800", "../../x", "x" * 1000, [], [[]], [1, 2], [10 ** 5] * 2, {},
       {"a": {"b": 1}}, [None], ["x"])

Mutation = Callable[[bytes, np.random.Generator], bytes]
Read = Callable[[], object]


def noise(data: bytes, random: np.random.Generator) -> bytes:
    """Something behind the end, or something else altogether."""
    others = (b"", b"\xff\xfe", b"null", b"[]", b"{}", b'{"metrics": {}}', b"[" * 100_000,
              b'{"a":' * 900 + b"1" + b"}" * 900, b"9" * 5000, b"PK\3\4", b"\0" * 500)
    other = others[random.integers(len(others))]
    return data + other if random.random() < 0.5 else other


BYTES: tuple[Mutation, ...] = (flipped, overwritten, truncated, repeated, noise)


def leaves(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = [(value, key) for key, _ in pairs]
    for container, key in list(found):
        if isinstance(container[key], (dict, list)):
            found += leaves(container[key])
    return found


def exchanged(data: bytes, random: np.random.Generator) -> bytes:
    """JSON with one to three values gone, or of another kind or size."""
    value = json.loads(data)
    for _ in range(random.integers(1, 4)):
        places = leaves(value) or [([0], 0)]
        container, key = places[random.integers(len(places))]
        if random.random() < 0.15:
            del container[key]
        else:
            container[key] = copy.deepcopy(ODD[random.integers(len(ODD))])
    return json.dumps(value).encode()


def in_cells(data: bytes, random: np.random.Generator) -> bytes:
    """A table with one cell changed."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    row = rows[random.integers(len(rows))]
    row[random.integers(len(row))] = str(ODD[random.integers(len(ODD))]).replace("\ud800", "?")
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def sealed(folder: Path, data: bytes) -> bytes:
    """A model's record as somebody seals it who knows how; bytes that are no record as they are."""
    try:
        record = json.loads(data)
        record["tensors_sha256"] = sha256_of(folder / storage.TENSORS)
        record["record_sha256"] = storage._record_digest(record)
        return json.dumps(record).encode()
    except (ValueError, TypeError, RecursionError):
        return data


def make_run(output: Path) -> Path:
    """A run's folder, made by hand."""
    scores, labels = np.array([0.5, 0.7, 2, 3], np.float32), np.array([0, 0, 1, 1])
    config = {"dataset": "mvtec_ad", "category": "gear", "backbone": "efficientnet_lite0",
              "preset": "default", "split": "paper", "shots": None, "frame": "model",
              "layers": [2, 3], "coreset_ratio": 0.1, "resize": 256, "crop": None, "seed": 0,
              "weights": None, "false_alarm_rate": 0.05}
    record = {
        "metrics": dict.fromkeys(records.METRICS) | image_metrics(scores, labels),
        "counts": {"train": 20, "test_good": 2, "test_defective": 2, "test_masks": 0,
                   "unreadable": 0},
        "decision": {"threshold": 1.0, "map_threshold": 1.0, "calibration": "folds",
                     "calibrated_on": 20, "lowest_false_alarm_rate": 1 / 21, "false_alarms": 0,
                     "misses": 0},
        "timings": {"fit_s": 1.0, "predict_s": 2.0, "images_per_s": 10.0},
        "memory_bank": {"patches": 9, "dim": 4, "bytes": 144}, "config": config,
        "environment": {"python": "3.12.0"}, "data_fingerprint": "f" * 64}
    folder = records.run_folder(output, config)
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", record)
    write_scores(folder / "scores.csv", [
        {"image": f"test/{i}.png", "label": int(label), "defect_type": ["good", "bent"][label],
         "score": float(score), "threshold": 1.0, "verdict": ["good", "defective"][label]}
        for i, (score, label) in enumerate(zip(scores, labels, strict=True))], records.SCORES)
    return folder


def kinds(place: Path) -> dict[str, tuple[Path, tuple[Mutation, ...], Read, Any]]:
    """Kind -> the file, what is done to it, what reads it, and what seals it afterwards."""
    model = PatchCore(resize=64, coreset_ratio=0.5, device="cpu", reserve=0.1).fit(
        [picture((96 + i, 80)) for i in range(4)])
    model.save(place / "model")
    run = make_run(place / "runs")
    state = place / "state"
    state.mkdir()
    table, kept = state / "features-0.pt", state / "selection-0.pt"
    sweep._keep(state, table, {"rows": torch.zeros(6, 4), "indices": [0, 1], "seconds": 1.0})
    sweep._keep(state, kept, {"indices": torch.arange(9), "radii": torch.zeros(9), "seconds": 1.0})
    drawn, part = place / "drawn", place / "a.zip.part"
    drawn.mkdir()
    write_json(drawn / "synthetic.json", categories._description("wood", 0, 2, 2, 2))
    write_json(fetch._origin_of(part), {"url": "http://x/a.zip", "sha256": None, "etag": '"1"'})
    part.write_bytes(b"half")

    def load() -> object:
        return PatchCore.load(place / "model", device="cpu").predict([picture((99, 80))]).scores

    def summarise() -> object:
        write_report(place / "runs")
        return existing(run, "f" * 64)

    def summary() -> object:
        return records.write_summary(place / "runs"), existing(run, "f" * 64)

    def reseal(data: bytes) -> bytes:
        return sealed(place / "model", data)

    def note_again(data: bytes) -> bytes:
        """The journal as if this were what the sweep had left."""
        table.write_bytes(data)
        sweep._note(state, sweep._seal(table))
        return data

    record, tensors = place / "model" / storage.RECORD, place / "model" / storage.TENSORS
    json_too = (*BYTES, exchanged, exchanged, exchanged)
    return {
        "model.json": (record, json_too, load, None),
        "model.json, sealed again": (record, (exchanged,), load, reseal),
        "model.safetensors": (tensors, BYTES, load, None),
        "metrics.json, for a summary": (run / "metrics.json", json_too, summary, None),
        "metrics.json, for a report": (run / "metrics.json", json_too, summarise, None),
        "scores.csv": (run / "scores.csv", (*BYTES, in_cells, in_cells), summarise, None),
        "journal of a sweep": (state / "journal.jsonl", BYTES,
                               lambda: sweep._kept(state, table), None),
        "features of a sweep": (table, BYTES, lambda: sweep._kept(state, table), None),
        "features, noted again": (table, BYTES, lambda: sweep._kept(state, table), note_again),
        "selection of a sweep": (kept, BYTES, lambda: sweep._kept(state, kept), None),
        "synthetic.json": (drawn / "synthetic.json", json_too,
                           lambda: categories.is_complete(drawn, "wood", train=2, good=2,
                                                          per_defect=2), None),
        "note of a download": (fetch._origin_of(part), json_too,
                               lambda: fetch._already(part, "http://x/a.zip", None), None)}


def mutate(files: int, seed: int, only: str = "",
           tell: Callable[[str], None] = lambda kind: None) -> list[dict]:
    """For each kind: how many were read as if nothing were wrong, refused, and crashed."""
    rows, original, built = [], features.load_backbone, {}

    def load_once(name: str, **options: Any) -> Any:
        key = (name, *options.items())
        if key not in built:
            built[key] = original(name, **options)
        return built[key]

    features.load_backbone = load_once
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is told by warnings
        try:
            for number, (kind, (file, ways, read, seal)) in enumerate(kinds(Path(place)).items()):
                if only not in kind:
                    continue
                whole, crashes, refused, began = file.read_bytes(), [], 0, time.perf_counter()
                read()  # as it is, it can be read
                for one in range(files):
                    random = np.random.default_rng([seed, number, one])
                    data = ways[random.integers(len(ways))](whole, random)
                    file.write_bytes(seal(data) if seal else data)
                    try:
                        read()
                    except InputError as error:
                        refused += 1
                        if "\n" in str(error):
                            crashes.append({"number": one, "error": f"two lines: {error}"})
                    except Exception:
                        crashes.append({"number": one, "error": traceback.format_exc(limit=-4)})
                file.write_bytes(whole)
                rows.append({"kind": kind, "files": files, "refused": refused, "crashes": crashes,
                             "seconds": time.perf_counter() - began})
                tell(kind)
        finally:
            features.load_backbone = original
    return rows


def markdown(rows: list[dict]) -> str:
    lines = ["| what was changed | mutations | refused in one line | crashes |",
             "|---|---|---|---|",
             *(f"| {row['kind']} | {row['files']:,} | {row['refused']:,} | {len(row['crashes'])} |"
               for row in rows), "",
             "What is not refused was left out with a word, computed again, or had changed nothing "
             f"that matters. Most memory held: {peak_memory_mb():.0f} MB."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds with this in their name")
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    rows = mutate(options.files, options.seed, options.only,
                  tell=lambda kind: print(kind, file=sys.stderr))
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "mutations.json", {
        "seed": options.seed, "rows": rows, "environment": environment(torch.device("cpu"))})
    write_text(options.output / "mutations.md", markdown(rows))
    print(markdown(rows))
    for row in rows:
        for crash in row["crashes"][:3]:
            print(row["kind"], crash["number"], crash["error"], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
