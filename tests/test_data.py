"""Every layout on disk, its labels, masks and splits; and the errors of each."""

import json
import pickle
import shutil
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from indad.cli.commands import main
from indad.data import datasets as data
from indad.data import layouts
from indad.data.datasets import fingerprint, list_categories, load_dataset
from indad.errors import InputError, InputWarning


def picture(file, size=(16, 16), value=90):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(file)


def counts(items):
    kinds = [item.defect_type for item in items]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def test_mvtec_layout(drawn):
    assert list_categories(drawn) == ["capsule", "tiles"]
    train, test = load_dataset(drawn, "tiles")
    assert (train.dataset, train.category) == (drawn.name, "tiles")
    assert counts(train) == {"good": 8}
    assert counts(test) == {"chip": 1, "contamination": 1, "crack": 1, "good": 3, "misplaced": 1,
                            "stain": 1}
    assert test.labels.tolist() == [item.defect_type != "good" for item in test]
    for item in test:
        assert item.mask().shape == (256, 256)
        assert item.mask().any() == bool(item.label)


def test_one_category_and_a_folder_of_categories_are_the_same(drawn):
    inside, _ = load_dataset(drawn / "tiles")
    outside, _ = load_dataset(drawn, "tiles")
    assert [i.path.name for i in inside] == [i.path.name for i in outside]
    assert (inside.dataset, inside.category) == (outside.dataset, outside.category)


def test_names_of_parent_folders_change_nothing(drawn, tmp_path):
    """Peers look for "good", "test" and "train" anywhere in the absolute path."""
    there = tmp_path / "goods" / "latest_test" / "train" / "mask_train_good"
    shutil.copytree(drawn / "tiles", there / "tiles")
    here, moved = load_dataset(drawn, "tiles"), load_dataset(there, "tiles")
    for before, after in zip(here, moved, strict=True):
        assert [before.name_of(i) for i in before] == [after.name_of(i) for i in after]
        assert before.labels.tolist() == after.labels.tolist()
    assert all(a.mask().sum() == b.mask().sum() for a, b in zip(here[1], moved[1], strict=True))
    assert fingerprint(*here) == fingerprint(*moved)


def test_masks_are_optional_image_by_image(drawn, tmp_path):
    shutil.copytree(drawn / "tiles", tmp_path / "tiles")
    (tmp_path / "tiles" / "ground_truth" / "crack" / "000_mask.png").unlink()
    _, test = load_dataset(tmp_path, "tiles")
    assert {i.defect_type for i in test if i.mask() is None} == {"crack"}


def test_plain_folder(tmp_path):
    for n in range(10):
        picture(tmp_path / "parts" / "good" / f"{n}.jpg")
    picture(tmp_path / "parts" / "bent" / "a.png")
    picture(tmp_path / "parts" / "good" / ".hidden.png")
    (tmp_path / "parts" / "good" / "notes.txt").write_text("not an image")
    train, test = load_dataset(tmp_path / "parts")
    assert counts(train) == {"good": 8}
    assert counts(test) == {"bent": 1, "good": 2}
    assert test[2].mask() is None
    assert not {i.path for i in train} & {i.path for i in test}
    again, _ = load_dataset(tmp_path / "parts")
    other, _ = load_dataset(tmp_path / "parts", seed=1)
    assert [i.path for i in again] == [i.path for i in train] != [i.path for i in other]


def test_visa_layout(tmp_path):
    (tmp_path / "split_csv").mkdir()
    lines = ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        for n in range(3):
            picture(tmp_path / name / "Data/Images/Normal" / f"{n}.JPG")
            split = "train" if n < 2 else "test"
            lines.append(f"{name},{split},normal,{name}/Data/Images/Normal/{n}.JPG,")
        picture(tmp_path / name / "Data/Images/Anomaly/0.JPG")
        mask = np.zeros((16, 16), np.uint8)
        mask[3:5, 3:5] = 2  # a class number, nearly black
        (tmp_path / name / "Data/Masks/Anomaly").mkdir(parents=True)
        Image.fromarray(mask).save(tmp_path / name / "Data/Masks/Anomaly/0.png")
        lines.append(f"{name},test,anomaly,{name}/Data/Images/Anomaly/0.JPG,"
                     f"{name}/Data/Masks/Anomaly/0.png")
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    assert list_categories(tmp_path) == ["candle", "pcb1"]
    train, test = load_dataset(tmp_path, "pcb1")
    assert (counts(train), counts(test)) == ({"good": 2}, {"anomaly": 1, "good": 1})
    assert [i.mask().sum() for i in test if i.label] == [4]


def test_visa_s_other_splits(tmp_path):
    """Of those that train, only the good ones do; and each split is a file."""
    rows = {"1cls": "", "2cls_fewshot": ""}
    for n in range(6):
        kind = "Normal" if n < 4 else "Anomaly"
        picture(tmp_path / f"pcb1/Data/Images/{kind}/{n}.JPG")
        label = "normal" if n < 4 else "anomaly"
        rows["1cls"] += f"pcb1,{'train' if n < 3 else 'test'},{label},"
        rows["2cls_fewshot"] += f"pcb1,{'train' if n in (0, 4) else 'test'},{label},"
        for name in rows:
            rows[name] += f"pcb1/Data/Images/{kind}/{n}.JPG,\n"
    (tmp_path / "split_csv").mkdir()
    for name, lines in rows.items():
        (tmp_path / f"split_csv/{name}.csv").write_text("object,split,label,image,mask\n" + lines)
    train, test = load_dataset(tmp_path, "pcb1", split="2cls_fewshot")
    assert [number_of(item) for item in train] == [0]
    assert [number_of(item) for item in test] == [1, 2, 3, 5]
    assert len(load_dataset(tmp_path, "pcb1")[0]) == 3
    with pytest.raises(InputError, match="2cls_highshot.csv: the split 2cls_highshot needs this"):
        load_dataset(tmp_path, "pcb1", split="2cls_highshot")


def test_visa_s_splits_are_no_other_s(drawn):
    with pytest.raises(InputError, match="split is 2cls_fewshot, which only VisA has"):
        load_dataset(drawn, "tiles", split="2cls_fewshot")


@pytest.mark.parametrize("content, words", [
    (b"object,split,label,image,mask\ncandle,test,normal\n", "line 2: the columns image, mask are"),
    (b"object;split\n", "line 2: the columns object, split, label, image, mask are"),
    (b"", "line 2: the columns object"), (b"PK\x03\x04\xff\xfe", "is no table of commas in UTF-8"),
    (b"object\n\0", "columns split|is no table")])
def test_a_split_of_visa_that_is_none(tmp_path, content, words):
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        list_categories(tmp_path)


def test_a_split_of_visa_saved_by_a_spreadsheet(tmp_path):
    (tmp_path / "split_csv").mkdir()
    picture(tmp_path / "café/0.jpg")
    (tmp_path / "split_csv/1cls.csv").write_text(
        "object,split,label,image,mask\ncafé,train,normal,café/0.jpg,\n", encoding="utf-8-sig")
    assert list_categories(tmp_path) == ["café"]
    assert len(load_dataset(tmp_path)[0]) == 1


def test_btad_layout(tmp_path):
    """ok and ko; bmp images; masks named as their images."""
    for n in range(3):
        picture(tmp_path / "01/train/ok" / f"{n:04d}.bmp")
    picture(tmp_path / "01/test/ok/0000.bmp")
    picture(tmp_path / "01/test/ko/0000.bmp")
    picture(tmp_path / "01/ground_truth/ko/0000.png", value=255)
    assert list_categories(tmp_path) == ["01"]
    train, test = load_dataset(tmp_path)
    assert (counts(train), counts(test)) == ({"good": 3}, {"good": 1, "ko": 1})
    assert [i.mask().all() for i in test if i.label] == [True]


def test_mvtec_ad_2_layout(tmp_path):
    """Only the public test images have labels; their masks lie among them."""
    for folder, number in (("train/good", 3), ("validation/good", 2), ("test_public/good", 2),
                           ("test_public/bad", 1), ("test_private", 4), ("test_private_mixed", 4)):
        for n in range(number):
            picture(tmp_path / "vial" / folder / f"{n:03d}_regular.png")
    picture(tmp_path / "vial/test_public/ground_truth/bad/000_regular_mask.png", value=255)
    train, test = load_dataset(tmp_path, "vial")
    assert (counts(train), counts(test)) == ({"good": 3}, {"bad": 1, "good": 2})
    assert [i.mask().all() for i in test if i.label] == [True]


def test_mvtec_loco_layout(tmp_path):
    """A folder of masks for each image: the defect is their union."""
    for folder, number in (("train/good", 3), ("validation/good", 1), ("test/good", 1),
                           ("test/logical_anomalies", 1)):
        for n in range(number):
            picture(tmp_path / "pushpins" / folder / f"{n:03d}.png")
    for n, rows in enumerate((slice(0, 2), slice(8, 11))):
        mask = np.zeros((16, 16), np.uint8)
        mask[rows] = 240 + n
        file = tmp_path / f"pushpins/ground_truth/logical_anomalies/000/{n:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    train, test = load_dataset(tmp_path, "pushpins")
    assert (counts(train), counts(test)) == ({"good": 3}, {"good": 1, "logical_anomalies": 1})
    assert [i.mask().sum() for i in test if i.label] == [5 * 16]
    before = fingerprint(train, test)
    file.unlink()
    assert fingerprint(*load_dataset(tmp_path, "pushpins")) != before


@pytest.fixture
def large(tmp_path):
    """70 training images, and 15 and 4 test images of two types."""
    for folder, number in (("train/good", 70), ("test/good", 15), ("test/hole", 4)):
        for n in range(number):
            picture(tmp_path / "nuts" / folder / f"{n:03d}.png")
    return tmp_path


def test_a_reduced_category_follows_its_rule(large):
    train, test = load_dataset(large, "nuts_reduced")
    assert (train.category, test.category) == ("nuts_reduced", "nuts_reduced")
    assert (counts(train), counts(test)) == ({"good": 50}, {"good": 10, "hole": 4})
    # The rule of the docstring, word by word: this set is the same everywhere, for ever.
    seed = [zlib.crc32(b"nuts"), zlib.crc32(b"train")]
    chosen = sorted(np.random.default_rng(seed).permutation(70)[:50])
    assert [number_of(item) for item in train] == chosen
    assert [number_of(item) for item in test][:10] == [2, 5, 6, 7, 8, 9, 10, 11, 13, 14]
    # No seed of an experiment changes it, and no other group does.
    again = load_dataset(large, "nuts_reduced", seed=5)
    assert fingerprint(*again) == fingerprint(train, test)
    (large / "nuts" / "test" / "hole" / "000.png").unlink()
    assert [i.path for i in load_dataset(large, "nuts_reduced")[0]] == [i.path for i in train]


def test_smaller_reduced_sets_are_parts_of_larger_ones(large):
    train, test = load_dataset(large, "nuts")
    small = data.reduced(train, test, "nuts", n_train=5, n_test=2)
    larger = data.reduced(train, test, "nuts", n_train=20, n_test=6)
    for few, more in zip(small, larger, strict=True):
        assert {item.path for item in few} < {item.path for item in more}


def test_a_folder_named_reduced_is_taken_as_it_is(large):
    shutil.copytree(large / "nuts", large / "nuts_reduced")
    assert counts(load_dataset(large, "nuts_reduced")[0]) == {"good": 70}
    assert list_categories(large) == ["nuts", "nuts_reduced"]


def number_of(item):
    return int(item.path.stem)


@pytest.fixture
def tiles_of_mtd(tmp_path):
    """MTD's layout: 20 tiles of six exposures each, and two defects."""
    for tile in range(20):
        for exposure in range(1, 7):
            stem = f"exp{exposure}_num_{tile * 1000 + exposure * 15}"
            picture(tmp_path / "MT_Free/Imgs" / f"{stem}.jpg")
            picture(tmp_path / "MT_Free/Imgs" / f"{stem}.png", value=0)
    for kind in ("Crack", "Uneven"):
        picture(tmp_path / f"MT_{kind}/Imgs/exp1_num_7.jpg")
        mask = np.full((16, 16), 40, np.uint8)  # the blurred rim of a mask
        mask[2:4, 2:4] = 255 if kind == "Crack" else 0
        Image.fromarray(mask * (kind == "Crack")).save(
            tmp_path / f"MT_{kind}/Imgs/exp1_num_7.png")
    return tmp_path


def number(item):
    return int(item.path.stem.split("_")[-1])


def test_mtd_holds_out_a_fifth_at_random_which_leaks_tiles(tiles_of_mtd):
    train, test = load_dataset(tiles_of_mtd)
    assert counts(train) == {"good": 96}
    assert counts(test) == {"crack": 1, "good": 24, "uneven": 1}
    tiles = [{number(i) // 1000 for i in items if not i.label} for items in (train, test)]
    assert tiles[0] & tiles[1]


def test_mtd_grouped_keeps_exposures_together(tiles_of_mtd):
    for seed in range(3):
        train, test = load_dataset(tiles_of_mtd, split="grouped", seed=seed)
        assert len(train) + len(test) == 122
        assert 24 <= sum(test.labels == 0) <= 29
        tiles = [{number(i) // 1000 for i in items if not i.label} for items in (train, test)]
        assert not tiles[0] & tiles[1]
        assert len(set(train.groups)) == len(tiles[0])  # and says which they are
        assert len({(group, number(item) // 1000) for group, item in
                    zip(train.groups, train, strict=True)}) == len(tiles[0])
    assert load_dataset(tiles_of_mtd)[0].groups is None


def test_mtd_masks(tiles_of_mtd):
    _, test = load_dataset(tiles_of_mtd)
    masks = {item.defect_type: item.mask() for item in test if item.label}
    assert masks["crack"].sum() == 4  # half grey is the border
    assert masks["uneven"] is None  # black: nobody drew it


@pytest.mark.slow
def test_real_mtd(mtd):
    train, test = load_dataset(mtd)
    assert counts(train) == {"good": 762}
    assert counts(test) == {"blowhole": 115, "break": 85, "crack": 57, "fray": 32, "good": 190,
                            "uneven": 103}
    grouped = load_dataset(mtd, split="grouped")
    held_out = {number(i) for i in grouped[1] if not i.label}
    trained = np.array([number(i) for i in grouped[0]])
    assert min(np.abs(trained - n).min() for n in held_out) > layouts.MTD_GAP


def test_shots_are_nested_and_seeded(drawn):
    few = {k: [i.path.name for i in load_dataset(drawn, "tiles", shots=k, seed=4)[0]]
           for k in (1, 2, 5, 8)}
    assert few[8][:5] == few[5]
    assert few[5][:2] == few[2]
    assert len(set(few[8])) == 8
    assert few[8] != [i.path.name for i in load_dataset(drawn, "tiles", shots=8, seed=5)[0]]


def test_fingerprint_knows_contents_and_names(drawn, tmp_path):
    shutil.copytree(drawn / "tiles", tmp_path / "tiles")
    before = fingerprint(*load_dataset(tmp_path, "tiles"))
    file = tmp_path / "tiles" / "train" / "good" / "003.png"
    picture(file, (256, 256))
    changed = fingerprint(*load_dataset(tmp_path, "tiles"))
    file.rename(file.with_name("900.png"))
    assert len({before, changed, fingerprint(*load_dataset(tmp_path, "tiles"))}) == 3


@pytest.mark.slow
def test_synthetic_is_drawn_where_datasets_live(tmp_path, monkeypatch):
    monkeypatch.setattr(data.synthetic.write_category, "__kwdefaults__",
                        data.synthetic.write_category.__kwdefaults__ | dict(
                            train=2, good=1, per_defect=1))
    monkeypatch.setenv("INDAD_DATASETS", str(tmp_path / "here"))
    train, _ = load_dataset("synthetic", "weave")
    assert train[0].path == tmp_path / "here/synthetic/weave/train/good/000.png"
    load_dataset("synthetic", "weave", datasets=tmp_path / "there")
    assert (tmp_path / "there/synthetic/weave/train/good/001.png").is_file()


@pytest.mark.slow
def test_parts_of_another_version_are_told_by_path_and_drawn_again_by_name(tmp_path, monkeypatch):
    drawing = data.synthetic.write_category
    monkeypatch.setattr(drawing, "__kwdefaults__", drawing.__kwdefaults__ | dict(
        train=2, good=1, per_defect=1))
    train, test = load_dataset("synthetic", "wood", datasets=tmp_path)
    assert train.version == test.version == train.replaced(train[:1]).version == 2
    before, folder = fingerprint(train, test), train.folder
    note, mask = folder / "wood/synthetic.json", test[-1].mask_paths[0]
    note.write_text(json.dumps(json.loads(note.read_text()) | {"version": 1}))
    picture(mask, (256, 256), 255)  # other masks, the same photos
    for source in (folder, folder / "wood"):
        with pytest.warns(InputWarning, match="wood: parts drawn by version 1, with other masks "
                          "than those of version 2; --dataset synthetic draws them again$"):
            train, test = load_dataset(source, "wood")
        assert train.version == 1 and fingerprint(train, test) != before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = load_dataset("synthetic", "wood", datasets=tmp_path)
    assert train.version == 2 and fingerprint(train, test) == before
    note.unlink()
    assert load_dataset(folder, "wood")[0].version is None  # may be anybody's photos of wood


@pytest.mark.parametrize("source, category, message", [
    ("mvtec_at", None, "did you mean mvtec_ad"),
    ("mvtec_ad", "screw_reduced", r'get it with: indad.download_dataset\("mvtec_ad", "screw"\) '),
    ("mvtec_ad", "screws", r'get it with: indad.download_dataset\("mvtec_ad"\) '),
    ("no/such/folder", None, "no such folder"),
    ("synthetic", "wood_", "did you mean wood"),
    ("synthetic", None, "has several categories"),
])
def test_names_that_are_wrong(source, category, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_dataset(source, category)


def test_advice_fits_where_it_is_read(tmp_path, monkeypatch, capsys):
    """In Python a call, at a shell a command; the folder as a whole path, wherever one is then."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(data.NotHere) as caught:
        load_dataset("mvtec_ad", "screw", datasets="my sets")
    place = tmp_path / "my sets"
    assert str(caught.value) == (
        f'mvtec_ad is not in {place / "mvtec_ad"}; get it with: indad.download_dataset("mvtec_ad", '
        f'"screw", datasets="{place}") (CC BY-NC-SA 4.0), or take "synthetic"')
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # from a worker
    assert main(["run", "--dataset", "mvtec_ad", "--category", "screw", "--datasets", "my sets",
                 "--output", "out"]) == 2
    assert capsys.readouterr().err == (
        f"indad: error: mvtec_ad is not in {place / 'mvtec_ad'}; get it with: python -m indad "
        f"download mvtec_ad screw --datasets '{place}' (CC BY-NC-SA 4.0), or try --dataset "
        "synthetic\n")
    with pytest.raises(data.NotHere, match=r'indad.download_dataset\("visa"\) '):
        list_categories("visa")


def test_folders_that_are_wrong(drawn, tmp_path):
    with pytest.raises(InputError, match="expected train/good"):
        load_dataset(tmp_path)
    (tmp_path / "empty" / "good").mkdir(parents=True)
    with pytest.raises(InputError, match="no good images"):
        load_dataset(tmp_path / "empty")
    (tmp_path / "file.png").write_bytes(b"")
    with pytest.raises(InputError, match="is a file"):
        load_dataset(tmp_path / "file.png")
    with pytest.raises(InputError, match="did you mean tiles"):
        load_dataset(drawn, "tile")
    with pytest.raises(InputError, match="did you mean grouped"):
        load_dataset(drawn, "tiles", split="groups")
    for shots in (0, 9):
        with pytest.raises(InputError, match=f"shots is {shots}; tiles has 8"):
            load_dataset(drawn, "tiles", shots=shots)


def test_a_mask_of_another_size_is_named(drawn, tmp_path):
    shutil.copytree(drawn / "tiles", tmp_path / "tiles")
    picture(tmp_path / "tiles" / "ground_truth" / "crack" / "000_mask.png", (100, 50))
    with pytest.raises(InputError, match=r"000_mask.png: the mask is 50x100, .* is 256x256"):
        load_dataset(tmp_path, "tiles")


def test_a_tile_without_a_number_is_named(tiles_of_mtd):
    picture(tiles_of_mtd / "MT_Free/Imgs/extra.jpg")
    assert load_dataset(tiles_of_mtd)  # at random, numbers do not matter
    with pytest.raises(InputError, match=r"extra\.jpg: has no number like num_"):
        load_dataset(tiles_of_mtd, split="grouped")
