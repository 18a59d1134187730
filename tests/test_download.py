"""From a name in the catalogue to a folder that loads; and what happens when things go wrong."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cases import few
from loopback import PATIENCE, serve, status
from PIL import Image

from indad.cli.commands import main
from indad.data import datasets as data
from indad.data.catalog import CATALOG, Archive, DatasetInfo
from indad.data.datasets import load_dataset
from indad.data.download import installing as downloading
from indad.data.download.fetch import Patience
from indad.data.download.installing import download_dataset, list_installed
from indad.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]
QUICK = Patience(connect=5, silence=0.5, tries=2, backoff=0)
COUNTS = {"tiles": (8, 3, 5), "capsule": (8, 3, 6)}


def packed(folder: Path, names, *, mode="w:xz", below="") -> bytes:
    """An archive of some of a folder's entries, with a licence as the real ones have."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name in names:
            tar.add(folder / name, f"{below}{name}")
        licence = tarfile.TarInfo(f"{below}license.txt")
        tar.addfile(licence, io.BytesIO())
    return out.getvalue()


def zipped(folder: Path, below: str = "") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return out.getvalue()


def picture(file, value=90):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (16, 16), value).save(file)


@pytest.fixture(scope="module")
def whole(drawn) -> bytes:
    return packed(drawn, ["tiles", "capsule"])


@pytest.fixture(scope="module")
def tiles_alone(drawn) -> bytes:
    return packed(drawn, ["tiles"])


@pytest.fixture(autouse=True)
def no_packages(monkeypatch):
    """What is installed on this machine by pip is for tests/test_elpv.py."""
    monkeypatch.setattr(data, "package_folder", lambda package: None)


@pytest.fixture
def toy(server, whole, tiles_alone, monkeypatch) -> DatasetInfo:
    """A dataset of two categories: one archive of both, and one of tiles alone."""
    row = DatasetInfo(
        "toy", "two categories", ("tiles", "capsule"), "https://data.example/toy", "CC BY 4.0",
        "mvtec",
        (Archive("toy.tar.xz", (server.put("/toy.tar.xz", whole),),
                 hashlib.sha256(whole).hexdigest(), len(whole)),
         Archive("tiles.tar.xz", (server.put("/tiles.tar.xz", tiles_alone),),
                 category="tiles")),
        COUNTS, "fill in the form there")
    monkeypatch.setitem(CATALOG, "toy", row)
    return row


@pytest.fixture
def get(tmp_path):
    """download_dataset into tmp_path / datasets, with the lines it told in `get.told`."""
    def call(*arguments, **options):
        call.told.clear()
        return download_dataset(*arguments, datasets=tmp_path / "datasets", patience=QUICK,
                                note=call.told.append, **options)
    call.told = []
    return call


def snapshot(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".lock")}


def paths(server):
    return [path for path, _ in server.requests]


@pytest.mark.slow
def test_all_categories(toy, get, server, drawn):
    root = get("toy")
    assert sorted(entry.name for entry in root.iterdir()) == ["capsule", "license.txt", "tiles"]
    assert snapshot(root / "tiles") == snapshot(drawn / "tiles")
    assert paths(server) == ["/toy.tar.xz"]
    train, test = load_dataset("toy", "capsule", datasets=root.parent)
    assert (len(train), len(test)) == (8, 9)
    assert "licence: CC BY 4.0, see https://data.example/toy" in get.told[0]
    # Nothing is left lying around, and nothing is done twice.
    assert not list((root.parent / ".downloads").iterdir())
    assert not list(root.parent.glob("*.partial"))
    assert get("toy") == root
    assert len(server.requests) == 1


@pytest.mark.slow
def test_one_category_comes_from_its_own_archive(toy, get, server):
    root = get("toy", ["tiles"])
    assert paths(server) == ["/tiles.tar.xz"]
    assert not (root / "capsule").exists()
    assert any("nobody publishes its checksum" in line for line in get.told)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", [status(404), serve(cut=10, ranges=False)])
def test_a_dead_category_link_falls_back_on_the_whole_set(toy, get, server, behaviour):
    server.script["/tiles.tar.xz"] = [behaviour] * 9
    root = get("toy", ["tiles"])
    assert set(paths(server)) == {"/tiles.tar.xz", "/toy.tar.xz"}
    assert (root / "tiles").is_dir()
    assert not (root / "capsule").exists()  # only what was asked for
    assert any(": now the archive of all categories" in line for line in get.told)
    assert any("the other categories unpack from it" in line for line in get.told)
    server.requests.clear()
    get("toy", ["capsule"])
    assert paths(server) == []  # from the archive that was kept
    assert not list((root.parent / ".downloads").glob("*.xz"))


@pytest.mark.slow
def test_a_category_archive_with_something_else_in_it_is_not_taken(toy, get, server, drawn):
    server.files["/tiles.tar.xz"] = packed(drawn / "tiles", ["test"], below="tiles/")
    root = get("toy", ["tiles"])
    assert any("not what it should be (tiles:" in line for line in get.told)
    assert set(paths(server)) == {"/tiles.tar.xz", "/toy.tar.xz"}
    assert len(load_dataset("toy", "tiles", datasets=root.parent)[0]) == 8


@pytest.mark.slow
def test_what_is_there_is_left_alone(toy, get, drawn):
    root = get("toy", ["tiles"])
    file = root / "tiles" / "train" / "good" / "000.png"
    shutil.copy(root / "tiles" / "train" / "good" / "001.png", file)  # mine now
    (root / "license.txt").write_text("with my notes")
    before = snapshot(root)
    get("toy")
    after = snapshot(root)
    assert before.items() <= after.items()
    assert any(name.startswith("capsule/") for name in after)


def test_a_category_that_is_there_in_part_is_not_overwritten(toy, get):
    root = get("toy")
    (root / "tiles" / "train" / "good" / "000.png").unlink()
    before = snapshot(root)
    with pytest.raises(InputError, match=r"tiles is not whole \(7 good training images, not 8\); "
                                         "move it away"):
        get("toy")
    assert snapshot(root) == before


@pytest.mark.parametrize("name", few(["toy.tar.xz", "toy (1).tar.xz", "renamed.tar"], 1))
def test_an_archive_put_there_by_hand_is_known_by_its_checksum(name, toy, get, server, whole,
                                                               tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / name).write_bytes(whole)
    root = get("toy", ["tiles"])
    assert server.requests == []
    assert f"found {tmp_path / 'datasets' / name}" in get.told
    assert (root / "tiles").is_dir()
    assert (tmp_path / "datasets" / name).read_bytes() == whole  # the user's, so it stays


@pytest.mark.parametrize("content, reason", [
    (lambda whole: whole[:-1] + b"x", "its checksum is not that of toy.tar.xz"),
    (lambda whole: whole[:1000], "it has 1,000 bytes instead of")])
def test_a_wrong_archive_put_there_by_hand_is_neither_used_nor_deleted(
        content, reason, toy, get, server, whole, tmp_path):
    mine = tmp_path / "datasets" / "toy.tar.xz"
    mine.parent.mkdir()
    mine.write_bytes(content(whole))
    get("toy")
    assert any(f"{mine}: not used, {reason}" in line for line in get.told)
    assert paths(server) == ["/toy.tar.xz"]
    assert mine.read_bytes() == content(whole)


def test_a_wrong_checksum_leaves_everything_as_it_was(toy, get, server):
    root = get("toy", ["tiles"])
    before = snapshot(root.parent)
    server.files["/toy.tar.xz"] = b"x" * len(server.files["/toy.tar.xz"])
    with pytest.raises(InputError, match="wrong checksum") as caught:
        get("toy", ["capsule"])
    # One line that says why, and what to do by hand.
    assert "by hand: at https://data.example/toy fill in the form there, put toy.tar.xz into" in \
        str(caught.value)
    assert str(caught.value).endswith("and run this again; or try synthetic")
    assert snapshot(root.parent) == before


@pytest.mark.slow
def test_an_address_of_ones_own_comes_first_and_is_held_to_the_checksum(toy, get, server, whole):
    mine = server.put("/mine", whole)
    get("toy", url=mine)
    assert paths(server) == ["/mine"]
    server.files["/mine"] = b"x" * len(whole)
    shutil.rmtree(get("toy"))
    server.requests.clear()
    get("toy", url=mine)
    assert paths(server) == ["/mine", "/toy.tar.xz"]
    shutil.rmtree(get("toy"))
    server.requests.clear()
    get("toy", "tiles", url=mine)  # even where a category has an archive of its own
    assert paths(server) == ["/mine", "/toy.tar.xz"]


@pytest.mark.slow
def test_archives_on_a_drive_are_copied_once(toy, get, server, whole, tmp_path, monkeypatch):
    """The first machine leaves its archive on the drive; the next one reads that, in one piece."""
    drive = tmp_path / "drive"
    root = get("toy", archives=drive)
    assert [file.name for file in drive.iterdir()] == ["toy.tar.xz"]
    shutil.rmtree(root.parent)
    server.requests.clear()
    monkeypatch.setenv("INDAD_ARCHIVES", str(drive))
    opened = []
    real = shutil.copyfile
    monkeypatch.setattr(downloading.shutil, "copyfile",
                        lambda source, target: opened.append(source) or real(source, target))
    get("toy")
    assert server.requests == []
    assert opened == [drive / "toy.tar.xz"]
    assert (drive / "toy.tar.xz").read_bytes() == whole
    assert not list((root.parent / ".downloads").iterdir())


def test_a_damaged_archive_on_the_drive_is_kept_and_told(toy, get, server, whole, tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    (drive / "toy.tar.xz").write_bytes(b"x" * len(whole))
    get("toy", archives=drive)
    assert any("not used, its checksum" in line for line in get.told)
    assert (drive / "toy.tar.xz").read_bytes() == b"x" * len(whole)
    shutil.rmtree(tmp_path / "datasets")
    server.script["/toy.tar.xz"] = [status(404)]
    with pytest.raises(InputError, match="HTTP 404"):
        get("toy", archives=drive)
    assert not list((tmp_path / "datasets" / ".downloads").iterdir())  # no copy of what is damaged


def test_an_interrupted_unpacking_leaves_nothing_that_reads_as_whole(toy, get, monkeypatch):
    def pull_the_plug(*arguments, **options):
        (arguments[1] / "tiles" / "train" / "good").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloading, "unpack", pull_the_plug)
        with pytest.raises(KeyboardInterrupt):
            get("toy")
    root = get("toy")  # the archive was whole, so no second download
    litter = root.with_name(f".{root.name}.0a1b2c3d.partial")  # of a power cut
    litter.mkdir()
    get("toy")
    assert not litter.exists()


def test_a_hostile_archive_leaves_nothing(toy, get, server, monkeypatch):
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("tiles/train/good/000.png"), io.BytesIO())
        tar.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    server.put("/evil.tar", evil.getvalue())
    monkeypatch.setitem(CATALOG, "toy", replace(
        toy, archives=(Archive("evil.tar", (server.url("/evil.tar"),)),)))
    with pytest.raises(InputError, match="leads out of the folder"):
        get("toy")


@pytest.mark.slow
def test_two_processes_get_it_once(server, whole, tmp_path):
    """The second one starts while the first one downloads, waits, and finds it done."""
    started, both = threading.Event(), threading.Event()

    def hold(_):
        started.set()
        both.wait(PATIENCE)

    url = server.put("/toy.tar.xz", whole, serve(cut=5000, hold=hold))
    code = """
import sys
from indad.data.catalog import CATALOG, Archive, DatasetInfo
from indad.data.download.installing import download_dataset
url, sha256, folder = sys.argv[1:]
CATALOG["toy"] = DatasetInfo("toy", "", ("tiles", "capsule"), "", "", "mvtec",
    (Archive("toy.tar.xz", (url,), sha256),), {"tiles": (8, 3, 5), "capsule": (8, 3, 6)})
download_dataset("toy", datasets=folder, note=lambda line: print(line, flush=True))
"""
    words = [sys.executable, "-c", code, url, hashlib.sha256(whole).hexdigest(), str(tmp_path)]
    options = dict(cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(words, **options) as first:
        assert started.wait(PATIENCE)
        with subprocess.Popen(words, **options) as second:
            assert second.stdout.readline() == "another process is getting toy: waiting\n"
            both.set()
            assert second.wait(PATIENCE) == 0
        assert first.wait(PATIENCE) == 0
    assert server.ranges("/toy.tar.xz") == [None, "bytes=5000-"]
    assert len(load_dataset(tmp_path / "toy", "tiles")[0]) == 8


def test_a_set_inside_a_folder_inside_a_zip(server, get, tmp_path, monkeypatch):
    """BTAD: ok and ko, bmp images, and another top folder than its name."""
    for number, kind, split in ((0, "ok", "train"), (1, "ok", "train"), (0, "ok", "test"),
                                (0, "ko", "test")):
        picture(tmp_path / "b" / "01" / split / kind / f"{number:04d}.bmp")
    picture(tmp_path / "b" / "01" / "ground_truth" / "ko" / "0000.png", 255)
    picture(tmp_path / "b" / "__MACOSX" / "01" / "._0000.png")
    monkeypatch.setitem(CATALOG, "btad", replace(
        CATALOG["btad"], categories=("01",), counts={"01": (2, 1, 1)}, archives=(Archive(
            "btad.zip", (server.put("/b", zipped(tmp_path / "b", "BTech_transformed/")),)),)))
    root = get("btad")
    assert [entry.name for entry in root.iterdir()] == ["01"]
    train, test = load_dataset("btad", "01", datasets=root.parent)
    assert [item.defect_type for item in test] == ["ko", "good"]
    assert test[0].mask().all()


def test_visa_keeps_its_table_of_splits(server, get, tmp_path, monkeypatch):
    lines = ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        for n, split in enumerate(("train", "test")):
            picture(tmp_path / "v" / name / "Data/Images/Normal" / f"{n}.JPG")
            lines.append(f"{name},{split},normal,{name}/Data/Images/Normal/{n}.JPG,")
    (tmp_path / "v" / "split_csv").mkdir()
    (tmp_path / "v" / "split_csv" / "1cls.csv").write_text("\n".join(lines) + "\n")
    content = packed(tmp_path / "v", ["candle", "pcb1", "split_csv"], mode="w")
    monkeypatch.setitem(CATALOG, "visa", replace(
        CATALOG["visa"], categories=("candle", "pcb1"),
        counts=dict.fromkeys(("candle", "pcb1"), (1, 1, 0)),
        archives=(Archive("VisA.tar", (server.put("/v", content),)),)))
    root = get("visa", ["pcb1"])
    assert sorted(entry.name for entry in root.iterdir()) == ["license.txt", "pcb1", "split_csv"]
    assert len(load_dataset("visa", "pcb1", datasets=root.parent)[0]) == 1
    with pytest.raises(InputError, match=r'get it with: indad.download_dataset\("visa", "candle"'):
        load_dataset("visa", "candle", datasets=root.parent)
    get("visa", ["candle"])
    assert len(load_dataset("visa", "candle", datasets=root.parent)[0]) == 1


def test_magnetic_tiles_come_from_a_zip_of_a_repository(server, get, tmp_path, monkeypatch):
    for number in range(10):
        picture(tmp_path / "m" / "MT_Free" / "Imgs" / f"exp1_num_{number}.jpg")
    picture(tmp_path / "m" / "MT_Crack" / "Imgs" / "exp1_num_11.jpg")
    content = zipped(tmp_path / "m", "Magnetic-tile-defect-datasets.-cc4eb53/")
    monkeypatch.setitem(CATALOG, "mtd", replace(
        CATALOG["mtd"], counts={"mtd": (8, 2, 1)},
        archives=(Archive("mtd.zip", (server.put("/m", content, serve(length=False)),)),)))
    root = get("mtd")
    assert len(load_dataset("mtd", datasets=root.parent)[0]) == 8
    assert [row.problem for row in list_installed(root.parent)] == [None]


@pytest.mark.parametrize("words, message", [
    (["toys"], "did you mean toy"),
    (["toy", "tile"], "unknown category of toy 'tile'; did you mean tiles"),
    (["synthetic"], "drawn on the spot; there is nothing to download"),
])
def test_names_that_are_wrong(words, message, toy, tmp_path, capsys):
    assert main(["download", *words, "--datasets", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_folder_that_cannot_be_written_to(toy, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["download", "toy", "--datasets", str(tmp_path / "file" / "sets")]) == 2
    assert "choose another folder with --datasets" in capsys.readouterr().err


@pytest.mark.slow
def test_the_commands(toy, tmp_path, capsys):
    """What the README shows: download, list what is there, run on it."""
    datasets = ["--datasets", str(tmp_path)]
    assert main(["list", "--installed", *datasets]) == 0
    assert capsys.readouterr().out.startswith(f"no dataset in {tmp_path}")
    assert main(["run", "--dataset", "toy", "--category", "tiles", *datasets]) == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith("get it with: python -m indad download toy tiles --datasets "
                          f"{tmp_path} (CC BY 4.0), or try --dataset synthetic")
    assert main(["download", "toy", "tiles_reduced", *datasets]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"toy is in {tmp_path / 'toy'} (CC BY 4.0)"
    assert out[2].split() == ["toy", "tiles", "8", "3", "5"]
    assert main(["run", "--dataset", "toy", "--category", "tiles_reduced", "--overlays", "0",
                 "--output", str(tmp_path / "out"), *datasets]) == 0
    assert (tmp_path / "out" / "toy" / "tiles_reduced").is_dir()
    assert main(["run", "--dataset", "toy", "--category", "capsule", *datasets]) == 2
    assert "toy has no capsule here; get it with: python -m indad download toy capsule" in \
        capsys.readouterr().err
    os.unlink(tmp_path / "toy" / "tiles" / "test" / "good" / "000.png")
    assert main(["list", "--installed", *datasets]) == 0
    assert "not whole: 2 good test images, not 3" in capsys.readouterr().out


def test_ctrl_c_says_that_a_download_goes_on(toy, tmp_path, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloading, "fetch", interrupt)
    assert main(["download", "toy", "--datasets", str(tmp_path)]) == 130
    assert "goes on where it stopped" in capsys.readouterr().err


def test_the_catalogue_adds_up():
    """Per category as its authors publish it; the sums are theirs as well."""
    def total(name):
        return tuple(sum(counts[i] or 0 for counts in CATALOG[name].counts.values())
                     for i in range(3))

    assert total("mvtec_ad") == (3629, 467, 1258)
    assert total("visa") == (8659, 962, 1200)
    assert total("btad") == (1799, 451, 290)
    assert total("mvtec_loco") == (1778, 575, 993)
    assert total("mvtec_ad_2")[0] == 2528
    for row in CATALOG.values():
        got = row.archives or row.package
        assert set(row.counts) == (set(row.categories) if got else set())
        assert bool(row.archives) == bool(row.by_hand)
        assert bool(got) == bool(row.citation)
        for archive in row.archives:
            assert all(re.match(r"https://[\w.-]+/", url) for url in archive.urls)
            assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
            assert archive.category is None or archive.category in row.categories
        assert row.archives == () or row.archives[0].category is None  # the whole set comes first


def test_the_real_tiles_have_the_counts_of_the_catalogue(mtd):
    from indad.data.datasets import count_images

    assert count_images(mtd) == CATALOG["mtd"].counts["mtd"]
