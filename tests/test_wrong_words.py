"""Words and arguments of every wrong kind: one line that says so, before anything is computed.

At the shell, every option and argument of every command gets values of every kind. In Python,
every argument of the functions that people call does. What is taken, of all these, is listed here.
"""

import argparse
import inspect
import os
import shutil
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from indad import (
    PatchCore,
    audit,
    download_dataset,
    evaluate,
    export_onnx,
    load_dataset,
    measure,
)
from indad.backbones.loading import load_backbone
from indad.backbones.registry import find_backbone
from indad.calibration import conformal_rank, conformal_threshold, decide
from indad.cli import commands
from indad.cli.checking import SUSPECTS
from indad.cli.words import parser
from indad.coreset import greedy_coreset, greedy_coreset_one_at_a_time, random_coreset
from indad.data.arguments import TEXT, takes, whole
from indad.data.synthetic.categories import write_category
from indad.deploy import export, serve, submission
from indad.deploy.explanation import explain
from indad.deploy.inspection import inspect_images
from indad.engine.machine import pick_device
from indad.errors import InputError
from indad.evaluation.delong import delong_test
from indad.evaluation.pimo import pimo
from indad.evaluation.segmentation import threshold_of
from indad.experiments import sweep
from indad.experiments.frames import to_frame
from indad.experiments.plans import expand
from indad.experiments.report import write_report
from indad.experiments.report_runs import read_runs
from indad.experiments.run import run
from indad.experiments.thresholds import best_cost_threshold, f1_max_threshold
from indad.metrics import aupro, image_metrics, pixel_metrics
from indad.neighbors import nearest, nearest_by_product
from indad.presets import check_options
from indad.scores import anomaly_maps

NINES, HUGE = "9" * 30, "99999"
WORDS = ["-1", "0", "1.5", "x", "", " ", "a\0b", "nan", "-inf", "1e400", NINES, HUGE, "no/such"]
NAMES = {word for word in WORDS if word.strip() and "\0" not in word}

# Which of WORDS an option takes; none of them if it is not here.
TAKEN = {
    "--shots": set(), "--overlays": {"0", NINES, HUGE}, "--seed": {"0", HUGE}, "--seeds": set(),
    "--batch-size": {NINES, HUGE}, "--layers": {"0", NINES, HUGE}, "--reserve": {"0"},
    "--num-neighbors": {NINES, HUGE}, "--reweight-neighbors": {NINES, HUGE},
    "--map-sigma": {"0", "1.5", HUGE}, "--map-kernel-size": {NINES, HUGE}, "--scales": {"1.5"},
    "--threshold": {"-1", "0", "1.5", NINES, HUGE}, "--port": {"0"}, "--resize": set(),
    "--memory-budget": {"1.5", NINES, HUGE}, "--datasets": NAMES, "--output": NAMES,
    "--archives": NAMES, ("submit", "folder"): NAMES, ("predict", "--overlays"): set(),
    ("benchmark", "--device"): NAMES,  # of the machines of a cluster, which may have it
}
BASE = {
    "run": ["--dataset", "tiles", "--output", "out"], "report": ["tiles"],
    "benchmark": ["--dataset", "tiles", "--output", "out"], "fit": ["tiles", "--output", "new"],
    "update": ["model", "tiles"], "predict": ["model", "tiles", "--output", "found"],
    "export": ["model", "x.onnx"], "serve": ["model", "--port", "0"], "list": [],
    "download": ["mvtec_ad", "screw"], "check": ["tiles"], "submit": ["sub", "--dataset", "ad2"]}


class Reached(Exception):
    """What was given was taken: the work begins."""


def reached(*arguments, **options):
    raise Reached


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    write_category(folder / "tiles", "tiles", train=3, good=1, per_defect=1)
    home = shutil.copytree(folder / "tiles", folder / "ad2" / "can")  # as MVTec AD 2 has it
    (home / "test").rename(home / "test_public")
    shutil.copytree(home / "train", home / "validation")
    for split, kind in submission.SPLITS.items():
        (home / split).mkdir()
        shutil.copy(home / "train/good/000.png", home / split / f"000_{kind}.png")
    return folder


@pytest.fixture(scope="module")
def model(place):
    fitted = PatchCore(resize=32, coreset_ratio=0.1, device="cpu").fit(place / "tiles")
    fitted.save(place / "model")
    return fitted


@pytest.fixture
def here(place, model, tmp_path, monkeypatch):
    """What takes long, or leaves this machine, raises `Reached`."""
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "here"))
    monkeypatch.setattr(export, "_write", reached)
    monkeypatch.setattr(submission, "OBJECTS", {"can": 1})
    monkeypatch.setattr("indad.data.audit._Examined", reached)
    monkeypatch.setattr("indad.data.download.installing.install", reached)
    monkeypatch.setattr("indad.data.download.installing.fetch", reached)


@pytest.fixture
def at_work(here, model, monkeypatch):
    """Everything up to the work is real, and the work raises `Reached`."""
    def prepare(model, **options):
        check_options(model.get_params())
        for part in model.backbone.split("+"):
            find_backbone(part)
        pick_device(model.device)
        raise Reached

    def loaded(cls, folder, device="auto", weights=None):
        if str(folder) != "model" or weights is not None:
            return load(cls, folder, device=device, weights=weights)
        TEXT.check("device", device)
        pick_device(device)
        return model

    load = PatchCore.load.__func__
    monkeypatch.setattr(PatchCore, "prepare", prepare)
    monkeypatch.setattr(PatchCore, "load", classmethod(loaded))
    monkeypatch.setattr(PatchCore, "check_fitted", lambda model: model.fitted_)
    monkeypatch.setattr(commands, "parser", cache(parser))  # made once for all words
    monkeypatch.setattr(sweep, "run_job", reached)
    monkeypatch.setattr(serve, "serve", reached)
    monkeypatch.setattr("indad.experiments.report.read_runs",
                        lambda folder: reached() if folder.is_dir() else read_runs(folder))


def given(command: str, action: argparse.Action, word: str) -> list[str]:
    """The words of a command that is right but for one of them."""
    words = list(BASE[command])
    if not action.option_strings:
        [whole_parser] = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
        positions = [a.dest for a in whole_parser.choices[command]._actions if not a.option_strings]
        words[positions.index(action.dest):positions.index(action.dest) + 1] = [word]
        return [command, *words]
    name = action.option_strings[0]
    if name in words:
        del words[words.index(name):words.index(name) + 2]
    if command == "check" and action.dest in SUSPECTS:
        words.append("--suspects")
    return [command, *words, f"{name}={word}"]


def said(words: list[str], capsys) -> tuple[bool, str]:
    """Whether a command takes its words, and what it says of them."""
    try:
        status = commands.main(words)
    except SystemExit as stopped:
        status = stopped.code
    except Reached:
        status = 0
    return status in (0, 1), capsys.readouterr().err


def actions():
    [whole_parser] = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for command, one in whole_parser.choices.items():
        for action in one._actions:
            if action.nargs != 0:
                yield command, action


@pytest.mark.slow
@pytest.mark.parametrize("command", BASE)
def test_every_option_of_every_command_with_words_of_every_kind(command, at_work, capsys):
    tried = 0
    # What submit shares with fit it takes as fit does.
    others = {action.dest for name, action in actions() if name == "fit" and command == "submit"}
    for action in (action for name, action in actions()
                   if name == command and action.dest not in others - {"folder"}):
        name = action.option_strings[0] if action.option_strings else action.dest
        takes_it = TAKEN.get((command, name), TAKEN.get(name, set()))
        for word in WORDS:
            if not action.option_strings and word.startswith("-"):
                continue  # that is an option
            before = sorted(path.name for path in Path.cwd().iterdir())
            words = given(command, action, word)
            taken, told = said(words, capsys)
            tried += 1
            assert taken == (word in takes_it), f"{words}: {told}"
            if not taken:
                lines = [line for line in told.splitlines() if line.strip()]
                errors = [line for line in lines if "indad: error: " in line]
                assert len(errors) == 1 and lines[-1] == errors[0], told
                assert len(errors[0]) > len("indad: error: ") + 15, told
                after = sorted(path.name for path in Path.cwd().iterdir())
                assert [name for name in after if name not in before and name != "out"] == []
    assert tried > 10


@pytest.mark.slow
def test_a_planted_option_that_takes_anything_is_seen(at_work, capsys, monkeypatch):
    monkeypatch.setitem(TAKEN, "--seed", set())
    seed = [one for one in actions() if one[1].option_strings[:1] == ["--seed"]]
    monkeypatch.setitem(globals(), "actions", lambda: seed)  # the others are tried above
    with pytest.raises(AssertionError, match="--seed=0"):
        test_every_option_of_every_command_with_words_of_every_kind("run", at_work, capsys)


GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(30, 5, generator=GENERATOR)
MAPS = [np.random.default_rng(0).random((8, 8)) for _ in range(3)]
MASKS = [np.eye(8, dtype=bool), np.zeros((8, 8), bool), np.zeros((8, 8), bool)]
SCORES, LABELS = np.array([0.1, 0.5, 0.3, 0.9]), np.array([0, 1, 0, 1])
WRONG = {
    "none": None, "minus": -1, "zero": 0, "half": 1.5, "nan": float("nan"), "inf": float("inf"),
    "text": "x", "empty": "", "bytes": b"x", "list": [], "dict": {}, "object": object(),
    "true": True, "huge": 2 ** 70, "vector": np.zeros(3), "matrix": torch.zeros(4, 4),
    "not finite": torch.full((30, 5), float("nan")), "complex": 1j, "mixed": [1, "x", None],
    "function": lambda: 1, "set": {1}, "nul": "a\0b", "words": np.array(["a", "b"]),
    "objects": np.array([None, "x"], dtype=object), "no rows": torch.empty(0, 5),
    "whole": torch.ones(30, 5, dtype=torch.int64)}


@pytest.fixture(scope="module")
def calls(place, model):
    """Functions that people call, each with right arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        train, test = load_dataset("tiles")
        prediction, features = model.predict(test), model.extract(test)
    fresh = PatchCore(resize=32, coreset_ratio=0.1, device="cpu")
    fresh.use(model.prepare())

    def grown(**arguments):
        return fresh.fit_features(features).update(**arguments)

    common = dict(strict=True, progress=None)
    return {
        "fit": (fresh.fit, dict(X=train, y=None, groups=None, **common)),
        "update": (grown, dict(X=train[:1], groups=None, **common)),
        "predict": (model.predict, dict(X=[test[0]], **common)),
        "extract": (model.extract, dict(X=[test[0]], training=False, strict=True)),
        "fit_features": (fresh.fit_features, dict(features=features, groups=None, selection=None,
                                                  copy=True)),
        "predict_features": (model.predict_features, dict(features=features)),
        "plan": (fresh.plan, dict(X=train)), "save": (model.save, dict(folder="other")),
        "module": (model.module, dict(bank_precision=torch.float32)),
        "load": (PatchCore.load, dict(folder="model", weights=None, device="cpu",
                                      precision="float32")),
        "evaluate": (evaluate, dict(prediction=prediction, images=test, frame="model")),
        "measure": (measure, dict(prediction=prediction, images=test, names=["segmentation"],
                                  frame="model", threshold=1.0, level=0.9, replicates=5, seed=0)),
        "pimo": (pimo, dict(good=MAPS[1:], defects=[MAPS[0][MASKS[0]]], bounds=(0.1, 0.2))),
        "threshold_of": (threshold_of, dict(maps=MAPS, sigmas=3.0)),
        "delong_test": (delong_test, dict(a=SCORES, b=SCORES, labels=LABELS, level=0.95)),
        "image_metrics": (image_metrics, dict(scores=SCORES, labels=LABELS)),
        "pixel_metrics": (pixel_metrics, dict(maps=MAPS, masks=MASKS)),
        "aupro": (aupro, dict(maps=MAPS, masks=MASKS, limit=0.3)),
        "greedy_coreset": (greedy_coreset, dict(features=POINTS, size=5, start=None, seed=0)),
        "one_at_a_time": (greedy_coreset_one_at_a_time, dict(features=POINTS, size=5, start=None)),
        "random_coreset": (random_coreset, dict(count=10, size=3, seed=0)),
        "nearest": (nearest, dict(queries=POINTS[:7], bank=POINTS, k=1, method="auto")),
        "nearest_by_product": (nearest_by_product, dict(queries=POINTS[:7], bank=POINTS, k=1)),
        "anomaly_maps": (anomaly_maps, dict(patches=torch.rand(2, 8, 8), size=(32, 32), sigma=1.0,
                                            kernel_size=3, upsampling="bilinear", border="zero")),
        "conformal_threshold": (conformal_threshold, dict(good_scores=SCORES,
                                                          false_alarm_rate=0.3)),
        "conformal_rank": (conformal_rank, dict(good_scores=SCORES, score=0.4)),
        "decide": (decide, dict(good_scores=SCORES, good_peaks=SCORES, false_alarm_rate=0.3)),
        "f1_max_threshold": (f1_max_threshold, dict(scores=SCORES, labels=LABELS)),
        "best_cost_threshold": (best_cost_threshold, dict(scores=SCORES, labels=LABELS,
                                                          cost_miss=1.0, cost_alarm=1.0)),
        "load_dataset": (load_dataset, dict(source="tiles", category=None, datasets=None,
                                            split="paper", shots=2, protocol="random", seed=0)),
        "audit": (audit, dict(folder="tiles", category=None, datasets=None)),
        "load_backbone": (load_backbone, dict(
            name="efficientnet_lite0", layers=None, weights=None, resize=32, crop=None,
            normalization="backbone", pretrained=False)),
        "download_dataset": (download_dataset, dict(name="elpv", categories=(), datasets=None,
                                                    archives=None, url=None)),
        "export_onnx": (export_onnx, dict(
            model=model, file="x.onnx", bank_precision="float32", pixels="uint8",
            dynamic_size=False, check_images=None, false_alarm_rate=0.3)),
        "explain": (explain, dict(model=model, image=test[0], place=None)),
        "inspect_images": (inspect_images, dict(
            model=model, images=["tiles/test"], output="found", false_alarm_rate=None,
            threshold=None, overlays="none", regions_as=["coco"], maps="npz", masks=True,
            strict=False)),
        "score": (model.score, dict(X=test, y=test.labels)),
        "to_frame": (to_frame, dict(results=prediction, images=test)),
        "run": (run, dict(dataset="tiles", category=None, preset="default", options=None,
                          split="paper", shots=2, protocol="random", frame="model",
                          false_alarm_rate=0.3, overlays=0, datasets=None, output="out",
                          measures=["pimo"])),
        "expand": (expand, dict(dataset="tiles", categories=["tiles"], presets=["default"],
                                seeds=[0], shots=[None], choices={}, options={})),
        "write_report": (write_report, dict(folder="out", output="r.html")),
    }


NAMES_OF_CALLS = [
    "fit", "update", "predict", "extract", "fit_features", "predict_features", "plan", "save",
    "module", "load", "evaluate", "measure", "pimo", "threshold_of", "delong_test",
    "image_metrics", "pixel_metrics", "aupro", "greedy_coreset",
    "one_at_a_time", "random_coreset", "nearest", "nearest_by_product", "anomaly_maps",
    "conformal_threshold", "conformal_rank", "decide", "f1_max_threshold", "best_cost_threshold",
    "load_dataset", "audit", "load_backbone", "download_dataset", "export_onnx", "explain",
    "inspect_images", "score", "to_frame", "run", "expand", "write_report"]


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name in (
        "fit", "update", "predict", "load_backbone", "download_dataset", "inspect_images", "run",
        "score", "export_onnx")
    else name for name in NAMES_OF_CALLS])
def test_every_argument_with_values_of_every_kind(name, calls, here, request):
    """Nothing but `InputError`, a `TypeError` with a sentence, or a result."""
    if name == "run":
        request.getfixturevalue("at_work")
    call, right = calls[name]
    refused = 0
    for argument in right:
        for kind, value in WRONG.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call(**{**right, argument: value})
            except Reached:
                pass
            except (InputError, TypeError) as error:
                refused += 1
                words = str(error)
                assert "\n" not in words and len(words.split()) >= 4, (argument, kind, words)
                assert isinstance(error, InputError) or argument == "progress", (
                    argument, kind, words)
    assert refused > 10


def test_arguments_that_are_taken_are_right():
    """What is wrong and was taken before, silently."""
    for labels in ([0, 2], [-1, 1], [1, 2], [0.5, 1], [np.nan, 1], ["0", "1"]):
        with pytest.raises(InputError, match=r"labels is .*; it must be 0 \(good\) or 1"):
            image_metrics([0.1, 0.2], labels)
    with pytest.raises(InputError, match="mask 0 is a ndarray .3, 3. of uint8"):
        pixel_metrics([np.ones((3, 3))], [np.full((3, 3), 2, np.uint8)])


def test_the_rules_are_those_of_a_signature():
    @takes(k=whole(1))
    def search(queries, k=1):
        """What it does."""
        return k

    assert list(inspect.signature(search).parameters) == ["queries", "k"]
    assert search.__doc__ == "What it does." and search([], 2) == 2
    with pytest.raises(InputError, match="k is 0; it must be a whole number, 1 or more"):
        search([], k=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'n'"):
        search([], n=0)
    with pytest.raises(AssertionError, match="'kk'"):
        takes(kk=whole(1))(search)


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
@pytest.mark.parametrize("words", [["list"], ["list", "presets"], ["--version"]])
def test_who_stops_reading_is_told_nothing(words):
    """As `| head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "indad", *words], stdout=writer,
                          stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""
