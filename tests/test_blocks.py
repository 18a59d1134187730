"""Selection in blocks, also where features lie elsewhere: not on the GPU, in a file, in two."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import few
from pretend_gpu import GPU, PretendTensor, pretend_gpu
from test_coreset import assert_same_selection, coreset_in_blocks, points

from indad.coreset import greedy_coreset, greedy_coreset_one_at_a_time, select_coreset
from indad.engine import blocks, selection, tables
from indad.engine.machine import CPU
from indad.engine.projections import PROJECTIONS, mean_distances
from indad.engine.selection import CoresetInterrupted
from indad.engine.tables import Joined, stream

COUNT, DIM, SET, PART = 600, 12, 100, 170


@pytest.fixture(autouse=True)
def many_sets_and_parts(monkeypatch):
    monkeypatch.setattr(blocks, "WORKING_BYTES", 4 * DIM * SET)
    monkeypatch.setattr(blocks, "ROWS", PART)


@pytest.fixture
def gpu():
    with pretend_gpu():
        yield torch.device("cuda")


@pytest.fixture(params=few(["memory", "half precision", "file", "two tables"], ["two tables"]))
def features(request, tmp_path):
    """`(600, 12)` in several places."""
    rows = points(COUNT, DIM, seed=0)
    if request.param == "half precision":
        return rows.half()
    if request.param == "file":
        mapped = np.memmap(tmp_path / "features", np.float16, "w+", shape=(COUNT, DIM))
        mapped[:] = rows.numpy()
        return torch.from_numpy(mapped)
    return rows if request.param == "memory" else Joined(rows[:400].half(), rows[400:])


@pytest.mark.parametrize("block", few([1, 20, 60, 5000], [20, 60, 5000]))
@pytest.mark.parametrize("size", [1, 2, 200, COUNT])
def test_sets_and_parts_and_blocks_change_no_pick(size, block):
    """A working set is never smaller than two blocks, so that the last of these is all points."""
    rows = points(COUNT, DIM, seed=0)
    literal = greedy_coreset_one_at_a_time(rows, size)
    for table in (rows, Joined(rows[:400], rows[400:])):
        assert_same_selection(coreset_in_blocks(table, size, block=block), literal)


@pytest.mark.parametrize("block", [7, 5000])
def test_copies_of_picks_are_picked_last_and_once(block):
    rows = points(60, DIM, seed=3).repeat(10, 1)
    for table in (rows, Joined(rows[:400], rows[400:])):
        found = coreset_in_blocks(table, COUNT, block=block)
        assert sorted(found.indices.tolist()) == list(range(COUNT))
        assert sorted((found.indices[:60] % 60).tolist()) == list(range(60))
        assert found.radii[58] > 0.5 and found.radii[59:].max() < 0.01


def test_features_elsewhere_come_to_the_gpu_in_bounded_parts(gpu, features, monkeypatch):
    literal = greedy_coreset_one_at_a_time(features[torch.arange(COUNT)].float(), 200)
    read, taken, passes = blocks._Points._read, [], []

    def recorded_read(self, rows):
        taken.append(len(rows))
        return read(self, rows)

    def recorded_stream(table, device, rows):
        passes.append(table is features)
        for part, here in stream(table, device, rows):
            assert here.device == GPU and len(here) <= PART
            yield part, here

    monkeypatch.setattr(blocks._Points, "_read", recorded_read)
    monkeypatch.setattr(blocks, "stream", recorded_stream)
    found = greedy_coreset(features, 200, device=gpu, block=20)
    assert_same_selection(found, literal)
    assert found.indices.device == features.device
    assert max(taken) == SET
    assert 3 < sum(passes) < 0.5 * len(passes)  # rounds there are more of


def test_features_on_the_gpu_stay_where_they_are(gpu, monkeypatch):
    rows = points(COUNT, DIM, seed=0)
    literal = greedy_coreset_one_at_a_time(rows, 200)
    monkeypatch.setattr(blocks._Points, "take", None)
    for device in (None, gpu, GPU):
        found = greedy_coreset(rows.to(GPU), 200, device=device, block=20)
        assert found.indices.device == GPU
        assert_same_selection(type(found)(found.indices.cpu(), found.radii), literal)


@pytest.mark.parametrize("options", [
    dict(coreset_start="random", projection=None), dict(coreset_start="first", projection="linear"),
    dict(coreset_start="mean", projection="sparse"),
    dict(coreset_start="mean", projection="sparse-if-smaller")])
@pytest.mark.parametrize("lie_there", [True, False])
def test_a_gpu_selects_what_the_cpu_selects(gpu, options, lie_there):
    rows, left_out = points(COUNT, DIM, seed=1), torch.arange(COUNT) % 5 == 2
    options = dict(coreset="greedy", seed=3) | options
    literal = select_coreset(rows, 200, options, left_out=left_out)
    there = rows.to(GPU) if lie_there else rows
    found = select_coreset(there, 200, options, left_out=left_out, device=GPU)
    assert found.indices.device == there.device
    assert not left_out[found.indices.cpu()].any()
    assert_same_selection(type(found)(found.indices.cpu(), found.radii), literal)


def test_a_gpu_is_expected_to_take_all_products_and_picks(gpu, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(selection, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    pair = 1 / 2048 ** 2  # a second for each product
    seconds = selection.expected_seconds(10 ** 6, 10 ** 5, 3000, 8, device=gpu)
    assert seconds == pytest.approx(pair * 10 ** 5 * (10 ** 6 + 3000) + 10 ** 5 * 3e-6)
    assert selection.expected_seconds(10 ** 6, 10 ** 5, 0, 8, device=CPU) < seconds


@pytest.mark.parametrize("name", [*PROJECTIONS, "mean"])
def test_a_gpu_projects_what_lies_elsewhere(gpu, name):
    project = mean_distances if name == "mean" else PROJECTIONS[name]
    rows = points(5000, 700, seed=2).half()
    here, there = project(rows, 0), project(rows, 0, device=gpu)
    assert there.device == rows.device and there.dtype == here.dtype
    torch.testing.assert_close(there, here)


def test_known_distances_of_features_elsewhere(gpu, features):
    known = 5 * torch.rand(COUNT, generator=torch.Generator().manual_seed(0))
    rows = features[torch.arange(COUNT)].float()
    literal = greedy_coreset_one_at_a_time(rows, 200, distances=known)
    assert_same_selection(greedy_coreset(features, 200, distances=known, device=gpu, block=20),
                          literal)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_ctrl_c_in_any_round_leaves_the_first_picks(features, rounds):
    told = []

    def interrupt(done, total):
        told.append(done)
        if len(told) == rounds:
            raise KeyboardInterrupt

    whole = coreset_in_blocks(features, 200, block=20)
    with pytest.raises(KeyboardInterrupt) as stopped:
        coreset_in_blocks(features, 200, block=20, progress=interrupt)
    if rounds == 1:  # the start alone: no coreset yet
        assert not isinstance(stopped.value, CoresetInterrupted)
        return
    assert torch.equal(stopped.value.indices, whole.indices[:told[-1] - 1])
    assert torch.equal(stopped.value.radii, whole.radii[:told[-1] - 1])


@pytest.mark.parametrize("size", [1, 200, COUNT])
def test_progress_rises_to_the_size(features, size):
    told = []
    coreset_in_blocks(features, size, block=20, progress=lambda *one: told.append(one))
    assert told[-1] == (size, size) and told == sorted(told)
    assert len(told) > 5 or size == 1


@pytest.mark.parametrize("row", [0, 311, -1])
def test_one_number_that_is_not_finite_is_found_anywhere(features, monkeypatch, row):
    monkeypatch.setattr(blocks, "SAMPLE", 10)
    (features.tables[0] if isinstance(features, Joined) else features)[row, 3] = -torch.inf
    with pytest.raises(ValueError, match="features are not finite"):
        coreset_in_blocks(features, 5)


def test_a_stream_gives_all_rows_in_order(gpu, features):
    parts = list(stream(features, GPU, 200))
    assert [part for part, _ in parts] == [slice(i, i + 200) for i in range(0, COUNT, 200)]
    assert torch.equal(torch.cat([rows.cpu() for _, rows in parts]), features[:])
    (_, back), = stream(features[:].to(GPU), CPU, COUNT)
    assert back.device == CPU and torch.equal(back, features[:])


def test_a_stream_reads_the_next_part_before_it_waits(gpu, monkeypatch):
    """One part ahead: not none, or the device would wait; not all, or memory would be full."""
    done, pinned = [], tables.pinned
    monkeypatch.setattr(tables, "pinned", lambda *one: done.append("read") or pinned(*one))
    monkeypatch.setattr(PretendTensor, "__float__", lambda one: done.append("waited") or 0.0)
    for _ in stream(torch.zeros(800, 2), GPU, 200):
        done.append("asked")
    assert done == ["read", *["asked", "read", "waited"] * 3, "asked", "waited"]
