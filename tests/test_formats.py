"""Regions, maps and masks for other tools, read back by them or by their rules."""

import csv
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from indad import PatchCore
from indad.cli import main
from indad.deploy.formats import MAP_WRITERS, REGION_WRITERS, Files, Marked, Writer
from indad.deploy.inspection import inspect_images
from indad.deploy.regions import outlines, regions_above
from indad.errors import InputError

sys.path.insert(0, str(Path(__file__).parent / "fixtures"))
from make_format_1 import pictures  # noqa: E402


def spots(seed: int, height: int, width: int) -> np.ndarray:
    """A map with smooth spots, some at the borders, some with holes."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    return ndimage.gaussian_filter(noise, 3).astype(np.float32)


def written(folder: Path, found: dict[str, np.ndarray], level: float, **options) -> list:
    folder.mkdir(exist_ok=True)
    files = Files(folder, level=level, **options)
    rows = [files.add(Marked(name, name.replace("/", "_"), one.shape, regions_above(one, level)),
                      one) for name, one in found.items()]
    files.finish()
    return rows


def covered(polygons: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres are in one of the polygons."""
    y, x = np.indices(size) + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    return np.any([Polygon(one).contains_points(centres) for one in polygons],
                  axis=0).reshape(size)


def test_coco_reads_back_every_pixel(tmp_path, capsys):
    """Holes, borders and all, and of a photo without regions nothing."""
    maps = {f"deep/{seed}.png": spots(seed, 40 + seed, 64) for seed in range(4)}
    maps["good.png"] = np.zeros((9, 7), np.float32)
    maps["all.png"] = np.ones((3, 4), np.float32)
    maps["ring.png"] = np.pad(np.zeros((2, 3), np.float32), 2, constant_values=1)
    level = 0.05
    written(tmp_path, maps, level, regions_as=["coco"])
    coco = COCO(str(tmp_path / "coco.json"))
    assert [one["file_name"] for one in coco.loadImgs(coco.getImgIds())] == list(maps)
    holes = 0
    for image, one in zip(coco.loadImgs(coco.getImgIds()), maps.values(), strict=True):
        assert (image["height"], image["width"]) == one.shape
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        masks = [coco.annToMask(annotation).astype(bool) for annotation in found]
        assert np.array_equal(sum(masks, np.zeros(one.shape, int)), one > level)
        for annotation, mask in zip(found, masks, strict=True):
            ys, xs = np.nonzero(mask)
            assert annotation["area"] == len(ys)
            assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation["score"] == one[mask].max()
            holes += int(not np.array_equal(ndimage.binary_fill_holes(mask), mask))
    assert holes and not coco.getAnnIds(imgIds=5) and len(coco.getAnnIds(imgIds=6)) == 1
    (category,) = coco.loadCats(coco.getCatIds())
    assert category["name"] == "anomaly"


def test_outlines_go_around_the_pixels_and_fill_holes():
    for seed in range(6):
        one = spots(seed, 50, 70)
        for region in regions_above(one, 0.05):
            left, top, right, bottom = region.box
            wanted = np.zeros((50, 70), bool)
            wanted[top:bottom, left:right] = ndimage.binary_fill_holes(region.pixels)
            exact = outlines(region, tolerance=0)
            assert np.array_equal(covered(exact, (50, 70)), wanted)
            simple = outlines(region)
            assert sum(map(len, simple)) <= sum(map(len, exact))
            differ = covered(simple, (50, 70)) ^ wanted
            rim = ndimage.binary_dilation(wanted) & ~ndimage.binary_erosion(wanted)
            assert not (differ & ~rim).any()  # by no more than the pixels along it
            for points in simple:
                assert len(points) >= 3
                assert (points >= 0).all() and (points <= (70, 50)).all()
    # Two pixels that touch at a corner are one region, with two outlines.
    corner = np.zeros((6, 6), np.float32)
    corner[2, 2] = corner[3, 3] = 1
    (region,) = regions_above(corner, 0.5)
    assert [sorted(map(tuple, points)) for points in outlines(region)] == [
        sorted([(at, at - .5), (at + .5, at), (at, at + .5), (at - .5, at)]) for at in (2.5, 3.5)]


def test_labelme_and_cvat_have_the_same_outlines(tmp_path):
    maps = {"deep/a.png": spots(1, 40, 64), "b & \"c\"\x01.png": spots(2, 30, 30),
            "good.png": np.zeros((9, 7), np.float32)}
    written(tmp_path, maps, 0.05, regions_as=["labelme", "cvat", "labelme"])
    tree = ElementTree.parse(tmp_path / "cvat.xml").getroot()
    assert tree.find("version").text == "1.1"
    images = tree.findall("image")
    assert [one.get("name") for one in images] == ["deep/a.png", "b & \"c\"\ufffd.png", "good.png"]
    assert [one.get("id") for one in images] == ["0", "1", "2"]
    assert {file.name for file in (tmp_path / "labelme").iterdir()} == {
        "deep_a.png.json", "b & \"c\"\x01.png.json"}
    for image, (name, one) in zip(images[:2], maps.items(), strict=False):
        said = json.loads((tmp_path / "labelme" / f"{name.replace('/', '_')}.json").read_text())
        assert (said["imagePath"], said["imageData"]) == (name, None)
        size = said["imageHeight"], said["imageWidth"]
        assert size == one.shape == (int(image.get("height")), int(image.get("width")))
        polygons = [np.array(shape["points"]) for shape in said["shapes"]]
        theirs = [np.array([[float(x) for x in point.split(",")]
                            for point in polygon.get("points").split(";")])
                  for polygon in image.findall("polygon")]
        assert len(polygons) == len(theirs) >= len(regions_above(one, 0.05)) > 1
        for ours, other in zip(polygons, theirs, strict=True):
            np.testing.assert_allclose(ours, other, atol=0.006)
        both = covered(polygons, size), one > 0.05
        assert (both[0] & both[1]).sum() > 0.9 * (both[0] | both[1]).sum()
    assert not images[2].findall("polygon")


def test_maps_and_masks_come_back_to_the_bit(tmp_path):
    maps = {"deep/a.png": spots(1, 40, 64), "b.png": spots(2, 30, 31)}
    for ending in ("tiff", "npz"):
        rows = written(tmp_path / ending, maps, 0.05, maps=ending, masks=ending == "npz")
        for row, one in zip(rows, maps.values(), strict=True):
            file = tmp_path / ending / row["map"]
            if ending == "npz":
                back = np.load(file)["map"]
                mask = Image.open(tmp_path / ending / row["mask"])
                assert mask.mode == "L"
                assert np.array_equal(np.asarray(mask), 255 * (one > 0.05))
            else:
                back = np.asarray(Image.open(file))
                assert list(row) == ["map"]
            assert back.dtype == np.float32 and np.array_equal(back, one)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """`good` with five plaids, and `new` with one, and one with a spot in a sub-folder."""
    folder = tmp_path_factory.mktemp("photos")
    plaids = pictures()
    spotted = plaids[5].copy()
    spotted[20:36, 24:44] = 255, 0, 0
    for name, picture in {**{f"good/{i}.png": plaids[i] for i in range(5)}, "new/1.png": plaids[1],
                          "new/deep/3.png": spotted}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).resize((90, 120)).save(folder / name)
    (folder / "new" / "broken.png").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def model(small_network, photos) -> PatchCore:
    return PatchCore(**small_network, resize=48, map_kernel_size=9, device="cpu").fit(
        photos / "good")


@pytest.mark.slow
def test_the_command_writes_them_beside_the_tables(model, photos, tmp_path, capsys):
    model.save(tmp_path / "model")
    words = ["predict", tmp_path / "model", photos / "new", "--output", tmp_path / "out",
             "--regions-as", "coco", "labelme", "cvat", "--maps", "tiff", "--masks"]
    for _ in range(2):  # the second takes the place of the first
        assert main([str(word) for word in words]) == 0
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == {
        "scores.csv", "regions.json", "overlays", "prediction.json", "coco.json", "labelme",
        "cvat.xml", "maps", "masks"}
    with open(out / "scores.csv", newline="") as lines:
        rows = {row["image"]: row for row in csv.DictReader(lines)}
    assert rows["broken.png"]["map"] == rows["broken.png"]["mask"] == ""
    names = ["1.png", "deep/3.png"]
    prediction = model.predict([photos / "new" / name for name in names])
    level = json.loads((out / "prediction.json").read_text())["map_threshold"]
    coco = COCO(str(out / "coco.json"))
    assert [one["file_name"] for one in coco.loadImgs(coco.getImgIds())] == names
    for name, wanted, image in zip(names, prediction.maps, coco.getImgIds(), strict=True):
        assert np.array_equal(np.asarray(Image.open(out / rows[name]["map"])), wanted)
        mask = np.asarray(Image.open(out / rows[name]["mask"])) > 0
        assert np.array_equal(mask, wanted > level)
        marked = [coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds(imgIds=image))]
        assert np.array_equal(sum(marked, np.zeros((120, 90))), mask)
        assert len(marked) == int(rows[name]["regions"])
    assert rows["deep/3.png"]["mask"] == "masks/deep_3.png"
    assert rows["deep/3.png"]["overlay"] == "overlays/deep_3.png"
    assert json.loads((out / "labelme" / "deep_3.json").read_text())["imagePath"] == "deep/3.png"
    plain = words[:5]
    assert main([str(word) for word in plain]) == 0
    assert {file.name for file in out.iterdir()} == {
        "scores.csv", "regions.json", "overlays", "prediction.json"}
    for wrong, message in ((["--regions-as", "coco", "voc"], "regions_as is ['coco', 'voc']"),
                           (["--maps", "png"], "unknown maps 'png'")):
        capsys.readouterr()
        assert main([str(word) for word in [*plain, *wrong]]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_threshold_there_are_no_regions_to_write(model, photos, tmp_path):
    alone = PatchCore(**{name: getattr(model, name) for name in (
        "backbone", "weights", "resize", "map_kernel_size", "device")}).fit(
            photos / "good" / "0.png")
    for options in (dict(regions_as=["coco"]), dict(masks=True)):
        with pytest.raises(InputError, match="need the map's threshold, and this model has none"):
            inspect_images(alone, [photos / "new" / "1.png"], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    inspect_images(alone, [photos / "new" / "1.png"], tmp_path / "out", maps="npz")
    assert np.load(tmp_path / "out" / "maps" / "1.npz")["map"].shape == (120, 90)


@pytest.mark.slow
def test_another_format_is_a_row(model, photos, tmp_path, monkeypatch):
    class Boxes(Writer):
        name = "boxes.txt"

        def add(self, photo):
            with open(self.place, "a") as lines:
                lines.writelines(f"{photo.name} {region.box}\n" for region in photo.regions)

    monkeypatch.setitem(REGION_WRITERS, "boxes", Boxes)
    monkeypatch.setitem(MAP_WRITERS, "npy", np.save)
    for _ in range(2):
        inspect_images(model, [photos / "new" / "deep"], tmp_path / "out", regions_as=["boxes"],
                       maps="npy")
    regions = json.loads((tmp_path / "out" / "regions.json").read_text())["3.png"]
    assert (tmp_path / "out" / "boxes.txt").read_text().splitlines() == [
        f"3.png {tuple(one['box'])}" for one in regions] != []
    assert np.load(tmp_path / "out" / "maps" / "3.npy").shape == (120, 90)
