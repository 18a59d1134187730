"""What is white in photos of more than 8 bits is decided once, and a model remembers it."""

import json
import shutil
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from indad import PatchCore
from indad.cli.commands import main
from indad.data.audit import audit
from indad.data.images import as_rgb, read_image
from indad.data.levels import decide, usual_range
from indad.data.pixels import eight_bits
from indad.data.survey import levels_of
from indad.errors import InputError, InputWarning

sys.path.insert(0, str(Path(__file__).parent / "fixtures"))
from make_format_1 import pictures  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_backbones")


def png16(values: np.ndarray) -> bytes:
    """A 16-bit PNG of `(h, w, c)`, by hand, as Pillow writes none in colour."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *values.shape[1::-1], 16, kind, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks)


def tiff(values: np.ndarray, order: str = "<") -> bytes:
    """An uncompressed TIFF of `(h, w)` or `(h, w, 3)` of any type, in either byte order."""
    height, width, bands = *values.shape[:2], values[0, 0].size
    bits, kind = values.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    several = 3 if bands == 3 else 1
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, bands, 140 if bands == 3 else bits),
            (259, 3, 1, 1), (262, 3, 1, 2 if bands == 3 else 1), (273, 4, 1, 160),
            (277, 3, 1, bands), (278, 3, 1, height), (279, 4, 1, values.nbytes),
            (339, 3, several, 146 if bands == 3 else kind)]
    entries = b"".join(struct.pack(order + "HHI", tag, type, count) + (
        struct.pack(order + "HH", value, 0) if type == 3 and count == 1 else
        struct.pack(order + "I", value)) for tag, type, count, value in tags)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    head = (head + entries + struct.pack(order + "I", 0)).ljust(140, b"\0")
    return (head + struct.pack(order + "HHHHHH", *[bits] * 3, *[kind] * 3)).ljust(160, b"\0") + (
        values.astype(values.dtype.newbyteorder(order)).tobytes())


def photos(spots: int = 0) -> list[np.ndarray]:
    """Six plaids `(64, 64, 3)` as fractions of white, the last ones with a defect."""
    found = [picture / 255 for picture in pictures()]
    for picture in found[len(found) - spots:]:
        picture[20:36, 24:44] = 0.5
    return found


def as_file(fractions: np.ndarray, file: Path, depth: str) -> None:
    """The same photo in every depth: white is what a camera of that depth calls so."""
    grey = fractions[..., 0]
    whole = {"8": 255, "10": 1023, "12": 4095, "14": 16383, "16": 65535}
    if depth in whole:
        values = np.rint(fractions * whole[depth]).astype(np.uint16)
        file.write_bytes(png16(values))
    elif depth == "12 grey":
        Image.fromarray(np.rint(grey * 4095).astype(np.uint16)).save(file, "TIFF")
    elif depth == "12 big-endian":
        file.write_bytes(tiff(np.rint(fractions * 4095).astype(np.uint16), ">"))
    elif depth == "12 little-endian":
        file.write_bytes(tiff(np.rint(fractions * 4095).astype(np.uint16)))
    elif depth == "32":
        Image.fromarray(np.rint(grey * 4095).astype(np.int32)).save(file, "TIFF")
    else:
        full = float(depth.removeprefix("float "))
        Image.fromarray((grey * full).astype(np.float32)).save(file, "TIFF")


DEPTHS = ["8", "10", "12", "14", "16", "12 grey", "12 big-endian", "12 little-endian", "32",
          "float 1", "float 255", "float 4095", "float 65535"]


@pytest.mark.parametrize("depth", DEPTHS)
def test_photos_of_every_depth_are_read_as_their_8_bit_twins(tmp_path, depth):
    """With white at the brightest of them, which a set of photos has somewhere."""
    fractions = photos()
    fractions[1][0, 0] = 1.0
    for number, one in enumerate(fractions):
        as_file(one, tmp_path / f"{number}.png", depth)
    files = sorted(tmp_path.iterdir())
    levels = levels_of(files)
    for file, one in zip(files, fractions, strict=True):
        wanted = np.rint(one * 255).astype(int)
        found = np.asarray(read_image(file, levels)).astype(int)
        wanted = wanted if depth.split()[0].isdecimal() and "grey" not in depth and (
            depth != "32") else wanted[..., :1]
        assert np.abs(found - wanted).max() <= 1, levels  # rounded twice


@pytest.mark.parametrize("kind, low, high, wanted", [
    ("integers", 0, 200, (0, 255)), ("integers", 0, 256, (0, 1023)),
    ("integers", 3, 4095, (0, 4095)), ("integers", 0, 4096, (0, 16383)),
    ("integers", 0, 16384, (0, 65535)), ("integers", 0, 70000, (0, 2 ** 24 - 1)),
    ("integers", -5, 4000, (-256, 4095)), ("integers", -1024, 3071, (-1024, 4095)),
    ("floats", 0, 0.3, (0, 1)), ("floats", 0, 1.003, (0, 1)), ("floats", -0.003, 1, (0, 1)),
    ("floats", 0, 1.2, (0, 2)), ("floats", 0, 100, (0, 255)), ("floats", 0, 4000, (0, 4095)),
    ("floats", 0, 0.001, (0, 2 ** -9)), ("floats", -2.1, 2.6, (-4, 4)),
    ("floats", 0, 1e30, (0, 1e30))])
def test_the_narrowest_usual_range_is_taken(kind, low, high, wanted):
    assert usual_range(kind, low, high) == wanted


def test_all_photos_have_one_say_and_8_bit_ones_none(tmp_path):
    assert decide([("integers", 0, 200), ("integers", 7, 3000), ("floats", 0, 0.7)]) == {
        "integers": (0, 4095), "floats": (0, 1)}
    Image.new("RGB", (9, 9), "white").save(tmp_path / "8.png")
    (tmp_path / "cut.png").write_bytes(png16(np.full((9, 9, 3), 9000))[:48])
    Image.new("I;16", (9, 9), 900).save(tmp_path / "16.png")
    eight = [tmp_path / "8.png", tmp_path / "cut.png", np.zeros((9, 9, 3), np.uint8),
             np.zeros((9, 9)), torch.zeros(3, 9, 9), Image.new("L", (9, 9))]
    assert levels_of(eight) == {}
    assert levels_of([*eight, tmp_path / "16.png"]) == {"integers": (0, 1023)}


def test_a_range_that_a_few_hot_pixels_made_is_told_of():
    photos = [np.full((64, 64), 3000, np.uint16) for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert levels_of(photos) == {"integers": (0, 4095)}
        photos[2][5, 5] = 16000  # 14 bits: a quarter of the grey levels are left, which will do
        assert levels_of(photos) == {"integers": (0, 16383)}
    photos[2][5, 5] = 65535
    with pytest.warns(InputWarning, match="white is 65535 .16 bits., for the sake of few pixels: "
                                          "999 of 1,000 are within 4095"):
        assert levels_of(photos) == {"integers": (0, 65535)}


def test_no_file_of_too_many_pixels_is_decoded_for_it(tmp_path, monkeypatch):
    Image.new("I;16", (60, 50)).save(tmp_path / "a.png")
    assert levels_of([tmp_path / "a.png"]) == {"integers": (0, 255)}
    monkeypatch.setattr("indad.data.images.MOST_PIXELS", 2000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert levels_of([tmp_path / "a.png"]) == {}


def test_no_8_bit_photo_is_decoded_for_it(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    Image.new("L", (9, 9)).save(tmp_path / "a.jpg")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert levels_of([tmp_path / "a.png", tmp_path / "a.jpg"]) == {}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype, low, high, levels", [
    (np.uint8, 0, 255, {}), (np.int8, -100, 100, {"integers": (-256, 255)}),
    (np.uint16, 0, 4095, {"integers": (0, 4095)}),
    (np.int16, -1000, 3000, {"integers": (-1024, 4095)}),
    (np.uint32, 0, 2 ** 32 - 1, {"integers": (0, 2 ** 32 - 1)}),
    (np.int32, -60000, 60000, {"integers": (-65536, 65535)}),
    (np.float32, 0, 1, {"floats": (0, 1)})])
def test_tiffs_of_every_number_type_keep_the_order_of_their_pixels(tmp_path, order, dtype, low,
                                                                   high, levels):
    """Signed bytes and unsigned 32 bits wrapped around: the brightest pixels were the darkest."""
    values = np.linspace(low, high, 12 * 20).reshape(12, 20).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(values, order))
    if (dtype, order) == (np.uint32, ">"):  # Pillow knows no such file
        with pytest.raises(InputError, match="not a readable image"):
            read_image(tmp_path / "a.tif")
        return
    assert levels_of([tmp_path / "a.tif"]) == levels
    found = np.asarray(read_image(tmp_path / "a.tif", levels))[..., 0].astype(int)
    black, white = next(iter(levels.values()), (0, 255))
    wanted = (values.astype(float) - black) / (white - black) * 255
    assert np.abs(found - wanted).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_arrays_of_every_integer_type_are_read_by_one_range(dtype):
    twelve = [np.rint(one * 4095).astype(dtype) for one in photos()]
    twelve[0][0, 0] = 4095
    levels = levels_of(twelve)
    assert levels == {"integers": (0, 4095)}
    for array, one in zip(twelve[1:], photos()[1:], strict=True):
        found = np.asarray(as_rgb(array, levels)).astype(int)
        assert np.abs(found - np.rint(one * 255)).max() <= 1


@pytest.fixture(scope="module")
def twelve_bits(tmp_path_factory) -> Path:
    """A folder in the layout of `run`: 12-bit photos in 16-bit files, two with a defect."""
    folder = tmp_path_factory.mktemp("twelve")
    for number, one in enumerate(photos() + photos(spots=2)):
        place = ("train/good" if number < 6 else "test/good" if number < 10 else "test/grey")
        (folder / place).mkdir(parents=True, exist_ok=True)
        shifted = np.roll(one, number, axis=0) if number >= 6 else one
        as_file(shifted, folder / place / f"{number}.png", "12")
    return folder


@pytest.fixture(scope="module")
def model(shared_backbones, twelve_bits):
    return PatchCore(resize=64, coreset_ratio=0.2, device="cpu").fit(twelve_bits)


@pytest.mark.slow
def test_twelve_bits_are_told_from_defects_as_well_as_eight(model, twelve_bits, tmp_path):
    """They were read as 16 grey levels, in 16-bit files whose white is 65,535."""
    assert model.levels_ == {"integers": (0, 4095)}
    test = sorted((twelve_bits / "test").rglob("*.png"))
    labels = np.array([file.parent.name != "good" for file in test])
    scores = model.predict(test).scores
    eight = []
    for file in sorted(twelve_bits.rglob("*.png")):
        eight.append(tmp_path / file.name)
        read_image(file, {"integers": (0, 4095)}).save(eight[-1])
    twin = PatchCore(**model.get_params()).fit([f for f in eight if int(f.stem) < 6])
    assert twin.levels_ == {}
    wanted = twin.predict([tmp_path / file.name for file in test]).scores
    np.testing.assert_array_equal(scores, wanted)
    assert roc_auc_score(labels, scores) == 1.0


@pytest.mark.slow
def test_the_range_is_kept_by_save_update_and_features(model, twelve_bits, tmp_path):
    model.save(tmp_path / "m")
    assert json.loads((tmp_path / "m" / "model.json").read_text())["transform"]["levels"] == {
        "integers": [0, 4095]}
    loaded = PatchCore.load(tmp_path / "m", device="cpu")
    test = sorted((twelve_bits / "test").rglob("*.png"))
    np.testing.assert_array_equal(loaded.predict(test).scores, model.predict(test).scores)
    dark = [np.rint(one * 200).astype(np.uint16) for one in photos()[:2]]  # of 8 bits by itself
    assert loaded.update(dark).levels_ == model.levels_
    again = PatchCore(**model.get_params()).fit_features(
        model.extract(twelve_bits / "train", training=True))
    assert again.levels_ == model.levels_
    np.testing.assert_array_equal(again.predict_features(again.extract(test)).scores,
                                  model.predict(test).scores)
    with pytest.raises(InputError, match="extract them again"):
        again.predict_features(again.extract(test[:1], levels={"integers": (0, 65535)}))


@pytest.mark.parametrize("levels", [[], {"colours": [0, 1]}, {"integers": [0]},
                                    {"integers": [5, 5]}, {"floats": [0, "1"]},
                                    {"floats": [0, 1e999]}, {"integers": None}], ids=str)
def test_a_record_whose_levels_make_no_sense_is_refused(model, tmp_path, levels):
    from indad.learned import storage

    model.save(tmp_path)
    record = json.loads((tmp_path / "model.json").read_text())
    record["transform"]["levels"] = levels
    record["record_sha256"] = storage._record_digest(record)
    (tmp_path / "model.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="model.json: (levels are|not the record)"):
        PatchCore.load(tmp_path)


def test_a_model_of_8_bit_photos_says_nothing_of_levels(tmp_path):
    PatchCore(resize=64, coreset="random", device="cpu").fit(pictures()[:2]).save(tmp_path)
    assert "levels" not in (tmp_path / "model.json").read_text()


@pytest.mark.parametrize("photo, words", [
    (np.full((64, 64), 5000, np.uint16), "integers from 5000 to 5000, but the training photos say "
                                         "0 is black and 4095 is white"),
    (np.full((64, 64), -3, np.int32), "integers from -3 to -3"),
    (Image.new("F", (64, 64), 0.5), "floats from 0.5 to 0.5, of which the model knows no white")])
def test_a_photo_outside_the_range_is_warned_of_in_one_line(model, photo, words):
    with pytest.warns(InputWarning) as caught:
        prediction = model.predict([np.zeros((64, 64), np.uint16), photo, photo])
    (warning,) = caught
    assert words in str(warning.message) and "1 more such" in str(warning.message)
    assert "\n" not in str(warning.message)
    assert [index for index, _ in prediction.notes] == [1, 2]


@pytest.mark.filterwarnings("error")
def test_nothing_is_said_of_photos_inside_the_range(model, twelve_bits):
    model.predict(twelve_bits / "test")
    model.predict(pictures())


@pytest.mark.slow
def test_the_commands_say_what_was_decided(twelve_bits, tmp_path, capsys):
    small = ["--resize", "64", "--coreset-ratio", "0.1", "--device", "cpu"]
    fit = ["fit", str(twelve_bits), *small, "--output", str(tmp_path / "m")]
    assert main(fit) == 0
    assert "photos of more than 8 bits: white is 4095 (12 bits)" in capsys.readouterr().err
    run = ["run", "--dataset", str(twelve_bits), *small, "--output", str(tmp_path / "r")]
    assert main(run) == 0
    assert "white is 4095 (12 bits)" in capsys.readouterr().err
    (metrics,) = (tmp_path / "r").rglob("metrics.json")
    assert json.loads(metrics.read_text())["levels"] == {"integers": [0, 4095]}
    Image.fromarray(np.full((64, 64), 50000, np.uint16)).save(tmp_path / "bright.png")
    assert main(["predict", str(tmp_path / "m"), str(tmp_path / "bright.png"), "--device", "cpu",
                 "--output", str(tmp_path / "p")]) == 0
    said = capsys.readouterr().err
    assert "indad: warning: " in said and "bright.png: holds integers from 50000 to 50000" in said
    assert "bright.png: holds" in (tmp_path / "p" / "scores.csv").read_text()


def test_check_says_what_was_decided_and_which_photos_leave_it(twelve_bits, tmp_path):
    shutil.copytree(twelve_bits, tmp_path / "set")
    found = audit(tmp_path / "set")
    (notes,) = found.findings.values()
    assert "photos of more than 8 bits: white is 4095 (12 bits)" in [one.message for one in notes]
    assert "odd_pixels" not in {one.kind for one in notes}
    bright = tmp_path / "set/test/good/6.png"
    bright.write_bytes(png16(np.full((64, 64, 3), 5000)))
    (fault,) = [one for one in audit(tmp_path / "set").faults if one.kind == "odd_pixels"]
    assert fault.paths == ("test/good/6.png",) and "4095 is white" in fault.message


def test_large_photos_are_read_as_small_ones():
    """Of those, each of the 65,536 numbers is looked up."""
    values = np.random.default_rng(0).integers(0, 2 ** 16, (300, 300), np.uint16)
    for levels in ({}, {"integers": (0.0, 4095.0)}, {"integers": (-256.0, 16383.0)}):
        found = eight_bits(values, levels)
        np.testing.assert_array_equal(found[:20], eight_bits(values[:20], levels))
        np.testing.assert_array_equal(found, eight_bits(values.astype(np.int32), levels))
        np.testing.assert_array_equal(found, eight_bits(values.astype(">u2"), levels))
