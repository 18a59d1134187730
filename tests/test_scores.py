"""Image scores and maps against literal versions."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from indad.engine.search import MemoryIndex
from indad.neighbors import nearest
from indad.scores import IMAGE_SCORES, anomaly_maps, ind_knn_ad, maximum, peak, reweighted, top


def case(seed=0, n=3, p=20, d=6, m=40):
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randn(m, d, generator=generator)
    features = torch.randn(n, p, d, generator=generator) * 1.5
    distances, indices = nearest(features.flatten(0, 1), bank, 1)
    return distances.view(n, p), features, indices.view(n, p), MemoryIndex(bank)


def literal_reweighted(patches, features, indices, index, b):
    """Eq. 7, one image after the other, in double precision."""
    bank, out = index.bank, []
    for image in range(len(patches)):
        worst = int(patches[image].argmax())
        q, star = features[image, worst].double(), bank[indices[image, worst]].double()
        order = (bank.double() - star).norm(dim=1).argsort()[:b]  # m* itself comes first
        exponents = [math.exp(float((q - bank[i].double()).norm())) for i in order]
        s = float((q - star).norm())
        out.append((1 - math.exp(s) / sum(exponents)) * s)
    return torch.tensor(out)


@pytest.mark.parametrize("b", [2, 3, 9])
def test_reweighted_equals_equation_7(b):
    arguments = case()
    torch.testing.assert_close(reweighted(*arguments, b, None), literal_reweighted(*arguments, b),
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("b", [2, 9])
def test_reweighting_lies_between_its_bounds(b):
    for seed in range(10):
        arguments = case(seed)
        share = reweighted(*arguments, b, None) / arguments[0].amax(1)
        assert (share >= 1 - 1 / b - 1e-6).all()
        assert (share < 1).all()


@pytest.mark.parametrize("score", [reweighted, ind_knn_ad])
def test_with_one_neighbour_the_score_is_the_maximum(score):
    arguments = case()
    assert torch.equal(score(*arguments, 1, None), maximum(*arguments, 1, None))


def test_reweighted_survives_huge_distances():
    patches, features, indices, index = case()
    out = reweighted(patches * 1000, features * 1000, indices, MemoryIndex(index.bank * 1000), 9,
                     None)
    assert torch.isfinite(out).all()
    assert (out > 0).all()


def test_ind_knn_ad_score_equals_its_formula():
    patches, features, indices, index = case()
    bank = index.bank
    for image, score in enumerate(ind_knn_ad(patches, features, indices, index, 3, None)):
        worst = int(patches[image].argmax())
        q, star = features[image, worst], bank[indices[image, worst]]
        around = (bank - star).norm(dim=1).argsort()[1:3]  # without m*
        scale = math.sqrt(features.shape[2])
        weight = 1 - torch.exp(patches[image, worst] / scale) / torch.exp(
            (q - bank[around]).norm(dim=1) / scale).sum()
        torch.testing.assert_close(score, weight * patches[image, worst])


def test_top_is_the_mean_of_the_worst_percent():
    patches, nothing = torch.arange(400.0)[None], (None, None, None, 0, None)
    assert top(patches, *nothing).item() == pytest.approx((399 + 398 + 397 + 396) / 4)
    assert top(torch.tensor([[1.0, 5.0, 2.0]]), *nothing).item() == 5  # at least one


@pytest.mark.parametrize("score", sorted(IMAGE_SCORES))
def test_scores_do_not_depend_on_the_rest_of_the_batch(score):
    patches, features, indices, index = case(n=5)
    maps = anomaly_maps(patches.view(5, 4, 5), (40, 50))
    together = IMAGE_SCORES[score](patches, features, indices, index, 5, maps)
    alone = torch.cat([IMAGE_SCORES[score](patches[i:i + 1], features[i:i + 1], indices[i:i + 1],
                                           index, 5, maps[i:i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone)
    assert together.shape == (5,)


def test_peak_lies_below_a_single_bad_patch_but_above_its_surroundings():
    noisy = torch.ones(1, 8, 8)
    noisy[0, 3, 3] = 5.0
    maps = anomaly_maps(noisy, (64, 64))
    assert peak(noisy.flatten(1), None, None, None, 0, maps).item() == float(maps.max())
    assert 1 < float(maps.max()) < 5


def test_map_equals_bilinear_and_scipy():
    """amazon: bilinear, then scipy's gaussian_filter with its default border."""
    patches = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0))
    maps = anomaly_maps(patches, (56, 72))
    for got, source in zip(maps, patches, strict=True):
        big = torch.nn.functional.interpolate(source[None, None], (56, 72), mode="bilinear")
        expected = ndimage.gaussian_filter(big[0, 0].numpy(), sigma=4)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("border, mode", [("reflect", "mirror"), ("zero", "constant")])
def test_map_borders(border, mode):
    """anomalib: nearest and 33 taps mirrored; ind_knn_ad: 21 taps over zeros."""
    taps = {"reflect": 33, "zero": 21}[border]
    patches = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(1))
    got = anomaly_maps(patches, (48, 48), upsampling="nearest", kernel_size=taps, border=border)
    kernel = np.exp(-np.arange(-(taps // 2), taps // 2 + 1) ** 2 / 32)
    expected = np.kron(patches[0].numpy(), np.ones((8, 8)))
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, kernel / kernel.sum(), axis, mode=mode)
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-5)


def test_a_hot_patch_shows_where_it_is():
    patches = torch.zeros(1, 8, 8)
    patches[0, 2, 6] = 1
    y, x = divmod(int(anomaly_maps(patches, (64, 64))[0].argmax()), 64)
    assert abs(y - 19.5) <= 1
    assert abs(x - 51.5) <= 1


def test_no_blur_and_unknown_border():
    patches = torch.rand(1, 4, 4)
    assert torch.equal(anomaly_maps(patches, (8, 8), upsampling="nearest", sigma=0)[0, ::2, ::2],
                       patches[0])
    with pytest.raises(ValueError, match="wrap"):
        anomaly_maps(patches, (8, 8), border="wrap")
