"""README's "In three lines": each line runs as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

import indad
from indad import PatchCore, load_dataset
from indad.cli import main
from indad.cli.words import parser

README = Path(__file__).resolve().parents[1] / "README.md"
SECTION = README.read_text(encoding="utf-8").split("## In three lines")[1].split("\n## ")[0]
ROWS = {asked: re.findall("`([^`]+)`", lines.split(" (or ")[0])
        for asked, lines in re.findall(r"^\| \.\.\. (.+?)\? \| (.+) \|$", SECTION, re.M)}
ELSEWHERE = ("submit", "export")  # run by tests/test_submission.py and tests/test_export.py
SMALLER = {"run": ["--resize", "48"], "benchmark": ["--resize", "48"]}  # for time


@pytest.fixture(scope="module")
def names(tmp_path_factory, drawn, small_network):
    """What the lines take for granted: a folder of bolts, and what was made of it."""
    place = tmp_path_factory.mktemp("three lines")
    train, test = load_dataset(drawn, "capsule")
    for folder, items in (("bolts/good", train), ("bolts/bent", test[-3:]), ("new", test[:2])):
        (place / folder).mkdir(parents=True)
        for number, item in enumerate(items):
            Image.open(item.path).resize((64, 64)).save(place / folder / f"{number}.png")
    good = [np.asarray(Image.open(file)) for file in sorted((place / "bolts/good").iterdir())]
    bad = [np.asarray(Image.open(file)) for file in sorted((place / "bolts/bent").iterdir())]
    model = PatchCore(**small_network, resize=64, device="cpu").fit(good)
    model.save(place / "models/bolts")
    shutil.copytree(drawn / "capsule", place / "datasets/synthetic/gear")
    return place, dict(
        PatchCore=PatchCore, indad=indad, cross_val_score=cross_val_score, test=bad, good=good,
        GridSearchCV=GridSearchCV, StratifiedKFold=StratifiedKFold, model=model,
        photos=[*good, *bad], labels=[0] * len(good) + [1] * len(bad),
        pixels=torch.as_tensor(np.stack(bad)).permute(0, 3, 1, 2))


def test_the_table_is_read_whole():
    assert len(ROWS) == SECTION.count("| ... ") >= 10
    assert all(1 <= len(lines) <= 3 for lines in ROWS.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("error:.*(Only one class|Scoring failed)")
@pytest.mark.parametrize("asked", ROWS)
def test_each_line_runs(names, asked, monkeypatch, capsys):
    place, known = names
    monkeypatch.chdir(place)
    monkeypatch.setenv("INDAD_DATASETS", str(place / "datasets"))
    if "runs" in "".join(ROWS[asked]):
        assert main(["run", "--dataset", "bolts", "--resize", "32"]) == 0
    for line in ROWS[asked]:
        words = shlex.split(line) if line.startswith("indad ") else []
        if words and words[1] in ELSEWHERE:
            parser().parse_args(words[1:])
        elif words:
            assert main([*words[1:], *SMALLER.get(words[1], ())]) == 0, capsys.readouterr().err
        else:
            exec(line, known)
