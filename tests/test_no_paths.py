"""No file that leaves this machine says where it keeps what."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import indad
from indad import PatchCore
from indad.cli.commands import main
from indad.data.images import read_image
from indad.deploy.explanation import explain, why_picture
from indad.deploy.export import export_onnx

ELSEWHERE = {str(place).encode() for place in (
    Path.home(), Path(indad.__file__).resolve().parents[1], Path(np.__file__).resolve().parents[1],
    Path(tempfile.gettempdir()))} - {b"/"}


def paths_in(place: Path) -> list[str]:
    """Names of files below `place` that hold a path of this machine, with that path."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    assert files
    return [f"{file.name}: {path.decode()}" for file in files for path in ELSEWHERE
            if path in file.read_bytes()]


@pytest.mark.slow
def test_an_exported_file_keeps_no_source_lines(tmp_path, small_network):
    onnx = pytest.importorskip("onnx")
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    model = PatchCore(resize=64, coreset_ratio=0.3, device="cpu", **small_network).fit(pictures)
    export_onnx(model, tmp_path / "a.onnx")
    assert paths_in(tmp_path / "a.onnx") == []
    raw = (tmp_path / "a.onnx").read_bytes()
    assert not any(word in raw for word in (b".py", b"stack_trace", b"site-packages", b"line "))
    graph = onnx.load(tmp_path / "a.onnx")
    assert [one.key for one in graph.metadata_props] == ["indad"] and not graph.doc_string
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


@pytest.mark.slow
def test_a_run_its_report_a_model_and_predictions_hold_no_path(drawn, tmp_path, monkeypatch):
    """All is given by whole paths."""
    assert main(["run", "--dataset", str(drawn), "--category", "tiles", "--resize", "64",
                 "--output", str(tmp_path / "runs")]) == 0
    assert main(["report", str(tmp_path / "runs")]) == 0
    assert paths_in(tmp_path / "runs") == []
    assert main(["fit", str(drawn / "tiles/train/good"), "--resize", "64", "--output",
                 str(tmp_path / "model")]) == 0
    assert paths_in(tmp_path / "model") == []
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert main(["predict", str(tmp_path / "model"), str(drawn / "tiles" / "test"),
                 str(tmp_path / "broken.png"), "--regions-as", "coco", "labelme", "cvat", "--maps",
                 "tiff", "--masks", "--output", str(tmp_path / "found")]) == 0
    assert paths_in(tmp_path / "found") == []


def test_a_model_shows_no_picture_that_it_did_not_learn(drawn, tmp_path):
    """A model of a stranger may name any file: it is shown only if its bytes were learned."""
    photos = sorted((drawn / "tiles/train/good").iterdir())
    model = PatchCore(resize=64, device="cpu").fit(photos)
    photo = read_image(photos[0])
    shown = why_picture(model, photo, explain(model, photos[0]))
    private = tmp_path / "private.png"
    Image.new("RGB", photo.size, "red").save(private)
    model.fitted_ = replace(model.fitted_, files=[str(private)] * len(photos))
    hidden = why_picture(model, photo, explain(model, photos[0]))
    assert hidden.width < shown.width
    assert not (np.asarray(hidden) == (255, 0, 0)).all(2).mean() > 0.1
