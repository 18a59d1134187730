"""Pictures that the course and a curious user look at again and again, and what moves in them.

Functions named `..._figure` return a matplotlib figure; the others show it with its controls.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..data.datasets import ImageSet
from ..data.images import read_image
from ..data.layouts import Item
from ..deploy.explanation import Box, Match, explain, train_box
from ..deploy.pictures import ColourScale, heat, zoomed
from ..engine.prediction import Prediction
from ..patchcore import PatchCore
from .widgets import explore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

GOOD, DEFECTIVE = "#0072B2", "#D55E00"  # blue and vermilion: told apart without colour vision


def canvas(columns: int, *, rows: int = 1, size: float = 3.0) -> tuple["Figure", np.ndarray]:
    """A figure of pictures side by side, without axes: `(rows, columns)` of them."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, squeeze=False,
                                   figsize=(size * columns, (size + 0.3) * rows),
                                   layout="constrained")
    for one in axes.flat:
        one.axis("off")
    return figure, axes


def scale_of(prediction: Prediction, labels: np.ndarray | None = None) -> ColourScale:
    """One colour scale for all maps: no heat at what good images reach, hottest at the top."""
    peaks = prediction.peaks
    good = peaks[labels[prediction.indices] == 0] if labels is not None else peaks
    low = float(np.median(good)) if len(good) else float(np.median(peaks))
    return ColourScale(low=low, high=max(float(peaks.max()), low * 1.001))


def verdict_figure(item: Item, anomaly_map: np.ndarray, scale: ColourScale, *, score: float,
                   threshold: float | None = None) -> "Figure":
    """Photo, heat map and, if known, the true mask of one image, with its score."""
    photo = read_image(item.path)
    mask = item.mask() if item.label else None
    figure, axes = canvas(3 if mask is not None else 2)
    verdict = "" if threshold is None else (
        f", verdict {'defective' if score > threshold else 'good'} (limit {threshold:.2f})")
    figure.suptitle(f"{item.defect_type}/{item.path.stem}: score {score:.2f}{verdict}", fontsize=10)
    panel(axes[0, 0], photo, "image")
    panel(axes[0, 1], heated(photo, anomaly_map, scale), "anomaly map")
    if mask is not None:
        panel(axes[0, 2], photo, "true defect outlined")
        outline(axes[0, 2], mask)
    return figure


def browse(images: ImageSet, prediction: Prediction, *, threshold: float | None = None,
           start: int | None = None) -> None:
    """Look through the images of a prediction, the worst first."""
    scale = scale_of(prediction, images.labels)
    order = np.argsort(-prediction.scores)
    names = {f"{images[prediction.indices[i]].defect_type}/"
             f"{images[prediction.indices[i]].path.stem}": int(i) for i in order}

    def draw(image: str) -> "Figure":
        position = names[image]
        return verdict_figure(images[prediction.indices[position]], prediction.maps[position],
                              scale, score=float(prediction.scores[position]), threshold=threshold)

    first = next(name for name, i in names.items() if start is None or i == start)
    explore(draw, image=list(names), start={"image": first},
            alt=f"image, anomaly map and true defect of {first}")


def match_figure(match: Match, item: Item, train: ImageSet, model: PatchCore) -> "Figure":
    """A patch of an image, and the training patch that the bank holds nearest to it."""
    partner = train[match.train_image]
    photo, remembered = (read_image(one.path, model.levels_) for one in (item, partner))
    figure, axes = canvas(4, size=2.6)
    panel(axes[0, 0], photo, f"{item.defect_type}/{item.path.stem}")
    mark_box(axes[0, 0], match.box)
    figure.suptitle(f"patch {match.place}: distance {match.distance:.2f} to the nearest "
                    "remembered patch", fontsize=10)
    box = match_panels(axes[0, 1], axes[0, 2], photo, match, remembered, model)
    if box is not None:
        panel(axes[0, 3], remembered, f"training image {partner.path.stem}")
        mark_box(axes[0, 3], box)
    return figure


def match_panels(patch: "Axes", nearest: "Axes", photo: "Image", match: Match, remembered: "Image",
                 model: PatchCore) -> Box | None:
    """Draw a patch of a photo, and beside it the remembered one, both with their surroundings.

    -> where that lies in the training image `remembered`; None, and the whole image is drawn, if it
    comes from a view of it.
    """
    panel(patch, zoomed(photo, match.box), "the patch and its surroundings")
    box = train_box(model, match, remembered)
    if box is None:
        panel(nearest, remembered, "from a view of this training image")
    else:
        panel(nearest, zoomed(remembered, box), "its nearest remembered patch")
    return box


def browse_matches(model: PatchCore, train: ImageSet, item: Item) -> None:
    """Pick a patch of an image, and see which training patch it matched; the worst patch first."""
    worst = explain(model, item)
    explore(lambda row, column: match_figure(explain(model, item, place=(row, column)), item,
                                             train, model),
            row=range(model.grid_[0]), column=range(model.grid_[1]),
            start={"row": worst.place[0], "column": worst.place[1]},
            alt=f"the worst patch of {item.defect_type}/{item.path.stem}, and the training patch "
                "nearest to it")


def threshold_figure(scores: np.ndarray, labels: np.ndarray, threshold: float,
                     images: ImageSet | None = None, most: int = 6) -> "Figure":
    """Scores of good and defective images, a threshold, its four counts and some mistakes.

    Args:
        scores, labels: `(n,)`, 1 for defective.
        images: the n images, to show the mistakes; missed defects are outlined where masks are.
        most: mistakes to show, the farthest on the wrong side first.
    """
    from matplotlib import pyplot

    flagged = scores > threshold
    false_alarms, misses = flagged & (labels == 0), ~flagged & (labels == 1)
    figure = pyplot.figure(figsize=(9, 5.2 if images is not None else 3), layout="constrained")
    grid = figure.add_gridspec(2 if images is not None else 1, most, height_ratios=(
        (1.6, 1) if images is not None else (1,)))
    axes = figure.add_subplot(grid[0, :])
    bins = np.linspace(scores.min(), scores.max(), 30).tolist()
    axes.hist(scores[labels == 0], bins, color=GOOD, alpha=0.7, label="good")
    axes.hist(scores[labels == 1], bins, color=DEFECTIVE, alpha=0.7, hatch="//", label="defective")
    axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.set(xlabel="anomaly score", ylabel="images")
    axes.locator_params("y", integer=True)  # images are whole
    figure.suptitle(f"threshold {threshold:.2f}: {false_alarms.sum()} of {np.sum(labels == 0)} "
                    f"good flagged, {misses.sum()} of {np.sum(labels == 1)} defects missed",
                    fontsize=10)
    axes.legend()
    if images is not None:
        wrong = np.flatnonzero(false_alarms | misses)
        wrong = wrong[np.argsort(-np.abs(scores[wrong] - threshold))][:most]
        for place in range(most):
            one = figure.add_subplot(grid[1, place])
            one.axis("off")
            if place < len(wrong):
                item = images[int(wrong[place])]
                kind = "false alarm" if item.label == 0 else f"missed {item.defect_type}"
                panel(one, read_image(item.path), f"{kind}\n{scores[wrong[place]]:.2f}")
                if item.label and (mask := item.mask()) is not None:
                    outline(one, mask)
            elif not len(wrong) and place == 0:
                one.text(0, 0.5, "no mistakes at this threshold")
    return figure


def browse_thresholds(scores: np.ndarray, labels: np.ndarray, start: float,
                      images: ImageSet | None = None, steps: int = 41) -> None:
    """Slide the threshold, and see its mistakes."""
    start = round(float(start), 3)
    explore(lambda threshold: threshold_figure(scores, labels, threshold, images),
            threshold=levels_of(scores, start, steps), start={"threshold": start},
            alt=f"histogram of scores of good and defective images, threshold at {start:.2f}, and "
                "the images on its wrong side, missed defects outlined")


def levels_of(scores: np.ndarray, start: float, steps: int) -> list[float]:
    """Thresholds to choose from: short numbers over all scores, and `start` among them."""
    lowest, highest = float(scores.min()), float(scores.max())
    return sorted({*np.round(np.linspace(lowest, highest, steps), 3).tolist(), start})


def coreset_figure(points: np.ndarray, picks: Sequence[int], radius: float | None = None,
                   title: str = "") -> "Figure":
    """Points in the plane, the picks among them, and the circles that cover everything.

    Args:
        points: `(n, 2)`; of wider features, their first two principal components.
        picks: indices of the points chosen so far, in order.
        radius: of the circles, which mean something only if `points` are the features themselves.
    """
    from matplotlib import pyplot
    from matplotlib.patches import Circle

    figure, axes = pyplot.subplots(figsize=(5, 4.6), layout="constrained")
    axes.scatter(points[:, 0], points[:, 1], s=6, color="#999999", label=f"{len(points):,} points")
    chosen = points[list(picks)]
    if radius is not None:
        for x, y in chosen:
            axes.add_patch(Circle((x, y), radius, color=GOOD, alpha=0.08, linewidth=0))
    axes.scatter(chosen[:, 0], chosen[:, 1], s=26, color=DEFECTIVE, marker="^",
                 label=f"{len(chosen):,} picks")
    axes.set(title=title, aspect="equal")
    axes.legend(loc="upper right")
    return figure


def panel(axes: "Axes", image: object, title: str) -> None:
    axes.imshow(np.asarray(image))
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def heated(photo: object, anomaly_map: np.ndarray, scale: ColourScale) -> np.ndarray:
    """A photo under its anomaly map, `(h, w, 3)` uint8."""
    return heat(np.asarray(photo, np.float32), scale.fractions(anomaly_map)).astype(np.uint8)


def outline(axes: "Axes", mask: np.ndarray) -> None:
    axes.contour(mask, levels=[0.5], colors="#00FF00", linewidths=1.2)


def mark_box(axes: "Axes", box: Box) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False,
                             edgecolor="#00FFFF", linewidth=2))
