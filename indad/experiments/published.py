"""Published tables (published.json), and which of them stand beside a variant of ours."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..data.catalog import CATALOG
from ..errors import unknown
from .valid import VARIANT

PUBLISHED = Path(__file__).with_name("published.json")

# Ours, published and the difference, in percent; None stands for what one side lacks.
Compared = tuple[float | None, float | None, float | None]


def published_table(name: str) -> dict:
    """A table of published.json by its id; raises `InputError` for unknown ones."""
    tables = {table["id"]: table for table in json.loads(PUBLISHED.read_text())["tables"]}
    if name not in tables:
        raise unknown("published table", name, tables)
    return tables[name]


def published_for(row: dict, most: int = 3) -> list[dict]:
    """The published tables of PatchCore that are nearest to a variant, the nearest first.

    Of the same dataset and number of training images; nearest are those of its backbone, then those
    that their authors measured, then those of its coreset ratio. None for reduced categories and
    other splits, which nobody published.
    """
    if row["split"] not in (None, "paper"):
        return []
    found = []
    for table in json.loads(PUBLISHED.read_text(encoding="utf-8"))["tables"]:
        few = [{**one, "mean": one["shots"][str(row["shots"])]}
               for one in table.get("methods", ()) if str(row["shots"]) in one["shots"]]
        full = table.get("rows") or ([{}] if "methods" not in table else [])
        found += [table | one | {"title": f"{table['title']}: {one['method']}" if one else
                                 table["title"]}
                  for one in (full if row["shots"] is None else few)]
    found = [table for table in found
             if table["dataset"] == row["dataset"] and "PatchCore" in table["method"]]
    found.sort(key=lambda table: (
        table["backbone"] != row["backbone"], table["source"]["quality"] != "first-hand",
        abs((table["coreset_ratio"] or 1) - (row["coreset_ratio"] or 1))))
    return found[:most]


def compare_with_published(table: Sequence[dict], variant: dict,
                           theirs: dict) -> dict[str, dict[str, Compared]]:
    """A variant's categories, each with metric -> (ours, published, difference) in percent.

    A mean is compared with a mean of the same categories only.
    """
    same = {row["category"]: row for row in table
            if all(row[name] == variant[name] for name in VARIANT)}
    known = dict(theirs.get("categories", {}))
    if info := CATALOG.get(theirs["dataset"]):
        whole = info.categories[0] if len(info.categories) == 1 else "mean"
        if set(info.categories) <= set(same):
            known[whole] = theirs.get("mean", {})
    found: dict[str, dict[str, Compared]] = {}
    for category, row in same.items():
        found[category] = {}
        for metric in ("image_auroc", "pixel_auroc"):
            ours = 100 * row[metric].mean if row[metric] else None
            other = known.get(category, {}).get(metric)
            found[category][metric] = (
                ours, other, None if ours is None or other is None else ours - other)
    return found
