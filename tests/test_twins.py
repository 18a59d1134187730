"""Each function of engine/ says what its literal twin says; and what mutants once got away with."""

import pickle

import numpy as np
import pytest
import torch
from cases import few

from indad.calibration import cross_fit, leave_one_out
from indad.coreset import (
    greedy_coreset,
    greedy_coreset_one_at_a_time,
    random_coreset,
    select_coreset,
)
from indad.data.images import Placement, to_photo
from indad.engine import boxes, search
from indad.engine.machine import available_memory
from indad.engine.projections import mean_distances
from indad.engine.search import METHODS, MemoryIndex
from indad.neighbors import nearest, nearest_by_product
from indad.scores import BORDERS, anomaly_maps


def points(count: int, dim: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("rows", [7, 513, pytest.param(5000, marks=pytest.mark.slow)])
def test_the_search_finds_what_one_product_finds(method, k, rows):
    bank, queries = points(rows, 24), points(300, 24, seed=1)
    distances, indices = nearest(queries, bank, k, method=method)
    wanted, places = nearest_by_product(queries, bank, k)
    torch.testing.assert_close(distances, wanted, rtol=1e-5, atol=1e-5)
    assert (indices == places).float().mean() > 0.999
    assert nearest_by_product(bank, bank)[0].max() == nearest(bank, bank)[0].max() == 0


@pytest.mark.parametrize("size", [1, 40, 600])
def test_the_selection_picks_what_the_loop_picks(size):
    features = points(3000, 12)
    fast, literal = greedy_coreset(features, size), greedy_coreset_one_at_a_time(features, size)
    assert torch.equal(fast.indices, literal.indices)
    torch.testing.assert_close(fast.radii, literal.radii, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_rounding_to_bfloat16_cannot_hide_the_nearest_row(monkeypatch):
    """Rows that differ by less than bfloat16 can tell, in many blocks: only the bound saves them.

    Without it the search goes wrong here.
    """
    bank = points(4, 16).repeat_interleave(1280, 0) + 1e-2 * points(4 * 1280, 16, seed=1)
    queries = bank[::7] + 2e-3 * points(len(bank[::7]), 16, seed=3)
    wanted, _ = nearest_by_product(queries.double(), bank.double())
    found, _ = nearest(queries, bank, method="bfloat16")
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)

    coarse = boxes._coarse
    monkeypatch.setattr(boxes, "_coarse", lambda *about: (
        (made := coarse(*about))[0], torch.zeros_like(made[1])))
    monkeypatch.setattr(boxes, "STORED", 0.0)
    wrong, _ = nearest(queries, bank, method="bfloat16")
    assert (wrong.double() > 1.5 * wanted).any()


def test_the_bound_covers_how_costs_are_stored(monkeypatch):
    """Whole numbers are exact in bfloat16, so nothing is rounded but the costs themselves."""
    half = points(1500, 30).mul(30).round().clamp(-120, 120)
    bank, queries = torch.cat([half, -half]), points(200, 30, seed=1).mul(9).round()
    blocks = boxes.Boxes(bank, torch.bfloat16)
    blocks.axes, rows = torch.eye(30), blocks.rows.flatten(0, 1)
    blocks.coarse, moved = boxes._coarse(rows, blocks.axes, torch.bfloat16,
                                         blocks.half_norms.flatten())
    blocks.moved = float(moved.max())
    lower = blocks.lower_costs(queries).T
    costs = blocks.half_norms.double().flatten() - queries.double() @ rows.T.double()
    true = costs.unflatten(1, (-1, boxes.BLOCK)).amin(2)
    assert (lower <= true).all()
    monkeypatch.setattr(boxes, "STORED", 0.0)
    lower = blocks.lower_costs(queries).T
    assert (lower > true).any()


@pytest.mark.parametrize("method", few(METHODS, 1))
def test_an_index_without_some_rows_never_finds_them(method):
    bank = points(5000, 8)
    left_out = torch.zeros(5000, dtype=torch.bool)
    left_out[::3] = True
    index = MemoryIndex(bank, method=method)
    smaller = index.without(left_out)
    assert torch.equal(smaller.bank, bank[~left_out]) and torch.equal(index.bank, bank)
    distances, indices = smaller.search(bank[left_out])
    wanted, _ = nearest_by_product(bank[left_out], bank[~left_out])
    torch.testing.assert_close(distances, wanted)
    assert (distances > 0).all() and int(indices.max()) < len(smaller.bank)
    assert index.search(bank)[0].max() == 0


@pytest.mark.slow
def test_indices_without_some_rows_share_one_preparation(monkeypatch):
    """Twenty images used to cost twenty preparations, as nothing had prepared the bank before."""
    prepared, convert = [], boxes._coarse
    monkeypatch.setattr(boxes, "_coarse", lambda *about: (
        prepared.append(len(about) == 4) or convert(*about)))
    bank = points(20 * 300, 8)
    index, owners = MemoryIndex(bank, method="bfloat16"), torch.arange(20).repeat_interleave(300)

    def score(own, smaller, first):
        distances, _ = smaller.search(own)
        return distances.max()[None], distances.view(1, 10, 30)

    scores, _ = leave_one_out(bank, index, owners, score, patches=300)
    assert len(scores) == 20
    assert sum(prepared) == -(-len(bank) // search.CHUNK_ROWS)  # the bank's parts, once


@pytest.mark.slow
def test_a_bank_is_prepared_once_for_calibration_predictions_and_explanations(monkeypatch):
    from indad import PatchCore
    from indad.deploy.explanation import explain

    prepared, axes_of = [], boxes._principal_axes
    monkeypatch.setattr(search, "MANY", 0)
    monkeypatch.setattr(boxes, "_principal_axes", lambda sample: (
        prepared.append(len(sample)) or axes_of(sample)))
    photos = list(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8))
    model = PatchCore(resize=64, map_kernel_size=9, reserve=0.1).fit(photos[:3])
    assert model.fitted_.index.bank is model.memory_bank_
    for _ in range(2):
        model.predict(photos)
        explain(model, photos[4])
    assert len(prepared) == 1
    copied = pickle.loads(pickle.dumps(model.fitted_))
    assert copied.index.bank is copied.memory_bank and copied.index._boxes is None
    model.update(photos[3:])  # the old bank says how far new patches are; the new one judges
    model.predict(photos)
    assert len(prepared) <= 3 and model.fitted_.index.bank is model.memory_bank_


def test_a_fold_never_judges_with_its_own_patches():
    """All images but one are copies: the selection runs out, and would take what it must not."""
    rows = torch.zeros(10 * 4, 3)
    rows[12:16] = 7.0 + points(4, 3)  # image 3: whatever judges it, nothing is near

    def select(left_out):
        return rows[select_kept(left_out)]

    def select_kept(left_out):
        options = dict(coreset="greedy", coreset_start="random", projection=None, seed=0)
        picked = select_coreset(rows, 8, options, left_out=left_out).indices
        return picked[~left_out[picked]]

    def score(own, index, first):
        distances, _ = index.search(own)
        return distances.max()[None], distances.view(1, 2, 2)

    scores, _ = cross_fit(rows, select, score, patches=4)
    assert (scores > 5).sum() == 1


@pytest.mark.slow
def test_the_estimators_folds_never_judge_with_their_own_patches():
    from indad import PatchCore

    grey, odd = (np.full((64, 64, 3), value, np.uint8) for value in (90, 90))
    odd[20:40, 20:40] = (250, 0, 0)
    for options in ({}, dict(coreset="random"), dict(coreset_ratio=1.0)):
        model = PatchCore(resize=64, coreset_ratio=0.5, map_kernel_size=9, balance_layers=False,
                          balance_images=False, num_neighbors=1,
                          calibration="folds").set_params(**options)
        images = [grey, grey, odd, grey, grey, grey]  # copies, which fit would drop
        model.fit_features(model.extract(images, training=True))
        worst, *others = sorted(model.calibration_scores_, reverse=True)
        assert worst > 5 * others[0], options  # 0 where its own patches are in the bank


def test_where_copies_run_out_a_folds_bank_takes_no_patch_of_its_own(monkeypatch):
    from indad import PatchCore
    from indad.learned import learning

    grey, odd = (np.full((64, 64, 3), 90, np.uint8) for _ in range(2))
    odd[::3, ::5] = (250, 0, 0)
    banks = []

    def captured(rows, index, owners, score, select, judges, method, **about):
        banks.append((rows, select(torch.arange(len(rows)) // 64 == 2)))
        return np.empty(0), np.empty(0)

    monkeypatch.setattr(learning, "calibrate", captured)
    model = PatchCore(resize=64, coreset_ratio=0.99, map_kernel_size=9, balance_layers=False)
    model.fit_features(model.extract([grey, grey, odd, grey], training=True))  # fit drops copies
    (rows, bank), = banks
    assert len(bank) and nearest(rows[128:192], bank)[0].min() > 0


class Elsewhere:
    """A table on another device than its mask."""

    device, shape = torch.device("meta"), (50, 3)

    def __len__(self):
        return 50


@pytest.mark.parametrize("options", [dict(coreset="random"), dict(coreset="greedy")])
def test_indices_lie_where_the_features_lie(options):
    """On a GPU a mask of the rows could not be indexed by what was drawn on the CPU."""
    left_out = torch.arange(50) < 10
    found = select_coreset(Elsewhere(), 40, options | dict(seed=0), left_out=left_out)
    assert found.indices.device == Elsewhere.device and len(found.indices) == 40


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel_size", [1, 9, 33, 63])
@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
def test_maps_have_their_size_and_the_values_of_a_plain_blur(border, kernel_size, size):
    patches = points(1, 64).view(1, 8, 8).abs()
    maps = anomaly_maps(patches, size, sigma=5.0, kernel_size=kernel_size, border=border)
    assert maps.shape == (1, *size)
    large = torch.nn.functional.interpolate(patches[:, None], size, mode="bilinear")[0, 0]
    width = kernel_size // 2
    mode = {"symmetric": "symmetric", "reflect": "reflect", "zero": "constant"}[border]
    padded = np.pad(large.numpy(), width, mode=mode)
    offsets = np.arange(kernel_size) - width
    kernel = np.exp(-offsets ** 2 / 50.0)
    kernel /= kernel.sum()
    blurred = np.apply_along_axis(np.convolve, 0, padded, kernel, "valid")
    blurred = np.apply_along_axis(np.convolve, 1, blurred, kernel, "valid")
    np.testing.assert_allclose(maps[0], blurred, rtol=1e-4, atol=1e-5)


def test_a_blur_larger_than_twice_the_map_is_refused():
    with pytest.raises(ValueError, match="kernel_size is 81, more than twice the map of 32 x 32"):
        anomaly_maps(torch.ones(1, 8, 8), (32, 32), kernel_size=81)


def test_maps_are_averaged_where_a_photo_is_smaller():
    """Without antialiasing every other pixel of the chequers would be lost."""
    chequers = np.indices((64, 64)).sum(0).astype(np.float32) % 2
    placement = Placement((16, 16), (64, 64), 0, 0, (64, 64))
    small = to_photo(chequers, placement)
    np.testing.assert_allclose(small, 0.5, atol=0.05)
    stripe = np.zeros((64, 64), np.float32)
    stripe[:, 33] = 1.0
    np.testing.assert_allclose(to_photo(stripe, placement).sum(1), 0.25, rtol=0.05)


@pytest.mark.parametrize("names", [("memory.max", "memory.current"), (
    "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")])
def test_a_containers_limit_counts(tmp_path, names):
    (tmp_path / "memory").mkdir()
    for name, value in zip(names, ("1000", "400"), strict=True):
        (tmp_path / name).write_text(value + "\n")
    assert available_memory(tmp_path) == 600
    (tmp_path / names[1]).write_text("1400")
    assert available_memory(tmp_path) == 0
    (tmp_path / names[0]).write_text("max")
    assert available_memory(tmp_path) == pytest.approx(available_memory(), rel=0.2)


def test_mean_distances_are_to_ten_rows_drawn_by_seed():
    features = points(100, 5)
    for seed in (0, 1, 7):
        rows = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:10]
        wanted = torch.linalg.vector_norm(features[:, None] - features[rows], dim=2).mean(1)
        torch.testing.assert_close(mean_distances(features, seed), wanted, rtol=1e-4, atol=0)
    assert not torch.allclose(mean_distances(features, 0), mean_distances(features, 1))
    options = dict(coreset="greedy", coreset_start="mean", projection=None, seed=7)
    begun = greedy_coreset(features, 20, distances=mean_distances(features, 7))
    assert torch.equal(select_coreset(features, 20, options).radii, begun.radii)
    assert random_coreset(100, 3, seed=0).tolist() != random_coreset(100, 3, seed=1).tolist()
