"""Every example in a docstring runs, and prints what it says; so do those of CONTRIBUTING.md."""

import ast
import doctest
import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import indad
from indad import PatchCore, load_dataset
from indad.backbones.registry import BACKBONES
from indad.cli import main
from indad.data.layouts import READERS
from indad.scores import IMAGE_SCORES

PACKAGE = Path(indad.__file__).parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEEDS_A_NETWORK = {"download_dataset"}  # test_download.py does as its example says, on loopback
QUICK = {"tile_starts", "conformal_rank", "ticks", "nearest", "nearest_by_product"}


def examples():
    """(module, name) of each docstring with an example, without an import."""
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) \
                    and ">>>" in (ast.get_docstring(node) or ""):
                yield pytest.param(module, node.name, id=f"{module}.{node.name}",
                                   marks=() if node.name in QUICK else pytest.mark.slow)


class Checker(doctest.OutputChecker):
    """An example that does not say what it prints only has to run."""

    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)


@pytest.fixture(scope="module")
def world(tmp_path_factory, drawn, small_network):
    """What examples speak of: folders `bolts` and `new`, a saved model, `train`, `test`, ..."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(drawn / "tiles/train/good", folder / "bolts/good")
    shutil.copytree(drawn / "tiles/test", folder / "new")
    train, test = load_dataset(drawn, "tiles")
    model = PatchCore(resize=64, device="cpu", **small_network).fit(train)
    model.save(folder / "models/bolts")
    assert main(["run", "--dataset", str(drawn), "--category", "tiles", "--resize", "64",
                 "--output", str(folder / "results/runs")]) == 0
    return folder, dict(
        train=train, test=test, model=model, torch=torch, np=np, PatchCore=PatchCore,
        load_dataset=load_dataset, curve=np.linspace(1, 0, 20), figure_of=figure_of,
        features=torch.randn(200, 8, generator=torch.Generator().manual_seed(0)))


def figure_of(values):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(values)
    return figure


@pytest.mark.parametrize("module, name", list(examples()))
def test_an_example_runs(module, name, request, monkeypatch):
    if name in NEEDS_A_NETWORK:
        pytest.skip("needs a network")
    names = dict(torch=torch, np=np)
    if name not in QUICK:
        folder, more = request.getfixturevalue("world")
        names |= more
        monkeypatch.chdir(folder)
        monkeypatch.setenv("INDAD_STATIC", "1")
    there = importlib.import_module(module)
    [found] = [one for one in doctest.DocTestFinder(recurse=False).find(
        getattr(there, name), name, module=there, extraglobs=names) if one.examples]
    told = []
    result = doctest.DocTestRunner(Checker(), optionflags=OPTIONS).run(found, out=told.append)
    assert result.attempted and not result.failed, "".join(told)


def test_an_example_that_is_wrong_would_be_seen():
    found = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "made", None, None)
    assert doctest.DocTestRunner(Checker(), verbose=False).run(found, out=len).failed == 1


@pytest.mark.slow
def test_the_ways_to_extend_it_run_as_they_are_written(drawn):
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 4 and 'load_dataset("synthetic", "gear"' in blocks[0]
    names: dict = {}
    before = [dict(table) for table in (BACKBONES, READERS, IMAGE_SCORES)]
    try:
        exec(blocks[0].replace('"synthetic", "gear"', f"{str(drawn)!r}, 'tiles'"), names)
        for block in blocks[1:]:
            exec(block, names)
        assert names["model"].grid_ == (16, 16)
        assert np.isfinite(names["prediction"].scores).all()
        train, test = READERS["flat"](drawn / "tiles/train/good", "", "paper", 0)
        assert len(train) + len(test) == 8 and {item.label for item in train} <= {0, 1}
    finally:
        for table, old in zip((BACKBONES, READERS, IMAGE_SCORES), before, strict=True):
            table.clear()
            table.update(old)
