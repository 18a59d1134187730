"""Results as tables of pandas, and in the short files of another project."""

from importlib import util

import numpy as np
import pandas
import pytest
import yaml

import indad
from indad import PatchCore, load_dataset, to_frame
from indad.cli import main
from indad.errors import InputError
from indad.experiments.plans import expand
from indad.experiments.records import COLUMNS, write_short
from indad.experiments.run import run
from indad.experiments.sweep import run_sweep

OPTIONS = dict(resize=48, map_kernel_size=9, device="cpu")


@pytest.fixture(scope="module")
def model(small_network, drawn):
    return PatchCore(**small_network, **OPTIONS).fit(load_dataset(drawn, "tiles")[0])


@pytest.mark.slow
def test_a_prediction_as_a_table(model, drawn, tmp_path):
    _, test = load_dataset(drawn, "tiles")
    prediction = model.predict(test)
    table = prediction.to_frame(test)
    assert list(table) == ["image", "label", "defect_type", "score", "reason"]
    assert np.array_equal(table.score.to_numpy(np.float32), prediction.scores)
    assert table.label.tolist() == test.labels.tolist()
    assert table.image.tolist() == [test.name_of(item) for item in test]
    assert table.groupby("defect_type").score.max()["good"] == table.score[table.label == 0].max()

    (tmp_path / "broken.png").write_bytes(b"none")
    photos = [test[0].path, tmp_path / "broken.png", test[1].path]
    found = model.predict(photos, strict=False)
    table = to_frame(found, photos)
    assert list(table) == ["image", "score", "reason"]
    assert table.image.tolist() == [str(photo) for photo in photos]
    assert table.score.isna().tolist() == [False, True, False]
    assert "not a readable image" in table.reason[1]
    assert found.to_frame().image.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="images are 2, fewer than were predicted"):
        found.to_frame(photos[:2])


def test_without_pandas_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "scores.csv").write_text("image,score\na.png,1.5\n")
    assert to_frame(tmp_path).score.tolist() == [1.5]
    monkeypatch.setattr("indad.data.as_frame.find_spec",
                        lambda name: None if name == "pandas" else util.find_spec(name))
    with pytest.raises(InputError, match="needs pandas, .* run: pip install pandas"):
        to_frame(tmp_path)


@pytest.mark.slow
def test_runs_and_sweeps_as_tables(small_network, drawn, tmp_path):
    options = small_network | OPTIONS
    result = run(drawn, "tiles", options=options, overlays=0, output=tmp_path / "one")
    table = to_frame(result)
    pandas.testing.assert_frame_equal(table, to_frame(str(result.folder)))
    pandas.testing.assert_frame_equal(table, pandas.read_csv(result.folder / "scores.csv"),
                                      check_dtype=False)
    assert table.label.dtype.kind == "i" and table.score.dtype.kind == "f"
    assert table.verdict.isin(["good", "defective"]).all()
    numbers = yaml.safe_load((result.folder / "results.yml").read_text())
    assert numbers["per_class_results"]["tiles"] == [
        result.record["metrics"][name] for name in ("image_auroc", "pixel_auroc")]

    plans = expand(drawn, ["tiles", "capsule"], options=options, seeds=[0], shots=[None],
                   choices={"coreset_ratio": [0.05, 0.5]}, presets=["default"])
    outcomes = run_sweep(plans, output=tmp_path / "sweep")
    table = to_frame(tmp_path / "sweep")
    assert list(table) == list(COLUMNS) and len(table) == 4
    assert set(table.coreset_ratio) == {0.05, 0.5} and set(table.category) == {"tiles", "capsule"}
    again = to_frame(outcomes).sort_values("run", ignore_index=True)
    pandas.testing.assert_frame_equal(again, table.sort_values("run", ignore_index=True))
    read = pandas.read_csv(tmp_path / "sweep" / "summary.csv").astype(object)
    for name in ("image_auroc", "aupro_30", "run", "seed"):
        assert table[name].tolist() == read[name].tolist()


@pytest.mark.slow
def test_what_predict_wrote_as_a_table(model, drawn, tmp_path):
    model.save(tmp_path / "model")
    assert main(["predict", str(tmp_path / "model"), str(drawn / "tiles" / "test"), "--output",
                 str(tmp_path / "found"), "--maps", "npz"]) == 0
    table = to_frame(tmp_path / "found")
    assert list(table) == ["image", "score", "threshold", "verdict", "rank", "regions", "overlay",
                           "reason", "map"]
    assert len(table) == 8 and table.score.is_monotonic_decreasing
    assert all((tmp_path / "found" / name).is_file() for name in table["map"])


def test_what_holds_no_results_is_refused_in_a_line(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "scores.csv").write_text("image,score\na.png,high\n")
    for results, message in ((tmp_path, "no results there"),
                             (tmp_path / "gone", "no results there"),
                             (tmp_path / "bad", "not a table of scores"),
                             (7, "results is 7; it must be what predict"),
                             ([], "results is \\[\\]"), (None, "results is None")):
        with pytest.raises(InputError, match=message) as error:
            to_frame(results)
        assert "\n" not in str(error.value)
    assert indad.to_frame is to_frame


def record_of(category, image, pixel):
    return {"metrics": {"image_auroc": image, "pixel_auroc": pixel},
            "config": {"category": category, "backbone": "resnet101_clip", "coreset_ratio": 0.1,
                       "reweight_neighbors": 3}}


def test_short_results_are_those_of_that_project(tmp_path):
    write_short(tmp_path, record_of("bolts_reduced", 0.9375, 0.98765))
    assert (tmp_path / "results.yml").read_text() == (
        "average image rocauc: 0.9375\naverage pixel rocauc: 0.98765\nmodel parameters:\n"
        "  backbone_name: resnet101_clip\n  f_coreset: 0.1\n  n_reweight: 3\n"
        "per_class_results:\n  bolts_reduced:\n  - 0.9375\n  - 0.98765\n")
    assert (tmp_path / "results.txt").read_text() == "bolts_reduced       | 93.8  | 98.8  |"
    for category in ("null", "a: b", "1.5", "Schräubchen \N{SNOWMAN}", "- x", "with\nbreak"):
        write_short(tmp_path, record_of(category, 1.0, None))
        found = yaml.safe_load((tmp_path / "results.yml").read_text(encoding="utf-8"))
        assert found["per_class_results"] == {category: [1.0, None]}
        assert "| 100.0  | n/a  |" in (tmp_path / "results.txt").read_text(encoding="utf-8")
