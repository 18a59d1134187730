"""`PatchCore` in scikit-learn's own hands: its checks, pipelines, searches and scorers."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import sklearn.utils
import torch
import torch.nn.functional as F
from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from indad import PatchCore, load_dataset
from indad.data.images import read_image
from indad.errors import InputError
from indad.features import PatchNetwork

PREDICTS = "predict says more than labels: a Prediction, with maps, whose array are the scores"
LABELS = "y says which photos are good (0) and defective (1), and there are no other labels"
SPARSE = "pictures are not sparse; what is none is refused in other words than these"
DOES_NOT_APPLY = {
    "check_fit_score_takes_y": LABELS,
    "check_estimator_sparse_tag": SPARSE, "check_estimator_sparse_array": SPARSE,
    "check_estimator_sparse_matrix": SPARSE,
    "check_outliers_fit_predict": PREDICTS, "check_outliers_train": PREDICTS,
    "check_methods_sample_order_invariance": PREDICTS}
FOLDS = StratifiedKFold(2, shuffle=True, random_state=0)


class Averages(torch.nn.Module):
    """A network that is quick: what is checked is the estimator."""

    def forward(self, images):
        return [F.avg_pool2d(images, 4), F.avg_pool2d(images, 8)]


class OfTables(PatchCore):
    """Of each row of a table a picture, so that checks that pass tables can be passed."""

    def fit(self, X, y=None, **options):
        return super().fit(pictures(X), **options)

    def predict(self, X, **options):
        return super().predict(pictures(X), **options)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def unused(*call):
    """A hook: where there is one, a batch is not cut into photos, which here takes time only."""


def pictures(table):
    shades = 127.5 * (1 + np.sin(7 * np.asarray(table).astype(float)))
    return [np.resize(row, (16, 16, 1)).astype(np.uint8).repeat(3, 2) for row in shades]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_its_checks_pass_but_for_those_that_do_not_apply(small_network):
    model = OfTables(**small_network, resize=32, coreset_ratio=0.01, map_kernel_size=9,
                     device="cpu")
    averages = Averages()
    averages.register_forward_hook(unused)
    model.use(replace(model.prepare(), extractor=averages, channels=(3, 3)))
    done = check_estimator(model, expected_failed_checks=DOES_NOT_APPLY, on_skip=None)
    status = {one["check_name"]: one["status"] for one in done}
    assert list(status.values()).count("passed") >= 25
    assert {name for name, found in status.items() if found == "xfail"} == set(DOES_NOT_APPLY)
    assert {name for name, found in status.items() if found == "skipped"} <= {
        "check_array_api_input"}  # which asks for a setting of scipy's


@pytest.fixture(scope="module")
def capsules(drawn):
    """All photos of a small category, and which of them are defective."""
    train, test = load_dataset(drawn, "capsule")
    items = [*train, *test]
    return [item.path for item in items], [item.label for item in items]


@pytest.fixture(scope="module")
def model(small_network, capsules):
    return PatchCore(**small_network, resize=48, map_kernel_size=9, device="cpu")


@pytest.fixture
def seen(monkeypatch):
    """How many photos went through a network."""
    counts = []
    described = PatchNetwork.__call__

    def count(network, pixels, *inside):
        counts.append(len(pixels))
        return described(network, pixels, *inside)

    monkeypatch.setattr(PatchNetwork, "__call__", count)
    return counts


def test_it_says_what_it_is(model):
    if hasattr(sklearn.utils, "Tags"):  # before 1.6 it cannot be told that this takes no tables
        check_estimator(model)  # of which there is nothing to check then
    assert is_outlier_detector(model)
    for ask in (model.predict, model.score_samples, model.decision_function):
        with pytest.raises(NotFittedError, match="call fit"):
            ask("photo.png")
        with pytest.raises(InputError, match="call fit"):
            ask("photo.png")


@pytest.mark.slow
def test_higher_is_more_anomalous_in_all_that_it_says(model, capsules):
    photos, labels = capsules
    fitted = clone(model).fit(photos, labels)
    found, scores = fitted.predict(photos), fitted.score_samples(photos)
    assert np.array_equal(found.scores, scores)
    decided = fitted.decision_function(photos)
    assert np.array_equal(decided > 0, scores.astype(float) > fitted.threshold_)
    assert np.array_equal(np.argsort(decided), np.argsort(scores))
    assert fitted.score(photos, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert fitted.score(photos, labels) > 0.5
    with pytest.raises(InputError, match="needs good and defective images"):
        fitted.score(photos[:3], labels[:3])
    alone = clone(model).fit(photos[:1])
    with pytest.raises(InputError, match="no threshold"):
        alone.decision_function(photos)


@pytest.mark.slow
def test_scorers_by_name(model, capsules):
    photos, labels = capsules
    wanted = []
    for learned, left_out in FOLDS.split(photos, labels):
        one = clone(model).fit([photos[i] for i in learned], [labels[i] for i in learned])
        scores = one.score_samples([photos[i] for i in left_out])
        wanted.append(roc_auc_score([labels[i] for i in left_out], scores))
    for scoring in ("roc_auc", None):
        found = cross_val_score(model, photos, labels, scoring=scoring, cv=FOLDS)
        assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.slow
def test_a_step_before_it_in_a_pipeline(model, capsules):
    photos, labels = capsules
    halves = make_pipeline(FunctionTransformer(left_halves), clone(model)).fit(photos, labels)
    alone = clone(model).fit(left_halves(photos), labels)
    assert np.array_equal(halves.predict(photos).scores, alone.score_samples(left_halves(photos)))
    assert np.array_equal(halves.decision_function(photos),
                          alone.decision_function(left_halves(photos)))
    assert not np.array_equal(halves.score_samples(photos), alone.score_samples(photos))
    assert halves.predict(photos).model_maps.shape == (len(photos), 48, 48)


def left_halves(photos):
    images = [read_image(photo) for photo in photos]
    return [image.crop((0, 0, image.width // 2, image.height)) for image in images]


@pytest.mark.slow
def test_a_search_with_one_extraction(model, capsules, seen):
    photos, labels = capsules
    choices = {"coreset_ratio": [0.05, 0.5], "num_neighbors": [1, 3]}
    features = model.extract(photos)
    search = GridSearchCV(model, choices, scoring="roc_auc", cv=FOLDS)
    search.fit(features.photos, labels)
    assert sum(seen) == len(photos)  # and not once more for 4 choices, 2 folds and the refit
    assert search.best_estimator_._loaded[1] is model._loaded[1]  # the network, nor read again
    # What is found is a model like any other: it takes pictures, too.
    best = search.best_estimator_
    wanted = clone(model).set_params(**search.best_params_).fit(photos, labels)
    assert torch.equal(best.memory_bank_, wanted.memory_bank_)
    assert np.array_equal(best.score_samples(photos), wanted.score_samples(photos))
    assert np.array_equal(best.score_samples(features.photos), wanted.score_samples(photos))
    folds = clone(model).set_params(**search.best_params_)
    assert cross_val_score(folds, photos, labels, cv=FOLDS).mean() == pytest.approx(
        search.best_score_, abs=1e-12)


@pytest.mark.slow
def test_features_of_photos_are_what_the_table_says(model, capsules):
    photos, labels = capsules
    turned = clone(model).set_params(augmentation="flips", coreset_ratio=0.5)
    features = turned.extract(photos, training=True)
    assert features.views == 4 and len(features.photos) == len(photos)
    good = [i for i, label in enumerate(labels) if not label]
    wanted = clone(turned).fit_features(features.of(good, 10 ** 9))
    found = clone(turned).fit(features.photos, labels)
    assert torch.equal(found.memory_bank_, wanted.memory_bank_)
    assert torch.equal(found.memory_bank_, clone(turned).fit(photos, labels).memory_bank_)
    assert np.array_equal(found.calibration_scores_, wanted.calibration_scores_)
    again = pickle.dumps(features.photos[3])  # to another process: not those of all others
    assert len(again) < 2 * features.photos[3].rows.nbytes
    assert torch.equal(pickle.loads(again).rows, features.photos[3].rows)


@pytest.mark.slow
def test_features_of_large_photos_in_a_file(small_network):
    photos = list(np.random.default_rng(0).integers(0, 256, (5, 96, 80, 3), np.uint8))
    model = PatchCore(**small_network, tiles=48, coreset_ratio=0.1, map_kernel_size=9,
                      device="cpu")
    in_file = clone(model).set_params(memory_budget=1000)
    for one in (model, in_file):
        features = one.extract(photos)
        assert len(features.photos) == 5 < len(features)
        found = clone(one).fit(features.photos[1:])
        assert torch.equal(found.memory_bank_, clone(one).fit(photos[1:]).memory_bank_)
        np.testing.assert_allclose(found.score_samples(features), found.score_samples(photos),
                                   rtol=1e-6 if one is model else 1e-3)
    assert found.selected_from_ == "float16"


@pytest.mark.slow
def test_features_that_do_not_fit_are_refused_in_a_line(model, capsules):
    photos = capsules[0]
    some = model.extract(photos[:3]).photos
    other = clone(model).set_params(resize=64).extract(photos[:2]).photos
    with pytest.raises(InputError, match="features and pictures are mixed"):
        clone(model).fit([*some, photos[3]])
    with pytest.raises(InputError, match="described in different ways"):
        clone(model).fit([*some, *other])
    fitted = clone(model).fit(some)
    turned = clone(model).set_params(augmentation="flips").extract(photos[:2], training=True)
    with pytest.raises(InputError, match="have 4 views of each photo"):
        fitted.predict(turned)


@pytest.mark.slow
def test_paths_and_pictures_in_an_array(model, capsules):
    """As splits of scikit-learn leave them."""
    photos = capsules[0][:4]
    wanted = clone(model).fit(photos).memory_bank_
    for given in (np.array([str(photo) for photo in photos]), np.array(photos, dtype=object)):
        assert torch.equal(clone(model).fit(given).memory_bank_, wanted)
