"""Faster networks compute what timm's compute; for folded norms see test_backbones.py."""

import pytest
import torch
import torch.nn.functional as F
from pretend_gpu import pretend_gpu
from timm.layers import Conv2dSame

from indad.engine.fused import SameConvolution, pad_kernels


@pytest.mark.parametrize("kernel, stride", [(1, 2), (2, 1), (3, 1), (3, 2), (5, 2), (4, 3), (5, 3),
                                            ((3, 5), (2, 1))])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("size", [(12, 18), (13, 11), (7, 30)])
def test_padding_the_kernel_equals_padding_the_maps(kernel, stride, groups, size):
    torch.manual_seed(0)
    original = Conv2dSame(6, 12, kernel, stride, groups=groups, bias=groups == 6)
    maps = torch.randn(2, 6, *size)
    wanted = original(maps)
    network = pad_kernels(torch.nn.Sequential(torch.nn.ReLU(), original))
    assert isinstance(network[1], SameConvolution)
    torch.testing.assert_close(network[1](maps), wanted, rtol=1e-6, atol=1e-6)
    if all(side % 6 == 0 for side in size):
        network[1].divides = True
        torch.testing.assert_close(network[1](maps), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel, stride", [(3, 2), (5, 2), ((4, 3), (3, 1))])
@pytest.mark.parametrize("size", [(12, 18), (13, 11)])
def test_a_gpu_pads_the_maps(monkeypatch, kernel, stride, size):
    """Just what timm's does, to the bit, and with its kernel as it is."""
    torch.manual_seed(0)
    original = Conv2dSame(6, 12, kernel, stride, groups=6)
    maps = torch.randn(2, 6, *size).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        wanted = original(maps)
        network, kernels, convolve = pad_kernels(torch.nn.Sequential(original)), [], F.conv2d
        monkeypatch.setattr(F, "conv2d", lambda maps, kernel, *how: (
            kernels.append(tuple(kernel.shape[2:])), convolve(maps, kernel, *how))[1])
        with pretend_gpu():
            found = network.to("cuda")(maps.to("cuda")).cpu()
    assert torch.equal(found, wanted)
    assert kernels == [original.kernel_size]


def test_what_it_cannot_do_stays():
    dilated, plain = Conv2dSame(3, 3, 3, 2, dilation=2), torch.nn.Conv2d(3, 3, 3, 2)
    network = pad_kernels(torch.nn.Sequential(dilated, torch.nn.Sequential(plain)))
    assert network[0] is dilated and network[1][0] is plain


def test_names_and_numbers_of_the_weights_stay():
    original = torch.nn.Sequential(Conv2dSame(3, 4, 3, 2), torch.nn.ReLU())
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    after = pad_kernels(original).state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_network_that_is_such_a_convolution_itself_is_returned_anew():
    original = Conv2dSame(3, 4, 3, 2)
    network = pad_kernels(original)
    assert isinstance(network, SameConvolution) and network.weight is original.weight
    torch.testing.assert_close(network(torch.ones(1, 3, 9, 9)), original(torch.ones(1, 3, 9, 9)))
