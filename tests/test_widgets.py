"""What a notebook reader sees and clicks, without a notebook: a picture first, then controls."""

import base64
import io
import re
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from cases import few
from matplotlib import pyplot
from nbformat.v4 import new_output
from PIL import Image
from pretend_gpu import pretend_gpu
from scipy.ndimage import uniform_filter

from indad import PatchCore, load_dataset
from indad.data.images import Placement
from indad.deploy.explanation import box_in_photo, explain
from indad.notebook import pictures as views
from indad.notebook import widgets
from notebooks.outputs import make_small


class Shown:
    """Stands in for IPython's display: remembers what was shown, and how it was exchanged."""

    def __init__(self):
        self.calls, self.updates = [], []

    def __call__(self, thing, **options):
        self.calls.append(thing)
        return self

    def update(self, thing, **options):
        self.updates.append(thing)


@pytest.fixture
def shown(monkeypatch):
    recorder = Shown()
    monkeypatch.setattr("IPython.display.display", recorder)
    return recorder


def curve(k, kind="line"):
    figure, axes = pyplot.subplots(figsize=(2, 1))
    axes.plot(np.arange(k))
    figure.suptitle(f"{kind} of {k}")
    return figure


def test_a_picture_has_words_and_leaves_no_figure_open():
    data, metadata = widgets.picture(curve(3), "a line that rises")
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.size[0] > 50
    assert data["text/plain"] == metadata["image/png"]["alt"] == "a line that rises; line of 3"
    assert not pyplot.get_fignums()
    again, _ = widgets.picture(curve(3), "a line that rises")
    assert again == data  # the same figure, the same bytes


def test_without_a_front_end_there_is_just_the_picture(shown):
    widgets.explore(curve, alt="a line", k=range(2, 9), kind=["line", "dots"])
    assert len(shown.calls) == 1
    assert shown.calls[0]["text/plain"] == "a line; line of 2"


@pytest.mark.slow
def test_a_click_exchanges_the_picture(shown, monkeypatch):
    monkeypatch.setattr(widgets, "interactive", lambda: True)
    drawn = []

    def draw(k, kind):
        drawn.append((k, kind))
        return curve(k, kind)

    widgets.explore(draw, alt="a line", k=range(2, 9), kind=["line", "dots"], start={"k": 4})
    picture, box = shown.calls
    assert drawn == [(4, "line")]  # the first picture is there before any click
    slider, dropdown, words = box.children
    slider.value = 7
    dropdown.value = "dots"
    assert drawn == [(4, "line"), (7, "line"), (7, "dots")]
    assert len(shown.updates) == 2
    assert shown.updates[0] != picture
    assert words.value == "dots of 7"


def test_a_click_in_colab_puts_another_picture_in_the_place_of_the_first(shown, monkeypatch):
    """An output of Colab cannot be exchanged from a click: a widget hides it."""
    monkeypatch.setattr(widgets, "interactive", lambda: True)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    widgets.explore(curve, alt="a <line>", k=range(2, 9))
    first, box = shown.calls
    place, slider, words = box.children
    assert place.value == ""  # the first picture is an output like any other, and is saved
    slider.value = 7
    [hidden] = re.findall(r'<style>img\[src\*="(.*?)"\]:not\(.indad-alive\)', place.value)
    second, _ = widgets.picture(curve(7), "")
    assert hidden in first["image/png"] and hidden not in second["image/png"]
    assert second["image/png"] in place.value and 'class="indad-alive"' in place.value
    assert 'alt="a &lt;line&gt;; line of 7"' in place.value and not shown.updates
    slider.value = 2
    assert place.value.count("<img") == 1 and first["image/png"] in place.value


def pixels_of(data):
    [kind] = set(data) - {"text/plain"}
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(data[kind]))).convert("RGB"))


@pytest.mark.parametrize("built", few([True, False], [False]))
def test_small_spots_and_thin_lines_keep_their_colours(built):
    """Also in what makes the pictures of a build small."""
    figure, axes = pyplot.subplots(figsize=(4, 3))
    axes.imshow(np.random.default_rng(0).integers(60, 180, (90, 120, 3), np.uint8))
    axes.plot([50, 54], [40, 40], color="#00FF00", linewidth=3)
    data, metadata = widgets.picture(figure, "a short green line on noise")
    output = new_output("display_data", data, metadata=metadata)
    if built:
        make_small(output)
    kind, pixels = pixels_of(output.data)
    assert kind == ("image/jpeg" if built else "image/png")
    red, green, blue = pixels.astype(int).transpose(2, 0, 1)
    assert ((green > 200) & (red < 80) & (blue < 80)).sum() > 20


def test_a_build_makes_pictures_small_without_bands():
    """A heat map over a colour gradient, and a plot, against what they are elsewhere."""
    def heat_map():
        figure, axes = pyplot.subplots(figsize=(3, 3))
        y, x = np.mgrid[:200, :200] / 200
        glow = np.exp(-20 * ((x - 0.4) ** 2 + (y - 0.6) ** 2))[..., None]
        photo = np.stack([x, 0.3 + 0.4 * y, 1 - x * y], axis=2)
        axes.imshow(np.clip(photo * (1 - glow) + pyplot.get_cmap("inferno")(glow[..., 0])[..., :3]
                            * glow, 0, 1))
        axes.axis("off")
        return figure

    for figure, kind in ((heat_map(), "image/jpeg"), (curve(9), "image/png")):
        data, metadata = widgets.picture(figure, "a picture")
        small = new_output("display_data", dict(data), metadata=metadata)
        make_small(small)
        (_, wanted), (found, pixels) = pixels_of(data), pixels_of(small.data)
        assert found == kind and small.metadata[kind]["alt"] == small.data["text/plain"]
        assert len(small.data[kind]) < 0.6 * len(data["image/png"])
        off = np.abs(uniform_filter(pixels - wanted.astype(float), (5, 5, 0)))
        assert np.quantile(off, 0.99) < 4  # bands of 256 colours: 10


@pytest.mark.slow
def test_levels_of_a_threshold_are_short_numbers(fitted, shown, monkeypatch):
    levels = []
    monkeypatch.setattr(views, "explore", lambda draw, threshold, **more: levels.extend(threshold))
    views.browse_thresholds(np.float32([1.1, 2.2, 3.3]), np.array([0, 1, 1]), np.float32(2.05))
    assert all(level == round(level, 3) for level in levels) and 2.05 in levels


def test_pictures_only_where_asked_for(monkeypatch):
    class Kernel:
        kernel = object()

    monkeypatch.delenv(widgets.STATIC, raising=False)
    monkeypatch.setattr("IPython.get_ipython", lambda: Kernel())
    assert widgets.interactive()
    monkeypatch.setenv(widgets.STATIC, "1")
    assert not widgets.interactive()
    monkeypatch.delenv(widgets.STATIC)
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    assert not widgets.interactive()


def test_the_banner_says_versions_and_mode(capsys, monkeypatch):
    monkeypatch.setattr("indad.engine.machine.accelerator", lambda: None)
    widgets.banner()
    told = capsys.readouterr().out
    for part in ("indad 0", "torch", "device: CPU", "Colab: Runtime, Change runtime type, T4 GPU",
                 "mode: pictures only; no network is needed"):
        assert part in told
    monkeypatch.setattr(widgets, "interactive", lambda: True)
    widgets.banner()
    assert "mode: pictures, with menus and sliders;" in capsys.readouterr().out


def test_the_banner_names_the_gpu_and_its_memory(capsys):
    with pretend_gpu():
        widgets.banner()
    assert "device: pretend GPU (cuda:0), 8.59 GB of memory free\n" in capsys.readouterr().out


@pytest.fixture(scope="module")
def fitted(drawn):
    train, test = load_dataset(drawn, "capsule")
    model = PatchCore(resize=256, num_neighbors=1, coreset_ratio=0.05).fit(train)
    return model, train, test, model.predict(test)


@pytest.mark.slow
def test_the_explanation_is_the_nearest_patch_of_all(fitted):
    model, train, test, _ = fitted
    match = explain(model, test[4])
    rows = model.extract(test[4]).rows * model.feature_scale_
    distances = (rows.double()[:, None] - model.memory_bank_.double()).norm(dim=2)
    patch = int(distances.amin(1).argmax())
    assert match.place == divmod(patch, 32)
    assert match.distance == pytest.approx(float(distances[patch].min()), rel=1e-5)
    entry = int(distances[patch].argmin())
    image, place = divmod(int(model.coreset_indices_[entry]), 1024)
    assert (match.train_image, match.train_place) == (image, divmod(place, 32))
    remembered = model.extract(train[image]).rows[place] * model.feature_scale_
    assert float((remembered - rows[patch]).norm()) == pytest.approx(match.distance, rel=1e-4)


def test_a_training_patch_explains_itself(fitted):
    model, train, _, _ = fitted
    image, place = divmod(int(model.coreset_indices_[7]), 1024)
    match = explain(model, train[image], place=divmod(place, 32))
    assert (match.train_image, match.train_place, match.distance) == (image, divmod(place, 32), 0)


@pytest.mark.slow
def test_unreadable_training_images_do_not_shift_the_explanation(drawn, tmp_path):
    train, _ = load_dataset(drawn, "tiles")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    images = [train[0], bad, *list(train)[1:4]]
    model = PatchCore(resize=128, coreset_ratio=0.1).fit(images, strict=False)
    for entry in (0, 50, 90):
        read, place = divmod(int(model.coreset_indices_[entry]), 256)
        position = (0, 2, 3, 4)[read]
        match = explain(model, images[position], place=divmod(place, 16))
        assert (match.train_image, match.distance) == (position, 0)


@pytest.mark.slow
def test_held_out_images_do_not_shift_the_explanation(drawn, tmp_path):
    train, _ = load_dataset(drawn, "tiles")
    model = PatchCore(resize=128, coreset_ratio=0.2, calibration="held-out").fit(train)
    assert len(model.fitted_on_) == 6
    model.save(tmp_path / "model")
    for one in (model, PatchCore.load(tmp_path / "model")):
        for entry in (0, 77, 200):
            read, place = divmod(int(model.coreset_indices_[entry]), 256)
            position = model.fitted_on_[read]
            match = explain(one, train[position], place=divmod(place, 16))
            assert (match.train_image, match.distance) == (position, 0)


@pytest.mark.slow
def test_views_of_an_image_have_no_place(drawn):
    train, test = load_dataset(drawn, "tiles")
    model = PatchCore(resize=128, coreset_ratio=0.2, augmentation="flips").fit(list(train)[:2])
    found = {explain(model, test[0], place=(row, row)).train_place is None for row in range(16)}
    assert True in found


def test_a_place_outside_the_grid(fitted):
    with pytest.raises(ValueError, match=r"\(32, 0\), outside the grid of 32 x 32"):
        explain(fitted[0], fitted[2][0], place=(32, 0))


def test_boxes_lie_in_the_photo():
    plain = Placement((256, 256), (256, 256), 0, 0, (256, 256))
    assert box_in_photo((0, 0), (32, 32), plain) == (0, 0, 8, 8)
    assert box_in_photo((31, 2), (32, 32), plain) == (16, 248, 24, 256)
    cropped = Placement((512, 1024), (256, 512), 16, 144, (224, 224))  # half size, centre
    assert box_in_photo((0, 0), (28, 28), cropped) == (288, 32, 304, 48)


@pytest.mark.slow
def test_the_views_draw(fitted, shown):
    model, train, test, prediction = fitted
    views.browse(test, prediction, threshold=9.0)
    views.browse_matches(model, train, test[4])
    views.browse_thresholds(prediction.scores, test.labels, 9.0, test)
    points = np.random.default_rng(0).random((50, 2))
    widgets.show(views.coreset_figure(points, [3, 1, 2], radius=0.2), "points and picks")
    sizes = [Image.open(io.BytesIO(base64.b64decode(call["image/png"]))).size
             for call in shown.calls]
    assert len(sizes) == 4 and all(width > 200 for width, _ in sizes)


def test_the_threshold_figure_counts_its_mistakes(fitted):
    _, _, test, _ = fitted
    scores, labels = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1])
    figure = views.threshold_figure(scores, labels, 2.5)
    assert "1 of 2 good flagged, 1 of 2 defects missed" in figure.get_suptitle()
    figure = views.threshold_figure(scores, labels, 2.0, test)  # not above it: not flagged
    assert "1 of 2 defects missed" in figure.get_suptitle()
    pyplot.close("all")


def test_missed_defects_are_outlined_and_false_alarms_are_not(fitted):
    _, _, test, _ = fitted
    missed = next(i for i, item in enumerate(test) if item.label)
    alarm = next(i for i, item in enumerate(test) if not item.label)
    scores = np.where(test.labels == 1, 9.0, 1.0)
    scores[[missed, alarm]] = 1.0, 8.0
    figure = views.threshold_figure(scores, test.labels, 2.5, test)
    outlined = {axes.get_title().split("\n")[0]: bool(axes.collections)
                for axes in figure.axes[1:3]}
    assert outlined == {"false alarm": False, f"missed {test[missed].defect_type}": True}
    unmasked = [replace(item, mask_paths=()) for item in test]
    figure = views.threshold_figure(scores, test.labels, 2.5, test.replaced(unmasked))
    assert not any(axes.collections for axes in figure.axes[1:])
    pyplot.close("all")


def test_one_scale_for_all_maps(fitted):
    _, _, test, prediction = fitted
    scale = views.scale_of(prediction, test.labels)
    peaks = prediction.model_maps.max((1, 2))
    assert scale.low == pytest.approx(float(np.median(peaks[test.labels == 0])))
    assert scale.high == pytest.approx(float(peaks.max()))
