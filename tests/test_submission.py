"""A submission for MVTec AD 2: the right folder passes, and each rule that is broken is named."""

import numpy as np
import pytest
import tifffile
from cases import few
from PIL import Image
from predicted import save

from indad.cli.commands import main
from indad.deploy import submission
from indad.deploy.submission import check_submission
from indad.errors import InputError


@pytest.fixture
def rules(monkeypatch):
    """Two objects with two private photos each."""
    monkeypatch.setattr(submission, "OBJECTS", {"can": 2, "vial": 2})


@pytest.fixture
def right(rules, tmp_path):
    folder = tmp_path / "ours"
    for name in ("can", "vial"):
        for split, kind in submission.SPLITS.items():
            for number in range(2):
                stem = f"{name}/{split}/{number:03}_{kind}"
                heat = np.full((6, 8), number, np.float16)
                (folder / f"anomaly_images/{stem}").parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / f"anomaly_images/{stem}.tiff", heat)
                save(folder / f"anomaly_images_thresholded/{stem}.png",
                     (heat > 0).astype(np.uint8) * 255)
    return folder


def test_the_right_folder_passes(right, tmp_path):
    assert check_submission(right) == []
    for name in ("can", "vial"):
        for split, kind in submission.SPLITS.items():
            for number in range(2):
                save(tmp_path / f"ad2/{name}/{split}/{number:03}_{kind}.png",
                     np.zeros((6, 8), np.uint8))
    assert check_submission(right, tmp_path / "ad2") == []
    save(tmp_path / "ad2/can/test_private/001_regular.png", np.zeros((8, 6), np.uint8))
    assert [problem.split("ours/")[1] for problem in check_submission(right, tmp_path / "ad2")] == [
        "anomaly_images/can/test_private/001_regular.tiff: is 8 x 6, but its photo 6 x 8",
        "anomaly_images_thresholded/can/test_private/001_regular.png: is 8 x 6, but its photo "
        "6 x 8"]


MAP = "anomaly_images/can/test_private/000_regular.tiff"
MASK = "anomaly_images_thresholded/vial/test_private_mixed/001_mixed.png"


def written(pixels, place=MASK, **options):
    def write(folder):
        if place.endswith(".tiff"):
            tifffile.imwrite(folder / place, pixels, **options)
        else:
            Image.fromarray(pixels).save(folder / place)
    return write


BROKEN = {
    "lacks anomaly_images_thresholded": lambda f: __import__("shutil").rmtree(
        f / "anomaly_images_thresholded"),
    "has notes.txt; these are no folders": lambda f: (f / "notes.txt").write_text("x"),
    "has bottle; these are no objects": lambda f: (f / "anomaly_images/bottle").mkdir(),
    "has test_public; these are no folders": lambda f: (
        f / "anomaly_images/can/test_public").mkdir(),
    "lacks 000_regular.tiff": lambda f: (f / MAP).unlink(),
    "lacks 001_mixed.png": lambda f: (f / MASK).rename(f / MASK.replace("001", "1")),
    "is float32; it must be float16": written(np.zeros((6, 8), np.float32), MAP),
    "has several channels": written(np.zeros((6, 8, 3), np.float16), MAP, photometric="rgb"),
    "no finite numbers": written(np.full((6, 8), np.nan, np.float16), MAP),
    "is no TIFF": lambda f: (f / MAP).write_bytes(b"II*"),
    "is 7 x 6, but its map 8 x 6": written(np.zeros((6, 7), np.uint8)),
    "is of mode RGB": written(np.zeros((6, 8, 3), np.uint8)),
    "is of mode 1": written(np.zeros((6, 8), bool)),
    "has the value 1; it must be 0": written(np.ones((6, 8), np.uint8)),
    "is no PNG": lambda f: (f / MASK).write_bytes(b"x"),
}


@pytest.mark.parametrize("said", few(list(BROKEN), 4))
def test_each_rule_that_is_broken_is_named(right, said):
    BROKEN[said](right)
    problems = check_submission(right)
    assert said in problems[0], problems
    # Renamed: one is missing, one too many; and without a map there is nothing to compare with.
    assert len(problems) == 1 or "has 1_mixed.png" in problems[1], problems


@pytest.fixture
def ad2(rules, tmp_path):
    """Drawn objects in the layout of MVTec AD 2; the photos of one are not square."""
    rng = np.random.default_rng(0)
    for name, size in (("can", (64, 96)), ("vial", (64, 64))):
        for place, names in (
                ("train/good", ["000_regular", "001_regular", "002_regular"]),
                ("validation/good", ["000_regular", "001_regular"]),
                ("test_public/good", ["000_regular"]), ("test_public/bad", ["000_regular"]),
                ("test_private", ["000_regular", "001_regular"]),
                ("test_private_mixed", ["000_mixed", "001_mixed"])):
            for stem in names:
                photo = rng.integers(90, 110, (*size, 3)).astype(np.uint8)
                if stem.startswith("001_") and "private" in place:
                    photo[20:34, 20:34] = 255
                save(tmp_path / "ad2" / name / place / f"{stem}.png", photo)
        save(tmp_path / "ad2" / name / "test_public/ground_truth/bad/000_regular_mask.png",
             np.full(size, 255, np.uint8))
    return tmp_path / "ad2"


@pytest.mark.slow
def test_a_submission_from_the_command_line(ad2, tmp_path, capsys):
    words = ["submit", str(tmp_path / "ours"), "--dataset", str(ad2), "--resize", "64"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "can: pixels above" in out and "tar -czf ours.tar.gz" in out
    assert check_submission(tmp_path / "ours", ad2) == []
    assert main(["submit", str(tmp_path / "ours"), "--check", "--dataset", str(ad2)]) == 0
    heats, masks = [], []
    for stem in ("test_private/000_regular", "test_private/001_regular", "test_private_mixed/"
                 "000_mixed", "test_private_mixed/001_mixed"):
        heats.append(tifffile.imread(tmp_path / f"ours/anomaly_images/can/{stem}.tiff"))
        masks.append(np.asarray(Image.open(
            tmp_path / f"ours/anomaly_images_thresholded/can/{stem}.png")))
    heats, masks = np.stack(heats), np.stack(masks)
    assert heats.shape == masks.shape == (4, 64, 96)
    assert 20 <= heats[1].argmax() // 96 < 34 and masks[1, 27, 27] == 255  # where the square is
    assert (masks == 0).any() and heats[masks > 0].min() >= heats[masks == 0].max()
    (tmp_path / "ours" / MAP).unlink()
    assert main(["submit", str(tmp_path / "ours"), "--check", "--dataset", str(ad2)]) == 1
    assert "lacks 000_regular.tiff" in capsys.readouterr().out
    assert main([*words, "--category", "can"]) == 0  # that object anew
    assert check_submission(tmp_path / "ours", ad2) == []


@pytest.mark.slow
def test_mistakes_are_told_before_anything_is_fitted(ad2, tmp_path, capsys, monkeypatch):
    words = ["submit", str(tmp_path / "ours"), "--dataset", str(ad2)]

    def refused(*more):
        assert main([*words, *more]) == 2
        return capsys.readouterr().err

    assert "object of MVTec AD 2" in refused("--category", "bottle")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "thesis.txt").write_text("x")
    assert "holds thesis.txt" in refused("--resize", "64")
    (tmp_path / "ours" / "thesis.txt").unlink()
    (ad2 / "vial/test_private/001_regular.png").unlink()
    assert "holds 1 photos; a submission needs all 2" in refused()
    (ad2 / "can/validation/good").rename(ad2 / "can/validation/elsewhere")
    assert "no photos in validation/good" in refused()
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(InputError, match="pip install tifffile"):
        check_submission(tmp_path / "ours")
    assert not list((tmp_path / "ours").iterdir())
