"""Parts that do not lie as the good ones did: found, aligned, judged, and laid back."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")

from indad import PatchCore, load_dataset  # noqa: E402
from indad.cli.commands import main  # noqa: E402
from indad.data import pose as poses  # noqa: E402
from indad.data.augmentation import View  # noqa: E402
from indad.data.images import ImageTransform, to_photo  # noqa: E402
from indad.data.pose import Pose, pose_of  # noqa: E402
from indad.data.reference import learn_reference, medoid  # noqa: E402
from indad.data.registration import Reference, grey_copy  # noqa: E402
from indad.data.synthetic.categories import draw_part  # noqa: E402
from indad.deploy.explanation import explain  # noqa: E402
from indad.deploy.inspection import inspect_images  # noqa: E402
from indad.deploy.verdicts import verdict  # noqa: E402
from indad.engine.batches import load_batches  # noqa: E402
from indad.errors import InputError, InputWarning  # noqa: E402
from indad.experiments import records  # noqa: E402
from indad.experiments.plans import RunPlan  # noqa: E402
from indad.experiments.run import run  # noqa: E402
from indad.experiments.sweep import run_sweep  # noqa: E402
from indad.learned import storage  # noqa: E402

SMALL = dict(resize=96, coreset_ratio=0.2, num_neighbors=1, map_kernel_size=9, map_sigma=1.5)


def moved(photo, pose):
    """A part that lay in place lies as the pose says."""
    size = photo.shape[:2]
    return cv2.warpAffine(photo, pose.matrix(size), size[::-1], flags=cv2.INTER_CUBIC,
                          borderMode=cv2.BORDER_REFLECT)


def parts(name, count):
    return [draw_part(name, index=number)[0] for number in range(count)]


@pytest.fixture(scope="module")
def capsules():
    return parts("capsule", 8)


@pytest.fixture(scope="module")
def model(capsules):
    return PatchCore(**SMALL, align="rigid").fit(capsules[:6])


@pytest.mark.parametrize("size", [(256, 256), (100, 317)])
def test_a_pose_is_its_matrix_and_that_is_the_pose(size):
    pose = Pose(0.1, -0.2, 37.0, 1.1)
    back = pose_of(pose.matrix(size), size)
    assert (back.x, back.y, back.angle, back.scale) == pytest.approx((0.1, -0.2, 37.0, 1.1))


def test_a_turn_is_counter_clockwise_and_an_offset_right_and_down():
    photo = np.zeros((101, 101), np.uint8)
    photo[50, 80] = 255  # right of the middle
    turned = moved(photo, Pose(angle=90.0))
    assert np.unravel_index(turned.argmax(), turned.shape) == (20, 50)  # above it
    shifted = moved(photo, Pose(x=10 / 101, y=5 / 101))
    assert np.unravel_index(shifted.argmax(), shifted.shape) == (55, 90)


@pytest.mark.parametrize(("align", "motion"), [
    ("rigid", Pose(0.06, -0.04, 25.0)),
    pytest.param("shift", Pose(-0.11, 0.07), marks=pytest.mark.slow),
    pytest.param("rigid", Pose(0.02, 0.03, -170.0), marks=pytest.mark.slow),
    pytest.param("similarity", Pose(0.05, 0.02, -20.0, 0.92), marks=pytest.mark.slow)])
def test_a_known_motion_is_found_to_a_fraction_of_a_pixel(capsules, align, motion):
    reference = Reference(align, capsules[0])
    found = reference.register(moved(capsules[0], motion))
    assert 256 * np.hypot(found.x - motion.x, found.y - motion.y) < 0.3
    assert abs(found.angle - motion.angle) < 0.2 and abs(found.scale - motion.scale) < 0.005
    assert found.confidence > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("size", [(700, 700), (100, 100), (256, 200)])
def test_the_pose_is_the_same_of_a_photo_of_any_size(capsules, size):
    reference = Reference("rigid", capsules[0])
    photo = Image.fromarray(moved(capsules[0], Pose(0.05, 0.0, 10.0)))
    if size[0] == size[1]:
        photo = photo.resize(size, Image.Resampling.BICUBIC)
    else:  # a little cut away above and below
        photo = photo.crop((0, 28, 256, 228))
    found = reference.register(photo)
    assert (found.x, found.y, found.angle) == pytest.approx((0.05, 0, 10), abs=0.3)
    assert np.hypot(found.x - 0.05, found.y) < 0.003


def test_the_medoid_is_most_like_the_others(capsules):
    flat = [grey_copy(photo) for photo in capsules[:5]]
    small = np.array([cv2.resize(one, (64, 64), interpolation=cv2.INTER_AREA)[8:-8, 8:-8].ravel()
                      for one in flat])
    assert medoid(flat) == np.corrcoef(small).sum(1).argmax()


@pytest.mark.parametrize(("name", "align", "why"), [
    ("weave", "rigid", "the pattern repeats|correlate by"), ("tiles", "shift", "pattern repeats"),
    pytest.param("wood", "similarity", "correlate by 0", marks=pytest.mark.slow),
    pytest.param("gear", "shift", "choose align='rigid' if parts are turned",
                 marks=pytest.mark.slow)])
def test_what_has_no_pose_is_refused_in_a_sentence(name, align, why):
    with pytest.raises(InputError, match=f"no reference can be found.*({why})") as refused:
        learn_reference(parts(name, 6), {}, Reference(align))
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_tolerances_are_learned_or_given(capsules):
    learned = learn_reference(capsules, {}, Reference("rigid"))
    found = [learned.register(photo) for photo in capsules]
    assert learned.tolerance[0] == pytest.approx(1.5 * max(np.hypot(p.x, p.y) for p in found))
    assert learned.tolerance[1] == pytest.approx(1.5 * max(abs(p.angle) for p in found))
    assert not any(pose.misplaced for pose in found) and all(pose.used for pose in found)
    given = learn_reference(capsules, {}, Reference("rigid", given=(0.001,)))
    assert given.tolerance == (0.001, *learned.tolerance[1:])
    assert "% of the longer side off" in given.beyond(replace(found[0], x=0.01))


def test_what_lay_outside_is_the_references_in_the_photos_light(capsules):
    reference = Reference("shift", capsules[0])
    dark = moved(capsules[0], Pose(x=0.25)) // 2
    found = np.asarray(reference.aligned(Image.fromarray(dark), Pose(x=0.25)))
    gap = found[:, 200:].astype(int) - capsules[0][:, 200:] // 2  # was moved out of the photo
    assert abs(gap).mean() < 3
    assert reference.aligned(picture := Image.fromarray(dark), None) is picture


def test_a_moved_photo_is_good_where_it_was_a_defect_and_its_map_comes_back(model, capsules):
    generator = np.random.default_rng(0)
    photo = capsules[6].copy()
    photo[114:138, 78:102] = generator.integers(0, 256, (24, 24, 3))
    motion = Pose(0.08, 0.05, 12.0)
    plain = PatchCore(**SMALL).fit(capsules[:6])
    still = model.predict([capsules[6], moved(capsules[6], motion)]).scores
    found = model.predict([moved(photo, motion)])
    as_it_lies = plain.predict([capsules[6], moved(capsules[6], motion)]).scores
    assert still[1] / still[0] < 1.3 < as_it_lies[1] / as_it_lies[0]
    assert found.scores[0] > 1.3 * still.max()
    x, y = motion.matrix((256, 256)) @ (90, 126, 1)
    peak = np.unravel_index(found.maps[0].argmax(), (256, 256))
    assert np.hypot(peak[0] - y, peak[1] - x) < 8
    box = explain(model, moved(photo, motion)).box
    assert box[0] - 6 < x < box[2] + 6 and box[1] - 6 < y < box[3] + 6
    mask = np.zeros((256, 256), bool)
    mask[114:138, 78:102] = True
    there = moved(mask.astype(np.uint8), motion) > 0
    seen = found.transform.mask(there, found.placements[0].moved)
    peak = np.unravel_index(found.model_maps[0].argmax(), (96, 96))
    assert cv2.dilate(seen.astype(np.uint8), np.ones((5, 5)))[peak]


def test_what_is_laid_back_has_the_lowest_value_where_nothing_was_seen():
    placement = replace(ImageTransform(resize=64).placement((64, 64)), pose=Pose(x=0.25))
    back = to_photo(np.full((64, 64), 2.0, np.float32) + np.eye(64, dtype=np.float32), placement)
    assert back[:, :15].max() == 2.0 and back[5, 21] == 3.0
    unused = replace(placement, pose=Pose(x=0.25, used=False))
    assert to_photo(np.eye(64, dtype=np.float32), unused)[5, 5] == 1


def test_an_uncertain_pose_is_said_and_not_used(model, capsules):
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    with pytest.warns(InputWarning, match="its pose is uncertain"):
        found = model.predict([noise, capsules[7]])
    assert not found.poses[0].used and found.poses[1].used
    assert found.placements[0].moved is None and found.notes[0][0] == 0
    assert found.maps[0].shape == (120, 90)


@pytest.mark.slow
def test_views_are_made_of_the_aligned_photo(model, capsules):
    photo = moved(capsules[6], Pose(0.1, 0, 20.0))
    batches = load_batches([View(photo, "flips", number) for number in range(3)],
                           model.transform_, batch_size=3, strict=True)
    first, flipped, _ = next(batches).pixels.numpy()
    np.testing.assert_array_equal(first, model.transform_.pixels(Image.fromarray(photo)))
    assert abs(flipped[:, ::-1].astype(int) - first).mean() < 2


@pytest.mark.slow
def test_a_saved_model_aligns_as_before_and_a_changed_one_is_refused(model, capsules, tmp_path):
    model.save(tmp_path / "m")
    again = PatchCore.load(tmp_path / "m")
    photos = [moved(capsules[7], Pose(0.05, 0, 9.0))]
    np.testing.assert_array_equal(again.predict(photos).scores, model.predict(photos).scores)
    assert again.fitted_.reference.settings == model.fitted_.reference.settings
    record, tensors = storage.read_model(tmp_path / "m")
    assert record["format"] >= 4
    for change in ({"reference": None}, {"reference": record["reference"] | {"least": 7}},
                   {"reference": record["reference"] | {"align": "shift"}}):
        kept = {name: one for name, one in tensors.items()
                if change["reference"] or name != "reference"}
        storage.write_model(tmp_path / "m", record | change, kept)
        with pytest.raises(InputError, match="reference is"):
            PatchCore.load(tmp_path / "m")
    large = tensors["reference"].new_zeros(600, 4, 3)
    storage.write_model(tmp_path / "m", record, tensors | {"reference": large})
    with pytest.raises(InputError, match="600"):
        PatchCore.load(tmp_path / "m")


@pytest.mark.slow
def test_update_keeps_the_reference_and_fit_learns_it_anew(model, capsules):
    grown = PatchCore(**SMALL, align="rigid").fit(capsules[:4])
    known = grown.fitted_.reference
    grown.update([moved(capsules[5], Pose(0.1, 0, 15.0)), capsules[6]])
    assert grown.fitted_.reference is known and grown.images_ == 6
    grown.set_params(align="similarity")
    with pytest.raises(InputError, match="align was 'rigid'"):
        grown.predict(capsules[7])
    assert grown.fit(capsules[:4]).fitted_.reference.align == "similarity"
    grown.set_params(align=None)
    assert grown.fit(capsules[:3]).fitted_.reference is None
    assert grown.predict(capsules[7]).poses == [None]


@pytest.mark.slow
def test_features_extracted_before_say_the_same(model, capsules):
    photos = [moved(photo, Pose(0.04, 0.02, 8.0)) for photo in capsules[6:]]
    np.testing.assert_allclose(model.predict_features(model.extract(photos)).scores,
                               model.predict(photos).scores, rtol=1e-5)


@pytest.mark.slow
def test_tiles_are_cut_from_the_aligned_photo(capsules):
    tiled = PatchCore(tiles=128, overlap=32, coreset_ratio=0.05, map_kernel_size=9, map_sigma=1.5,
                      align="rigid").fit(capsules[:4])
    photo = capsules[6].copy()
    photo[120:132, 84:96] = (0, 255, 0)
    motion = Pose(0.05, 0.03, 10.0)
    found = tiled.predict([moved(photo, motion)])
    x, y = motion.matrix((256, 256)) @ (90, 126, 1)
    peak = np.unravel_index(found.maps[0].argmax(), (256, 256))
    assert np.hypot(peak[0] - y, peak[1] - x) < 8 and found.poses[0].used


def test_misplaced_is_a_verdict_of_its_own(model, capsules, tmp_path):
    assert [verdict(score, 1.0, "off") for score in (0.5, 2)] == ["misplaced", "defective"]
    assert (verdict(0.5, None, "off"), verdict(0.5, 1.0)) == ("misplaced", "good")
    for name, pose in (("still", Pose()), ("away", Pose(0.1, -0.08)), ("turned", Pose(angle=40.0))):
        Image.fromarray(moved(capsules[0], pose)).save(tmp_path / f"{name}.png")
    found = inspect_images(model, [tmp_path], tmp_path / "found", threshold=1e6)
    assert found.record["counts"]["misplaced"] == 2 and "2 misplaced" in str(found)
    with open(tmp_path / "found" / "scores.csv", newline="") as lines:
        rows = {row["image"]: row for row in csv.DictReader(lines)}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "still.png": "good", "away.png": "misplaced", "turned.png": "misplaced"}
    assert float(rows["turned.png"]["angle"]) - float(rows["still.png"]["angle"]) == pytest.approx(
        40, abs=0.5)
    assert "longer side off" in rows["away.png"]["pose"] and rows["away.png"]["overlay"]
    assert rows["still.png"]["pose"] == "in place"


def test_opencv_is_asked_for_by_name(monkeypatch, capsules):
    monkeypatch.setattr(poses, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="run: pip install opencv-python-headless"):
        PatchCore(**SMALL, align="shift").fit(capsules[:2])


@pytest.mark.parametrize(("options", "why"), [
    ({"align": "affine"}, "unknown align 'affine'"),
    ({"align_tolerance": (0.1,)}, "means nothing without align"),
    ({"align": "rigid", "align_tolerance": (0.1, -1)}, "one to three numbers"),
    ({"align": "rigid", "align_tolerance": ()}, "one to three numbers")])
def test_options_that_mean_nothing_are_refused(options, why):
    with pytest.raises(InputError, match=why):
        PatchCore(**options).prepare()


@pytest.mark.slow
def test_at_the_command_line(drawn, tmp_path, capsys):
    assert main(["fit", str(drawn / "tiles"), "--align", "rigid", "--output",
                 str(tmp_path / "m")]) == 2
    assert "no reference can be found" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_runs_sweeps_and_reports_know_the_pose(drawn, tmp_path, capsys):
    options = SMALL | {"align": "rigid", "align_tolerance": (0.001, 60.0)}
    alone = run(str(drawn), "capsule", options=options, output=tmp_path / "a", overlays=4)
    rows = records.read_scores(alone.folder)
    assert alone.record["decision"]["misplaced"] == sum(
        "longer side off" in row["pose"] for row in rows) > 0
    (swept,) = run_sweep([RunPlan(str(drawn), "capsule", options=options)], output=tmp_path / "b")
    assert swept.folder.relative_to(tmp_path / "b") == alone.folder.relative_to(tmp_path / "a")
    again = records.read_scores(swept.folder)
    assert [row["pose"] for row in again] == [row["pose"] for row in rows]
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in rows],
                                                            rel=1e-4)
    assert main(["report", str(tmp_path / "a")]) == 0
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "times as large, confidence" in page and "longer side off" in page


@pytest.mark.slow
def test_the_bench_page_and_exports_say_it(model, capsules, tmp_path, small_network):
    pytest.importorskip("flask")
    pytest.importorskip("onnxruntime")
    from indad.deploy import onnx_predict, serve
    from indad.deploy.export import export_onnx

    answer = serve.judge(model, Image.fromarray(moved(capsules[7], Pose(0.2, 0.0))))
    assert "longer side off" in answer["misplaced"] and answer["pose"]["confidence"] > 0.8
    json.dumps({name: answer[name] for name in ("pose", "misplaced", "notes")})
    small = PatchCore(**SMALL | small_network, align="rigid").fit(capsules[:5])
    shifted = [moved(capsules[6], Pose(0.05, 0, 10.0)), capsules[7]]
    assert export_onnx(small, tmp_path / "m.onnx", check_images=shifted).holds
    with pytest.raises(SystemExit, match="fitted with align"):
        onnx_predict.main(str(tmp_path / "m.onnx"), "photo.png")


@pytest.mark.slow
def test_real_parts_shift_and_stay_good(hazelnut):
    train, test = load_dataset(str(hazelnut / "hazelnut_reduced"))
    photos = [np.asarray(Image.open(item.path).convert("RGB")) for item in list(train)[:12]]
    reference = learn_reference(photos, {}, Reference("shift"))
    before, after = (reference.register(moved(photos[3], Pose(x=x))) for x in (0.0, 0.08))
    assert after.x - before.x == pytest.approx(0.08, abs=0.004) and after.used


def test_nothing_of_opencv_is_needed_without(monkeypatch, capsules):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(poses, "find_spec", lambda name: None)
    assert PatchCore(**SMALL).fit(capsules[:2]).predict(capsules[2]).poses == [None]


@pytest.mark.slow
def test_a_region_lies_where_the_reference_has_it(capsules):
    """Drawn around the capsule: it goes with the part, and a mark outside it is not seen."""
    region = [[(0.02, 0.2), (0.98, 0.2), (0.98, 0.8), (0.02, 0.8)]]
    looking = PatchCore(**SMALL, align="rigid", region=region).fit(capsules[:6])
    motion = Pose(0.04, 0.05, 14.0)
    photo = moved(capsules[6], motion)
    outside = photo.copy()
    x, y = (motion.matrix((256, 256)) @ (128, 10, 1)).astype(int)  # beyond the margin
    outside[max(y - 5, 0):y + 5, x - 5:x + 5] = (255, 0, 0)
    found = looking.predict([photo, outside])
    assert found.scores[1] == pytest.approx(found.scores[0], rel=0.02)
    seen = found.inside(0, "original")
    assert not seen[y, x] and seen[128, 128]
    inner = np.argwhere(found.inside(0))
    assert inner[:, 0].min() == pytest.approx(0.2 * 96, abs=1)
