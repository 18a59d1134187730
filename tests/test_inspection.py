"""Many new photos through a model: everything is written down, nothing piles up, faults and all."""

import csv
import json
import os
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from learned_state import changed
from PIL import Image

from indad import PatchCore
from indad.calibration import conformal_rank, conformal_threshold
from indad.cli.commands import main
from indad.data.images import read_image
from indad.data.layouts import images_below
from indad.deploy import inspection
from indad.deploy.inspection import PICTURES, RECORD, REGIONS, SCORES, find_photos, inspect_images
from indad.deploy.regions import regions_above
from indad.engine.prediction import Prediction
from indad.errors import InputError
from indad.learned import scoring

sys.path.insert(0, str(Path(__file__).parent / "fixtures"))
from make_format_1 import pictures  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_backbones")
FLAGGED = ("new/3.png", "new/deep/3.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """`good` with five plaids, and `new` with four and a sub-folder; the spotted ones are 3.png."""
    folder = tmp_path_factory.mktemp("photos")
    plaids = [Image.fromarray(picture) for picture in pictures()]
    for i in range(5):
        (folder / "good").mkdir(exist_ok=True)
        plaids[i].save(folder / "good" / f"{i}.png")
    spotted = pictures()[5].copy()
    spotted[20:36, 24:44] = 255, 0, 0
    for place in ("new", "new/deep"):
        (folder / place).mkdir()
        for i in (0, 1, 3):
            picture = Image.fromarray(spotted) if i == 3 else plaids[i]
            picture.resize((90 + 10 * i, 120)).save(folder / place / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def model(shared_backbones, photos) -> PatchCore:
    return PatchCore(resize=64, coreset_ratio=0.5, batch_size=2, device="cpu").fit(
        sorted((photos / "good").iterdir()))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(folder)
    return folder


def read_scores(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / SCORES, newline="", encoding="utf-8") as lines:
        return {row["image"]: row for row in csv.DictReader(lines)}


@pytest.mark.slow
def test_everything_is_written_and_says_what_predict_says(model, photos, tmp_path):
    found = inspect_images(model, [photos / "new", photos / "good"], tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        SCORES, REGIONS, PICTURES, RECORD}
    rows = read_scores(tmp_path / "out")
    assert set(rows) == {f"{place}/{i}.png" for place in ("new", "new/deep") for i in (0, 1, 3)} | {
        f"good/{i}.png" for i in range(5)}
    prediction = model.predict([photos / name for name in rows])
    scores = [float(row["score"]) for row in rows.values()]
    assert scores == prediction.scores.tolist()
    assert scores == sorted(scores, reverse=True)
    limit = conformal_threshold(model.calibration_scores_, 0.05)
    level = conformal_threshold(model.calibration_peaks_, 0.05)
    ranks = conformal_rank(model.calibration_scores_, prediction.scores).tolist()
    assert [float(row["rank"]) for row in rows.values()] == ranks
    for row, score in zip(rows.values(), scores, strict=True):
        assert float(row["threshold"]) == limit
        assert row["verdict"] == ("defective" if score > limit else "good")
        assert row["reason"] == ""
    assert {name for name, row in rows.items() if row["verdict"] == "defective"} == set(FLAGGED)

    regions = json.loads((tmp_path / "out" / REGIONS).read_text())
    assert set(regions) == set(rows)
    for name, own in zip(rows, prediction.maps, strict=True):
        wanted = [(list(one.box), one.area, one.peak) for one in regions_above(own, level)]
        assert [(one["box"], one["area"], one["peak"]) for one in regions[name]] == wanted
        assert int(rows[name]["regions"]) == len(wanted)
    (spot,) = regions["new/3.png"]  # the spot is at 20-36 x 24-44 of 64, the photo 120 x 120
    left, top, right, bottom = spot["box"]
    assert left < 45 + 20 < right and top < 37 + 15 < bottom
    assert right <= 120 and bottom <= 120

    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record == json.loads(json.dumps(found.record))  # tuples are lists in a file
    assert record["counts"] == {"images": 11, "flagged": 2, "unreadable": 0}
    assert (record["threshold"], record["map_threshold"]) == (limit, level)
    assert (record["calibrated_on"], record["lowest_false_alarm_rate"]) == (5, 1 / 6)
    assert record["config"]["resize"] == 64
    assert record["environment"]["torch"]
    assert str(found) == (
        f"11 images: 2 flagged, 0 unreadable; threshold {limit:.4g}: leave-one-out on 5 good "
        "images, for a false-alarm rate of 0.05; so few can promise 0.17 at best; results: "
        f"{tmp_path / 'out'}")


@pytest.mark.slow
def test_flagged_photos_are_drawn_and_explained(model, photos, tmp_path):
    inspect_images(model, [photos / "new"], tmp_path)
    rows = read_scores(tmp_path)
    assert {name: row["overlay"] for name, row in rows.items() if row["overlay"]} == {
        "3.png": "overlays/3.png", "deep/3.png": "overlays/deep_3.png"}
    assert {file.name for file in (tmp_path / PICTURES).iterdir()} == {
        "3.png", "3_why.png", "deep_3.png", "deep_3_why.png"}
    heat = np.asarray(Image.open(tmp_path / PICTURES / "3.png"))
    assert (heat[..., 1:] == 255).all(2).any() and (heat == (0, 255, 255)).all(2).any()  # outlined
    why = Image.open(tmp_path / PICTURES / "3_why.png")
    assert why.size == (4 * 256, 256 + 24)  # photo, patch, training photo, its patch
    assert (np.asarray(why)[24:, 512:] == (0, 255, 255)).all(2).sum() > 100  # a box there too

    inspect_images(model, [photos / "new"], tmp_path, overlays="all")
    assert len(list((tmp_path / PICTURES).iterdir())) == 6 + 2
    inspect_images(model, [photos / "new"], tmp_path, overlays="none")
    assert not list((tmp_path / PICTURES).iterdir())


@pytest.mark.slow
def test_a_loaded_model_knows_its_training_photos_or_does_without(saved, photos, tmp_path):
    loaded = PatchCore.load(saved, device="cpu")
    assert loaded.files_ == [str(photos / "good" / f"{i}.png") for i in range(5)]
    inspect_images(loaded, [photos / "new" / "3.png"], tmp_path)
    assert Image.open(tmp_path / PICTURES / "3_why.png").width == 4 * 256
    for files in (None, ["/gone.png"] * 5):
        inspect_images(changed(loaded, files=files), [photos / "new" / "3.png"], tmp_path)
        assert Image.open(tmp_path / PICTURES / "3_why.png").width == 2 * 256


def test_unreadable_photos_are_listed_and_stop_nothing(model, photos, tmp_path):
    shutil.copytree(photos / "new", tmp_path / "new")
    for name in ("0.png", "2.jpg", "deep/9.webp"):
        (tmp_path / "new" / name).write_bytes(b"\x89PNG cut short")
    found = inspect_images(model, [tmp_path / "new"], tmp_path / "out")
    rows = read_scores(tmp_path / "out")
    assert len(rows) == 8
    unreadable = [name for name, row in rows.items() if row["verdict"] == "unreadable"]
    assert unreadable == list(rows)[-3:]  # below all that have a score
    assert set(unreadable) == {"0.png", "2.jpg", "deep/9.webp"}
    for name in unreadable:
        row = rows[name]
        assert row["score"] == row["rank"] == row["regions"] == row["overlay"] == ""
        assert f"{Path(name).name}: not a readable image" in row["reason"]
    regions = json.loads((tmp_path / "out" / REGIONS).read_text())
    assert [regions[name] for name in unreadable] == [None] * 3
    assert found.record["counts"] == {"images": 8, "flagged": 2, "unreadable": 3}
    assert len(found.warnings) == 3
    assert float(rows["1.png"]["score"]) == model.predict(photos / "new" / "1.png").scores[0]

    with pytest.raises(InputError, match=r"0\.png: not a readable"):
        inspect_images(model, [tmp_path / "new"], tmp_path / "strict", strict=True)
    for name in ("1.png", "3.png"):
        (tmp_path / "new" / name).unlink()
    shutil.rmtree(tmp_path / "new" / "deep")
    with pytest.raises(InputError, match="none of 2 images can be read; the first: .*0.png"):
        inspect_images(model, [tmp_path / "new"], tmp_path / "none")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "out"]


@pytest.mark.slow
def test_no_more_than_a_few_batches_are_held(model, photos, tmp_path, monkeypatch):
    """40 photos in batches of 2: the maps of each prediction, and how many of them live at once."""
    alive: list = []
    most = {"batch": 0, "alive": 0}

    class Watched(Prediction):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            alive.append(weakref.ref(self))
            most["batch"] = max(most["batch"], len(self.model_maps))
            most["alive"] = max(most["alive"], sum(one() is not None for one in alive))

    monkeypatch.setattr(scoring, "Prediction", Watched)
    monkeypatch.setattr(PatchCore, "predict", None)
    for i in range(40):
        shutil.copy(photos / "new" / "1.png", tmp_path / f"{i}.png")
    inspect_images(model, [tmp_path], tmp_path / "out", overlays="none")
    assert len(read_scores(tmp_path / "out")) == 40
    assert most["batch"] == 2
    assert most["alive"] <= 2  # the one that is written down, and the next one being made


@pytest.mark.slow
def test_names_never_collide(model, photos, tmp_path):
    spotted = photos / "new" / "3.png"
    for name in ("a/x.png", "b/x.png", "a_x.png", "a_x_why.png", "a/x.bmp", "A/X.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(spotted).save(tmp_path / "in" / name)
    inspect_images(model, [tmp_path / "in"], tmp_path / "out")
    rows = read_scores(tmp_path / "out")
    assert len(rows) == 6
    files = [row["overlay"].casefold() for row in rows.values()]
    files += [file.replace(".png", "_why.png") for file in files]
    assert len(set(files)) == 12
    assert len(list((tmp_path / "out" / PICTURES).iterdir())) == 12

    # Two folders, each with its own x.png, and one photo given twice.
    names = find_photos([tmp_path / "in" / "a", tmp_path / "in" / "b", tmp_path / "in/b/x.png"])
    assert list(names) == ["a/x.bmp", "a/x.png", "b/x.png"]
    assert list(find_photos([spotted])) == ["3.png"]


def test_which_files_of_a_folder_are_photos(photos, tmp_path):
    shutil.copytree(photos / "new", tmp_path / "new")
    for place in ("ground_truth", ".hidden", "earlier"):
        shutil.copytree(photos / "good", tmp_path / "new" / place)
    (tmp_path / "new" / "earlier" / RECORD).touch()
    (tmp_path / "new" / "notes.txt").touch()
    (tmp_path / "new" / "folder.png").mkdir()
    (tmp_path / "new" / "deep" / "circle").symlink_to(tmp_path / "new")
    assert set(find_photos([tmp_path / "new"])) == {
        f"{place}{i}.png" for place in ("", "deep/") for i in (0, 1, 3)}
    assert len(images_below(tmp_path / "new")) == 6
    (tmp_path / "odd.dat").write_bytes((photos / "new" / "0.png").read_bytes())
    assert list(find_photos([tmp_path / "odd.dat"])) == ["odd.dat"]
    for place, message in (("gone", "no such image"), (".", "")):
        if message:
            with pytest.raises(InputError, match=message):
                find_photos([tmp_path / place])
    with pytest.raises(InputError, match="no images there"):
        find_photos([tmp_path / "new" / "folder.png"])


@pytest.mark.skipif(os.name != "posix", reason="names are text on this system")
def test_names_that_are_no_text_are_written_out(model, photos, tmp_path):
    name = os.fsdecode(b"bolt\xff\n.png")
    shutil.copy(photos / "new" / "3.png", tmp_path / name)
    found = inspect_images(model, [tmp_path], tmp_path / "out")
    (row,) = read_scores(tmp_path / "out").values()
    assert row["image"] == "bolt\\xff\n.png"
    assert (tmp_path / "out" / row["overlay"]).is_file()
    assert found.warnings == ()


@pytest.mark.slow
def test_only_its_own_results_are_replaced(model, photos, tmp_path, monkeypatch):
    one = [photos / "new" / "1.png"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "me.jpg").write_text("dear")
    with pytest.raises(InputError, match=r"holds me\.jpg, which is no part of results of predict"):
        inspect_images(model, one, tmp_path / "mine")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / SCORES).write_text("of something else")
    with pytest.raises(InputError, match=r"holds scores\.csv"):
        inspect_images(model, one, tmp_path / "half")
    with pytest.raises(InputError, match="is a file"):
        inspect_images(model, one, tmp_path / "mine" / "me.jpg")
    assert (tmp_path / "mine" / "me.jpg").read_text() == "dear"

    inspect_images(model, [photos / "new"], tmp_path / "out")
    with pytest.raises(InputError, match="would be replaced"):
        inspect_images(model, [tmp_path / "out" / PICTURES], tmp_path / "out")
    inspect_images(model, one, tmp_path / "out")
    assert len(read_scores(tmp_path / "out")) == 1

    def pull_the_plug(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "write_json", pull_the_plug)
    for place in ("out", "fresh"):
        with pytest.raises(KeyboardInterrupt):
            inspect_images(model, [photos / "new"], tmp_path / place)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half", "mine", "out"]
    assert len(read_scores(tmp_path / "out")) == 1


@pytest.mark.slow
def test_thresholds_of_ones_own(model, photos, tmp_path):
    scores = model.predict(sorted((photos / "new").glob("*.png"))).scores
    limit = float(np.sort(scores)[1])
    found = inspect_images(model, [photos / "new"], tmp_path, threshold=limit)
    rows = read_scores(tmp_path)
    assert all((float(row["score"]) > limit) == (row["verdict"] == "defective")
               for row in rows.values())
    assert found.record["threshold_from"] == "given"
    assert found.record["map_threshold"] == conformal_threshold(model.calibration_peaks_, 0.05)
    assert f"threshold {limit:.4g} as given; results" in str(found)
    found = inspect_images(model, [photos / "new"], tmp_path, false_alarm_rate=0.5)
    assert found.record["threshold"] == conformal_threshold(model.calibration_scores_, 0.5)
    assert found.record["map_threshold"] == conformal_threshold(model.calibration_peaks_, 0.5)
    for options, message in ((dict(threshold=float("nan")), "threshold is nan"),
                             (dict(false_alarm_rate=1.0), "false_alarm_rate is 1.0"),
                             (dict(overlays="some"), "unknown overlays 'some'")):
        with pytest.raises(InputError, match=message):
            inspect_images(model, [photos / "new"], tmp_path, **options)


def test_a_model_without_a_threshold_still_scores(photos, tmp_path):
    model = PatchCore(resize=64, device="cpu").fit([photos / "good" / "0.png"])
    found = inspect_images(model, [photos / "new"], tmp_path, overlays="all")
    rows = read_scores(tmp_path)
    assert {(row["verdict"], row["rank"], row["regions"]) for row in rows.values()} == {
        ("n/a", "", "")}
    assert len(list((tmp_path / PICTURES).iterdir())) == 6
    assert set(json.loads((tmp_path / REGIONS).read_text()).values()) == {None}
    assert "threshold none where no good image was left" in str(found)


def test_a_photo_that_goes_away_meanwhile_is_told(model, photos, tmp_path, monkeypatch):
    def gone(path, levels):
        raise InputError(f"{path}: no such image")

    monkeypatch.setattr(inspection, "read_image", gone)
    found = inspect_images(model, [photos / "new"], tmp_path)
    assert found.record["counts"]["flagged"] == 2
    assert [warning.endswith("3.png: no such image") for warning in found.warnings] == [True] * 2
    assert {row["overlay"] for row in read_scores(tmp_path).values()} == {""}


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_of_a_flood_fill(seed):
    """Found by walking from pixel to pixel over all eight neighbours."""
    values = np.random.default_rng(seed).random((13, 17)).astype(np.float32)
    level, seen, wanted = 0.6 + 0.1 * seed, set(), []
    for start in zip(*np.nonzero(values > level), strict=True):
        region, waiting = set(), [start]
        while waiting:
            y, x = waiting.pop()
            if (y, x) not in seen and 0 <= y < 13 and 0 <= x < 17 and values[y, x] > level:
                seen.add((y, x))
                region.add((int(y), int(x)))
                waiting += [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        if region:
            ys, xs = zip(*region, strict=True)
            wanted.append(((min(xs), min(ys), max(xs) + 1, max(ys) + 1), len(region),
                           max(float(values[place]) for place in region)))
    found = [(one.box, one.area, one.peak) for one in regions_above(values, level)]
    assert found == sorted(wanted, key=lambda one: -one[2])
    assert regions_above(values, 1.0) == []


def test_the_command(saved, photos, tmp_path, capsys):
    words = ["predict", saved, photos / "new", "--output", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 1
    assert out[0].startswith("6 images: 2 flagged, 0 unreadable; threshold ")
    assert out[0].endswith(f"results: {tmp_path / 'out'}")
    assert json.loads((tmp_path / "out" / RECORD).read_text())["model"] == saved.name
    (tmp_path / "bad.png").write_bytes(b"")
    for more, message in (([tmp_path / "bad.png"], "none of 1 images can be read"),
                          ([tmp_path / "bad.png", photos / "new", "--strict"], "bad.png: not a"),
                          ([tmp_path / "gone.png"], "gone.png: no such image")):
        words = ["predict", saved, *more, "--output", tmp_path / "other"]
        assert main([str(word) for word in words]) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]
        assert not (tmp_path / "other").exists()
    words = ["predict", saved, tmp_path / "bad.png", photos / "new", "--output", tmp_path / "out",
             "--threshold", 0, "--overlays", "none"]
    assert main([str(word) for word in words]) == 0
    captured = capsys.readouterr()
    assert "7 images: 6 flagged, 1 unreadable; threshold 0 as given" in captured.out
    assert "indad: warning: " in captured.err and "bad.png: not a readable" in captured.err


def test_pictures_can_be_read_back_as_photos(model, photos, tmp_path):
    inspect_images(model, [photos / "new"], tmp_path)
    for file in (tmp_path / PICTURES).iterdir():
        assert read_image(file).size[1] == 280


@pytest.mark.parametrize("size", [(6000, 2), (2, 6000), (1, 1), (3000, 40)])
def test_pictures_of_strips_stay_small(model, tmp_path, size):
    """A strip's patch is a thousand times as wide as high, and so would be its surroundings."""
    Image.new("RGB", size, "red").save(tmp_path / "strip.png")
    inspect_images(model, [tmp_path], tmp_path / "out", threshold=0.0)
    for file in (tmp_path / "out" / PICTURES).iterdir():
        picture = Image.open(file)
        assert picture.width <= 4 * 4 * 256 and picture.height <= 280
