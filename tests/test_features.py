"""The feature recipes against literal versions of what they claim to equal."""

import pytest
import torch
import torch.nn.functional as F

from indad.errors import InputError
from indad.features import (
    adaptive,
    as_rows,
    balanced,
    concatenate,
    layer_scales,
    patch_features,
    single,
    tokens,
    unfolded,
    unpadded,
    weighted,
)


def maps(channels, grids=((9, 7), (5, 4)), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, *grid, generator=generator)
            for c, grid in zip(channels, grids, strict=False)]


def literal_adaptive(feature_maps, dim=1024):
    """amazon's PatchMaker, MeanMapper and Aggregator, step by step: unfold, resize, pool, pool."""
    grid = feature_maps[0].shape[-2:]
    layers = []
    for m in feature_maps:
        b, c, h, w = m.shape
        patches = F.unfold(m, 3, padding=1).view(b, c, 3, 3, h, w)
        flat = patches.reshape(b, c * 9, h, w)
        flat = F.interpolate(flat, grid, mode="bilinear", align_corners=False)
        rows = flat.permute(0, 2, 3, 1).reshape(-1, 1, c * 9)
        layers.append(F.adaptive_avg_pool1d(rows, dim)[:, 0])
    stacked = torch.stack(layers, 1).flatten(1)[:, None]
    return F.adaptive_avg_pool1d(stacked, dim)[:, 0]


@pytest.mark.parametrize("channels", [(512, 1024), (40, 112), (64, 128), (1024,), (16, 24, 40)])
def test_adaptive_equals_the_literal_unfold_version(channels):
    grids = ((6, 6), (3, 3), (2, 2))
    feature_maps = maps(channels, grids, batch=2)
    torch.testing.assert_close(as_rows(adaptive(feature_maps)), literal_adaptive(feature_maps),
                               rtol=1e-5, atol=1e-5)


def test_adaptive_closed_form_of_the_resnets():
    """512 channels: a kernel with a double centre; 1024: plain averages of channel pairs."""
    shallow, deep = maps((512, 1024), ((6, 6), (6, 6)))
    kernel = torch.tensor([[1.0, 1, 1], [1, 2, 1], [1, 1, 1]]) / 10
    first = F.conv2d(shallow, kernel.expand(512, 1, 3, 3), padding=1, groups=512)
    second = F.avg_pool2d(deep, 3, 1, 1).unflatten(1, (512, 2)).mean(2)
    torch.testing.assert_close(adaptive([shallow, deep]), torch.cat([first, second], 1),
                               rtol=1e-5, atol=1e-5)


def test_concatenate_equals_loops():
    shallow, deep = maps((3, 2), ((4, 5), (4, 5)))
    out = concatenate([shallow, deep])
    padded = F.pad(torch.cat([shallow, deep], 1), [1] * 4)
    for y in range(4):
        for x in range(5):
            torch.testing.assert_close(out[:, :, y, x], padded[:, :, y:y + 3, x:x + 3].mean((2, 3)))


def test_weighted_equals_loops_and_sums_to_one():
    (one,) = maps((3,), ((4, 5),))
    weights = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    padded = F.pad(one, [1] * 4)
    out = weighted([one])
    for y in range(4):
        for x in range(5):
            torch.testing.assert_close(out[:, :, y, x],
                                       (padded[:, :, y:y + 3, x:x + 3] * weights).sum((2, 3)))
    assert weighted([torch.ones(1, 2, 5, 5)])[0, :, 2, 2].tolist() == [1, 1]


def test_unpadded_equals_ind_knn_ad():
    feature_maps = maps((3, 4), ((8, 8), (4, 4)))
    average, resize = torch.nn.AvgPool2d(3, stride=1), torch.nn.AdaptiveAvgPool2d((8, 8))
    expected = torch.cat([resize(average(m)) for m in feature_maps], 1)
    torch.testing.assert_close(unpadded(feature_maps), expected)


def test_maps_too_small_to_leave_their_border_out():
    with pytest.raises(InputError, match="a map is only 2 x 4 places; choose a larger resize"):
        unpadded([torch.ones(1, 3, 4, 8), torch.ones(1, 3, 2, 4)])


def test_unfolded_keeps_the_neighbourhood_as_it_lies():
    one, two = maps((3, 2), ((4, 5), (4, 5)))
    out = unfolded([one, two])
    padded = F.pad(one, [1] * 4)
    for y in range(4):
        for x in range(5):
            torch.testing.assert_close(out[:, :27, y, x],
                                       padded[:, :, y:y + 3, x:x + 3].flatten(1))
    averaged = out.view(2, 5, 9, 4, 5).mean(2)  # so its mean is what `concatenate` keeps
    torch.testing.assert_close(averaged, concatenate([one, two]))


@pytest.mark.parametrize("recipe", [concatenate, weighted, adaptive, single])
def test_deeper_maps_land_on_their_own_place(recipe):
    """A spot in cell (4, 2) of the deep map lies around (8.5, 4.5) in a grid twice as fine."""
    deep = torch.zeros(1, 2, 7, 7)
    deep[..., 4, 2] = 1
    energy = recipe([torch.zeros(1, 2, 14, 14), deep]).square().sum(1)[0]
    places = torch.arange(14.0)
    assert float(energy.sum(1) @ places / energy.sum()) == pytest.approx(8.5, abs=0.3)
    assert float(energy.sum(0) @ places / energy.sum()) == pytest.approx(4.5, abs=0.3)


def test_rows_are_image_by_image_and_row_by_row():
    features = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    rows = as_rows(features)
    assert rows[0].tolist() == features[0, :, 0, 0].tolist()
    assert rows[1].tolist() == features[0, :, 0, 1].tolist()
    assert rows[4].tolist() == features[1, :, 0, 0].tolist()


def test_layer_scales_give_every_layer_an_equal_share_of_the_variance():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 10, generator=generator) * torch.tensor([5.0] * 3 + [0.2] * 7)
    scaled = features * layer_scales(features, [3, 7])
    shares = [part.sum() for part in scaled.var(0).split([3, 7])]
    torch.testing.assert_close(shares[0], shares[1])
    torch.testing.assert_close(shares[0] + shares[1], torch.tensor(10.0))
    unfolded_scales = layer_scales(features.repeat_interleave(9, 1), [3, 7])
    assert torch.allclose(unfolded_scales, layer_scales(features, [3, 7]).repeat_interleave(9))


def test_balanced_images_do_not_depend_on_contrast_or_their_neighbours():
    maps = [torch.rand(3, 4, 6, 5), torch.rand(3, 7, 3, 2) * 9]
    found = balanced(maps)
    for before, after in zip(maps, found, strict=True):
        variance = after.var((2, 3), correction=0).sum(1)
        torch.testing.assert_close(variance, torch.ones(3))
        literal = [one / one.flatten(1).std(1, correction=0).norm() for one in before]
        torch.testing.assert_close(after, torch.stack(literal))
    brighter = balanced([m * torch.tensor([0.2, 1, 5]).view(3, 1, 1, 1) for m in maps])
    alone = balanced([m[1:2] for m in maps])
    for one, other, by_itself in zip(found, brighter, alone, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one[1:2], by_itself)


def test_an_image_that_shows_nothing_is_balanced_to_finite_numbers():
    assert balanced([torch.full((1, 2, 3, 3), 0.5)])[0].isfinite().all()


def test_patch_features_balance_images_if_asked():
    maps = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    torch.testing.assert_close(patch_features(maps, how="single", balance_images=True),
                               single(balanced(maps)))
    torch.testing.assert_close(patch_features(maps, how="weighted", balance_images=False),
                               weighted(maps))


def test_layer_scales_survive_a_dead_layer():
    assert torch.isfinite(layer_scales(torch.zeros(10, 4), [2, 2])).all()


def test_tokens_compare_by_cosine():
    """AnomalyDINO: half the squared distance of two tokens is one minus their cosine."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 16, 5, 6, generator=generator)
    rows = as_rows(tokens([maps]))
    plain = as_rows(maps)
    cosine = torch.nn.functional.cosine_similarity(plain[0], plain[7], dim=0)
    assert float((rows[0] - rows[7]).square().sum() / 2) == pytest.approx(float(1 - cosine))
    two = tokens([maps, torch.randn(2, 8, 3, 3, generator=generator)])
    assert two.shape == (2, 24, 5, 6)
    assert torch.allclose(two[:, 16:].norm(dim=1), torch.ones(2, 5, 6))
