"""Batches: read by all cores, carried to the device as bytes, and halved where they do not fit."""

import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from pretend_gpu import pretend_gpu

from indad import PatchCore
from indad.data.images import ImageTransform
from indad.engine import batches, machine
from indad.engine.batches import load_batches, to_device
from indad.engine.extraction import InHalves
from indad.errors import InputError
from indad.features import PatchNetwork

TRANSFORM = ImageTransform(8)


def noise(count, side=8):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (side, side, 3), np.uint8) for _ in range(count)]


def test_batches_carry_the_bytes_of_the_pictures():
    pictures = noise(5, 16)
    first, second = load_batches(pictures, TRANSFORM, batch_size=3, strict=True)
    assert first.pixels.shape == (3, 8, 8, 3) and first.pixels.dtype == torch.uint8
    assert first.size == (8, 8) and second.indices == [3, 4]
    for picture, pixels in zip(pictures, torch.cat([first.pixels, second.pixels]), strict=True):
        np.testing.assert_array_equal(pixels, TRANSFORM.pixels(Image.fromarray(picture)))


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_all_readers_read_at_the_same_time_whatever_the_batch(monkeypatch, batch_size):
    """Each picture waits until seven are being read: fewer would wait for ever."""
    together = threading.Barrier(7)

    class Waiting:
        def as_rgb(self):
            together.wait(timeout=20)
            return Image.new("RGB", (8, 8))

    monkeypatch.setattr(batches, "readers", lambda: 7)
    found = load_batches([Waiting()] * 28, TRANSFORM, batch_size=batch_size, strict=True)
    assert sum(len(batch.indices) for batch in found) == 28


def test_a_gpu_gets_a_batch_by_way_of_pinned_memory():
    pixels = torch.from_numpy(np.stack(noise(3)))
    assert to_device(pixels, torch.device("cpu")) is pixels
    pinned = []
    with pretend_gpu():
        gpu, empty = machine.accelerator(), torch.empty
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "empty", lambda *shape, **how: (pinned.append(
                how["pin_memory"]), empty(*shape, **how))[1])
            there = to_device(pixels, gpu)
        assert there.device == gpu and to_device(there, gpu) is there
        assert torch.equal(there.cpu(), pixels)
        images = TRANSFORM.normalize(there)
        assert images.device == gpu
        assert torch.equal(images.cpu(), TRANSFORM.normalize(pixels))
    assert pinned == [True]


class Small:
    """A GPU with room for so many images at a time; it notes how many it was given."""

    def __init__(self, room, error=None):
        error = error or torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.room, self.error, self.given = room, error, []

    def __call__(self, pixels):
        self.given.append(len(pixels))
        if len(pixels) > self.room:
            raise self.error
        return 2 * pixels.permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("no room"), RuntimeError(
    "MPS backend out of memory (MPS allocated: 5 GB)")], ids=["cuda", "mps"])
def test_a_batch_that_does_not_fit_is_halved_once_and_for_all(error):
    pixels = torch.from_numpy(np.stack(noise(11)))
    small = Small(3, error)
    describe = InHalves(small)
    with pytest.warns(UserWarning) as warned:
        found = describe(pixels)
    assert [str(one.message) for one in warned] == [
        "the GPU has no room for 11 images at a time: going on with 5 (batch_size=5 saves the "
        "trial)",
        "the GPU has no room for 5 images at a time: going on with 2 (batch_size=2 saves the "
        "trial)"]
    assert torch.equal(found, 2 * pixels.permute(0, 3, 1, 2).float())
    assert small.given == [11, 5, 2, 2, 2, 2, 2, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(describe(pixels[:3])) == 3
    assert small.given[8:] == [2, 1]


def test_what_does_not_fit_in_any_number_is_said_in_a_line():
    pixels = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    with (pytest.warns(UserWarning, match="going on with 1"),
          pytest.raises(InputError, match="no room for one image of 8 x 8 pixels; .*device cpu$")):
        InHalves(Small(0))(pixels)
    fault = Small(0, RuntimeError("expected all tensors to be on the same device"))
    with pytest.raises(RuntimeError, match="same device"):
        InHalves(fault)(pixels)
    assert fault.given == [2]


def test_a_model_goes_on_with_smaller_batches(monkeypatch):
    pictures, options = noise(9, 64), dict(resize=64, device="cpu", coreset_ratio=0.3)
    wanted = PatchCore(**options, batch_size=2).fit(pictures).predict(pictures)
    whole = PatchNetwork.__call__

    def small(network, pixels):
        if len(pixels) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(network, pixels)

    monkeypatch.setattr(PatchNetwork, "__call__", small)
    with pytest.warns(UserWarning) as warned:
        model = PatchCore(**options, batch_size=8).fit(pictures)
        found = model.predict(pictures)
    assert [str(one.message).split()[6] for one in warned] == ["8", "4", "8", "4"]
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.model_maps, wanted.model_maps)
