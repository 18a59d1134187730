"""Nearest neighbours against brute force in double precision."""

import pytest
import torch
from cases import few

from indad.engine import boxes, search
from indad.engine.boxes import BLOCK, Boxes
from indad.engine.search import METHODS, MemoryIndex
from indad.neighbors import nearest, nearest_by_product


def brute_force(queries, bank, k):
    distances = (queries.double()[:, None] - bank.double()).norm(dim=2)
    return distances.topk(k, dim=1, largest=False)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("offset", [0.0, 100.0])  # far from the origin the product cancels
def test_equals_brute_force(method, k, offset):
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(700, 24, generator=generator) + offset
    queries = torch.randn(90, 24, generator=generator) + offset
    distances, indices = nearest(queries, bank, k, method=method)
    expected, places = brute_force(queries, bank, k)
    assert indices.tolist() == places.tolist()
    torch.testing.assert_close(distances.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_point_of_the_bank_is_at_distance_exactly_zero(method):
    bank = torch.randn(300, 64, generator=torch.Generator().manual_seed(1)) * 30 + 50
    distances, indices = nearest(bank, bank, 1, method=method)
    assert torch.equal(distances, torch.zeros(300, 1))
    assert indices[:, 0].tolist() == list(range(300))


def features(count, dim, *, seed):
    """As of patches: most of the spread along a few axes, in clumps, some of them copies."""
    generator = torch.Generator().manual_seed(seed)
    clumps = torch.randn(40, dim, generator=generator) * torch.logspace(1, -1, dim)
    rows = clumps[torch.randint(40, (count,), generator=generator)]
    rows = rows + 0.1 * torch.randn(count, dim, generator=generator)
    return rows[torch.randint(count, (count,), generator=generator)] + 3


@pytest.mark.parametrize("method", ["auto", "float32", "bfloat16", "faiss"])
@pytest.mark.parametrize("rows", [1, 2, 513, 1025, 2600])
@pytest.mark.parametrize("k", few([1, 3, 9, 512, 513, 2600], [1, 9, 513]))
def test_k_neighbours_are_those_of_one_product(method, rows, k):
    bank, k = features(rows, 20, seed=rows), min(k, rows)
    queries = torch.cat([features(60, 20, seed=0), bank[:20], bank.mean(0)[None]])
    distances, indices = nearest(queries, bank, k, method=method)
    wanted, _ = nearest_by_product(queries.double(), bank.double(), k)
    torch.testing.assert_close(distances.double(), wanted, rtol=1e-4, atol=2e-3)
    assert torch.equal(distances, distances.sort(1).values)
    torch.testing.assert_close(distances, (queries[:, None] - bank[indices]).norm(dim=2))
    assert all(len(set(row)) == k for row in indices.tolist())  # of copies each counts once


def test_blocks_are_visited_in_groups_without_a_trace(monkeypatch):
    generator, groups = torch.Generator().manual_seed(10), boxes._groups
    bank = torch.randn(2600, 20, generator=generator)  # without copies, of which any may be found
    queries = torch.randn(60, 20, generator=generator)
    whole, seen = nearest(queries, bank, 9, method="float32"), []
    monkeypatch.setattr(boxes, "QUERIES", 1)  # so that a group has no more pairs than queries
    monkeypatch.setattr(boxes, "_groups", lambda *about: seen.append(
        made := list(groups(*about))) or made)
    pieces = nearest(queries, bank, 9, method="float32")
    assert max(map(len, seen)) > 1
    assert torch.equal(whole[0], pieces[0]) and torch.equal(whole[1], pieces[1])


@pytest.mark.parametrize("method", ["float32", "bfloat16"])
@pytest.mark.parametrize("bank", [torch.ones(2600, 4), torch.eye(4).repeat(650, 1)])
def test_where_all_rows_tie_k_others_are_found(method, bank):
    distances, indices = nearest(bank[:9] + 2, bank, 7, method=method)
    assert all(len(set(row)) == 7 for row in indices.tolist())
    torch.testing.assert_close(distances, torch.full((9, 7), 4.0))
    smaller = MemoryIndex(bank, method=method).without(torch.arange(2600) >= 5)
    assert sorted(smaller.search(bank[:1] + 2, 5)[1][0].tolist()) == [*range(5)]


@pytest.mark.parametrize("k", few([1, 3, 9], [3]))
@pytest.mark.parametrize("method", ["float32", "bfloat16"])
def test_most_of_the_bank_is_never_looked_at(monkeypatch, method, k):
    bank, queries, seen = features(20_000, 40, seed=1), features(200, 40, seed=2), []
    visit = Boxes._visit
    monkeypatch.setattr(Boxes, "_visit", lambda self, points, wanted, *best: (
        seen.append(wanted.float().mean()), visit(self, points, wanted, *best)))
    MemoryIndex(bank, method=method).search(queries, k)
    assert sum(seen) < 0.25


@pytest.mark.parametrize("k", [1, 3])
def test_on_a_cpu_faiss_is_asked_only_by_name(monkeypatch, k):
    monkeypatch.setattr(search, "_search_faiss", None)
    bank = features(3000, 8, seed=1)
    assert (nearest(bank[:50], bank, k)[0][:, 0] == 0).all()


@pytest.mark.parametrize("k", [1, 3, 600])
def test_a_gpu_finds_the_same_neighbours(k):
    from pretend_gpu import pretend_gpu

    bank, queries = features(3000, 8, seed=1), features(50, 8, seed=2)
    wanted, _ = nearest(queries, bank, k, method="float32")
    with pretend_gpu():
        found, indices = nearest(queries.to("cuda"), bank.to("cuda"), k)
        assert found.device.type == indices.device.type == "cuda"
        found = found.cpu()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["queries", "bank"])
def test_what_is_not_finite_is_refused(method, wrong, where):
    given = {"queries": torch.zeros(4, 2), "bank": torch.zeros(3000, 2)}
    given[where][1, 1] = wrong
    with pytest.raises(ValueError, match="not finite"):
        nearest(**given, k=3, method=method)


@pytest.mark.parametrize("method", ["float32", "bfloat16"])
def test_numbers_too_large_for_squares_stop_nothing(method):
    bank = torch.randn(3000, 4, generator=torch.Generator().manual_seed(1)) * 1e30
    distances, indices = nearest(bank[:5], bank, 3, method=method)
    assert distances.shape == indices.shape == (5, 3)


def test_chunks_change_nothing(monkeypatch):
    bank = torch.randn(200, 8, generator=torch.Generator().manual_seed(2))
    queries = torch.randn(50, 8, generator=torch.Generator().manual_seed(3))
    whole = nearest(queries, bank, 3, method="matmul")
    monkeypatch.setattr(search, "CHUNK_BYTES", 4 * 200 * 7)  # seven queries at a time
    pieces = nearest(queries, bank, 3, method="matmul")
    assert torch.equal(whole[1], pieces[1])
    torch.testing.assert_close(whole[0], pieces[0])


def test_a_larger_bank_never_raises_a_distance():
    generator = torch.Generator().manual_seed(4)
    bank = torch.randn(400, 16, generator=generator)
    queries = torch.randn(64, 16, generator=generator)
    before, _ = nearest(queries, bank[:150])
    after, _ = nearest(queries, bank)
    assert (after <= before + 1e-6).all()
    assert (after < before).any()


def test_whole_bank_as_neighbours():
    bank = torch.randn(6, 3, generator=torch.Generator().manual_seed(5))
    _, indices = nearest(bank[:2], bank, 6)
    assert [sorted(row) for row in indices.tolist()] == [list(range(6))] * 2


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match="3 rows"):
        nearest(torch.zeros(1, 2), torch.zeros(3, 2), k)


def test_unknown_method():
    with pytest.raises(ValueError, match="annoy"):
        nearest(torch.zeros(1, 2), torch.zeros(3, 2), method="annoy")


@pytest.mark.parametrize("method", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("spread", [2, 0])  # a few directions carry nearly everything; or none does
def test_no_row_is_nearer_than_the_bound_of_its_block(method, scale, spread):
    generator = torch.Generator().manual_seed(6)
    axes = torch.logspace(-spread, spread, 40)
    bank = (torch.randn(1700, 40, generator=generator) * axes + 3) * scale
    queries = (torch.randn(300, 40, generator=generator) * axes + 3) * scale
    queries = torch.cat([queries, bank[:50], bank.mean(0)[None]])
    boxes = Boxes(bank, getattr(torch, method))
    assert boxes.order[:1700].sort().values.tolist() == [*range(1700)]
    points, rows = (queries - boxes.origin).double(), (bank - boxes.origin).double()
    lower = boxes.lower_costs(points.float()).T
    costs = (rows.square().sum(1) / 2 - points @ rows.T)[:, boxes.order[:1700]]
    true = torch.stack([block.amin(1) for block in costs.split(BLOCK, dim=1)], 1)
    assert (lower <= true).all()
    assert (true - lower).mean() < 0.1 * costs.std()  # nor so low that it says nothing


def test_queries_are_split_without_a_trace(monkeypatch):
    bank = torch.randn(1200, 8, generator=torch.Generator().manual_seed(7))
    queries = torch.randn(900, 8, generator=torch.Generator().manual_seed(8))
    whole = MemoryIndex(bank, method="float32").search(queries)
    monkeypatch.setattr(search, "QUERIES", 64)
    pieces = MemoryIndex(bank, method="float32").search(queries)
    assert torch.equal(whole[0], pieces[0]) and torch.equal(whole[1], pieces[1])


@pytest.mark.parametrize("method", METHODS)
def test_an_index_without_some_rows(method):
    bank = torch.randn(1500, 12, generator=torch.Generator().manual_seed(9))
    queries = bank[:100]
    index = MemoryIndex(bank, method=method)
    index.search(queries)  # whatever it prepares is there
    left_out = torch.arange(1500) < 100
    distances, indices = index.without(left_out).search(queries)
    expected, places = brute_force(queries, bank[100:], 1)
    assert indices.tolist() == places.tolist()
    torch.testing.assert_close(distances.double(), expected, rtol=1e-4, atol=1e-4)
    assert (index.search(queries)[0] == 0).all()  # the whole one is as it was


def test_no_queries():
    distances, indices = nearest(torch.zeros(0, 2), torch.zeros(3, 2))
    assert distances.shape == indices.shape == (0, 1)
