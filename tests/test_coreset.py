"""Greedy selection in blocks against the literal loop."""

import pytest
import torch

from indad.coreset import greedy_coreset, greedy_coreset_one_at_a_time, random_coreset


def points(count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(7, dim, generator=generator) * 3
    noise = torch.randn(count, dim, generator=generator)
    return centres[torch.randint(7, (count,), generator=generator)] + noise


@pytest.mark.parametrize("count, dim, size, block", [
    (50, 2, 50, 8), (400, 3, 120, 16), (900, 16, 300, 64), (900, 16, 300, 2048), (64, 5, 1, 4),
    (300, 40, 299, 1), (1200, 8, 400, 100)])
def test_block_selection_makes_the_picks_of_the_loop(count, dim, size, block):
    features = points(count, dim, seed=count + dim)
    literal = greedy_coreset_one_at_a_time(features, size, seed=3)
    fast = greedy_coreset(features, size, seed=3, block=block)
    assert fast.indices.tolist() == literal.indices.tolist()
    torch.testing.assert_close(fast.radii, literal.radii, rtol=1e-5, atol=1e-3)


def test_real_features_give_the_same_coreset_or_one_as_good(hazelnut):
    """On 15,680 real patches near ties may swap; the covering radius must not notice."""
    from indad.backbones import load_backbone
    from indad.data import load_dataset
    from indad.features import as_rows, concatenate
    from indad.images import read_image

    train, _ = load_dataset(hazelnut, "hazelnut_reduced")
    extractor, transform = load_backbone(resize=256, crop=224)
    with torch.inference_mode():
        images = torch.stack([transform(read_image(item.path)) for item in list(train)[:5]])
        features = as_rows(concatenate(extractor(images)))
    literal = greedy_coreset_one_at_a_time(features, 392)
    fast = greedy_coreset(features, 392)
    assert len(set(fast.indices.tolist()) & set(literal.indices.tolist())) >= 390
    torch.testing.assert_close(fast.radii, literal.radii, rtol=1e-5, atol=1e-3)


def test_radius_is_the_distance_of_the_worst_covered_point():
    features = points(500, 6, seed=1)
    selection = greedy_coreset(features, 40, block=16)
    for size in (1, 7, 40):
        distances = torch.cdist(features, features[selection.indices[:size]]).amin(1)
        assert float(selection.radii[size - 1]) == pytest.approx(float(distances.max()), rel=1e-4)


def test_a_smaller_coreset_is_a_prefix():
    features = points(500, 6, seed=2)
    large, small = greedy_coreset(features, 200), greedy_coreset(features, 60)
    assert large.first(60).indices.tolist() == small.indices.tolist()
    torch.testing.assert_close(large.first(59).radii, small.radii[:59])


def test_all_points_are_a_permutation_even_with_copies():
    features = points(60, 4, seed=3).repeat(3, 1)  # every point three times
    for select in (greedy_coreset, greedy_coreset_one_at_a_time):
        selection = select(features, 180)
        assert sorted(selection.indices.tolist()) == list(range(180))
        assert selection.radii[-1] == 0


def test_start_and_known_distances():
    features = points(200, 4, seed=4)
    assert greedy_coreset(features, 5, start=17).indices[0] == 17
    known = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 5
    literal = greedy_coreset_one_at_a_time(features, 30, distances=known)
    fast = greedy_coreset(features, 30, distances=known, block=8)
    assert fast.indices[0] == known.argmax()
    assert fast.indices.tolist() == literal.indices.tolist()
    torch.testing.assert_close(fast.radii, literal.radii, rtol=1e-5, atol=1e-3)
    assert known.max() <= 5  # the caller's tensor is left alone


def test_seed_decides_the_start_and_nothing_else_does():
    features = points(300, 4, seed=5)
    first = greedy_coreset(features, 20, seed=1)
    assert torch.equal(first.indices, greedy_coreset(features, 20, seed=1).indices)
    assert not torch.equal(first.indices, greedy_coreset(features, 20, seed=2).indices)


def test_greedy_covers_better_than_random():
    features = points(2000, 8, seed=6)
    greedy = greedy_coreset(features, 100).radii[-1]
    random = torch.cdist(features, features[random_coreset(2000, 100)]).amin(1).max()
    assert greedy < 0.9 * random


def test_random_coreset_is_nested_and_without_repeats():
    large = random_coreset(100, 50, seed=7).tolist()
    assert large[:20] == random_coreset(100, 20, seed=7).tolist()
    assert len(set(large)) == 50


@pytest.mark.parametrize("size, start", [(0, None), (11, None), (3, 10), (3, -1)])
def test_arguments_out_of_range(size, start):
    with pytest.raises(ValueError, match="10 features"):
        greedy_coreset(torch.zeros(10, 2), size, start=start)


def test_progress_ends_at_the_size():
    calls = []
    greedy_coreset(points(300, 4, seed=8), 120, block=32,
                   progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (120, 120)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
