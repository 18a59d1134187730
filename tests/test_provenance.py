"""Features go to a model only if it would make the same of the photos itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import few

from indad import PatchCore
from indad.data.registration import Reference
from indad.engine.provenance import kept
from indad.errors import InputError

SMALL = dict(resize=64, coreset_ratio=0.5, map_kernel_size=9, map_sigma=1.5, seed=1)
PICTURES = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            for i in range(4)]


@pytest.fixture(scope="module")
def model() -> PatchCore:
    return PatchCore(**SMALL).fit(PICTURES[:3])


@pytest.mark.parametrize("other, said", few([  # all but the last make features of the same shape
    (dict(patch_features="concatenate"), "patch_features='concatenate', but the model has 'weigh"),
    (dict(normalization="imagenet"), "normalization='imagenet'"),
    (dict(balance_images=False), "balance_images=False"), (dict(resize=72, crop=64), "resize=72"),
    (dict(layers=(3, 2)), "layers="), (dict(scales=(1.5,)), "scales="),
    (dict(resize=None, tiles=64), "resize=None"), (dict(resize=96), "resize=96")], 1), ids=str)
def test_features_that_were_made_otherwise_are_refused(model, other, said):
    features = PatchCore(**SMALL | other).extract(PICTURES[3:])
    said = f"features were extracted with {said}"
    with pytest.raises(InputError, match=said):
        model.predict_features(features)
    with pytest.raises(InputError, match=said):
        PatchCore(**SMALL).fit_features(features)


@pytest.mark.parametrize("other", few([dict(overlap=32), dict(scale=0.75)], 0), ids=str)
def test_tiles_are_cut_alike(other):
    photos = [np.tile(picture, (2, 2, 1)) for picture in PICTURES]
    tiled = SMALL | dict(resize=None, tiles=64, overlap=0)
    model = PatchCore(**tiled).fit(photos[:3])
    features = PatchCore(**tiled | other).extract(photos[3:])
    with pytest.raises(InputError, match=f"extracted with {list(other)[-1]}="):
        model.predict_features(features)


@pytest.mark.slow
def test_what_changes_no_feature_may_differ(model, tmp_path):
    features = PatchCore(**SMALL | dict(coreset_ratio=0.1, seed=5), batch_size=2).extract(
        PICTURES[3:])
    expected = model.predict(PICTURES[3:]).scores
    assert np.array_equal(model.predict_features(features).scores, expected)
    model.save(tmp_path / "model")
    assert np.array_equal(PatchCore.load(tmp_path / "model").predict_features(features).scores,
                          expected)


def test_views_are_for_learning(model):
    flips = PatchCore(**SMALL, augmentation="flips")
    views, plain = (flips.extract(PICTURES[:2], training=one) for one in (True, False))
    with pytest.raises(InputError, match="4 views of each photo, to learn from"):
        model.predict_features(views)
    with pytest.raises(InputError, match="of 1 views of each image, but augmentation='flips'"):
        flips.fit_features(plain)
    assert flips.fit_features(views).views_ == 4
    assert len(flips.predict_features(plain).scores) == 2


def test_features_of_nobody_knows_whom_must_have_the_models_shape(model):
    features = replace(model.extract(PICTURES[3:]), options={})
    assert len(model.predict_features(features).scores) == 1
    for odd in (dict(grid=(4, 16)), dict(size=(32, 128)), dict(rows=features.rows[:, :-1])):
        with pytest.raises(InputError, match="numbers each, but the model's are 8 x 8 of 64 x 64"):
            model.predict_features(replace(features, **odd))


def test_parts_of_features_know_what_the_whole_was_made_with(model):
    features = model.extract(PICTURES)
    parts = [features.of([2, 1], 1 << 30), *features.split(3)]
    assert features.options["resize"] == 64
    assert all(part.options == features.options for part in parts)


def test_what_is_kept_are_plain_values():
    options = PatchCore(region=np.array([[[0, 0], [1, 0], [0.5, 1]]]), resize=[64, 48],
                        weights=Path("some") / "where.pt").options
    made = kept(options)
    assert made["region"] == (((0, 0), (1, 0), (0.5, 1)),)
    assert made["resize"] == (64, 48) and made["weights"] == str(Path("some") / "where.pt")
    assert made == kept(PatchCore(region=(((0, 0), (1, 0), (0.5, 1)),), resize=(64, 48),
                                  weights=made["weights"]).options)


def test_features_of_photos_that_were_aligned_otherwise_are_refused(model):
    """Without OpenCV, which only registration itself needs."""
    features = model.extract(PICTURES[3:])
    other, another = (Reference("rigid", picture) for picture in PICTURES[:2])
    with pytest.raises(InputError, match="not aligned as the model's are"):
        model.predict_features(replace(features, reference=other))
    model = PatchCore(**SMALL).fit(PICTURES[:3])
    model.fitted_ = replace(model.fitted_, reference=other)
    with pytest.raises(InputError, match="not aligned as the model's are"):
        model.predict_features(features)
    with pytest.raises(InputError, match="aligned to another reference"):
        model.predict_features(replace(features, reference=another))
    same = replace(features, reference=Reference.from_plain(other.plain()))
    assert len(model.predict_features(same).scores) == 1
