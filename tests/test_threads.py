"""Shares of work in threads: the same results, in order, whatever the threads do."""

import threading

import numpy as np
import pytest
import timm
import torch
from cases import few

from indad import PatchCore
from indad.backbones.extractor import FeatureExtractor
from indad.data.images import ImageTransform
from indad.engine.search import MemoryIndex
from indad.engine.threads import in_threads
from indad.features import PatchNetwork


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def asked_in_a_thread(question):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(question()))
    thread.start()
    thread.join()
    return answers[0]


def test_results_come_in_order_from_threads_that_compute_alone(two_threads):
    meet = threading.Barrier(2)

    def where(part):
        meet.wait(60)  # so that both are at work
        return part, torch.get_num_threads(), threading.current_thread().name

    found = in_threads(where, range(6))
    assert [part for part, _, _ in found] == list(range(6))
    assert {threads for _, threads, _ in found} == {1}
    assert len({name for _, _, name in found}) == 2
    assert torch.get_num_threads() == asked_in_a_thread(torch.get_num_threads) == 2


def test_one_thread_or_one_part_needs_no_other(two_threads):
    here = threading.get_ident()
    assert in_threads(lambda _: threading.get_ident(), [1]) == [here]
    assert in_threads(lambda part: part, []) == []
    torch.set_num_threads(1)
    assert in_threads(lambda _: threading.get_ident(), [1, 2]) == [here, here]


def test_shares_of_shares_do_not_wait_for_each_other(two_threads):
    def inner(part):
        return in_threads(lambda other: part * other, range(8))

    assert in_threads(inner, range(8)) == [[i * j for j in range(8)] for i in range(8)]


def test_threads_infer_where_the_caller_does(two_threads):
    def made(_):
        return torch.ones(1).is_inference()

    assert in_threads(made, range(4)) == [False] * 4
    with torch.inference_mode():
        assert in_threads(made, range(4)) == [True] * 4


def test_the_first_error_is_raised_and_threads_go_on(two_threads):
    def fails(part):
        if part > 1:
            raise ValueError(f"part {part}")
        return part

    with pytest.raises(ValueError, match="part 2"):
        in_threads(fails, range(5))
    assert in_threads(lambda part: part, range(3)) == [0, 1, 2]


@pytest.mark.parametrize("method", few(["float32", "matmul", "bfloat16"], 1))
def test_searches_from_many_threads_at_once(two_threads, method):
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(rows, 24, generator=generator) for rows in (3000, 2500))
    index = MemoryIndex(bank, method=method)
    expected = torch.cdist(queries.double(), bank.double()).topk(3, largest=False)
    found = []
    threads = [threading.Thread(target=lambda: found.append(index.search(queries, 3)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for distances, rows in found:
        assert torch.equal(rows, expected.indices)
        torch.testing.assert_close(distances.double(), expected.values, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hook", "list"])
def test_each_image_has_its_own_maps_however_a_network_hands_them_out(two_threads, kind):
    """Networks with hooks keep their maps on themselves, where another thread would find them."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", features_only=True, feature_cls=kind,
                                out_indices=(1, 2))
    assert any(part._forward_hooks for part in network.modules()) == (kind == "hook")
    extractor = FeatureExtractor(network, "test")
    describe = PatchNetwork(extractor, extractor.channels, ImageTransform(), torch.device("cpu"))
    pixels = torch.randint(0, 256, (32, 48, 48, 3), dtype=torch.uint8)
    one_by_one = torch.cat([describe(part) for part in pixels.split(1)])
    for _ in range(8):
        torch.testing.assert_close(describe(pixels), one_by_one, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["leave-one-out", "folds", "held-out"])
def test_a_model_is_the_same_by_one_thread_and_by_two(two_threads, calibration, small_network):
    photos = list(np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), np.uint8))
    options = dict(resize=64, coreset_ratio=0.5, calibration=calibration, device="cpu",
                   **small_network)
    models = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        models.append(PatchCore(**options).fit(photos))
    two, one = models
    assert torch.equal(two.coreset_indices_, one.coreset_indices_)
    for name in ("calibration_scores_", "calibration_peaks_"):
        assert len(getattr(two, name)) == len(getattr(one, name)) > 0
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-4)
    np.testing.assert_allclose(two.predict(photos).scores, one.predict(photos).scores, atol=1e-3)
