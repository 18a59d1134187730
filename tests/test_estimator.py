"""`PatchCore` as scikit-learn's users know an estimator, and what it takes as images."""

from functools import partial

import numpy as np
import pytest
import torch
from learned_state import tensors_of
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler

from indad import PatchCore, load_dataset
from indad.cli import main
from indad.data.images import read_image
from indad.data.sources import as_list, training_set
from indad.engine.lazy import farthest_first
from indad.engine.selection import CoresetInterrupted
from indad.errors import InputError

SMALL = dict(resize=64, coreset_ratio=0.1, map_kernel_size=9)


@pytest.fixture(scope="module")
def capsules(drawn):
    train, test = load_dataset(drawn, "capsule")
    return [item.path for item in train], [item.path for item in test]


@pytest.fixture(scope="module")
def model(capsules, shared_backbones):
    return PatchCore(**SMALL).fit(capsules[0])


def test_parameters_are_attributes_that_can_be_asked_for_set_and_cloned():
    model = PatchCore(coreset_ratio=0.2, seed=3)
    assert repr(model) == "PatchCore(coreset_ratio=0.2, seed=3)"
    assert model.get_params()["coreset_ratio"] == model.coreset_ratio == 0.2
    assert model.set_params(coreset="random", resize=(64, 96)) is model
    twin = clone(model)
    assert twin is not model and twin.get_params() == model.get_params()
    assert PatchCore(**model.get_params()).get_params() == model.get_params()
    with pytest.raises(ValueError, match="unknown parameter 'corset'; did you mean coreset"):
        model.set_params(corset="greedy")


class Mine(PatchCore):
    def __init__(self, *, extra=1, seed=0, **others):
        super().__init__(seed=seed, **others)
        self.extra = extra


def test_a_subclass_has_the_parameters_that_its_constructor_names():
    mine = Mine(extra=2, seed=3, coreset_ratio=0.2)
    assert mine.get_params() == {"extra": 2, "seed": 3} and repr(mine) == "Mine(extra=2, seed=3)"
    assert clone(mine).set_params(extra=4).get_params() == {"extra": 4, "seed": 3}


@pytest.mark.slow
def test_what_is_set_before_fitting_counts_and_after_it_is_refused(capsules, model):
    changed = PatchCore(**SMALL)
    changed.coreset_ratio = 0.5
    patches = 64 * len(capsules[0])
    assert len(model.memory_bank_) == patches // 10
    assert len(changed.fit(capsules[0]).memory_bank_) == patches // 2
    changed.num_neighbors = 5
    for ask in (lambda: changed.predict(capsules[1]), lambda: changed.update(capsules[0]),
                lambda: changed.threshold_, lambda: changed.module()):
        with pytest.raises(InputError, match="num_neighbors was 3 .* is 5 now; fit it again"):
            ask()
    changed.num_neighbors = 3
    changed.set_params(batch_size=3, memory_budget="1GB", false_alarm_rate=0.2)
    assert len(changed.predict(capsules[1])) == len(capsules[1])
    with pytest.raises(TypeError):
        changed.options["seed"] = 3


def test_a_fitted_model_is_fitted_and_its_clone_is_not(model):
    check_is_fitted(model)
    with pytest.raises(InputError, match="call fit"):
        clone(model).predict("photo.png")
    assert not hasattr(clone(model), "memory_bank_")
    with pytest.raises(AttributeError):
        model.fitted_.images = 7


@pytest.mark.slow
def test_loops_of_scikit_learn(capsules, model):
    train = capsules[0]
    folds = KFold(3, shuffle=True, random_state=0)
    scores = np.empty(len(train), np.float32)
    for learned, left_out in folds.split(train):
        one = clone(model).fit([train[i] for i in learned])
        scores[left_out] = one.score_samples([train[i] for i in left_out])
    assert np.array_equal(cross_val_predict(model, train, cv=folds), scores)


def test_images_that_labels_call_defective_are_left_out(capsules, model):
    train, test = capsules
    labels = [0] * len(train) + [1] * len(test)
    mixed = PatchCore(**SMALL).fit([*train, *test], labels)
    assert torch.equal(mixed.memory_bank_, model.memory_bank_)
    for wrong in (labels[1:], [2, *labels[1:]], [-1, *labels[1:]]):
        with pytest.raises(InputError, match="y must hold 0"):
            PatchCore(**SMALL).fit([*train, *test], wrong)


class Photos(Dataset):
    """As torch's users write them: an item is whatever `item` makes of a path."""

    def __init__(self, paths, item=lambda path: (read_image(path), 0)):
        self.paths, self.item = paths, item

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.item(self.paths[index])


class Stream(IterableDataset):
    def __init__(self, paths):
        self.paths = paths

    def __iter__(self):
        return iter(read_image(path) for path in self.paths)


def as_tensor(path):
    return torch.from_numpy(np.array(read_image(path))).permute(2, 0, 1) / 255


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [
    lambda paths: paths, tuple, lambda paths: (str(path) for path in paths),
    lambda paths: map(read_image, paths), lambda paths: np.stack([*map(read_image, paths)]),
    lambda paths: torch.stack([*map(as_tensor, paths)]), Photos,
    lambda paths: Photos(paths, as_tensor),
    lambda paths: Photos(paths, lambda path: {"image": as_tensor(path), "label": 1}),
    lambda paths: Subset(Photos([*paths, "none"]), range(len(paths))), Stream,
    lambda paths: DataLoader(Photos(paths, as_tensor), batch_size=3),
    lambda paths: DataLoader(Photos(paths), batch_size=None),
    lambda paths: DataLoader(Stream(paths), batch_size=2),
], ids=lambda wrap: None)
def test_whatever_holds_images_is_taken(capsules, model, wrap):
    train, test = capsules
    fitted = PatchCore(**SMALL).fit(wrap(train))
    assert torch.equal(fitted.memory_bank_, model.memory_bank_)
    assert np.array_equal(model.predict(wrap(test)).scores, model.predict(test).scores)


def test_a_loaders_choice_and_order_are_kept(capsules, model):
    train, test = capsules
    wanted = model.predict(test).scores
    loader = DataLoader(Photos(test), sampler=SubsetRandomSampler([3, 1]), batch_size=2)
    found = model.predict(loader).scores
    assert sorted(found) == sorted(wanted[[3, 1]])
    shuffled = DataLoader(Photos(train), shuffle=True, batch_size=4)
    assert len(as_list(shuffled)) == len(train)
    assert {item.index for item in as_list(shuffled)} == set(range(len(train)))


@pytest.mark.slow
def test_a_folder_is_its_good_photos_to_fit_and_all_of_them_to_predict(capsules, model, drawn):
    folder = drawn / "capsule"
    assert torch.equal(PatchCore(**SMALL).fit(folder).memory_bank_, model.memory_bank_)
    assert torch.equal(PatchCore(**SMALL).fit(str(folder / "train" / "good")).memory_bank_,
                       model.memory_bank_)
    assert len(model.predict(folder / "test")) == len(capsules[1])
    assert len(training_set(folder).sources) == len(capsules[0])


@pytest.mark.parametrize("images, message", [
    (7, "images is a int; pass a folder"), (None, "images is a NoneType; pass a folder"),
    ({"a": 1}, "images is a dict; pass a folder"), (object(), "images is a object; pass"),
    (b"bytes", "images is a bytes; pass"),
    ([{"label": 1}], "cannot read an image from dict"),
    (Photos(["x"], lambda path: {"label": 1}), "dict with label; it must have an `image`")])
def test_what_holds_no_images_is_refused_in_a_line(model, images, message):
    for use in (PatchCore(**SMALL).fit, model.predict):
        with pytest.raises(InputError, match=message) as error:
            use(images)
        assert "\n" not in str(error.value)


def test_a_dataset_of_several_classes_is_not_learned_blindly(capsules):
    photos = Photos(capsules[0])
    photos.classes = ["bent", "good"]
    for given in (photos, DataLoader(photos)):
        with pytest.raises(InputError, match="has the classes bent, good; fit learns from good"):
            PatchCore(**SMALL).fit(given)
    labels = [0] * (len(photos) - 1) + [1]
    assert PatchCore(**SMALL).fit(photos, labels).images_ == len(photos) - 1


def test_an_item_that_cannot_be_read_is_named_or_left_out(capsules, model):
    photos = Photos([capsules[1][0], "gone.png", capsules[1][1]], lambda path: Image.open(path))
    with pytest.raises(InputError, match="item 1 of the Photos cannot be read .*gone.png"):
        model.predict(photos)
    found = model.predict(photos, strict=False)
    assert found.indices == [0, 2] and found.skipped[0][0] == 1


def test_an_empty_folder_and_an_empty_list(model, tmp_path):
    for use in (PatchCore(**SMALL).fit, model.predict):
        with pytest.raises(InputError, match="no photos there|no images there"):
            use(tmp_path)
        with pytest.raises(InputError, match="no image to (learn from|score): none was given"):
            use([])


@pytest.mark.slow
def test_the_module_says_what_the_estimator_says(capsules, model):
    pixels = np.stack([model.transform_.pixels(read_image(path)) for path in capsules[1]])
    pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    module, wanted = model.module(), model.predict(capsules[1])
    scores, maps = module(pixels)
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-5)
    np.testing.assert_allclose(maps, wanted.model_maps, rtol=1e-4, atol=1e-4)

    other = PatchCore(**SMALL | dict(seed=5)).fit(capsules[0][::-1]).module()
    assert not torch.allclose(other(pixels)[0], scores)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(pixels)[0], scores)

    half = model.module().half()
    assert {tensor.dtype for name, tensor in half.state_dict().items()
            if tensor.is_floating_point() and name != "half_norms"} == {torch.float16}
    coarse, _ = half(pixels)
    np.testing.assert_allclose(coarse, scores, rtol=2e-2)
    assert not torch.equal(coarse, scores)
    assert model.module().to("meta").bank.device.type == "meta"
    again = model.predict(capsules[1]).scores  # the estimator's own network stayed as it was
    assert np.array_equal(again, wanted.scores)


@pytest.mark.slow
def test_features_stay_as_they_are(capsules, model):
    """A second model on the same features learned scale 1, as the first had scaled them."""
    features = model.extract(capsules[0])
    before = features.rows.clone()
    for calibration in ("leave-one-out", "folds", "held-out"):
        PatchCore(**SMALL, calibration=calibration).fit_features(features)
        assert torch.equal(features.rows, before)
    first = PatchCore(**SMALL).fit_features(features)
    second = PatchCore(**SMALL).fit_features(features)
    assert torch.equal(first.memory_bank_, model.memory_bank_)
    assert torch.equal(second.memory_bank_, model.memory_bank_)
    assert torch.equal(second.feature_scale_, model.feature_scale_)
    tested = model.extract(capsules[1])
    before = tested.rows.clone()
    assert np.array_equal(second.predict_features(tested).scores,
                          model.predict(capsules[1]).scores)
    assert torch.equal(tested.rows, before)


def test_the_features_of_a_file_stay_as_they_are_too(capsules):
    model = PatchCore(**SMALL, memory_budget=1000)
    features = model.extract(capsules[0])
    before = features.rows.clone()
    model.fit_features(features)
    assert features.rows.dtype == torch.float16 and torch.equal(features.rows, before)
    assert model.selected_from_ == "float16"


STEPS = ("training_set", "learn", "judge_bank", "calibrate", "worst_covered", "layer_scales",
         "replace", "on_device")


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_whatever_stops_a_second_fit_leaves_the_first(capsules, monkeypatch, step):
    from indad import patchcore
    from indad.learned import learning

    model = PatchCore(**SMALL).fit(capsules[0][:4])
    record, before, scores = model.fitted_, tensors_of(model), model.predict(capsules[1]).scores

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    place = patchcore if step in ("training_set", "learn") else learning
    with monkeypatch.context() as patch:
        patch.setattr(place, step, stop)
        with pytest.raises(KeyboardInterrupt):
            model.fit(capsules[0][4:])
    assert model.fitted_ is record
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(model).items())
    assert np.array_equal(model.predict(capsules[1]).scores, scores)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["first", "second"])
def test_ctrl_c_while_selecting_leaves_patches_with_their_own_scales(capsules, monkeypatch, how):
    monkeypatch.setattr("indad.coreset.farthest_first", partial(farthest_first, block=32))
    train, test = capsules
    model = PatchCore(**SMALL | dict(coreset_ratio=0.9))
    if how == "second":
        model.fit(test[:2])

    def interrupt(what, done, total):
        if what == "selecting coreset" and done > 10:
            raise KeyboardInterrupt

    with pytest.raises(CoresetInterrupted):
        model.fit(train, progress=interrupt)
    whole = PatchCore(**SMALL | dict(coreset_ratio=0.9)).fit(train)
    count = len(model.memory_bank_)
    assert 10 <= count < len(whole.memory_bank_)
    assert torch.equal(model.memory_bank_, whole.memory_bank_[:count])
    assert torch.equal(model.feature_scale_, whole.feature_scale_)
    assert len(model.calibration_scores_) == 0 and model.threshold_ is None
    assert len(model.predict(test)) == len(test)


WRONG = [("coreset_ratio", "0.1"), ("coreset_ratio", True), ("coreset_ratio", float("nan")),
         ("seed", None), ("seed", -1), ("seed", 1.5), ("layers", 2), ("layers", ()),
         ("layers", (1.5,)), ("resize", 0), ("resize", (64,)), ("resize", (64, 0)),
         ("resize", "64"), ("crop", 0), ("crop", 2.5), ("map_sigma", -1),
         ("map_sigma", float("inf")), ("batch_size", 2.5), ("batch_size", 0),
         ("map_kernel_size", 2.0), ("map_kernel_size", 0), ("num_neighbors", "1"),
         ("reweight_neighbors", 0), ("squared", 1), ("balance_layers", None), ("reserve", -0.1),
         ("reserve", "0"), ("false_alarm_rate", 0), ("false_alarm_rate", 1.0),
         ("backbone", None), ("backbone", ""), ("weights", 3), ("device", 0),
         ("normalization", None), ("image_score", ["max"]), ("augmentation", None),
         ("precision", 16), ("memory_budget", "much"), ("memory_budget", -1),
         ("projection", 3), ("calibration", "loo")]


@pytest.mark.parametrize("name, value", WRONG)
def test_a_wrong_option_is_named_with_its_value(name, value, capsules):
    model = PatchCore(**{name: value})  # the constructor only stores
    for use in (lambda: model.fit(capsules[0]), lambda: model.plan(capsules[0]), model.prepare):
        with pytest.raises(InputError, match=name) as error:
            use()
        assert repr(value) in str(error.value) and "\n" not in str(error.value)


def test_numbers_of_numpy_are_numbers(capsules):
    PatchCore(coreset_ratio=np.float64(0.1), seed=np.int64(3), resize=np.int32(64),
              map_kernel_size=np.int64(9)).prepare()


def test_a_blur_larger_than_twice_the_map(capsules):
    with pytest.raises(InputError, match="map_kernel_size is 81, more than twice the map of 32 x"):
        PatchCore(resize=32, map_kernel_size=81).fit(capsules[0])
    assert PatchCore(resize=(96, 128), map_kernel_size=191).prepare()


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    "--coreset-ratio 0", "--coreset-ratio much", "--seed -1", "--seed one", "--resize 0",
    "--resize 2.5", "--crop 0", "--batch-size 2.5", "--batch-size 0", "--layers two",
    "--layers -1", "--false-alarm-rate 0", "--image-score worst", "--memory-budget much",
    "--precision half", "--calibration loo", "--augmentation some", "--device gpu7",
    "--resize 15"])
def test_the_command_line_refuses_them_in_a_line(words, drawn, tmp_path, capsys):
    for command in (["run", "--dataset", str(drawn), "--output", str(tmp_path / "runs")],
                    ["fit", str(drawn / "capsule"), "--output", str(tmp_path / "model")]):
        try:
            status = main([*command, *words.split()])
        except SystemExit as stopped:  # argparse
            status = stopped.code
        told = capsys.readouterr().err
        assert status == 2 and told.startswith("indad: error: ") and told.count("\n") == 1, told
        assert not list((tmp_path).rglob("*.json"))


def test_a_picture_may_come_in_any_of_these_forms(capsules, model):
    path = capsules[1][0]
    wanted = model.predict(path).scores
    for image in (str(path), read_image(path), np.array(read_image(path)), as_tensor(path)):
        assert np.array_equal(model.predict(image).scores, wanted)
    grey = Image.new("L", (40, 30), 128)
    assert len(model.predict(grey)) == len(model.predict([grey])) == 1
