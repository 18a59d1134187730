"""Measures of predictions: of defects one by one, at a threshold, and their intervals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cases import few
from PIL import Image
from predicted import predicted, save, write
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score
from test_metrics import pictures

from indad import evaluate
from indad.cli.commands import main
from indad.errors import InputError
from indad.evaluation import intervals
from indad.evaluation.defects import by_size, measure_defects
from indad.evaluation.delong import delong_covariance
from indad.evaluation.intervals import draws
from indad.evaluation.measures import MEASURES, measure
from indad.evaluation.scenes import Scenes
from indad.evaluation.segmentation import threshold_of
from indad.evaluation.taking import Task, of_ranks
from indad.experiments.run import existing, run
from indad.experiments.valid import check_record
from indad.metrics import image_metrics, pixel_metrics

KINDS = ["bent", "bent", "cut", "good", "good", "good"]


@pytest.fixture(params=few([None, 1], 1))
def given(request, tmp_path):
    """Six images of 24 x 24, three of them with defects; without and with ties."""
    maps, masks = pictures(3, digits=request.param)
    write(tmp_path / "parts", masks, KINDS)
    prediction, test = predicted(tmp_path / "parts", maps, KINDS)
    return prediction, test, maps, masks


def test_the_defects_shares_come_to_the_metrics_of_all(given):
    prediction, test, maps, masks = given
    whole, found = evaluate(prediction, test), measure_defects(Scenes(prediction, test), 1.0)
    areas = [defect.area for defect in found]
    assert sum(areas) == masks.sum()
    assert np.mean([one.pro_30 for one in found]) == pytest.approx(whole["aupro_30"], abs=1e-12)
    assert np.mean([one.pro_5 for one in found]) == pytest.approx(whole["aupro_5"], abs=1e-12)
    assert np.average([one.auroc for one in found], weights=areas) == pytest.approx(
        whole["pixel_auroc"], abs=1e-12)
    assert np.average([one.recall for one in found], weights=areas) == pytest.approx(
        (maps[masks] > 1).mean(), abs=1e-12)


def test_each_defect_and_each_size_by_definition(given):
    prediction, test, maps, masks = given
    scenes = Scenes(prediction, test)
    found = measure_defects(scenes)
    for defect in found:
        scene = scenes[defect.image]
        left, top, right, bottom = defect.box
        inside = np.zeros_like(scene.mask)
        inside[top:bottom, left:right] = True
        pixels = scene.heat[scene.mask & inside]
        assert len(pixels) == defect.area  # no other region reaches into these boxes
        assert defect.auroc == pytest.approx(roc_auc_score(
            np.r_[np.ones(len(pixels)), np.zeros((~masks).sum())],
            np.r_[pixels, maps[~masks]]), abs=1e-12)
        assert defect.recall is None
    table = by_size(found)
    assert sum(row["defects"] for row in table.values()) == len(found)
    assert {defect.size for defect in found} == {name for name, row in table.items()
                                                 if row["aupro_30"] is not None}
    small = [one for one in found if one.area <= 24 * 24 * 0.01]
    assert table["medium"]["aupro_5"] == pytest.approx(np.mean([one.pro_5 for one in small]))


def test_segmentation_equals_scikit_learn(given):
    prediction, test, maps, masks = given
    threshold = threshold_of(map(np.asarray, maps[3:]), 1.5)
    assert threshold == pytest.approx(maps[3:].mean(dtype=float) + 1.5 * maps[3:].std(dtype=float))
    found = measure(prediction, test, ["segmentation"], threshold=threshold)["metrics"]
    truth, flagged = masks.ravel(), maps.ravel() > threshold
    assert found["seg_f1"] == pytest.approx(f1_score(truth, flagged), abs=1e-12)
    assert found["seg_precision"] == pytest.approx(precision_score(truth, flagged), abs=1e-12)
    assert found["seg_recall"] == pytest.approx(recall_score(truth, flagged), abs=1e-12)
    assert found["class_f1"] == pytest.approx(f1_score(
        masks.any(axis=(1, 2)), (maps > threshold).any(axis=(1, 2))), abs=1e-12)


def test_a_replicate_is_the_metric_of_the_images_drawn(given):
    """Each image as often as it was drawn, taken the long way."""
    prediction, test, maps, masks = given
    times = draws(test.labels, 5, seed=1)
    assert (times[:, test.labels == 0].sum(axis=1) == 3).all()
    assert (times[:, test.labels == 1].sum(axis=1) == 3).all()
    found = of_ranks(Task(prediction, test)).resampled(times)
    scenes = Scenes(prediction, test)
    for number, row in enumerate(times):
        drawn = [place for place, count in enumerate(row) for _ in range(count)]
        wanted = image_metrics(prediction.scores[drawn], test.labels[drawn]) | pixel_metrics(
            [scenes[place].heat for place in drawn], [scenes[place].mask for place in drawn])
        for name, value in wanted.items():
            assert found[name][number] == pytest.approx(value, abs=1e-9), name


def test_thinned_levels_come_close(given, monkeypatch):
    prediction, test, _, _ = given
    exact = measure(prediction, test, ["intervals"], replicates=50)["intervals"]["ends"]
    monkeypatch.setattr(intervals, "MOST_LEVELS", 60)
    thinned = measure(prediction, test, ["intervals"], replicates=50)["intervals"]["ends"]
    for name, ends in exact.items():
        assert thinned[name] == pytest.approx(ends, abs=0.02), name


def test_intervals_hold_the_metric_and_have_the_size_that_they_should(tmp_path):
    """Scores whose AUROC is known to vary by about its binomial deviation."""
    rng = np.random.default_rng(0)
    maps = np.r_[rng.normal(size=(40, 1, 2)) + 1.5, rng.normal(size=(40, 1, 2))].astype(np.float32)
    masks = np.zeros(maps.shape, bool)
    masks[:40, 0, 0] = True
    kinds = ["cut"] * 40 + ["good"] * 40
    write(tmp_path / "parts", masks, kinds)
    prediction, test = predicted(tmp_path / "parts", maps, kinds)
    record = measure(prediction, test, ["intervals", "pimo", "segmentation", "defects"],
                     threshold=1.0, replicates=300)
    whole, ends = evaluate(prediction, test) | record["metrics"], record["intervals"]["ends"]
    assert set(ends) == set(whole)
    for name, (low, high) in ends.items():
        assert 0 <= low <= whole[name] <= high <= 1, name
    deviation = delong_covariance(prediction.scores[None], test.labels)[1][0, 0] ** 0.5
    low, high = ends["image_auroc"]
    assert (high - low) / (2 * 1.96 * deviation) == pytest.approx(1, abs=0.25)


def test_what_is_not_known_is_none(tmp_path):
    maps, masks = pictures(1)
    write(tmp_path / "parts", masks[2:4], ["bent", "good"])
    (tmp_path / "parts" / "ground_truth" / "bent" / "000_mask.png").unlink()
    prediction, test = predicted(tmp_path / "parts", maps[2:4], ["bent", "good"])
    record = measure(prediction, test, [name for name in MEASURES if name != "spro"], threshold=9.0)
    assert record["metrics"] == {"aupimo": None, "seg_f1": None, "seg_precision": None,
                                 "seg_recall": None, "class_f1": 0.0}
    assert record["defects"]["each"] == []
    assert set(record["intervals"]["ends"].values()) == {None}  # of one good image


def test_mistakes_are_told(given):
    prediction, test, _, _ = given
    with pytest.raises(InputError, match="segmentation needs a threshold"):
        measure(prediction, test, ["segmentation"])
    with pytest.raises(InputError, match="defects_config.json"):
        measure(prediction, test, ["spro"])
    with pytest.raises(InputError, match="no good images"):
        threshold_of([])
    with pytest.raises(InputError, match="finite"):
        threshold_of([np.array([np.nan])])


@pytest.mark.slow
def test_a_run_from_the_command_line(drawn, tmp_path, capsys):
    """In metrics.json, in a line, and on the page; and kept results have what is asked for."""
    words = ["run", "--dataset", str(drawn), "--category", "tiles", "--resize", "64", "--overlays",
             "0", "--output", str(tmp_path)]
    assert main([*words, "--metrics", "pimo", "segmentation", "defects", "intervals"]) == 0
    assert "tiles: image AUROC" in (out := capsys.readouterr().out) and "aupimo" in out
    (file,) = tmp_path.glob("*/*/*/metrics.json")
    record = json.loads(file.read_text())
    assert record["measured"] == ["pimo", "segmentation", "defects", "intervals"]
    assert {"aupimo", "seg_f1", "class_f1"} < set(record["metrics"])
    assert record["pixel_threshold"] == {"value": record["decision"]["map_threshold"],
                                         "from": "the map's threshold of the verdicts"}
    assert set(record["intervals"]["ends"]) == set(record["metrics"])
    assert len(record["defects"]["each"]) == sum(
        row["defects"] for row in record["defects"]["by_size"].values())
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "By size of the defect" in page and "seg_precision" in page
    data = record["data_fingerprint"]
    assert existing(file.parent, data, ["pimo"]) == record
    assert existing(file.parent, data, ["pimo", "spro"]) is None  # to be made anew
    assert main([*words, "--metrics", "spro"]) == 2
    assert "spro is for MVTec LOCO AD" in capsys.readouterr().err
    assert main([*words, "--metrics", "pymo"]) == 2
    assert "pimo" in capsys.readouterr().err


@pytest.mark.slow
def test_validation_images_set_the_threshold(drawn, tmp_path):
    """As MVTec AD 2 proposes; and LOCO's saturations are found without asking."""
    home = shutil.copytree(drawn / "tiles", tmp_path / "set" / "tiles")
    shutil.copytree(home / "train", home / "validation")
    for file in home.glob("ground_truth/*/*_mask.png"):
        save(file, (np.asarray(Image.open(file)) > 0).astype(np.uint8) * 250)
    (home / "defects_config.json").write_text(json.dumps([{
        "defect_name": "any", "pixel_value": 250, "saturation_threshold": 0.5,
        "relative_saturation": True}]))
    result = run(str(tmp_path / "set"), options={"resize": 64}, overlays=0, frame="original",
                 measures=["segmentation"], output=tmp_path / "out")
    record, model = result.record, result.model
    assert record["measured"] == ["segmentation", "spro"]
    maps = np.stack(model.predict(home / "validation" / "good").maps)
    assert record["pixel_threshold"]["from"] == ("mean + 3 standard deviations of 8 validation "
                                                 "images")
    assert record["pixel_threshold"]["value"] == pytest.approx(
        maps.mean(dtype=float) + 3 * maps.std(dtype=float))
    assert {"auspro_5", "auspro_5_crack", "image_auroc_mean"} < set(record["metrics"])


@pytest.mark.parametrize("more, said", [
    ({"intervals": {"level": 0.95, "ends": {"aupro_5": [0.1, "<b>"]}}}, "aupro_5 is '<b>'"),
    ({"intervals": {"level": 0.95, "ends": {"aupro_5": [0.1]}}}, "must be two numbers"),
    ({"intervals": {"level": 0.95}}, "no ends"), ({"intervals": [1]}, "no intervals"),
    ({"pixel_threshold": {"value": None, "from": "x"}}, "value is 'None'"),
    ({"defects": {"by_size": {"small": {"defects": 1, "recall": [2]}}}}, "recall is"),
    ({"defects": {"by_size": {"small": 3}}}, "no small"), ({"metrics": {"mine": 2}}, "mine is '2'"),
])
def test_a_record_whose_tables_are_wrong_is_no_record(more, said):
    record = json.loads(next((Path(__file__).parent / "fixtures" / "old_run").rglob(
        "metrics.json")).read_text())
    assert check_record(record) is record
    with pytest.raises(InputError, match=said):
        check_record(record | more | {"metrics": record["metrics"] | more.get("metrics", {})})
