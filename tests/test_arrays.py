"""Arrays and tensors: pixels are read right, and what cannot be pixels is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from indad import PatchCore
from indad.data.images import IMAGENET_MEAN, IMAGENET_STD, as_rgb
from indad.errors import InputError

GREY = (np.arange(192).reshape(12, 16) + 7).astype(np.uint8)
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], axis=2)
FIRST = torch.from_numpy(COLOUR).permute(2, 0, 1)


@pytest.mark.parametrize("source", [
    COLOUR, COLOUR / 255, (COLOUR / 255).astype(np.float32), COLOUR.astype(np.uint16) * 257,
    COLOUR.astype(np.int16), COLOUR.astype(np.int64), COLOUR.astype(np.uint32),
    COLOUR.astype(">i4"), FIRST, FIRST / 255, FIRST.double() / 255, FIRST.long(),
    (FIRST / 255).requires_grad_(), np.dstack([COLOUR, np.full_like(GREY, 255)]),
    COLOUR / 255 * 1.002, COLOUR / 255 - 1e-9, np.ma.masked_array(COLOUR),
    Image.fromarray(COLOUR)], ids=lambda source: str(getattr(source, "dtype", "")))
def test_pixels_of_every_type_are_read_right(source):
    np.testing.assert_array_equal(np.asarray(as_rgb(source)), COLOUR)


@pytest.mark.parametrize("source", [
    GREY, GREY[..., None], torch.from_numpy(GREY), torch.from_numpy(GREY)[None], GREY / 255,
    Image.fromarray(GREY)], ids=lambda source: str(getattr(source, "shape", "")))
def test_grey_pixels_are_read_right(source):
    np.testing.assert_array_equal(np.asarray(as_rgb(source)), np.stack([GREY] * 3, axis=2))


def test_half_precision_and_truth_are_pixels_too():
    for source in ((FIRST / 255).bfloat16(), (FIRST / 255).half(), (COLOUR / 255).astype("f2")):
        found = np.asarray(as_rgb(source)).astype(int)
        assert np.abs(found - COLOUR).max() <= 1
    np.testing.assert_array_equal(np.asarray(as_rgb(GREY > 90))[..., 0], (GREY > 90) * 255)


def normalised():
    return (FIRST / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(
        IMAGENET_STD).view(3, 1, 1)


def holed(value):
    array = COLOUR / 255
    array[3, 4, 1] = value
    return array


@pytest.mark.parametrize("source, words", [
    (COLOUR.astype(np.float32), "float32 from 3 to 248; floats are pixels from 0 to 1"),
    (FIRST.float(), "from 3 to 248"), (FIRST.bfloat16(), "from 3 to 248"),
    (normalised(), "floats are pixels from 0 to 1: undo a normalisation"),
    (normalised().numpy().transpose(1, 2, 0), "undo a normalisation"),
    (FIRST / 127.5 - 1, "from -0.97"), (COLOUR / 255 * 1.1, "floats are pixels from 0 to 1"),
    (holed(np.nan), "from nan"), (holed(np.inf), "to inf"), (holed(-np.inf), "from -inf"),
    (COLOUR.astype(complex), "holds complex128"), (torch.complex(FIRST / 255., FIRST / 255.),
                                                   "holds complex64"),
    (COLOUR.astype(object), "holds object"), (COLOUR.astype(str), "holds <U3"),
    (COLOUR.astype("datetime64[s]"), "holds datetime64"),
    (np.zeros((0, 0, 3)), "0 pixels high and 0 wide"), (np.zeros((0, 0)), "(h, w), is 0 pixels"),
    (torch.zeros(3, 0, 9), "0 pixels high and 9 wide"), (Image.new("RGB", (0, 5)), "0 x 5"),
    (np.zeros((5, 40, 3)), "taken as (h, w, c), is 5 pixels high and 40 wide"),
    (torch.zeros(3, 5, 40), "taken as (c, h, w), is 5 pixels high and 40 wide"),
    (np.zeros((3, 40, 3)), "taken as (h, w, c), is 3 pixels high"),
    (torch.zeros(3, 40, 3), "taken as (c, h, w), is 40 pixels high and 3 wide"),
    (np.zeros((3, 40, 40)), "shape (3, 40, 40)"), (torch.zeros(40, 40, 3), "shape (40, 40, 3)"),
    (np.zeros((40, 40, 2)), "shape (40, 40, 2)"), (np.zeros(40), "shape (40,)"),
    (np.ma.masked_greater(COLOUR, 200), "masked array, some of whose pixels have no value"),
    (torch.zeros(3, 9, 9).to_sparse(), "give a dense one"),
    (torch.zeros(3, 9, 9, device="meta"), "give a dense one")], ids=lambda value: (
        value if isinstance(value, str) else ""))
def test_what_cannot_be_pixels_is_refused_in_one_line(source, words):
    with pytest.raises(InputError) as caught:
        as_rgb(source)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_refuses_them_too(shared_backbones):
    """Each of these images scored 2.6e-05: they were clipped to white."""
    images = [np.roll(COLOUR, step, axis=1) for step in range(4)]
    model = PatchCore(resize=64, coreset="random", device="cpu")
    for wrong in (np.stack(images).astype(np.float32), torch.stack([normalised()] * 2)):
        with pytest.raises(InputError, match="floats are pixels from 0 to 1"):
            model.fit(wrong)
    model.fit(images)
    with pytest.raises(InputError, match="floats are pixels from 0 to 1"):
        model.predict(images[0].astype(np.float32))
    wanted = model.predict(images).scores
    np.testing.assert_array_equal(model.predict(np.stack(images) / 255).scores, wanted)
