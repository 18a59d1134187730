"""Everything on a GPU: a real one where there is one, else one that is pretended."""

import threading
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import recorder
import torch
from cases import few
from pretend_gpu import DeviceMix, pretend_gpu

from indad import PatchCore, load_dataset, patchcore
from indad.deploy.explanation import explain
from indad.deploy.export import export_onnx, run_onnx
from indad.deploy.inspection import inspect_images
from indad.engine import machine
from indad.engine.precision import in_float32, products
from indad.engine.provenance import kept
from indad.errors import InputError
from indad.features import PatchNetwork, patch_features
from indad.learned import learning, scoring
from indad.learned.fitted import Fitted
from indad.presets import EXTRACTION_OPTIONS, NETWORK_OPTIONS, PRESETS

REAL = machine.accelerator()


@pytest.fixture
def gpu():
    with nullcontext() if REAL else pretend_gpu():
        yield machine.accelerator()


@pytest.fixture(scope="module", autouse=True)
def networks_loaded_once():
    """A network takes longer to load than a few small images to learn; nothing changes it."""
    original, loaded = patchcore.load_network, {}

    def load_network(options):
        how = dict(precision=options["precision"], describe_maps=partial(
            patch_features, how=options["patch_features"],
            balance_images=options["balance_images"]), options=kept(options))
        wanted = machine.pick_device(options["device"])
        key = str({name: options[name] for name in NETWORK_OPTIONS
                   if name not in ("patch_features", "balance_images", "precision")}
                  | {"device": wanted})
        if key not in loaded:
            loaded[key] = original(options)
        return replace(loaded[key], **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patchcore, "load_network", load_network)
        yield


@pytest.fixture(scope="module")
def images(drawn):
    train, test = load_dataset(drawn, "tiles")
    return list(train)[:6], list(test)


def fitted(images, **options) -> PatchCore:
    return PatchCore(**dict(resize=64, batch_size=4) | options).fit(images[0])


@pytest.fixture(scope="module")
def extracted(images):
    """Features of training and test images, once for all options that do not change them."""
    known = {}

    def extract(model, *, training):
        key = str([getattr(model, name) for name in EXTRACTION_OPTIONS if name != "device"]
                  + [model.prepare().device, training])
        if key not in known:
            known[key] = model.extract(images[not training], training=training)
        return known[key]

    return extract


QUICK = ("default", "reserve", "projection-sparse", "in-a-file", "scores-reweighted")


@pytest.mark.parametrize("case", few([*recorder.OPTIONS, *PRESETS], QUICK))
def test_every_option_fits_on_a_gpu_and_is_loaded_on_a_cpu(gpu, extracted, tmp_path, case):
    """The same bank: scores within 1e-5 of their size, on the mean over pixels of maps too."""
    options = recorder.OPTIONS.get(case) or PRESETS[case] | dict(resize=64, crop=None)
    model = PatchCore(**dict(resize=64) | options)
    model.fit_features(extracted(model, training=True))
    assert model.device_ == model.memory_bank_.device == gpu
    prediction = model.predict_features(extracted(model, training=False))
    model.save(tmp_path / "model")
    if options.get("precision"):
        return
    loaded = PatchCore.load(tmp_path / "model", device="cpu")
    there = loaded.predict_features(extracted(loaded, training=False))
    np.testing.assert_allclose(prediction.scores, there.scores, rtol=1e-5)
    np.testing.assert_allclose(prediction.model_maps, there.model_maps, rtol=1e-4,
                               atol=1e-5 * there.model_maps.max())


@pytest.mark.parametrize("reserve", few([0.1, 0.0], 1))
@pytest.mark.parametrize("calibration", few(["folds", "leave-one-out", "held-out"], 1))
def test_a_bank_grows_on_a_gpu(gpu, images, calibration, reserve):
    model = fitted(images, calibration=calibration, reserve=reserve)
    before, known = len(model.memory_bank_), len(model.calibration_scores_)
    model.update(images[1])
    assert len(model.memory_bank_) > before and len(model.calibration_scores_) > known
    assert model.memory_bank_.device == model.reserve_.device == gpu
    assert np.isfinite(model.predict(images[1]).scores).all()


@pytest.mark.slow
def test_a_model_moves_from_one_device_to_the_other(gpu, images):
    model = fitted(images, device="cpu")
    here = model.predict(images[1]).scores
    extracted = model.extract(images[1])
    model.set_params(device=str(gpu))
    np.testing.assert_allclose(model.predict(images[1]).scores, here, rtol=1e-5)
    np.testing.assert_allclose(model.predict_features(extracted).scores, here, rtol=1e-5)
    assert model.memory_bank_.device == gpu
    features = model.extract(images[0])
    assert features.rows.device == gpu
    model.set_params(device="cpu")
    assert model.fit_features(features).memory_bank_.device.type == "cpu"
    np.testing.assert_allclose(model.predict(images[1]).scores, here, rtol=1e-4)


@pytest.mark.slow
def test_features_too_many_for_the_gpu_stay_in_memory(images):
    with pretend_gpu(memory=6 * 64 * 152 * 4) as memory:  # as many bytes as the features take
        model = fitted(images)
        assert memory is None and model.extract(images[0]).rows.device.type == "cpu"
        assert model.memory_bank_.device.type == "cuda"
        small = model.predict(images[1])
    with pretend_gpu():
        whole = fitted(images)
        assert whole.extract(images[0]).rows.device.type == "cuda"
        np.testing.assert_allclose(whole.predict(images[1]).scores, small.scores, rtol=1e-4)


@pytest.mark.slow
def test_a_model_on_a_gpu_is_explained_exported_and_inspects_a_folder(gpu, images, tmp_path):
    model = fitted(images, image_score="reweighted")
    prediction = model.predict(images[1])
    match = explain(model, images[1][0])
    worst = float(prediction.model_maps[0].max())
    assert match.distance == pytest.approx(worst, rel=0.5) and match.train_image < 6
    scores, maps = model.module()(torch.rand(2, 3, 64, 64).to(gpu))
    assert scores.device == maps.device == gpu
    inspect_images(model, [images[1][0].path.parent], tmp_path / "found", overlays="all")
    assert (tmp_path / "found" / "scores.csv").is_file()
    if REAL is None:  # the exporter traces with tensors of its own, which are no pretended ones
        return
    export_onnx(model, tmp_path / "model.onnx", check_images=images[1])
    pixels = np.stack([model.transform_.pixels(one.as_rgb()) for one in images[1]])
    np.testing.assert_allclose(run_onnx(tmp_path / "model.onnx", pixels)[0], prediction.scores,
                               rtol=1e-4)


@pytest.mark.parametrize("owner, name, wrong", [
    (Fitted, "scaled", lambda fitted, rows: rows.cpu() * fitted.feature_scale),
    (PatchNetwork, "__call__",
     lambda network, pixels: network.extractor(network.transform.normalize(pixels))[0]),
    (scoring, "as_array", lambda tensor: tensor.numpy()),
    (learning, "on_device", lambda rows, device: rows.cpu().add_(0 * rows)),
])
def test_a_planted_fault_is_found(images, monkeypatch, owner, name, wrong):
    model = fitted(images)
    monkeypatch.setattr(owner, name, wrong)
    with pretend_gpu(), pytest.raises((RuntimeError, TypeError), match="device"):
        PatchCore(**model.get_params()).fit(images[0]).predict(images[1])


def test_the_pretended_gpu_refuses_what_cuda_refuses():
    with pretend_gpu():
        there, here = torch.arange(6.0, device="cuda").view(2, 3), torch.ones(2, 3)
        for mixed in (lambda: there + here, lambda: here @ there.T, lambda: here[there > 1],
                      lambda: torch.cat([here, there]), lambda: here.add_(there),
                      lambda: there.index_put_((torch.tensor([0]),), here[0]),
                      lambda: torch.nn.Linear(3, 2)(there)):
            with pytest.raises(DeviceMix, match="device"):
                mixed()
        for unread in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="can't convert cuda:0"):
                unread()
        assert torch.equal((there + 1).cpu(), torch.arange(1.0, 7).view(2, 3))
        assert there[torch.tensor([1])].device == there.new_zeros(2).device == machine.accelerator()
        assert (there * torch.tensor(2.0)).sum().item() == 30.0  # a number may lie anywhere
        assert torch.nn.Linear(3, 2).to("cuda")(there).shape == (2, 2)
    assert machine.accelerator() == REAL


def test_names_of_devices(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert machine.pick_device("auto").type == machine.pick_device("cpu:0").type == "cpu"
    for name in ("cuda", "mps", "xpu:0", "gpu", "cuda:x", ""):
        with pytest.raises(InputError, match=f"device is '{name}'.*choose auto or cpu$"):
            machine.pick_device(name)


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_accelerators_by_any_name(monkeypatch, kind):
    for name, answer in (("is_available", True), ("current_device_index", 1),
                         ("current_accelerator", torch.device(kind))):
        monkeypatch.setattr(torch.accelerator, name, lambda answer=answer: answer)
    monkeypatch.setattr(getattr(torch, kind), "device_count", lambda: 2)
    assert machine.pick_device("auto") == machine.pick_device(kind) == torch.device(kind, 1)
    assert machine.pick_device(f"{kind}:0") == torch.device(kind, 0)
    assert machine.pick_device("cpu") == torch.device("cpu")
    for name in (f"{kind}:2", "tpu"):
        with pytest.raises(InputError, match=f"{name}.*choose auto, cpu, {kind}:0 or {kind}:1$"):
            machine.pick_device(name)


before_2_9 = pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"),
                                reason="torch before 2.9")


def settings() -> list:
    backends = torch.backends
    return [place.fp32_precision for place in (
        backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.conv,
        backends.mkldnn.matmul)]


@before_2_9
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_float32_is_float32_whatever_torch_is_set_to(before):
    torch.set_float32_matmul_precision(before)
    try:
        known = settings()
        with products("float32"), products("float32"):
            assert set(settings()) <= {"ieee", "none"}
        with products("tf32"):
            assert set(settings()) == {"tf32"}
        assert settings() == known and torch.get_float32_matmul_precision() == before
        assert torch.backends.cudnn.allow_tf32
        with pytest.raises(ZeroDivisionError), products("float32"):
            1 / 0  # noqa: B018
        assert settings() == known
    finally:
        torch.set_float32_matmul_precision("highest")


def test_one_precision_inside_of_another_is_refused_and_of_itself_is_not():
    with (products("float32"), products("float32"),
          pytest.raises(RuntimeError, match="'tf32'. inside of products.'float32'")):
        products("tf32").__enter__()
    with products("tf32"):
        pass


@before_2_9
def test_threads_of_another_precision_wait():
    entered, done = [], threading.Event()

    def other():
        with products("tf32"):
            entered.append(settings()[0])
            done.set()

    with products("float32"):
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.05) and not entered
    thread.join()
    assert entered == ["tf32"]


@pytest.mark.parametrize("precision", few(["tf32", "float16", "bfloat16"], 1))
def test_precisions_change_scores_a_little(images, precision):
    exact = fitted(images, device="cpu")
    near = fitted(images, device="cpu").set_params(precision=precision)
    first, second = (model.predict(images[1]).scores for model in (exact, near))
    np.testing.assert_allclose(first, second, rtol={"tf32": 2e-3, "float16": 2e-3}.get(
        precision, 3e-2))
    assert (first != second).any() or precision == "tf32"  # which few CPUs have


@before_2_9
def test_what_multiplies_does_so_in_float32(images, monkeypatch):
    """Selection, search, maps, projection and network are all inside, by whatever door."""
    torch.set_float32_matmul_precision("high")
    seen = {}

    def watched(name):
        original = getattr(torch, name)

        def function(*args, **kwargs):
            seen.setdefault(name, set()).add(torch.backends.cuda.matmul.fp32_precision)
            return original(*args, **kwargs)

        return function

    for name in ("addmm", "conv2d", "cdist"):
        monkeypatch.setattr(torch, name, watched(name))
    try:
        fitted(images, device="cpu", projection="linear", calibration="folds").predict(images[1])
        assert seen and all(found <= {"ieee", "none"} for found in seen.values()), seen
    finally:
        torch.set_float32_matmul_precision("highest")
    assert in_float32(lambda: 3)() == 3
