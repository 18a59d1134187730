"""Search that may miss: chosen only when asked, true distances, the same for one seed, one search
for thresholds and verdicts."""

import pickle

import numpy as np
import pytest
import torch
from cases import few
from test_neighbors import features

from indad import PatchCore
from indad.__main__ import main
from indad.engine import approximate
from indad.engine.approximate import ApproximateIndex, index_of
from indad.engine.search import MemoryIndex
from indad.errors import InputError

HOW = ["ivfpq", "hnsw"]
SMALL = dict(resize=64, coreset_ratio=1.0, map_kernel_size=9, device="cpu")


@pytest.fixture(scope="module")
def bank():
    return features(2000, 16, seed=1)


@pytest.fixture
def from_300_rows(monkeypatch):
    """Banks of a few photos count as huge."""
    monkeypatch.setattr(approximate, "FEWEST", 300)


@pytest.fixture(scope="module")
def photos():
    return list(np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("how", few(HOW, ["hnsw"]))
@pytest.mark.parametrize("k", [1, 3])
def test_distances_are_true_never_too_short_and_the_same_for_a_seed(bank, how, k):
    queries = features(200, 16, seed=2)
    exact, nearest = MemoryIndex(bank).search(queries, k)
    index = ApproximateIndex(bank, how, 5)
    distances, indices = index.search(queries, k)
    torch.testing.assert_close(distances, (queries[:, None] - bank[indices]).norm(dim=2))
    assert (distances >= exact - 1e-4).all() and torch.equal(distances, distances.sort(1).values)
    assert (distances <= exact + 1e-4).float().mean() > 0.9  # its recall, up to ties
    again = pickle.loads(pickle.dumps(index))
    assert again._found is None and all(map(torch.equal, again.search(queries, k),
                                            (distances, indices)))


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_rows_that_are_left_out_are_never_found(bank, how):
    index, left_out = ApproximateIndex(bank, how, 0), torch.arange(len(bank)) % 3 > 0
    smaller = index.without(left_out)
    assert torch.equal(smaller.bank, bank[~left_out]) and smaller._found is index._found
    distances, indices = smaller.search(bank[left_out][:200], 3)
    torch.testing.assert_close(
        distances, (bank[left_out][:200, None] - smaller.bank[indices]).norm(dim=2))
    assert index.search(bank[:200])[0].max() == 0


@pytest.mark.parametrize("how", few(HOW, ["hnsw"]))
def test_of_too_few_found_the_search_is_exact(bank, how):
    """Where cells hold fewer than are wanted, or nearly no row is left."""
    queries = bank[:3] + 0.1
    for index, k in ((ApproximateIndex(bank, how, 0), 1500),
                     (ApproximateIndex(bank, how, 0).without(torch.arange(len(bank)) > 6), 7)):
        wanted, _ = MemoryIndex(index.bank).search(queries, k)
        distances, indices = index.search(queries, k)
        assert distances.isfinite().all() and (indices >= 0).all()
        assert all(len(set(row)) == k for row in indices.tolist())
        torch.testing.assert_close(distances[:, -1] if k == 7 else distances[:, 0],
                                   wanted[:, -1] if k == 7 else wanted[:, 0])
    with pytest.raises(InputError, match="not finite"):
        index.search(queries * torch.nan)


@pytest.mark.parametrize("how", HOW)
def test_small_banks_are_searched_exactly(how):
    made = index_of(torch.zeros(approximate.FEWEST - 1, 2), {"search": how, "seed": 0})
    assert type(made) is MemoryIndex
    assert type(index_of(torch.zeros(99_999, 2), {})) is MemoryIndex  # as older models do


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_a_model_keeps_its_search(from_300_rows, photos, tmp_path, how):
    model = PatchCore(search=how, seed=3, **SMALL).fit(photos[:6])
    assert model.fitted_.index.how == how and model.fitted_.index.seed == 3
    before = model.predict(photos)
    assert (before.scores >= PatchCore(seed=3, **SMALL).fit(photos[:6]).predict(photos).scores
            - 1e-4).all()
    model.save(tmp_path / "model")
    loaded = PatchCore.load(tmp_path / "model", device="cpu")
    assert loaded.search == how and np.array_equal(loaded.predict(photos).scores, before.scores)
    model.update(photos[6:8])
    assert model.fitted_.index.how == how and len(model.fitted_.index.bank) == 8 * 64
    with pytest.raises(InputError, match=f"search is '{how}', but a module and an export"):
        model.module()
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "one.onnx")]) == 2
    assert not list(tmp_path.glob("*.onnx"))
    model.search = "exact"
    with pytest.raises(InputError, match=f"search was '{how}' .* is 'exact' now; fit it again"):
        model.predict(photos)


@pytest.mark.parametrize("calibration", few(["leave-one-out", "folds", "held-out"], 1))
def test_thresholds_come_from_the_search_that_judges(from_300_rows, photos, monkeypatch,
                                                     calibration):
    used, search = [], ApproximateIndex.search
    monkeypatch.setattr(ApproximateIndex, "search", lambda self, *about: (
        used.append(len(self.bank)) or search(self, *about)))
    model = PatchCore(search="hnsw", calibration=calibration, **SMALL).fit(photos)
    assert len(used) == len(model.calibration_scores_) > 0
    assert set(used) <= {7 * 64, 8 * 64}  # of nine photos, one or a fifth left out


@pytest.mark.parametrize("how", few(HOW, ["hnsw"]))
def test_a_gpu_takes_what_faiss_finds_on_the_cpu(bank, how):
    from pretend_gpu import pretend_gpu

    queries = features(50, 16, seed=2)
    wanted = ApproximateIndex(bank, how, 0).search(queries, 3)[0]
    with pretend_gpu():
        index = ApproximateIndex(bank.to("cuda"), how, 0)
        found, places = index.search(queries.to("cuda"), 3)
        assert found.device.type == places.device.type == "cuda"
        left = index.without(torch.zeros(len(bank), dtype=torch.bool, device="cuda"))
        assert torch.equal(left.search(queries.to("cuda"), 3)[1].cpu(), places.cpu())
        found = found.cpu()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("wrong", ["annoy", "", None, 3, "IVFPQ"])
def test_another_search_is_refused(photos, wrong):
    with pytest.raises(InputError, match="search.*exact.*ivfpq.*hnsw"):
        PatchCore(search=wrong, **SMALL).fit(photos[:2])


@pytest.mark.slow
def test_the_command_line_asks_for_it(photos, tmp_path, capsys, from_300_rows):
    from PIL import Image

    (tmp_path / "good").mkdir()
    for number, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / "good" / f"{number}.png")
    words = ["fit", str(tmp_path / "good"), "--output", str(tmp_path / "model"), "--resize", "64",
             "--coreset-ratio", "1"]
    assert main([*words, "--search", "hnsw"]) == 0
    assert PatchCore.load(tmp_path / "model").search == "hnsw"
    assert main([*words, "--search", "annoy"]) == 2
    assert "unknown search 'annoy'" in capsys.readouterr().err
