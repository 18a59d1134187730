"""From the command line to files on disk, and back to one clear line when something is wrong."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import indad
from indad.cli.commands import COMMANDS, main
from indad.experiments import records as results
from indad.experiments.run import run

REPOSITORY = Path(__file__).resolve().parents[1]
KEYS = {"image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max",
        "aupro_30", "aupro_5"}


@pytest.fixture
def tiles(drawn, tmp_path) -> Path:
    """A private copy of one small category, free to damage."""
    shutil.copytree(drawn / "tiles", tmp_path / "set" / "tiles")
    return tmp_path / "set" / "tiles"


SMALL = ("--resize", 128)  # where the size of images is not the point


def command(*words):
    return main([str(word) for word in ("run", *words)])


def read_csv(file: Path) -> list[dict]:
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def only_run(output: Path) -> Path:
    (file,) = output.glob("*/*/*/metrics.json")
    return file.parent


def test_run_writes_what_the_design_says(drawn, tmp_path, capsys):
    assert command("--dataset", drawn, "--output", tmp_path, "--overlays", 4, *SMALL) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["category", "image", "AUROC", "pixel", "AUROC", "AUPRO", "F1-max",
                              "seconds"]
    assert [line.split()[0] for line in out[1:4]] == ["capsule", "tiles", "mean"]

    assert out[5] == ("verdicts: leave-one-out on 8 good images, for a false-alarm rate of "
                      "0.05; so few can promise 0.11 at best")

    folder = next((tmp_path / drawn.name / "tiles").iterdir())
    assert folder.name == f"efficientnet_lite0-resize=128-{folder.name[-8:]}"
    record = json.loads((folder / "metrics.json").read_text())
    assert set(record) == {"metrics", "counts", "decision", "timings", "memory_bank",
                           "peak_memory_mb", "credit", "config", "environment", "data_fingerprint"}
    assert set(record["metrics"]) == KEYS
    assert all(0 < value <= 1 for value in record["metrics"].values())
    assert record["counts"] == {"train": 8, "test_good": 3, "test_defective": 5, "test_masks": 5,
                                "unreadable": 0}
    assert set(record["timings"]) == {"extract_s", "coreset_s", "fit_s", "predict_s",
                                      "images_per_s"}
    assert record["memory_bank"] == {"patches": 204, "dim": 152, "bytes": 204 * 152 * 4,
                                     "selected_from": "float32"}
    assert results.config_hash(record["config"]) == folder.name[-8:]
    assert record["config"]["data_version"] == 2  # of the drawn parts

    rows = read_csv(folder / "scores.csv")
    assert len(rows) == 8
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert {row["verdict"] for row in rows} <= {"good", "defective"}
    assert all((float(row["score"]) > float(row["threshold"])) == (row["verdict"] == "defective")
               for row in rows)
    assert rows[0]["image"].startswith("tiles/test/")
    decision = record["decision"]
    assert set(decision) == {"threshold", "map_threshold", "calibration", "calibrated_on",
                             "lowest_false_alarm_rate", "false_alarms", "misses"}
    assert (decision["calibration"], decision["calibrated_on"]) == ("leave-one-out", 8)
    assert decision["lowest_false_alarm_rate"] == pytest.approx(1 / 9)
    assert decision["misses"] == sum(row["verdict"] == "good" and row["label"] == "1"
                                     for row in rows)

    pictures = list((folder / "overlays").iterdir())
    assert len(pictures) == 4
    for picture in pictures:
        panels = 2 if picture.name.startswith("good") else 3
        assert Image.open(picture).size == (256 * panels, 280)
    flagged = {f"{row['defect_type']}_{Path(row['image']).stem}.png" for row in rows
               if row["verdict"] == "defective"}
    explained = {picture.name for picture in (folder / "explanations").iterdir()}
    assert explained == flagged & {picture.name for picture in pictures} != set()
    assert all(Image.open(folder / "explanations" / name).width >= 1000 for name in explained)

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [row["category"] for row in summary] == ["capsule", "tiles"]
    assert {row["dataset"] for row in summary} == {f"{drawn.name} v2"}
    assert summary[1]["aupro_30"] == record["metrics"]["aupro_30"]
    assert len(read_csv(tmp_path / "summary.csv")) == 2
    assert (tmp_path / "summary.md").read_text().count("\n") == 4
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.slow
def test_all_categories_share_one_backbone(drawn, tmp_path, monkeypatch):
    from indad import features

    original, built = features.load_backbone, []
    monkeypatch.setattr(features, "load_backbone",
                        lambda name, **options: built.append(name) or original(name, **options))
    base = ("--dataset", drawn, "--overlays", 0, "--resize", 96, "--output", tmp_path)
    assert command(*base, "--category", "tiles") == 0
    assert command(*base, "--skip-existing") == 0  # capsule, then tiles, which is kept
    assert built == ["efficientnet_lite0"] * 2
    assert len(json.loads((tmp_path / "summary.json").read_text())) == 2
    alone = json.loads((tmp_path / "summary.json").read_text())
    assert command(*base) == 0
    assert built == ["efficientnet_lite0"] * 3
    together = json.loads((tmp_path / "summary.json").read_text())
    assert [row["image_auroc"] for row in alone] == [row["image_auroc"] for row in together]


@pytest.mark.slow
def test_the_same_run_twice_gives_the_same_scores(drawn, tmp_path):
    texts = []
    for name in ("a", "b"):
        assert command("--dataset", drawn / "tiles", "--output", tmp_path / name, *SMALL) == 0
        texts.append((only_run(tmp_path / name) / "scores.csv").read_text())
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_other_settings_go_to_another_folder_and_skip_existing_knows(drawn, tmp_path, monkeypatch):
    base = ("--dataset", drawn / "tiles", "--output", tmp_path, "--overlays", 0, *SMALL)
    assert command(*base) == 0
    first = only_run(tmp_path)
    stamp = (first / "metrics.json").stat().st_mtime_ns
    assert command(*base, "--skip-existing", "--batch-size", 3) == 0  # same numbers, same run
    assert (first / "metrics.json").stat().st_mtime_ns == stamp
    assert command(*base, "--skip-existing", "--coreset-ratio", 0.05) == 0
    assert len(list(tmp_path.glob("*/*/*/metrics.json"))) == 2
    (first / "metrics.json").write_text('{"metrics": ')  # a file cut short is no result
    assert results.read_record(first) is None
    assert command(*base, "--skip-existing") == 0
    assert results.read_record(first)["metrics"]["image_auroc"] > 0


@pytest.mark.slow
def test_skip_existing_notices_other_data(tiles, tmp_path):
    base = ("--dataset", tiles, "--output", tmp_path / "out", "--skip-existing", "--overlays", 0,
            *SMALL)
    assert command(*base) == 0
    (tiles / "train" / "good" / "000.png").unlink()
    assert command(*base) == 0
    record = results.read_record(only_run(tmp_path / "out"))
    assert record["counts"]["train"] == 7


@pytest.mark.slow
def test_no_masks_and_no_defects_give_null_and_n_a(tiles, tmp_path, capsys):
    shutil.rmtree(tiles / "ground_truth")
    assert command("--dataset", tiles, "--output", tmp_path / "a", *SMALL) == 0
    metrics = results.read_record(only_run(tmp_path / "a"))["metrics"]
    assert metrics["image_auroc"] > 0.5
    assert metrics["pixel_auroc"] is metrics["aupro_30"] is None
    assert "n/a" in capsys.readouterr().out
    for folder in (tiles / "test").iterdir():
        if folder.name != "good":
            shutil.rmtree(folder)
    assert command("--dataset", tiles, "--output", tmp_path / "b", *SMALL) == 0
    assert set(results.read_record(only_run(tmp_path / "b"))["metrics"].values()) == {None}
    assert "nan" not in (tmp_path / "b" / "summary.json").read_text().lower()


@pytest.mark.slow
def test_a_corrupt_image_is_named_and_left_out(tiles, tmp_path, capsys):
    (tiles / "train" / "good" / "002.png").write_bytes(b"\x89PNG cut short")
    (tiles / "test" / "crack" / "000.png").write_bytes(b"")
    assert command("--dataset", tiles, "--output", tmp_path / "out", *SMALL) == 0
    errors = capsys.readouterr().err
    assert "002.png: not a readable image" in errors
    assert "crack/000.png: not a readable image" in errors.replace(os.sep, "/")
    record = results.read_record(only_run(tmp_path / "out"))
    assert record["counts"]["unreadable"] == 2
    assert record["counts"]["train"] == 7
    assert command("--dataset", tiles, "--output", tmp_path / "strict", "--strict", *SMALL) == 2
    assert "002.png" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "strict").rglob("metrics.json"))


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing_that_reads_as_a_result(drawn, tmp_path, monkeypatch,
                                                                  capsys):
    def pull_the_plug(*arguments, **options):
        raise KeyboardInterrupt

    base = ("--dataset", drawn / "tiles", "--output", tmp_path, *SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("indad.experiments.run._write_pictures", pull_the_plug)
        assert command(*base) == 130
    assert not list(tmp_path.rglob("metrics.json"))
    # A power cut cannot even clean up: plant what it would leave, half a metrics.json included.
    assert command(*base) == 0
    whole = only_run(tmp_path)
    partial = whole.with_name(f".{whole.name}.0a1b2c3d.partial")
    partial.mkdir()
    (partial / "metrics.json").write_text('{"metrics": {"image_auroc": 0.1')
    assert len(results.read_all(tmp_path)) == 1
    capsys.readouterr()
    assert command(*base) == 0
    assert "left by an interrupted run" in capsys.readouterr().err
    assert not partial.exists()
    assert len(results.read_all(tmp_path)) == 1


@pytest.mark.slow
def test_a_failed_rerun_keeps_the_earlier_result(drawn, tmp_path, monkeypatch):
    base = ("--dataset", drawn / "tiles", "--output", tmp_path, *SMALL)
    assert command(*base) == 0
    before = (only_run(tmp_path) / "metrics.json").read_text()
    monkeypatch.setattr("indad.experiments.run._write_pictures",
                        lambda *a, **o: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert command(*base) == 2
    assert (only_run(tmp_path) / "metrics.json").read_text() == before


@pytest.mark.slow
def test_overlays_of_one_stem_do_not_overwrite_each_other(tiles, tmp_path):
    crack = tiles / "test" / "crack" / "000.png"
    Image.open(crack).save(crack.with_suffix(".bmp"))
    shutil.rmtree(tiles / "ground_truth")
    assert command("--dataset", tiles, "--output", tmp_path / "out", "--overlays", 99, *SMALL) == 0
    assert len(list((only_run(tmp_path / "out") / "overlays").iterdir())) == 9


@pytest.mark.slow
def test_shots_and_one_training_image(drawn, tmp_path, capsys):
    assert command("--dataset", drawn / "tiles", "--output", tmp_path, "--shots", 1, *SMALL) == 0
    assert "verdicts: none where no good image was left" in capsys.readouterr().out
    record = results.read_record(only_run(tmp_path))
    assert record["counts"]["train"] == 1
    assert record["decision"]["threshold"] is None
    assert record["decision"]["lowest_false_alarm_rate"] is None
    rows = read_csv(only_run(tmp_path) / "scores.csv")
    assert {row["verdict"] for row in rows} == {"n/a"}


@pytest.mark.parametrize("words, message", [
    (["--dataset", "DRAWN", "--category", "tile"], "did you mean tiles"),
    (["--dataset", "mvtec"], "did you mean mvtec_ad"),
    (["--dataset", "EMPTY"], "expected train/good"),
    (["--dataset", "NOGOOD"], "no good images"),
    (["--dataset", "missing/folder"], "no such folder"),
    (["--dataset", "DRAWN", "--backbone", "wide_resnet_50"], "did you mean wide_resnet50_2"),
    (["--dataset", "DRAWN", "--preset", "amazone"], "did you mean amazon"),
    (["--dataset", "DRAWN", "--coreset-ratio", "0"], "in (0, 1]"),
    (["--dataset", "DRAWN", "--coreset-ratio", "1.1"], "in (0, 1]"),
    (["--dataset", "DRAWN", "--coreset-ratio", "ten"], "coreset_ratio is 'ten'; it must"),
    (["--dataset", "DRAWN", "--false-alarm-rate", "2"], "false_alarm_rate is 2.0"),
    (["--dataset", "DRAWN", "--output", "BLOCKED"], "choose another folder with --output"),
    (["--dataset", "DRAWN", "--device", "tpu"], "device is 'tpu', which is not on"),
    (["--dataset", "DRAWN", "--shots", "99"], "shots is 99"),
    (["--dataset", "BADMASK"], "000_mask.png: the mask is 10x10, but its image is 256x256"),
    (["--speed", "11"], "unrecognized arguments: --speed 11"),
])
def test_bad_input_gets_status_2_and_one_line(words, message, drawn, tmp_path, capsys,
                                              monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"DRAWN": drawn, "EMPTY": tmp_path / "empty", "NOGOOD": tmp_path / "nogood",
              "BLOCKED": tmp_path / "file" / "out", "BADMASK": tmp_path / "badmask"}
    places["EMPTY"].mkdir()
    (places["NOGOOD"] / "train" / "good").mkdir(parents=True)
    (tmp_path / "file").write_text("in the way")
    shutil.copytree(drawn / "tiles", places["BADMASK"])
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(
        places["BADMASK"] / "ground_truth" / "crack" / "000_mask.png")
    try:
        status = command(*[places.get(word, word) for word in words])
    except SystemExit as exit:  # argparse leaves this way
        status = exit.code
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines()
             if line.startswith("indad:") or "Traceback" in line]
    assert status == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.rglob("metrics.json"))


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(indad.cli.InputError):
        command("--dataset", tmp_path, "--debug")


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (*indad.CATALOG, *indad.BACKBONES, *indad.PRESETS, "zipper", "Apache-2.0"):
        assert name in out


def test_a_person_at_a_terminal_chooses(monkeypatch, capsys):
    chosen = {}
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    answers = iter(["nonsense", "weave", "1"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    monkeypatch.setitem(COMMANDS, "run", lambda options: chosen.update(vars(options)) or 0)
    assert main([]) == 0
    assert (chosen["category"], chosen["backbone"]) == ("weave", "efficientnet_lite0")
    assert "type a number" in capsys.readouterr().out


def test_without_a_terminal_the_defaults_run(monkeypatch):
    chosen = {}
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setitem(COMMANDS, "run", lambda options: chosen.update(vars(options)) or 0)
    assert main([]) == 0
    assert (chosen["dataset"], chosen["category"]) == ("synthetic", "all")


def test_the_library_never_prints(drawn, tmp_path, capsys):
    run(str(drawn), "tiles", options={"resize": 64}, output=tmp_path, overlays=2)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.slow
def test_importing_does_nothing():
    code = ("import sys, os; before = set(os.listdir()); "
            "import indad, indad.data.layouts, indad.cli; "
            "heavy = {'matplotlib', 'ipywidgets', 'timm', 'faiss', 'sklearn'} & set(sys.modules); "
            "assert not heavy, heavy; assert set(os.listdir()) == before")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                              text=True, cwd=REPOSITORY / "tests")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ""


# Read by Python when it starts, before anything of ours: whoever reaches out is stopped and named.
NO_SOCKETS = """
import socket

def allow(host):
    if host not in ("", "localhost", "127.0.0.1", "::1", None):
        raise SystemExit(f"OFFLINE BROKEN: {host}")

class Guarded(socket.socket):
    def connect(self, address):
        allow(address[0] if isinstance(address, tuple) else "")
        return super().connect(address)

    connect_ex = connect

socket.socket = Guarded
lookup = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: allow(host) or lookup(host, *rest, **more)
"""


def offline(tmp_path):
    """An environment in which sockets lead to loopback only, and no setting says so."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(NO_SOCKETS)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "guard"), str(REPOSITORY)])}
    for name in ("INDAD_DATASETS", "INDAD_ARCHIVES", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    return environment


def test_the_guard_of_the_offline_test_stops_a_connection(tmp_path):
    code = "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')"
    finished = subprocess.run([sys.executable, "-c", code], env=offline(tmp_path),
                              capture_output=True, text=True)
    assert finished.returncode != 0
    assert "OFFLINE BROKEN: 192.0.2.1" in finished.stderr


@pytest.mark.slow
def test_the_readme_command_without_a_network(tmp_path):
    """`python -m indad run`, as a newcomer types it, in a folder of its own; of one hard category.

    .ci/run runs it for all of them, with nothing installed but the requirements.
    """
    finished = subprocess.run([sys.executable, "-m", "indad", "run", "--category", "board"],
                              cwd=tmp_path, env=offline(tmp_path), capture_output=True, text=True,
                              timeout=300)
    assert finished.returncode == 0, finished.stderr
    name, image_auroc = finished.stdout.splitlines()[1].split()[:2]
    assert name == "board" and 0.85 <= float(image_auroc) <= 0.99
    assert len(list((tmp_path / "results" / "runs").glob("synthetic/board/*/overlays/*.png"))) == 12


@pytest.mark.slow
def test_the_plan_is_printed_and_a_budget_moves_features_to_a_file(drawn, tmp_path, capsys):
    arguments = ["run", "--dataset", str(drawn), "--category", "tiles", "--coreset-ratio", "0.02",
                 "--resize", "160", "--overlays", "0", "--output", str(tmp_path)]
    assert main([*arguments, "--memory-budget", "500kB"]) == 0
    told = capsys.readouterr().err
    assert ("tiles: 8 images, 3,200 patches x 152 = 973 kB float16 in a temporary file "
            "(budget 500 kB), 64 to keep; about ") in told
    record = json.loads(next(tmp_path.glob("*/*/*/metrics.json")).read_text())
    assert record["memory_bank"]["selected_from"] == "float16"
    assert main([*arguments, "--memory-budget", "plenty"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines == ["indad: error: memory_budget is 'plenty'; it must be "
                     "bytes, or like 300MB or 2GB"]
