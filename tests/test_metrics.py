"""Metrics against scikit-learn and against a literal AUPRO."""

import numpy as np
import pytest
from cases import few
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from indad.engine import ranks
from indad.metrics import aupro, image_metrics, pixel_metrics


def share_above(values, threshold):
    return np.count_nonzero(values >= threshold) / values.size


def literal_aupro(maps, masks, limit):
    """Every threshold, every region, one after the other; trapezoids up to the limit."""
    maps, masks = np.stack(maps), np.stack(masks)
    regions = []  # what the map says in each
    for heat, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [heat[labels == number] for number in range(1, count + 1)]
    good = maps[~masks]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        overlap = np.mean([share_above(region, threshold) for region in regions])
        points.append((share_above(good, threshold), overlap))
        if points[-1][0] >= limit:
            break
    area = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def pictures(seed, count=6, size=24, digits=None):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), bool)
    for mask in masks[:count // 2]:
        for _ in range(3):
            y, x = rng.integers(0, size - 6, 2)
            mask[y:y + rng.integers(1, 6), x:x + rng.integers(1, 6)] = True
    maps = rng.normal(size=masks.shape).astype(np.float32) + 1.3 * masks
    maps = maps.astype(np.float32) if digits is None else np.round(maps, digits).astype(np.float32)
    return maps, masks


def best_f1(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    return np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))


@pytest.mark.parametrize("seed", few(range(5), 2))
@pytest.mark.parametrize("digits", [None, 1, 0])  # 1 and 0: many ties
def test_pixel_metrics_equal_scikit_learn_and_the_literal_aupro(seed, digits):
    maps, masks = pictures(seed, digits=digits)
    found = pixel_metrics(list(maps), list(masks))
    labels, scores = masks.ravel(), maps.ravel()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert found["pixel_f1_max"] == pytest.approx(best_f1(labels, scores), abs=1e-9)
    assert found["aupro_30"] == pytest.approx(literal_aupro(maps, masks, 0.3), abs=1e-9)
    assert found["aupro_5"] == pytest.approx(literal_aupro(maps, masks, 0.05), abs=1e-9)
    assert aupro(list(maps), list(masks), 1.0) == pytest.approx(literal_aupro(maps, masks, 1.0),
                                                                abs=1e-9)


@pytest.mark.parametrize("digits", [None, 1])
def test_image_metrics_equal_scikit_learn(digits):
    rng = np.random.default_rng(0)
    labels = (rng.random(300) < 0.3).astype(int)
    scores = rng.normal(size=300) + labels
    scores = scores if digits is None else np.round(scores, digits)
    found = image_metrics(scores, labels)
    assert found["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert found["image_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert found["image_f1_max"] == pytest.approx(best_f1(labels, scores), abs=1e-9)


def test_chunks_change_nothing(monkeypatch):
    maps, masks = pictures(1, digits=1)
    whole = pixel_metrics(list(maps), list(masks))
    monkeypatch.setattr(ranks, "CHUNK_PIXELS", 100)
    assert pixel_metrics(list(maps), list(masks)) == whole


def test_large_raw_scores_are_not_squashed():
    """Distances of 20 and 30 are different scores; a sigmoid would make both 1."""
    assert image_metrics(np.array([20.0, 30.0]), np.array([0, 1]))["image_auroc"] == 1.0
    assert image_metrics(np.array([30.0, 20.0]), np.array([0, 1]))["image_auroc"] == 0.0


def test_regions_count_alike_whatever_their_size():
    maps, masks = np.zeros((1, 20, 20), np.float32), np.zeros((1, 20, 20), bool)
    masks[0, :10, :10], masks[0, 15, 15] = True, True
    maps[0, 15, 15] = 1  # finds the region of one pixel, misses the one of a hundred
    maps += np.linspace(0, 0.5, 400).reshape(20, 20).astype(np.float32) * ~masks
    assert pixel_metrics(list(maps), list(masks))["aupro_30"] == pytest.approx(0.5, abs=0.02)


def test_diagonal_neighbours_are_one_region():
    maps, masks = np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), bool)
    masks[0, [2, 3, 6], [2, 3, 6]] = True  # two on a diagonal, one apart
    maps[0, 6, 6] = 1
    assert aupro(list(maps), list(masks), 0.3) == pytest.approx(
        literal_aupro(maps, masks, 0.3), abs=1e-12)
    assert ranks.defect_pixels(list(maps), list(masks))[1].tolist() == [0.25, 0.25, 0.5]


def test_maps_of_different_sizes():
    rng = np.random.default_rng(2)
    masks = [rng.random((7, 5)) < 0.3, rng.random((4, 9)) < 0.3]
    maps = [rng.random(mask.shape) for mask in masks]
    labels, scores = (np.concatenate([a.ravel() for a in arrays]) for arrays in (masks, maps))
    assert pixel_metrics(maps, masks)["pixel_auroc"] == pytest.approx(
        roc_auc_score(labels, scores), abs=1e-9)


def test_missing_labels_and_masks_give_none_and_never_zero():
    assert set(image_metrics(np.ones(3), np.zeros(3)).values()) == {None}
    assert set(image_metrics(np.ones(3), np.ones(3)).values()) == {None}
    blank = [np.zeros((4, 4), bool)] * 2
    assert set(pixel_metrics([np.ones((4, 4))] * 2, blank).values()) == {None}
    assert set(pixel_metrics([], []).values()) == {None}
    assert aupro([np.ones((4, 4))], [np.ones((4, 4), bool)]) is None


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="finite"):
        image_metrics(np.array([1.0, np.nan]), np.array([0, 1]))
    mask = np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="finite"):
        pixel_metrics([np.full((3, 3), np.inf)], [mask])
    with pytest.raises(ValueError, match="mask is"):
        pixel_metrics([np.ones((3, 4))], [mask])
    with pytest.raises(ValueError, match="limit"):
        aupro([np.ones((3, 3))], [mask], 0)
    with pytest.raises(ValueError, match="2 maps"):
        pixel_metrics([np.ones((3, 3))] * 2, [mask])


@pytest.mark.slow
def test_memory_is_bounded_by_the_chunk_not_by_the_maps(monkeypatch):
    """Maps that are made when asked for, 32 MB in all, are evaluated within a few MB."""
    import tracemalloc

    class Lazy:
        def __len__(self):
            return 128

        def __getitem__(self, index):
            if index >= len(self):
                raise IndexError
            values = np.random.default_rng(index).random((256, 256), dtype=np.float32)
            values[:8, :8] += 0.5
            return values

    masks = np.zeros((128, 256, 256), bool)
    masks[:, :8, :8] = True
    monkeypatch.setattr(ranks, "CHUNK_PIXELS", 1 << 18)
    tracemalloc.start()
    found = pixel_metrics(Lazy(), masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.85 < found["pixel_auroc"] < 0.9
    assert peak < 8e6
