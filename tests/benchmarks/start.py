"""What a command costs before it sees a picture: processor seconds, imports included.

    python tests/benchmarks/start.py [--against OTHER] [--repeats 5] [--output DIR]

Each command is a process of its own, on six small pictures of noise, so that hardly anything but
the start is left; user and system time, median, in turn. OTHER is the folder of another checkout,
to compare with. Writes start.json and start.md. Not part of the test run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HERE))

from indad.data.files import write_json  # noqa: E402
from indad.engine.machine import environment, pick_device  # noqa: E402


def commands(folder: Path) -> dict[str, list[str]]:
    good, model = str(folder / "good"), str(folder / "model")
    return {
        "from indad import PatchCore": ["-c", "from indad import PatchCore"],
        "python -m indad --help": ["-m", "indad", "--help"],
        "python -m indad fit": ["-m", "indad", "fit", good, "--output", model, "--resize", "64"],
        "python -m indad predict": ["-m", "indad", "predict", model, good, "--output",
                                    str(folder / "found"), "--overlays", "none"],
    }


def processor_seconds(words: list[str], checkout: Path) -> float:
    process = subprocess.Popen([sys.executable, *words], cwd=checkout, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words} failed in {checkout}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("results/runs/start"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    checkouts = {"this": HERE} | ({"other": options.against} if options.against else {})
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in checkouts:
            (Path(place) / name / "good").mkdir(parents=True)
            for i in range(6):
                noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
                Image.fromarray(noise).save(Path(place) / name / "good" / f"{i}.png")
        for _ in range(options.repeats):
            for name, checkout in checkouts.items():
                for what, words in commands(Path(place) / name).items():
                    times.setdefault(what, {}).setdefault(name, []).append(
                        processor_seconds(words, checkout))
    lines = [f"Processor seconds, median of {options.repeats}, in turn.", "",
             "| command | " + " | ".join(checkouts) + " |", "|---|" + "---|" * len(checkouts)]
    lines += [f"| `{what}` | " + " | ".join(f"{median(found[name]):.2f}" for name in checkouts)
              + " |" for what, found in times.items()]
    write_json(options.output / "start.json",
               {"seconds": times, "environment": environment(pick_device("cpu"))})
    text = "\n".join(lines) + "\n"
    (options.output / "start.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
