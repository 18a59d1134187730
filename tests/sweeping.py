"""When two runs are the same run."""

import csv
from pathlib import Path

import pytest

from indad.experiments import records as results


def scores(folder: Path) -> dict[str, float]:
    with open(folder / "scores.csv", newline="") as lines:
        return {row["image"]: float(row["score"]) for row in csv.DictReader(lines)}


def same_run(first: Path, second: Path) -> None:
    """Equal but for timings and the last digits, which depend on how images were batched."""
    ours, theirs = (results.read_record(folder) for folder in (first, second))
    for name in ("config", "counts", "data_fingerprint"):
        assert ours[name] == theirs[name]
    assert ours["memory_bank"] == theirs["memory_bank"]
    assert scores(first) == pytest.approx(scores(second), rel=1e-4)
    for name in results.METRICS:
        assert ours["metrics"][name] == pytest.approx(theirs["metrics"][name], abs=1e-4)
    assert ours["decision"].pop("calibration") == theirs["decision"].pop("calibration")
    assert ours["decision"] == pytest.approx(theirs["decision"], rel=1e-4)
