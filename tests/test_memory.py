"""Features that do not fit into memory, and what fitting says before it starts."""

import shutil
import sys
import tempfile
from collections import namedtuple

import numpy as np
import pytest
import torch

from indad import PatchCore, load_dataset
from indad.data.files import in_units
from indad.engine.machine import available_memory
from indad.engine.memory import feature_store, memory_budget
from indad.engine.selection import CoresetInterrupted
from indad.errors import InputError


@pytest.mark.parametrize("text, size", [
    ("300MB", 300e6), ("1.5 GB", 1.5e9), ("2g", 2e9), ("64 MiB", 64e6), ("1000", 1000),
    (12345, 12345)])
def test_budgets_as_people_write_them(text, size):
    assert memory_budget(text) == int(size)


@pytest.mark.parametrize("text", ["", "lots", "-3GB", "0", "1e9", "3 PB", "GB"])
def test_budgets_that_mean_nothing(text):
    with pytest.raises(InputError, match="memory_budget"):
        memory_budget(text)


def test_without_a_budget_half_of_what_is_free_is_used():
    free = available_memory()
    assert 1e8 < free < 1e14
    assert memory_budget(None) == pytest.approx(free / 2, rel=0.2)


def test_the_store_is_memory_or_a_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert feature_store(100, 10, 4000).dtype == torch.float32
    store = feature_store(100, 10, 3999)
    assert store.dtype == torch.float16
    store[3] = torch.arange(10.0)
    assert store[3].tolist() == list(range(10))
    if sys.platform != "win32":
        assert list(tmp_path.iterdir()) == []  # nothing to clean up, even after a crash


def test_a_full_disk_is_said_before_anything_is_written(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 9, 1))
    with pytest.raises(InputError, match="TMPDIR"):
        feature_store(1000, 10, 100)


@pytest.mark.parametrize("size, text", [(12, "12 B"), (1234567, "1.23 MB"), (5e10, "50 GB")])
def test_sizes_for_people(size, text):
    assert in_units(size) == text


@pytest.fixture(scope="module")
def capsules(drawn):
    return load_dataset(drawn, "capsule")


@pytest.mark.slow
def test_fitting_from_a_file_scores_as_from_memory(capsules):
    train, test = capsules
    options = dict(coreset_ratio=0.02, seed=1)
    in_memory = PatchCore(**options).fit(train)
    on_disk = PatchCore(**options, memory_budget="1MB").fit(train)
    assert (in_memory.selected_from_, on_disk.selected_from_) == ("float32", "float16")
    assert on_disk.memory_bank_.dtype == torch.float32
    np.testing.assert_allclose(on_disk.predict(test).scores, in_memory.predict(test).scores,
                               rtol=0.03)
    kept = set(in_memory.coreset_indices_.tolist()) & set(on_disk.coreset_indices_.tolist())
    assert len(kept) > 0.9 * len(in_memory.coreset_indices_)


@pytest.mark.parametrize("projection", ["linear", "sparse"])
def test_projections_read_the_file_too(capsules, projection):
    train = list(capsules[0])[:4]
    model = PatchCore(coreset_ratio=0.01, projection=projection, memory_budget=1000).fit(train)
    assert torch.isfinite(model.coreset_radii_).all()


@pytest.mark.slow
def test_the_plan_knows_what_fit_will_take(capsules):
    train = capsules[0]
    plan = PatchCore(memory_budget="2MB").plan(train)
    assert (plan.images, plan.patches, plan.dim) == (len(train), len(train) * 1024, 152)
    assert plan.coreset_size == plan.patches // 10
    assert not plan.fits and plan.bytes == plan.patches * 152 * 2
    assert 0 < plan.seconds < 600
    assert "float16 in a temporary file (budget 2 MB)" in str(plan)
    assert "in memory (budget 1 GB)" in str(PatchCore(memory_budget="1GB").plan(train))


def test_a_plan_needs_an_image(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="bad.png"):
        PatchCore().plan([tmp_path / "bad.png"])
    with pytest.raises(InputError, match="no readable"):
        PatchCore().plan([])


@pytest.mark.slow
def test_ctrl_c_during_selection_leaves_a_model_that_predicts(capsules):
    train, test = capsules

    def interrupt(what, done, total):
        if what == "selecting coreset" and done > total / 4:
            raise KeyboardInterrupt

    model = PatchCore(seed=1)
    with pytest.raises(CoresetInterrupted):
        model.fit(train, progress=interrupt)
    whole = PatchCore(seed=1).fit(train)
    count = len(model.memory_bank_)
    assert 0 < count < len(whole.memory_bank_)
    assert torch.equal(model.memory_bank_, whole.memory_bank_[:count])
    assert len(model.predict(test[0].path).scores) == 1
    assert len(model.calibration_scores_) == 0
