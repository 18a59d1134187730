"""The detector as a whole: what it learns, what it says, and what must not change that."""

import shutil

import numpy as np
import pytest
import torch
from cases import few
from learned_state import changed
from PIL import Image

from indad import PRESETS, PatchCore, evaluate, load_dataset
from indad.data.images import read_image
from indad.errors import InputError

# Small, so that photos of 256 pixels stay as they are, and one neighbour, so that distances are
# easily thought through.
OPTIONS = dict(seed=1, resize=256, num_neighbors=1)


@pytest.fixture(scope="module")
def capsules(drawn):
    return load_dataset(drawn, "capsule")


@pytest.fixture(scope="module")
def model(capsules):
    return PatchCore(**OPTIONS).fit(capsules[0])


@pytest.fixture(scope="module")
def prediction(model, capsules):
    return model.predict(capsules[1])


def test_shapes_and_learned_state(model, prediction, capsules):
    train, test = capsules
    assert model.grid_ == (32, 32)
    assert model.memory_bank_.shape == (len(train) * 1024 // 10, 152)
    assert len(set(model.coreset_indices_.tolist())) == len(model.memory_bank_)
    assert (model.coreset_radii_.diff() <= 1e-3).all()
    assert prediction.scores.shape == (len(test),)
    assert prediction.model_maps.shape == (len(test), 256, 256)
    assert prediction.indices == list(range(len(test)))
    assert model.memory_bank_ is model.fitted_.memory_bank


def test_it_finds_the_defects(prediction, capsules):
    metrics = evaluate(prediction, capsules[1])
    assert metrics["image_auroc"] > 0.95
    assert metrics["pixel_auroc"] > 0.95
    assert metrics["aupro_30"] > 0.8


def test_the_peak_of_the_map_lies_on_the_defect(prediction, capsules):
    hits = 0
    for item, heat in zip(capsules[1], prediction.maps, strict=True):
        if item.label:
            y, x = divmod(int(heat.argmax()), heat.shape[1])
            near = item.mask()[max(0, y - 8):y + 9, max(0, x - 8):x + 9]
            hits += bool(near.any())
    assert hits >= 5  # of 6


@pytest.mark.slow
def test_fit_twice_gives_the_same_bank_to_the_bit(model, capsules):
    # The second fit forgets the first.
    again = PatchCore(**OPTIONS).fit(list(capsules[0])[:3]).fit(capsules[0])
    assert torch.equal(again.memory_bank_, model.memory_bank_)
    assert torch.equal(again.coreset_indices_, model.coreset_indices_)
    other = PatchCore(**OPTIONS | {"seed": 2}).fit(capsules[0])
    assert not torch.equal(other.coreset_indices_, model.coreset_indices_)


@pytest.mark.slow
def test_batch_size_and_threads_do_not_change_a_score(capsules):
    threads, options = torch.get_num_threads(), OPTIONS | {"resize": 128}
    expected = PatchCore(**options).fit(capsules[0]).predict(capsules[1])
    try:
        for batch_size, count in ((1, 1), (5, 2), (64, 1)):
            torch.set_num_threads(count)
            other = PatchCore(**options, batch_size=batch_size).fit(capsules[0])
            found = other.predict(capsules[1])
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4, rtol=1e-4)
            np.testing.assert_allclose(found.model_maps, expected.model_maps, atol=1e-3)
    finally:
        torch.set_num_threads(threads)


def test_an_image_against_its_own_full_bank_scores_zero(capsules):
    photos = list(capsules[0])[:3]
    model = PatchCore(**OPTIONS, coreset_ratio=1.0).fit(photos)
    found = model.predict(photos)
    np.testing.assert_allclose(found.scores, 0, atol=1e-4)
    np.testing.assert_allclose(found.model_maps, 0, atol=1e-4)


@pytest.mark.slow
def test_a_larger_bank_never_raises_a_patch_distance(capsules):
    train, test = capsules
    small, large = (PatchCore(**OPTIONS, coreset_ratio=ratio, map_sigma=0,
                              map_upsampling="nearest").fit(train) for ratio in (0.02, 0.3))
    before, after = small.predict(test).model_maps, large.predict(test).model_maps
    assert (after <= before + 1e-4).all()  # the small coreset is a prefix of the large one
    assert after.mean() < before.mean()


def test_everything_that_holds_a_picture_scores_alike(model, prediction, capsules):
    item = capsules[1][0]
    image = read_image(item.path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255
    for source in (item, item.path, str(item.path), image, array, tensor, [image], (array,),
                   array[None], tensor[None]):
        found = model.predict(source)
        assert found.scores.shape == (1,)
        assert found.scores[0] == pytest.approx(prediction.scores[0], abs=1e-4)


@pytest.mark.parametrize("resize, crop", few([(128, 112), ((128, 96), None)], [(128, 112)]))
def test_maps_have_the_pixels_of_the_photos(capsules, resize, crop):
    train, _ = capsules
    model = PatchCore(resize=resize, crop=crop).fit(list(train)[:2])
    photos = [Image.new("RGB", size, "grey") for size in ((256, 256), (300, 200), (90, 260))]
    found = model.predict(photos)
    assert [m.shape for m in found.maps] == [(256, 256), (200, 300), (260, 90)]
    assert found.model_maps.shape[1:] == ((112, 112) if crop else (128, 96))
    assert np.asarray(model.predict(photos[:1]).maps).shape == (1, 256, 256)


# AnomalyDINO's is for a transformer's tokens, which no package carries: see test_features.py.
@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"anomalydino"}))
def test_presets_run_and_find_defects(preset, capsules):
    train, test = capsules
    model = PatchCore(**PRESETS[preset]).fit(train)
    metrics = evaluate(model.predict(test), test)
    assert metrics["pixel_auroc"] > 0.9
    ratio = PRESETS[preset].get("coreset_ratio", 0.1)
    patches = model.grid_[0] * model.grid_[1] * len(train)
    assert len(model.memory_bank_) == int(ratio * patches)


def test_presets_name_real_options():
    for preset in PRESETS.values():
        assert set(preset) <= set(PatchCore().options)


@pytest.mark.slow
@pytest.mark.parametrize("preset, auroc, aupro", [
    ("amazon", 0.991, 0.956), ("anomalib", 0.983, 0.905), ("ind_knn_ad", 0.978, 0.878)])
def test_presets_land_on_the_reference_implementations(hazelnut, preset, auroc, aupro):
    """Measured with the peers' own code, the same weights and images."""
    train, test = load_dataset(hazelnut, "hazelnut_reduced")
    metrics = evaluate(PatchCore(**PRESETS[preset]).fit(train).predict(test), test)
    assert metrics["pixel_auroc"] == pytest.approx(auroc, abs=0.005)
    assert metrics["aupro_30"] == pytest.approx(aupro, abs=0.02)


@pytest.mark.slow
def test_default_is_at_least_as_good_as_the_best_peer(hazelnut):
    train, test = load_dataset(hazelnut, "hazelnut_reduced")
    metrics = evaluate(PatchCore().fit(train).predict(test), test)
    assert metrics["image_auroc"] == 1.0
    assert metrics["pixel_auroc"] >= 0.991
    assert metrics["aupro_30"] >= 0.956


def test_unreadable_images_stop_or_are_listed(model, capsules, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG broken")
    train, test = list(capsules[0]), list(capsules[1])
    with pytest.raises(InputError, match="bad.png"):
        model.predict([test[0], bad])
    found = model.predict([test[0], bad, test[1]], strict=False)
    assert found.indices == [0, 2]
    assert len(found.scores) == len(found.placements) == len(found.model_maps) == 2
    assert [place for place, _ in found.skipped] == [1]
    with pytest.raises(InputError, match="bad.png"):
        PatchCore().fit([bad, *train])
    fitted = PatchCore(**OPTIONS).fit([train[0], bad, *train[1:]], strict=False)
    assert torch.equal(fitted.memory_bank_, model.memory_bank_)
    assert fitted.skipped_[0][0] == 1
    for act in (PatchCore().fit, model.predict):
        with pytest.raises(InputError, match="none of . can be read"):
            act([bad], strict=False)


@pytest.mark.parametrize("options, message", [
    (dict(coreset_ratio=0), r"coreset_ratio is 0; it must be in \(0, 1\]"),
    (dict(coreset_ratio=1.5), "coreset_ratio is 1.5"),
    (dict(image_score="mean"), "unknown image_score 'mean'"),
    (dict(patch_features="concat"), "did you mean concatenate"),
    (dict(projection="gaussian"), "unknown projection"),
    (dict(num_neighbors=0), "num_neighbors is 0"),
    (dict(map_kernel_size=16), "map_kernel_size is 16; it must be odd"),
    (dict(backbone="resnet81"), "did you mean resnet18"),
    (dict(patch_features="adaptive"), "balance_layers"),
    (dict(crop=300), "crop 300 is larger"),
])
def test_options_out_of_range(options, message, capsules):
    with pytest.raises(InputError, match=message):
        PatchCore(**options).fit(capsules[0])


def test_predict_before_fit():
    with pytest.raises(InputError, match="call fit"):
        PatchCore().predict("photo.png")


def test_constructor_does_nothing_but_store():
    assert PatchCore(backbone="no such thing", coreset_ratio=7).options["coreset_ratio"] == 7


def test_one_training_image_has_no_leave_one_out_scores(capsules):
    model = PatchCore().fit([capsules[0][0]])
    assert len(model.calibration_scores_) == 0


def test_leave_one_out_scores_are_those_of_a_bank_without_the_image(model, capsules):
    owners = model.coreset_indices_ // 1024
    scores = []
    for image, item in enumerate(capsules[0]):
        without = changed(model, memory_bank=model.memory_bank_[owners != image])
        scores.append(float(without.predict(item).scores[0]))
    np.testing.assert_allclose(sorted(model.calibration_scores_), sorted(scores), rtol=1e-4)


@pytest.mark.slow
def test_progress_reports_every_stage(capsules, model):
    calls = []
    PatchCore(resize=64).fit(capsules[0], progress=lambda *call: calls.append(call))
    model.predict(capsules[1], progress=lambda *call: calls.append(call))
    last = {what: (done, total) for what, done, total in calls}
    assert set(last) == {"extracting features", "selecting coreset", "calibrating", "scoring"}
    assert all(done == total for done, total in last.values())


@pytest.mark.slow
def test_missing_masks_leave_images_out_of_pixel_metrics(drawn, tmp_path, model):
    shutil.copytree(drawn / "capsule", tmp_path / "capsule")
    _, test = load_dataset(tmp_path, "capsule")
    prediction = model.predict(test)
    whole = evaluate(prediction, test)
    shutil.rmtree(tmp_path / "capsule" / "ground_truth")
    _, bare = load_dataset(tmp_path, "capsule")
    metrics = evaluate(prediction, bare)
    assert metrics["image_auroc"] == whole["image_auroc"]
    assert metrics["pixel_auroc"] is metrics["aupro_30"] is None


def test_original_frame_counts_the_photos_pixels(model, prediction, capsules):
    there = evaluate(prediction, capsules[1], frame="original")
    here = evaluate(prediction, capsules[1], frame="model")
    assert there == pytest.approx(here)  # photos of 256 pixels, seen at 256
    with pytest.raises(InputError, match="unknown frame"):
        evaluate(prediction, capsules[1], frame="photo")


def test_reading_ahead_keeps_the_order_and_stops_at_once(tmp_path):
    from indad.data.images import ImageTransform
    from indad.engine.batches import load_batches

    paths = []
    for i in range(23):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(paths[-1])
    paths[9].write_bytes(b"not a picture")
    transform = ImageTransform(8, None, (0, 0, 0), (1, 1, 1))
    batches = list(load_batches(paths, transform, batch_size=4, strict=False))
    assert [len(batch.indices) for batch in batches] == [4, 4, 3, 4, 4, 3]
    reds = torch.cat([batch.pixels[:, 0, 0, 0] for batch in batches])
    assert reds.tolist() == [10 * i for i in range(23) if i != 9]
    assert [index for batch in batches for index, _ in batch.skipped] == [9]
    reading = load_batches(paths, transform, batch_size=4, strict=True)
    next(reading), next(reading)
    with pytest.raises(InputError, match="9.png"):
        next(reading)
    assert list(load_batches([], transform, batch_size=4, strict=True)) == []


@pytest.mark.slow
def test_mixed_precision_of_the_backbone_changes_scores_little(model, capsules):
    photos = list(capsules[1])[::3]  # a CPU takes long for each in half precision
    exact = model.predict(photos).scores
    half = PatchCore(**model.get_params() | {"precision": "float16"})
    half.fitted_ = model.fitted_
    coarse = half.predict(photos).scores
    assert not np.array_equal(coarse, exact)  # it did compute in half precision
    np.testing.assert_allclose(coarse, exact, rtol=1.5e-3)
