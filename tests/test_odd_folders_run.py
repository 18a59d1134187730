"""Odd photos in any command: what cannot be read is said, copies are dropped, n/a has a reason."""

import json
import shutil

import pytest
from PIL import Image
from test_folders import SIDE, mask, parts, photo

from indad import PatchCore
from indad.cli.commands import main
from indad.errors import InputError
from indad.experiments.missing import why_missing

pytestmark = pytest.mark.usefixtures("shared_backbones")
SMALL = ["--resize", "64"]


def run(folder, output, *more):
    return main(["run", "--dataset", str(folder), "--output", str(output), *SMALL, *more])


def record_of(output):
    (file,) = output.glob("*/*/*/metrics.json")
    return json.loads(file.read_text())


# Point 10 --------------------------------------------------------------------------------------

def test_what_cannot_be_read_is_left_out_and_said_by_every_command(tmp_path, capsys):
    bolts = parts(tmp_path / "bolts", number=10)
    for i in (0, 1):
        (bolts / f"good/{i}.png").write_bytes(b"")
    for place in ("good/gone.png", "bent/gone.png", "ground_truth/bent/100_mask.png"):
        (bolts / place).parent.mkdir(parents=True, exist_ok=True)
        (bolts / place).symlink_to(bolts / "nothing.png")
    mask(bolts / "ground_truth/bent/101_mask.png")
    cut = bolts / "ground_truth/bent/101_mask.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    model = str(tmp_path / "model")
    assert run(bolts, tmp_path / "out") == 0
    said = capsys.readouterr().err
    for name in ("good/0.png", "good/1.png", "good/gone.png", "bent/gone.png"):
        assert f"{bolts / name}: no" in said
    for name in ("100", "101"):
        assert f"{name}_mask.png: no" in said
    assert said.count("its image counts as one without a mask") == 2
    counts = record_of(tmp_path / "out")["counts"]
    assert (counts["train"] + counts["test_good"], counts["test_defective"]) == (8, 2)
    assert (counts["unreadable"], counts["test_masks"]) == (4, 0)
    assert main(["fit", str(bolts), "--output", model, *SMALL]) == 0
    assert "learned from 8 photos" in capsys.readouterr().out
    assert main(["predict", model, str(bolts / "bent"), "--output", str(tmp_path / "found")]) == 0
    seen = capsys.readouterr()
    assert "3 images" in seen.out and "1 unreadable" in seen.out
    assert f"{bolts / 'bent/gone.png'}: no such image" in seen.err
    assert main(["check", str(bolts)]) == 1
    found = capsys.readouterr().out
    assert found.count("cannot be read") == 6


@pytest.mark.parametrize("first", [1, 2, 3, 5])
def test_a_plan_needs_one_readable_photo_wherever_it_is(tmp_path, first):
    parts(tmp_path, number=6)
    for i in range(first):
        (tmp_path / f"good/{i}.png").write_bytes(b"no photo")
    model = PatchCore(resize=64)
    assert model.plan(tmp_path).images == 6
    assert model.fit(tmp_path, strict=False).images_ == 6 - first
    (tmp_path / "good/5.png").write_bytes(b"")
    for i in range(6):
        (tmp_path / f"good/{i}.png").write_bytes(b"")
    with pytest.raises(InputError, match="no readable good image: .*0.png: not a readable"):
        model.plan(tmp_path)


# Point 12 --------------------------------------------------------------------------------------

def test_n_a_has_its_reason(tmp_path, capsys):
    for i in range(8):
        photo(tmp_path / f"bolts/good/{i}.png")
    reason = "n/a for bolts: metrics: no defective test images"
    assert run(tmp_path / "bolts", tmp_path / "out") == 0
    assert reason in capsys.readouterr().out.splitlines()
    assert reason in (tmp_path / "out/summary.md").read_text().splitlines()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert "n/a for" in (tmp_path / "out/report.html").read_text()
    shutil.rmtree(tmp_path / "bolts")
    for i in range(3):
        photo(tmp_path / f"bolts/good/{i}.png")
    capsys.readouterr()
    assert run(tmp_path / "bolts", tmp_path / "out") == 2
    assert "bolts: no test images; 3 good photos are too few" in capsys.readouterr().err


@pytest.mark.parametrize("good, defective, masks, threshold, reasons", [
    (3, 4, 4, 1.0, []), (3, 0, 0, 1.0, ["metrics: no defective test images"]),
    (0, 4, 4, 1.0, ["image metrics: no good test images"]),
    (3, 4, 0, 1.0, ["pixel metrics: no masks of the defective test images"]),
    (0, 4, 0, None, ["image metrics: no good test images",
                     "pixel metrics: no masks of the defective test images",
                     "verdicts: one training image alone: none was left to take a threshold from"])
])
def test_every_reason(good, defective, masks, threshold, reasons):
    counts = {"test_good": good, "test_defective": defective, "test_masks": masks}
    assert why_missing(counts, {"threshold": threshold, "calibrated_on": 0}) == reasons


def test_run_warns_of_masks_that_cover_most(tmp_path, capsys):
    bolts = parts(tmp_path / "bolts", number=6)
    mask(bolts / "ground_truth/bent/100_mask.png")
    Image.new("L", (SIDE, SIDE), 255).save(bolts / "ground_truth/bent/101_mask.png")
    assert run(bolts, tmp_path / "out") == 0
    assert "bent/101.png: its mask marks 100% of it: drawn the other way round?" in (
        capsys.readouterr().err)
