"""What a user measures stays what it was: see recorder.py, which says how to compare to the bit."""

import json
from pathlib import Path

import pytest
import recorder

FIXTURE = Path(__file__).parent / "fixtures" / "recorded.json"
# Numbers of another processor differ by rounding, and with them which of two near ties is picked.
NUMBERS = ("threshold", "map_threshold", "first_scores", "first_peaks")


@pytest.mark.slow
def test_scores_thresholds_and_sizes_are_those_recorded(tmp_path, monkeypatch, shared_backbones):
    monkeypatch.chdir(tmp_path)  # where the parts are drawn
    wanted, found = json.loads(FIXTURE.read_text()), recorder.small()
    assert list(wanted) == list(found)
    for case, numbers in wanted.items():
        for name, value in numbers.items():
            if name.removeprefix("updated_") in NUMBERS:
                assert found[case][name] == pytest.approx(value, rel=1e-3), (case, name)
            else:
                assert found[case][name] == value, (case, name)
