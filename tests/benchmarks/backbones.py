"""What does each backbone of the registry cost? Time, patches, numbers and memory.

    python tests/benchmarks/backbones.py [--batch 4] [--repeats 5] [--threads 1] [--output DIR]

With random weights, as those of most cannot be had without a network and time does not depend on
them, at each backbone's own size and with its default layers: pixels in memory -> patch features,
without reading, selection and search. Every batch is paired with one of the default backbone just
before, and a ratio is the median over repeats of those pairs, which go round all backbones in turn:
so a machine that others use is fair to all. Time is that of the processor in this process. What
needs a package that is not there (`pip install antialiased-cnns`) is left out, and said. Writes
backbones.json and backbones.md. Not part of the test run.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad.backbones.loading import load_backbone  # noqa: E402
from indad.backbones.registry import BACKBONES, OFFLINE  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.engine.machine import environment  # noqa: E402
from indad.errors import InputError  # noqa: E402
from indad.features import PatchNetwork  # noqa: E402

RATIO = 0.1  # of the patches, which the bank keeps
PHOTOS = 100  # that are learned from
NOTE = ("The machine is shared: compare the relative speed, whose pairs were measured one right "
        "after the other.")


def load(name: str) -> PatchNetwork:
    torch.manual_seed(0)
    extractor, transform = load_backbone(name, pretrained=False)
    return PatchNetwork(extractor, extractor.channels, transform, torch.device("cpu"))


def seconds(network: PatchNetwork, pixels: torch.Tensor) -> float:
    """Of the processor, for one batch."""
    began = time.process_time()
    network(pixels)
    return time.process_time() - began


def measure(names: list[str], batch: int, repeats: int) -> tuple[list[dict], list[str]]:
    """A row for each backbone, the default first; and why some have none."""
    networks, pixels, left_out = {}, {}, []
    for name in names:
        try:
            networks[name] = load(name)
        except InputError as error:
            left_out.append(str(error))
            continue
        side = networks[name].transform.placement((256, 256)).size
        pixels[name] = torch.randint(0, 256, (batch, *side, 3), dtype=torch.uint8)
        shape = networks[name](pixels[name]).shape  # and warm
        print(name, tuple(shape), flush=True)
        networks[name] = (networks[name], shape)
    times = defaultdict(list)
    for _ in range(repeats):
        for name, (network, _) in networks.items():
            default = seconds(networks[OFFLINE][0], pixels[OFFLINE])
            # A second batch of the default would find what it needs in the cache: no fair pair.
            own = default if name == OFFLINE else seconds(network, pixels[name])
            times[name].append((own, default))
    rows = []
    for name, (network, (_, numbers, height, width)) in networks.items():
        own, _ = zip(*times[name], strict=True)
        ratios = [default / one for one, default in times[name]]
        rows.append({
            "backbone": name, "family": BACKBONES[name].family,
            "parameters_m": BACKBONES[name].parameters_m,
            "size": list(pixels[name].shape[1:3]), "layers": list(BACKBONES[name].layers),
            "channels": list(network.channels), "patches": height * width, "numbers": numbers,
            "bank_mb": round(PHOTOS * height * width * RATIO * numbers * 4 / 1e6, 1),
            "images_per_s": batch / median(own), "relative": median(ratios),
            "relative_range": [min(ratios), max(ratios)],
            "accuracy_measured": BACKBONES[name].package is not None})
    return rows, left_out


def markdown(rows: list[dict], left_out: list[str], about: dict, batch: int, repeats: int) -> str:
    lines = ["# What each backbone costs", "",
             f"`python tests/benchmarks/backbones.py`, random weights, batches of {batch}, "
             f"{repeats} repeats in turn, {about['threads']} thread. Images/s: from pixels to "
             "patch features, in seconds of the processor; relative to the default backbone's "
             "just before, median (smallest to largest). Bank: 10 % of the patches of "
             f"{PHOTOS} photos, float32. " + NOTE, "",
             "| backbone | million parameters | size | patches x numbers | bank, MB | images/s "
             "| relative | accuracy measured |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row["relative_range"]
        lines.append(
            f"| `{row['backbone']}` | {row['parameters_m']} | {row['size'][0]} | "
            f"{row['patches']:,} x {row['numbers']:,} | {row['bank_mb']:.0f} | "
            f"{row['images_per_s']:.3g} | {row['relative']:.2g} ({low:.2g} to {high:.2g}) | "
            f"{'yes' if row['accuracy_measured'] else 'no'} |")
    lines += ["", *(f"Left out: {why}." for why in left_out),
              ", ".join(f"{name} {value}" for name, value in about.items()), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = list(dict.fromkeys([OFFLINE, *options.backbones]))
    rows, left_out = measure(names, options.batch, options.repeats)
    about = environment(torch.device("cpu"))
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "backbones.json", {
        "note": NOTE, "batch": options.batch, "repeats": options.repeats, "environment": about,
        "rows": rows, "left_out": left_out})
    write_text(options.output / "backbones.md",
               markdown(rows, left_out, about, options.batch, options.repeats))


if __name__ == "__main__":
    main()
