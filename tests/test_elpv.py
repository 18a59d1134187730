"""ELPV, whose photos pip installs: labels, splits, modules, faults of the package, its credit."""

import importlib.util
import json
import os
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import indad
from indad.cli.commands import main
from indad.data import datasets as data
from indad.data import elpv
from indad.data.catalog import CATALOG, Package, credit, credits_of
from indad.data.datasets import count_images, fingerprint, list_categories, load_dataset
from indad.data.download import package as pip_package
from indad.data.download.installing import download_dataset, list_installed
from indad.deploy.inspection import inspect_images
from indad.deploy.serve import about
from indad.errors import InputError
from indad.experiments.report import write_report
from indad.notebook.getting import solar_cells

# Numbers and probabilities of a small package: three modules of mono cells, and of poly cells one
# that was photographed twice and another.
MONO = {**dict.fromkeys(range(1, 21), 0.0), 21: 1 / 3, 22: 2 / 3, 23: 1.0,
        **dict.fromkeys(range(361, 371), 0.0), 371: 1 / 3, 372: 1.0, 373: 1.0,
        **dict.fromkeys(range(901, 911), 0.0), 911: 1.0}
POLY = {**dict.fromkeys(range(61, 71), 0.0), 71: 1.0,
        **dict.fromkeys(range(1735, 1745), 0.0), **dict.fromkeys(range(2277, 2287), 0.0)}
COUNTS = {"mono": (32, 8, 4), "poly": (24, 6, 1)}


def write_package(site, module="elpv_dataset"):
    """A package as pip leaves it, whose code must never run; -> the folder of its photos."""
    folder = site / module / "data"
    (folder / "images").mkdir(parents=True)
    (site / module / "__init__.py").write_text("raise AssertionError('imported')")
    lines = []
    for kind, cells in (("mono", MONO), ("poly", POLY)):
        for number, probability in cells.items():
            name = f"images/cell{number:04d}.png"
            pixels = np.random.default_rng(number).integers(60, 200, (32, 32), dtype=np.uint8)
            pixels[8:20, 8:12] = 0 if probability == 1 else 130
            Image.fromarray(pixels).save(folder / name)
            lines.append(f"{name}  {probability:<20}{kind}\n")
    (folder / "labels.csv").write_text("".join(lines))
    return folder


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small package in the place of the real one."""
    folder = write_package(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(CATALOG, "elpv", replace(CATALOG["elpv"], counts=COUNTS))
    return folder


@pytest.fixture
def real():
    if importlib.util.find_spec("elpv_dataset") is None:
        pytest.skip("the real photos are not here: pip install elpv-dataset")


def numbers(items, defect_type=None):
    return [int(item.path.stem[4:]) for item in items
            if defect_type in (None, item.defect_type)]


def module(item):
    return elpv.Cell(item.path, int(item.path.stem[4:]), 0.0, "").module


# What it holds


def test_sure_labels_only_unless_asked(small):
    assert list_categories("elpv") == ["mono", "poly"]
    train, test = load_dataset("elpv", "mono")
    assert (train.dataset, train.category, train.folder) == ("elpv", "mono", small)
    assert {item.defect_type for item in test} == {"good", "defective"}
    assert numbers(test, "defective") == [23, 372, 373, 911]
    assert sorted(numbers(train) + numbers(test)) == [
        number for number, probability in MONO.items() if probability in (0, 1)]
    assert (len(train), *map(len, (numbers(test, "good"),))) == (32, 8)
    assert all(item.mask() is None for item in test if item.label)
    assert train.name_of(train[0]).startswith("images/cell")

    same, more = load_dataset("elpv", "mono_all")
    assert numbers(same) == numbers(train)
    assert set(numbers(more)) - set(numbers(test)) == {21, 22, 371}
    assert numbers(more, "perhaps_defective") == [22]
    assert {21, 371} <= set(numbers(more, "good"))


def test_the_split_follows_its_rule(small):
    """The rule of the docstring, word by word: it is the same on every machine, for ever."""
    good = [number for number, probability in MONO.items() if probability == 0]
    seed = [zlib.crc32(b"mono"), zlib.crc32(b"paper")]
    held_out = {good[i] for i in np.random.default_rng(seed).permutation(40)[:8]}
    train, test = load_dataset("elpv", "mono")
    assert set(numbers(test, "good")) == held_out
    assert not held_out & set(numbers(train))
    for again in (load_dataset("elpv", "mono", seed=5), load_dataset(small, "mono")):
        assert again[0].dataset == "elpv"
        assert fingerprint(*again) == fingerprint(train, test)
    assert load_dataset("elpv", "mono")[0].groups is None


def test_two_photos_of_a_cell_are_on_one_side(small):
    train, test = load_dataset("elpv", "poly")
    held_out = numbers(test, "good")
    assert any(1735 <= number < 1785 for number in held_out)  # or the test would test nothing
    for number in held_out:
        if number in elpv.FIRST_TIME:
            assert elpv.SECOND_TIME[number - 1735] not in numbers(train)
        if number in elpv.SECOND_TIME:
            assert elpv.FIRST_TIME[number - 2277] not in numbers(train)


@pytest.mark.parametrize("category", ["mono", "poly", "mono_all"])
def test_grouped_tests_on_modules_it_has_not_trained_on(category, small):
    train, test = load_dataset("elpv", category, split="grouped")
    assert not {module(item) for item in train} & {module(item) for item in test}
    assert train.groups == [module(item) for item in train]
    assert test.groups == [module(item) for item in test]
    good = [module(item) for item in test if not item.label]
    assert good and set(good) == {module(item) for item in test}


def test_modules():
    sizes = np.diff([*elpv.FIRST_OF_MODULE, 2625]).tolist()
    assert len(sizes) == 44
    assert {size: sizes.count(size) for size in set(sizes)} == {60: 40, 54: 1, 50: 1, 72: 1, 48: 1}

    def cell(number):
        return elpv.Cell(Path(), number, 0.0, "poly")

    assert [cell(number).module for number in (1, 60, 61, 1254, 1255, 2624)] == [
        1, 1, 61, 1201, 1255, 2565]
    assert {cell(number).module for number in (*range(1735, 1785), *range(2277, 2337))} == {1735}
    assert [cell(number).first_photo for number in (1784, 2277, 2326, 2327)] == [
        1784, 1735, 1784, 2327]


def test_reduced(small):
    train, test = load_dataset("elpv", "mono_reduced")
    assert (train.category, len(train), len(test)) == ("mono_reduced", 32, 8 + 4)
    assert load_dataset("elpv", "poly_all_reduced")[0].category == "poly_all_reduced"


@pytest.mark.parametrize("category, message", [
    (None, "elpv has several categories; choose one of: mono, poly"),
    ("mone", "did you mean mono"),
    ("screw", r"unknown category 'screw' \(known: mono, poly, mono_all, poly_all\)"),
])
def test_categories_that_are_wrong(category, message, small):
    with pytest.raises(InputError, match=message):
        load_dataset("elpv", category)


# Where it is, or is not


def test_where_it_is_missing(no_elpv, monkeypatch, capsys, tmp_path):
    words = "pip install elpv-dataset (91 MB, CC BY-NC-SA 4.0)"
    with pytest.raises(data.NotHere) as caught:
        load_dataset("elpv", "mono_reduced")
    assert str(caught.value) == f"elpv is not installed; run: {words}"
    monkeypatch.setattr(data, "in_notebook", lambda: True)
    with pytest.raises(data.NotHere) as caught:
        list_categories("elpv", datasets=tmp_path)
    assert str(caught.value) == f"elpv is not installed; run in a cell: %{words}"
    output = ["--output", str(tmp_path)]
    for command in (["run", "--dataset", "elpv", *output], ["check", "elpv"],
                    ["benchmark", "--dataset", "elpv", "--category", "mono", *output]):
        assert main(command) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1] == (
            f"indad: error: elpv is not installed; run: {words}")
    assert all(row.dataset != "elpv" for row in list_installed(tmp_path))


FAULTS = {
    "labels": (lambda folder: (folder / "labels.csv").unlink(), "labels.csv is missing"),
    "images": (lambda folder: (folder / "images").rename(folder / "photos"), "images is missing"),
    "image": (lambda folder: (folder / "images/cell0372.png").unlink(),
              "line 35: .*cell0372.png is missing"),
    "probability": (lambda folder: edit(folder, "0.3333333333333333", "0.5"),
                    "line 21: the probability is 0.5, none of 0, 1/3, 2/3 and 1"),
    "word": (lambda folder: edit(folder, "0.3333333333333333", "some"), "line 21: .*'some'"),
    "nan": (lambda folder: edit(folder, "0.3333333333333333", "nan"), "line 21: .*is nan"),
    "kind": (lambda folder: edit(folder, "poly", "thin"), "line 48: the kind is 'thin', neither "
             "mono nor poly"),
    "name": (lambda folder: edit(folder, "images/cell0002", "../../cell0002"),
             "line 2: '../../cell0002.png .* is not a name like images/cell0001.png"),
    "words": (lambda folder: edit(folder, "mono\n", "\n"), "line 1: .* is not a name like"),
    "bytes": (lambda folder: (folder / "labels.csv").write_bytes(b"\xff\xfe\x00"), "line 1: "),
}


def edit(folder, old, new):
    text = (folder / "labels.csv").read_text()
    assert old in text
    (folder / "labels.csv").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_package_that_is_broken(fault, small, capsys, tmp_path):
    breaks, message = FAULTS[fault]
    breaks(small)
    with pytest.raises(InputError, match=f"{message}.*; install it again: pip install --force"):
        load_dataset("elpv", "mono")
    with pytest.raises(InputError, match=message):
        download_dataset("elpv")
    assert main(["run", "--dataset", "elpv", "--output", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert all(row.problem for row in list_installed(tmp_path) if row.dataset == "elpv")
    assert main(["list", "--installed", "--datasets", str(tmp_path)]) == 0
    assert "not whole" in capsys.readouterr().out


def test_a_package_with_other_counts_is_told(small):
    edit(small, "0.3333333333333333", "0.0")
    with pytest.raises(InputError, match="not whole .33 good training images, not 32.*; install"):
        download_dataset("elpv", "mono")


# Getting it


def write_wheel(folder, module="elpv_toy"):
    """A package for pip to install, with no index and no network; it needs another, unheard of."""
    photos = write_package(folder / "build", module)
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as wheel:
        for file in sorted(photos.parent.rglob("*")):
            if file.is_file():
                wheel.write(file, file.relative_to(folder / "build"))
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: elpv-toy\nVersion: 1.0\n"
                                           "Requires-Dist: a-package-that-nobody-has\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\n"
                                        "Root-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """pip that finds packages in tmp_path only, and puts them where this Python looks."""
    pytest.importorskip("pip")
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path)),
                        ("PIP_TARGET", str(tmp_path / "site")), ("PIP_CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(CATALOG, "elpv", replace(
        CATALOG["elpv"], counts=COUNTS, package=Package("elpv-toy", "elpv_toy/data", 91_000_000)))


@pytest.mark.slow
def test_download_runs_pip_and_reads_the_package_in_place(pip, tmp_path, capsys):
    write_wheel(tmp_path)
    told = []
    folder = download_dataset("elpv", "mono_reduced", datasets=tmp_path / "sets", note=told.append)
    assert folder == tmp_path / "site" / "elpv_toy" / "data"
    assert told == ["pip install elpv-toy, 91 MB (licence: CC BY-NC-SA 4.0, see "
                    "https://github.com/zae-bayern/elpv-dataset)"]
    assert not (tmp_path / "sets").exists()
    assert load_dataset(folder, "mono")[0].folder == folder
    assert count_images("elpv", "poly") == COUNTS["poly"]
    assert download_dataset("elpv", note=told.append) == folder  # again: nothing to do
    assert len(told) == 1
    assert main(["download", "elpv"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"elpv is in {folder} (CC BY-NC-SA 4.0)"
    assert out[2].split() == ["elpv", "mono", "32", "8", "4"]
    assert out[-1] == credit("elpv")


@pytest.mark.slow
def test_pip_that_cannot(pip, monkeypatch, capsys):
    assert main(["download", "elpv"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "indad: error: elpv-toy could not be installed (No matching distribution found for "
        "elpv-toy); by hand: pip install elpv-toy")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(InputError, match="index of packages cannot be reached; is there a network"):
        download_dataset("elpv")


def pretend_pip(tmp_path, monkeypatch, *lines):
    """Another program in the place of Python, which writes down how it was called."""
    program = tmp_path / "python"
    program.write_text("\n".join(["#!/bin/sh", f'echo "$@" > {tmp_path}/called', *lines]))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_progress_of_pip(small, tmp_path, monkeypatch):
    pretend_pip(tmp_path, monkeypatch, "echo Collecting it", "echo Progress 10 of 20",
                "echo Progress 20 of 20")
    seen = []
    for version in ("25.1.1", "23.2.1"):
        monkeypatch.setattr(pip_package.importlib.metadata, "version", lambda _, v=version: v)
        pip_package.install(CATALOG["elpv"].package, progress=lambda *far: seen.append(far))
        called = (tmp_path / "called").read_text().split()
        assert called[:3] == ["-m", "pip", "install"] and called[-1] == "elpv-dataset"
        assert "--no-deps" in called  # numpy and Pillow stay as they are
        assert ("raw" in called) == (version == "25.1.1")
    assert seen == 2 * [("downloading", 10, 20), ("downloading", 20, 20)]


def test_what_pip_says(no_elpv, tmp_path, monkeypatch):
    package = CATALOG["elpv"].package
    for lines, message in (
            (["echo 'No module named pip' >&2", "exit 1"], "installed .No module named pip.; by"),
            (["echo 'error: externally-managed-environment'", "echo", "echo 'hint: see'", "exit 1"],
             r"installed .externally-managed-environment.; by hand: pip install elpv-dataset"),
            (["exit 3"], "pip said nothing"),
            (["exit 0"], "was installed, but this Python does not find it; start it again")):
        pretend_pip(tmp_path, monkeypatch, *lines)
        with pytest.raises(InputError, match=message) as caught:
            pip_package.install(package)
        assert "\n" not in str(caught.value)


def test_ctrl_c_ends_pip(small, tmp_path, monkeypatch):
    pretend_pip(tmp_path, monkeypatch, "echo Progress 10 of 20", "exec sleep 600")

    def interrupt(*far):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pip_package.install(CATALOG["elpv"].package, progress=interrupt)


def test_no_address_of_an_archive(small):
    with pytest.raises(InputError, match="installed by pip; it takes no address"):
        download_dataset("elpv", url="http://127.0.0.1/elpv.zip")


# Through the commands, with its credit


def test_whose_photos_they_are(small, capsys):
    line = credit("elpv")
    for words in ("Buerhop-Lutz et al.", "Deitsch et al.", "CC BY-NC-SA 4.0", "github.com/zae"):
        assert words in line
    assert credit("synthetic") == credit("bolts") == ""
    for row in CATALOG.values():
        assert (row.licence in credit(row.name)) == (row.name != "synthetic")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "elpv  " in out and CATALOG["elpv"].citation in out
    assert main(["list", "--installed"]) == 0
    assert line in capsys.readouterr().out.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("split", ["paper", "grouped"])
def test_a_sweep(split, small, tmp_path):
    output = tmp_path / "out"
    assert main(["benchmark", "--dataset", "elpv", "--split", split, "--shots", "2", "--resize",
                 "64", "--output", str(output)]) == 0
    runs = sorted(output.glob("elpv/*/*/metrics.json"))
    assert [run.parts[-3] for run in runs] == ["mono", "poly"]
    assert all(json.loads(run.read_text())["credit"] == credit("elpv") for run in runs)


@pytest.mark.slow
def test_a_run_and_its_report(small, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["run", "--dataset", "elpv", "--shots", "3", "--resize", "64", "--overlays", "2",
                 "--output", str(output)]) == 0
    assert {row["category"] for row in json.loads((output / "summary.json").read_text())} == {
        "mono", "poly"}
    page = write_report(output)[0].read_text()
    assert page.count(f'<p class="note">{credit("elpv")}</p>') == 1
    for folder in output.rglob("overlays"):
        for picture in folder.iterdir():
            picture.unlink()
    assert credit("elpv") not in write_report(output)[0].read_text()


def test_a_model_that_learned_from_them(small, tmp_path):
    """What explains a verdict shows a photo that the model remembers."""
    train, test = load_dataset("elpv", "mono", shots=2)
    model = indad.PatchCore(resize=64).fit(train)
    assert about(model, "cells")["credit"] == [credit("elpv")]
    inspect_images(model, [test[0].path], tmp_path / "found", overlays="none")
    assert json.loads((tmp_path / "found/prediction.json").read_text())["credit"] == [
        credit("elpv")]
    for file, name in (("a/mvtec_ad/hazelnut_reduced/train/good/0.png", "mvtec_ad"),
                       ("C:/sets/mtd/MT_Free/Imgs/a.jpg", "mtd")):
        assert credits_of(["/" + file]) == [credit(name)]
    assert credits_of([None, "/visa/parts/good/a.png", "/synthetic/gear/train/good/0.png"]) == []


def test_the_audit_takes_it(small):
    found = indad.audit("elpv")
    assert {name: [(group.split, group.defect_type, group.images) for group in groups]
            for name, groups in found.groups.items()} == {
        "mono": [("train", "good", 32), ("test", "good", 8), ("test", "defective", 4)],
        "poly": [("train", "good", 24), ("test", "good", 6), ("test", "defective", 1)]}
    assert not found.faults
    assert len(indad.audit("elpv", "mono_all").groups["mono_all"]) == 4


# The real photos


@pytest.mark.slow
def test_real_counts_are_those_of_the_catalogue(real):
    for category, counts in CATALOG["elpv"].counts.items():
        assert count_images("elpv", category) == counts
    assert [row.problem for row in list_installed() if row.dataset == "elpv"] == [None, None]
    sizes = {(category, split): tuple(map(len, load_dataset("elpv", category, split=split)))
             for category in ("mono", "poly", "mono_all", "mono_reduced")
             for split in ("paper", "grouped")}
    assert sizes == {
        ("mono", "paper"): (470, 431), ("mono", "grouped"): (451, 253),
        ("poly", "paper"): (736, 586), ("poly", "grouped"): (734, 337),
        ("mono_all", "paper"): (470, 604), ("mono_all", "grouped"): (451, 288),
        ("mono_reduced", "paper"): (50, 20), ("mono_reduced", "grouped"): (50, 20)}


@pytest.mark.slow
def test_real_modules(real):
    """No module has cells of both kinds, and what counts as the same cell shows the same."""
    folder = data.folder_of("elpv")
    cells = {cell.number: cell for cell in elpv.read_cells(folder)}
    assert sorted(cells) == list(range(1, 2625))
    kinds = {first: {cell.kind for cell in cells.values() if cell.module == first}
             for first in {cell.module for cell in cells.values()}}
    assert len(kinds) == 43 and all(len(kind) == 1 for kind in kinds.values())
    assert sum(kind == {"mono"} for kind in kinds.values()) == 18

    def grains(numbers):  # without the frame and the busbars, which all cells share
        pixels = np.stack([np.asarray(Image.open(cells[number].path).resize(
            (30, 30), Image.Resampling.BOX), np.float32) for number in numbers])
        return (pixels - pixels.mean(1, keepdims=True) - pixels.mean(2, keepdims=True)
                ).reshape(len(numbers), -1)

    first, second = elpv.FIRST_TIME, elpv.SECOND_TIME
    alike = np.corrcoef(grains(first), grains(second))[:50, 50:]
    assert alike.argmax(1).tolist() == list(range(50))
    assert np.diag(alike).min() > 0.95


@pytest.mark.slow
def test_real_photos_from_the_command_line(real, tmp_path, capsys):
    assert main(["run", "--dataset", "elpv", "--category", "mono_reduced", "--resize", "160",
                 "--output", str(tmp_path)]) == 0
    (record,) = [json.loads(file.read_text()) for file in tmp_path.rglob("metrics.json")]
    assert record["counts"]["train"] == 50 and record["counts"]["test_defective"] == 10
    assert record["metrics"]["image_auroc"] > 0.9
    assert record["metrics"]["pixel_auroc"] is None
    assert record["credit"] == credit("elpv")


def test_lessons_lay_real_cells_beside_drawn_parts(real, capsys):
    cells = solar_cells()
    assert cells.real and cells.name == "solar cells"
    assert (len(cells.train), len(cells.test), cells.test.labels.sum()) == (50, 20, 10)
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out


def test_drawn_parts_stand_in_for_real_cells_and_it_is_said(no_elpv, capsys):
    cells = solar_cells()
    assert not cells.real and cells.name == "drawn capsules"
    assert cells.train.dataset == "synthetic" and cells.test.labels.any()
    assert "pip install elpv-dataset, 91 MB" in capsys.readouterr().out
