"""The numbers in indad/experiments/published.json are complete and agree with themselves."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "indad" / "experiments" / "published.json"
DATA = json.loads(PATH.read_text(encoding="utf-8"), parse_float=Decimal)  # keeps the digits written
TABLES = {table["id"]: table for table in DATA["tables"]}
PER_CATEGORY = [name for name, table in TABLES.items() if "categories" in table]
FEW_SHOT = [name for name, table in TABLES.items() if "methods" in table]

MVTEC_AD = {
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill",
    "screw", "tile", "toothbrush", "transistor", "wood", "zipper",
}  # fmt: skip
QUALITIES = {"first-hand", "second-hand copy", "digitised from a figure"}
SUFFIXES = ("_std", "_min", "_max")

# Stated means further from the mean of their column than the published digits allow.
MEANS_THAT_DISAGREE = {
    ("paper-10", "image_auroc"),
    ("paper-1", "pixel_auroc"),
    ("paddleseg-resnet18", "pixel_auroc"),
}
# (table, method, metric) of curves that fall somewhere as shots are added: none so far.
CURVES_THAT_FALL = set()

# One number of each kind of source, so that a slip in the file does not pass unseen.
ANCHORS = [
    ("paper-25", ("categories", "pill", "image_auroc"), "96.6"),
    ("paper-10", ("categories", "toothbrush", "image_auroc"), "99.7"),
    ("paper-1", ("categories", "transistor", "pixel_auroc"), "94.9"),
    ("amazon-10", ("categories", "cable", "image_auroc"), "99.68"),
    ("amazon-10", ("mean", "anomaly_pro"), "94.37"),
    ("amazon-ensemble-320-ps3", ("mean", "image_auroc"), "99.55"),
    ("patchcore-ex-10", ("mean", "pixel_auroc"), "98.2"),
    ("hcw-00-1", ("categories", "screw", "pixel_auroc"), "97.7"),
    ("ind_knn_ad-10", ("categories", "pill", "pixel_auroc"), "98.7"),
    ("anomalib-10-wrn50", ("categories", "toothbrush", "image_auroc"), "93.3"),
    ("techiequokka-1", ("categories", "screw", "image_auroc"), "90.7"),
    ("xaverrobrecht-1", ("categories", "pill", "image_auroc_max"), "97.2"),
    ("mtd", ("rows", 0, "mean", "image_auroc"), "97.9"),
    ("fewshot-paper-mvtec", ("methods", 0, "shots", "1", "image_auroc_std"), "0.7"),
    ("fewshot-winclip-visa", ("methods", 0, "shots", "4", "aupro"), "84.9"),
    ("fewshot-santos-mvtec", ("methods", 1, "shots", "10", "image_auroc"), "92.9"),
]


def base(name):
    """The metric that `name` belongs to: image_auroc for image_auroc_std."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def cells(table):
    """Every {metric: value} in a table, with a word for where it stands."""
    for category, values in table.get("categories", {}).items():
        yield category, values
    if "mean" in table:
        yield "mean", table["mean"]
    for row in table.get("rows", []):
        yield row["method"], row["mean"]
    for method in table.get("methods", []):
        for shots, values in method["shots"].items():
            numbers = {key: value for key, value in values.items() if key != "digitised"}
            yield f"{method['method']}, {shots} shots", numbers


def decimals(value):
    return -value.as_tuple().exponent


def test_ids_are_unique():
    ids = [table["id"] for table in DATA["tables"]]
    assert len(ids) == len(set(ids)) > 0


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_it_is(name):
    table = TABLES[name]
    for key in ("title", "method", "dataset", "notes"):
        assert table[key].strip(), key
    assert table["units"] == DATA["units"] == "percent"
    sources = [table["source"]] + [m["source"] for m in table.get("methods", []) if "source" in m]
    for source in sources:
        assert source["name"].strip() and source["where"].strip()
        assert source["quality"] in QUALITIES
    assert {"backbone", "coreset_ratio", "image_size"} <= set(table)
    assert table["coreset_ratio"] is None or 0 < table["coreset_ratio"] <= 1
    assert sum(key in table for key in ("mean", "rows", "methods")) == 1
    assert "mean" in table or "categories" not in table


@pytest.mark.parametrize("name", TABLES)
def test_values_are_percentages_of_known_metrics(name):
    found = list(cells(TABLES[name]))
    assert found
    for end in TABLES[name].get("pixel_auroc_range", {}).values():
        assert 50 < end <= 100
    for where, values in found:
        assert values, where
        for metric, value in values.items():
            assert base(metric) in DATA["metrics"], (where, metric)
            assert base(metric) in values, (where, metric)
            assert isinstance(value, Decimal), (where, metric)
            assert 0 <= value <= 100, (where, metric)
            if base(metric) == metric:
                assert value > 50, f"{where}, {metric}: {value} looks like a fraction, or a slip"


@pytest.mark.parametrize("name", PER_CATEGORY)
def test_all_categories_are_there_with_the_same_metrics(name):
    table = TABLES[name]
    assert table["dataset"] == "mvtec_ad"
    assert set(table["categories"]) == MVTEC_AD
    assert len({frozenset(values) for values in table["categories"].values()}) == 1
    plain = {metric for metric in table["categories"]["bottle"] if base(metric) == metric}
    assert plain <= set(table["mean"])


def test_means_are_those_of_the_categories():
    disagree = set()
    for name in PER_CATEGORY:
        categories = TABLES[name]["categories"].values()
        for metric, stated in TABLES[name]["mean"].items():
            column = [values[metric] for values in categories if metric in values]
            if column:
                digits = min(decimals(value) for value in [stated, *column])
                tolerance = Decimal("0.6").scaleb(-digits)  # 0.06 for one decimal, 0.006 for two
                if abs(sum(column) / len(column) - stated) > tolerance:
                    disagree.add((name, metric))
    assert disagree == MEANS_THAT_DISAGREE
    marked = {name for name, table in TABLES.items() if "mean_disagrees" in table}
    assert marked == {name for name, _ in MEANS_THAT_DISAGREE}
    for name, metric in MEANS_THAT_DISAGREE:
        assert TABLES[name]["mean_disagrees"] is True
        assert f"mean of {metric}, {TABLES[name]['mean'][metric]}," in TABLES[name]["notes"]


def test_means_lie_between_least_and_largest():
    seen = 0
    for name, table in TABLES.items():
        for where, values in cells(table):
            for metric in values:
                if metric.endswith("_min"):
                    low, high = values[metric], values[base(metric) + "_max"]
                    assert low <= values[base(metric)] <= high, (name, where)
                    seen += 1
    assert seen == len(MVTEC_AD)


def test_anomalous_only_metrics_have_their_own_names():
    amazon, techie = TABLES["amazon-10"], TABLES["techiequokka-1"]
    assert "aupro" not in amazon["mean"] and "pixel_auroc" not in techie["mean"]
    assert "anomalous images only" in amazon["notes"]
    assert "anomalous images only" in techie["notes"]
    for values in amazon["categories"].values():
        assert values["anomaly_pixel_auroc"] < values["pixel_auroc"]


def test_more_shots_do_not_hurt():
    falling, curves = set(), 0
    for name in FEW_SHOT:
        for method in TABLES[name]["methods"]:
            shots = sorted(method["shots"], key=int)
            assert shots == list(method["shots"]) and int(shots[0]) > 0
            for metric in DATA["metrics"]:
                points = [method["shots"][k][metric] for k in shots if metric in method["shots"][k]]
                curves += len(points) > 1
                if points != sorted(points):
                    falling.add((name, method["method"], metric))
    assert curves > 30
    assert falling == CURVES_THAT_FALL


def test_values_read_off_a_figure_are_marked():
    for name in FEW_SHOT:
        whole = TABLES[name]["source"]["quality"] == "digitised from a figure"
        for method in TABLES[name]["methods"]:
            for values in method["shots"].values():
                assert values.get("digitised", True) is True  # present only where it is true
                assert "digitised" in values or not whole, (name, method["method"])


@pytest.mark.parametrize(("name", "path", "value"), ANCHORS)
def test_anchors(name, path, value):
    found = TABLES[name]
    for step in path:
        found = found[step]
    assert str(found) == value
