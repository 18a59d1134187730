"""From many runs to tables: mean, spread and range over seeds, and paired comparisons.

Pure functions of the summary's rows (results.py), and one that writes what they say as JSON, CSV,
Markdown and LaTeX.
"""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..data.arguments import as_word
from ..data.files import write_json, write_text
from ..evaluation.delong import DeLong
from .pairs import Comparison, comparisons, over_images
from .pairs import compare as compare  # lessons have it from here
from .published import compare_with_published, published_table
from .records import METRICS, SHOWN, VARIANT, but_usual

# What says by its value alone which column it is of.
ALONE = ("dataset", "split", "backbone", "preset", "coreset_ratio", "image_score", "shots",
         "protocol", "augmentation")


@dataclass(frozen=True)
class Spread:
    """A metric over n seeds; `std` is the sample's, None for a single seed."""

    mean: float
    std: float | None
    min: float
    max: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + (f" ± {self.std:.4f}" if self.std is not None else "")


def spread(values: Sequence[float]) -> Spread:
    mean = math.fsum(values) / len(values)
    std = (math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
           if len(values) > 1 else None)
    return Spread(mean, std, min(values), max(values), len(values))


def aggregate(rows: Iterable[dict], *, by_images: bool = False) -> list[dict]:
    """Rows of single runs -> a row for each variant and category, and one for their "mean".

    The mean over categories is taken seed by seed, over the seeds that all categories have; its
    spread is over seeds. A metric that any of its runs lacks is None.

    Args:
        by_images: weigh each category by its test images, instead of all alike, as published
            tables do.
    """
    variants: dict[tuple, dict[str, dict[int, dict]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        variants[tuple(row.get(name) for name in VARIANT)][row["category"]][row["seed"]] = row
    table = []
    for variant, categories in variants.items():
        named = dict(zip(VARIANT, variant, strict=True))
        for category, seeds in categories.items():
            table.append({**named, "category": category} | {
                metric: _spread_of([row[metric] for row in seeds.values()])
                for metric in (*METRICS, "ms_per_image", "bank_mb")})
        common = sorted(set.intersection(*(set(seeds) for seeds in categories.values())))
        if len(categories) > 1 and common:
            table.append({**named, "category": "mean"} | {
                metric: _spread_of([_mean(
                    [seeds[seed][metric] for seeds in categories.values()],
                    [seeds[seed].get("images") if by_images else 1
                     for seeds in categories.values()]) for seed in common])
                for metric in (*METRICS, "ms_per_image", "bank_mb")})
    return table




def write_tables(output: Path, rows: Sequence[dict], *, title: str = "Benchmark", note: str = "",
                 published: Sequence[str] = ()) -> Path:
    """Write benchmark.json, .csv, .md and .tex below `output`; -> the Markdown file."""
    table = aggregate(rows)
    pairs = [(pair, over_images(rows, output, pair.axis, pair.a, pair.b))
             for pair in comparisons(rows)]
    weighted = [row for row in aggregate(rows, by_images=True) if row["category"] == "mean"]
    write_json(output / "benchmark.json", {
        "rows": [_plain(row) for row in table],
        "means_by_images": [_plain(row) for row in weighted],
        "comparisons": [asdict(pair) | {"over_images": asdict(images) if images else None}
                        for pair, images in pairs]})
    write_text(output / "benchmark.csv", _csv(table))
    write_text(output / "benchmark.tex", _latex(table))
    write_text(output / "benchmark.md", _markdown(table, weighted, pairs, title, note,
                                                     published))
    return output / "benchmark.md"


def _plain(row: dict) -> dict:
    return {name: asdict(value) if isinstance(value, Spread) else value
            for name, value in row.items()}


def _spread_of(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return spread(known) if len(known) == len(values) else None


def _mean(values: Sequence[float | None], weights: Sequence[float | None]) -> float | None:
    """The weighted mean; None if there is a value or a weight that is not known."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True)
             if value is not None and weight is not None]
    whole = math.fsum(weight for _, weight in known)
    if len(known) < len(values) or not whole:
        return None
    return math.fsum(value * weight for value, weight in known) / whole


def varied(table: Sequence[dict]) -> list[str]:
    """The columns in which variants differ by more than what their presets and backbones bring
    along, or the backbone if there is one variant only."""
    rows = [but_usual(row) for row in table]
    names = [name for name in VARIANT if len({str(row[name]) for row in rows}) > 1]
    return names or ["backbone"]


def cell(row: dict, name: str) -> str:
    """A variant's value in a column, as one would type it."""
    return "all" if name == "shots" and row[name] is None else as_word(row[name])


def label(row: dict, names: Sequence[str]) -> str:
    """A variant's name: its values in the columns that vary, such as "amazon, num_neighbors=3"."""
    return ", ".join(("" if name in ALONE else f"{name}=") + cell(row, name) for name in names)


def overall(table: Sequence[dict]) -> list[dict]:
    """The mean of each variant; its only category where there is but one."""
    means = [row for row in table if row["category"] == "mean"]
    return means or list(table)


def _show(value: Spread | None) -> str:
    return "n/a" if value is None else str(value)


def _csv(table: Sequence[dict]) -> str:
    text, columns = io.StringIO(), [*VARIANT, "category", "seeds"]
    parts = ("mean", "std", "min", "max")
    writer = csv.writer(text, lineterminator="\n")
    metrics = (*METRICS, "ms_per_image", "bank_mb")
    writer.writerow([*columns, *(f"{metric}_{part}" for metric in metrics for part in parts)])
    for row in table:
        spreads = [row[metric] for metric in metrics]
        seeds = next((one.n for one in spreads if one), 0)
        writer.writerow([*(row[name] for name in (*VARIANT, "category")), seeds, *(
            getattr(one, part) if one else None for one in spreads for part in parts)])
    return text.getvalue()


def _markdown(table: Sequence[dict], weighted: Sequence[dict],
              pairs: Sequence[tuple[Comparison, DeLong | None]], title: str, note: str,
              published: Sequence[str]) -> str:
    names, means = varied(table), overall(table)
    lines = [f"# {title}", "", *([note, ""] if note else []),
             "Mean ± standard deviation over seeds; with several categories, of their mean.", "",
             _row([*names, "seeds", *(title for title, _ in SHOWN), "image AUROC min to max",
                   "ms an image", "bank MB"]), "|" + "---|" * (len(names) + len(SHOWN) + 4)]
    for row in means:
        image = row["image_auroc"]
        lines.append(_row([
            *(cell(row, name) for name in names),
            image.n if image else "n/a", *(_show(row[key]) for _, key in SHOWN),
            f"{image.min:.4f} to {image.max:.4f}" if image else "n/a",
            f"{row['ms_per_image'].mean:.1f}", f"{row['bank_mb'].mean:.2f}"]))
    categories = [name for name in dict.fromkeys(row["category"] for row in table)
                  if name != "mean"]
    if len(categories) > 1:
        lines += ["", "## Image AUROC by category", "",
                  _row([*names, *categories]), "|" + "---|" * (len(names) + len(categories))]
        for row in means:
            same = {one["category"]: one for one in table
                    if all(one[name] == row[name] for name in VARIANT)}
            lines.append(_row([*(cell(row, name) for name in names),
                               *(_show(same[name]["image_auroc"]) if name in same else ""
                                 for name in categories)]))
        if all(row["image_auroc"] for row in weighted):
            lines += ["", "## Mean, categories weighted by their test images", "",
                      _row([*names, *(title for title, _ in SHOWN)]),
                      "|" + "---|" * (len(names) + len(SHOWN))]
            lines += [_row([*(cell(row, name) for name in names),
                            *(_show(row[key]) for _, key in SHOWN)]) for row in weighted]
    if pairs:
        lines += ["", "## Pairs", "", "Difference in image AUROC on the same category, seed and "
                  "everything else, with Student's 95 % interval over pairs, and DeLong's over "
                  "test images with the p-value of no difference.", "",
                  _row(["what", "second minus first", "mean", "over pairs", "pairs",
                        "over images", "p"]), "|" + "---|" * 7]
        lines += [_row([pair.axis, f"{as_word(pair.b)} - {as_word(pair.a)}", f"{pair.mean:+.4f}",
                        "n/a" if pair.low is None else f"{pair.low:+.4f} to {pair.high:+.4f}",
                        pair.n, *(["n/a", "n/a"] if images is None else [
                            f"{images.low:+.4f} to {images.high:+.4f}", f"{images.p:.2g}"])])
                  for pair, images in pairs]
    for name in published:
        theirs = published_table(name)
        against = _against_methods if "methods" in theirs else _against_published
        lines += ["", *against(table, means, names, theirs)]
    return "\n".join(lines) + "\n"


def _against_published(table: Sequence[dict], means: Sequence[dict], names: Sequence[str],
                      theirs: dict) -> list[str]:
    """Ours, theirs and the difference in points, category by category, for each variant."""
    lines = [f"## Beside: {theirs['title']}", "",
             f"Source: {theirs['source']['name']} ({theirs['source']['quality']}). In percent.", ""]
    for row in means:
        lines += [f"### {label(row, names)}", "",
                  _row(["category", "image AUROC", "published", "difference", "pixel AUROC",
                        "published", "difference"]), "|" + "---|" * 7]
        for category, metrics in compare_with_published(table, row, theirs).items():
            cells = [category]
            for ours, other, difference in metrics.values():
                cells += ["n/a" if ours is None else f"{ours:.2f}",
                          "–" if other is None else f"{other}",
                          "–" if difference is None else f"{difference:+.2f}"]
            lines.append(_row(cells))
        lines.append("")
    return lines


def _against_methods(table: Sequence[dict], means: Sequence[dict], names: Sequence[str],
                    theirs: dict) -> list[str]:
    """Image AUROC over shots: ours, and the methods of a published few-shot table."""
    others = [name for name in names if name != "shots"]
    curves: dict[str, dict[str, str]] = defaultdict(dict)
    for row in means:
        curves[f"ours: {label(row, others)}"][str(row["shots"])] = (
            f"{100 * row['image_auroc'].mean:.1f}" if row["image_auroc"] else "n/a")
    for method in theirs["methods"]:
        for shots, metrics in method["shots"].items():
            curves[method["method"]][shots] = str(metrics.get("image_auroc", "–"))
    shots = sorted({count for curve in curves.values() for count in curve},
                   key=lambda count: int(count) if count.isdecimal() else 10 ** 9)
    return [f"## Beside: {theirs['title']}", "", f"Source: {theirs['source']['name']} "
            f"({theirs['source']['quality']}). Image AUROC in percent.", "",
            _row(["method", *(f"{count} shots" for count in shots)]),
            "|" + "---|" * (1 + len(shots)),
            *(_row([name, *(curve.get(count, "") for count in shots)])
              for name, curve in curves.items())]


def _latex(table: Sequence[dict]) -> str:
    """The table of variants, for booktabs."""
    names = varied(table)
    lines = [r"\begin{tabular}{" + "l" * len(names) + "r" * len(SHOWN) + "}", r"\toprule",
             " & ".join([*(_tex(name) for name in names), *(title for title, _ in SHOWN)])
             + r" \\", r"\midrule"]
    for row in overall(table):
        cells = [_tex(cell(row, name)) for name in names]
        for _, key in SHOWN:
            one = row[key]
            cells.append("--" if one is None else f"${100 * one.mean:.2f}" + (
                rf" \pm {100 * one.std:.2f}$" if one.std is not None else "$"))
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex(value: object) -> str:
    text = str(value)
    for sign in "_%&#":
        text = text.replace(sign, "\\" + sign)
    return text


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
