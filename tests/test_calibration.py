"""Banks that have not seen the images they judge: each way against the literal one."""

import numpy as np
import pytest
import torch
from cases import few

from indad import PatchCore, load_dataset
from indad.calibration import CALIBRATIONS, cross_fit, leave_one_out, score_held_out
from indad.coreset import greedy_coreset, greedy_coreset_one_at_a_time
from indad.engine.groups import CALIBRATION_IMAGES, draw_folds, draw_groups, hold_out
from indad.engine.search import MemoryIndex
from indad.engine.selection import leave_out
from indad.errors import InputError

PATCHES = 6


@pytest.fixture(scope="module")
def capsules(drawn):
    return load_dataset(drawn, "capsule")


def rows_of(images, seed=0, dim=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images * PATCHES, dim, generator=generator)


def score(own, index, first):
    """The largest distance, and a map of all of them a little higher."""
    distances = index.search(own)[0].view(1, 2, -1)
    return distances.amax((1, 2)), distances + 1


def literally(own, bank):
    return float(torch.cdist(own.double(), bank.double()).amin(1).max())


@pytest.mark.parametrize("groups", [None, [0, 1, 0, 2, 3, 3, 3, 1]])
@pytest.mark.parametrize("views", [1, 2])
def test_leave_one_out_is_a_bank_without_the_group(groups, views):
    rows = rows_of(8 * views)
    kept = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))[:30]
    owners = kept // (PATCHES * views)
    scores, peaks = leave_one_out(rows, MemoryIndex(rows[kept]), owners, score, patches=PATCHES,
                                  views=views, groups=groups)
    labels = torch.tensor(range(8) if groups is None else groups)
    expected = []
    for image, *_ in draw_groups(8, groups):
        bank = rows[kept[labels[owners] != labels[image]]]
        expected.append(literally(rows[image * views * PATCHES:][:PATCHES], bank))
    assert len(scores) == len(set(labels.tolist()))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    np.testing.assert_allclose(peaks, scores + 1)


@pytest.mark.parametrize("groups", [None, list("aabbbcddeffgg")])
def test_folds_are_banks_fitted_without_them(groups):
    rows, images = rows_of(13), 13
    masks = []

    def select(left_out):
        masks.append(left_out)
        return rows[~left_out][::2]

    scores, _ = cross_fit(rows, select, score, patches=PATCHES, groups=groups, seed=3)
    folds = draw_folds(draw_groups(images, groups, seed=3))
    labels = list(range(13)) if groups is None else groups
    assert len(scores) == len(set(labels)) == sum(map(len, folds))
    assert len(masks) == len(folds) > 2
    expected = []
    for mask, fold in zip(masks, folds, strict=True):
        gone = [i for i in range(images) if mask[i * PATCHES]]
        assert {labels[i] for i in gone}.isdisjoint(
            labels[i] for i in range(images) if i not in gone)
        assert sorted(gone) == sorted(image for members in fold for image in members)
        bank = torch.cat([rows[i * PATCHES:][:PATCHES] for i in range(images) if i not in gone])
        expected += [literally(rows[members[0] * PATCHES:][:PATCHES], bank[::2])
                     for members in fold]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert torch.stack(masks).sum(0).tolist() == [1] * len(rows)  # every image once


def test_hold_out_keeps_groups_whole():
    for images, groups in ((1, None), (2, None), (32, None), (762, None),
                           (24, [i // 6 for i in range(24)]), (6, [0] * 6)):
        kept, held_out = hold_out(images, groups, seed=1)
        labels = list(range(images)) if groups is None else groups
        count = len(set(labels))
        assert len(held_out) == (0 if count == 1 else min(-(-count // 5), CALIBRATION_IMAGES))
        assert not {labels[i] for i in kept} & {labels[i] for i in held_out}
        assert len({labels[i] for i in kept}) + len(held_out) == count
    rows = rows_of(9)
    bank = rows[:PATCHES * 7]
    scores, _ = score_held_out(rows[PATCHES * 7:], MemoryIndex(bank), score, patches=PATCHES)
    np.testing.assert_allclose(scores, [literally(rows[i * PATCHES:][:PATCHES], bank)
                                        for i in (7, 8)], rtol=1e-5)


@pytest.mark.parametrize("images, sizes", [
    (1, []), (2, [1, 1]), (4, [1] * 4), (32, [7, 7, 7, 7, 4]), (200, [40, 40, 40]),
    (600, [100])])
def test_no_more_folds_than_it_takes_judges(images, sizes):
    folds = draw_folds(draw_groups(images, seed=2))
    assert [len(fold) for fold in folds] == sizes


def test_draws_depend_on_the_seed_and_every_member_may_judge():
    groups = [0, 0, 0, 1, 1, 1]
    judges = {draw_groups(6, groups, seed=seed)[0][0] for seed in range(60)}
    assert judges == set(range(6))
    assert draw_groups(6, groups, seed=5) == draw_groups(6, groups, seed=5)


@pytest.mark.parametrize("start, known", [(None, False), (0, False), (None, True)])
@pytest.mark.parametrize("seed", range(4))
def test_rows_left_out_are_as_if_they_were_not_there(start, known, seed):
    features = rows_of(200, seed=seed, dim=5)
    left_out = torch.rand(len(features), generator=torch.Generator().manual_seed(seed)) < 0.3
    distances = (features - features[7]).norm(dim=1) if known else None
    stay = (~left_out).nonzero()[:, 0]
    first, before = leave_out(left_out, start, distances, seed=seed)
    found = greedy_coreset(features, 90, start=first, seed=seed, distances=before)
    alone = greedy_coreset_one_at_a_time(
        features[stay], 90, start=start, seed=seed,
        distances=None if distances is None else distances[stay])
    assert found.indices.tolist() == stay[alone.indices].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {}, {"coreset_start": "first", "projection": "linear"}, {"coreset_ratio": 1.0}])
def test_folds_of_a_model_are_models_fitted_on_the_rest(capsules, options):
    options = {"coreset_ratio": 0.05, "resize": 64, "balance_layers": False} | options
    model = PatchCore(**options, calibration="folds", seed=4)
    features = model.extract(capsules[0], training=True)
    model.fit_features(features)
    expected = []
    for fold in draw_folds(draw_groups(8, seed=4)):
        judges = [image for members in fold for image in members]
        rest = PatchCore(**options, seed=4)
        rest.prepare(shared=model)
        rest.fit_features(features.of([i for i in range(8) if i not in judges], 1 << 30))
        expected += rest.predict_features(features.of(judges, 1 << 30)).scores.tolist()
    np.testing.assert_allclose(model.calibration_scores_, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", ["none", "flips"])
def test_held_out_images_never_enter_the_model(capsules, augmentation):
    options = {"coreset_ratio": 0.02, "resize": 64, "augmentation": augmentation, "seed": 2}
    model, alone = PatchCore(**options, calibration="held-out"), PatchCore(**options)
    features = model.extract(capsules[0], training=True)
    kept, held_out = hold_out(8, seed=2)
    assert len(held_out) == 2
    model.fit_features(features)
    alone.prepare(shared=model)
    alone.fit_features(features.of(kept, 1 << 30))
    assert torch.equal(model.memory_bank_, alone.memory_bank_)
    assert torch.equal(model.feature_scale_, alone.feature_scale_)
    expected = alone.predict([capsules[0][i] for i in held_out])
    np.testing.assert_allclose(model.calibration_scores_, expected.scores, rtol=1e-4)
    np.testing.assert_allclose(model.calibration_peaks_, expected.model_maps.max((1, 2)), rtol=1e-4)


@pytest.mark.parametrize("calibration", few(CALIBRATIONS, 1))
def test_groups_follow_their_images_past_unreadable_ones(capsules, calibration, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    images = [capsules[0][0], bad, *list(capsules[0])[1:6]]
    options = {"coreset_ratio": 0.05, "resize": 64, "calibration": calibration}
    model, same = PatchCore(**options), PatchCore(**options)
    model.fit(images, groups=list("a?abbcc"), strict=False)
    same.prepare(shared=model)
    same.fit(list(capsules[0])[:6], groups=list("aabbcc"))
    np.testing.assert_allclose(model.calibration_scores_, same.calibration_scores_, rtol=1e-5)
    assert len(model.calibration_scores_) == (1 if calibration == "held-out" else 3)
    if calibration != "held-out":
        same.fit(images, groups=[0] * 7, strict=False)
        assert len(same.calibration_scores_) == 0  # nothing but exposures of one part
    with pytest.raises(InputError, match="groups has 2 labels for 7 images"):
        model.fit(images, groups=[0, 1], strict=False)


def test_twins_hide_a_part_from_leave_one_out_unless_groups_are_told(capsules):
    twins = [image for image in list(capsules[0])[:4] for _ in range(2)]
    options = {"coreset_ratio": 1.0, "resize": 64, "num_neighbors": 1}
    model = PatchCore(**options)
    features = model.extract(twins)  # `fit` knows copies, and would leave them out
    fooled = model.fit_features(features).calibration_scores_
    told = model.fit_features(features, groups=[i // 2 for i in range(8)]).calibration_scores_
    assert fooled.max() < 0.01 < told.min()
    assert (len(fooled), len(told)) == (8, 4)


def test_an_unknown_calibration():
    with pytest.raises(InputError, match="did you mean leave-one-out"):
        PatchCore(calibration="leave_one_out").prepare()
