"""Large photos, cut into tiles at their own resolution."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from cases import few
from PIL import Image

from indad import PatchCore, load_dataset
from indad.data.tiles import blend_weights, tile_starts
from indad.deploy.explanation import explain
from indad.errors import InputError
from indad.learned.storage import FORMAT
from indad.metrics import evaluate

SMALL = dict(coreset_ratio=0.05, num_neighbors=2, map_kernel_size=9, map_sigma=1.5)
TILED = SMALL | dict(tiles=64, overlap=16)


def texture(seed, height=150, width=200):
    """Soft noise, the same kind everywhere."""
    noise = np.random.default_rng(seed).normal(128, 60, (height // 4 + 2, width // 4 + 2, 3))
    picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize(
        (width + 8, height + 8), Image.Resampling.BICUBIC)
    return np.asarray(picture)[:height, :width]


def scratched(seed, **size):
    pixels = texture(seed, **size).copy()
    pixels[100:104, 120:150] = 255
    return pixels


@pytest.fixture(scope="module")
def photos():
    return [texture(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def model(photos):
    return PatchCore(**TILED).fit(photos)


def tiles_of(pixels, tile=64, overlap=16):
    return [pixels[top:top + tile, left:left + tile]
            for top in tile_starts(pixels.shape[0], tile, overlap)
            for left in tile_starts(pixels.shape[1], tile, overlap)]


@pytest.mark.parametrize("seed", range(20))
def test_tiles_cover_a_side_evenly_and_weigh_one_everywhere(seed):
    generator = np.random.default_rng(seed)
    tile = int(generator.integers(1, 100))
    overlap, length = int(generator.integers(0, tile)), tile + int(generator.integers(0, 500))
    starts = tile_starts(length, tile, overlap)
    assert (starts[0], starts[-1]) == (0, length - tile)
    steps = [after - before for before, after in pairwise(starts)]
    assert all(0 < step <= tile - overlap for step in steps)
    assert max(steps, default=0) - min(steps, default=0) <= 1
    assert len(starts) == 1 or (len(starts) - 1) * (tile - overlap) + tile < length + tile - overlap
    weights, total = blend_weights(starts, tile), np.zeros(length)
    assert weights.min() > 0
    for start, one in zip(starts, weights, strict=True):
        total[start:start + tile] += one
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    if len(starts) == 1:
        assert (weights == 1).all()


@pytest.mark.parametrize("options", few([
    {"image_score": "peak", "calibration": "folds"},
    {"augmentation": "flips", "calibration": "held-out"}, {}], 1), ids=str)
def test_a_photo_that_is_one_tile_is_judged_as_without_tiles_to_the_bit(options):
    good = [texture(seed, 64, 64) for seed in range(6)]
    new = [texture(9, 64, 64), 255 - texture(8, 64, 64)]
    plain = PatchCore(**SMALL, resize=64, **options).fit(good)
    tiled = PatchCore(**TILED, **options).fit(good)
    assert torch.equal(plain.memory_bank_, tiled.memory_bank_)
    assert plain.calibration_scores_.tolist() == tiled.calibration_scores_.tolist()
    assert plain.calibration_peaks_.tolist() == tiled.calibration_peaks_.tolist()
    expected, found = plain.predict(new), tiled.predict(new)
    assert expected.scores.tolist() == found.scores.tolist()
    for whole, one in zip(expected.maps, found.maps, strict=True):
        assert (whole == one).all()


def test_all_tiles_fill_one_bank_and_the_worst_decides(model, photos):
    pieces = [piece for photo in photos for piece in tiles_of(photo)]
    plain = PatchCore(**SMALL, resize=64).fit(pieces)
    assert torch.equal(plain.memory_bank_, model.memory_bank_)
    assert model.fitted_.tiles == [12] * 4
    new = scratched(7)
    expected = plain.predict(tiles_of(new))
    found = model.predict([new])
    assert found.scores.tolist() == [expected.scores.max()]
    assert found.maps[0].shape == new.shape[:2]
    row, column = np.unravel_index(found.maps[0].argmax(), new.shape[:2])
    assert 92 <= row < 112 and 112 <= column < 158


def test_calibration_leaves_out_whole_photos(model, photos):
    rows = model.fitted_.scaled(model.extract(photos).rows).view(4, -1, model.memory_bank_.shape[1])
    owners = model.coreset_indices_ // rows.shape[1]
    expected = []
    for photo in range(4):
        distances = torch.cdist(rows[photo], model.memory_bank_[owners != photo])
        expected.append(float(distances.topk(2, largest=False).values.mean(1).max()))
    np.testing.assert_allclose(sorted(model.calibration_scores_), sorted(expected), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["folds", "held-out"])
def test_other_calibrations_judge_whole_photos(photos, calibration):
    good = [*photos, *(texture(seed, 64, 130) for seed in range(10, 16))]
    model = PatchCore(**TILED | dict(calibration=calibration)).fit(good)
    assert len(model.calibration_scores_) == (10 if calibration == "folds" else 2)


def test_maps_have_no_seams(model):
    """What is the same everywhere is so in the merged map."""
    prediction = model.predict([texture(5)])
    (patches, tiles), = prediction.model_maps.photos
    flat = prediction.model_maps.merge(torch.full(patches.shape, 3.0), tiles)
    torch.testing.assert_close(flat, torch.full((150, 200), 3.0))
    steps = np.abs(np.diff(prediction.maps[0], axis=1))
    assert steps.max() < 12 * np.median(steps)


@pytest.mark.slow
def test_photos_of_many_sizes_and_scales(photos):
    good = [*photos, texture(5, 64, 300), texture(6, 222, 64)]
    model = PatchCore(**TILED).fit(good)
    assert model.fitted_.tiles == [12, 12, 12, 12, 6, 5]
    assert [one.shape for one in model.predict(good[3:]).maps] == [(150, 200), (64, 300), (222, 64)]
    half = PatchCore(**TILED | dict(scale=0.5)).fit([texture(1, 200, 300), texture(2, 128, 128)])
    assert half.fitted_.tiles == [6, 1]
    found = half.predict([texture(3, 201, 301)])
    assert (found.model_maps[0].shape, found.maps[0].shape) == ((100, 150), (201, 301))


@pytest.mark.slow
def test_what_is_said_does_not_depend_on_the_batch_size(model, photos):
    new = [scratched(7), *photos[:2]]
    expected = model.predict(new)
    for batch_size in (1, 5, 100):
        other = model.set_params(batch_size=batch_size).predict(new)
        np.testing.assert_allclose(other.scores, expected.scores, rtol=1e-5)
        np.testing.assert_allclose(other.maps[0], expected.maps[0], rtol=1e-4, atol=1e-5)
    model.set_params(batch_size=16)


@pytest.mark.slow
def test_features_are_predicted_as_images_are(model, photos):
    features = model.extract([scratched(7), *photos[:2]])
    found, expected = model.predict_features(features), model.predict([scratched(7), *photos[:2]])
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    assert found.indices == [0, 1, 2]
    np.testing.assert_allclose(found.maps[0], expected.maps[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_bank_grows_by_photos_of_other_sizes(photos):
    model = PatchCore(**TILED | dict(reserve=0.02)).fit(photos[:2])
    model.update([texture(5, 64, 300), texture(6, 222, 64)])
    assert (model.fitted_.tiles, model.images_) == ([12, 12, 6, 5], 4)
    assert len(model.calibration_scores_) == 4
    assert int(model.coreset_indices_.max()) < model.fitted_.seen == 35 * 64
    again = PatchCore(**TILED | dict(reserve=0.02)).fit(photos[:2])
    assert again.fitted_.image_of(torch.tensor([0, 12 * 64 - 1, 12 * 64])).tolist() == [0, 0, 1]


def test_a_saved_model_says_it_and_comes_back(model, photos, tmp_path):
    model.save(tmp_path / "m")
    record = json.loads((tmp_path / "m" / "model.json").read_text())
    assert (record["format"], record["training"]["tiles"]) == (FORMAT, [12] * 4)
    assert {name: record["transform"][name] for name in ("tiles", "overlap", "scale")} == {
        "tiles": 64, "overlap": 16, "scale": 1.0}
    again = PatchCore.load(tmp_path / "m")
    new = scratched(7)
    assert again.predict([new]).scores.tolist() == model.predict([new]).scores.tolist()
    assert again.update(photos[:1]).images_ == 4  # a copy
    assert again.update([texture(5, 64, 300)]).fitted_.tiles == [12, 12, 12, 12, 6]


def test_the_worst_tile_is_explained(model):
    match = explain(model, scratched(7))
    left, top, right, bottom = match.box
    assert 90 < top < bottom < 114 and 110 < left < right < 160
    assert 0 <= match.train_tile < 12 and 0 <= match.train_image < 4
    assert explain(model, scratched(7), tile=match.tile) == match
    elsewhere = explain(model, scratched(7), tile=0, place=(0, 0))
    assert elsewhere.box == (0, 0, 8, 8) and elsewhere.distance < match.distance
    with pytest.raises(InputError, match="tile is 12, but the image has 12: 0 to 11"):
        explain(model, scratched(7), tile=12)


@pytest.mark.slow
def test_pixels_are_compared_in_the_photos_own(tmp_path):
    for kind, number in [("train/good", 3), ("test/good", 2), ("test/scratch", 2)]:
        (tmp_path / "set" / "wall" / kind).mkdir(parents=True)
        for one in range(number):
            make = scratched if "scratch" in kind else texture
            Image.fromarray(make(one + 10 * len(kind))).save(
                tmp_path / "set" / "wall" / kind / f"{one}.png")
    (tmp_path / "set" / "wall" / "ground_truth" / "scratch").mkdir(parents=True)
    mask = np.zeros((150, 200), np.uint8)
    mask[100:104, 120:150] = 255
    for one in range(2):
        Image.fromarray(mask).save(
            tmp_path / "set" / "wall" / "ground_truth" / "scratch" / f"{one}_mask.png")
    train, test = load_dataset(tmp_path / "set", "wall")
    metrics = evaluate(PatchCore(**TILED).fit(train).predict(test), test)
    assert metrics["image_auroc"] == 1 and metrics["pixel_auroc"] > 0.98


@pytest.mark.parametrize("options, message", [
    (dict(tiles=64, overlap=64), "overlap is 64, but must be less than the tiles of 64"),
    (dict(tiles=64, resize=64), "resize is 64, but tiles keep the photo's own resolution"),
    (dict(tiles=64, crop=32), "crop is 32, but tiles"),
    (dict(overlap=8), "overlap is 8, but means nothing without tiles"),
    (dict(scale=0.5), "scale is 0.5, but means nothing without tiles"),
    (dict(tiles=0), "tiles is 0"), (dict(tiles="a"), "tiles is 'a'"),
    (dict(tiles=64, scale=0.0), "scale is 0.0"), (dict(tiles=64, overlap=-1), "overlap is -1"),
], ids=str)
def test_sizes_that_do_not_go_together(photos, options, message):
    with pytest.raises(InputError, match=message):
        PatchCore(**SMALL | options).fit(photos)


def test_a_photo_smaller_than_a_tile_is_named(photos, tmp_path):
    Image.fromarray(texture(1, 150, 50)).save(tmp_path / "thin.png")
    with pytest.raises(InputError, match=r"thin.png: 50 x 150 pixels are less than a tile of 64; "
                                         "choose tiles of 50 or less, or none"):
        PatchCore(**TILED).fit([*photos, tmp_path / "thin.png"])
    model = PatchCore(**TILED).fit([photos[0], tmp_path / "thin.png", photos[1]], strict=False)
    assert model.fitted_on_ == [0, 2] and model.skipped_[0][0] == 1
    prediction = model.predict([tmp_path / "thin.png", photos[2]], strict=False)
    assert prediction.indices == [1] and prediction.skipped[0][0] == 0
    for some in ([photos[2], tmp_path / "thin.png"], [tmp_path / "thin.png"]):
        parts = list(model.stream(some, strict=False))
        assert sum(map(len, parts)) == len(some) - 1
        assert [i for part in parts for i, _ in part.skipped] == [len(some) - 1]


@pytest.mark.slow
def test_an_exported_file_judges_tiles(tmp_path, photos, capsys):
    pytest.importorskip("onnxruntime")
    from indad.deploy.export import export_onnx
    from indad.deploy.onnx_predict import main

    for number, pixels in enumerate([scratched(7), texture(5, 64, 300), texture(1, 64, 50)]):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    model = PatchCore(**TILED).fit(photos)
    parity = export_onnx(model, tmp_path / "m.onnx", check_images=[scratched(7)])
    assert (parity.images, parity.sizes) == (12, [(64, 64)])
    main(str(tmp_path / "m.onnx"), *(str(tmp_path / f"{number}.png") for number in range(3)))
    first, second, third = capsys.readouterr().out.splitlines()
    prediction = model.predict([tmp_path / "0.png", tmp_path / "1.png"])
    for line, score in zip((first, second), prediction.scores, strict=True):
        assert float(line.split("score ")[1].split()[0]) == pytest.approx(score, rel=1e-4)
    assert "defective" in first and "row 10" in first
    assert "cannot be read (50 x 64 pixels are less than a tile of 64)" in third


@pytest.mark.parametrize("length", [64, 65, 100, 500, 1001])
def test_the_copied_example_cuts_alike(length):
    from indad.deploy import onnx_predict

    assert onnx_predict.tile_starts(length, 64, 16) == tile_starts(length, 64, 16)


@pytest.mark.slow
def test_the_command_line(tmp_path, photos, capsys):
    from indad.cli.commands import main

    (tmp_path / "good").mkdir()
    for number, pixels in enumerate(photos):
        Image.fromarray(pixels).save(tmp_path / "good" / f"{number}.png")
    Image.fromarray(scratched(7)).save(tmp_path / "new.png")
    fit = ["fit", str(tmp_path / "good"), "--output"]
    assert main([*fit, str(tmp_path / "m"), "--tiles", "64", "--overlap", "16",
                 "--coreset-ratio", "0.05"]) == 0
    assert main(["predict", str(tmp_path / "m"), str(tmp_path / "new.png"), "--output",
                 str(tmp_path / "found")]) == 0
    regions = json.loads((tmp_path / "found" / "regions.json").read_text())["new.png"]
    assert regions and Image.open(tmp_path / "found" / "overlays" / "new_why.png")
    config = json.loads((tmp_path / "found" / "prediction.json").read_text())["config"]
    assert (config["tiles"], config["overlap"]) == (64, 16)
    assert main([*fit, str(tmp_path / "n"), "--resize", "64", "96"]) == 0
    assert PatchCore.load(tmp_path / "n").size_ == (64, 96)
    for words, message in [(["--resize", "1", "2", "3"], "resize is (1, 2, 3)"),
                           (["--tiles", "64", "--resize", "64"], "resize is 64, but tiles keep"),
                           (["--tiles", "151"], "200 x 150 pixels are less than a tile of 151"),
                           (["--overlap", "3"], "overlap is 3, but means nothing without tiles")]:
        capsys.readouterr()
        assert main([*fit, str(tmp_path / "o"), *words]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
