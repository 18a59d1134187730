"""Photos that EXIF turns, with masks drawn on the stored pixels: found, warned of, by name."""

from pathlib import Path

import numpy as np
import pytest
from cases import few
from PIL import Image

from indad.cli.commands import main
from indad.data.audit import audit
from indad.data.datasets import load_dataset
from indad.data.images import image_size, read_image
from indad.data.orientation import orientation_of, turned_apart
from indad.errors import InputError

HEIGHT, WIDTH = 48, 64


def exif(number: int) -> dict:
    said = Image.Exif()
    said[0x0112] = number
    return {"exif": said}


def photos(folder: Path, turn: int, *, mask_turn: int = 1, drawn: str = "stored",
           size: tuple[int, int] = (HEIGHT, WIDTH), suffix: str = ".png") -> Path:
    """A category with one defective photo that EXIF turns; its mask is drawn on the stored pixels,
    or on the upright ones."""
    generator = np.random.default_rng(0)
    for place, count in (("train/good", 4), ("test/good", 2), ("test/dent", 1)):
        (folder / place).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (*size, 3), np.uint8)
            said = exif(turn) if place == "test/dent" else {}
            Image.fromarray(pixels).save(folder / place / f"{number}{suffix}", **said)
    mask = Image.fromarray(np.pad(np.full((9, 9), 255, np.uint8), ((2, size[0] - 11),
                                                                 (3, size[1] - 12))))
    if drawn == "upright" and turn in (5, 6, 7, 8):
        mask = mask.transpose(Image.Transpose.ROTATE_90)
    (folder / "ground_truth/dent").mkdir(parents=True)
    mask.save(folder / "ground_truth/dent/0_mask.png", **exif(mask_turn))
    return folder


def mask_faults(folder: Path) -> list[str]:
    return [fault.message for fault in audit(folder).faults if fault.kind.startswith("mask_")]


@pytest.mark.parametrize("turn, size, words", [
    (3, (HEIGHT, WIDTH), "by 180 degrees"), (2, (HEIGHT, WIDTH), "mirrored"),
    (4, (HEIGHT, WIDTH), "upside down"), (6, (HEIGHT, WIDTH), "by 90 degrees"),
    (8, (HEIGHT, WIDTH), "by 90 degrees"), (6, (48, 48), "by 90 degrees"),
    (5, (HEIGHT, WIDTH), "mirrored, by 90 degrees")])
def test_check_names_exif_where_a_mask_is_not_turned_with_its_photo(tmp_path, turn, size, words):
    (message,) = mask_faults(photos(tmp_path / "set", turn, size=size))
    assert "EXIF turns the photo" in message and words in message
    assert "0_mask.png" in message


@pytest.mark.parametrize("turn, mask_turn, drawn", [
    (1, 1, "stored"), (3, 3, "stored"), (6, 6, "stored"), (6, 1, "upright"), (8, 1, "upright")])
def test_check_has_nothing_to_say_of_masks_that_fit(tmp_path, turn, mask_turn, drawn):
    assert mask_faults(photos(tmp_path / "set", turn, mask_turn=mask_turn, drawn=drawn)) == []


@pytest.mark.parametrize("turn", few(range(2, 9), [3, 6]))
@pytest.mark.parametrize("drawn", ["stored", "upright"])
def test_where_sizes_do_not_tell_the_defect_does(tmp_path, turn, drawn):
    """A square photo with a dark spot; the mask lies over it, or as it lay in the file."""
    folder = photos(tmp_path / "set", turn, size=(64, 64))
    file = folder / "test/dent/0.png"
    stored = np.random.default_rng(1).integers(120, 200, (64, 64, 3), np.uint8)
    stored[6:16, 40:54] = 30
    Image.fromarray(stored).save(file, **exif(turn))
    pixels = stored if drawn == "stored" else np.asarray(read_image(file))
    mask = Image.fromarray((pixels[..., 0] < 60).astype(np.uint8) * 255)
    mask.save(folder / "ground_truth/dent/0_mask.png")
    assert len(mask_faults(folder)) == (drawn == "stored")


def test_a_mask_of_the_stored_size_is_refused_by_the_name_of_exif(tmp_path):
    with pytest.raises(InputError, match="mask is 64x48, but its image is 48x64; EXIF turns the "
                                         "photo by 90 degrees"):
        load_dataset(photos(tmp_path / "side", 6))


@pytest.mark.slow
def test_a_run_warns_and_names_exif(tmp_path, capsys):
    folder = photos(tmp_path / "down", 3)
    assert main(["run", "--dataset", str(folder), "--resize", "64", "--overlays", "0",
                 "--device", "cpu", "--output", str(tmp_path / "runs")]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "0_mask.png: EXIF turns the photo by 180 degrees and its mask as it is" in said


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_header_tells_the_size_that_reading_gives(tmp_path, suffix):
    """Pillow has turned the size of a TIFF already; it was turned back."""
    for turn in range(1, 9):
        file = tmp_path / f"{turn}{suffix}"
        Image.new("RGB", (20, 12)).save(file, **exif(turn))
        assert image_size(file) == read_image(file).size[::-1]
        assert orientation_of(file) == turn
        assert turned_apart(file, file) is None
