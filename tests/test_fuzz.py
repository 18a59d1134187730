"""The fuzz benchmark on few files: no crash, all are counted, and they are the same each time."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import fuzz  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_backbones")


@pytest.mark.slow
def test_damaged_files_stop_nothing():
    found = fuzz.fuzz(200, seed=1, with_bombs=False)
    assert found["crashes"] == []
    assert found["read"] + found["refused"] == 200
    assert found["read"] >= 20 and found["refused"] >= 20
    assert {"truncated", "bits flipped"} < set(found["by_kind"])
    assert found["by_kind"]["unchanged"]["read"] == found["by_kind"]["unchanged"]["files"]
    assert sum(row["files"] for row in found["by_kind"].values()) == 200
    assert "| crashes | 0 | 0 |" in fuzz.markdown(found)


@pytest.mark.slow
def test_a_crash_is_found_and_told(monkeypatch, tmp_path):
    original = fuzz.batches.as_rgb

    def broken(source, *reading):
        if str(source).endswith("7.png"):
            raise RuntimeError("a decoder went wrong")
        return original(source)

    monkeypatch.setattr(fuzz.batches, "as_rgb", broken)
    found = fuzz.fuzz(60, seed=0, keep=tmp_path, with_bombs=False)
    wanted = [file for file in (f"{i:06d}{fuzz.make(0, i, False)[1]}" for i in range(60))
              if file.endswith("7.png")]
    assert wanted and sorted(crash["file"] for crash in found["crashes"]) == wanted
    assert "a decoder went wrong" in found["crashes"][0]["error"]
    assert sorted(file.name for file in tmp_path.iterdir()) == wanted


@pytest.mark.slow
def test_files_depend_on_seed_and_number_alone():
    assert fuzz.make(3, 14) == fuzz.make(3, 14)
    assert len({fuzz.make(seed, number)[2] for seed in (0, 1) for number in range(50)}) > 80
