"""sPRO of MVTec LOCO AD by hand, literally, and from a data set on disk."""

import json
import shutil

import numpy as np
import pytest
from cases import few
from predicted import predicted, save, write

from indad.errors import InputError
from indad.evaluation.intervals import draws
from indad.evaluation.measures import applicable, measure
from indad.evaluation.spro import Saturation, auspro, read_saturations
from indad.evaluation.taking import Task, of_spro
from indad.metrics import aupro, image_metrics


def test_enough_of_a_defect_is_all_of_it_by_hand():
    """Ten good pixels; a defect of 4, of which 2 are enough, and one of 2, which needs both."""
    good = np.arange(10.0)
    defects = [(np.array([9.5, 8.5, 0.5, 0.5]), 2), (np.array([9.5, 6.5]), 2)]
    # Mean sPRO: 1/2 at no false positive (9.5), 3/4 from a rate of 0.1 on (8.5), 1 from 0.3 (6.5).
    assert auspro(defects, [good], 0.1) == pytest.approx(0.5, abs=1e-12)
    assert auspro(defects, [good], 0.3) == pytest.approx((0.05 + 0.15) / 0.3, abs=1e-12)
    assert auspro(defects, [good], 0.5) == pytest.approx((0.05 + 0.15 + 0.2) / 0.5, abs=1e-12)
    # If all pixels count, the first defect reaches 1 only below all good pixels but one.
    assert auspro([(defects[0][0], 4)], [good], 0.9) == pytest.approx(
        (0.1 * 0.25 + 0.8 * 0.5) / 0.9, abs=1e-12)


def test_saturation_areas():
    """What `defects_config.json` says, as the authors' script reads it."""
    assert Saturation(6300, False).area(10_000) == 6300
    assert Saturation(6300, False).area(500) == 500  # a defect smaller than that: all of it
    assert Saturation(1.0, True).area(500) == 500
    assert Saturation(0.35, True).area(999) == 349  # rounded down
    assert Saturation(0.35, True).area(2) == 1  # but one pixel at least


@pytest.mark.parametrize("digits", few([1, None], 1))
def test_it_is_the_literal_mean_over_defects(digits):
    rng = np.random.default_rng(4)
    good = rng.normal(size=3000)
    defects = [(rng.normal(size=size) + 1, enough) for size, enough in ((50, 20), (9, 9), (200, 1))]
    if digits is not None:
        good, defects = np.round(good, digits), [(np.round(p, digits), s) for p, s in defects]
    assert auspro(defects, np.array_split(good, 7), 0.05) == pytest.approx(
        literal_auspro(defects, good), abs=1e-12)


def literal_auspro(defects, good, limit=0.05):
    """Threshold by threshold, as the authors' script counts; a line between two thresholds."""
    levels = np.unique(np.concatenate([good, *(pixels for pixels, _ in defects)]))[::-1]
    rate = [0.0, *((good >= level).mean() for level in levels)]
    height = [0.0, *(np.mean([min((pixels >= level).sum() / enough, 1)
                              for pixels, enough in defects]) for level in levels)]
    after = next(i for i, x in enumerate(rate) if x >= limit)
    share = (limit - rate[after - 1]) / (rate[after] - rate[after - 1])
    places = np.append(rate[:after], limit)
    heights = np.append(height[:after],
                        height[after - 1] + share * (height[after] - height[after - 1]))
    return np.sum(np.diff(places) * (heights[1:] + heights[:-1]) / 2) / limit


def test_without_saturation_it_is_aupro():
    rng = np.random.default_rng(6)
    masks = np.zeros((2, 20, 20), bool)
    masks[0, 2:7, 3:9] = masks[0, 12:14, 10:18] = True
    maps = rng.normal(size=masks.shape) + masks
    parts = [maps[0, 2:7, 3:9].ravel(), maps[0, 12:14, 10:18].ravel()]
    assert auspro([(part, len(part)) for part in parts], [maps[~masks]], 0.3) == pytest.approx(
        aupro(list(maps), list(masks), 0.3), abs=1e-12)


KINDS = ["good", "good", "logical_anomalies", "logical_anomalies", "structural_anomalies"]
CONFIG = [{"defect_name": "missing_pin", "pixel_value": 255, "saturation_threshold": 12,
           "relative_saturation": False},
          {"defect_name": "broken", "pixel_value": 251, "saturation_threshold": 1.0,
           "relative_saturation": True}]


@pytest.fixture
def loco(tmp_path):
    """Five images of 16 x 16: two masks in one of them, which overlap and hang apart."""
    rng, home = np.random.default_rng(8), tmp_path / "pushpins"
    masks = np.zeros((5, 16, 16), bool)
    write(home, masks, KINDS)
    (home / "defects_config.json").write_text(json.dumps(CONFIG))
    files = {(2, "000"): (255, np.s_[2:6, 2:8]), (2, "001"): (251, np.s_[5:7, 3:5]),
             (3, "000"): (255, np.s_[0:3, 0:3]), (4, "000"): (251, np.s_[10:14, 4:6])}
    for (image, name), (value, place) in files.items():
        mask = np.zeros((16, 16), np.uint8)
        mask[place] = value
        if (image, name) == (2, "000"):
            mask[12:14, 12:14] = value  # one defect, though it hangs apart
        save(home / "ground_truth" / KINDS[image] / f"{image:03}" / f"{name}.png", mask)
        masks[image] |= mask > 0
    maps = (rng.normal(size=masks.shape) + masks).astype(np.float32)
    return home, maps, masks


def test_a_data_set_on_disk(loco):
    home, maps, masks = loco
    prediction, test = predicted(home, maps, KINDS)
    assert applicable(test, []) == ["spro"]
    found = measure(prediction, test, ["spro"])["metrics"]
    first = np.zeros((16, 16), bool)
    first[2:6, 2:8] = first[12:14, 12:14] = True
    logical = [(maps[2][first], 12), (maps[2, 5:7, 3:5], 4), (maps[3, :3, :3], 9)]
    good = [maps[place][~masks[place]] for place in (0, 1, 2, 3)]
    assert found["auspro_5_logical"] == pytest.approx(auspro(logical, good), abs=1e-12)
    structural = auspro([(maps[4, 10:14, 4:6], 8)],
                        [maps[place][~masks[place]] for place in (0, 1, 4)])
    assert found["auspro_5_structural"] == pytest.approx(structural, abs=1e-12)
    assert found["auspro_5"] == pytest.approx((auspro(logical, good) + structural) / 2, abs=1e-12)
    scores = maps.max(axis=(1, 2))
    for name, those in (("logical", [0, 1, 2, 3]), ("structural", [0, 1, 4])):
        assert found[f"image_auroc_{name}"] == image_metrics(
            scores[those], np.array(those) > 1)["image_auroc"]


def test_its_replicates_are_those_of_the_images_drawn(loco):
    home, maps, masks = loco
    prediction, test = predicted(home, maps, KINDS)
    task = Task(prediction, test)
    found, once = of_spro(task), np.ones((1, 5), np.int64)
    same = found.resampled(once)
    assert set(same) == set(found.metrics)
    for name, value in found.metrics.items():
        assert same[name] == pytest.approx(value, abs=1e-12), name
    twice = found.resampled(2 * once)
    assert all(twice[name] == pytest.approx(value, abs=1e-12) for name, value in same.items())
    assert len(found.resampled(draws(test.labels, 7))["auspro_5"]) == 7


def test_mistakes_are_told(loco, tmp_path):
    home, maps, _ = loco
    config = home / "defects_config.json"
    for wrong in ('{"a": 1}', '[{"pixel_value": 255}]', "[3]", json.dumps(
            [CONFIG[1] | {"saturation_threshold": 1.5}]), json.dumps(
            [CONFIG[0] | {"pixel_value": 256}])):
        config.write_text(wrong)
        with pytest.raises(InputError, match="kinds? of defect"):
            read_saturations(config)
    config.write_text(json.dumps(CONFIG[1:]))
    prediction, test = predicted(home, maps, KINDS)
    with pytest.raises(InputError, match="000.png: marks 255; a defect has one grey value of 251"):
        measure(prediction, test, ["spro"])
    shutil.rmtree(home / "ground_truth")
    prediction, test = predicted(home, maps, KINDS)
    assert applicable(test, ["pimo"]) == ["pimo"]
