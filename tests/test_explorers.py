"""Explorers that move a photo and a threshold: what they find and say, without a notebook."""

import numpy as np
import pytest
from matplotlib import pyplot

from indad import PatchCore, load_dataset
from indad.deploy.explanation import explain, explain_worst
from indad.experiments.thresholds import best_cost_threshold
from indad.notebook import costs, moving
from indad.notebook.costs import browse_costs, cost_figure
from indad.notebook.moving import browse_moved, moved_figure


@pytest.fixture(scope="module")
def fitted(drawn):
    train, test = load_dataset(drawn, "tiles")
    model = PatchCore(resize=64, map_kernel_size=9, coreset_ratio=0.3, num_neighbors=1).fit(train)
    return model, train, test


def test_the_worst_patches_are_apart_and_in_order(fitted):
    model, _, test = fitted
    worst = explain_worst(model, test[0], 3)
    assert worst[0] == explain(model, test[0])
    assert worst == [explain(model, test[0], place=match.place) for match in worst]
    assert [match.distance for match in worst] == sorted((m.distance for m in worst), reverse=True)
    for one, other in zip(worst, worst[1:], strict=False):
        assert max(np.abs(np.subtract(one.place, other.place))) > 2
    rows = model.extract(test[0]).rows * model.feature_scale_
    all_of_them = (rows.double()[:, None] - model.memory_bank_.double()).norm(dim=2).amin(1)
    far = [patch for patch in range(64) if max(abs(patch // 8 - worst[0].place[0]),
                                               abs(patch % 8 - worst[0].place[1])) > 2]
    assert worst[1].distance == pytest.approx(float(all_of_them[far].max()), rel=1e-4)


def test_only_patches_that_are_asked_for_are_explained(fitted):
    model, _, test = fitted
    [match] = explain_worst(model, test[0], 1, among=lambda box: box[0] == box[1] == 0)
    assert match.place == (0, 0)
    assert explain_worst(model, test[0], 3, among=lambda box: False) == []
    assert 3 < len(explain_worst(model, test[0], 99)) < 16  # then there are no more


@pytest.fixture
def drawn_panels(monkeypatch):
    """The pictures that a figure is made of, with their titles."""
    panels = []
    monkeypatch.setattr(moving, "panel", lambda axes, image, title: panels.append(
        (np.asarray(image), title)))
    yield panels
    pyplot.close("all")


def test_a_photo_that_is_not_moved_is_explained_as_ever(fitted, drawn_panels):
    model, train, test = fitted
    photo = test[0].path
    figure = moved_figure(model, train, moving.as_rgb(photo), any_scale(), unmoved=1.0)
    worst = explain(model, photo)
    assert figure.get_suptitle() == ("moved 0 % right, 0 % down, turned 0°: largest distance "
                                     f"{worst.distance:.2f}, unmoved 1.00")
    assert np.array_equal(drawn_panels[0][0], moving.as_rgb(photo))
    titles = [axes.get_title() for axes in figure.axes]
    assert f"1: its distance is {worst.distance:.2f}" in titles
    assert f"to this, of training image {train[worst.train_image].path.stem}" in titles


def any_scale():
    return moving.ColourScale(0.0, 1.0)


@pytest.mark.slow
def test_what_comes_in_at_the_border_is_dark_and_does_not_count(fitted, drawn_panels, monkeypatch):
    model, train, test = fitted
    asked = []

    def counted(model, image, most, among):
        asked.append(among)
        return explain_worst(model, image, most, among=among)

    monkeypatch.setattr(moving, "explain_worst", counted)
    photo = moving.as_rgb(test[0].path).resize((250, 250))  # by whole pixels
    side = photo.width
    moved_figure(model, train, photo, any_scale(), right=20)
    moved, start = drawn_panels[0][0], round(0.2 * side)
    assert np.array_equal(moved[:, start:], np.asarray(photo)[:, :side - start])
    assert moved[:, :start - 1].max() <= 255 // 3
    [among] = asked
    assert not among((0, 0, 8, 8)) and not among((start, 8, start + 8, 16))
    assert among((start + 0.04 * side + 1, 8, start + 0.04 * side + 9, 16))
    assert among((side - 8, 0, side, 8))  # the photo's own border is no border


@pytest.mark.slow
def test_the_explorers_offer_what_they_start_with(fitted, monkeypatch):
    model, train, test = fitted
    seen = []
    for module in (moving, costs):
        monkeypatch.setattr(module, "explore", lambda draw, *, alt, start, **choices: seen.append(
            (draw(**start).get_suptitle(), start, choices)))
    browse_moved(model, train, test[0], right=10, turn=-15)
    browse_costs(np.array([1.0, 2, 3, 4]), np.array([0, 1, 0, 1]), 2.5)
    assert seen[0][0].startswith("moved 10 % right, 0 % down, turned -15°: largest distance ")
    assert seen[1][0] == ("threshold 2.50: 1,000 parts cost 975 (misses 500, alarms 475); "
                          "cheapest at 1.00: 475")
    for _, start, choices in seen:
        assert all(start[name] in options for name, options in choices.items())
    pyplot.close("all")


@pytest.mark.parametrize("miss, alarm, share", [(20, 1, 0.05), (1, 10, 0.5), (500, 1, 0.001)])
def test_the_cheapest_threshold_is_that_of_the_package(miss, alarm, share):
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 25])
    scores = np.round(generator.normal(labels, 0.8), 1)  # with ties
    best = best_cost_threshold(scores, labels, cost_miss=miss, cost_alarm=alarm, defect_rate=share)

    def cost(threshold):
        return 1000 * (share * miss * np.mean(scores[labels == 1] <= threshold)
                       + (1 - share) * alarm * np.mean(scores[labels == 0] > threshold))

    for threshold in (best, 0.35, scores.min() - 2, scores.max() + 2):
        told = cost_figure(scores, labels, threshold, miss=miss, alarm=alarm,
                           share=share).get_suptitle()
        assert told.startswith(f"threshold {threshold:.2f}: 1,000 parts cost {cost(threshold):,.0f}"
                               " (misses ")
        assert told.endswith(f"cheapest at {best:.2f}: {cost(best):,.0f}")
    pyplot.close("all")
