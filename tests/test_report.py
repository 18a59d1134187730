"""A results folder as one page: the right numbers, nothing that runs, nothing that is fetched."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browsing import keep_picture, need_browser, running_browser, watched
from PIL import Image

from indad.cli.commands import main
from indad.data.files import write_json, write_scores
from indad.errors import InputError
from indad.experiments import published, report, tables
from indad.experiments import records as results
from indad.experiments import report_runs as runs
from indad.experiments.report import write_report
from indad.experiments.report_charts import histogram, precision_recall_points, roc_points, ticks
from indad.experiments.run import run
from indad.metrics import image_metrics

EVIL = """<script>alert(1)</script>"><img src=x onerror='alert(2)'>{{ 7 * 7 }}&amp;.png"""


def write_run(output, category="gear", *, scores, labels, kinds=None, names=None, threshold=1.0,
              overlays=(), **config) -> Path:
    """A run's folder, made by hand: a record that agrees with its scores."""
    scores, labels = np.array(scores, np.float32), np.array(labels)
    kinds = kinds or ["bent" if label else "good" for label in labels]
    names = names or [f"{category}/test/{kind}/{i:03}.png" for i, kind in enumerate(kinds)]
    flagged = scores > (np.inf if threshold is None else threshold)
    config = {"dataset": "mvtec_ad", "category": category, "backbone": "wide_resnet50_2",
              "preset": "default", "split": "paper", "shots": None, "frame": "model",
              "coreset_ratio": 0.1, "resize": 256, "crop": 224, "seed": 0, "weights": None,
              "balance_images": True, "false_alarm_rate": 0.05} | config
    metrics = dict.fromkeys(results.METRICS) | image_metrics(scores, labels)
    record = {
        "metrics": metrics,
        "counts": {"train": 20, "test_good": int((labels == 0).sum()),
                   "test_defective": int((labels == 1).sum()), "test_masks": 0, "unreadable": 0},
        "decision": {"threshold": threshold, "map_threshold": threshold, "calibration": "folds",
                     "calibrated_on": 20, "lowest_false_alarm_rate": 1 / 21,
                     "false_alarms": int((flagged & (labels == 0)).sum()),
                     "misses": int((~flagged & (labels == 1)).sum())},
        "timings": {"fit_s": 1.0, "predict_s": 2.0, "images_per_s": 10.0},
        "memory_bank": {"patches": 9, "dim": 4, "bytes": 144}, "config": config,
        "environment": {"python": "3.12.0", "torch": "2.5.0"}, "data_fingerprint": "f" * 64}
    folder = results.run_folder(output, config)
    (folder / "overlays").mkdir(parents=True)
    write_json(folder / "metrics.json", record)
    write_scores(folder / "scores.csv", [
        {"image": name, "label": int(label), "defect_type": kind, "score": float(score),
         "threshold": threshold, "verdict": "defective" if flag else "good"}
        for name, label, kind, score, flag in zip(names, labels, kinds, scores, flagged,
                                                  strict=True)], results.SCORES)
    for name in overlays:
        Image.effect_noise((512, 280), 60).convert("RGB").save(folder / "overlays" / name,
                                                               compress_level=1)
    return folder


class Page(HTMLParser):
    """A page as a browser takes it apart: elements with attributes and the text within."""

    def __init__(self, file: Path):
        super().__init__()
        self.source, self.elements, self.open = file.read_text(encoding="utf-8"), [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in ("meta", "link", "img", "wbr", "br", "input"):
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_endtag(self, tag):
        while self.open and self.open.pop()["tag"] != tag:
            pass

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **wanted) -> list[dict]:
        wanted = {name.replace("_", "-"): value for name, value in wanted.items()}
        return [one for one in self.elements if one["tag"] == tag and all(
            name in one and (value is True or one[name] == value)
            for name, value in wanted.items())]


def area(element) -> float:
    """Below the points that a curve is drawn through."""
    points = np.array([[float(x) for x in point.split(",")]
                       for point in element["points"].split()])
    return float(np.sum(np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2))


def read(folder, output=None) -> Page:
    return Page(write_report(folder, output)[0])


def test_runs_on_two_versions_of_drawn_parts_are_not_mixed(tmp_path):
    """One configuration, one category and seed: two runs, and no mean over both."""
    for version in ({}, {"data_version": 2}, {"data_version": 3}):
        write_run(tmp_path, dataset="synthetic", scores=[0.5, 2.0], labels=[0, 1], **version)
    rows = results.write_summary(tmp_path)
    assert sorted(row["dataset"] for row in rows) == ["synthetic", "synthetic v2", "synthetic v3"]
    assert "| synthetic v2 | gear |" in (tmp_path / "summary.md").read_text()
    assert [one["image_auroc"].n for one in tables.aggregate(rows)] == [1, 1, 1]
    assert tables.compare(rows, "preset", "default", "default").n == 3  # each with its own version
    titles = [one.title for one in runs.read_runs(tmp_path)[0]]
    assert titles == ["gear · synthetic", "gear · synthetic v2", "gear · synthetic v3"]
    assert "synthetic, synthetic v2, synthetic v3" in read(tmp_path).source
    write_run(tmp_path, "wood", dataset="synthetic", data_version=[2], scores=[0, 2], labels=[0, 1])
    with pytest.raises(InputError, match="data_version"):
        runs.read_runs(tmp_path / "synthetic/wood")


def test_runs_of_what_default_was_are_those_of_its_new_name(tmp_path):
    """Not of the `default` of today; and their folders keep their names."""
    old = write_run(tmp_path, scores=[0.5, 2.0], labels=[0, 1])
    record = json.loads((old / "metrics.json").read_text())
    del record["config"]["balance_images"]
    write_json(old / "metrics.json", record)
    assert [row["preset"] for row in results.write_summary(tmp_path)] == ["indad-1"]
    write_run(tmp_path, scores=[0.5, 1.5], labels=[0, 1], seed=1)
    rows = results.write_summary(tmp_path)
    assert {row["seed"]: row["preset"] for row in rows} == {0: "indad-1", 1: "default"}
    for file in (Path(__file__).parents[1] / "results/reference").rglob("metrics.json"):
        config = json.loads(file.read_text())["config"]  # of long ago
        assert file.parent.name == f"{config['backbone']}-{results.config_hash(config)}"
    before = record["config"] | {"preset": "indad-1"}
    assert results.config_hash(before) == results.config_hash(
        before | {"balance_images": False, "scales": (1.0,), "search": "exact", "tiles": None,
                  "overlap": None, "scale": None})
    assert results.config_hash(before) != results.config_hash(before | {"scales": (1.0, 1.5)})


@pytest.fixture(scope="module")
def real_runs(drawn, tmp_path_factory) -> Path:
    """What `run` leaves for two small drawn categories."""
    output = tmp_path_factory.mktemp("runs")
    for category in ("tiles", "capsule"):
        run(str(drawn), category, options={"resize": 96}, output=output, overlays=6)
    results.write_summary(output)
    return output


def test_the_numbers_are_those_of_the_files(real_runs, tmp_path):
    page = read(real_runs, tmp_path / "page.html")
    rows, cells = page.all("tr", data_run=True), page.all("td", data_metric=True)
    assert [row["data-run"].split("/")[1] for row in rows] == ["capsule", "tiles"]
    for place, row in enumerate(rows):
        record = results.read_record(real_runs / row["data-run"])
        shown = {cell["data-metric"]: cell["text"] for cell in cells[4 * place:4 * place + 4]}
        assert shown == {name: f"{record['metrics'][name]:.4f}" for name in (
            "image_auroc", "pixel_auroc", "aupro_30", "image_f1_max")}
        scores = results.read_scores(real_runs / row["data-run"])
        known = {one["image"]: one for one in scores}
        cards = page.all("figure", data_category=record["config"]["category"])
        assert len(cards) == 6
        for card in cards:
            (name,) = [name for name in known if name in card["text"]]
            one = known[name]
            assert f"score {one['score']:.4g}, " in card["text"]
            assert card["data-verdict"] == one["verdict"]
            assert card["data-truth"] == ("defective" if one["label"] else "good")
            assert card["data-kind"] == one["defect_type"]
        mistakes = {one["image"] for one in scores if (one["verdict"] == "good") == one["label"]}
        assert len(mistakes) == record["decision"]["misses"] + record["decision"]["false_alarms"]
    charts = page.all("polyline", data_curve="roc")
    for chart, row in zip(charts, rows, strict=True):
        record = results.read_record(real_runs / row["data-run"])
        assert area(chart) == pytest.approx(record["metrics"]["image_auroc"], abs=1e-5)


def test_curves_with_ties_have_the_areas_of_the_metrics(tmp_path):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    folder = write_run(tmp_path, scores=generator.integers(0, 9, 60) + labels, labels=labels,
                       threshold=5.0)
    page, metrics = read(folder), results.read_record(folder)["metrics"]
    assert 0.5 < metrics["image_auroc"] < 0.95
    assert area(page.all("polyline", data_curve="roc")[0]) == pytest.approx(
        metrics["image_auroc"], abs=1e-5)
    assert area(page.all("polyline", data_curve="precision_recall")[0]) == pytest.approx(
        metrics["image_ap"], abs=1e-5)
    bars = {kind: sum(int(bar["data-count"]) for bar in page.all("rect") if bar["class"] == kind)
            for kind in ("bar-good", "bar-bad")}
    assert bars == {"bar-good": int((labels == 0).sum()), "bar-bad": int(labels.sum())}


def test_names_from_the_outside_are_text_and_nothing_else(tmp_path):
    evil = EVIL.replace("/", "∕")  # what a folder can be called
    write_run(tmp_path / "evil", evil, scores=[0.5, 0.7], labels=[0, 1], kinds=["good", evil],
              names=["a/" + EVIL, "b/" + EVIL], backbone=evil)
    write_run(tmp_path / "plain", scores=[0.5, 0.7], labels=[0, 1])
    page, plain = read(tmp_path / "evil"), read(tmp_path / "plain")
    assert page.all("h3")[0]["text"] == evil
    assert evil in [one["text"] for one in page.all("bdi")]
    assert [one["text"] for one in page.all("td", **{"class": "name"})][0] == "b/" + EVIL
    for tag in ("script", "style"):
        assert page.all(tag) == plain.all(tag)
    assert {one["tag"] for one in page.elements} == {one["tag"] for one in plain.elements}
    assert not [one for one in page.elements if any(name.startswith("on") for name in one)]


def test_the_page_asks_for_nothing_and_allows_no_other_script(real_runs, tmp_path):
    page = read(real_runs, tmp_path / "page.html")
    (policy,) = [one["content"] for one in page.all("meta")
                 if one.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'" and allowed["img-src"] == "data:"
    for name in ("script", "style"):
        digest = hashlib.sha256(page.all(name)[0]["text"].encode()).digest()
        assert allowed[f"{name}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    for one in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert one.get(name, "data:").startswith(("data:", "#"))
    assert not re.search(r"url\((?!#)|@import|https?://", page.source)


def test_what_a_screen_reader_needs(real_runs, tmp_path):
    page = read(real_runs, tmp_path / "page.html")
    assert len(page.all("h1")) == 1 and page.all("html", lang="en")
    pictures = [one for one in page.all("img") if one["src"] != "data:,"]
    reasons = [one for one in pictures if "nearest" in one["alt"]]
    pictures = [one for one in pictures if one not in reasons]
    assert (len(pictures), len(reasons)) == (12, len(list(real_runs.rglob("explanations/*.png"))))
    assert reasons and len({one["alt"] for one in reasons}) == len(reasons)
    assert all("score" in one["alt"] and "verdict" in one["alt"] for one in pictures)
    assert all(one["aria-label"] for one in page.all("svg", role="img"))
    labelled = [one for one in page.all("select") if any(
        one["text"] in label["text"] for label in page.all("label"))]
    assert len(labelled) == len(page.all("select")) == 6
    assert all(one.get("scope") in ("row", "col") for one in page.all("th"))


@pytest.mark.slow
def test_published_numbers_stand_beside_where_there_are_some(tmp_path):
    write_run(tmp_path, "screw", scores=[0.5, 0.7, 0.9, 3], labels=[0, 1, 0, 1])
    table = published.published_table("amazon-10")
    page = read(tmp_path)
    theirs = table["categories"]["screw"]["image_auroc"]
    (section,) = [one["text"] for one in page.all("table") if table["title"] in one["text"]]
    assert f"{theirs}" in section and f"{75 - theirs:+.2f}" in section and "75.00" in section
    assert "mean" not in section  # of one category, theirs of fifteen
    for other in ({"category": "screw_reduced"}, {"split": "grouped"}, {"dataset": "mine"}):
        folder = tmp_path / "other" / str(other)[2:7]
        write_run(folder, scores=[0.5, 3], labels=[0, 1], **{"category": "screw"} | other)
        assert not [one for one in read(folder).all("h2") if one.get("id") == "published"]


def test_a_mean_stands_beside_a_mean_of_the_same_categories():
    rows = [results.summary_row({"config": {"dataset": "mvtec_ad", "category": category, "seed": 0},
                                 "metrics": dict.fromkeys(results.METRICS, 0.9),
                                 "timings": {"fit_s": 1, "predict_s": 1, "images_per_s": 1},
                                 "memory_bank": {"bytes": 1}}, "")
            for category in published.CATALOG["mvtec_ad"].categories]
    theirs = published.published_table("amazon-10")
    for count, expected in ((15, theirs["mean"]["image_auroc"]), (14, None)):
        table = tables.aggregate(rows[:count])
        found = published.compare_with_published(table, tables.overall(table)[0], theirs)
        ours, other, difference = found["mean"]["image_auroc"]
        assert (ours, other) == (pytest.approx(90), expected)
        assert difference == (None if expected is None else pytest.approx(90 - expected))


def test_the_nearest_published_tables_come_first():
    variant = {"dataset": "mvtec_ad", "split": "paper", "shots": None, "backbone": "resnet18",
               "coreset_ratio": 0.1}
    assert published.published_for(variant)[0]["backbone"] == "resnet18"
    few = published.published_for(variant | {"shots": 5, "backbone": "wide_resnet50_2"})
    assert few and all("methods" in table for table in few)
    assert published.published_for(variant | {"shots": 7}) == []


def test_pictures_belong_to_their_images_or_are_left_out(tmp_path):
    """`run` names a.png beside a.jpg after the whole file, and only the second of them."""
    names = ["x/test/bent/a.jpg", "x/test/bent/a.png", "x/test/bent/b.jpg", "x/test/bent/b.png",
             "x/test/good/c.png"]
    folder = write_run(tmp_path, scores=[1, 2, 3, 4, 0.5], labels=[1, 1, 1, 1, 0], names=names,
                       overlays=["bent_a.png", "bent_a.png.png", "bent_b.png", "good_c.png",
                                 "stray.png"])
    found = runs.overlays_of(runs.read_runs(folder)[0][0])
    assert {file.name: row["image"] for file, row in found} == {
        "bent_a.png": names[0], "bent_a.png.png": names[1], "good_c.png": names[4]}


@pytest.mark.slow
def test_mistakes_keep_their_pictures_when_there_is_no_room_for_all(tmp_path, monkeypatch):
    folder = write_run(tmp_path, scores=[0.9, 2, 3, 4, 0.5], labels=[1, 1, 1, 0, 0],
                       overlays=[f"{kind}_{i:03}.png" for i, kind in enumerate(
                           ["bent", "bent", "bent", "good", "good"])])
    assert len(read(folder).all("figure", data_right=True)) == 5
    size = len(report._jpeg(folder / "overlays" / "bent_000.png", 24))
    monkeypatch.setattr(report, "PICTURE_BUDGET", 2.5 * size)
    page = read(folder)
    assert {one["data-right"] for one in page.all("figure", data_right=True)} == {"wrong"}
    assert "3 more overlays" in page.source
    (folder / "overlays" / "good_003.png").write_bytes(b"\x89PNG cut short")
    assert "good_003.png: not a readable image" in read(folder).source


@pytest.mark.slow
def test_what_was_flagged_is_explained(tmp_path):
    folder = write_run(tmp_path, scores=[0.9, 2, 0.5], labels=[1, 1, 0],
                       overlays=["bent_000.png", "bent_001.png", "good_002.png"])
    assert "the reason" not in read(folder).source
    (folder / "explanations").mkdir()
    Image.effect_noise((640, 280), 60).convert("RGB").save(folder / "explanations/bent_001.png")
    page = read(folder)
    assert "the reason" in page.source
    (one,) = page.all("button", **{"class": "zoom why"})
    cards = page.all("figure", data_right=True)
    pictures = page.all("img", loading="lazy")
    assert (len(cards), len(pictures)) == (3, 4)
    assert [image["alt"].split(":")[1].split(",")[0].strip() for image in pictures[:2]] == [
        "gear/test/bent/001.png", "why gear/test/bent/001.png is flagged"]
    address = pictures[1]["src"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(address))).size == (585, 256)  # its title too
    (folder / "explanations/bent_001.png").write_bytes(b"no picture")
    assert "bent_001.png: not a readable image" in read(folder).source


def test_the_title_of_an_overlay_is_cut_off(tmp_path):
    image = Image.new("RGB", (512, 280), "white")
    image.paste((0, 0, 0), (0, 24, 512, 280))
    image.save(tmp_path / "a.png")
    shown = Image.open(io.BytesIO(report._jpeg(tmp_path / "a.png", 24)))
    assert shown.size == (512, 256) and shown.convert("L").getextrema()[1] < 30


@pytest.mark.slow
def test_the_same_folder_gives_the_same_bytes(real_runs, tmp_path):
    first, second = (write_report(real_runs, tmp_path / name)[0].read_bytes() for name in "ab")
    assert first == second
    (file,) = real_runs.glob("*/tiles/*/metrics.json")
    single = read(file.parent, tmp_path / "c")
    assert [row["data-run"] for row in single.all("tr", data_run=True)] == [file.parent.name]


def test_runs_of_many_variants_are_told_apart(tmp_path):
    for seed in (0, 1):
        for backbone in ("resnet18", "resnet50"):
            write_run(tmp_path, scores=[0.5, 3 - seed * 2.8, 0.6], labels=[0, 1, 0], seed=seed,
                      backbone=backbone)
    page = read(tmp_path)
    assert [one["text"] for one in page.all("h3")] == [
        f"gear · {name} · seed {seed}" for name in ("resnet18", "resnet50") for seed in (0, 1)]
    assert "0.5000 ± 0.7071" in page.source
    assert not page.all("dl")  # nothing is added up over images that are the same


def test_without_threshold_labels_or_scores(tmp_path):
    write_run(tmp_path / "a", scores=[0.5, 3], labels=[0, 1], threshold=None,
              overlays=["bent_001.png"])
    page = read(tmp_path / "a")
    assert "no verdict" in page.all("figcaption")[-1]["text"] and page.all("polyline")
    page = read(write_run(tmp_path / "b", scores=[0.5, 0.5], labels=[0, 0]))
    assert not page.all("polyline") and page.all("rect") and "n/a" in page.source
    folder = write_run(tmp_path / "c", scores=[0.5, 3], labels=[0, 1])
    (folder / "scores.csv").unlink()
    assert "There is no scores.csv" in read(folder).source


def test_the_reference_results_make_a_page(tmp_path):
    """Records of earlier versions say less; the page says that."""
    page = read(Path(__file__).parent / "fixtures" / "old_run", tmp_path / "page.html")
    assert len(page.all("tr", data_run=True)) == 1 and "not recorded" in page.source
    page = read(Path(__file__).resolve().parents[1] / "results" / "reference" / "mtd",
                tmp_path / "page.html")
    assert len(page.all("tr", data_run=True)) == 5


@pytest.mark.parametrize("damage, message", [
    (lambda folder: shutil.rmtree(folder), "no such folder of results"),
    (lambda folder: (folder / "metrics.json").unlink(), "no results there"),
    (lambda folder: (folder / "metrics.json").write_text('{"metrics": '), "cut short?"),
    (lambda folder: (folder / "metrics.json").write_text('{"metrics": {}}'), "not the record"),
    (lambda folder: edit(folder, "metrics", image_auroc="<b>"), "not the record"),
    (lambda folder: edit(folder, "metrics", image_auroc=float("nan")), "not the record"),
    (lambda folder: edit(folder, "config", category=5), "not the record"),
    (lambda folder: edit(folder, "config", seed="0"), "not the record"),
    (lambda folder: edit(folder, "metrics", image_auroc=0.5), "image_auroc differs"),
    (lambda folder: edit(folder, "counts", test_good=7), "the number of images differs"),
    (lambda folder: (folder / "scores.csv").write_bytes(b"\xff\xfe"), "not the scores of a run"),
    (lambda folder: (folder / "scores.csv").write_text("image,label\na,b\n"), "not the scores"),
])
def test_bad_results_get_one_line_and_no_page(damage, message, tmp_path, capsys):
    folder = write_run(tmp_path, scores=[0.5, 3], labels=[0, 1])
    damage(folder)
    assert main(["report", str(folder), "--output", str(tmp_path / "page.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("indad: error: ") and message in line
    assert not list(tmp_path.glob("*page*"))


def edit(folder, part, **values):
    record = json.loads((folder / "metrics.json").read_text())
    record[part] |= values
    (folder / "metrics.json").write_text(json.dumps(record))


def test_one_bad_run_among_good_ones_is_named(tmp_path, capsys):
    write_run(tmp_path, "screw", scores=[0.5, 3], labels=[0, 1])
    bad = write_run(tmp_path, "pill", scores=[0.5, 3], labels=[0, 1])
    (bad / "metrics.json").write_text("{}")
    assert main(["report", str(tmp_path)]) == 0
    assert "left out: " in capsys.readouterr().err
    page = Page(tmp_path / "report.html")
    assert len(page.all("tr", data_run=True)) == 1 and "A run was left out." in page.source


def test_a_page_is_whole_or_as_before(tmp_path, capsys, monkeypatch):
    folder = write_run(tmp_path, scores=[0.5, 3], labels=[0, 1])
    for output in (tmp_path, tmp_path / "missing" / "page.html"):
        assert main(["report", str(folder), "--output", str(output)]) == 2
        assert "not a place for a file" in capsys.readouterr().err
    page = tmp_path / "page.html"
    page.write_text("the one before")
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("disk full")))
    assert main(["report", str(folder), "--output", str(page)]) == 2
    assert page.read_text() == "the one before"
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["page.html"]


def test_points_and_bars_against_slow_ones():
    scores, labels = np.array([1.0, 2, 2, 3]), np.array([0, 0, 1, 1])
    assert roc_points(scores, labels).tolist() == [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]
    corners = precision_recall_points(scores, labels)
    assert corners[:4].tolist() == [[0, 1], [0.5, 1], [0.5, 2 / 3], [1, 2 / 3]]
    drawn = histogram(scores, labels, threshold=5.0)
    assert (drawn.good.sum(), drawn.defective.sum(), drawn.edges[-1]) == (2, 2, 5.0)
    assert histogram(np.array([2.0]), np.array([0]), None).good.sum() == 1
    with pytest.raises(InputError, match="labels are all the same"):
        roc_points(scores, np.zeros(4))


@pytest.mark.parametrize("low, high", [(0, 1), (3.2, 3.3), (-5, 40_000), (0, 2)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    places = [place for place, _ in found]
    assert 3 <= len(found) <= 8 and low - 1e-9 <= places[0] and places[-1] <= high + 1e-9
    assert np.allclose(np.diff(places), places[1] - places[0])
    assert all(float(name) == pytest.approx(place) for place, name in found)


@pytest.mark.slow
def test_in_a_browser(real_runs, tmp_path):
    need_browser()
    file = write_report(real_runs, tmp_path / "page.html")[0]
    with running_browser() as browser:
        page, complaints, addresses = watched(browser, color_scheme="light",
                                              viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        cards = page.locator(".card:visible")
        assert cards.count() == 12
        assert page.locator("output[name=count]").inner_text() == "12 of 12 pictures"
        keep_picture(page, "report")
        page.select_option("select[name=category]", "capsule")
        assert cards.count() == 6
        page.select_option("select[name=truth]", "good")
        shown = cards.evaluate_all("cards => cards.map(card => ({...card.dataset}))")
        assert 0 < len(shown) < 6
        assert {(one["category"], one["truth"]) for one in shown} == {("capsule", "good")}
        page.select_option("select[name=kind]", "crack")
        assert cards.count() == 0 and page.locator("#none").is_visible()
        page.click("button[type=reset]")
        page.wait_for_function(
            "() => document.querySelectorAll('.card:not([hidden])').length === 12")
        for name, value in (("verdict", "defective"), ("right", "wrong")):
            page.select_option(f"select[name={name}]", value)
            assert all(value == one for one in cards.evaluate_all(
                f"cards => cards.map(card => card.dataset.{name})"))
            page.select_option(f"select[name={name}]", "")
        page.select_option("select[name=order]", "worst")
        ratios = cards.evaluate_all("cards => cards.map(card => Number(card.dataset.ratio))")
        assert ratios == sorted(ratios, reverse=True) and len(set(ratios)) > 6

        colour = "getComputedStyle(document.body).backgroundColor"
        before = page.evaluate(colour)
        page.click("#theme")
        assert page.evaluate(colour) != before == "rgb(255, 255, 255)"
        page.emulate_media(color_scheme="dark")
        page.click("#theme")
        assert page.evaluate(colour) == before

        page.locator(".zoom").first.focus()
        page.keyboard.press("Enter")
        assert page.locator("dialog").is_visible()
        assert page.evaluate("document.querySelector('dialog img').naturalWidth") > 500
        page.keyboard.press("Escape")
        assert not page.locator("dialog").is_visible()
        page.set_viewport_size({"width": 400, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        keep_picture(page, "report-narrow")
        assert complaints == [] and addresses == [file.as_uri()]


@pytest.mark.slow
def test_names_with_scripts_run_nothing_in_a_browser(tmp_path):
    need_browser()
    write_run(tmp_path, "screw", scores=[0.5, 3], labels=[0, 1],
              kinds=["good", "<img src=x onerror=alert(1)>"], names=["a/" + EVIL, "b/" + EVIL])
    file = write_report(tmp_path)[0]
    with running_browser() as browser:
        page, complaints, addresses = watched(browser)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(file.as_uri())
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("document.images.length") == 0
        assert page.get_by_text("<img src=x onerror=alert(1)>", exact=True).count() > 0
        assert complaints == [] and addresses == [file.as_uri()]
        page.evaluate("document.head.append(Object.assign(document.createElement('script'), "
                      "{textContent: 'window.intruder = 1'}))")
        assert page.evaluate("window.intruder === undefined")  # the policy holds
        assert "Content Security Policy" in complaints[0]
