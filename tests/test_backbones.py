"""The registry, how its networks are built, and ensembles of them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawing import Pooled
from PIL import Image

from indad.backbones.extractor import FeatureExtractor
from indad.backbones.loading import _build, _options, load_backbone
from indad.backbones.registry import BACKBONES, find_backbone
from indad.engine.fused import fold_batch_norms
from indad.errors import InputError


@pytest.fixture(autouse=True)
def quickly_drawn():
    with Pooled():
        yield


@pytest.fixture(scope="module")
def lite():
    return load_backbone("efficientnet_lite0")


def test_lite0_shapes_strides_and_statistics(lite):
    extractor, transform = lite
    maps = extractor(torch.zeros(2, 3, 256, 192))
    assert [tuple(m.shape) for m in maps] == [(2, 40, 32, 24), (2, 112, 16, 12)]
    assert (extractor.strides, extractor.channels) == ([8, 16], [40, 112])
    assert transform.mean == transform.std == (0.5, 0.5, 0.5)
    white = transform(Image.fromarray(np.full((10, 10, 3), 255, np.uint8)))
    assert torch.equal(white, torch.ones(3, 256, 256))


def test_frozen_and_in_evaluation_mode(lite):
    extractor, _ = lite
    assert not extractor.training
    assert not any(p.requires_grad for p in extractor.parameters())
    first = extractor(torch.ones(1, 3, 64, 64))
    extractor(torch.randn(4, 3, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(first, extractor(torch.ones(1, 3, 64, 64)),
                                                 strict=True))


def test_imagenet_statistics_on_request():
    _, transform = load_backbone("efficientnet_lite0", normalization="imagenet", crop=224)
    assert transform.mean == (0.485, 0.456, 0.406)
    assert transform.crop == 224


def test_layers_can_be_chosen():
    extractor, _ = load_backbone("efficientnet_lite0", layers=(1, 2, 3))
    assert extractor.strides == [4, 8, 16]


ANTIALIASED = "antialiased_wide_resnet50_2"
QUICK = {"resnet18"}
ROWS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BACKBONES]


def test_every_row_has_timms_tag_and_statistics():
    import timm

    tags = set(timm.list_pretrained())
    for row in BACKBONES.values():
        if row.name == ANTIALIASED:
            continue
        config = timm.get_pretrained_cfg(row.tag)
        assert row.tag in tags
        assert config.tag == row.tag.split(".")[1]
        assert (tuple(config.mean), tuple(config.std)) == (row.mean, row.std), row.name
    assert {row.family for row in BACKBONES.values()} == {"ImageNet", "CLIP", "anti-aliased",
                                                          "self-supervised"}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_computes_with_random_weights(name):
    if name == ANTIALIASED:
        pytest.importorskip("antialiased_cnns")
    row, side = BACKBONES[name], 112 if "dinov2" in name else 96
    extractor, transform = load_backbone(name, resize=side, pretrained=False)
    maps = extractor(torch.rand(2, 3, side, side))
    assert [m.shape for m in maps] == [(2, c, side // s, side // s) for c, s in
                                       zip(extractor.channels, extractor.strides, strict=True)]
    assert all(m.isfinite().all() for m in maps)
    assert (transform.mean, transform.std) == (row.mean, row.std)
    if name.startswith(("vit", "dino")):
        patch = {"dino_small_8": 8, "dinov2_small": 14, "dinov2_base": 14}.get(name, 16)
        assert set(extractor.strides) == {patch}
    else:
        assert extractor.strides == [8, 16]
    _options(row, row.layers, (row.size, row.size), "resize")  # raises if it does not take them


@pytest.mark.parametrize("name", ROWS)
def test_every_row_says_how_many_parameters_it_has(name):
    import timm

    row = BACKBONES[name]
    if name == ANTIALIASED:
        pytest.importorskip("antialiased_cnns")
    with torch.device("meta"):
        full = timm.create_model(row.tag if ":" not in row.tag else row.tag.split(":")[1])
    count = sum(p.numel() for p in full.parameters()) / 1e6
    assert count == pytest.approx(row.parameters_m, rel=0.02)


def test_size_is_the_registrys_unless_one_is_given():
    assert load_backbone("resnet18", pretrained=False)[1].resize == (256, 256)
    assert load_backbone("resnet18", resize=320, crop=300, pretrained=False)[1].resize == 320
    assert BACKBONES["resnet50x4_clip"].size == 288
    assert BACKBONES["dinov2_small"].size == BACKBONES["dinov2_base"].size == 448


@pytest.mark.slow
def test_a_vits_tokens_lie_where_its_patches_are():
    """A bright patch changes its own token of the first block the most."""
    extractor, _ = load_backbone("vit_tiny_patch16_224.augreg_in21k", layers=(0, 1),
                                 resize=(96, 160), pretrained=False)
    black, bright = torch.zeros(2, 1, 3, 96, 160)
    bright[..., 32:48, 112:128] = 3
    maps = [(a - b).square().sum(1)[0] for a, b in zip(extractor(black), extractor(bright),
                                                       strict=True)]
    assert all(change.shape == (6, 10) for change in maps)
    assert divmod(int(maps[0].argmax()), 10) == (2, 7)
    assert [m.shape[-2:] for m in extractor(torch.zeros(1, 3, 64, 64))] == [(4, 4)] * 2  # any size


@pytest.mark.slow
def test_self_supervised_tokens_come_normed():
    """A last norm, untrained, leaves every token with mean 0 and variance 1."""
    extractor, _ = load_backbone("dinov2_small", resize=56, pretrained=False)
    (tokens,) = extractor(torch.rand(1, 3, 56, 56))
    torch.testing.assert_close(tokens.mean(1), torch.zeros(1, 4, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens.var(1), torch.ones(1, 4, 4), atol=1e-2, rtol=0)


@pytest.mark.parametrize("given, message", [
    (dict(resize=256), "resize is 256, but dinov2_small works on multiples of 14: 252 or 266"),
    (dict(resize=(448, 300)), "resize is 448 x 300, .* of 14: 294 or 308"),
    (dict(resize=256, crop=225), "crop is 225, .* of 14: 224 or 238"),
    (dict(resize=7), "of 14: 14$"),
    (dict(layers=(3, 12)), "dinov2_small has no layers"),
])
def test_sizes_and_layers_that_a_vit_does_not_take(given, message):
    with pytest.raises(InputError, match=message):
        load_backbone("dinov2_small", pretrained=False, **given)


@pytest.mark.slow
def test_a_size_that_the_network_refuses():
    with pytest.raises(InputError, match="resize is 250, which hrnet_w18 does not take"):
        load_backbone("hrnet_w18", resize=250, pretrained=False)


@pytest.mark.parametrize("name, layers, channels, strides", [
    pytest.param("regnety_032.ra_in1k", (2, 3), [216, 576], [8, 16], marks=pytest.mark.slow),
    ("vit_tiny_patch16_224.augreg_in21k", (5, 8), [192, 192], [16, 16]),
    pytest.param("vgg16_bn.tv_in1k", (3, 4), [512, 512], [8, 16], marks=pytest.mark.slow),
    pytest.param("mobilenetv3_large_100.ra_in1k", (2, 3), [40, 112], [8, 16],
                 marks=pytest.mark.slow),
    pytest.param("levit_128.fb_dist_in1k", (0,), [128], [16], marks=pytest.mark.slow),
    # Channels last, and positions for one size only.
    pytest.param("swin_tiny_patch4_window7_224.ms_in1k", (1, 2), [192, 384], [8, 16],
                 marks=pytest.mark.slow),
])
def test_any_name_of_timms_is_a_backbone(name, layers, channels, strides):
    import timm

    row, config = find_backbone(name), timm.get_pretrained_cfg(name)
    assert (row.name, row.tag, row.layers) == (name, name, layers)
    assert (row.mean, row.std) == (tuple(config.mean), tuple(config.std))
    assert row.licence.lower() == config.license
    extractor, transform = load_backbone(name, pretrained=False)
    assert (extractor.channels, extractor.strides) == (channels, strides)
    assert transform.mean == tuple(config.mean)
    side = row.size
    assert [m.shape for m in extractor(torch.rand(1, 3, side, side))] == [
        (1, c, side // s, side // s) for c, s in zip(channels, strides, strict=True)]


def test_a_name_without_tag_gets_timms_default():
    assert find_backbone("resnet34").tag == "resnet34.a1_in1k"
    assert find_backbone("resnet18") is BACKBONES["resnet18"]


@pytest.mark.slow
def test_registered_names_are_found_without_timm():
    code = ("import sys; "
            "from indad.backbones.registry import find_backbone; find_backbone('dinov2_small'); "
            "assert 'timm' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_its_package_the_antialiased_network_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "antialiased_cnns", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="antialiased.* run: pip install antialiased-cnns$"):
        load_backbone(ANTIALIASED, pretrained=False)


@pytest.mark.slow
def test_an_ensemble_gives_every_members_maps_finest_first():
    """Each member sees images as if it were alone, whatever statistics the transform used."""
    torch.manual_seed(0)
    alone = {name: load_backbone(name, pretrained=name != "resnet18", resize=64)
             for name in ("efficientnet_lite0", "resnet18")}
    both, transform = load_backbone("resnet18+efficientnet_lite0", pretrained=False, resize=64)
    both.members[0].load_state_dict(alone["resnet18"][0].state_dict())
    both.members[1].load_state_dict(alone["efficientnet_lite0"][0].state_dict())
    assert both.strides == [8, 8, 16, 16]
    assert both.channels == [128, 40, 256, 112]
    assert both.name == "resnet18+efficientnet_lite0"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    expected = [extractor(own(image)[None]) for extractor, own in alone.values()]
    maps = both(transform(image)[None])
    for ours, theirs in zip(maps, (expected[1][0], expected[0][0], expected[1][1], expected[0][1]),
                            strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_scales_lay_the_maps_of_several_sizes_beside_each_other():
    plain, _ = load_backbone("resnet18", resize=64, pretrained=False)
    torch.manual_seed(0)
    both, transform = load_backbone("resnet18", resize=64, pretrained=False, scales=(1, 1.5))
    for member in both.members:
        member.load_state_dict(plain.state_dict())
    assert transform.resize == 64
    assert both.channels == [128, 128, 256, 256] and both.strides == [8, 8, 16, 16]
    images = torch.rand(2, 3, 64, 64)
    larger = F.interpolate(images, (96, 96), mode="bilinear")
    wanted = [plain(images)[0], plain(larger)[0], plain(images)[1], plain(larger)[1]]
    for found, one in zip(both(images), wanted, strict=True):
        torch.testing.assert_close(found, one)
    smaller, _ = load_backbone("resnet18", resize=64, pretrained=False, scales=(0.5,))
    assert [m.shape[-1] for m in smaller(images)] == [4, 2]


@pytest.mark.parametrize("scales", [(), (0,), (1, float("nan")), ("1",), 1.5, (1, 100)])
def test_wrong_scales(scales):
    with pytest.raises(InputError, match="scales"):
        load_backbone("resnet18", pretrained=False, scales=scales)


@pytest.mark.slow
def test_ensembles_share_size_layers_and_normalisation():
    both, transform = load_backbone("resnet18+resnet50x4_clip", pretrained=False, layers=(1, 2),
                                    normalization="imagenet")
    assert transform.resize == (288, 288)
    assert both.strides == [4, 4, 8, 8]
    assert both.channels == [64, 320, 128, 640]
    assert torch.equal(both.scales, torch.ones(2, 3))
    assert torch.equal(both.shifts, torch.zeros(2, 3))


def test_wrong_ensembles():
    with pytest.raises(InputError, match="did you mean resnet18"):
        load_backbone("efficientnet_lite0+resnet81")
    with pytest.raises(InputError, match="unknown backbone ''"):
        load_backbone("resnet18+")
    with pytest.raises(InputError, match="weights is one file, but .* has 2 networks"):
        load_backbone("resnet18+efficientnet_lite0", weights="some.pth")


def test_wrong_names_and_layers():
    with pytest.raises(InputError, match="did you mean wide_resnet50_2"):
        load_backbone("wide_resnet50")
    with pytest.raises(InputError, match="did you mean .*vgg16"):
        find_backbone("vgg61")
    with pytest.raises(InputError, match="unknown backbone 'resnet50.nonsense'"):
        find_backbone("resnet50.nonsense")
    with pytest.raises(InputError, match="has no layers"):
        load_backbone("efficientnet_lite0", layers=(2, 9))
    with pytest.raises(InputError, match="imagenet"):
        load_backbone("efficientnet_lite0", normalization="half")


# One of each kind: the others repeat its blocks. The last has no batch norm.
KINDS = ("resnet18", "densenet201", "efficientnet_lite0", "efficientnet_b4", "resnetblur50",
         "resnet50_clip", ANTIALIASED, "dinov3_small")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_folding_the_norms_changes_no_feature(name):
    if name == ANTIALIASED:
        pytest.importorskip("antialiased_cnns")
    row = BACKBONES[name]
    size = (112, 56) if "dinov2" in name else (96, 64)
    network = _build(row, row.layers, _options(row, row.layers, size, "resize"))
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that are not just 0 and 1
            for tensor, low in ((module.running_mean, -0.2), (module.running_var, 0.5),
                                (module.weight.data, 0.7), (module.bias.data, -0.2)):
                tensor.copy_(low + 0.5 * torch.rand(tensor.shape, generator=generator))
    folded = fold_batch_norms(network.eval())
    had, has = (sum(isinstance(module, torch.nn.BatchNorm2d) for module in either.modules())
                for either in (network, folded))
    # DenseNet's norms come before their convolutions, the blurring one's conv3 is not a neighbour.
    assert has == 0 or (has < had and name in ("densenet201", ANTIALIASED))
    images = torch.randn(2, 3, *size, generator=generator)
    with torch.inference_mode():
        for before, after in zip(network(images), folded(images), strict=True):
            torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.std()))


def test_norms_that_do_not_follow_their_convolution_stay():
    """Children in an order that data does not take: folding would be wrong, so it is refused."""
    class Crossed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            self.norm.running_mean += 3

        def forward(self, images):
            return [self.conv(self.norm(images))]

    network = Crossed()
    assert fold_batch_norms(network) is network


def test_a_network_that_takes_no_small_images_is_folded_at_its_own_size():
    class Picky(torch.nn.Sequential):
        def forward(self, images):
            assert images.shape[-2:] == (75, 80), "too small"
            return [super().forward(images)]

    network = Picky(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    network.feature_info = type("Info", (), dict(channels=lambda self: [4],
                                                 reduction=lambda self: [1]))()
    extractor = FeatureExtractor(network, "picky", (75, 80))
    assert isinstance(extractor.network[1], torch.nn.Identity)
