"""Run all with anything: every lesson reaches its end whatever was chosen, on a GPU as well.

Each lesson gets all data sets, all networks and both devices, and over the lessons these meet in
all pairs. (With drawn parts, on the CPU, each runs in a kernel: test_notebooks.py.)
"""

import os
import shutil
from contextlib import nullcontext

import pytest
import timm
import torch
from lessons import run_lesson
from PIL import Image
from pretend_gpu import pretend_gpu

from indad import load_dataset
from indad.notebook.getting import Cells
from notebooks import build
from notebooks.course import LESSONS

DATA = ("elpv", "own", "hazelnut")  # the last one is not everywhere
NETWORKS = ("efficientnet_lite0", "test_resnet", "test_vit")
# The pretended GPU is slow where a network has many operations: there it gets the small ones.
ON_GPU = {0: (False, True, False), 1: (True, False, False), 2: (True, False, True)}
CASES = [(lesson, data, NETWORKS[(place + i) % 3],
          ON_GPU[place % 3][i] if place != 5 else i == 1)
         for place, lesson in enumerate(LESSONS) for i, data in enumerate(DATA)]


@pytest.fixture(scope="module", autouse=True)
def drawn_parts():
    """Where the notebooks draw theirs: drawn once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INDAD_DATASETS",
                     os.environ.get("INDAD_DATASETS", str(build.HERE.parent / "datasets")))
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files with random weights of networks that are small for their kind."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in NETWORKS[1:]:
        torch.save(timm.create_model(name).state_dict(), folder / f"{name}.pth")
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of good and bent parts, photos of another shape and kind, without masks."""
    folder = tmp_path_factory.mktemp("own") / "bolts"
    train, test = load_dataset("synthetic", "weave")
    kinds = {"good": train[:20], "bent": [item for item in test if item.label][:6]}
    for kind, items in kinds.items():
        (folder / kind).mkdir(parents=True)
        for number, item in enumerate(items):
            photo = Image.open(item.path).resize((320, 240))
            if number % 2:
                photo.convert("L").save(folder / kind / f"{number}.png")
            else:
                photo.save(folder / kind / f"{number}.jpg")
    return folder


@pytest.fixture
def data_of(request, own):
    """What is typed into the form for one of `DATA`."""
    return {"elpv": lambda: dict(dataset="elpv", category="mono", images="reduced"),
            "hazelnut": lambda: dict(dataset="folder", folder=(
                request.getfixturevalue("hazelnut") / "hazelnut_reduced").as_posix()),
            "own": lambda: dict(dataset="folder", folder=own.as_posix())}


def test_every_lesson_meets_all_values_and_the_lessons_all_pairs():
    for lesson in LESSONS:
        mine = [case[1:] for case in CASES if case[0] is lesson]
        assert {data for data, _, _ in mine} == set(DATA)
        assert {network for _, network, _ in mine} == set(NETWORKS)
        assert {gpu for _, _, gpu in mine} == {True, False}
    pairs = {(data, network) for _, data, network, _ in CASES}
    assert len(pairs) == len(DATA) * len(NETWORKS)
    assert len({(data, gpu) for _, data, _, gpu in CASES}) == 2 * len(DATA)
    assert len({(network, gpu) for _, _, network, gpu in CASES}) == 2 * len(NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("lesson, data, network, gpu", [
    pytest.param(*case, id=f"{case[0].number}-{case[1]}-{case[2]}-{'gpu' if case[3] else 'cpu'}")
    for case in CASES])
def test_run_all(lesson, data, network, gpu, data_of, weights, monkeypatch, capsys):
    choice = data_of[data]() | dict(backbone=network)
    if network != NETWORKS[0]:
        choice |= dict(weights=(weights / f"{network}.pth").as_posix())
    with pretend_gpu() if gpu else nullcontext():
        names = run_lesson(lesson, monkeypatch, **choice)
    told = capsys.readouterr().out
    assert names["chosen"].device == ("cuda:0" if gpu else "cpu")
    assert names["chosen"].backbone == network
    assert f"{network} on {names['chosen'].device}" in told
    beside = any(isinstance(one, Cells) and one.real for one in names.values())
    assert ("Photos: ELPV" in told) == (data == "elpv" or beside)  # the credit, with the photos


@pytest.mark.slow
def test_a_planted_fault_of_devices_is_seen(weights, monkeypatch):
    """The pretended GPU refuses what a lesson could have done before."""
    lesson = LESSONS[2]
    copy = shutil.copytree(build.SOURCES, weights / "src")
    file = copy / f"{lesson.name}.py"
    text = file.read_text(encoding="utf-8")
    assert "remembered.rows.to(scale.device) * scale" in text
    file.write_text(text.replace("remembered.rows.to(scale.device) * scale",
                                 "remembered.rows.cpu() * scale"), encoding="utf-8")
    monkeypatch.setattr(build, "SOURCES", copy)
    with pretend_gpu(), pytest.raises(RuntimeError, match="on the same device"):
        run_lesson(lesson, monkeypatch, backbone="test_vit",
                   weights=(weights / "test_vit.pth").as_posix())
