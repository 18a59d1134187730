"""Any folder: which photos are good, which files are masks and of what, and what is left out."""

import warnings

import numpy as np
import pytest
from PIL import Image

from indad import load_dataset
from indad.cli.commands import main
from indad.cli.words import parser
from indad.data.audit import audit
from indad.data.audit_masks import covering_most
from indad.data.datasets import list_categories
from indad.data.folders import images_below, is_bad, is_good, is_mask_folder, photo_stem
from indad.data.layouts import good_photos
from indad.data.masks import read_mask
from indad.data.sources import as_list
from indad.deploy.inspection import find_photos
from indad.errors import InputError, InputWarning

SIDE = 32


def photo(file, seed=None):
    """Noise, of its own for each name; `bent/1.png` has its defect at the top left."""
    seed = sum(file.as_posix().encode()) * 7919 % 2 ** 31 if seed is None else seed
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def mask(file, mode="L"):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[:8, :4] = 255
    Image.fromarray(pixels).convert(mode).save(file)


def parts(folder, good="good", bad="bent", number=5):
    for i in range(number):
        photo(folder / good / f"{i}.png")
    for i in range(2):
        photo(folder / bad / f"{100 + i}.png")
    return folder


def loaded(folder, category=None):
    """-> training and test items, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train, test = load_dataset(folder, category)
    assert {one.category for one in caught} <= {InputWarning}
    return train, test, [str(one.message) for one in caught]


def marked(test):
    """Pixels that each defective image's mask marks; None without one."""
    return [None if (found := item.mask()) is None else int(found.sum())
            for item in test if item.label]


# Point 7 ---------------------------------------------------------------------------------------

HABITS = {
    "MVTec": "ground_truth/bent/{stem}_mask.png", "BTAD": "ground_truth/bent/{stem}.png",
    "BTAD bmp": "ground_truth/bent/{stem}.bmp", "VisA": "Masks/bent/{stem}.png",
    "one folder": "masks/{stem}.png", "one folder of masks": "mask/{stem}_mask.png",
    "inside": "bent/masks/{stem}.png", "beside": "bent/{stem}_mask.png",
    "Kolektor": "bent/{stem}_GT.png", "next folder": "bent_masks/{stem}.png",
    "CVAT": "SegmentationClass/{stem}.png", "Ground Truth": "Ground Truth/Bent/{stem}_Mask.PNG",
    "LOCO": "ground_truth/bent/{stem}/000.png", "tif": "gt/{stem}.tif",
    "whole name": "masks/{stem}.png.png", "before": "masks/mask_{stem}.png"}


@pytest.mark.parametrize("habit", HABITS)
def test_masks_are_read_as_the_tools_of_the_field_name_them(tmp_path, habit):
    parts(tmp_path)
    for stem in ("100", "101"):
        mask(tmp_path / HABITS[habit].format(stem=stem))
    train, test, said = loaded(tmp_path)
    assert (len(train), [item.defect_type for item in test]) == (4, ["good", "bent", "bent"])
    assert marked(test) == [32, 32] and said == []
    assert audit(tmp_path).faults == []
    assert len(images_below(tmp_path)) == 7


@pytest.mark.parametrize("home", ["test", "."])
def test_masks_of_mvtec_layouts_may_lie_in_either_place(tmp_path, home):
    for kind in ("train/good", "test/good", "test/bent"):
        photo(tmp_path / kind / "000.png")
    mask(tmp_path / home / "masks/000.png")
    _, test, said = loaded(tmp_path)
    assert sorted(item.defect_type for item in test) == ["bent", "good"]
    assert marked(test) == [32] and said == []


def test_real_iad_keeps_masks_beside_photos_under_the_same_name(tmp_path):
    """OK/S0001/NAME.jpg; NG/BX/S0007/NAME.jpg and its mask NAME.png."""
    for i in range(5):
        photo(tmp_path / f"OK/S000{i}/part_{i}_C1.jpg")
    photo(tmp_path / "NG/BX/S0007/part_7_C1.jpg")
    mask(tmp_path / "NG/BX/S0007/part_7_C1.png")
    train, test, said = loaded(tmp_path)
    assert (len(train), [item.defect_type for item in test]) == (4, ["good", "NG"])
    assert marked(test) == [32]
    assert said == [f"{tmp_path}: OK is taken for the good photos"]
    photo(tmp_path / "NG/BX/S0007/part_7_C1.png")  # in colour, it is a photo
    assert marked(loaded(tmp_path)[1]) == [None, None]


def test_visa_as_it_is_unpacked_without_its_table(tmp_path):
    home = tmp_path / "candle/Data"
    parts(home / "Images", "Normal", "Anomaly")
    mask(home / "Masks/Anomaly/100.png")
    parts(tmp_path / "pcb1/Data/Images", "Normal", "Anomaly")
    assert list_categories(tmp_path) == ["candle", "pcb1"]
    train, test, said = loaded(tmp_path, "candle")
    assert (len(train), marked(test)) == (4, [32, None])
    assert said == [f"{tmp_path / 'candle'}: Normal is taken for the good photos"]


def test_masks_that_are_not_used_are_counted_with_the_name_that_would_be(tmp_path):
    parts(tmp_path)
    photo(tmp_path / "rusty/100.png")
    mask(tmp_path / "masks/100.png")  # of bent/100.png or of rusty/100.png?
    mask(tmp_path / "masks/other.png")
    train, test, said = loaded(tmp_path)
    assert {item.defect_type for item in test} == {"good", "bent", "rusty"}
    assert marked(test) == [None] * 3
    assert said == [f"{tmp_path}: 2 images left out, by the name of a mask: masks/100.png, ...; "
                    "the mask of bent/100.png is read from ground_truth/bent/100_mask.png"]
    assert [fault.kind for fault in audit(tmp_path).faults] == ["mask_without_image"] * 2


@pytest.mark.parametrize("name", ["bent/100.json", "bent/100.txt", "annotations.xml",
                                  "_annotations.coco.json", "bent/100.xml"])
def test_outlines_of_other_tools_are_named(tmp_path, name):
    parts(tmp_path)
    (tmp_path / name).write_text("{}")
    _, _, said = loaded(tmp_path)
    assert said == [f"{tmp_path}: 1 file that may hold outlines of defects not used ({name}); "
                    "masks are read as images, from ground_truth/<defect>/NAME_mask.png for "
                    "<defect>/NAME.jpg"]
    assert [fault.kind for fault in audit(tmp_path).faults] == ["outlines"]


def test_a_photo_of_a_label_is_no_mask(tmp_path):
    parts(tmp_path)
    photo(tmp_path / "bent/100_label.png")
    mask(tmp_path / "bent/101_label.png")
    _, test, _ = loaded(tmp_path)
    assert [item.path.name for item in test if item.label] == [
        "100.png", "100_label.png", "101.png"]
    assert marked(test) == [None, None, 32]


def test_what_names_say():
    for name in ("good", "OK", "Good", "NORMAL", "non_defective", "Non-Defective", "defect free",
                 "No Defects", "i.O."):
        assert is_good(name) and not is_bad(name), name
    for name in ("NG", "Bad", "abnormal", "Anomaly", "ko", "DEFECTIVE", "not_ok", "n.i.O.", "NOK"):
        assert is_bad(name) and not is_good(name), name
    for name in ("bent", "goods", "lookout", "normals_bent", "mask_train_goods"):
        assert not is_good(name) and not is_bad(name), name
    for name in ("masks", "Mask", "ground_truth", "GroundTruth", "gt", "SegmentationObject"):
        assert is_mask_folder(name), name
    for name in ("facemask", "gtx", "mask1", "unmasked", "bent"):
        assert not is_mask_folder(name), name
    assert [photo_stem(name) for name in ("a_mask", "A_GT", "mask_a", "mask", "a")] == [
        "a", "a", "a", "mask", "a"]


# Point 6 ---------------------------------------------------------------------------------------

def painted(mode, ground, paint):
    image = Image.new(mode, (4, 2), ground)
    image.putpixel((1, 0), paint)
    return image


def palette(transparency=None):
    image = Image.new("P", (4, 2), 0)
    image.putpalette([9, 9, 9, 200, 0, 0] if transparency == 0 else [0, 0, 0, 0, 0, 128])
    image.putpixel((1, 0), 1)
    image.info.update({} if transparency is None else {"transparency": transparency})
    return image


PAINTED = {
    "red on transparency": painted("RGBA", (0, 0, 0, 0), (255, 0, 0, 255)),
    "red on transparent white": painted("RGBA", (255, 255, 255, 0), (255, 0, 0, 255)),
    "black on transparency": painted("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
    "half transparent": painted("RGBA", (255, 255, 255, 0), (255, 0, 0, 90)),
    "opaque": painted("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)),
    "grey with alpha": painted("LA", (255, 0), (255, 255)),
    "palette": palette(), "transparent palette": palette(0),
    "blue": painted("RGB", (0, 0, 0), (0, 0, 3)), "one bit": painted("1", 0, 1),
    "16 bits": painted("I;16", 0, 1), "32 bits": painted("I", 0, 1),
    "real": painted("F", 0.0, 0.25), "grey": painted("L", 0, 1)}


@pytest.mark.parametrize("name", PAINTED)
def test_a_mask_marks_what_was_painted_whatever_its_mode(tmp_path, name):
    file = tmp_path / ("m.tif" if PAINTED[name].mode in "FI;16" else "m.png")
    PAINTED[name].save(file, **dict(PAINTED[name].info.items()))
    assert read_mask(file).tolist() == [[False, True, False, False], [False] * 4]


@pytest.mark.parametrize("how", ["inverted", "full", "transparent photo"])
def test_masks_that_cover_most_of_their_image_are_a_fault_and_warned_of(tmp_path, how):
    parts(tmp_path)
    for stem in ("100", "101"):
        mask(tmp_path / f"ground_truth/bent/{stem}_mask.png")
    assert audit(tmp_path).faults == []
    file = tmp_path / "ground_truth/bent/101_mask.png"
    image = {"inverted": Image.open(file).point(lambda value: 255 - value),
             "full": Image.new("L", (SIDE, SIDE), 255),
             "transparent photo": Image.new("RGBA", (SIDE, SIDE), (90, 90, 90, 255))}[how]
    image.save(file)
    (fault,) = audit(tmp_path).faults
    assert (fault.kind, fault.paths) == ("mask_of_most", ("ground_truth/bent/101_mask.png",))
    test = load_dataset(tmp_path)[1]
    share = round(100 * test[2].mask().mean())
    assert [one.message for one in covering_most(test)] == [
        f"bent/101.png: its mask marks {share}% of it: drawn the other way round? As it is, pixel "
        "metrics mean little (1 of 2 masks is like that)"]


# Point 8 ---------------------------------------------------------------------------------------

def test_sub_folders_count_for_all_commands_alike(tmp_path, capsys):
    parts(tmp_path)
    for i in range(6):
        photo(tmp_path / f"good/day2/{i}.png")
    photo(tmp_path / "bent/day2/100.png")
    mask(tmp_path / "ground_truth/bent/day2/100_mask.png")
    train, test, said = loaded(tmp_path)
    assert (len(train), sum(not item.label for item in test)) == (9, 2)
    assert marked(test) == [None, None, 32] and said == []
    assert len(good_photos(tmp_path)) == len(good_photos(tmp_path / "good")) == 11
    assert len(as_list(tmp_path, only_good=True)) == 11
    assert len(as_list(tmp_path / "good")) == len(find_photos([tmp_path / "good"])) == 11
    assert sum(group.images for group in audit(tmp_path).groups[tmp_path.name]) == 14
    for name in ("run", "benchmark", "fit", "update", "predict", "export", "check"):
        with pytest.raises(SystemExit):
            parser().parse_args([name, "--help"])
        assert "the photos in sub-folders count as well" in " ".join(
            capsys.readouterr().out.split()), name


def test_what_is_left_out_is_counted_in_one_line(tmp_path):
    for i in range(3):
        photo(tmp_path / f"train/good/{i}.png")
        photo(tmp_path / f"train/bad/{i}.png")
        photo(tmp_path / f"validation/good/{i}.png")
    photo(tmp_path / "test/bent/9.png")
    photo(tmp_path / "train/good/rejected/7.png")
    for name in ("train/good/a.heic", "train/good/b.HEIC", "test/bent/c.gif"):
        (tmp_path / name).write_bytes(b"x")
    for name in (".thumbs", "@eaDir", "__MACOSX"):
        photo(tmp_path / "train/good" / name / "0.png")
    photo(tmp_path / "train/good/found/overlays/0.png")
    (tmp_path / "train/good/found/prediction.json").touch()
    train, test, said = loaded(tmp_path)
    assert (len(train), len(test)) == (3, 1)
    assert said == [
        f"{tmp_path}: 7 images left out: 3 in validation/good, 3 in train/bad, 1 in "
        "train/good/rejected",
        f"{tmp_path}: 3 files left out: 2 .heic, 1 .gif; only .bmp, .jpeg, .jpg, .png, .tif, "
        ".tiff, .webp are read"]
    with pytest.warns(InputWarning) as caught:
        assert len(good_photos(tmp_path)) == 3
    assert [str(one.message).partition(": ")[2][:24] for one in caught] == [
        "1 image left out: 1 in t", "2 files left out: 2 .hei"]
    with pytest.warns(InputWarning) as caught:
        assert len(find_photos([tmp_path / "train", tmp_path / "test"])) == 8
    assert [str(one.message).partition(";")[0] for one in caught] == [
        f"{tmp_path / 'train'}: 2 files left out: 2 .heic",
        f"{tmp_path / 'test'}: 1 file left out: 1 .gif"]


def test_pipes_and_circles_do_not_hold_anybody_up(tmp_path):
    import os

    parts(tmp_path)
    os.mkfifo(tmp_path / "good/pipe.png")
    (tmp_path / "good/circle").symlink_to(tmp_path / "good")
    (tmp_path / "good/gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "good/self.png").symlink_to(tmp_path / "good/self.png")
    assert [path.name for path in good_photos(tmp_path)] == [
        "0.png", "1.png", "2.png", "3.png", "4.png", "gone.png", "self.png"]


# Point 9 ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("good, bad", [
    ("OK", "NG"), ("Good", "Bad"), ("normal", "abnormal"), ("ok", "ko"), ("NORMAL", "Anomaly"),
    ("non_defective", "defective"), ("Non-Defective", "Defective"), ("i.O.", "n.i.O."),
    ("Pass", "Fail")])
def test_the_usual_words_are_read_in_any_case_and_said(tmp_path, capsys, good, bad):
    parts(tmp_path, good, bad)
    train, test, said = loaded(tmp_path)
    assert (len(train), [item.defect_type for item in test]) == (4, ["good", bad, bad])
    assert said == [f"{tmp_path}: {good} is taken for the good photos"]
    with pytest.warns(InputWarning, match="is taken for the good photos"):
        assert len(good_photos(tmp_path)) == 5
    assert main(["check", str(tmp_path)]) == 0
    assert f"note: called_good: {tmp_path}: {good} is taken for" in capsys.readouterr().out


def test_train_and_test_in_any_case(tmp_path):
    for place in ("Train/OK/1.png", "Train/OK/2.png", "Test/OK/3.png", "Test/NG/4.png"):
        photo(tmp_path / place)
    train, test, _ = loaded(tmp_path)
    assert (len(train), sorted(item.defect_type for item in test)) == (2, ["NG", "good"])


def test_a_refusal_names_the_folders_that_were_seen(tmp_path, capsys):
    parts(tmp_path, "intakt", "kratzer")
    photo(tmp_path / "1.png")
    with pytest.raises(InputError, match="expected train/good.*seen: intakt, kratzer, 1 photo "
                                         "right in it$"):
        load_dataset(tmp_path)
    (tmp_path / "1.png").unlink()
    assert main(["fit", str(tmp_path), "--output", str(tmp_path / "model")]) == 2
    assert capsys.readouterr().err == (
        f"indad: error: {tmp_path}: which photos are good? seen: intakt, kratzer; call one folder "
        "good (or ok, normal, ... in any case), or give that folder itself\n")
    assert len(good_photos(tmp_path / "intakt")) == 5
    photo(tmp_path / "train/broken/1.png")
    with pytest.raises(InputError, match="seen: intakt, kratzer, train, train/broken$"):
        load_dataset(tmp_path)


def test_photos_beside_a_folder_of_bad_ones_are_learned_without_it(tmp_path):
    for i in range(3):
        photo(tmp_path / f"{i}.png")
    photo(tmp_path / "Defects/7.png")
    photo(tmp_path / "day2/8.png")
    with pytest.warns(InputWarning, match="1 image left out: 1 in Defects$"):
        assert len(good_photos(tmp_path)) == 4
