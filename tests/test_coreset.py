"""The fast selections, lazy and in blocks, against the literal loop."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import few

from indad.coreset import (
    CoresetSelection,
    greedy_coreset,
    greedy_coreset_one_at_a_time,
    random_coreset,
)
from indad.engine import lazy
from indad.engine.blocks import farthest_first_in_blocks
from indad.engine.machine import CPU
from indad.engine.selection import CoresetInterrupted, begin, largest


def coreset_in_blocks(features, size, *, start=None, seed=0, distances=None, **options):
    """What `greedy_coreset` does on a GPU, here."""
    distances, first = begin(features, size, start, seed, distances)
    return CoresetSelection(*farthest_first_in_blocks(
        features, size, first=first, distances=distances, device=CPU, **options))


@pytest.fixture(params=[greedy_coreset, coreset_in_blocks], ids=["lazy", "in blocks"])
def select(request):
    return request.param


def points(count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(7, dim, generator=generator) * 3
    noise = torch.randn(count, dim, generator=generator)
    return centres[torch.randint(7, (count,), generator=generator)] + noise


def assert_same_selection(fast, literal):
    """The same picks and radii; the order too, except where two picks tie within rounding."""
    assert set(fast.indices.tolist()) == set(literal.indices.tolist())
    torch.testing.assert_close(fast.radii, literal.radii, rtol=1e-5, atol=1e-3)
    heights = torch.cat([torch.tensor([torch.inf]), literal.radii[:-1]])
    place = {row: i for i, row in enumerate(literal.indices.tolist())}
    for i, row in enumerate(fast.indices.tolist()):
        if place[row] != i:
            assert float(heights[place[row]]) == pytest.approx(float(heights[i]), rel=1e-5)


@pytest.mark.parametrize("seed", few(range(20), set(range(20)) - {1, 4, 7, 13, 15}))
def test_each_makes_the_picks_of_the_loop(select, seed):
    """Twenty random sets: 50 to 6,000 points, 2 to 64 dimensions, one pick to all."""
    draw = np.random.default_rng(seed)
    count, dim = int(draw.integers(50, 6000)), int(draw.integers(2, 64))
    size = (1, count)[seed] if seed < 2 else int(draw.integers(2, max(3, count // 6)))
    features = points(count, dim, seed)
    fast = select(features, size, seed=seed, block=int(draw.integers(1, 600)))
    assert_same_selection(fast, greedy_coreset_one_at_a_time(features, size, seed=seed))


def real_features(dataset, images):
    """Patches of the first training images, 784 each, 152 wide."""
    from indad.backbones.loading import load_backbone
    from indad.data.images import read_image
    from indad.features import as_rows, concatenate

    extractor, transform = load_backbone(resize=256, crop=224)
    with torch.inference_mode():
        pixels = [transform(read_image(item.path)) for item in list(dataset)[:images]]
        return as_rows(concatenate(extractor(torch.stack(pixels)))).clone()


@pytest.mark.slow
def test_hazelnut_features_give_the_same_coreset(select, hazelnut):
    from indad.data.datasets import load_dataset

    features = real_features(load_dataset(hazelnut, "hazelnut_reduced")[0], 10)
    literal = greedy_coreset_one_at_a_time(features, 784)
    assert_same_selection(greedy_coreset(features, 784), literal)


@pytest.mark.slow
def test_tile_features_give_the_same_coreset(select, mtd):
    from indad.data.datasets import load_dataset

    features = real_features(load_dataset(mtd)[0], 10)
    literal = greedy_coreset_one_at_a_time(features, 784)
    assert_same_selection(greedy_coreset(features, 784), literal)


def test_points_without_any_structure_give_the_same_coreset(select):
    """In 48 independent dimensions no cell is near: laziness must cost speed only."""
    features = torch.randn(3000, 48, generator=torch.Generator().manual_seed(0))
    literal = greedy_coreset_one_at_a_time(features, 600)
    assert_same_selection(select(features, 600, block=64), literal)


def test_points_far_from_the_origin_give_the_same_coreset(select):
    """There |x|^2 - 2xc + |c|^2 keeps no digit of the distance."""
    features = points(2000, 24, seed=14) + 1000
    literal = greedy_coreset_one_at_a_time(features, 300)
    assert_same_selection(select(features, 300, block=64), literal)


def test_half_precision_features_are_selected_as_their_float32_values(select):
    half = points(2000, 24, seed=9).half()
    assert_same_selection(select(half, 300), greedy_coreset_one_at_a_time(half.float(), 300))


def test_a_memory_mapped_file_gives_the_selection_of_memory(select, tmp_path):
    features = points(3000, 24, seed=10).half()
    mapped = np.memmap(tmp_path / "features", np.float16, "w+", shape=(3000, 24))
    mapped[:] = features.numpy()
    in_memory, on_disk = (select(f, 300) for f in (features, torch.from_numpy(mapped)))
    assert torch.equal(in_memory.indices, on_disk.indices)
    assert torch.equal(in_memory.radii, on_disk.radii)


@pytest.mark.slow
def test_no_more_than_a_working_set_is_read_at_a_time(monkeypatch):
    """What bounds the memory when the features themselves lie in a file."""
    read, sizes = lazy._Points.read, []

    def recorded(self, rows):
        sizes.append(len(read(self, rows)))
        return read(self, rows)

    features = points(20000, 16, seed=13)
    whole = greedy_coreset(features, 1500)
    monkeypatch.setattr(lazy._Points, "read", recorded)
    monkeypatch.setattr(lazy, "WORKING_BYTES", 4 * 16 * 3000)
    assert_same_selection(greedy_coreset(features, 1500), whole)
    assert max(sizes) == 3000


@pytest.mark.parametrize("order", [lambda ranks: ranks, lambda ranks: ranks.flip(0)])
def test_the_largest_bounds_in_any_order_that_topk_may_give(monkeypatch, order):
    """On a CPU the least of them happens to come last, on a GPU anywhere."""
    def topk(bounds, count, **how):
        values, places = original(bounds, count, **how)
        return SimpleNamespace(values=order(values), indices=order(places))

    original = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", topk)
    places, tau = largest(torch.tensor([3.0, 9.0, 1.0, 7.0, 5.0]), 2)
    assert sorted(places.tolist()) == [1, 3] and tau == 5


def test_ctrl_c_leaves_the_picks_made_so_far(select):
    features = points(2000, 8, seed=11)

    def interrupt(done, total):
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(CoresetInterrupted) as stopped:
        select(features, 600, block=32, progress=interrupt)
    assert isinstance(stopped.value, KeyboardInterrupt)
    partial, whole = stopped.value, select(features, 600, block=32)
    count = len(partial.indices)
    assert 99 <= count < 600
    assert torch.equal(partial.indices, whole.indices[:count])
    assert torch.equal(partial.radii, whole.radii[:count])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite(select, value):
    features = points(100, 3, seed=12)
    features[17, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        select(features, 5)


def test_radius_is_the_distance_of_the_worst_covered_point(select):
    features = points(500, 6, seed=1)
    selection = select(features, 40, block=16)
    for size in (1, 7, 40):
        distances = torch.cdist(features, features[selection.indices[:size]]).amin(1)
        assert float(selection.radii[size - 1]) == pytest.approx(float(distances.max()), rel=1e-4)


def test_a_smaller_coreset_is_a_prefix(select):
    features = points(500, 6, seed=2)
    large, small = select(features, 200), select(features, 60)
    assert large.first(60).indices.tolist() == small.indices.tolist()
    torch.testing.assert_close(large.first(59).radii, small.radii[:59])


def test_all_points_are_a_permutation_even_with_copies(select):
    features = points(60, 4, seed=3).repeat(3, 1)  # every point three times
    for one in (select, greedy_coreset_one_at_a_time):
        selection = one(features, 180)
        assert sorted(selection.indices.tolist()) == list(range(180))
        assert selection.radii[-1] == 0


def test_start_and_known_distances(select):
    features = points(200, 4, seed=4)
    assert select(features, 5, start=17).indices[0] == 17
    known = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 5
    literal = greedy_coreset_one_at_a_time(features, 30, distances=known)
    fast = select(features, 30, distances=known, block=8)
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


def test_progress_ends_at_the_size(select):
    calls = []
    select(points(300, 4, seed=8), 120, block=32,
           progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (120, 120)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("seed", few(range(6), 1))
def test_picks_that_are_brought_up_to_date_in_many_parts(seed, monkeypatch):
    """As thousands of picks are: where all but fresh candidates have fallen, nothing is left to
    compare with the older parts of the picks."""
    monkeypatch.setattr(lazy, "CHUNK_ROWS", 4)
    features = torch.randn(400, 4, generator=torch.Generator().manual_seed(seed))
    picked = greedy_coreset(features, 200, seed=seed, block=2)
    expected = greedy_coreset_one_at_a_time(features, 200, seed=seed)
    assert_same_selection(picked, expected)
