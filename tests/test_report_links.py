"""What a results folder from elsewhere may lead to: a report holds what is a run's own."""

import json
import os

import pytest
from cases import few
from PIL import Image
from test_report import read, write_run

from indad.experiments.report import write_report


@pytest.fixture
def output(tmp_path):
    """A good run, and another for the test to spoil."""
    for category in ("gear", "wood"):
        write_run(tmp_path / "runs", category, scores=[0.5, 2.0], labels=[0, 1],
                  names=["good/0.png", "bent/1.png"],
                  overlays=["bent_1.png"])
    return tmp_path / "runs"


def of(output, category):
    return next(output.glob(f"mvtec_ad/{category}/*"))


def private(folder):
    Image.new("RGB", (512, 280), (200, 0, 0)).save(folder / "private.png")
    return folder / "private.png"


def make_link(place, target):
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("part", few(["overlays", "explanations"], 1))
@pytest.mark.parametrize("how", ["link", "relative link", "hollow link", "linked folder", "pipe"])
def test_a_picture_that_is_not_the_runs_own_is_left_out_with_a_word(output, tmp_path, part, how):
    secret, place = private(tmp_path), of(output, "wood") / part / "bent_1.png"
    if how == "linked folder":
        (tmp_path / "elsewhere").mkdir()
        secret.rename(tmp_path / "elsewhere" / place.name)
        place.unlink(missing_ok=True)
        if place.parent.exists():
            place.parent.rmdir()
        place.parent.symlink_to(tmp_path / "elsewhere")
    elif how == "pipe":
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        os.mkfifo(place)
    else:
        make_link(place, {"link": secret, "hollow link": tmp_path / "nothing.png",
                          "relative link": os.path.relpath(secret, place.parent)}[how])
    page = read(output, tmp_path / "a.html")
    assert f"{part}/bent_1.png: a link, or no plain file" in page.source
    assert len([one for one in page.all("img") if one["src"].startswith("data:image")]) == 1
    assert str(tmp_path) not in page.source


@pytest.mark.parametrize("name", ["metrics.json", "scores.csv"])
def test_a_record_that_is_a_link_is_none(output, tmp_path, name):
    file = of(output, "wood") / name
    file.rename(tmp_path / name)
    file.symlink_to(tmp_path / name)
    _, left_out = write_report(output, tmp_path / "a.html")
    assert len(left_out) == 1 and f"{name}: a link" in left_out[0]
    assert str(tmp_path) not in (tmp_path / "a.html").read_text()


def edited(file, change) -> str:
    record = json.loads(file.read_text())
    change(record)
    return json.dumps(record)


BAD = {
    "deep": lambda file: "[" * 100_000,
    "no object": lambda file: '["metrics"]',
    "metrics is a list": lambda file: edited(file, lambda it: it.update(metrics=[1])),
    "a number of 400 digits": lambda file: edited(
        file, lambda it: it["decision"].update(threshold=10 ** 400)),
    "no number": lambda file: edited(file, lambda it: it["timings"].update(images_per_s="fast")),
    "text for counts": lambda file: edited(file, lambda it: it["counts"].update(train=[2])),
    "config is text": lambda file: edited(file, lambda it: it.update(config="none")),
}


@pytest.mark.slow
@pytest.mark.parametrize("bad", BAD)
def test_one_bad_run_does_not_end_the_report(output, tmp_path, bad):
    file = of(output, "wood") / "metrics.json"
    file.write_text(BAD[bad](file))
    _, left_out = write_report(output, tmp_path / "a.html")
    assert len(left_out) == 1 and str(file) in left_out[0] and "\n" not in left_out[0]
    page = (tmp_path / "a.html").read_text()
    assert "gear" in page and str(tmp_path) not in page


@pytest.mark.parametrize("score, label", [("nan", 0), ("inf", 1), ("1.0", 7), ("1.0", -1)])
def test_scores_that_are_none_do_not_end_it_either(output, tmp_path, score, label):
    file = of(output, "wood") / "scores.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], f"good/0.png,{label},good,{score},1.0,good", lines[1]]))
    _, left_out = write_report(output, tmp_path / "a.html")
    assert len(left_out) == 1 and "scores.csv: not the scores of a run" in left_out[0]
