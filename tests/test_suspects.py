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


def bad(seed: int, at: tuple[int, int] = (40, 40), colour=(220, 30, 30)) -> np.ndarray:
    pixels = good(seed)
    pixels[at[0]:at[0] + 14, at[1]:at[1] + 14] = colour
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


SAME = [bad(200 + i) for i in range(3)]  # of photos with one defect


@pytest.fixture(scope="module")
def fooled() -> PatchCore:
    """Of twenty photos three with one defect, so that none of them is suspect."""
    return PatchCore(**OPTIONS, robust=True).fit([*SAME, *map(good, range(17))])


@pytest.mark.slow
def test_three_photos_with_one_defect_are_found_among_thirty_one_but_not_among_twenty(fooled):
    """What few photos share is known to few; how few is a tenth, and not a promise beyond it."""
    assert found(PatchCore(**OPTIONS, robust=True).fit(
        [*SAME, *map(good, range(28))])) == [0, 1, 2]
    assert found(fooled) == []


@pytest.mark.slow
def test_photos_that_judge_oddly_set_no_threshold_though_none_is_suspect(fooled):
    plain = PatchCore(**OPTIONS).fit([*SAME, *map(good, range(17))])
    limit = robust_limit(plain.calibration_scores_)[0]
    stay = plain.calibration_scores_ <= limit
    assert stay.sum() == 17
    assert np.array_equal(fooled.calibration_scores_, plain.calibration_scores_[stay])
    assert np.array_equal(fooled.calibration_peaks_, plain.calibration_peaks_[stay])
    assert torch.equal(fooled.memory_bank_, plain.memory_bank_)
    assert fooled.threshold_ < limit < plain.threshold_
    assert (fooled.fitted_.suspects.trusted, fooled.fitted_.suspects.odd) == (limit, 3)
    said = fooled.fitted_.suspects.in_words(20, None)
    assert said == ("robust: none of 20 photos is suspect; of 3 more the score in calibration, "
                    f"beyond {limit:.3g}, sets no threshold")


def test_what_judged_oddly_is_saved_and_new_photos_are_held_to_it(fooled, tmp_path):
    fooled.save(tmp_path / "model")
    model = PatchCore.load(tmp_path / "model")
    before = model.fitted_.suspects
    assert before == fooled.fitted_.suspects and model.threshold_ == fooled.threshold_
    model.update([bad(300 + i, (60, 20), (30, 30, 220)) for i in range(3)])  # alike, so supported
    after = model.fitted_.suspects
    assert after.trusted == before.trusted and after.photos == [] and after.odd == 6
    assert model.threshold_ == fooled.threshold_
    assert len(model.calibration_scores_) == 17


@pytest.mark.slow
def test_a_model_saved_before_there_was_such_a_limit_goes_on_without(fooled, tmp_path):
    fooled.save(tmp_path / "model")
    file = tmp_path / "model" / RECORD
    record = json.loads(file.read_text())
    del record["training"]["suspects"]["trusted"], record["training"]["suspects"]["odd"]
    record["record_sha256"] = _record_digest(record)
    file.write_text(json.dumps(record))
    model = PatchCore.load(tmp_path / "model")
    assert (model.fitted_.suspects.trusted, model.fitted_.suspects.odd) == (None, 0)
    assert model.threshold_ == fooled.threshold_
    model.update([bad(300 + i, (60, 20), (30, 30, 220)) for i in range(3)])
    assert len(model.calibration_scores_) == 20 and model.fitted_.suspects.odd == 0


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
    (dict(trusted=-1.0), "trusted is -1.0"), (dict(odd=-2), "odd is -2"),
    (dict(trusted=None, odd=1), "odd is 1"), (None, "a bank would keep more"),
    ({"photos": 3}, "not as indad writes it")], 1))
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


@pytest.mark.slow
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


@pytest.fixture
def folder(tmp_path):
    """`bolts/good` with 21 photos of which two are bad, and a defective one to test on."""
    from PIL import Image

    for kind, pictures in (("good", photos()), ("scratch", [bad(90)])):
        (tmp_path / "bolts" / kind).mkdir(parents=True)
        for i, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(tmp_path / "bolts" / kind / f"{i:02}.png")
    return tmp_path / "bolts"


def test_fit_robust_says_what_it_did(folder, tmp_path, capsys):
    from indad.cli.commands import main

    assert main(["fit", str(folder), "--output", str(tmp_path / "model"), "--robust",
                 "--resize", "96"]) == 0
    said = capsys.readouterr().out
    assert "robust: 2 of 21 photos suspect" in said and "03.png" in said and "07.png" in said


@pytest.mark.slow
def test_check_writes_a_page_with_the_suspects_first(folder, tmp_path, capsys):
    from indad.cli.commands import main

    output = tmp_path / "found"
    assert main(["check", str(folder), "--suspects", "--output", str(output),
                 "--resize", "96"]) in (0, 1)
    said = capsys.readouterr().out
    assert "2 of 21 photos suspect" in said and str(output / "suspects.html") in said
    lines = (output / "suspects.csv").read_text().splitlines()
    assert len(lines) == 22  # those that a test would hold out as well
    first = [line.split(",") for line in lines[1:3]]
    assert sorted(row[1].rsplit("/", 1)[-1] for row in first) == ["03.png", "07.png"]
    assert [row[4] for row in first] == ["yes", "yes"] and ",no," in lines[3]
    for row in first:  # the patch is where the mark was painted, or touches it
        left, top, right, bottom = map(int, row[5:9])
        number = BAD.index(int(row[1].rsplit("/", 1)[-1][:2]))
        assert left >= 50 - 8 and right <= 64 + 8
        assert 20 + 6 * number - 8 <= top and bottom <= 34 + 6 * number + 8
    page = (output / "suspects.html").read_text()
    assert page.count('class="card suspect mistake"') == 2
    assert page.count('class="card suspect') == 10
    assert page.index("03.png") < page.index("within the limit") > page.index("07.png")
    assert main(["check", str(folder), "--suspects", "--output", str(folder)]) == 2
    assert "no part of a page of suspects" in capsys.readouterr().err
    assert main(["check", str(folder), "--suspects", "--output", str(output), "--json",
                 "--resize", "96"]) in (0, 1)
    (found,) = json.loads(capsys.readouterr().out)["suspects"].values()
    assert [one["suspect"] for one in found["photos"][:3]] == [True, True, False]


def test_names_in_the_page_are_text(tmp_path):
    from indad.deploy.suspects import suspects
    from indad.deploy.suspects_page import write_suspects

    model = PatchCore(resize=64)
    found = suspects([good(i) for i in range(3)], model=model)
    found.names[0] = "<script>alert(1)</script>"
    page = write_suspects({"<b>{{ 7 * 7 }}": found}, tmp_path / "page").read_text()
    assert "<script>alert" not in page and "&lt;b&gt;{{ 7 * 7 }}" in page
    assert len(found.photos) == 3 and not found.beyond
    assert "none of 3 photos suspect" in str(found)


@pytest.mark.slow
def test_the_witnesses_of_a_patch_stand_in_rows_without_a_gap(tmp_path):
    from browsing import keep_picture, running_browser, watched

    from indad.deploy.suspects import suspects
    from indad.deploy.suspects_page import write_suspects

    found = suspects([good(i) for i in range(5)], model=PatchCore(resize=64))
    address = write_suspects({"plaids": found}, tmp_path / "page").as_uri()
    with running_browser() as browser:
        page, complaints, _ = watched(browser)
        page.goto(address)
        for width, rows in ((1280, [4]), (1000, [4]), (700, [4]), (390, [2, 2]), (320, [2, 2])):
            page.set_viewport_size({"width": width, "height": 900})
            tops = page.eval_on_selector_all(".card.suspect:first-of-type .witnesses figure",
                                             "all => all.map((one) => one.offsetTop)")
            assert [tops.count(top) for top in sorted(set(tops))] == rows, width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            keep_picture(page, f"suspects-{width}")
        assert complaints == []


@pytest.mark.parametrize("arguments, said", few([
    (["--output", "x"], "output goes with --suspects"),
    (["--suspects", "--tiles", "0"], "tiles is 0"), (["--suspects"], "2 good photos cannot vouch"),
    (["--suspects", "--backbone", "no"], "no")], 1))
def test_what_cannot_be_checked_is_said_in_a_line(folder, tmp_path, capsys, monkeypatch, arguments,
                                                  said):
    from indad.cli.commands import main

    monkeypatch.chdir(tmp_path)
    for file in sorted((folder / "good").iterdir())[2:]:
        file.unlink()
    assert main(["check", str(folder), *arguments]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1] and err[-1].startswith("indad: error: ")
    assert not (tmp_path / "results" / "suspects").exists()


@pytest.mark.slow
def test_run_and_benchmark_know_robust(folder, tmp_path, capsys):
    from indad.cli.commands import main

    common = ["--dataset", str(folder), "--resize", "96", "--robust"]
    assert main(["run", *common, "--output", str(tmp_path / "run")]) == 0
    assert "photos suspect" in capsys.readouterr().err
    assert main(["benchmark", *common, "--coreset-ratio", "0.1", "0.05",
                 "--output", str(tmp_path / "sweep")]) == 0
    (alone,) = (tmp_path / "run").rglob("metrics.json")
    alone = json.loads(alone.read_text())
    rows = [json.loads(file.read_text()) for file in (tmp_path / "sweep").rglob("metrics.json")]
    (same,) = [row for row in rows if row["config"]["coreset_ratio"] == 0.1]
    assert "photos suspect" in alone["suspects"] and same["config"]["robust"] is True
    assert same["suspects"] == alone["suspects"]
    assert same["decision"]["threshold"] == pytest.approx(alone["decision"]["threshold"], rel=1e-5)
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "photos suspect" in (tmp_path / "run" / "report.html").read_text()
