"""How soon a model learns and predicts on this machine, beside other checkouts of the project.

    python tests/benchmarks/speed.py --data DATA [--against OTHER ...] [--repeats 3] [--output DIR]

DATA holds `mtd`. `default` learns 320 magnetic tiles (a bank of 32,768 patches) and 48 (4,915), and
predicts 96 that it has not seen, from their files. Every measurement is a process of its own; the
checkouts take turns. Writes speed.json and speed.md: medians, and what this checkout is to the
others. Not part of the test run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HERE))

from indad.data.files import write_json  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402

# What each checkout runs, so nothing that only this one has.
CODE = """
import json, sys, time
from statistics import median
from indad import PatchCore, load_dataset

def seconds(call, repeats):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times)

train, test = load_dataset(sys.argv[1], "mtd")
train, test, found = list(train)[:320], list(test)[:96], {}
PatchCore(device="cpu").fit(train[:4])
for count in (320, 48):
    model = PatchCore(device="cpu")
    took = seconds(lambda: model.fit(train[:count]), 1)
    learned = model.timings_
    bank = f"{len(model.memory_bank_):,} patches"
    found[f"fit, {count} images, s"] = took
    if count == 320:
        found["of it extraction, s"] = learned["extract_s"]
        found["of it selection, s"] = learned["coreset_s"]
        found["of it calibration, s"] = (learned["fit_s"] - learned["extract_s"]
                                         - learned["coreset_s"])
    model.predict(test[:16])
    found[f"predict, {bank}, images/s"] = len(test) / seconds(lambda: model.predict(test), 3)
    found[f"predict one image, {bank}, ms"] = 1e3 * seconds(lambda: model.predict(test[:1]), 15)
print(json.dumps(found))
"""


def measured(checkout: Path, data: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", CODE, str(data.resolve() / "mtd")], cwd=checkout,
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("results/runs/speed"))
    options = parser.parse_args()
    checkouts = {"this": HERE} | {checkout.name: checkout for checkout in options.against}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(options.repeats):
        for name, checkout in checkouts.items():
            runs[name].append(measured(checkout, options.data))
    lines = [f"Median of {options.repeats}, in turn.", "",
             "| | " + " | ".join(runs) + "".join(f" | this / {name}" for name in runs
                                                 if name != "this") + " |",
             "|---" * (2 * len(runs)) + "|"]
    for what in runs["this"][0]:
        values = [median(run[what] for run in found) for found in runs.values()]
        lines.append(f"| {what} | " + " | ".join(f"{value:.4g}" for value in values)
                     + "".join(f" | {values[0] / value:.2f}" for value in values[1:]) + " |")
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "speed.json",
               {"runs": runs, "environment": environment(pick_device("cpu"))})
    text = "\n".join(lines) + "\n"
    (options.output / "speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
