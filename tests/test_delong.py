"""DeLong's test by ranks against its structural components, pair by pair."""

import numpy as np
import pytest
from cases import few
from scipy import stats
from sklearn.metrics import roc_auc_score

from indad.errors import InputError
from indad.evaluation.delong import delong_covariance, delong_test


def drawn(seed, digits=None, models=3):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(23), np.zeros(31)].astype(int)
    scores = rng.normal(size=(models, 54)) + rng.normal(size=54) + 0.8 * labels
    return (scores if digits is None else np.round(scores, digits)), labels


def brute(scores, labels):
    """DeLong's structural components, one pair after the other."""
    bad, good = scores[:, labels == 1], scores[:, labels == 0]
    wins = ((bad[:, :, None] > good[:, None]) + 0.5 * (bad[:, :, None] == good[:, None]))
    v10, v01, areas = wins.mean(axis=2), wins.mean(axis=1), wins.mean(axis=(1, 2))
    s10 = (v10 - areas[:, None]) @ (v10 - areas[:, None]).T / (bad.shape[1] - 1)
    s01 = (v01 - areas[:, None]) @ (v01 - areas[:, None]).T / (good.shape[1] - 1)
    return areas, s10 / bad.shape[1] + s01 / good.shape[1]


@pytest.mark.parametrize("digits", few([1, None, 0], 1))
def test_areas_and_covariance_are_the_definition(digits):
    scores, labels = drawn(1, digits)
    areas, covariance = delong_covariance(scores, labels)
    wanted, matrix = brute(scores, labels)
    np.testing.assert_allclose(areas, wanted, atol=1e-12)
    np.testing.assert_allclose(covariance, matrix, atol=1e-12)
    assert areas[0] == pytest.approx(roc_auc_score(labels, scores[0]), abs=1e-12)


def test_the_p_value_is_the_normal_one():
    scores, labels = drawn(2, models=2)
    areas, matrix = brute(scores, labels)
    found = delong_test(*scores, labels)
    deviation = np.sqrt(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(areas[1] - areas[0]) / deviation),
                                    abs=1e-12)
    assert (found.low, found.high) == pytest.approx(
        stats.norm.interval(0.95, areas[1] - areas[0], deviation), abs=1e-12)
    assert delong_test(*scores[::-1], labels).difference == -found.difference


def test_a_model_does_not_differ_from_itself():
    scores, labels = drawn(3)
    found = delong_test(scores[0], 10 + 5 * scores[0], labels)  # same ranks
    assert (found.difference, found.p) == (0, 1)


@pytest.mark.slow
def test_it_rejects_as_often_as_it_says():
    """Two models that are equally good: p below 0.1 in a tenth of the cases."""
    rejected = []
    for seed in range(400):
        scores, labels = drawn(seed, models=2)
        rejected.append(delong_test(*scores, labels).p < 0.1)
    assert 0.06 < np.mean(rejected) < 0.14


def test_mistakes_are_told():
    scores, labels = drawn(4, models=2)
    with pytest.raises(InputError, match="54 scores of one model and 53"):
        delong_test(scores[0], scores[1][:-1], labels)
    with pytest.raises(InputError, match="54 scores, but 53 labels"):
        delong_covariance(scores, labels[:-1])
    with pytest.raises(InputError, match="1 defective and 31 good"):
        delong_covariance(scores[:, 22:], labels[22:])
    with pytest.raises(InputError, match="finite"):
        delong_test(scores[0] * np.nan, scores[1], labels)
