"""A sweep that is killed, or spread over processes and machines, gives the same results."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sweeping import same_run

from indad.experiments.plans import expand
from indad.experiments.sweep import run_sweep

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("indad.experiments.run._write_pictures", lambda *arguments: None)


SWEEP = """
import sys
from indad.experiments import sweep
from indad.experiments.plans import expand
sweep._forget = lambda state: None if {keep} else __import__("shutil").rmtree(state)
plans = expand({drawn!r}, ["capsule", "tiles"], seeds=(0, 1), shots=(2, None),
                     choices={{"coreset_ratio": [0.01, 0.05]}})
sweep.run_sweep(plans, output={output!r}, on_run=lambda *what: print(what[1], flush=True))
"""


def test_killed_at_five_random_moments(drawn, tmp_path):
    """Nothing is computed twice but the run in hand, and the summary is that of a calm sweep."""
    def start(output, keep=False):
        code = SWEEP.format(drawn=str(drawn), output=str(tmp_path / output), keep=keep)
        return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, text=True,
                                stdout=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"})

    generator, lines = np.random.default_rng(3), 0
    for _ in range(5):
        with start("disturbed") as process:
            for _ in range(int(generator.integers(0, 4))):
                process.stdout.readline()
            process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            process.wait(60)
    with start("disturbed", keep=True) as process:
        lines = len(process.stdout.read().split())
        assert process.wait(120) == 0
    assert lines == 16
    (state,) = (tmp_path / "disturbed").glob(".sweep-*")
    journal = [line for line in (state / "journal.jsonl").read_text().splitlines() if line]
    assert len(journal) == len(set(journal))
    events = [json.loads(line)["event"] for line in journal]
    assert (events.count("run"), events.count("features")) == (16, 4)
    assert events.count("selection") == 8
    run_sweep(expand(str(drawn), ["capsule", "tiles"], seeds=(0, 1), shots=(2, None),
                     choices={"coreset_ratio": [0.01, 0.05]}), output=tmp_path / "calm")
    summaries = [json.loads((tmp_path / name / "summary.json").read_text())
                 for name in ("disturbed", "calm")]
    for rows in summaries:
        for row in rows:
            del row["seconds"], row["ms_per_image"]
    assert summaries[0] == summaries[1]


def test_processes_give_the_same(drawn, tmp_path):
    plans = expand(str(drawn), ["capsule", "tiles"], choices={"coreset_ratio": [0.01, 0.05]})
    one = run_sweep(plans, output=tmp_path / "one")
    two = run_sweep(plans, output=tmp_path / "two", parallel=2)
    assert [outcome.plan for outcome in two] == plans
    for first, second in zip(one, two, strict=True):
        same_run(first.folder, second.folder)


@pytest.mark.parametrize("cluster, package", [("ray", "ray"), ("dask", "distributed")])
def test_clusters_give_the_same(drawn, tmp_path, cluster, package, monkeypatch):
    """A cluster of this machine's own, of each kind."""
    pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    plans = expand(str(drawn), ["tiles"], choices={"coreset_ratio": [0.01, 0.05]})
    one = run_sweep(plans, output=tmp_path / "one")
    there = run_sweep(plans, output=tmp_path / "there", parallel=cluster)
    for first, second in zip(one, there, strict=True):
        same_run(first.folder, second.folder)
