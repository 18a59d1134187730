"""EfficientNet-Lite without timm is timm's: names, order, numbers; and less is computed."""

import pytest
import torch

from indad.backbones.extractor import FeatureExtractor
from indad.backbones.lite import build_lite
from indad.backbones.loading import load_backbone
from indad.backbones.registry import BACKBONES
from indad.backbones.weights import read_package
from indad.engine.fused import SameConvolution

NUMBERS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]


def timms(name, layers):
    import timm

    row = BACKBONES[name]
    network = timm.create_model(row.tag, features_only=True, out_indices=layers)
    full = timm.create_model(row.tag).state_dict()
    network.load_state_dict(read_package(row.package, name, full), strict=False)
    return FeatureExtractor(network, name)


@pytest.mark.parametrize("number", NUMBERS)
def test_maps_names_and_numbers_are_timms_to_the_bit(number):
    name, layers = f"efficientnet_lite{number}", (0, 1, 2, 3, 4)
    ours, theirs = load_backbone(name, layers=layers)[0], timms(name, layers)
    assert (ours.channels, ours.strides) == (theirs.channels, theirs.strides)
    numbers, expected = ours.state_dict(), theirs.state_dict()
    assert list(numbers) == list(expected)
    assert all(torch.equal(numbers[key], expected[key]) for key in numbers)
    images = torch.randn(2, 3, 101, 64, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(ours(images), theirs(images), strict=True):
        assert torch.equal(found, wanted)
    # What stands behind the last map is not computed, and changes nothing.
    few = load_backbone(name)[0]
    few.network.blocks[5], few.network.blocks[6] = torch.nn.Identity(), torch.nn.Identity()
    for found, wanted in zip(few(images), theirs(images)[2:4], strict=True):
        assert torch.equal(found, wanted)


def test_layers_in_any_order_come_shallowest_first():
    extractor, _ = load_backbone("efficientnet_lite0", layers=(3, 2, 3))
    maps = extractor(torch.zeros(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == extractor.channels == [40, 112]
    assert extractor.strides == [8, 16]


@pytest.mark.parametrize("size", [(1, 1), (33, 7)])
def test_it_takes_any_size(size):
    extractor, _ = load_backbone("efficientnet_lite0", resize=size, pretrained=False)
    assert [tuple(m.shape[2:]) for m in extractor(torch.zeros(1, 3, *size))] == [
        tuple(-(-side // stride) for side in size) for stride in (8, 16)]


def test_random_weights_keep_numbers_of_one_size():
    torch.manual_seed(0)
    network = build_lite("efficientnet_lite0", (0, 4)).eval()
    with torch.inference_mode():
        first, last = network(torch.randn(1, 3, 64, 64))
    assert 0.03 < float(last.std() / first.std()) < 30
    assert sum(isinstance(module, SameConvolution) for module in network.modules()) == 5
