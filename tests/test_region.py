"""A region of interest: what lies outside it, beyond a margin, is never seen."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from indad import PatchCore, evaluate, load_dataset
from indad.data.drawn import in_text, region_from
from indad.data.images import ImageTransform, Placement
from indad.data.region import mask_in, region_of
from indad.deploy.explanation import explain
from indad.engine.foreground import find_foreground, silhouettes
from indad.engine.upsampling import touching
from indad.errors import InputError, InputWarning
from indad.metrics import pixel_metrics
from indad.scores import IMAGE_SCORES, anomaly_maps

SMALL = dict(resize=96, map_kernel_size=9, map_sigma=2.0, coreset_ratio=0.1)
MIDDLE = [[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]]


def photos(count, seed=0, size=96):
    """A bright square with a little noise on dark noise."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        photo = rng.integers(20, 60, (size, size, 3), np.uint8)
        low, high = size // 4, 3 * size // 4
        photo[low:high, low:high] = rng.integers(150, 190, (high - low, high - low, 3), np.uint8)
        found.append(photo)
    return found


def mark(photo, y, x, side=10):
    photo = photo.copy()
    photo[y:y + side, x:x + side] = (255, 0, 0)
    return photo


@pytest.fixture(scope="module")
def model():
    return PatchCore(region=MIDDLE, reserve=0.05, **SMALL).fit(photos(6))


def same(first, second):
    return (np.array_equal(first.scores, second.scores)
            and all(map(np.array_equal, first.model_maps, second.model_maps)))


@pytest.mark.parametrize("options", [
    {}, pytest.param(dict(image_score="top", calibration="folds"), marks=pytest.mark.slow),
    pytest.param(dict(calibration="held-out", image_score="peak"), marks=pytest.mark.slow),
    pytest.param(dict(scales=(1.0, 1.5), image_score="reweighted"), marks=pytest.mark.slow),
    pytest.param(dict(tiles=48, resize=None), marks=pytest.mark.slow),
    pytest.param(dict(resize=112, crop=96), marks=pytest.mark.slow),
    pytest.param(dict(balance_layers=False, patch_features="adaptive", coreset_ratio=1.0),
                 marks=pytest.mark.slow)])
def test_what_lies_outside_changes_nothing_to_the_bit(options):
    model = PatchCore(region=MIDDLE, **SMALL | options).fit(photos(6))
    seen = photos(3, seed=1)
    noisy = [photo.copy() for photo in seen]
    outside = ~model.region_.seen_over((96, 96))
    assert 0.3 < outside.mean() < 0.7
    for photo in noisy:
        photo[outside] = np.random.default_rng(2).integers(0, 256, (outside.sum(), 3))
    before, after = model.predict(seen), model.predict(noisy)
    assert same(before, after)
    assert model.predict([mark(seen[0], 44, 44)]).scores > 1.2 * before.scores[0]
    for one in before.maps:
        assert not one[~model.region_.over(one.shape)].any() and one.any()


def test_neither_bank_nor_reserve_nor_worst_patch_is_outside(model):
    inside = torch.as_tensor(model.region_.within(model.transform_.placement((96, 96))))
    cells = touching(inside[None], model.grid_)[0].flatten()
    patches = cells.numel()
    for indices in (model.coreset_indices_, model.reserve_indices_):
        assert len(indices) and cells[indices % patches].all()
    assert model.fitted_.looked_at == 6 * int(cells.sum()) < model.fitted_.seen
    assert len(model.memory_bank_) == int(0.1 * model.fitted_.looked_at)
    match = explain(model, mark(photos(1)[0], 2, 2))
    assert cells[match.place[0] * model.grid_[1] + match.place[1]]


@pytest.mark.slow
def test_a_grown_model_is_as_blind(model):
    grown = PatchCore(region=MIDDLE, reserve=0.05, **SMALL).fit(photos(6))
    grown.update(photos(3, seed=5))
    cells = touching(grown.transform_.inside([grown.transform_.placement((96, 96))]),
                     grown.grid_)[0].flatten()
    assert cells[grown.coreset_indices_ % cells.numel()].all()
    assert len(grown.memory_bank_) == int(0.1 * 9 * int(cells.sum()))
    seen = photos(2, seed=8)
    assert same(grown.predict(seen), grown.predict([mark(one, 1, 1) for one in seen]))


def test_a_saved_model_looks_where_it_did(tmp_path):
    mask = np.zeros((48, 48), np.uint8)
    mask[12:36, 12:36] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    model = PatchCore(region=str(tmp_path / "mask.png"), **SMALL).fit(photos(4))
    model.save(tmp_path / "model")
    (tmp_path / "mask.png").unlink()
    loaded = PatchCore.load(tmp_path / "model")
    assert loaded.region_ == model.region_ and same(model.predict(photos(2)),
                                                    loaded.predict(photos(2)))
    with pytest.raises(InputError, match="no such image"):
        loaded.fit(photos(2))
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    assert record["format"] == 4 and record["options"]["region"] == "../mask.png"


@pytest.mark.slow
def test_features_know_their_region(model):
    with pytest.raises(InputError, match="another region"):
        model.predict_features(PatchCore(**SMALL).extract(photos(2)))
    assert same(model.predict_features(model.extract(photos(2))), model.predict(photos(2)))


@pytest.mark.slow
def test_a_region_of_everything_changes_hardly_anything():
    whole, none = (PatchCore(region=region, **SMALL).fit(photos(4)).predict(photos(2, seed=3))
                   for region in ([[(0, 0), (1, 0), (1, 1), (0, 1)]], None))
    np.testing.assert_allclose(whole.scores, none.scores, rtol=1e-4)
    np.testing.assert_allclose(whole.model_maps, none.model_maps, rtol=1e-3, atol=1e-3)


def test_maps_are_means_of_what_is_looked_at():
    patches = torch.full((1, 8, 8), -1.0)
    patches[0, 2:5, 3:6] = 7.0
    found = anomaly_maps(patches, (64, 64), sigma=2.0, kernel_size=9, partial=True)
    torch.testing.assert_close(found[0, 16:40, 24:48], torch.full((24, 24), 7.0))
    whole = torch.rand(1, 8, 8)
    torch.testing.assert_close(anomaly_maps(whole, (64, 64), partial=True),
                               anomaly_maps(whole, (64, 64)))
    assert float(IMAGE_SCORES["top"](torch.tensor([[-1.0] * 150 + [3.0] * 50]), None, None, None, 1,
                                     None)) == 3.0


@pytest.mark.parametrize("length, cells", [(96, 12), (100, 13), (7, 7), (30, 4)])
def test_a_patch_touches_what_it_covers(length, cells):
    for pixel in range(length):
        inside = torch.zeros(1, length, 5, dtype=torch.bool)
        inside[0, pixel] = True
        wanted = [start * length // cells <= pixel < -(-(start + 1) * length // cells)
                  for start in range(cells)]
        assert touching(inside, (cells, 1))[0, :, 0].tolist() == wanted


def test_a_mask_lies_over_every_frame_of_a_photo():
    inside = np.zeros((40, 80), bool)
    inside[10:20, 60:70] = True
    region = region_of(inside, (1, 2, 3), 2.0)
    tiled = ImageTransform(tiles=32, overlap=8, region=region)
    frames = tiled.frames((80, 160))
    assert all(region.within(one).any() for one in frames)
    assert 0 < len(frames) < len(ImageTransform(tiles=32, overlap=8).frames((80, 160)))
    whole = np.zeros((80, 160), bool)
    for one in frames:
        whole[one.top:one.top + 32, one.left:one.left + 32] |= region.within(one)
    assert np.array_equal(whole, np.kron(inside, np.ones((2, 2), bool)))
    painted = np.asarray(region.painted(Image.new("RGB", (160, 80), "white")))
    assert (painted[0, 0] == (1, 2, 3)).all() and (painted[30, 130] == 255).all()
    line = np.zeros((40, 80), bool)
    line[:, 7] = True
    small = Placement((40, 80), (10, 20), 0, 0, (10, 20))
    assert region_of(line, (0, 0, 0), 0).within(small)[:, 1].all()


def test_metrics_count_inside_only():
    rng = np.random.default_rng(0)
    maps, masks, inside = rng.random((2, 9, 9)), rng.random((2, 9, 9)) > 0.8, np.zeros((9, 9), bool)
    inside[:, :5] = True
    cut = pixel_metrics([one[:, :5] for one in maps], [one[:, :5] for one in masks])
    assert pixel_metrics(list(maps), list(masks), [inside, inside]) == pytest.approx(cut)


@pytest.mark.slow
def test_evaluate_leaves_out_what_is_outside(model, tmp_path):
    for name, pictures in (("train/good", photos(4)), ("test/good", photos(2, seed=4)),
                           ("test/bad", [mark(one, 40, 40) for one in photos(2, seed=6)])):
        (tmp_path / name).mkdir(parents=True)
        for number, one in enumerate(pictures):
            Image.fromarray(one).save(tmp_path / name / f"{number}.png")
    (tmp_path / "ground_truth/bad").mkdir(parents=True)
    for number in range(2):
        mask = np.zeros((96, 96), np.uint8)
        mask[40:50, 40:50] = mask[:8] = 255  # and a stripe outside, which nobody can see
        Image.fromarray(mask).save(tmp_path / f"ground_truth/bad/{number}_mask.png")
    train, test = load_dataset(str(tmp_path))
    found = evaluate(PatchCore(region=MIDDLE, **SMALL).fit(train).predict(test), test)
    assert found["image_auroc"] == 1.0 and found["pixel_auroc"] > 0.9
    assert found == evaluate(PatchCore(region=MIDDLE, **SMALL).fit(train).predict(test), test)


def test_foreground_finds_the_square_and_refuses_a_texture():
    found = find_foreground([Image.fromarray(one) for one in photos(4)])
    truth = np.zeros((128, 128), bool)
    truth[32:96, 32:96] = True
    assert found[truth].all() and (found & truth).sum() / found.sum() > 0.6
    alone = silhouettes([Image.fromarray(one) for one in photos(4)])[0]
    assert (alone & truth).sum() / (alone | truth).sum() > 0.9
    rng = np.random.default_rng(0)
    texture = [Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)) for _ in range(4)]
    with pytest.warns(InputWarning, match="cannot tell part from background"):
        assert find_foreground(texture) is None


@pytest.mark.slow
def test_foreground_is_learned_saved_and_blind(tmp_path):
    model = PatchCore(foreground="auto", **SMALL).fit(photos(4))
    assert model.region_.over((96, 96))[24:72, 24:72].all()
    model.save(tmp_path / "model")
    seen = photos(2, seed=3)
    assert same(PatchCore.load(tmp_path / "model").predict(seen),
                model.predict([mark(one, 0, 0, side=5) for one in seen]))


@pytest.mark.parametrize("options, said", [
    (dict(region=[[(0, 0), (1, 1)]]), "has 2 points"),
    (dict(region=[[(0, 0), (1, 1), (0, 1.5)]]), r"point \(0, 1.5\)"),
    (dict(region=[]), "list of polygons"), (dict(region=7), "list of polygons"),
    (dict(region=[[(0, 0), (1, 1), "a"]]), "list of polygons"),
    (dict(foreground="yes"), "unknown foreground"),
    (dict(region=MIDDLE, foreground="auto"), "both given"),
    (dict(region=MIDDLE, augmentation="flips"), "stays where it is"),
    (dict(region="nowhere.png"), "nowhere.png: no such image"),
    (dict(region=[[(0.5, 0.5), (0.1, 0.1), (0.2, 0.2)]]), "encloses nothing"),
    (dict(region=[[(0, 0), (0.1, 0), (0, 0.1)]], resize=128, crop=64), "of what the crop keeps")])
def test_bad_regions_cost_one_line(options, said):
    model = PatchCore(**SMALL | options)
    with pytest.raises(InputError, match=said) as caught:
        model.fit(photos(2))
    assert "\n" not in str(caught.value)


def test_bad_masks_cost_one_line(tmp_path):
    Image.new("L", (96, 48), 255).save(tmp_path / "wide.png")
    Image.new("L", (96, 96), 0).save(tmp_path / "black.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, said in (("wide", "96 x 48 pixels, but a photo has 96 x 96"),
                       ("black", "nothing in it is white"), ("text", "not a readable image")):
        with pytest.raises(InputError, match=said):
            PatchCore(region=str(tmp_path / f"{name}.png"), **SMALL).fit(photos(2))
    Image.new("L", (48, 48), 255).save(tmp_path / "square.png")
    model = PatchCore(region=str(tmp_path / "square.png"), **SMALL).fit(photos(2))
    with pytest.raises(InputError, match="96 x 48 pixels, but the region's mask"):
        model.predict([photos(1)[0][:48]])


def test_text_of_polygons_is_read_as_it_is_written(tmp_path):
    text = "0.1,0.1 0.9,0.1 0.5,0.9;0,0 0.5,0 0,0.5"
    polygons = region_from(text)
    assert len(polygons) == 2 and polygons[0][2] == (0.5, 0.9) and in_text(polygons) == text
    (tmp_path / "region.json").write_text(json.dumps({"region": polygons}))
    assert region_from(str(tmp_path / "region.json")) == polygons
    assert region_from("some/mask.png") == "some/mask.png"
    for wrong in ("0.1,0.1 0.9,a 0.5,0.9", "0.1,0.1 0.9,0.1", "0,0 1,0 2,0"):
        with pytest.raises(InputError):
            region_from(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("options", [dict(tiles=48, resize=None), dict(resize=112, crop=96)])
def test_an_exported_file_gives_the_same_verdicts(tmp_path, options, small_network):
    pytest.importorskip("onnxruntime")
    from indad.deploy.export import export_onnx

    model = PatchCore(region=MIDDLE, **SMALL | options | small_network).fit(photos(6))
    export_onnx(model, tmp_path / "model.onnx", check_images=photos(2, seed=1))
    looked = [*photos(1, seed=2), mark(photos(1, seed=2)[0], 0, 0), mark(photos(1)[0], 44, 44)]
    files = []
    for number, one in enumerate(looked):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(one).save(files[-1])
    script = "indad/deploy/onnx_predict.py"
    said = subprocess.run([sys.executable, script, tmp_path / "model.onnx", *files], check=True,
                          capture_output=True, text=True).stdout.splitlines()
    for line, score in zip(said, model.predict(files).scores, strict=True):
        assert float(line.split("score ")[1].split()[0]) == pytest.approx(score, rel=1e-4)
        assert ("defective" in line) == (score > model.threshold_)
    with pytest.raises(InputError, match="dynamic_size"):
        export_onnx(model, tmp_path / "other.onnx", dynamic_size=True)


@pytest.mark.slow
def test_a_module_looks_where_the_model_does(model):
    pixels = torch.from_numpy(np.stack([model.transform_.pixels(Image.fromarray(one))
                                        for one in photos(2, seed=1)]))
    scores, maps = model.module().cpu()(pixels.permute(0, 3, 1, 2) / 255)
    wanted = model.predict(photos(2, seed=1))
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-4)
    np.testing.assert_allclose(maps, wanted.model_maps, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("change", [
    dict(inside="no base64"), dict(fill=[1, 2]), dict(fill=[1, 2, 900]), dict(aspect="wide"),
    dict(inside=None), dict(seen="iVBORw0KGgo=")])
def test_a_changed_region_in_a_record_is_told(model, tmp_path, change):
    from indad.learned.storage import _record_digest

    model.save(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    record = json.loads(file.read_text())
    record["transform"]["region"] |= change
    record["record_sha256"] = _record_digest(record)
    file.write_text(json.dumps(record))
    with pytest.raises(InputError):
        PatchCore.load(tmp_path / "model")
    assert mask_in(model.region_.inside).size == (1024, 1024)
