"""AUPIMO against anomalib's, against its definition taken literally, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from cases import few
from fixtures.make_aupimo import CASES, draw

from indad.errors import InputError
from indad.evaluation.pimo import pimo

ANOMALIB = json.loads((Path(__file__).parent / "fixtures" / "aupimo.json").read_text())["aupimo"]


def ours(maps, masks, bounds):
    bad = masks.any(axis=(1, 2))
    return pimo(maps[~bad], [m[k] for m, k in zip(maps[bad], masks[bad], strict=True)],
                bounds=bounds)


@pytest.mark.parametrize("name", few(list(CASES), 2))
def test_it_equals_anomalib_where_its_grid_is_exact(name):
    found = ours(*draw(name))
    within = 1e-9 if CASES[name][3] else 1e-5  # as near as its grid comes to the bounds
    np.testing.assert_allclose(found.areas, ANOMALIB[name], rtol=0, atol=within)
    assert 0 < found.aupimo < 1


def literal(good, defects, bounds, steps=4001):
    """Rate by rate: the recall just above the first good score that would go beyond the rate."""
    low, high = bounds
    levels = np.unique(np.concatenate([one.ravel() for one in good]))[::-1]
    rates = np.array([np.mean([np.mean(one >= level) for one in good]) for level in levels])
    places = low * (high / low) ** ((np.arange(steps) + 0.5) / steps)
    beyond = levels[np.searchsorted(rates, places, side="right")]
    return [np.mean([np.mean(defect > level) for level in beyond]) for defect in defects]


@pytest.mark.parametrize("low, high", few([(0.01, 0.1), (1e-4, 0.02), (0.3, 0.9)], 1))
def test_it_is_its_definition_and_images_count_alike_whatever_their_size(low, high):
    rng = np.random.default_rng(5)
    good = [rng.normal(size=(8, 9)), rng.normal(size=(30, 20)) + 0.3, rng.normal(size=50)]
    defects = [rng.normal(size=40) + 1, rng.normal(size=7) + 2]
    np.testing.assert_allclose(pimo(good, defects, bounds=(low, high)).areas,
                               literal(good, defects, (low, high)), atol=5e-4)


def test_by_hand():
    """Ten good pixels, rates in tenths; from 0.1 to 0.4 the defect is found to a half, then all."""
    good = [np.arange(10.0)]
    half_then_all = np.array([8.5, 9.5, 6.5, 6.5])  # above 8: 2 of 4, above 6 all
    found = pimo(good, [half_then_all], bounds=(0.1, 0.4))
    # to the rate 0.2 (thresholds 8 and more) half of it; at 0.3 (threshold 7) still; at 0.4 all,
    # from 0.3 on, as the threshold may be anywhere above 6
    assert found.areas[0] == pytest.approx(
        (0.5 * np.log(3) + 1.0 * np.log(4 / 3)) / np.log(4), abs=1e-12)
    assert found.thresholds.tolist() == [9, 8, 7, 6]
    assert found.rates == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found.recalls[0].tolist() == [0.25, 0.5, 0.5, 1.0]


def test_without_a_false_positive_allowed_only_what_is_above_all_counts():
    found = pimo([np.zeros(10)], [np.array([0.0, 0.0, 1.0])])
    assert found.aupimo == pytest.approx(1 / 3)


def test_mistakes_are_told():
    good, bad = [np.arange(10.0)], [np.arange(3.0)]
    for arguments, bounds, said in (
            (([], bad), (0.1, 0.2), "no good images"), ((good, []), (0.1, 0.2), "no defective"),
            ((good, bad), (0.2, 0.1), "must be the smaller"), ((good, bad), (0, 0.1), "bounds is"),
            ((good, [np.array([np.nan])]), (0.1, 0.2), "finite"),
            (([np.array([np.inf])], bad), (0.1, 0.2), "finite")):
        with pytest.raises(InputError, match=said):
            pimo(*arguments, bounds=bounds)


@pytest.mark.slow
def test_it_holds_few_of_the_good_pixels():
    """100 good maps of 256 KB, made when asked for: what is held are their highest scores."""
    import tracemalloc

    class Lazy:
        def __len__(self):
            return 100

        def __getitem__(self, index):
            if index >= len(self):
                raise IndexError
            return np.random.default_rng(index).random(1 << 16, dtype=np.float32)

    tracemalloc.start()
    found = pimo(Lazy(), [np.array([0.99, 0.999975])])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Recall is a half where thresholds from 0.999975 to 0.9999 are allowed: from 2.5e-5 on.
    assert found.aupimo == pytest.approx(0.5 * np.log(4) / np.log(10), abs=0.02)
    assert len(found.thresholds) < 1000
    assert peak < 8e6  # a map in double precision and its order; all of them would be 52 MB
