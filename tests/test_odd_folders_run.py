"""Odd photos in any command: what cannot be read is said, copies are dropped, n/a has a reason."""

import json
import shutil

import numpy as np
import pytest
from cases import few
from PIL import Image
from test_folders import SIDE, mask, parts, photo

from indad import PatchCore
from indad.cli.commands import main
from indad.errors import InputError, InputWarning
from indad.experiments.missing import why_missing

pytestmark = pytest.mark.usefixtures("shared_backbones")
SMALL = ["--resize", "64"]


def run(folder, output, *more):
    return main(["run", "--dataset", str(folder), "--output", str(output), *SMALL, *more])


def record_of(output):
    (file,) = output.glob("*/*/*/metrics.json")
    return json.loads(file.read_text())


# Point 10 --------------------------------------------------------------------------------------

@pytest.mark.slow
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


@pytest.mark.parametrize("first", few([1, 2, 3, 5], [1, 5]))
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


@pytest.mark.slow
def test_run_warns_of_masks_that_cover_most(tmp_path, capsys):
    bolts = parts(tmp_path / "bolts", number=6)
    mask(bolts / "ground_truth/bent/100_mask.png")
    Image.new("L", (SIDE, SIDE), 255).save(bolts / "ground_truth/bent/101_mask.png")
    assert run(bolts, tmp_path / "out") == 0
    assert "bent/101.png: its mask marks 100% of it: drawn the other way round?" in (
        capsys.readouterr().err)


# Point 11 --------------------------------------------------------------------------------------

def copy_of(file, name):
    return shutil.copy(file, file.with_name(name))


def same(model, other):
    return (model.calibration_scores_.tolist() == other.calibration_scores_.tolist()
            and model.memory_bank_.tolist() == other.memory_bank_.tolist()
            and model.images_ == other.images_)


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["leave-one-out", "folds", "held-out"])
def test_photos_given_twice_are_learned_once(tmp_path, calibration):
    """In one list, under other names, and as arrays: by what is in them."""
    files = sorted(parts(tmp_path, number=8).glob("good/*.png"))
    plain = PatchCore(resize=64, calibration=calibration).fit(files)
    for again in ([*files, *files[::-1]], [*files, copy_of(files[3], "z.png")]):
        with pytest.warns(InputWarning, match=rf"{len(again) - 8} of {len(again)} photos .* is "
                                              "(the same as|given twice)"):
            model = PatchCore(resize=64, calibration=calibration).fit(again)
        assert same(model, plain) and model.fingerprint_ == plain.fingerprint_
        assert model.given_ == len(again) and model.skipped_ == []
        assert model.fitted_on_ == plain.fitted_on_
    arrays = [np.asarray(Image.open(file)) for file in files]
    with pytest.warns(InputWarning, match="number 8 is the same as number 0"):
        model = PatchCore(resize=64, calibration=calibration).fit([*arrays, *arrays])
    assert same(model, plain)


def test_positions_count_all_that_was_given(tmp_path):
    files = sorted(parts(tmp_path, number=4).glob("good/*.png"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    given = [files[0], files[0], bad, files[1], files[1], files[2]]
    with pytest.warns(InputWarning, match="2 of 6 photos are copies"):
        model = PatchCore(resize=64, augmentation="flips").fit(given, strict=False)
    assert model.fitted_on_ == [0, 3, 5]
    assert [position for position, _ in model.skipped_] == [2]
    assert (model.given_, model.images_, len(model.files_)) == (6, 3, 6)
    groups = [0, 0, 1, 1, 1, 2]
    with pytest.warns(InputWarning):
        model = PatchCore(resize=64).fit(given, groups=groups, strict=False)
    assert len(model.calibration_scores_) == 3


@pytest.mark.slow
def test_a_cell_that_updates_and_is_run_again_changes_nothing(tmp_path):
    files = sorted(parts(tmp_path, number=12).glob("good/*.png"))
    model = PatchCore(resize=64).fit(files[:8])
    model.update(files[8:])
    once, threshold = model.fitted_, model.threshold_
    with pytest.warns(InputWarning, match="4 of 4 photos are copies and left out: .* is the same "
                                          "as one that was learned before"):
        model.update(files[8:])
    assert model.fitted_ is once and model.threshold_ == threshold
    model.save(tmp_path / "model")
    loaded = PatchCore.load(tmp_path / "model")
    with pytest.warns(InputWarning, match="11 of 12 photos"):
        loaded.update([*files[:11], copy_of(files[0], "other.png")][:11] + [photo_of(tmp_path)])
    assert loaded.images_ == 13


def photo_of(folder):
    photo(folder / "another.png")
    return folder / "another.png"


def test_a_model_of_before_knows_its_files(tmp_path):
    """Models without digests are compared by the files that are still there."""
    from learned_state import changed

    files = sorted(parts(tmp_path, number=6).glob("good/*.png"))
    model = changed(PatchCore(resize=64).fit(files[:5]), digests=None)
    files[4].unlink()
    with pytest.warns(InputWarning, match="4 of 5 photos"):
        model.update([*files[:4], files[5]])
    assert model.images_ == 6


@pytest.mark.slow
def test_update_twice_at_the_command_line(tmp_path, capsys):
    bolts, model = parts(tmp_path / "bolts", number=6), str(tmp_path / "model")
    assert main(["fit", str(bolts), "--output", model, *SMALL]) == 0
    capsys.readouterr()
    assert main(["update", model, str(bolts)]) == 0
    seen = capsys.readouterr()
    assert "learned from 0 more photos, 6 in all; remembers 0 more patches" in seen.out
    assert seen.err.count("indad: warning: 6 of 6 photos are copies and left out") == 1


@pytest.mark.slow
def test_run_and_benchmark_drop_copies_alike_and_warn_of_near_ones(tmp_path, capsys):
    bolts = tmp_path / "bolts"
    for i in range(8):
        photo(bolts / f"train/good/{i}.png")
    for name in ("test/good/20.png", "test/bent/30.png"):
        photo(bolts / name)
    shutil.copy(bolts / "train/good/0.png", bolts / "test/good/21.png")
    copy_of(bolts / "train/good/1.png", "9.png")
    assert run(bolts, tmp_path / "a") == 0
    assert "indad: warning: 2 of 12 photos are copies and left out" in capsys.readouterr().err
    words = ["--dataset", str(bolts), "--output", str(tmp_path / "b"), *SMALL]
    assert main(["benchmark", *words]) == 0
    one, other = record_of(tmp_path / "a"), record_of(tmp_path / "b")
    assert one["counts"] == other["counts"] == {
        "train": 8, "test_good": 1, "test_defective": 1, "test_masks": 0, "unreadable": 0}
    assert one["metrics"] == other["metrics"] and one["decision"] == other["decision"]
    # Saved again, or turned, they are other files, but the same shots.
    Image.open(bolts / "train/good/0.png").rotate(180).save(bolts / "test/good/21.png")
    Image.open(bolts / "train/good/1.png").save(bolts / "train/good/9.bmp")
    (bolts / "train/good/9.png").unlink()
    capsys.readouterr()
    assert run(bolts, tmp_path / "c") == 0
    said = capsys.readouterr().err
    assert "1 pair of photos nearly the same: each is judged by a model that knows" in said
    assert "1 pair of photos nearly the same: one was learned and the other is tested" in said
    assert main(["fit", str(bolts), "--output", str(tmp_path / "model"), *SMALL]) == 0
    assert "1 pair of photos nearly the same" in capsys.readouterr().err
