"""Do the masks of the synthetic parts outline their defects as a person would?

    python tests/benchmarks/masks.py [--parts 12] [--seeds 0 1 2] [--output DIR]

Of each defect type so many test parts are drawn with each seed, and two masks of each are measured:
all pixels that changed, as in version 1 of the set, and its outline, as now. Writes masks.json and
masks.md: regions (8-connected) of a mask on average and at most, those of four pixels or fewer, the
smallest region, and at least what share of the changed pixels is covered, and of the mask changed.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad.data.files import write_json, write_text  # noqa: E402
from indad.data.synthetic import categories  # noqa: E402

FLAWS = [(name, defect) for name, category in sorted(categories.CATEGORIES.items())
         for defect in category.defects]


def twins_and_change(category: str, defect: str, index: int, seed: int) -> tuple[np.ndarray, ...]:
    """-> good twin, image, mask and changed pixels of a test part."""
    with mock.patch.object(categories, "outline", wraps=categories.outline) as outline:
        twins = categories.draw_twins(category, defect=defect, split="test", index=index, seed=seed)
    return *twins, outline.call_args.args[0]


def measure(mask: np.ndarray, change: np.ndarray) -> dict[str, float]:
    """What a mask is like; `mask` and `change` are (h, w) bool."""
    regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel())[1:]
    both = (mask & change).sum()
    return {"regions": count, "specks": int((sizes <= 4).sum()), "smallest": int(sizes.min()),
            "covered": both / change.sum(), "changed": both / mask.sum()}


def summary(found: Iterable[dict[str, float]]) -> dict[str, float]:
    """Of one defect type: means of counts, the worst of all else."""
    columns = {name: np.array(values) for name, values in zip(
        ("regions", "specks", "smallest", "covered", "changed"),
        zip(*(one.values() for one in found), strict=True), strict=True)}
    return {"regions": columns["regions"].mean(), "most_regions": int(columns["regions"].max()),
            "specks": columns["specks"].mean(),
            **{name: columns[name].min().item() for name in ("smallest", "covered", "changed")}}


def rows(parts: int, seeds: Iterable[int]) -> Iterator[dict]:
    for category, defect in FLAWS:
        drawn = [twins_and_change(category, defect, index, seed)[2:]
                 for seed in seeds for index in range(parts)]
        yield {"category": category, "defect": defect,
               "before": summary(measure(change, change) for _, change in drawn),
               "now": summary(measure(mask, change) for mask, change in drawn)}


def markdown(table: list[dict]) -> str:
    lines = ["| defect | regions a mask (most) | of 4 pixels or fewer | smallest | "
             "changed pixels covered | mask changed |", "|" + "---|" * 6]
    for row in table:
        before, now = row["before"], row["now"]
        lines.append(
            f"| {row['category']}/{row['defect']} "
            f"| {before['regions']:.1f} ({before['most_regions']}) -> "
            f"{now['regions']:.1f} ({now['most_regions']}) "
            f"| {before['specks']:.1f} -> {now['specks']:.1f} "
            f"| {before['smallest']} -> {now['smallest']} "
            f"| {100 * now['covered']:.1f} % | {100 * now['changed']:.0f} % |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    table = list(rows(options.parts, options.seeds))
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "masks.json", {
        "version": categories.VERSION, "parts": options.parts, "seeds": options.seeds,
        "defects": table})
    write_text(options.output / "masks.md", markdown(table))
    print(markdown(table), end="")


if __name__ == "__main__":
    main()
