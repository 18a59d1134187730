"""A sweep that is killed, or spread over processes and machines, gives the same results."""

import json
import multiprocessing
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from sweeping import same_run

from indad.experiments import sweep
from indad.experiments.plans import expand
from indad.experiments.sweep import run_sweep

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("indad.experiments.run._write_pictures", lambda *arguments: None)


SMALL = {"resize": 128}
PLANS = dict(seeds=(0, 1), shots=(2, None), choices={"coreset_ratio": [0.01, 0.05]},
             options=SMALL)


def sweep_and_say(drawn, output, keep, said):
    """In a process of its own: each run that is complete is said; the state may be kept."""
    if keep:
        sweep._forget = lambda state: None
    run_sweep(expand(drawn, ["capsule", "tiles"], **PLANS), output=output,
              on_run=lambda *what: said.send(what[1]))


@pytest.fixture
def processes():
    """A fork each of a process that has imported torch: six would else spend most on that."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(["timm", "indad.experiments.sweep"])
    return context


def test_killed_at_five_random_moments(drawn, tmp_path, processes):
    """Nothing is computed twice but the run in hand, and the summary is that of a calm sweep."""
    def start(keep=False):
        heard, said = processes.Pipe(duplex=False)
        process = processes.Process(
            target=sweep_and_say, args=(str(drawn), str(tmp_path / "disturbed"), keep, said))
        process.start()
        said.close()  # the other end is in the process: when it is gone, nothing more is heard
        return process, heard

    generator, lines = np.random.default_rng(3), 0
    for _ in range(5):
        process, heard = start()
        for _ in range(int(generator.integers(0, 4))):
            heard.recv()
        process.kill()
        process.join(60)
    process, heard = start(keep=True)
    with suppress(EOFError):
        while heard.recv():
            lines += 1
    process.join(120)
    assert process.exitcode == 0
    assert lines == 16
    (state,) = (tmp_path / "disturbed").glob(".sweep-*")
    journal = [line for line in (state / "journal.jsonl").read_text().splitlines() if line]
    assert len(journal) == len(set(journal))
    events = [json.loads(line)["event"] for line in journal]
    assert (events.count("run"), events.count("features")) == (16, 4)
    assert events.count("selection") == 8
    run_sweep(expand(str(drawn), ["capsule", "tiles"], **PLANS), output=tmp_path / "calm")
    summaries = [json.loads((tmp_path / name / "summary.json").read_text())
                 for name in ("disturbed", "calm")]
    for rows in summaries:
        for row in rows:
            del row["seconds"], row["ms_per_image"]
    assert summaries[0] == summaries[1]


def test_processes_give_the_same(drawn, tmp_path):
    plans = expand(str(drawn), ["capsule", "tiles"], choices={"coreset_ratio": [0.01, 0.05]},
                   options=SMALL)
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
    plans = expand(str(drawn), ["tiles"], choices={"coreset_ratio": [0.01, 0.05]}, options=SMALL)
    one = run_sweep(plans, output=tmp_path / "one")
    there = run_sweep(plans, output=tmp_path / "there", parallel=cluster)
    for first, second in zip(one, there, strict=True):
        same_run(first.folder, second.folder)
