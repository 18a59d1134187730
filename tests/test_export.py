"""The ONNX file says what the model says, needs no torch, and is not kept if it does not."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import few
from learned_state import changed, tensors_of
from PIL import Image

from indad import PatchCore
from indad.calibration import conformal_threshold
from indad.cli.commands import main
from indad.data.images import ImageTransform, read_image
from indad.deploy import export, onnx_predict
from indad.deploy.export import Graph, export_onnx, run_onnx
from indad.deploy.onnx_predict import open_photo, prepare
from indad.engine.batches import load_batches
from indad.engine.search import MemoryIndex
from indad.errors import InputError
from indad.learned import module
from indad.learned.module import SplitIndex

sys.path.insert(0, str(Path(__file__).parent / "fixtures"))
from make_format_1 import pictures  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("shared_backbones")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Eight photos of different shapes, two of them with a grey spot, as files."""
    folder = tmp_path_factory.mktemp("photos")
    for i, picture in enumerate([*pictures(), *pictures()[:2]]):
        if i > 5:
            picture = picture.copy()
            picture[20:36, 24:44] = 128
        Image.fromarray(picture).resize((96 + 7 * i, 120 - 9 * i)).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def model(small_network, photos):
    """With a crop, so that preparing a photo takes both steps. A small network, because torch's
    exporter takes longer the larger it is: the packaged ones are among the variants."""
    return PatchCore(resize=80, crop=64, coreset_ratio=0.4, device="cpu",
                     **small_network).fit(photos[:5])


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "plaid.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SPLIT", 50)  # 128 bank rows: two splits and a part
        parity = export_onnx(model, file)
    assert parity.images_from == "training"
    assert parity.images == 5
    assert parity.score_difference <= 1e-4
    return file


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("split", [7, 20, 1000])
def test_the_split_search_equals_the_memory_index(monkeypatch, k, split):
    monkeypatch.setattr(module, "SPLIT", split)
    bank = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    queries = torch.cat([torch.randn(30, 5), bank[:3]])
    wanted = MemoryIndex(bank, method="matmul").search(queries, k)
    found = SplitIndex(bank, bank.square().sum(1) / 2).search(queries, k)
    torch.testing.assert_close(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert (found[0][30:, 0] == 0).all()  # subtraction, not the product


VARIANTS = [
    dict(),
    dict(image_score="reweighted", num_neighbors=3, patch_features="tokens",
         normalization="imagenet"),
    dict(image_score="top", patch_features="adaptive", balance_layers=False, squared=True),
    dict(image_score="peak", patch_features="unfolded", map_border="reflect", map_kernel_size=5,
         scales=(1.0, 0.5)),
    dict(image_score="ind_knn_ad", patch_features="unpadded", map_upsampling="nearest",
         map_border="zero"),
    dict(patch_features="concatenate", backbone="efficientnet_lite0+efficientnet_lite1",
         balance_images=False),
]


def variant(options: dict) -> PatchCore:
    return PatchCore(resize=64, coreset_ratio=0.3, device="cpu", **options).fit(pictures()[:4])


@pytest.mark.parametrize("options", few(VARIANTS[:5], 1), ids=str)
def test_the_graph_equals_the_model_in_all_variants(options):
    model = variant(options)
    wanted = model.predict(pictures())
    graph = Graph(model, torch.float32, float(np.median(wanted.scores)))
    with torch.no_grad():
        scores, maps, verdicts = graph(torch.from_numpy(np.stack(pictures())))
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-4)
    np.testing.assert_allclose(maps, wanted.model_maps, rtol=1e-3, atol=1e-3 * float(maps.max()))
    assert verdicts.tolist() == (wanted.scores > np.median(wanted.scores)).tolist()


def assert_same(model: PatchCore, file: Path, sources: list, tolerance: float = 1e-3) -> None:
    wanted = model.predict(sources)
    batch, = load_batches(sources, model.transform_, batch_size=99, strict=True)
    scores, maps, verdicts = run_onnx(file, batch.pixels.numpy())
    np.testing.assert_allclose(scores, wanted.scores, rtol=tolerance)
    np.testing.assert_allclose(maps, wanted.model_maps, atol=tolerance * wanted.model_maps.max())
    threshold = conformal_threshold(model.calibration_scores_, 0.05)
    assert verdicts.tolist() == (wanted.scores > threshold).tolist()


@pytest.mark.slow
def test_the_file_equals_the_model_for_any_number_of_images(model, exported, photos):
    assert_same(model, exported, photos, tolerance=1e-4)
    assert_same(model, exported, photos[:1], tolerance=1e-4)
    threshold = conformal_threshold(model.calibration_scores_, 0.05)
    verdicts = model.predict(photos).scores > threshold
    assert verdicts.any() and not verdicts.all()  # or their comparison would say nothing


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS[1:], ids=str)
def test_files_of_all_variants_equal_their_models(options, tmp_path, small_network):
    """torch's exporter takes longer the larger a network is, and variants lie behind it."""
    model = variant(small_network | options if "backbone" not in options else options)
    export_onnx(model, tmp_path / "a.onnx", check_images=pictures()[4:])
    assert_same(model, tmp_path / "a.onnx", pictures())


@pytest.mark.slow
def test_a_float16_bank_takes_half_the_room(model, exported, photos, tmp_path, monkeypatch):
    import onnx

    monkeypatch.setattr(module, "SPLIT", 50)  # as the other file has it
    half = export_onnx(model, tmp_path / "half.onnx", bank_precision="float16",
                       check_images=photos[5:])
    assert half.images_from == "given"
    assert_same(model, tmp_path / "half.onnx", photos[5:])
    whole = exported.stat().st_size
    assert whole - half.size == pytest.approx(model.memory_bank_.numel() * 2, rel=0.1)
    stored = onnx.load(tmp_path / "half.onnx").graph.initializer
    kinds = {tuple(tensor.dims): tensor.data_type for tensor in stored}
    assert kinds[tuple(model.memory_bank_.shape)] == onnx.TensorProto.FLOAT16


@pytest.mark.slow
def test_pictures_of_any_size_as_floats(model, photos, tmp_path):
    """Against a model of that size with the same memory bank."""
    import onnxruntime

    file = tmp_path / "any.onnx"
    parity = export_onnx(model, file, pixels="float32", dynamic_size=True, check_images=photos)
    assert parity.sizes == [(64, 64), (96, 128)]
    image, = onnxruntime.InferenceSession(file).get_inputs()
    assert image.type == "tensor(float)" and image.shape[3] == 3
    assert not any(isinstance(side, int) for side in image.shape[:3])
    for size in ((64, 64), (160, 96), (32, 64)):
        other = PatchCore(**model.options | {"resize": size, "crop": None})
        other.fitted_ = replace(model.fitted_, size=size, options=dict(other.options))
        wanted = other.predict(photos)
        pixels = np.stack([other.transform_.pixels(read_image(photo)) for photo in photos])
        scores, maps, _ = run_onnx(file, pixels.astype(np.float32) / 255)
        np.testing.assert_allclose(scores, wanted.scores, rtol=1e-4)
        np.testing.assert_allclose(maps, wanted.model_maps, atol=1e-4 * wanted.model_maps.max())
    script = REPOSITORY / "indad/deploy/onnx_predict.py"
    lines = subprocess.run([sys.executable, script, file, *photos], capture_output=True,
                           text=True).stdout.splitlines()
    scores = [float(line.split("score ")[1].split()[0]) for line in lines]
    np.testing.assert_allclose(scores, model.predict(photos).scores, rtol=1e-4)


@pytest.mark.slow
def test_metadata_and_names(model, exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported)
    assert [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()] == [
        ("image", "tensor(uint8)", [64, 64, 3])]
    assert [o.name for o in session.get_outputs()] == ["score", "map", "verdict"]
    about = json.loads(session.get_modelmeta().custom_metadata_map["indad"])
    assert about["threshold"] == conformal_threshold(model.calibration_scores_, 0.05)
    assert about["map_threshold"] == conformal_threshold(model.calibration_peaks_, 0.05)
    assert about["size"] == [64, 64]
    assert (about["preprocessing"]["resize"], about["preprocessing"]["crop"]) == (80, 64)


WITHOUT_TORCH = """
import runpy, sys
for name in ("torch", "torchvision", "timm", "scipy", "sklearn", "indad"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_the_example_runs_where_torch_cannot_be_imported(model, exported, photos, tmp_path):
    script = shutil.copy(REPOSITORY / "indad" / "deploy" / "onnx_predict.py", tmp_path)  # alone
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, script, exported, *photos],
                         capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    wanted = model.predict(photos)
    threshold = conformal_threshold(model.calibration_scores_, 0.05)
    lines = run.stdout.splitlines()
    assert len(lines) == len(photos)
    for line, photo, score in zip(lines, photos, wanted.scores, strict=True):
        assert line.startswith(f"{photo}: {'defective' if score > threshold else 'good'}, ")
        assert float(line.split("score ")[1].split()[0]) == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("options", [dict(resize=(40, 56)), dict(resize=50),
                                     dict(resize=70, crop=61),
                                     dict(resize=(64, 80), crop=32)], ids=str)
def test_the_example_prepares_photos_as_the_package_does(options, photos):
    transform = ImageTransform(**options)
    about = json.loads(json.dumps(dict(resize=transform.resize, crop=transform.crop)))
    for photo in photos:
        assert np.array_equal(prepare(Image.open(photo), about),
                              transform.pixels(read_image(photo)))


def picture_of_mode(mode: str) -> Image.Image:
    """12 x 20 random pixels; those of more than 8 bits stay below 4,096, or 1."""
    generator, size = np.random.default_rng(0), (20, 12)
    if mode == "F":
        return Image.fromarray(generator.random((12, 20)).astype(np.float32))
    if mode[0] == "I":
        kind = {"I": "<i4", "I;16B": ">u2"}.get(mode, "<u2")
        return Image.frombytes(mode, size, generator.integers(0, 4096, 240).astype(kind).tobytes())
    if mode in ("1", "P"):
        return Image.fromarray(generator.integers(0, 256, (12, 20), np.uint8)).convert(mode)
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, size, generator.integers(0, 256, 240 * bands, np.uint8).tobytes())


MODES = ("1", "L", "P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB",
         "HSV", "I", "F", "I;16", "I;16B", "I;16L")


@pytest.mark.parametrize("format", few(["BMP", "PNG", "JPEG", "TIFF", "WEBP", "GIF", "PPM",
                                        "JPEG2000", "AVIF"], ["BMP", "PNG", "JPEG", "TIFF"]))
@pytest.mark.parametrize("levels", [{}, {"integers": (0, 4095)}, {"floats": (-1, 2)}], ids=str)
def test_the_example_reads_every_mode_that_pillow_writes_as_the_package_does(
        tmp_path, format, levels):
    """Upright or not, by the levels of a model or without; unreadable for both or for neither."""
    transform, written = ImageTransform(resize=(12, 20)), 0
    about = json.loads(json.dumps(dict(resize=transform.resize, crop=None, levels=levels)))
    for mode, turn in product(MODES, (1, 6)):
        exif = Image.Exif()
        exif[0x0112] = turn
        file = tmp_path / f"{mode} {turn}"
        try:
            picture_of_mode(mode).save(file, format, exif=exif)
        except (OSError, KeyError, ValueError, AttributeError):
            continue
        written += 1
        try:
            wanted = transform.pixels(read_image(file, levels))
        except InputError as error:
            wanted = str(error)
        try:
            found = prepare(open_photo(file), about)
        except Exception as error:
            assert isinstance(wanted, str) and str(error) in wanted, (mode, turn)
            # Pillow has no way from LAB to RGB, and before 12 not back from its own YCbCr in TIFF.
            assert mode == "LAB" or (mode, format) == ("YCbCr", "TIFF")
            continue
        assert np.array_equal(found, wanted), (mode, turn)
    assert written >= 6


def test_the_example_has_the_package_s_way_to_read_to_the_letter():
    ours = (REPOSITORY / "indad/data/pixels.py").read_text(encoding="utf-8")
    example = (REPOSITORY / "indad/deploy/onnx_predict.py").read_text(encoding="utf-8")
    for begin, end in (("# What Pillow may", "def open_photo"), ("def open_photo", None)):
        part = ours[ours.index(begin):ours.index(end) if end else None].strip()
        assert part in example


@pytest.mark.slow
def test_the_example_goes_on_after_what_it_cannot_read(exported, photos, tmp_path, capsys):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(photos[0].read_bytes()[:200])
    (tmp_path / "text.jpg").write_text("no photo\n")
    Image.new("1", (8200, 8200)).save(tmp_path / "large.png")
    bad = [tmp_path / name for name in ("empty.png", "cut.png", "text.jpg", "large.png", "none")]
    onnx_predict.main(str(exported), *map(str, [*bad, photos[0], tmp_path, photos[1]]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == [
        *["cannot"] * 5, "good,", "cannot", "good,"]
    for line, file in zip(lines, bad, strict=False):
        assert line.startswith(f"{file}: cannot be read (") and line.endswith(")")


@pytest.mark.slow
def test_the_example_reads_deep_photos_by_the_model_s_levels(tmp_path, capsys,
                                                                  small_network):
    """12 bits in 16: read otherwise, all of them were nearly black, and flagged."""
    files = []
    for number, picture in enumerate(pictures()):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(picture[..., 0].astype(np.uint16) * 16).save(files[-1])
    model = PatchCore(resize=64, coreset_ratio=0.3, device="cpu", **small_network).fit(files[:5])
    assert model.levels_ == {"integers": (0, 4095)}
    export_onnx(model, tmp_path / "a.onnx")
    onnx_predict.main(str(tmp_path / "a.onnx"), *map(str, files))
    scores = [float(line.split("score ")[1].split()[0])
              for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(scores, model.predict(files).scores, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("what, factor", [("score", 1.002), ("score", 100), ("map", 1.002),
                                          ("verdict", None)])
def test_a_file_that_says_something_else_is_not_kept(model, exported, tmp_path, monkeypatch, what,
                                                     factor):
    monkeypatch.setattr(export, "_write", lambda graph, file, *about: shutil.copy(exported, file))

    def off(file, pixels):
        scores, maps, verdicts = run_onnx(file, pixels)
        return (scores * factor if what == "score" else scores,
                maps * factor if what == "map" else maps,
                ~verdicts if what == "verdict" else verdicts)

    (tmp_path / "a.onnx").write_text("an older one")
    assert export_onnx(model, tmp_path / "b.onnx").holds
    monkeypatch.setattr(export, "run_onnx", off)
    words = "5 verdicts" if what == "verdict" else "2.0e-03|9.9e"
    with pytest.raises(InputError, match=words) as e:
        export_onnx(model, tmp_path / "a.onnx")
    assert "was not kept" in str(e.value) and "\n" not in str(e.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "an older one"


def test_what_cannot_be_exported_is_said_in_one_line(model, tmp_path, monkeypatch):
    def refused(words, *arguments, **options):
        with pytest.raises(InputError, match=words) as caught:
            export_onnx(*arguments, **options)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    file = tmp_path / "a.onnx"
    refused("call fit", PatchCore(), file)
    refused(r"ends in \.onnx", model, tmp_path / "a.pt")
    refused("unknown bank_precision 'int8'", model, file, bank_precision="int8")
    refused("unknown pixels 'float16'", model, file, pixels="float16")
    refused("leave check_images out", model, file, check_images=[])
    odd = PatchCore(resize=50, coreset="random").fit(pictures()[:3])
    refused(r"multiple of 32, and this one's is \(50, 50\)", odd, file, dynamic_size=True)
    refused("no threshold", PatchCore(resize=64, coreset="random").fit(pictures()[:1]), file)
    with monkeypatch.context() as patch:
        patch.setattr(export, "LARGEST", 1000)
        refused("smaller coreset_ratio", model, file)
    with monkeypatch.context() as patch:
        def no_export(*arguments, **options):
            raise RuntimeError("Unsupported operator aten::magic\nlong story")
        patch.setattr(torch.onnx, "export", lambda *a, dynamo=True, **o: no_export())
        refused("cannot express this model in ONNX: Unsupported operator aten::magic", model, file)
        refused("in ONNX with dynamic_size, but may without it: Unsupp", model, file,
                dynamic_size=True)
    find = export.importlib.util.find_spec
    for missing in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setattr(export.importlib.util, "find_spec",
                            lambda name, missing=missing: None if name == missing else find(name))
        refused(f"the package {missing}, .*pip install onnx", model, file)


@pytest.mark.slow
def test_fit_and_export_on_the_command_line(exported, photos, tmp_path, monkeypatch, capsys):
    saved, file = tmp_path / "saved", tmp_path / "a.onnx"
    fit = ["fit", str(photos[0].parent), "--resize", "64", "--coreset-ratio", "0.2",
           "--false-alarm-rate", "0.3", "--output", str(saved)]
    assert main(fit) == 0
    assert "learned from 8 photos, remembers 102 patches" in capsys.readouterr().out
    model = PatchCore.load(saved)
    assert model.false_alarm_rate == 0.3
    written = []
    monkeypatch.setattr(export, "_write", lambda graph, file, dtype, free, about: (
        written.append(about), shutil.copy(exported, file)))
    monkeypatch.setattr(export, "run_onnx", lambda file, pixels: (
        (found := model.predict(list(pixels))).scores, found.model_maps,
        found.scores > written[-1]["threshold"]))
    assert main(["export", str(saved), str(file)]) == 0
    assert "on 8 training images of 64 x 64" in capsys.readouterr().out
    assert written[-1]["threshold"] == conformal_threshold(model.calibration_scores_, 0.3)
    assert main(["export", str(saved), str(file), "--images", str(photos[0].parent),
                 "--bank-precision", "float16", "--false-alarm-rate", "0.2"]) == 0
    assert "on 8 given images" in capsys.readouterr().out
    assert written[-1]["bank_precision"] == "float16"
    assert written[-1]["threshold"] == conformal_threshold(model.calibration_scores_, 0.2)

    (tmp_path / "empty").mkdir()
    for arguments, words in (
            (["fit", str(tmp_path / "empty"), "--output", str(tmp_path / "m")], "no photos there"),
            (["fit", str(tmp_path / "none"), "--output", str(tmp_path / "m")], "no such folder"),
            ([*fit[:-1], str(tmp_path)], "choose a new folder"),
            (["export", str(tmp_path / "none"), str(file)], "no such folder of a saved model"),
            (["export", str(saved), str(file), "--images", str(tmp_path / "empty")], "no images"),
            (["export", str(saved), str(tmp_path / "a.pt")], "ends in .onnx")):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said.splitlines()[-1]
    assert not (tmp_path / "m").exists()


def test_good_photos_are_found_in_the_layouts_of_the_field(tmp_path):
    from indad.data.layouts import good_photos

    for place in (".", "good", "train/good"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / place / "a.png")
        assert good_photos(tmp_path) == [tmp_path / place / "a.png"]


def test_what_is_compared_on(model, photos, tmp_path):
    forgetful = changed(model, examples=[])
    assert export._check_sources(model, photos[:2]) == (photos[:2], "given")
    assert export._check_sources(forgetful, None) == ([str(p) for p in photos[:5]], "training")
    forgetful = changed(model, examples=[], files=[None, str(tmp_path / "gone.png")])
    noise, images_from = export._check_sources(forgetful, None)
    assert images_from == "noise" and noise[0].shape == (64, 64, 3)


def test_a_backbone_is_not_moved_or_changed_by_an_export(model):
    before, network = tensors_of(model), model.extractor_
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Graph(model, torch.float16, 1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(model).items())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
