"""A robust fit: bad photos among the good ones are found, set no threshold and hide no defect."""

import json

import numpy as np
import pytest
import torch
from cases import few
from learned_state import tensors_of

from indad import PatchCore
from indad.errors import InputError
from indad.learned.storage import RECORD, _record_digest
from indad.learned.suspects import robust_limit

OPTIONS = dict(resize=96, coreset_ratio=0.2, reserve=0.05, seed=1)
BAD = [3, 7]


def good(seed: int) -> np.ndarray:
    """A plaid `(96, 96, 3)` with some noise and light of its own."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :96]
    plaid = 60 + 30 * (x // 8 % 2) + 30 * (y // 12 % 2) + generator.normal(0, 4, (96, 96))
    return np.repeat((plaid * generator.uniform(0.95, 1.05)).clip(0, 255), 3).reshape(
        96, 96, 3).astype(np.uint8)


def bad(seed: int, at: tuple[int, int] = (40, 40)) -> np.ndarray:
    pixels = good(seed)
    pixels[at[0]:at[0] + 14, at[1]:at[1] + 14] = (220, 30, 30)
    return pixels


def photos(count: int = 21, suspects=BAD) -> list[np.ndarray]:
    """Of which some are bad, each in another place."""
    return [bad(i, (20 + 6 * suspects.index(i), 50)) if i in suspects else good(i)
            for i in range(count)]


@pytest.fixture(scope="module")
def models() -> dict:
    """Of bad photos among good ones, with and without `robust`, and of good ones only."""
    return {"robust": PatchCore(**OPTIONS, robust=True).fit(photos()),
            "plain": PatchCore(**OPTIONS).fit(photos()),
            "clean": PatchCore(**OPTIONS).fit(photos(suspects=[]))}


def found(model: PatchCore) -> list[int]:
    return sorted(position for position, _ in model.fitted_.suspects.photos)


def test_the_bad_ones_are_found_and_set_no_threshold(models):
    robust, plain, clean = (models[name].threshold_ for name in ("robust", "plain", "clean"))
    assert found(models["robust"]) == BAD
    assert plain > 1.5 * clean
    assert robust < 1.1 * clean
    assert len(models["robust"].calibration_scores_) == 19
    new = [bad(100 + i, (25, 50)) for i in range(4)]  # as those that were learned
    assert (models["robust"].predict(new).scores > robust).all()
    assert not (models["plain"].predict(new).scores > plain).any()


def test_a_defect_that_was_learned_is_found_again(models):
    again = [photos()[i] for i in BAD]
    assert (models["robust"].predict(again).scores > models["robust"].threshold_).all()
    assert not (models["plain"].predict(again).scores > models["plain"].threshold_).any()


def test_what_is_remembered_is_the_plain_bank_less_patches_of_suspects(models):
    robust, plain = models["robust"].fitted_, models["plain"].fitted_
    left = set(plain.coreset_indices.tolist()) - set(robust.coreset_indices.tolist())
    assert left and set(robust.coreset_indices.tolist()) < set(plain.coreset_indices.tolist())
    assert set(plain.image_of(torch.tensor(sorted(left))).tolist()) <= set(BAD)
    assert len(left) <= robust.suspects.patches < 2 * 144  # not all that they have
    muted = PatchCore(**OPTIONS | dict(coreset_ratio=1.0), robust=True).fit(photos()).fitted_
    remembered = set(muted.coreset_indices.tolist())
    assert len(remembered) == muted.seen - muted.suspects.patches
    assert set(robust.reserve_indices.tolist()) <= remembered
    assert len(robust.coreset_radii) == len(robust.coreset_indices)


def test_of_good_photos_nothing_is_lost(models):
    robust = PatchCore(**OPTIONS, robust=True).fit(photos(suspects=[]))
    assert robust.fitted_.suspects.photos == []
    for name, value in tensors_of(models["clean"]).items():
        assert torch.equal(value, tensors_of(robust)[name]), name
    assert robust.threshold_ == models["clean"].threshold_


@pytest.mark.parametrize("how", few([
    dict(calibration="folds"), dict(calibration="held-out"), dict(augmentation="flips"),
    dict(resize=None, tiles=64, overlap=16), dict(coreset="random"), dict(search="hnsw")], 0),
    ids=str)
def test_every_way_to_fit_knows_suspects(how):
    known = OPTIONS | dict(coreset_ratio=0.1) | how
    model = PatchCore(**known, robust=True).fit(photos())
    assert found(model) == BAD
    clean = PatchCore(**known).fit(photos(suspects=[])).threshold_
    assert model.threshold_ < 1.2 * clean < PatchCore(**known).fit(photos()).threshold_


def test_photos_of_one_part_do_not_vouch_for_each_other():
    """Two photos of a bad part, with the same defect, of ten parts: a tenth is one other part."""
    images = [bad(i) if i in (4, 5) else good(i) for i in range(20)]
    parts = [i // 2 for i in range(20)]
    model = PatchCore(**OPTIONS, robust=True).fit(images, groups=parts)
    assert found(model) == [4, 5]
    assert len(model.calibration_scores_) == 9


@pytest.mark.slow
def test_three_photos_with_one_defect_are_found_among_thirty_one_but_not_among_twenty():
    """What few photos share is known to few; how few is a tenth, and not a promise beyond it."""
    same = [bad(200 + i) for i in range(3)]
    assert found(PatchCore(**OPTIONS, robust=True).fit(
        [*same, *map(good, range(28))])) == [0, 1, 2]
    assert found(PatchCore(**OPTIONS, robust=True).fit([*same, *map(good, range(17))])) == []


def test_update_knows_the_limit_of_the_fit(models, tmp_path):
    models["robust"].save(tmp_path / "model")
    model = PatchCore.load(tmp_path / "model")
    before = model.fitted_.suspects
    model.update([good(50), bad(51, (60, 20)), good(52)])
    assert found(model) == [*BAD, 22]
    after = model.fitted_.suspects
    assert (after.limit, after.usual) == (before.limit, before.usual)
    assert after.patches > before.patches
    assert len(model.calibration_scores_) == 21
    model.update([bad(53)])  # a single one, which no other can vouch for
    assert found(model) == [*BAD, 22, 24]


def test_a_saved_model_says_what_it_doubts(models, tmp_path):
    model = models["robust"]
    model.save(tmp_path / "model")
    loaded = PatchCore.load(tmp_path / "model")
    assert loaded.fitted_.suspects == model.fitted_.suspects
    assert loaded.robust is True
    said = loaded.fitted_.suspects.in_words(21, [f"{i}.png" for i in range(21)])
    assert said.startswith("robust: 2 of 21 photos suspect")
    assert "3.png" in said and "7.png" in said and "not remembered" in said
    record = json.loads((tmp_path / "model" / RECORD).read_text())
    assert sorted(position for position, _ in record["training"]["suspects"]["photos"]) == BAD


@pytest.mark.parametrize("change, said", few([
    (dict(photos=[[21, 99.0]]), "suspects is 21"), (dict(patches=-1), "patches is -1"),
    (dict(limit=float(0)), "of a robust fit"), (dict(photos=[[3, 1.0]]), "a score beyond"),
    (None, "a bank would keep more"), ({"photos": 3}, "not as indad writes it")], 1))
def test_a_record_that_was_changed_is_refused(models, tmp_path, change, said):
    models["robust"].save(tmp_path / "model")
    file = tmp_path / "model" / RECORD
    record = json.loads(file.read_text())
    known = record["training"]["suspects"]
    record["training"]["suspects"] = None if change is None else known | change
    record["record_sha256"] = _record_digest(record)
    file.write_text(json.dumps(record))
    with pytest.raises(InputError, match=said):
        PatchCore.load(tmp_path / "model")


def test_a_selection_can_be_shared_with_a_model_that_doubts_nothing(models):
    whole = PatchCore(**OPTIONS | dict(coreset_ratio=0.4)).fit(photos()).fitted_
    from indad.coreset import CoresetSelection

    model = PatchCore(**OPTIONS, robust=True)
    model.fit_features(model.extract(photos(), training=True),
                       selection=CoresetSelection(whole.coreset_indices, whole.coreset_radii))
    assert torch.equal(model.coreset_indices_, models["robust"].coreset_indices_)


@pytest.mark.parametrize("given, groups", [(2, None), (4, [0, 0, 1, 1])])
def test_too_few_photos_cannot_vouch(given, groups):
    with pytest.raises(InputError, match="2 good .* cannot vouch for each other"):
        PatchCore(**OPTIONS, robust=True).fit([good(i) for i in range(given)], groups=groups)


def test_the_limit_is_that_of_the_good_ones():
    scores = np.exp(np.random.default_rng(0).normal(2, 0.1, 50))
    limit, usual = robust_limit(scores)
    assert usual == pytest.approx(np.exp(2), rel=0.05)
    assert limit == pytest.approx(np.exp(2.3), rel=0.1)
    bad = np.concatenate([scores, np.full(5, 100.0)])
    assert robust_limit(bad)[0] == pytest.approx(limit, rel=0.1)
    # Few say less about how far good ones scatter.
    few, many = (robust_limit(np.exp([1.9, 2.0, 2.1] * times))[0] for times in (1, 20))
    assert few > 2 * many
    assert robust_limit(np.ones(20))[0] == pytest.approx(1.03, abs=0.01)
    assert np.isfinite(robust_limit(np.zeros(4))).all()
