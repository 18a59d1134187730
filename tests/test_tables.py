"""Means, spreads and paired comparisons, against numbers worked out by hand."""

import csv
import json

import numpy as np
import pytest
from scipy import stats

from indad.cli import main
from indad.errors import InputError
from indad.evaluation.delong import delong_covariance, delong_test
from indad.experiments import published
from indad.experiments.pairs import compare, comparisons, over_images
from indad.experiments.records import METRICS, SCORES, VARIANT, mean_row
from indad.experiments.tables import aggregate, spread, write_tables


def row(category="screw", seed=0, image_auroc=0.9, **more):
    base = dict.fromkeys(VARIANT) | dict.fromkeys(METRICS, 0.5) | {
        "dataset": "mvtec_ad", "backbone": "a", "preset": "default", "coreset_ratio": 0.1,
        "category": category, "seed": seed, "seconds": 1.0, "ms_per_image": 10.0,
        "bank_mb": 2.0, "image_auroc": image_auroc}
    return base | more


def test_spread_is_that_of_numpy():
    values = [0.9, 0.95, 0.7, 0.85]
    found = spread(values)
    assert (found.mean, found.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (found.min, found.max, found.n) == (0.7, 0.95, 4)
    assert spread([0.5]).std is None
    assert str(spread([0.5])) == "0.5000"
    assert str(spread([0.4, 0.6])) == "0.5000 ± 0.1414"


def test_the_mean_over_categories_is_taken_seed_by_seed():
    rows = [row("screw", 0, 0.8), row("screw", 1, 0.9), row("pill", 0, 1.0), row("pill", 1, 0.7)]
    by_category = {one["category"]: one for one in aggregate(rows)}
    assert by_category["screw"]["image_auroc"].mean == pytest.approx(0.85)
    mean = by_category["mean"]["image_auroc"]
    assert (mean.mean, mean.min, mean.max, mean.n) == pytest.approx((0.85, 0.8, 0.9, 2))
    assert mean.std == pytest.approx(np.std([0.9, 0.8], ddof=1))


def test_only_seeds_that_all_categories_have_count_for_the_mean():
    rows = [row("screw", 0, 0.8), row("screw", 1, 0.9), row("pill", 0, 1.0)]
    mean = {one["category"]: one for one in aggregate(rows)}["mean"]["image_auroc"]
    assert (mean.mean, mean.n) == (pytest.approx(0.9), 1)


def test_a_missing_metric_is_missing_in_the_mean_too():
    rows = [row("screw", pixel_auroc=None), row("pill", pixel_auroc=0.9)]
    by_category = {one["category"]: one for one in aggregate(rows)}
    assert by_category["pill"]["pixel_auroc"].mean == 0.9
    assert by_category["mean"]["pixel_auroc"] is None


def test_variants_are_kept_apart():
    rows = [row(coreset_ratio=0.1), row(coreset_ratio=0.01), row(shots=4)]
    assert len(aggregate(rows)) == 3


def test_a_paired_comparison_is_the_t_interval_over_pairs():
    generator = np.random.default_rng(0)
    a = [row(category, seed, generator.uniform(0.7, 0.9))
         for category in ("screw", "pill") for seed in range(3)]
    b = [{**one, "backbone": "b", "image_auroc": one["image_auroc"] + generator.normal(0.02, 0.01)}
         for one in a]
    found = compare([*a, *b, row(seed=9)], "backbone", "a", "b")  # seed 9 has no partner
    differences = [y["image_auroc"] - x["image_auroc"] for x, y in zip(a, b, strict=True)]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert found.n == 6
    assert (found.mean, found.low, found.high) == pytest.approx(
        (np.mean(differences), expected.low, expected.high))
    back = compare([*a, *b], "backbone", "b", "a")
    assert back.mean == pytest.approx(-found.mean)


def test_runs_that_differ_in_more_than_one_thing_are_no_pair():
    rows = [row(backbone="a", coreset_ratio=0.1), row(backbone="b", coreset_ratio=0.01)]
    assert compare(rows, "backbone", "a", "b") is None
    assert comparisons(rows) == []
    (one,) = comparisons([row(backbone="a"), row(backbone="b", image_auroc=0.95)])
    assert (one.mean, one.low, one.n) == (pytest.approx(0.05), None, 1)


def test_the_mean_weighted_by_test_images():
    rows = [row("screw", 0, 0.8, images=30), row("pill", 0, 0.9, images=10)]
    (mean,) = (one for one in aggregate(rows, by_images=True) if one["category"] == "mean")
    assert mean["image_auroc"].mean == pytest.approx((30 * 0.8 + 10 * 0.9) / 40)
    assert mean_row(rows, by_images=True)["image_auroc"] == pytest.approx(0.825)
    assert mean_row(rows)["image_auroc"] == pytest.approx(0.85)
    (mean,) = (one for one in aggregate([*rows, row("nut")], by_images=True)
               if one["category"] == "mean")
    assert mean["image_auroc"] is None  # nobody knows of how many


@pytest.fixture
def scored(tmp_path):
    """Runs of backbones a and b on two categories and two seeds, with their scores on disk."""
    rng, rows, tables = np.random.default_rng(0), [], {}
    labels = np.r_[np.ones(20), np.zeros(15)].astype(int)
    for category in ("screw", "pill"):
        parts = rng.normal(size=35) + labels
        for backbone, seed in (("a", 0), ("a", 1), ("b", 0), ("b", 1)):
            name = f"{category}-{backbone}-{seed}"
            scores = parts + rng.normal(size=35) + (backbone == "b") * labels / 2
            (tmp_path / name).mkdir()
            with open(tmp_path / name / "scores.csv", "w", newline="") as lines:
                writer = csv.DictWriter(lines, SCORES)
                writer.writeheader()
                for k in rng.permutation(35):
                    writer.writerow({"image": f"{k:03}.png", "label": labels[k], "defect_type": "x",
                                     "score": scores[k], "verdict": "good", "threshold": ""})
            tables[category, backbone, seed] = scores
            rows.append(row(category, seed, delong_covariance(scores[None], labels)[0][0],
                            backbone=backbone, run=name, images=35))
    return rows, labels, tables


def test_a_pair_s_interval_over_images_is_delong_s(scored, tmp_path):
    rows, labels, tables = scored
    one = [r for r in rows if r["category"] == "screw" and r["seed"] == 0]
    found = over_images(one, tmp_path, "backbone", "a", "b")
    wanted = delong_test(tables["screw", "a", 0], tables["screw", "b", 0], labels)
    assert (found.difference, found.low, found.high, found.p) == pytest.approx(
        (wanted.difference, wanted.low, wanted.high, wanted.p))
    whole = over_images(rows, tmp_path, "backbone", "a", "b")
    assert whole.difference == pytest.approx(compare(rows, "backbone", "a", "b").mean)
    # Categories are independent: the interval of two is that of their mean.
    halves = [over_images([r for r in rows if r["category"] == name], tmp_path, "backbone", "a",
                          "b") for name in ("screw", "pill")]
    width = sum((half.high - half.low) ** 2 for half in halves) ** 0.5 / 2
    assert whole.high - whole.low == pytest.approx(width)
    text = write_tables(tmp_path, rows).read_text()
    assert f"| {whole.low:+.4f} to {whole.high:+.4f} | {whole.p:.2g} |" in text
    assert "weighted by their test images" in text


def test_without_scores_or_with_those_of_other_images_there_is_no_such_interval(scored, tmp_path):
    rows, _, _ = scored
    file = tmp_path / rows[0]["run"] / "scores.csv"
    file.write_text(file.read_text().replace("003.png", "other.png"))
    assert over_images(rows, tmp_path, "backbone", "a", "b") is None
    assert "| n/a | n/a |" in write_tables(tmp_path, rows).read_text()
    file.unlink()
    assert over_images(rows, tmp_path, "backbone", "a", "b") is None
    assert over_images([row()], tmp_path, "backbone", "a", "b") is None


def test_what_is_written(tmp_path):
    rows = [row(category, seed, 0.9 + seed / 100, backbone=backbone, pixel_auroc=None)
            for backbone in ("wide_resnet50_2", "resnet18") for category in ("screw", "pill")
            for seed in (0, 1)]
    file = write_tables(tmp_path, rows, published=["paper-1"])
    text = file.read_text()
    assert "| wide_resnet50_2 | 2 | 0.9050 ± 0.0071 | n/a |" in text
    assert "| backbone | resnet18 - wide_resnet50_2 | +0.0000 |" in text
    # Published: screw 96.4 image AUROC at 1 %; ours is 90.5.
    assert "| screw | 90.50 | 96.4 | -5.90 | n/a |" in text
    record = json.loads((tmp_path / "benchmark.json").read_text())
    assert record["rows"][0]["image_auroc"] == {
        "mean": pytest.approx(0.905), "std": pytest.approx(0.00707, rel=1e-3), "min": 0.9,
        "max": 0.91, "n": 2}
    with open(tmp_path / "benchmark.csv", newline="") as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == 6
    assert table[0]["image_auroc_max"] == "0.91"
    assert table[0]["pixel_auroc_mean"] == ""
    latex = (tmp_path / "benchmark.tex").read_text()
    assert r"wide\_resnet50\_2 & $90.50 \pm 0.71$ & -- &" in latex
    assert latex.count(r"\\") == 3


def test_a_published_table_that_is_not_there():
    with pytest.raises(InputError, match="did you mean paper-10"):
        published.published_table("paper10")


def test_what_a_benchmark_lays_beside_is_looked_for_before_it_computes(monkeypatch, tmp_path,
                                                                       capsys):
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "gone.json")
    monkeypatch.setattr("indad.experiments.sweep.run_sweep", None)
    assert main(["benchmark", "--experiment", "paper", "--quick"]) == 2
    assert "gone.json" in capsys.readouterr().err
    assert main(["benchmark", "--experiment", "papers"]) == 2
    assert "did you mean paper?" in capsys.readouterr().err
