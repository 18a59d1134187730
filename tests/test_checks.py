"""The check command: every kind of fault, planted in a copy of a clean category, is found."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from indad.cli.commands import main
from indad.data.audit import audit
from indad.data.images import read_image
from indad.data.layouts import images_in
from indad.data.near_duplicates import ALIKE, alike, fine_detail
from indad.errors import InputError


@pytest.fixture
def tiles(drawn, tmp_path):
    """A private copy of one clean category."""
    shutil.copytree(drawn / "tiles", tmp_path / "tiles")
    return tmp_path / "tiles"


def good(tiles, number):
    return tiles / "train" / "good" / f"{number:03d}.png"


def mask(tiles, kind="crack"):
    return tiles / "ground_truth" / kind / "000_mask.png"


def saved(image, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)


def repainted(file, change):
    pixels = np.asarray(Image.open(file)).copy()
    change(pixels)
    Image.fromarray(pixels).save(file)


def test_a_clean_category_has_no_faults(drawn):
    for category in ("tiles", "capsule"):
        found = audit(drawn, category)
        assert found.faults == []
        (groups,) = found.groups.values()
        assert sum(group.images for group in groups) == len(list(
            (drawn / category / "train").rglob("*.png"))) + len(list(
                (drawn / category / "test").rglob("*.png")))
        train = next(group for group in groups if group.split == "train")
        assert (train.defect_type, train.images, train.sizes, train.modes) == (
            "good", 8, {"256x256": 8}, {"RGB": 8})


def jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


PLANTED = {
    "unreadable": [
        lambda t: good(t, 0).write_bytes(b"\x89PNG cut short"),
        lambda t: good(t, 0).write_bytes(good(t, 0).read_bytes()[:5000]),
        lambda t: mask(t).write_bytes(b"")],
    "duplicate": [
        lambda t: shutil.copy(good(t, 0), good(t, 90)),
        lambda t: saved(Image.open(good(t, 0)), t / "train/good/900.bmp")],
    "near_duplicate": [
        lambda t: saved(jpeg(Image.open(good(t, 0)), 75), good(t, 90)),
        lambda t: saved(Image.open(good(t, 0)).rotate(180), good(t, 90)),
        lambda t: saved(Image.open(good(t, 0)).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
                        good(t, 90)),
        lambda t: saved(Image.open(good(t, 0)).point(lambda v: 0.9 * v + 5), good(t, 90))],
    "train_test_leak": [
        lambda t: shutil.copy(good(t, 0), t / "test/good/900.png"),
        lambda t: saved(jpeg(Image.open(good(t, 0)), 75), t / "test/good/900.png"),
        lambda t: shutil.copy(t / "test/crack/000.png", good(t, 90))],
    "odd_size": [
        lambda t: saved(Image.open(good(t, 0)).resize((200, 256)), good(t, 0))],
    "odd_mode": [
        lambda t: saved(Image.open(good(t, 0)).convert("L"), good(t, 0)),
        lambda t: saved(Image.open(good(t, 0)).convert("RGBA"), good(t, 0))],
    "blank": [lambda t: saved(Image.new("RGB", (256, 256), "white"), good(t, 0))],
    "image_without_mask": [lambda t: mask(t).unlink()],
    "mask_without_image": [
        lambda t: (t / "test/crack/000.png").unlink(),
        lambda t: shutil.copy(mask(t), mask(t).with_name("777_mask.png")),
        lambda t: saved(Image.open(mask(t)), t / "ground_truth/dent/000_mask.png")],
    "mask_of_good": [lambda t: saved(Image.open(mask(t)), t / "ground_truth/good/000_mask.png")],
    "mask_empty": [lambda t: saved(Image.new("L", (256, 256)), mask(t))],
    "mask_not_binary": [
        lambda t: saved(Image.open(mask(t)).resize((256, 256), Image.Resampling.BILINEAR,
                                                   box=(3, 3, 250, 250)), mask(t)),
        lambda t: saved(jpeg(Image.open(mask(t)), 90), mask(t))],
    "mask_size": [lambda t: saved(Image.open(mask(t)).resize((128, 256), 0), mask(t))],
    "ignored": [
        lambda t: (t / "train/good/notes.txt").write_text("hello"),
        lambda t: (t / "train/good/photo.heic").write_bytes(b"ftypheic")],
    "odd_name": [
        lambda t: good(t, 0).rename(good(t, 0).with_name("000 (1).png")),
        lambda t: good(t, 0).rename(good(t, 0).with_name("000 - Copy.png")),
        lambda t: good(t, 0).rename(good(t, 0).with_name("what?.png")),
        lambda t: good(t, 0).rename(good(t, 0).with_name("u\u0308.png")),
        lambda t: good(t, 0).rename(good(t, 0).with_name(" 0.png")),
        lambda t: saved(Image.open(good(t, 0)), good(t, 0), format="JPEG"),
        lambda t: good(t, 0).rename(good(t, 0).with_name("001.bmp.png").with_suffix("")),
        lambda t: good(t, 0).rename(good(t, 0).with_name("001.PNG"))],
}


@pytest.mark.parametrize("kind, plant", [
    pytest.param(kind, plant, id=f"{kind}-{number}", marks=[pytest.mark.slow] * (number > 0))
    for kind, plants in PLANTED.items() for number, plant in enumerate(plants)])
def test_a_planted_fault_is_found_and_named(kind, plant, tiles):
    before = {path for path in tiles.rglob("*") if path.is_file()}
    plant(tiles)
    found = audit(tiles)
    assert kind in {fault.kind for fault in found.faults}, str(found)
    # Nothing else is complained about.
    assert {fault.kind for fault in found.faults} == {kind}, str(found)
    changed = {path for path in tiles.rglob("*") if path.is_file()} ^ before
    for path in changed:
        if path.exists() and path.suffix in (".png", ".bmp"):
            assert path.name in str(found), str(found)


def test_a_category_without_masks_gets_one_note_and_no_faults(tiles):
    shutil.rmtree(tiles / "ground_truth")
    found = audit(tiles)
    assert found.faults == []
    assert [note.kind for note in found.findings["tiles"]] == ["few_images", "no_masks"]


@pytest.mark.slow
def test_a_set_of_many_sizes_gets_a_note_and_no_faults(tiles):
    for number in range(4):
        saved(Image.open(good(tiles, number)).resize((200, 250 + number)), good(tiles, number))
    found = audit(tiles)
    assert found.faults == []
    assert "mixed_sizes" in {note.kind for note in found.findings["tiles"]}


def test_the_command_for_people(tiles, capsys):
    assert main(["check", str(tiles)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"{tiles}: no faults"
    assert "train  good                          8      -  256x256, RGB" in out
    mask(tiles).unlink()
    assert main(["check", str(tiles.parent)]) == 1
    out = capsys.readouterr().out
    assert "fault: image_without_mask: tiles/test/crack/000.png has no mask" in out
    assert out.splitlines()[-1] == f"{tiles.parent}: 1 fault"


@pytest.mark.slow
def test_a_long_list_is_shortened_for_people_only(tiles, capsys):
    for number in range(15):
        (tiles / "train" / "good" / f"{number}.txt").write_text("")
    assert main(["check", str(tiles)]) == 1
    out = capsys.readouterr().out
    assert out.count("is never read") == 10
    assert "... ignored: 5 more (--json has them all)" in out
    assert main(["check", str(tiles), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["faults"] == 15
    findings = report["categories"]["tiles"]["findings"]
    assert [finding["paths"] for finding in findings if finding["kind"] == "ignored"][0] == [
        "train/good/0.txt"]
    assert report["categories"]["tiles"]["groups"][0]["sizes"] == {"256x256": 8}


def test_the_command_on_bad_input(tmp_path, capsys):
    assert main(["check", str(tmp_path / "nothing")]) == 2
    assert main(["check", str(tmp_path)]) == 2
    assert "expected train/good" in capsys.readouterr().err.splitlines()[1]
    with pytest.raises(InputError, match="no such folder"):
        audit(tmp_path / "nothing" / "here")


def test_a_catalogue_dataset_is_checked_by_name(tmp_path, capsys):
    assert main(["check", "mvtec_ad", "--datasets", str(tmp_path)]) == 2
    assert "get it with: python -m indad download mvtec_ad" in capsys.readouterr().err


def test_visa_with_a_missing_image_and_a_lost_mask(tmp_path):
    lines = ["object,split,label,image,mask"]
    for number in range(12):
        file = f"pcb1/Data/Images/Normal/{number}.JPG"
        saved(Image.effect_noise((64, 64), 60).convert("RGB"), tmp_path / file)
        lines.append(f"pcb1,{'test' if number > 9 else 'train'},normal,{file},")
    saved(Image.effect_noise((64, 64), 60).convert("RGB"),
          tmp_path / "pcb1/Data/Images/Anomaly/0.JPG")
    classes = np.zeros((64, 64), np.uint8)
    classes[2:9, 2:9], classes[20:30, 2:9] = 1, 2  # numbers of defect types, not grey
    for number in (0, 7):
        saved(Image.fromarray(classes), tmp_path / f"pcb1/Data/Masks/Anomaly/{number}.png")
    lines += ["pcb1,test,anomaly,pcb1/Data/Images/Anomaly/0.JPG,pcb1/Data/Masks/Anomaly/0.png"]
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(lines))
    (tmp_path / "pcb1/Data/Images/Normal/3.JPG").unlink()
    assert {(fault.kind, fault.paths) for fault in audit(tmp_path).faults} == {
        ("unreadable", ("pcb1/Data/Images/Normal/3.JPG",)),
        ("mask_without_image", ("pcb1/Data/Masks/Anomaly/7.png",))}


def test_lookalikes_tell_copies_from_twins(drawn):
    """Every copy is above the threshold, every pair of different shots well below it."""
    images = [read_image(path) for kind in ("tiles", "capsule")
              for path in images_in(drawn / kind / "train" / "good")]
    details = np.stack([fine_detail(image) for image in images])
    assert alike(details) == []
    assert alike(details, threshold=0.96) == []
    for image, detail in zip(images[::4], details[::4], strict=True):
        copies = [jpeg(image, 60), image.resize((128, 128), Image.Resampling.BILINEAR),
                  image.rotate(90), image.transpose(Image.Transpose.TRANSPOSE)]
        pairs = alike(np.stack([detail, *(fine_detail(copy) for copy in copies)]))
        assert {(0, j) for j in range(1, 5)} <= {(i, j) for i, j, _ in pairs}
        assert {j: turned for i, j, turned in pairs if i == 0} == {
            1: False, 2: False, 3: True, 4: True}


def test_a_part_that_moved_by_two_pixels_is_another_shot(drawn):
    """Parts on a fixture differ by no more than that, so it must not count as a copy."""
    image = read_image(drawn / "capsule" / "train" / "good" / "000.png")
    moved = image.crop((2, 2, 256, 256))
    assert alike(np.stack([fine_detail(image), fine_detail(moved)])) == []


def test_a_blank_picture_is_like_no_other():
    blank = fine_detail(Image.new("RGB", (99, 50), "red"))
    assert not blank.any()
    assert alike(np.stack([blank, blank])) == []


def test_many_rows_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr("indad.data.near_duplicates.ROWS", 3)
    details = np.random.default_rng(0).normal(size=(8, 4096)).astype(np.float32)
    details /= np.linalg.norm(details, axis=1, keepdims=True)
    details[7] = details[1]
    assert alike(details) == [(1, 7, False)]


def test_real_hazelnuts_are_clean(hazelnut):
    assert audit(hazelnut).faults == []


@pytest.mark.slow
def test_real_magnetic_tiles_have_known_faults(mtd):
    """Four masks that nobody drew, and tiles that were photographed, or filed, twice."""
    found = audit(mtd)
    kinds = [fault.kind for fault in found.faults]
    assert kinds.count("mask_empty") == 4
    assert len(kinds) == 14  # as the README says
    assert set(kinds) == {"mask_empty", "near_duplicate", "train_test_leak"}
    assert ("MT_Crack/Imgs/exp2_num_85846.jpg", "MT_Crack/Imgs/exp2_num_86854.jpg") in {
        fault.paths for fault in found.faults}


@pytest.mark.slow
def test_one_of_each_odd_habit_in_one_folder_is_found_and_the_clean_ones_are_not(drawn, tmp_path,
                                                                                capsys):
    """`check` over a folder of categories, each with one fault planted, and two clean ones."""
    def planted(name):
        shutil.copytree(drawn / "tiles", tmp_path / name)
        return tmp_path / name

    painted = np.zeros((256, 256, 4), np.uint8)
    painted[:40, :40] = 255, 0, 0, 255
    Image.fromarray(painted).save(mask(planted("clean_painted_on_transparency")))
    t = planted("clean_sub_folders")
    for number in (4, 5, 6):
        (t / "train/good/day2").mkdir(exist_ok=True)
        good(t, number).rename(t / f"train/good/day2/{number}.png")
    t = planted("clean_flat_masks")
    mask(t).rename(t / "ground_truth/000_mask.png")
    shutil.copytree(drawn / "capsule", tmp_path / "clean")

    t = planted("inverted")
    mask_of = Image.open(mask(t))
    mask_of.point(lambda value: 255 - value).save(mask(t))
    shutil.copy(good(planted("leak"), 0), tmp_path / "leak/test/good/900.png")
    shutil.copy(good(planted("copies"), 0), good(tmp_path / "copies", 90))
    saved(jpeg(Image.open(good(planted("near"), 0)), 75), good(tmp_path / "near", 90))
    (good(planted("broken_link"), 0)).unlink()
    good(tmp_path / "broken_link", 0).symlink_to(tmp_path / "gone.png")
    (good(planted("unreadable"), 1)).write_bytes(b"")
    t = planted("broken_mask")
    mask(t).write_bytes(mask(t).read_bytes()[:-40])
    t = planted("lost_mask")
    saved(mask_of, t / "masks/other.png")
    (planted("outlines") / "test/crack/000.json").write_text('{"shapes": []}')
    (planted("heic") / "train/good/IMG_1.HEIC").write_bytes(b"ftypheic")
    t = planted("validation")  # a note: by its name it is left out
    saved(Image.open(good(t, 0)).rotate(90), t / "validation/good/0.png")
    (planted("usual_words") / "train/good").rename(tmp_path / "usual_words/train/OK")

    assert main(["check", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["categories"]
    kinds = {name: {one["kind"] for one in category["findings"]} - {"few_images"}
             for name, category in found.items()}
    assert kinds == {
        "clean": set(), "clean_painted_on_transparency": set(), "clean_sub_folders": set(),
        "clean_flat_masks": set(), "inverted": {"mask_of_most"}, "leak": {"train_test_leak"},
        "copies": {"duplicate"}, "near": {"near_duplicate"}, "broken_link": {"unreadable"},
        "unreadable": {"unreadable"}, "broken_mask": {"unreadable"},
        "lost_mask": {"mask_without_image"}, "outlines": {"outlines"}, "heic": {"ignored"},
        "validation": {"left_out"}, "usual_words": {"called_good"}}
    faulty = {name for name, category in found.items()
              if any(one["fault"] for one in category["findings"])}
    assert faulty == set(kinds) - {"clean", "clean_painted_on_transparency", "clean_sub_folders",
                                   "clean_flat_masks", "validation", "usual_words"}


def test_what_all_parts_share_is_no_sign_of_a_copy():
    """Bars that lie alike in every photo, and grain that does not: only the copy is one."""
    generator = np.random.default_rng(0)
    bars = np.zeros((64, 64))
    bars[10::20] = 180
    photos = [Image.fromarray((40 + bars + generator.normal(0, 3.5, (64, 64))).astype(np.uint8))
              for _ in range(12)]
    packed = io.BytesIO()
    photos[3].save(packed, "JPEG", quality=98)
    photos += [Image.open(packed), photos[5].rotate(180)]
    details = np.stack([fine_detail(photo) for photo in photos])
    assert float(details[0] @ details[1]) > ALIKE  # what was called a copy before
    assert alike(details) == [(3, 12, False), (5, 13, True)]
