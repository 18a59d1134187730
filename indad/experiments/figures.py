"""Figures of a benchmark: learning curves, what accuracy costs, and which defects are found."""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.files import complete_file
from .records import read_scores
from .tables import Spread, cell, label, overall, varied

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which most colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"
MOST = 8  # lines or groups of bars that one figure can hold and still be read


def learning_curves(table: Sequence[dict], metric: str = "image_auroc") -> "Figure | None":
    """A metric over the number of shots, a line for each variant, with a band of ± one std.

    `table` is that of `tables.aggregate`; None if shots do not vary. "All" images stand at the
    right end.
    """
    rows = [row for row in overall(table) if row[metric]]
    names = [name for name in varied(rows) if name != "shots"]
    counts = sorted({row["shots"] for row in rows if row["shots"]})
    if len(counts) < 2:
        return None
    everything = any(row["shots"] is None for row in rows)
    places = {count: place for place, count in enumerate([*counts, *[None] * everything])}
    lines: dict[str, dict[int, Spread]] = defaultdict(dict)
    for row in rows:
        lines[label(row, names) or row["backbone"]][places[row["shots"]]] = row[metric]
    figure, (axes,) = _canvas()
    for number, (name, points) in enumerate(list(lines.items())[:MOST]):
        xs = sorted(points)
        means, stds = [points[x].mean for x in xs], [points[x].std or 0 for x in xs]
        axes.plot(xs, means, color=COLOURS[number], marker=MARKERS[number], label=name)
        axes.fill_between(xs, [m - s for m, s in zip(means, stds, strict=True)],
                          [min(m + s, 1) for m, s in zip(means, stds, strict=True)],
                          color=COLOURS[number], alpha=0.15, linewidth=0)
    axes.set_xticks(list(places.values()), ["all" if c is None else str(c) for c in places])
    axes.set(xlabel="training images (shots)", ylabel=metric.replace("_", " ").replace(
        "auroc", "AUROC"))
    _finish(axes, len(lines))
    return figure


def tradeoff(table: Sequence[dict], metric: str = "image_auroc") -> "Figure | None":
    """A metric against milliseconds an image, and against the size of the memory bank.

    One point a variant, with a bar of ± one std over seeds; None for a single variant.
    """
    rows = [row for row in overall(table) if row[metric]]
    if len(rows) < 2:
        return None
    names = varied(rows)
    series = list(dict.fromkeys(cell(row, names[0]) for row in rows))
    figure, (left, right) = _canvas(2)
    for axes, key, title in ((left, "ms_per_image", "milliseconds an image"),
                             (right, "bank_mb", "memory bank, MB")):
        for number, value in enumerate(series[:MOST]):
            chosen = [row for row in rows if cell(row, names[0]) == value]
            means, stds = ([row[metric].mean for row in chosen],
                           [row[metric].std or 0 for row in chosen])
            above = [min(s, 1 - m) for m, s in zip(means, stds, strict=True)]
            axes.errorbar([row[key].mean for row in chosen], means, (stds, above), linestyle="none",
                          color=COLOURS[number], marker=MARKERS[number], capsize=2,
                          label=value)
        axes.set(xlabel=title, xscale="log")
        low, high = axes.get_xlim()
        decades = math.log10(high / low)  # or numbers would overlap
        shown = "123456789" if decades < 0.6 else "125" if decades < 3 else "1"
        for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            ticks(partial(_tick, shown))
    left.set_ylabel(metric.replace("_", " ").replace("auroc", "AUROC"))
    _finish(right, len(series), title=names[0].replace("_", " "))
    return figure


def _tick(shown: str, value: float, place: int) -> str:
    """What stands at a tick, if its number begins with a digit that is shown."""
    return f"{value:g}" if f"{value:e}"[0] in shown else ""


def recall_by_type(folders: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Defect type -> (found, all) over the scores.csv of some runs, by their own verdicts."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for folder in folders:
        for row in read_scores(folder):
            if row["label"] and row["verdict"] != "n/a":
                found[row["defect_type"]][0] += row["verdict"] == "defective"
                found[row["defect_type"]][1] += 1
    return {kind: (hits, count) for kind, (hits, count) in sorted(found.items())}


def recall_bars(variants: dict[str, dict[str, tuple[int, int]]]) -> "Figure | None":
    """Recall by defect type at each run's own threshold, a group of bars for each type.

    `variants` maps a variant's name to what `recall_by_type` found; None if nothing is known.
    """
    variants = {name: recall for name, recall in variants.items() if recall}
    count, variants = len(variants), dict(list(variants.items())[:MOST])
    kinds = sorted({kind for recall in variants.values() for kind in recall})
    if not kinds:
        return None
    figure, (axes,) = _canvas(width=max(6.0, 0.55 * len(kinds) + 2))
    width = 0.8 / len(variants)
    for number, (name, recall) in enumerate(variants.items()):
        shares = [recall[kind][0] / recall[kind][1] if kind in recall else 0 for kind in kinds]
        axes.bar([place + (number + 0.5) * width - 0.4 for place in range(len(kinds))], shares,
                 width, color=COLOURS[number], label=name)
    axes.set_xticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds], rotation=45,
                    ha="right")
    axes.set(ylabel="share found at the run's own threshold", ylim=(0, 1.02))
    _finish(axes, count)
    return figure


def write_figures(output: Path, table: Sequence[dict], rows: Sequence[dict]) -> list[Path]:
    """Write the figures that the runs can fill, as PNG and SVG below `output`; -> the PNGs.

    `rows` are the summary's, with the folders of the runs below `output`.
    """
    names = [name for name in varied(overall(table)) if name != "shots"]
    most = max((row["shots"] or float("inf") for row in rows), default=None)
    runs: dict[str, list[Path]] = {label(row, names) or row["backbone"]: []
                                   for row in overall(table)}
    for row in rows:  # with all images, or the most shots: fewer would only crowd the bars
        if (row["shots"] or float("inf")) == most:
            runs[label(row, names) or row["backbone"]].append(output / row["run"])
    written = []
    for name, figure in (
            ("curves", learning_curves(table)), ("tradeoff", tradeoff(table)),
            ("recall", recall_bars({key: recall_by_type(folders)
                                    for key, folders in runs.items()}))):
        if figure is not None:
            for suffix in ("png", "svg"):
                with complete_file(output / f"benchmark-{name}.{suffix}") as partial:
                    figure.savefig(partial, format=suffix, dpi=150, bbox_inches="tight")
            written.append(output / f"benchmark-{name}.png")
    return written


def _canvas(panels: int = 1, width: float = 6.0) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # no pyplot: no window, nothing to close

    figure = Figure(figsize=(width if panels == 1 else 9.0, 3.8), layout="constrained")
    return figure, list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])


def _finish(axes: "Axes", entries: int, title: str | None = None) -> None:
    for one in axes.figure.axes:
        one.grid(alpha=0.25)
        one.spines[["top", "right"]].set_visible(False)
    axes.legend(title=title, fontsize="small", frameon=False, loc="upper left",
                bbox_to_anchor=(1.01, 1.0))
    if entries > MOST:
        axes.annotate(f"first {MOST} of {entries}", (1.02, 0.0), xycoords="axes fraction",
                      va="bottom", fontsize="small")
