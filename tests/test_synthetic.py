"""The synthetic data set: same pixels every time, masks as outlined, never a half-drawn folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import few
from PIL import Image
from scipy import ndimage

from indad.data.synthetic import categories as synthetic
from indad.data.synthetic.categories import (
    CATEGORIES,
    draw_part,
    draw_twins,
    is_complete,
    version_of,
    write_category,
)
from indad.data.synthetic.outlines import GAPS, SPECK, outline

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
from masks import FLAWS, measure, twins_and_change  # noqa: E402

NAMES = sorted(CATEGORIES)
# Defects that are in several places: two dots and the print between them, a scratch on both sides
# of a bolt hole, up to three worm holes.
PLACES = {("board", "reversed_chip"): 3, ("gear", "scratch"): 2, ("wood", "hole"): 3}
FEW = {"train": 2, "good": 1, "per_defect": 1}  # enough to see the layout, quick to draw


def files_below(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_six_categories_of_both_kinds_with_four_defects_or_more():
    assert NAMES == ["board", "capsule", "gear", "tiles", "weave", "wood"]
    assert {category.kind for category in CATEGORIES.values()} == {"texture", "object"}
    for name, category in CATEGORIES.items():
        assert category.name == name
        assert len(set(category.defects)) == len(category.defects) >= 4
        assert "good" not in category.defects


@pytest.mark.parametrize("name", NAMES)
def test_a_good_part_is_an_rgb_image_with_an_empty_mask(name):
    image, mask = draw_part(name)
    assert image.shape == (256, 256, 3) and image.dtype == np.uint8
    assert mask.shape == (256, 256) and mask.dtype == bool
    assert not mask.any()


@pytest.mark.parametrize("name", few(NAMES, 2))
def test_a_picture_depends_only_on_its_names(name):
    defect = CATEGORIES[name].defects[0]
    wanted = [("good", "train", 0), (defect, "test", 1), ("good", "test", 2)]

    def draw_all(requests):
        return {r: draw_part(name, defect=r[0], split=r[1], index=r[2], seed=5) for r in requests}

    forwards, backwards = draw_all(wanted), draw_all(reversed(wanted))
    for request in wanted:
        np.testing.assert_array_equal(forwards[request][0], backwards[request][0])
        np.testing.assert_array_equal(forwards[request][1], backwards[request][1])


@pytest.mark.parametrize("name", NAMES)
def test_parts_vary_with_index_split_and_seed(name):
    first = draw_part(name)[0].astype(int)
    for other in ({"index": 1}, {"split": "test"}, {"seed": 1}):
        difference = np.abs(draw_part(name, **other)[0].astype(int) - first)
        # Noise alone changes a pixel by some two grey levels: the part itself must differ.
        assert difference.mean() > 4, other


@pytest.mark.slow
def test_each_defect_gets_parts_of_its_own():
    twins = [draw_twins("board", defect=defect, split="test")[0].astype(int)
             for defect in CATEGORIES["board"].defects]
    for number, twin in enumerate(twins):
        assert all(np.abs(twin - other).mean() > 4 for other in twins[:number])


@pytest.mark.parametrize(("name", "defect"), few(FLAWS, dict(FLAWS).items()))
def test_a_mask_is_what_a_person_would_outline(name, defect):
    """Whole, without specks, covering the change, and not a blob over the part."""
    for index in range(3):
        good, shown, mask, change = twins_and_change(name, defect, index, seed=3)
        like = measure(mask, change)
        assert like["regions"] <= PLACES.get((name, defect), 1)
        assert like["smallest"] >= SPECK and like["specks"] == 0
        assert like["covered"] > 0.99
        # What moved as a whole is outlined with what it hides again; other masks hug the change.
        assert like["changed"] > (0.4 if defect in GAPS else 0.75)
        assert 12 <= mask.sum() <= 0.08 * mask.size
        np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)
        seen = np.abs(shown.astype(int) - good.astype(int)).max(axis=2)
        assert seen[~mask & ~change].max() <= 7  # the threshold of six grey levels and rounding
        assert seen[mask & change].mean() > 12  # a person can see it


def test_an_outline_closes_gaps_and_leaves_out_specks():
    change = np.zeros((64, 64), bool)
    change[20:40, 20:24] = change[20:40, 28:32] = True  # four pixels apart
    change[0:12, 0:3] = change[0:12, 5:8] = True  # at the border, where nothing is beyond
    change[60:62, 60:62] = change[5, 50] = True
    mask = outline(change, "crack")
    wanted = np.zeros((64, 64), bool)
    wanted[20:40, 20:32] = wanted[0:12, 0:8] = True
    assert not (mask & ~wanted).any() and not (change & wanted & ~mask).any()
    assert ndimage.label(mask)[1] == 2
    frame = np.ones((40, 40), bool)
    frame[2:38, 2:38] = False
    assert outline(frame, "misplaced").all()
    apart = np.zeros((64, 64), bool)
    apart[10:14, 10:14] = apart[10:14, 22:26] = True  # eight pixels apart: two places
    np.testing.assert_array_equal(outline(apart, "hole"), apart)
    assert not outline(np.zeros((8, 8), bool), "hole").any()


@pytest.mark.parametrize("name", few(NAMES, ["capsule"]))
def test_photos_are_those_of_version_1(name, monkeypatch):
    """Version 2 has other masks only: means of 4 x 4 blocks, recorded before.

    Not a digest, as float32 is rounded otherwise by another processor. To the bit, photos do not
    depend on outlines.
    """
    recorded = json.loads((Path(__file__).parent / "fixtures/drawn.json").read_text())
    for defect in ("good", *CATEGORIES[name].defects):
        image, _ = draw_part(name, defect=defect, split="test")
        blocks = image.reshape(4, 64, 4, 64, 3).mean(axis=(1, 3, 4)).ravel()
        assert blocks == pytest.approx(recorded[f"{name}/{defect}"], abs=0.1)
    monkeypatch.setattr(synthetic, "outline", lambda change, defect: change)
    np.testing.assert_array_equal(draw_part(name, defect=defect, split="test")[0], image)


def test_draw_part_shows_the_defective_twin():
    _, shown, mask = draw_twins("gear", defect="rust", split="test", index=4, seed=2)
    image, same_mask = draw_part("gear", defect="rust", split="test", index=4, seed=2)
    np.testing.assert_array_equal(image, shown)
    np.testing.assert_array_equal(same_mask, mask)


@pytest.mark.parametrize("name", few(NAMES, ["capsule"]))
def test_folder_has_the_layout_of_mvtec_ad(tmp_path, name):
    folder = write_category(tmp_path / name, name, seed=1, **FEW)
    defects = CATEGORIES[name].defects
    wanted = {"train/good/000.png", "train/good/001.png", "test/good/000.png", "synthetic.json"}
    wanted |= {f"test/{defect}/000.png" for defect in defects}
    wanted |= {f"ground_truth/{defect}/000_mask.png" for defect in defects}
    assert files_below(folder) == sorted(wanted)
    assert {entry.name for entry in tmp_path.iterdir()} == {name}
    assert json.loads((folder / "synthetic.json").read_text()) == {
        "version": synthetic.VERSION, "seed": 1, "category": name, "counts": FEW}


def test_files_hold_what_draw_part_draws(tmp_path):
    folder = write_category(tmp_path / "capsule", "capsule", seed=1, **FEW)
    image, mask = draw_part("capsule", defect="dent", split="test", index=0, seed=1)
    with Image.open(folder / "test/dent/000.png") as file:
        assert file.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(file), image)
    with Image.open(folder / "ground_truth/dent/000_mask.png") as file:
        assert file.mode == "L"
        np.testing.assert_array_equal(np.asarray(file), mask * np.uint8(255))


@pytest.mark.slow
def test_a_complete_folder_is_left_untouched_and_another_request_replaces_it(tmp_path):
    folder = write_category(tmp_path / "wood", "wood", **FEW)
    mark = folder / "mark.txt"
    mark.write_text("still the old folder")
    write_category(folder, "wood", **FEW)
    assert mark.exists()
    assert not is_complete(folder, "wood", seed=1, **FEW)
    write_category(folder, "wood", seed=1, **FEW)
    assert not mark.exists()
    assert is_complete(folder, "wood", seed=1, **FEW)
    write_category(folder, "wood", seed=1, **{**FEW, "train": 3})
    assert (folder / "train/good/002.png").exists()


@pytest.mark.slow
def test_a_new_version_redraws(tmp_path, monkeypatch):
    folder = write_category(tmp_path / "wood", "wood", **FEW)
    (folder / "mark.txt").write_text("drawn by the old version")
    monkeypatch.setattr(synthetic, "VERSION", synthetic.VERSION + 1)
    assert not is_complete(folder, "wood", **FEW)
    write_category(folder, "wood", **FEW)
    assert not (folder / "mark.txt").exists()
    assert is_complete(folder, "wood", **FEW)


def test_a_folder_says_which_version_it_is(tmp_path):
    folder = write_category(tmp_path / "wood", "wood", **FEW)
    assert version_of(folder) == synthetic.VERSION == 2
    for said in ({"version": 1}, {"version": True, "category": "wood"}, {"category": "wood"}, [1],
                 {"version": 0, "category": "wood"}, {"version": 1, "category": ["wood"]}):
        (folder / "synthetic.json").write_text(json.dumps(said))
        assert version_of(folder) is None  # not a note of ours
    assert version_of(tmp_path) is None


@pytest.mark.slow
def test_a_stale_partial_folder_is_removed_and_never_read(tmp_path):
    stale = tmp_path / ".weave.0a1b2c3d.partial" / "train" / "good"
    stale.mkdir(parents=True)
    (stale / "999.png").write_bytes(b"half a picture")
    assert not is_complete(tmp_path / "weave", "weave", **FEW)
    folder = write_category(tmp_path / "weave", "weave", **FEW)
    assert not (folder / "train/good/999.png").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {"weave"}


@pytest.mark.slow
def test_an_interrupted_drawing_leaves_no_folder_and_can_be_repeated(tmp_path):
    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_category(tmp_path / "weave", "weave", **FEW, progress=interrupt)
    assert not (tmp_path / "weave").exists()
    assert not is_complete(tmp_path / "weave", "weave", **FEW)
    folder = write_category(tmp_path / "weave", "weave", **FEW)
    assert is_complete(folder, "weave", **FEW)
    assert {entry.name for entry in tmp_path.iterdir()} == {"weave"}


@pytest.mark.slow
def test_an_interrupted_redrawing_keeps_the_old_folder(tmp_path):
    folder = write_category(tmp_path / "weave", "weave", **FEW)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_category(folder, "weave", seed=1, **FEW, progress=interrupt)
    assert is_complete(folder, "weave", **FEW)


def test_a_folder_that_was_not_drawn_here_is_never_replaced(tmp_path):
    photo = tmp_path / "wood" / "train" / "good" / "000.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"a real photograph")
    with pytest.raises(FileExistsError, match="wood"):
        write_category(tmp_path / "wood", "wood", **FEW)
    assert photo.read_bytes() == b"a real photograph"


@pytest.mark.slow
def test_progress_counts_every_picture(tmp_path):
    calls = []
    write_category(tmp_path / "wood", "wood", **FEW, progress=lambda *call: calls.append(call))
    total = 2 + 1 + len(CATEGORIES["wood"].defects)
    assert calls == [(done, total) for done in range(1, total + 1)]


def test_unknown_names_are_answered_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="'wod'.*did you mean wood"):
        draw_part("wod")
    with pytest.raises(ValueError, match="'weav'.*did you mean weave"):
        write_category(tmp_path / "weav", "weav")
    with pytest.raises(ValueError, match="'scrach'.*did you mean scratch.*known: good, "):
        draw_part("gear", defect="scrach")
    with pytest.raises(ValueError, match="unknown split 'tset'.*did you mean test"):
        draw_part("gear", split="tset")
    assert not any(tmp_path.iterdir())


def test_a_damaged_description_counts_as_incomplete(tmp_path):
    folder = write_category(tmp_path / "wood", "wood", **FEW)
    (folder / "synthetic.json").write_text("{")
    assert not is_complete(folder, "wood", **FEW)
