"""Reading pictures of every kind, and the way into the model's frame and back."""

import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from indad.data import images
from indad.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageTransform,
    Placement,
    as_rgb,
    cores,
    image_size,
    read_image,
    readers,
    to_photo,
    to_rgb,
)
from indad.data.masks import read_mask
from indad.errors import InputError


def gradient(height=12, width=20):
    """`(h, w)` uint8 that grows to the right and downwards."""
    y, x = np.mgrid[:height, :width]
    return (x * 10 + y * 2).astype(np.uint8)


def test_grayscale_palette_and_rgb_agree(tmp_path):
    grey = gradient()
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "rgb.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "p.png")
    for name in ("l", "rgb", "p"):
        pixels = np.asarray(read_image(tmp_path / f"{name}.png"))
        assert pixels.shape == (12, 20, 3)
        np.testing.assert_array_equal(pixels, np.stack([grey] * 3, 2), err_msg=name)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    grey = gradient()
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tif")
    for name in ("16.png", "16.tif"):
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / name))[..., 1], grey)


@pytest.mark.parametrize("full", [1.0, 255.0])
def test_float_tiffs(tmp_path, full):
    grey = gradient()
    Image.fromarray((grey / 255 * full).astype(np.float32)).save(tmp_path / "f.tif")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "f.tif"))[..., 0], grey)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0], pixels[:, 2:, 3] = 200, 255  # red everywhere, opaque on the right only
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    image = np.asarray(read_image(tmp_path / "rgba.png"))
    assert image[0, 3].tolist() == [200, 0, 0]
    assert image[0, 0].tolist() == [255, 255, 255]


def test_exif_rotation_is_undone(tmp_path):
    upright = gradient()
    turned = Image.fromarray(np.rot90(upright))  # as a camera on its side stores it
    exif = turned.getexif()
    exif[0x0112] = 6  # "turn me 90 degrees clockwise"
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "turned.png"))[..., 0], upright)
    assert image_size(tmp_path / "turned.png") == upright.shape


def test_corrupt_missing_and_empty_files_are_named(tmp_path):
    Image.fromarray(gradient(200, 200)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:len(data) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("cut.png", "text.png", "empty.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)


def test_what_people_have_in_hand(tmp_path):
    grey = gradient()
    rgb = np.stack([grey] * 3, 2)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(rgb), rgb, grey,
               grey[..., None], rgb / 255, grey.astype(np.uint16) * 257,
               torch.from_numpy(rgb).permute(2, 0, 1),
               torch.from_numpy(rgb).permute(2, 0, 1).float() / 255]
    for source in sources:
        np.testing.assert_array_equal(np.asarray(as_rgb(source)), rgb)


@pytest.mark.parametrize("source", [7, None, np.zeros((2, 3, 4, 5)), np.zeros((4, 4, 7)), [1]])
def test_what_is_no_image_is_refused(source):
    with pytest.raises(InputError, match="cannot read an image"):
        as_rgb(source)


def test_masks_are_true_above_a_level(tmp_path):
    Image.fromarray(np.array([[0, 1, 127, 128, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[False, True, True, True, True]]
    assert read_mask(tmp_path / "m.png", above=127)[0].tolist() == [False] * 3 + [True] * 2


def test_transform_equals_torchvision():
    from torchvision import transforms

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (97, 140, 3), np.uint8))
    ours = ImageTransform(resize=64, crop=48)
    theirs = transforms.Compose([
        transforms.Resize(64), transforms.CenterCrop(48), transforms.ToTensor(),
        transforms.Normalize(ours.mean, ours.std)])
    torch.testing.assert_close(ours(image), theirs(image))


@pytest.mark.parametrize("mean, std", [(IMAGENET_MEAN, IMAGENET_STD), ((0.5,) * 3, (0.5,) * 3),
                                       ([0.1, 0.2, 0.3], [0.9, 1.1, 0.7])])
def test_normalising_in_torch_and_in_numpy_gives_the_same_bits(mean, std):
    """All pixels there are, so that a GPU's division may be held to this too."""
    pixels = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, 2)
    transform = ImageTransform((16, 16), None, mean, std)
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    wanted = ((pixels.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)
    batch = transform.normalize(torch.from_numpy(np.stack([pixels, pixels[::-1]])))
    assert batch.dtype == torch.float32 and batch.shape == (2, 3, 16, 16)
    assert batch.is_contiguous(memory_format=torch.channels_last)  # as networks like it: no copy
    np.testing.assert_array_equal(batch.numpy(), [wanted, wanted[:, ::-1]])
    one = transform(Image.fromarray(pixels))
    assert one.is_contiguous() and torch.equal(one, batch[0])


def test_one_number_without_a_crop_is_a_square():
    assert ImageTransform(resize=32).placement((50, 100)).size == (32, 32)
    assert ImageTransform(resize=32, crop=32).placement((50, 100)).resized == (32, 64)


def test_masks_shrink_without_losing_their_rim():
    mask = np.zeros((256, 256), bool)
    mask[64:128, 64:128] = True
    seen = ImageTransform(resize=128, crop=112).mask(mask)
    assert seen.shape == (112, 112)
    assert seen.sum() == 32 * 32
    assert seen[24:56, 24:56].all()


@pytest.mark.parametrize("size", [(256, 256), (300, 200), (90, 160)])
@pytest.mark.parametrize("transform", [ImageTransform(resize=128, crop=112),
                                       ImageTransform(resize=(96, 128))])
def test_a_spot_comes_back_to_its_place(size, transform):
    """Photo -> frame -> photo: the brightest pixel of the map is where the spot was."""
    photo = np.zeros((*size, 3), np.uint8)
    y, x = size[0] * 5 // 12, size[1] * 7 // 12
    photo[y - 4:y + 5, x - 4:x + 5] = 255
    seen = transform(Image.fromarray(photo)).mean(0).numpy()
    back = to_photo(seen, transform.placement(size))
    assert back.shape == size
    weights = np.clip(back - back.mean(), 0, None) ** 2
    found = [float((weights.sum(1 - axis) * np.arange(size[axis])).sum() / weights.sum())
             for axis in (0, 1)]
    assert found == pytest.approx([y, x], abs=1.5)


def test_what_the_crop_cut_away_gets_no_evidence():
    frame = Placement((100, 100), (100, 100), 10, 10, (80, 80))
    back = to_photo(np.full((80, 80), 3.0, np.float32) + np.eye(80, dtype=np.float32), frame)
    assert back[:10].max() == back.min() == 3.0
    assert back[10, 10] == 4.0


def test_a_crop_larger_than_the_picture_is_refused():
    with pytest.raises(InputError, match="crop 64 is larger"):
        ImageTransform(resize=(32, 32), crop=64).placement((10, 10))


def test_whatever_a_decoder_raises_means_unreadable(tmp_path, monkeypatch):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    for error in (struct.error("unpack"), zlib.error("bad"), MemoryError(), OverflowError("big"),
                  Image.DecompressionBombError("bomb"), Image.DecompressionBombWarning("bomb"),
                  KeyError(3), AttributeError("no\nsuch")):
        def fail(*arguments, error=error):
            raise error

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        monkeypatch.setattr("PIL.Image.Image.getexif", fail)
        for read in (read_image, image_size):
            with pytest.raises(InputError, match=r"a\.png: not a readable image \(.+\)$") as caught:
                read(tmp_path / "a.png")
            assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_pictures_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    Image.new("1", (8200, 8200)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 50_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(InputError, match="8200 x 8200 pixels are too many; at most 67 million"):
        read_image(tmp_path / "bomb.png")
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="bomb.png"):
        read_image(tmp_path / "bomb.png")


def test_files_for_other_programs_are_not_run(tmp_path, monkeypatch):
    """Pillow would call Ghostscript for a PostScript file, whatever its name says."""
    from PIL import EpsImagePlugin

    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
                                     b"%%EndComments\nshowpage\n%%EOF\n")
    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments: called.append(1))
    with pytest.raises(InputError, match="cannot identify"):
        read_image(tmp_path / "a.png")
    assert not called


@pytest.mark.filterwarnings("error")
def test_float_tiffs_with_holes(tmp_path):
    values = (gradient() / 255).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "f.tif")
    pixels = np.asarray(read_image(tmp_path / "f.tif"))[..., 0]
    assert pixels[0, :3].tolist() == [0, 255, 0]


@pytest.mark.parametrize("mode, values", [("I;16", [0, 1, 128, 129, 40000, 65535]),
                                          ("I", [-5, 0, 300, 40000, 65535, 70000])])
def test_integer_modes_are_scaled_as_fractions_of_16_bits(mode, values):
    image = Image.fromarray(np.array([values], np.uint16 if mode == "I;16" else np.int32))
    assert image.mode == mode
    wanted = [round(min(max(value, 0), 65535) / 65535 * 255) for value in values]
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == wanted


def literal_rgb(image):
    """Upright, over white, RGB: each step a new picture."""
    image = ImageOps.exif_transpose(image)
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def turned(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return dict(exif=exif)


FILES = [(mode, suffix, options) for suffix, options, modes in (
    ("png", {}, ("1", "L", "LA", "P", "RGB", "RGBA")), ("png", dict(transparency=7), ("L", "P")),
    ("png", turned(6), ("L", "RGB")), ("png", turned(0), ("RGB",)),
    ("jpg", {}, ("L", "RGB", "CMYK")), ("jpg", dict(progressive=True), ("RGB",)),
    *(("jpg", turned(number), ("RGB",)) for number in range(1, 10)), ("bmp", {}, ("1", "L", "RGB")),
    ("tif", {}, ("1", "L", "RGB", "CMYK")), ("tif", dict(save_all=True), ("RGB",)),
    ("webp", dict(lossless=True), ("RGB", "RGBA")), ("gif", dict(save_all=True), ("L",)),
) for mode in modes]


@pytest.mark.parametrize("mode, suffix, options", FILES, ids=lambda value: (
    "-".join(value) if isinstance(value, dict) else value))
def test_a_file_is_read_as_if_every_step_made_a_new_picture(tmp_path, mode, suffix, options):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 4), np.uint8)
    picture = Image.fromarray(pixels)
    picture = picture.convert("RGB").convert(mode) if mode == "CMYK" else picture.convert(mode)
    options = dict(options)
    if options.get("save_all"):
        options["append_images"] = [picture.transpose(Image.Transpose.ROTATE_180)]
    file = tmp_path / f"a.{suffix}"
    picture.save(file, **options)
    with Image.open(file) as opened:
        wanted = np.asarray(literal_rgb(opened))
    found = read_image(file)
    file.unlink()  # it is closed, and needs it no more
    assert found.mode == "RGB"
    for usable in (found, found.copy(), pickle.loads(pickle.dumps(found)),
                   found.crop((0, 0, *found.size)), found.resize(found.size)):
        np.testing.assert_array_equal(np.asarray(usable), wanted)


def test_interlaced_and_text_laden_pngs_are_read_too(tmp_path):
    """Adam7, written by hand as Pillow writes none; its seven passes hold each pixel once."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for top, left, down, right in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1)) for row in pixels[top::down, left::right])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 1)),
              (b"tEXt", b"Software\0by hand"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), pixels)


def test_a_picture_that_is_right_already_is_not_copied():
    right = Image.fromarray(np.zeros((4, 5, 3), np.uint8))
    assert to_rgb(right) is right and as_rgb(right) is right
    on_its_side = right.copy()
    on_its_side.getexif()[0x0112] = 6
    assert to_rgb(on_its_side).size == (4, 5) and on_its_side.size == (5, 4)


@pytest.mark.parametrize("files, count", [
    ({}, 12), ({"cpu.max": "max 100000\n"}, 12), ({"cpu.max": "250000 100000\n"}, 3),
    ({"cpu.max": "9900000 100000\n"}, 12), ({"cpu.max": "20000 100000\n"}, 1),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 12),
    ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ({"cpu.max": "nonsense"}, 12),
], ids=str)
def test_there_are_as_many_readers_as_cores_that_may_be_used(tmp_path, monkeypatch, files, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == count
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 500 if not files else 12)
    assert cores(tmp_path) == (500 if not files else count)
    monkeypatch.setattr(images, "cores", lambda: 500)
    assert readers() == 32
