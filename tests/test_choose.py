"""One choice for a whole lesson: form, menus, what is fetched, and each refusal in a line."""

import ast
import json
import re
import shutil
import sys
import types
import zipfile

import pytest
import timm
import torch
from IPython.core.interactiveshell import InteractiveShell
from loopback import status
from pretend_gpu import pretend_gpu
from test_download import packed

from indad import PatchCore
from indad.data.catalog import CATALOG, Archive, DatasetInfo
from indad.errors import InputError
from indad.notebook import choose as choosing
from indad.notebook import getting
from indad.notebook.choose import choose, form
from indad.notebook.chosen import COMPARISONS, DATASETS, Choice, Chosen
from indad.notebook.getting import Unavailable
from indad.notebook.menus import menus
from indad.presets import OPTIONS

COUNTS = {"tiles": (8, 3, 5), "capsule": (8, 3, 6)}


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    """Data sets are kept in a folder of the test's own."""
    monkeypatch.setenv("INDAD_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "datasets"


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A file with random weights of a tiny transformer, whose patches have 16 pixels."""
    file = tmp_path_factory.mktemp("weights") / "test_vit.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit").state_dict(), file)
    return str(file)


@pytest.fixture
def bolts(drawn, tmp_path):
    """Photos of one's own: good ones, bent ones, and no masks."""
    for kind, source in (("good", "train/good"), ("bent", "test/scratch")):
        shutil.copytree(drawn / "capsule" / source, tmp_path / "bolts" / kind)
    return tmp_path / "bolts"


@pytest.fixture(scope="module")
def whole(drawn):
    return packed(drawn, ["tiles", "capsule"], mode="w")


@pytest.fixture
def toy(server, whole, monkeypatch):
    """A data set of the catalogue whose archive is on a server of the tests."""
    row = DatasetInfo("toy", "Toy: two categories", ("tiles", "capsule"),
                      "https://data.example/toy", "CC BY 4.0", "mvtec",
                      (Archive("toy.tar", (server.put("/toy.tar", whole),), None,
                               len(whole)),),
                      COUNTS, "fill in the form there", "Maker et al., 2020")
    monkeypatch.setitem(CATALOG, "toy", row)
    return whole


@pytest.mark.slow
def test_what_is_chosen_is_said_and_given_to_patchcore(drawn, capsys):
    chosen = choose("folder", "tiles", folder=str(drawn))
    assert capsys.readouterr().out.splitlines() == [
        "folder, tiles: 8 good images to learn from, 8 to judge, 5 of them defective (with masks)",
        "efficientnet_lite0 on cpu"]
    options = chosen.options(resize=64, coreset_ratio=0.5)
    assert options == {"backbone": "efficientnet_lite0", "device": "cpu", "resize": 64,
                       "coreset_ratio": 0.5}
    scores = PatchCore(**options).fit(chosen.train).predict(chosen.test).scores
    assert len(scores) == len(chosen.test) == 8


@pytest.mark.slow
def test_many_images_on_a_cpu_are_said_to_take_long(drawn, monkeypatch, capsys):
    monkeypatch.setattr("indad.notebook.chosen.MANY", 15)
    choose("folder", "tiles", folder=str(drawn))
    assert 'images = "reduced" takes a fixed part' in capsys.readouterr().out
    with pretend_gpu():
        choose("folder", "tiles", folder=str(drawn))
    assert "reduced" not in capsys.readouterr().out


def test_automatic_is_the_lessons_own_part_or_the_first(drawn, bolts):
    assert Chosen(Choice(), drawn="weave").category == "weave"
    assert Chosen(Choice("mvtec_ad"), drawn="weave").category == "bottle"
    assert Chosen(Choice("mvtec_ad", images="reduced")).category == "bottle_reduced"
    assert Chosen(Choice("mvtec_ad", "screw_reduced", images="reduced")).category == "screw_reduced"
    assert Chosen(Choice("folder", folder=str(drawn))).category == "capsule"
    assert Chosen(Choice("folder", folder=str(bolts))).category == "bolts"


@pytest.mark.parametrize("choice, told", [
    (dict(dataset="synthetik"), "unknown dataset 'synthetik'; did you mean synthetic?"),
    (dict(dataset="visa", category="gear"),
     "visa has no category 'gear'; it has candle, capsules, cashew, "),
    (dict(images="half"), "images is 'half'; choose whole or reduced"),
    (dict(dataset="folder"), 'dataset is "folder", but folder is empty: give the path '),
    (dict(dataset="folder", folder="no/where"),
     "folder is 'no/where': there is nothing at /"),
    (dict(dataset="mvtec_ad", folder="no/archives"), "folder is 'no/archives': there is nothing "),
    (dict(dataset="drive", folder="parts/bolts"),
     "folder is 'parts/bolts' on a Google Drive, which only Colab can mount; here, choose "
     'dataset = "folder" and give a path'),
    (dict(backbone="reznet18"), "unknown backbone 'reznet18'; did you mean resnet18"),
    (dict(backbone=""), "unknown backbone ''"),
    (dict(weights="no.pth"), "no.pth: no such file of weights"),
    (dict(backbone="resnet18, resnet50", weights="a.pth"),
     "weights is one file, 'a.pth', but backbone has 2 networks; leave weights empty"),
    (dict(device="cuda:7"), "device is 'cuda:7', which is not on this machine; choose auto"),
])
def test_each_refusal_names_what_was_typed(monkeypatch, drawn, choice, told):
    if choice.get("dataset") != "mvtec_ad":  # nothing is drawn or loaded for these
        monkeypatch.setattr("indad.notebook.chosen.get_images", _of(drawn))
    with pytest.raises(Unavailable) as refused:
        choose(**choice)
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)


def _of(drawn):
    from indad import load_dataset

    return lambda *ignored: load_dataset(drawn, "tiles")


def test_weights_that_cannot_be_reached(monkeypatch, drawn):
    """Said in the words of a form, not of the command line."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable) as refused:
        choose("folder", "tiles", folder=str(drawn), backbone="resnet18")
    told = str(refused.value)
    assert told.startswith("the weights of resnet18 (47 MB) could not be downloaded (")
    assert 'use backbone = "efficientnet_lite0"' in told and "--" not in told


def test_a_file_and_an_empty_folder_are_no_photos(tmp_path):
    (tmp_path / "list.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unavailable, match=r"^folder is 'list.txt', a file that is no archive"):
        choose("folder", folder="list.txt")
    with pytest.raises(Unavailable, match="empty: found no images in a layout that is known"):
        choose("folder", folder="empty")


def test_too_few_photos_for_a_lesson(bolts):
    shutil.rmtree(bolts / "bent")
    with pytest.raises(Unavailable, match=r"0 defective ones to judge; this lesson needs 4, 1 and"):
        choose("folder", folder=str(bolts))
    chosen = choose("folder", folder=str(bolts), needs_defects=False)
    assert (len(chosen.train), len(chosen.test), chosen.has_masks) == (7, 1, False)
    for photo in sorted((bolts / "good").iterdir())[3:]:
        photo.unlink()
    with pytest.raises(Unavailable, match=r"bolts: 3 good images to learn from, 0 good and 0 def"):
        choose("folder", folder=str(bolts), needs_defects=False)


def test_photos_without_masks(bolts, capsys):
    chosen = choose("folder", folder=str(bolts))
    assert not chosen.has_masks and chosen.credit == ""
    assert "1 of them defective (without masks)" in capsys.readouterr().out
    assert chosen.defective("scratch").defect_type == "bent"


def test_a_notebook_shows_the_line_and_no_traceback(capsys):
    shell = InteractiveShell.instance()
    try:
        result = shell.run_cell("from indad.notebook.choose import choose\nchoose('folder')")
    finally:
        InteractiveShell.clear_instance()
    assert isinstance(result.error_in_exec, Unavailable)  # so that Run all stops
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.strip()] == [str(result.error_in_exec)]


def test_what_is_not_here_is_downloaded_once(toy, server, datasets, capsys):
    chosen = choose("toy", "capsule")
    told = capsys.readouterr().out
    assert "downloading toy.tar" in told and "licence: CC BY 4.0" in told
    assert "Photos: Toy (Maker et al., 2020), CC BY 4.0, https://data.example/toy" in told
    assert len(chosen.train) == 8 and (datasets / "toy/capsule").is_dir()
    choose("toy", "capsule")
    assert len(server.requests) == 1


@pytest.mark.parametrize("file", [False, True])
def test_archives_that_somebody_keeps_need_no_download(toy, server, tmp_path, file):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/toy.tar").write_bytes(toy)
    folder = tmp_path / "kept" / ("toy.tar" if file else "")
    assert len(choose("toy", folder=str(folder)).train) == 8
    assert not server.requests


def test_a_download_that_fails_is_one_line(toy, server):
    server.script["/toy.tar"] = [status(404)]
    with pytest.raises(Unavailable) as refused:
        choose("toy", "capsule")
    told = str(refused.value)
    assert told.startswith("toy.tar could not be downloaded (127.0.0.1: HTTP 404); by hand: at ")
    assert "run this again" in told and "--" not in told and "\n" not in told


def test_an_archive_of_ones_own_photos_is_unpacked_once(bolts, tmp_path):
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for photo in bolts.rglob("*.png"):
            out.write(photo, f"parts/{photo.relative_to(bolts)}")
    chosen = choose("folder", folder="mine.zip")
    assert (chosen.category, len(chosen.train)) == ("mine", 7)
    place = chosen.train.folder
    assert tmp_path / "datasets" in place.parents
    before = place.stat().st_mtime_ns
    assert choose("folder", folder="mine.zip").train.folder.stat().st_mtime_ns == before


@pytest.fixture
def colab(monkeypatch, tmp_path, bolts):
    """Colab, with a Drive that appears when it is mounted."""
    def mount(where):
        mount.asked.append(where)
        if mount.refused:
            raise ValueError("mount failed")
        shutil.move(bolts, tmp_path / "drive/MyDrive/parts/bolts")

    mount.asked, mount.refused = [], False
    monkeypatch.setattr(getting, "DRIVE", tmp_path / "drive/MyDrive")
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setitem(sys.modules, "google.colab.drive", types.SimpleNamespace(mount=mount))
    return mount


@pytest.mark.parametrize("typed", ["parts/bolts", "MyDrive/parts/bolts", "/parts/bolts"])
def test_a_drive_is_mounted_when_it_is_asked_for(colab, tmp_path, typed):
    (tmp_path / "drive").mkdir()
    assert choose("drive", folder=typed).category == "bolts"
    assert colab.asked == [str(tmp_path / "drive")]
    with pytest.raises(Unavailable, match="folder is 'parts/nuts': there is nothing at"):
        choose("drive", folder="parts/nuts")
    assert len(colab.asked) == 1


def test_a_drive_that_is_not_mounted(colab, tmp_path):
    colab.refused = True
    for dataset, folder in (("drive", "parts"), ("mvtec_ad", f"{tmp_path}/drive/MyDrive/indad")):
        with pytest.raises(Unavailable) as refused:
            choose(dataset, folder=folder)
        assert str(refused.value) == (
            f"folder is {folder!r}, but the Drive is not mounted (mount failed): run this cell "
            "again, and allow it when Google asks")


@pytest.mark.slow
def test_transformers_get_a_size_that_their_patches_divide(drawn, transformer, capsys):
    chosen = choose("folder", "tiles", folder=str(drawn), backbone="test_vit", weights=transformer)
    capsys.readouterr()
    assert chosen.size(160) == 160 and capsys.readouterr().out == ""
    options = chosen.options(resize=150, coreset_ratio=0.5)
    assert options["resize"] == 144 and options["weights"] == transformer
    assert chosen.size(150) == 144 and chosen.size(3) == 16
    assert capsys.readouterr().out.splitlines() == [
        "test_vit works on patches of 16 pixels: images get 144 x 144 pixels instead of 150 x 150",
        "test_vit works on patches of 16 pixels: images get 16 x 16 pixels instead of 3 x 3"]
    assert PatchCore(**options).fit(chosen.train).grid_ == (9, 9)
    assert chosen.layers(4) == ([0, 2, 3, 5], [2, 3])
    extractor, transform = chosen.network((2, 3), resize=150)
    assert transform.resize == 144 and extractor.strides == [16, 16]


def test_convolutions_take_any_size_and_layers_are_spread():
    chosen = Chosen(Choice())
    assert chosen.size(150) == 150
    assert chosen.layers(5) == ([0, 1, 2, 3, 4], [2, 3])
    assert Chosen(Choice(backbone="dino_small_16")).layers(5) == ([0, 3, 6, 8, 11], [11])
    with pytest.raises(Unavailable, match="looks into a single one"):
        Chosen(Choice(backbone="resnet18+dino_small_16")).layers(5)


def test_a_part_of_many_test_images_has_both_kinds(drawn):
    chosen = choose("folder", "tiles", folder=str(drawn))
    assert chosen.few(8).items == chosen.test.items
    part = chosen.few(5)
    assert sorted(part.labels.tolist()) == [0, 0, 1, 1]
    places = [chosen.test.items.index(item) for item in part]
    assert places == sorted(set(places)) and {0, 7} <= set(places)  # in order, from end to end
    assert chosen.defective("nothing of the kind", among=part) == next(i for i in part if i.label)


@pytest.mark.slow
def test_several_backbones(drawn):
    chosen = choose("folder", "tiles", folder=str(drawn),
                    backbone="efficientnet_lite1, efficientnet_lite0")
    assert chosen.backbones == ("efficientnet_lite1", "efficientnet_lite0")
    assert chosen.options()["backbone"] == chosen.backbone == "efficientnet_lite1"
    assert chosen.options(backbone="efficientnet_lite0")["backbone"] == "efficientnet_lite0"


def clicks(chosen):
    box = menus(chosen)
    return {child.description: child for child in box.children[:-1]}, box.children[-1]


def test_menus_offer_only_the_categories_that_a_data_set_has(drawn):
    chosen = Chosen(Choice(), drawn="capsule")
    boxes, words = clicks(chosen)
    assert boxes["category"].options == CATALOG["synthetic"].categories
    assert boxes["category"].value == "capsule"
    tooltip = "tooltip" if hasattr(boxes["device"], "tooltip") else "description_tooltip"
    assert getattr(boxes["device"], tooltip) == str(OPTIONS["device"])
    boxes["dataset"].value = "visa"
    assert boxes["category"].options == CATALOG["visa"].categories
    assert (chosen.dataset, chosen.category) == ("visa", "candle")
    boxes["category"].value = "pcb4"
    boxes["images"].value = "reduced"
    assert chosen.category == "pcb4_reduced"
    assert words.value.startswith("chosen: visa, pcb4_reduced, efficientnet_lite0 on cpu; now run")


def test_a_click_changes_what_cells_read_and_loads_nothing(drawn, monkeypatch):
    chosen = Chosen(Choice("folder", "tiles", folder=str(drawn)))
    boxes, words = clicks(chosen)
    assert boxes["category"].options == ("capsule", "tiles")
    monkeypatch.setattr("indad.notebook.chosen.load_backbone", None)  # whoever calls it fails
    boxes["backbone"].value = "wide_resnet50_2"
    boxes["category"].value = "capsule"
    assert chosen.options() == {"backbone": "wide_resnet50_2", "device": "cpu"}
    assert "capsule" in chosen.train[0].path.parts


def test_a_click_on_what_is_not_there_changes_nothing(drawn):
    chosen = Chosen(Choice("folder", "tiles", folder=str(drawn)))
    before = chosen.choice
    boxes, words = clicks(chosen)
    boxes["folder"].value = "no/<where>"
    assert boxes["category"].options == ("auto",)
    assert words.value.startswith("folder is &#x27;no/&lt;where&gt;&#x27;: there is nothing at ")
    assert words.value.endswith("; nothing was changed") and chosen.choice == before
    boxes["folder"].value = str(drawn)
    assert boxes["category"].options == ("capsule", "tiles") and chosen.category == "capsule"


def test_menus_appear_where_one_can_click(drawn, monkeypatch):
    shown = []
    monkeypatch.setattr(choosing, "show_menus", shown.append)
    choose("folder", "tiles", folder=str(drawn))
    assert not shown
    monkeypatch.setattr(choosing, "interactive", lambda: True)
    assert shown == [] and [choose("folder", "tiles", folder=str(drawn))] == shown


def fields(source):
    """Of a form: each field's value, and what is offered for it."""
    found = re.findall(r'^(\w+) = (".*?")  #@param (\[.*?\]|\{.*\})(.*)$', source, re.M)
    return {name: (ast.literal_eval(value), json.loads(options) if options[0] == "[" else None)
            for name, value, options, _ in found}


def test_the_form_offers_what_the_catalogue_has():
    source = form(drawn="capsule")
    compile(source, "form", "exec")
    found = fields(source)
    assert list(found) == ["dataset", "category", "images", "folder", "backbone", "weights",
                           "device"]
    assert found["dataset"] == ("synthetic", [*DATASETS, "folder", "drive"])
    for name in DATASETS:
        assert set(CATALOG[name].categories) <= set(found["category"][1])
        assert f"#@markdown - {name}: {', '.join(CATALOG[name].categories)}\n" in source
    assert all(value in (options or [value]) for value, options in found.values())
    assert source.endswith('weights=weights, device=device, drawn="capsule")')
    lists = [field for field in found if found[field][1] and field != "images"]
    assert source.count("{allow-input: true}") == len(lists)  # anything else may be typed


def test_the_form_of_a_comparison_offers_comparisons():
    value, options = fields(form(backbone=COMPARISONS[1], needs_defects=False))["backbone"]
    assert value == COMPARISONS[1] and options == [value, COMPARISONS[0], *COMPARISONS[2:]]
    assert "needs_defects=False)" in form(needs_defects=False)


def test_a_form_runs_as_it_stands(drawn, capsys):
    source = form().replace('dataset = "synthetic"', 'dataset = "folder"').replace(
        'folder = ""', f'folder = "{drawn.as_posix()}"')
    names = {}
    exec(compile(source, "form", "exec"), names)
    assert names["chosen"].category == "capsule"
    assert capsys.readouterr().out.startswith("folder, capsule: 8 good images")


def test_unavailable_is_an_input_error():
    assert issubclass(Unavailable, InputError)
