"""Views of few images: what they show, that they repeat, and that none leaks into a threshold."""

import numpy as np
import pytest
import torch
from PIL import Image

from indad.coreset import CoresetSelection
from indad.data.augmentation import AUGMENTATIONS, View, augmented, turned, views_per_image
from indad.data.datasets import choose_shots, load_dataset
from indad.data.images import as_rgb
from indad.engine.search import MemoryIndex
from indad.errors import InputError
from indad.patchcore import PatchCore
from indad.scores import score_images


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8)))


def array(image):
    return np.asarray(image).astype(int)


def test_a_quarter_turn_is_exact(picture):
    for quarters, degrees in ((0, 0), (1, 90), (2, 180), (3, 270)):
        found = array(turned(picture, degrees))
        assert np.abs(found - np.rot90(array(picture), quarters)).max() <= 1


def test_corners_are_mirrored_or_black(picture):
    light = Image.new("RGB", (64, 64), (200, 200, 200))
    assert array(turned(light, 45)).min() == 200
    assert array(turned(light, 45, border="constant"))[0, 0].tolist() == [0, 0, 0]


def test_shift_and_scale_go_the_way_they_say():
    image = Image.new("RGB", (65, 65))
    image.putpixel((32, 32), (255, 255, 255))  # the centre
    down = array(turned(image, 0, shift=(5, 2)))
    assert np.argwhere(down[..., 0] > 100).tolist() == [[37, 34]]
    square = Image.new("RGB", (65, 65))
    square.paste((255, 255, 255), (22, 22, 43, 43))
    assert (array(turned(square, 0, scale=2))[..., 0] > 127).sum() == pytest.approx(4 * 441, rel=.1)


@pytest.mark.parametrize("name, count", [("none", 1), ("rotations", 8), ("flips", 4),
                                         ("santos", 9), ("santos-visa", 9)])
def test_how_many_views(name, count, picture):
    assert views_per_image(name) == count
    views = augmented([picture, picture], name)
    assert len(views) == 2 * count
    images = [array(as_rgb(view)) for view in views]
    assert np.array_equal(images[0], array(picture))  # the image itself comes first
    assert all(image.shape == (64, 64, 3) for image in images)
    if name in ("rotations", "flips"):
        assert len({image.tobytes() for image in images}) == count


def test_views_repeat_and_differ_from_picture_to_picture(picture):
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name in AUGMENTATIONS:
        first, second = ([array(as_rgb(view)) for view in augmented([image], name)]
                         for image in (picture, picture))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    drawn = [[array(View(image, "santos", number).as_rgb()).mean() for number in range(1, 9)]
             for image in (picture, other)]
    assert not np.allclose(*drawn)


def test_santos_stays_close_to_the_picture(picture):
    """Brightness and contrast by a tenth, a few degrees, a few pixels: no view is another part."""
    means = [array(View(picture, "santos-visa", number).as_rgb()).mean() for number in range(1, 9)]
    assert max(abs(mean - array(picture).mean()) for mean in means) < 60


@pytest.mark.slow
def test_views_fill_the_bank_and_none_of_them_judges_its_own_image(drawn):
    train, _ = load_dataset(drawn, "tiles", shots=2)
    model = PatchCore(augmentation="flips", coreset_ratio=1.0, num_neighbors=1)
    features = model.extract(train, training=True)
    model.fit_features(features)
    assert len(model.memory_bank_) == 2 * 4 * 1024
    # Leave-one-out: an image against the views of the other one, and none of its own.
    rows = (features.rows * model.feature_scale_).view(2, 4 * 1024, -1)
    expected = [float(score_images(rows[image][:1024], MemoryIndex(rows[1 - image]), model.grid_,
                                   model.size_, model.options)[0]) for image in (0, 1)]
    assert sorted(model.calibration_scores_) == pytest.approx(sorted(expected), rel=1e-4)
    # A training image, and each of its views, lies in the bank.
    for view in augmented([train[0]], "flips"):
        assert model.predict([view]).scores[0] == pytest.approx(0, abs=0.05)


def test_an_unknown_augmentation(drawn):
    with pytest.raises(InputError, match="did you mean rotations"):
        PatchCore(augmentation="rotation").prepare()


def test_random_shots_are_nested_and_differ_between_seeds_and_categories():
    for seed in range(3):
        longest = choose_shots(100, 16, category="screw", seed=seed)
        for shots in (1, 2, 4, 8):
            assert choose_shots(100, shots, category="screw", seed=seed) == longest[:shots]
    first = {tuple(choose_shots(100, 4, category=category, seed=seed))
             for category in ("screw", "pill") for seed in range(5)}
    assert len(first) == 10


def test_shots_of_anomalydino_are_slices_of_the_sorted_names():
    """`sorted(files)[seed * k:(seed + 1) * k]`, as in that project's detection.py."""
    names = sorted(f"{n:03d}.png" for n in range(20))
    for shots, seed in ((1, 0), (4, 2), (5, 3)):
        chosen = choose_shots(20, shots, category="any", seed=seed, protocol="anomalydino")
        assert [names[i] for i in chosen] == names[seed * shots:(seed + 1) * shots]
    with pytest.raises(InputError, match="takes images 16 to 23, but any has 20"):
        choose_shots(20, 8, category="any", seed=2, protocol="anomalydino")
    with pytest.raises(InputError, match="did you mean anomalydino"):
        choose_shots(20, 8, category="any", seed=2, protocol="anomalydyno")


@pytest.mark.slow
def test_extraction_is_the_same_in_one_go_and_in_parts(drawn):
    train, test = load_dataset(drawn, "tiles")
    model = PatchCore(coreset_ratio=0.02)
    features = model.extract(train, training=True)
    assert (len(features), features.patches, features.rows.shape) == (8, 1024, (8192, 152))
    part = features.of([3, 1], 1 << 30)
    assert torch.equal(part.rows[1024:], features.rows[1024:2048])
    part.rows.zero_()  # a copy: the table stays
    assert features.rows[1024:2048].abs().sum() > 0
    tested = model.extract(test)
    model.fit_features(features.of(range(8), 1 << 30))
    alone = PatchCore(coreset_ratio=0.02).fit(train)
    assert torch.equal(alone.coreset_indices_, model.coreset_indices_)
    assert model.predict_features(tested).scores == pytest.approx(alone.predict(test).scores,
                                                                  rel=1e-4)
    with pytest.raises(ValueError, match="the selection has 163 picks, 819 are needed"):
        selection = CoresetSelection(model.coreset_indices_, model.coreset_radii_)
        PatchCore(coreset_ratio=0.1).fit_features(features, selection=selection)
