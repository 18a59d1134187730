"""What is read back was perhaps written by a stranger: refused, left out or computed again."""

import json
import os
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch

from indad import PatchCore
from indad.cli.commands import main
from indad.data.reading import read_json
from indad.data.synthetic.categories import is_complete
from indad.errors import InputError, InputWarning
from indad.experiments import records, sweep
from indad.experiments.report import write_report
from indad.experiments.run import existing
from indad.learned.storage import RECORD

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import mutations  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_backbones")


@pytest.mark.slow
def test_mutations_of_everything_that_is_read_back():
    """A few of the 2,000 of each kind in results/reference/benchmarks/mutations.md."""
    rows = mutations.mutate(12, seed=1)
    assert {row["kind"]: row["crashes"] for row in rows} == {row["kind"]: [] for row in rows}
    assert len(rows) == 12
    assert all(row["refused"] for row in rows if row["kind"].startswith("model"))


@pytest.mark.parametrize("text, reason", [
    (b'{"a": NaN}', "not finite"), (b'{"a": 1e999}', "not finite"),
    (b'{"a": ' + str(10 ** 400).encode() + b"}", "too large"), (b"9" * 5000, "digits"),
    (b"[" * 100_000, "nested too deep"), (b'{"a":' * 50 + b"1" + b"}" * 50, "nested too deep"),
    (b'"\xff"', "utf-8"), (b'{"a": "\\ud800"}', "surrogates"), (b"", "Expecting value")])
def test_json_is_plain_or_refused(tmp_path, text, reason):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(InputError, match=reason):
        read_json(tmp_path / "a.json")


def test_json_that_is_plain_is_read(tmp_path):
    value = {"a": [1, 2.5, None, True, "ä"], "b": {"c": -10 ** 18}}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value


FOREIGN = [b"{}", b"[]", b"null", b'{"metrics": {}}', b"[" * 100_000, b"\xff\xfe", b"", b"5",
           b'{"metrics": {"image_auroc": NaN}}', b'{"metrics": ' + b"9" * 400 + b"}"]


@pytest.mark.parametrize("content", FOREIGN, ids=lambda content: repr(content[:20]))
def test_a_foreign_record_below_the_output_is_left_out_with_a_word(tmp_path, content):
    run = mutations.make_run(tmp_path)
    foreign = tmp_path / "my" / "own" / "folder" / "metrics.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(content)
    with pytest.warns(InputWarning, match="left out of the summary: .*own.folder.*not the record"):
        rows = records.write_summary(tmp_path)
    assert [row["run"] for row in rows] == [run.relative_to(tmp_path).as_posix()]
    assert len(json.loads((tmp_path / "summary.json").read_text())) == 1
    file, left_out = write_report(tmp_path)
    assert file.is_file() and len(left_out) == 1


@pytest.mark.parametrize("part, name, value", [
    ("metrics", "image_auroc", "0.5"), ("metrics", "image_auroc", 7.0),
    ("metrics", "aupro_5", True), ("metrics", "pixel_ap", [0.5]), ("counts", "train", -1),
    ("counts", "test_good", 1.5), ("timings", "images_per_s", 0), ("timings", "fit_s", None),
    ("memory_bank", "bytes", 10 ** 200), ("config", "seed", "0"), ("config", "category", ["a"]),
    ("config", "layers", {"a": 1}), ("config", "shots", "4"), ("config", "coreset_ratio", "many"),
    ("decision", "threshold", "1"), ("decision", "calibrated_on", None),
    ("decision", "calibration", 5)])
def test_every_value_of_a_record_is_looked_at(tmp_path, part, name, value):
    run = mutations.make_run(tmp_path)
    assert existing(run, "f" * 64)
    record = json.loads((run / "metrics.json").read_text())
    record[part][name] = value
    (run / "metrics.json").write_text(json.dumps(record))
    assert existing(run, "f" * 64) is None  # so it is computed again
    with pytest.raises(InputError, match=name):
        records.load_record(run)


@pytest.mark.parametrize("line", ["a.png,1,bent,nan,1,good", "a.png,2,bent,1,1,good",
                                  "a.png,1,bent,1,inf,good", "a.png,1,bent", "a.png,1,b,1,1,g,x"])
def test_scores_that_are_none_are_computed_again(tmp_path, line):
    run = mutations.make_run(tmp_path)
    with open(run / "scores.csv", "a") as lines:
        lines.write(line + "\n")
    assert existing(run, "f" * 64) is None


def test_a_table_of_a_sweep_that_was_cut_is_computed_again(tmp_path):
    file = tmp_path / "features-0.pt"
    value = {"rows": torch.arange(1000.0), "seconds": 1.0}
    sweep._keep(tmp_path, file, value)
    assert torch.equal(sweep._kept(tmp_path, file)["rows"], value["rows"])
    whole = file.read_bytes()
    for damaged in (whole[:-9], whole[:300], b"", whole[:900] + b"x" + whole[901:]):
        file.write_bytes(damaged)
        assert sweep._kept(tmp_path, file) is None
    file.write_bytes(b"no table, but noted")
    sweep._note(tmp_path, sweep._seal(file))
    assert sweep._kept(tmp_path, file) is None


def test_half_a_line_in_a_journal_spoils_no_other(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b'\xff\xfe{"event": "ru')  # killed here
    sweep._note(tmp_path, {"event": "run", "run": "a"})
    assert sweep._noted(tmp_path, {"event": "run", "run": "a"})
    assert not sweep._noted(tmp_path, {"event": "run", "run": "b"})


@pytest.mark.parametrize("content", FOREIGN, ids=lambda content: repr(content[:20]))
def test_a_foreign_note_of_a_drawing_is_none(tmp_path, content):
    (tmp_path / "synthetic.json").write_bytes(content)
    assert not is_complete(tmp_path, "wood")


@pytest.fixture(scope="module")
def original(shared_backbones, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    PatchCore(resize=64, coreset_ratio=0.1, device="cpu", reserve=0.05).fit(
        [mutations.picture((96 + i, 80)) for i in range(3)]).save(folder)
    return folder


NUMBERS = [(name, value) for name in ("size", "grid") for value in (
    [100_000, 100_000], [10 ** 12, 1], [0, 64], [-64, -64], [64], [64.0, 64.0], None, "64")] + [
    (name, value) for name in ("views", "images", "given") for value in (
        10 ** 12, 10 ** 19, 0, -1, 1.5, True, None, "3")] + [
    ("fitted_on", [0, 1, 10 ** 12]), ("fitted_on", [0, 0, 1]), ("fitted_on", [0] * 1000),
    ("fitted_on", 3), ("skipped", 10 ** 12), ("selected_from", "float8"), ("files", [1, 2, 3]),
    ("files", ["a"]), ("resize", 100_000), ("resize", [100_000, 64]), ("crop", 100_000),
    ("coreset_ratio", 1e-9), ("false_alarm_rate", "0.05"), ("false_alarm_rate", 7),
    ("map_kernel_size", 10 ** 9 + 1), ("map_sigma", 10 ** 19), ("map_sigma", 1e300)]


@pytest.mark.parametrize("name, value", NUMBERS, ids=str)
def test_a_number_that_no_tensor_explains_is_refused_before_it_costs_anything(
        original, tmp_path, name, value):
    folder = Path(shutil.copytree(original, tmp_path / "model"))
    record = json.loads((folder / RECORD).read_text())
    for part in (record, record["training"], record["options"], record["thresholds"]):
        if name in part:
            part[name] = value
    data = mutations.sealed(folder, json.dumps(record).encode())
    (folder / RECORD).write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if (name, value) == ("coreset_ratio", 1e-9):  # an interrupted fit may have any
        PatchCore.load(folder, device="cpu")
    else:
        with pytest.raises(InputError) as caught:
            PatchCore.load(folder, device="cpu")
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_full_disk_says_so_and_leaves_nothing(original, tmp_path, monkeypatch, capsys):
    """Whatever is written when it fills up: a model, a run's summary, a table of a sweep."""
    import errno

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = mutations.make_run(tmp_path / "runs")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="the model needs .*the disk is full"):
        PatchCore.load(original, device="cpu").save(tmp_path / "model")
    with pytest.raises(InputError, match=r"summary\.json: the disk is full; free some space"):
        records.write_summary(tmp_path / "runs")
    assert main(["report", str(run)]) == 2
    assert "the disk is full" in capsys.readouterr().err
    with pytest.raises(OSError):
        sweep._keep(tmp_path, tmp_path / "features-0.pt", {"rows": torch.zeros(3)})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["runs"]
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("*.html"))
