"""The figures of a benchmark: the right lines and bars, from numbers known by hand."""

import csv

import pytest
from PIL import Image

from indad.experiments import figures
from indad.experiments.records import METRICS, VARIANT
from indad.experiments.tables import Spread, aggregate


def row(backbone="a", shots=None, seed=0, value=0.9, **more):
    return dict.fromkeys(VARIANT) | dict.fromkeys(METRICS, value) | {
        "dataset": "set", "category": "nut", "backbone": backbone, "shots": shots, "seed": seed,
        "coreset_ratio": 0.1, "ms_per_image": 10.0, "bank_mb": float(shots or 50), "run": ""} | more


def curves_of(figure):
    (axes,) = figure.axes
    return {line.get_label(): line.get_ydata().tolist() for line in axes.lines}


def test_learning_curves_show_mean_and_band():
    rows = [row(backbone, shots, seed, 0.5 + 0.01 * (shots or 30) + 0.02 * seed)
            for backbone in ("a", "b") for shots in (1, 4, None) for seed in (0, 1)]
    figure = figures.learning_curves(aggregate(rows))
    assert curves_of(figure) == {name: pytest.approx([0.52, 0.55, 0.81]) for name in ("a", "b")}
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4", "all"]
    band = axes.collections[0].get_paths()[0].vertices
    spread = Spread(0.52, 0.02 / 2 ** 0.5, 0, 0, 2)
    assert band[:, 1].min() == pytest.approx(spread.mean - spread.std)


def test_without_several_shots_there_is_no_curve():
    assert figures.learning_curves(aggregate([row("a"), row("b")])) is None
    assert figures.tradeoff(aggregate([row("a")])) is None
    assert figures.recall_bars({"a": {}}) is None


def test_tradeoff_has_a_point_for_each_variant():
    figure = figures.tradeoff(aggregate([row(name, value=0.8) for name in "abc"]))
    left, right = figure.axes
    assert len(left.containers) == len(right.containers) == 3
    assert left.get_xscale() == "log"


@pytest.mark.parametrize("largest, shown", [(8, {3, 4, 5, 6, 7, 8}), (90, {5, 10, 20, 50}),
                                            (9000, {10, 100, 1000})])
def test_numbers_on_the_axis_leave_each_other_room(largest, shown):
    figure = figures.tradeoff(aggregate([row("a", bank_mb=3.0), row("b", bank_mb=float(largest))]))
    right = figure.axes[1].xaxis
    told = {float(text) for ticks, text_of in (
        (right.get_majorticklocs(), right.get_major_formatter()),
        (right.get_minorticklocs(), right.get_minor_formatter()))
        for tick in ticks if 3 <= tick <= largest and (text := text_of(tick, 0))}
    assert told == shown


def test_bars_end_where_a_metric_does():
    rows = [row(name, seed=seed, value=value) for name in "ab"
            for seed, value in enumerate((0.9, 1.0, 1.0))]
    for axes in figures.tradeoff(aggregate(rows)).axes:
        ends = [end for bars in axes.containers for line in bars.lines[2]
                for segment in line.get_segments() for end in segment[:, 1]]
        assert max(ends) == pytest.approx(1) and min(ends) < 0.92


def test_too_many_lines_are_cut_and_said_so():
    rows = [row(f"net{n}", shots) for n in range(11) for shots in (1, 2)]
    figure = figures.learning_curves(aggregate(rows))
    assert len(curves_of(figure)) == figures.MOST
    assert figure.axes[0].texts[0].get_text() == "first 8 of 11"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "set" / "nut" / "a-1"
    folder.mkdir(parents=True)
    with open(folder / "scores.csv", "w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["image", "label", "defect_type", "score", "threshold", "verdict"])
        writer.writerows([["1", 1, "crack", 9, 5, "defective"], ["2", 1, "crack", 3, 5, "good"],
                          ["3", 1, "hole", 8, 5, "defective"], ["4", 0, "good", 8, 5, "defective"],
                          ["5", 1, "hole", 8, "", "n/a"]])
    return folder


def test_recall_counts_defects_by_type_and_nothing_else(run):
    assert figures.recall_by_type([run, run]) == {"crack": (2, 4), "hole": (2, 2)}
    figure = figures.recall_bars({"a": figures.recall_by_type([run])})
    assert [bar.get_height() for bar in figure.axes[0].patches] == [0.5, 1.0]


@pytest.mark.slow
def test_all_that_can_be_drawn_is_written_twice(run, tmp_path):
    rows = [row("a", shots, run="set/nut/a-1") for shots in (1, 2, None)]
    written = figures.write_figures(tmp_path, aggregate(rows), rows)
    assert [file.name for file in written] == [
        "benchmark-curves.png", "benchmark-tradeoff.png", "benchmark-recall.png"]
    for file in written:
        assert Image.open(file).size[0] > 500
        assert file.with_suffix(".svg").read_text().startswith("<?xml")


def test_a_spread_without_std_has_no_band():
    rows = [row("a", shots) for shots in (1, 2)]
    table = aggregate(rows)
    assert all(one["image_auroc"].std is None for one in table)
    assert figures.learning_curves(table) is not None
