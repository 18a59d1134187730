"""Files of several pages or frames: the first is read, and that is said in one line, everywhere."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indad import PatchCore
from indad.data.audit import audit
from indad.data.images import read_image
from indad.data.pixels import open_photo, pages_left_out
from indad.deploy.inspection import inspect_images
from indad.errors import InputWarning

SUFFIXES = [".tif", ".gif", ".png", ".webp", ".avif"]


def frames(count: int = 3) -> list[Image.Image]:
    y, x = np.mgrid[:64, :64]
    return [Image.fromarray(((x * (3 + i) + y) % 200).astype(np.uint8)).convert("RGB")
            for i in range(count)]


def several(file: Path, count: int = 3) -> Path:
    first, *rest = frames(count)
    how = {} if file.suffix == ".tif" else dict(duration=100)
    first.save(file, save_all=True, append_images=rest, **how)
    return file


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_first_page_is_read_and_the_others_are_told_of(tmp_path, suffix):
    notes: list[str] = []
    file = several(tmp_path / f"a{suffix}")
    found = np.asarray(read_image(file, {}, notes)).astype(int)
    assert notes == ["holds 3 pages or frames; only the first is read"]
    assert np.abs(found - np.asarray(frames()[0])).mean() < 12  # AVIF loses some
    with open_photo(file) as photo:  # what the copied example says
        assert pages_left_out(photo) == notes[0]


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".jpg", ".bmp"])
def test_nothing_is_said_of_a_single_page(tmp_path, suffix):
    notes: list[str] = []
    frames()[0].save(tmp_path / f"a{suffix}")
    read_image(tmp_path / f"a{suffix}", {}, notes)
    assert notes == []


def test_a_phone_s_photo_with_a_preview_is_one_photo(tmp_path):
    notes: list[str] = []
    first, second, _ = frames()
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second.resize((8, 8))])
    with open_photo(tmp_path / "a.jpg") as photo:
        assert (photo.format, photo.n_frames) == ("MPO", 2)
    read_image(tmp_path / "a.jpg", {}, notes)
    assert notes == []


def test_a_page_that_somebody_chose_is_named_and_read(tmp_path):
    deep = [Image.fromarray(np.full((16, 16), value, np.uint16)) for value in (100, 4000)]
    deep[0].save(tmp_path / "a.tif", save_all=True, append_images=deep[1:])
    with Image.open(tmp_path / "a.tif") as photo:
        photo.seek(1)
        assert pages_left_out(photo) == "holds 2 pages or frames; only the number 2 is read"


def test_a_file_whose_later_pages_are_damaged_is_read_and_said(tmp_path):
    whole = several(tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:len(whole) - 200])
    notes: list[str] = []
    found = read_image(tmp_path / "a.tif", {}, notes)
    assert np.array_equal(np.asarray(found), np.asarray(frames()[0]))
    assert len(notes) == 1 and "only the first is read" in notes[0]


def test_commands_and_check_say_it(tmp_path, shared_backbones):
    for place, count in (("train/good", 3), ("test/good", 1)):
        (tmp_path / "set" / place).mkdir(parents=True)
        for number in range(count):
            frames(4)[number].save(tmp_path / "set" / place / f"{number}.png")
    stack = several(tmp_path / "set/test/good/9.tif")
    (fault,) = [one for one in audit(tmp_path / "set").faults if one.kind == "odd_pixels"]
    assert fault.message == "test/good/9.tif holds 3 pages or frames; only the first is read"
    model = PatchCore(resize=64, coreset="random", device="cpu").fit(tmp_path / "set/train")
    with pytest.warns(InputWarning, match="9.tif: holds 3 pages or frames; only the first"):
        inspect_images(model, [stack], tmp_path / "found", overlays="none")
    assert "holds 3 pages" in (tmp_path / "found/scores.csv").read_text()
