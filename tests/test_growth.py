"""A model that learns more good images later: what it takes, what it keeps, what it promises."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import few
from learned_state import changed, tensors_of
from PIL import Image

from indad import PatchCore
from indad.cli.commands import main
from indad.coreset import greedy_coreset, greedy_coreset_one_at_a_time
from indad.data.synthetic.categories import draw_part
from indad.deploy.explanation import explain
from indad.engine.search import MemoryIndex, worst_covered
from indad.errors import InputError
from indad.experiments.records import config_hash

FIXTURES = Path(__file__).parent / "fixtures"
sys.path.insert(0, str(FIXTURES))
from make_format_1 import pictures  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_backbones")
OPTIONS = dict(resize=64, coreset_ratio=0.2, device="cpu", seed=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Ten noisy plaids."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(10):
        noise = random.integers(0, 40, (64, 64, 3), np.uint8)
        Image.fromarray(pictures()[i % 6] // 2 + noise).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def fitted(photos, **options) -> PatchCore:
    return PatchCore(**OPTIONS | options).fit(photos)


def scaled(model: PatchCore, photos) -> torch.Tensor:
    return model.extract(photos).rows * model.feature_scale_


def covering_radius(bank: torch.Tensor, rows: torch.Tensor) -> float:
    return float(torch.cdist(rows, bank, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max())


def test_the_bank_takes_the_new_patches_that_are_farthest_from_it(photos):
    model = fitted(photos[:6])
    old, scale = model.memory_bank_.clone(), model.feature_scale_.clone()
    assert model.update(photos[6:]) is model
    assert len(model.memory_bank_) == int(0.2 * 10 * 64)
    assert torch.equal(model.memory_bank_[:len(old)], old)
    assert torch.equal(model.feature_scale_, scale)
    rows = scaled(model, photos)
    torch.testing.assert_close(model.memory_bank_, rows[model.coreset_indices_])
    new = rows[6 * 64:]
    known = torch.cdist(new, old, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    literal = greedy_coreset_one_at_a_time(new, len(model.memory_bank_) - len(old),
                                           distances=known)
    assert (model.coreset_indices_[len(old):] - 6 * 64).tolist() == literal.indices.tolist()
    radius = covering_radius(model.memory_bank_, rows)
    assert radius <= model.coreset_radii_[-1] + 1e-4
    assert (model.images_, model.given_, model.fitted_on_) == (10, 10, list(range(10)))
    assert set(model.timings_) == {"extract_s", "fit_s"}


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.1, 0.25])
def test_the_radius_is_near_that_of_a_fresh_coreset_of_the_same_size(photos, ratio):
    grown = fitted(photos[::2], coreset_ratio=ratio).update(photos[1::2])
    rows = scaled(grown, photos)
    fresh = greedy_coreset_one_at_a_time(rows, len(grown.memory_bank_), seed=1)
    assert len(grown.memory_bank_) == int(ratio * 640)
    assert covering_radius(grown.memory_bank_, rows) <= 1.05 * float(fresh.radii[-1])


def nearest(bank: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.cdist(rows, bank, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


@pytest.mark.slow
def test_a_reserve_is_what_the_bank_covers_worst_and_changes_nothing_else(photos):
    plain, model = fitted(photos[:6]), fitted(photos[:6], reserve=0.1)
    for name, tensor in tensors_of(plain).items():
        if not name.startswith("reserve"):
            assert torch.equal(tensor, tensors_of(model)[name]), name
    assert np.array_equal(plain.calibration_scores_, model.calibration_scores_)
    assert np.array_equal(plain.predict(photos).model_maps, model.predict(photos).model_maps)
    rows = scaled(model, photos[:6])
    far = nearest(model.memory_bank_, rows)
    far[model.coreset_indices_] = -1
    assert model.reserve_indices_.tolist() == far.topk(int(0.1 * 6 * 64)).indices.tolist()
    torch.testing.assert_close(model.reserve_, rows[model.reserve_indices_])
    assert config_hash(plain.options) == config_hash(model.options)
    assert config_hash(plain.options) == config_hash(
        {name: value for name, value in plain.options.items() if name != "reserve"})
    for none in (dict(reserve=0.0), dict(coreset="random"), dict(coreset_ratio=1.0)):
        empty = fitted(photos[:2], **{"reserve": 0.1} | none)
        assert (empty.reserve_.shape, len(empty.reserve_indices_)) == ((0, 152), 0)
    assert len(fitted(photos[:2], coreset_ratio=0.95, reserve=1.0).reserve_) == 128 - 121
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="reserve is .*; it must be in"):
            fitted(photos[:2], reserve=wrong)


def test_of_copies_only_those_that_were_not_taken_are_in_reserve():
    for taken in range(9):
        found = worst_covered(torch.zeros(9, 2), MemoryIndex(torch.zeros(1, 2)),
                              torch.tensor([taken]), 9)
        assert sorted([taken, *found.tolist()]) == [*range(9)]


@pytest.mark.parametrize("options", [{}, dict(memory_budget="10kB")])
def test_new_patches_and_the_reserve_are_candidates_again_and_again(photos, options):
    """With a memory budget the new patches lie in a file of half precision; the reserve does not.
    """
    model, seen = fitted(photos[:4], reserve=0.1), 4
    if options:
        model.set_params(memory_budget=options["memory_budget"])
    rows, from_before = scaled(model, photos), []
    for more in (4, 2):
        old, reserve, numbers = model.memory_bank_, model.reserve_, model.reserve_indices_
        model.update(photos[seen:seen + more])
        new = torch.arange(64 * seen, 64 * (seen + more))
        candidates = torch.cat([rows[new].half().float() if options else rows[new], reserve])
        where = torch.cat([new, numbers])
        literal = greedy_coreset_one_at_a_time(
            candidates, len(model.memory_bank_) - len(old), distances=nearest(old, candidates))
        seen += more
        assert model.coreset_indices_[len(old):].tolist() == where[literal.indices].tolist()
        from_before.append(int((model.coreset_indices_[len(old):] < new[0]).sum()))
        far = nearest(model.memory_bank_, candidates)
        far[literal.indices] = -1
        assert model.reserve_indices_.tolist() == where[
            far.topk(int(0.1 * 64 * seen)).indices].tolist()
        near = dict(rtol=2e-3, atol=2e-2) if options else {}
        torch.testing.assert_close(model.memory_bank_, rows[model.coreset_indices_], **near)
        torch.testing.assert_close(model.reserve_, rows[model.reserve_indices_], **near)
        assert torch.equal(model.reserve_[model.reserve_indices_ < new[0]][:, 0].sort().values,
                           reserve[torch.isin(numbers, model.reserve_indices_)][:, 0].sort().values)
    assert len(model.memory_bank_) == int(0.2 * 640)
    assert min(from_before) > 0  # else nothing was tested
    assert not set(model.reserve_indices_.tolist()) & set(model.coreset_indices_.tolist())
    assert covering_radius(model.memory_bank_, rows) <= model.coreset_radii_[-1] + 2e-2
    match = explain(model, photos[int(model.coreset_indices_[-1]) // 64],
                    place=divmod(int(model.coreset_indices_[-1]) % 64, 8))
    assert match.train_image == int(model.coreset_indices_[-1]) // 64
    assert match.distance < (2e-2 if options else 1e-3)


@pytest.mark.slow
def test_with_a_reserve_the_radius_is_near_that_of_a_fresh_coreset(shared_backbones):
    """Drawn gears; without one it is some 9 % larger."""
    parts = [Image.fromarray(draw_part("gear", index=index, seed=7)[0]) for index in range(16)]
    ratios = []
    for reserve in (0.0, 0.05):
        model = fitted(parts[::2], resize=96, coreset_ratio=0.1, reserve=reserve)
        model.update(parts[1::4]).update(parts[3::4])
        rows = scaled(model, parts)
        fresh = greedy_coreset(rows, len(model.memory_bank_), seed=1).radii[-1]
        ratios.append(covering_radius(model.memory_bank_, rows) / float(fresh))
    assert ratios[0] > 1.06
    assert ratios[1] <= 1.05


@pytest.mark.slow
def test_keeping_everything_it_is_the_model_of_all_images(photos):
    options = dict(coreset_ratio=1.0, balance_layers=False)
    grown = fitted(photos[:3], **options).update(photos[3:5]).update(photos[5:6])
    whole = fitted(photos[:6], **options)
    assert len(grown.memory_bank_) == len(whole.memory_bank_) == 6 * 64
    found, wanted = grown.predict(photos), whole.predict(photos)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found.model_maps, wanted.model_maps, atol=1e-4)


def test_good_scores_old_ones_stay_and_new_ones_are_left_out(photos):
    model = fitted(photos[:6])
    scores, peaks = model.calibration_scores_.copy(), model.calibration_peaks_.copy()
    model.update(photos[6:])
    assert len(model.calibration_scores_) == len(model.calibration_peaks_) == 10
    assert np.array_equal(model.calibration_scores_[:6], scores)
    assert np.array_equal(model.calibration_peaks_[:6], peaks)
    owners, bank, found = model.coreset_indices_ // 64, model.memory_bank_, []
    for image, photo in enumerate(photos):
        without = changed(model, memory_bank=bank[owners != image])
        found.append(float(without.predict(photo).scores[0]))
    np.testing.assert_allclose(sorted(model.calibration_scores_[6:]), sorted(found[6:]), rtol=1e-4)
    assert (np.sort(found[:6]) <= np.sort(scores) + 1e-4).all()  # so what stayed is not too low


def test_folds_of_new_images_may_take_from_the_reserve(photos, monkeypatch):
    model, banks = fitted(photos[:6], calibration="folds", reserve=0.2), []
    old, reserve, rows = model.memory_bank_, model.reserve_, scaled(model, photos[6:8])

    def judged_without_each(rows, bank_without, score, **options):
        for image in (0, 1):
            banks.append(bank_without(torch.arange(128) // 64 == image))
        return np.empty(0), np.empty(0)

    monkeypatch.setattr("indad.calibration.cross_fit", judged_without_each)
    model.update(photos[6:8])
    for image, bank in enumerate(banks):
        candidates = torch.cat([rows[(1 - image) * 64:][:64], reserve])
        picked = greedy_coreset_one_at_a_time(candidates, int(0.2 * 7 * 64) - len(old),
                                              distances=nearest(old, candidates)).indices
        assert (picked >= 64).any()
        torch.testing.assert_close(bank, torch.cat([old, candidates[picked]]))


def test_a_single_new_image_is_judged_by_the_old_bank(photos):
    model = fitted(photos[:6])
    wanted = model.predict(photos[6])
    model.update(photos[6])
    assert model.calibration_scores_[6] == pytest.approx(float(wanted.scores[0]), rel=1e-5)
    assert model.calibration_peaks_[6] == pytest.approx(float(wanted.model_maps.max()), rel=1e-5)


def test_explanations_name_the_new_images(photos, tmp_path):
    model = fitted(photos[:3], coreset_ratio=1.0)
    shutil.copy(photos[8], tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG cut short")
    model.update([photos[7], tmp_path / "bad.png", tmp_path / "good.png"], strict=False)
    assert [position for position, _ in model.skipped_] == [1]
    assert model.fitted_on_ == [0, 1, 2, 3, 5]
    assert (model.images_, model.given_) == (5, 6)
    match = explain(model, photos[8], place=(2, 5))
    assert (match.train_image, match.train_place) == (5, (2, 5))
    assert match.distance < 1e-3
    assert model.files_[5] == str(tmp_path / "good.png")
    assert explain(model, photos[1], place=(0, 0)).train_image == 1


@pytest.mark.parametrize("calibration, judges", [("folds", 4), ("held-out", 1)])
def test_new_images_are_judged_as_the_options_say(photos, calibration, judges):
    model = fitted(photos[:6], calibration=calibration)
    before, old = len(model.calibration_scores_), model.memory_bank_
    model.update(photos[6:])
    assert len(model.calibration_scores_) == before + judges
    kept = len(model.fitted_on_)
    assert kept == (10 if calibration == "folds" else 10 - before - judges)
    if calibration == "held-out":
        (judge,) = set(range(6, 10)) - set(model.fitted_on_)
        found = float(model.predict(photos[judge]).scores[0])
        assert model.calibration_scores_[-1] == pytest.approx(found, rel=1e-5)
    assert len(model.memory_bank_) == int(0.2 * kept * 64)
    assert torch.equal(model.memory_bank_[:len(old)], old)


@pytest.mark.parametrize("options", few([
    dict(coreset="random"), dict(projection="sparse"), dict(augmentation="flips"),
    dict(coreset_start="mean", projection="linear"), dict(memory_budget="10kB"),
    dict(reserve=0.1, augmentation="flips", projection="sparse"),
    dict(reserve=0.1, coreset="random")], [
    dict(reserve=0.1, augmentation="flips", projection="sparse"),
    dict(reserve=0.1, coreset="random")]))
def test_other_options(photos, options):
    model = fitted(photos[:4], **options).update(photos[4:6])
    per_image = 64 * model.views_
    assert len(model.memory_bank_) == int(0.2 * 6 * per_image)
    assert len(set(model.coreset_indices_.tolist())) == len(model.memory_bank_)
    assert int(model.coreset_indices_.max()) < 6 * per_image
    assert len(model.calibration_scores_) == 6
    assert explain(model, photos[9]).train_image < 6


def test_whatever_stops_it_leaves_the_model_as_it_was(photos, monkeypatch, tmp_path):
    model = fitted(photos[:4], reserve=0.1)
    before, record = tensors_of(model), model.fitted_
    (tmp_path / "bad.png").write_bytes(b"")

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with pytest.raises(InputError, match=r"bad\.png"):
        model.update([photos[5], tmp_path / "bad.png"])
    with pytest.raises(InputError, match="groups has 1 labels for 2 images"):
        model.update(photos[4:6], groups=["a"])
    for name in ("select_coreset", "worst_covered", "judge_bank"):
        with monkeypatch.context() as patch:
            patch.setattr(f"indad.learned.growth.{name}", stop)
            with pytest.raises(KeyboardInterrupt):
                model.update(photos[4:6])
    assert model.fitted_ is record
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(model).items())
    with pytest.raises(InputError, match="call fit"):
        PatchCore().update(photos)


def test_stopped_after_its_selection_a_fit_leaves_the_model_as_it_was(photos, monkeypatch):
    model = fitted(photos[:3], reserve=0.1)
    record, before = model.fitted_, model.predict(photos).scores

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("indad.learned.learning.worst_covered", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(photos[3:6])
    assert model.fitted_ is record
    assert np.array_equal(model.predict(photos).scores, before)


def test_groups_are_judged_as_one(photos):
    model = fitted(photos[:4]).update(photos[4:8], groups=["a", "a", "b", "b"])
    assert len(model.calibration_scores_) == 4 + 2


@pytest.mark.slow
@pytest.mark.parametrize("reserve", [0.0, 0.1])
def test_saved_models_go_on_learning(photos, tmp_path, reserve):
    fitted(photos[:6], reserve=reserve).save(tmp_path / "model")
    straight = fitted(photos[:6], reserve=reserve).update(photos[6:8]).update(photos[8:])
    for new in (photos[6:8], photos[8:]):
        PatchCore.load(tmp_path / "model", device="cpu").update(new).save(tmp_path / "model")
    loaded = PatchCore.load(tmp_path / "model", device="cpu")
    assert torch.equal(loaded.memory_bank_, straight.memory_bank_)
    assert torch.equal(loaded.reserve_, straight.reserve_)
    assert len(loaded.reserve_) == int(reserve * 640)
    assert np.array_equal(loaded.calibration_scores_, straight.calibration_scores_)
    assert loaded.files_ == straight.files_ == [str(photo) for photo in photos]
    assert (loaded.images_, loaded.given_) == (10, 10)


def test_a_model_of_before_learns_too(tmp_path):
    """Its record says neither how many images were given nor where they lie; it has no reserve."""
    shutil.copytree(FIXTURES / "format_1", tmp_path / "model")
    model = PatchCore.load(tmp_path / "model", device="cpu")
    assert (model.files_, model.given_) == (None, 4)
    assert model.reserve_.shape == (0, model.memory_bank_.shape[1])
    Image.fromarray(pictures()[4]).save(tmp_path / "new.png")
    model.update([tmp_path / "new.png", pictures()[5]]).save(tmp_path / "model")
    again = PatchCore.load(tmp_path / "model", device="cpu")
    assert again.files_ == [None] * 4 + [str(tmp_path / "new.png"), None]
    assert again.images_ == 6


def test_models_of_pictures_know_no_files(tmp_path):
    model = PatchCore(**OPTIONS).fit(pictures()[:3])
    model.save(tmp_path / "model")
    assert '"files": null' in (tmp_path / "model" / "model.json").read_text()
    assert PatchCore.load(tmp_path / "model").update(pictures()[3:5]).given_ == 5


@pytest.mark.slow
def test_the_command(photos, tmp_path, capsys):
    fitted(photos[:6]).save(tmp_path / "model")
    before = (tmp_path / "model" / "model.json").read_bytes()
    (tmp_path / "new").mkdir()
    for photo in photos[6:]:
        shutil.copy(photo, tmp_path / "new")
    (tmp_path / "new" / "bad.png").write_bytes(b"")
    words = ["update", str(tmp_path / "model"), str(tmp_path / "new")]
    assert main([*words, "--output", str(tmp_path / "grown")]) == 0
    captured = capsys.readouterr()
    assert captured.out == (f"{tmp_path / 'grown'}: learned from 4 more photos, 10 in all; "
                            "remembers 52 more patches, 128 in all\n")
    assert "bad.png: not a readable image" in captured.err
    assert (tmp_path / "model" / "model.json").read_bytes() == before
    assert main([*words, "--strict"]) == 2
    assert (tmp_path / "model" / "model.json").read_bytes() == before
    assert main(words) == 0
    assert PatchCore.load(tmp_path / "model").images_ == 10
    for bad, message in (([str(tmp_path / "none"), str(tmp_path / "new")], "no such folder"),
                         ([str(tmp_path / "model"), str(tmp_path / "none")], "no such folder"),
                         ([*words[1:], "--output", str(tmp_path / "new")], "no part of a saved")):
        assert main(["update", *bad]) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_what_fit_saves_has_a_reserve_unless_told_otherwise(photos, tmp_path, capsys):
    words = ["fit", str(photos[0].parent), "--resize", "64", "--output", str(tmp_path / "model")]
    for more, count in (([], int(0.05 * 640)), (["--reserve", "0"], 0),
                        (["--reserve", "0.1"], 64)):
        assert main([*words, *more]) == 0
        assert len(PatchCore.load(tmp_path / "model").reserve_) == count
    assert main([*words, "--reserve", "7"]) == 2
    assert "reserve is 7.0; it must be in [0, 1]" in capsys.readouterr().err


def test_a_second_fit_forgets_the_files_of_the_first(photos):
    model = fitted(photos[:3])
    assert model.files_ == [str(photo) for photo in photos[:3]]
    model.fit_features(model.extract(photos[3:6]))
    assert (model.files_, model.examples_) == (None, [])
