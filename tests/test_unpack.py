"""Archives of every format; and archives made to do harm, of which nothing may stay or escape."""

import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections import namedtuple

import numpy as np
import pytest

from indad.data import files
from indad.data.download import unpack as unpacking
from indad.data.download.unpack import unpack
from indad.errors import InputError

CONTENT = {"set/train/good/000.png": b"good", "set/test/crack/000.png": b"crack" * 100,
           "set/license.txt": b"CC"}


def tar_of(file, members, mode="w"):
    """Members: (name, content), or (name, {attributes of the header}) for the odd ones."""
    with tarfile.open(file, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for key, value in content.items():
                    setattr(member, key, value)
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file


def zip_of(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return file


def content_of(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes()
            for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def inside(tmp_path):
    """The folder to unpack into, with a neighbour that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious.txt").write_text("precious")
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def refused(archive, inside, message):
    with pytest.raises(InputError, match=message):
        unpack(archive, inside)
    outside = inside.parent / "outside"
    assert content_of(outside) == {"precious.txt": b"precious"}
    assert {entry.name for entry in inside.parent.iterdir()} <= {"outside", "inside", archive.name}
    assert not any(entry.is_symlink() for entry in inside.rglob("*"))


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_every_format(suffix, inside, tmp_path):
    file, seen = tmp_path / f"a.{suffix}", []
    if suffix == "zip":
        zip_of(file, CONTENT.items())
    else:
        tar_of(file, CONTENT.items(), f"w:{suffix[4:]}")
    assert unpack(file, inside, progress=lambda *step: seen.append(step)) == 3
    assert content_of(inside) == CONTENT
    assert len(seen) == 3


def test_a_part_of_an_archive(inside, tmp_path):
    file = tar_of(tmp_path / "a.tar", CONTENT.items())
    assert unpack(file, inside, only=lambda parts: parts[:2] != ("set", "train")) == 2
    assert "set/train/good/000.png" not in content_of(inside)


def test_permissions_of_the_archive_are_not_taken_over(inside, tmp_path):
    """MVTec's archives hold read-only folders, which cannot even be deleted again."""
    file = tar_of(tmp_path / "a.tar", [
        ("set", {"type": tarfile.DIRTYPE, "mode": 0o500}), ("set/run.sh", {"mode": 0o4777}),
        ("set/000.png", b"")])
    unpack(file, inside)
    assert os.access(inside / "set", os.W_OK)
    assert not stat.S_IMODE((inside / "set" / "run.sh").stat().st_mode) & 0o6111


def test_links_inside_become_copies(inside, tmp_path):
    file = tar_of(tmp_path / "a.tar", [
        ("set/a/000.png", b"good"),
        ("set/b/same.png", {"type": tarfile.SYMTYPE, "linkname": "../a/000.png"}),
        ("set/b/again.png", {"type": tarfile.LNKTYPE, "linkname": "set/a/000.png"})])
    unpack(file, inside)
    assert content_of(inside) == dict.fromkeys(
        ("set/a/000.png", "set/b/same.png", "set/b/again.png"), b"good")
    assert not any(entry.is_symlink() for entry in inside.rglob("*"))


@pytest.mark.parametrize("name", ["/etc/evil", "../outside/evil", "set/../../outside/evil",
                                  "..\\outside\\evil", "C:/evil", "C:evil"])
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_paths_that_lead_out(name, make, inside, tmp_path):
    refused(make(tmp_path / "a.archive", [("fine.png", b""), (name, b"evil")]), inside,
            "leads out of the folder")


@pytest.mark.parametrize("link", ["/etc/passwd", "../outside/precious.txt", "../../etc/passwd"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_that_lead_out(link, kind, inside, tmp_path):
    refused(tar_of(tmp_path / "a.tar", [("link", {"type": kind, "linkname": link})]), inside,
            "out of the folder")


def test_an_absolute_link_is_not_read_as_one_inside(inside, tmp_path):
    refused(tar_of(tmp_path / "a.tar", [
        ("set/etc/passwd", b"decoy"),
        ("set/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})]), inside,
        "out of the folder")


def test_writing_through_a_link(inside, tmp_path):
    """First a link to the outside, then a file through it: the classic."""
    refused(tar_of(tmp_path / "a.tar", [
        ("set", {"type": tarfile.SYMTYPE, "linkname": "../outside"}),
        ("set/precious.txt", b"evil")]), inside, "out of the folder")


def test_links_to_what_is_not_there(inside, tmp_path):
    refused(tar_of(tmp_path / "a.tar", [
        ("a", {"type": tarfile.SYMTYPE, "linkname": "b"}),
        ("b", {"type": tarfile.SYMTYPE, "linkname": "a"})]), inside, "no file before it")


def test_links_in_a_zip(inside, tmp_path):
    link = zipfile.ZipInfo("set/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(zip_of(tmp_path / "a.zip", [(link, "../../outside/precious.txt")]), inside,
            "out of the folder")
    unpack(zip_of(tmp_path / "b.zip", [("set/a.png", "good"), (link, "a.png")]), inside)
    assert content_of(inside)["set/link"] == b"good"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes(kind, inside, tmp_path):
    refused(tar_of(tmp_path / "a.tar", [("device", {"type": kind, "devmajor": 1})]), inside,
            "is a device or pipe")


def test_a_member_that_claims_a_terabyte(inside, tmp_path):
    """Only its header does: nothing of it may be allocated or written."""
    member = tarfile.TarInfo("huge.png")
    member.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_000)
    refused(tmp_path / "a.tar", inside, r"unpacks to more than .* at .huge.png.")
    assert content_of(inside) == {}


@pytest.mark.parametrize("make", ["tar.xz", "zip"])
def test_a_bomb(make, inside, tmp_path, monkeypatch):
    """Zeros pack a thousandfold, photos do not."""
    monkeypatch.setattr(unpacking, "SLACK", 1 << 20)
    zeros = [(f"{number}.png", b"\0" * 500_000) for number in range(8)]
    file = tmp_path / f"a.{make}"
    (zip_of(file, zeros) if make == "zip" else tar_of(file, zeros, "w:xz"))
    refused(file, inside, "a bomb, or not a dataset")
    assert sum(map(len, content_of(inside).values())) < 2_000_000


def test_a_bomb_of_links(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLACK", 0)
    noise = np.random.default_rng(0).bytes(100_000)
    file = tar_of(tmp_path / "a.tar", [("a", noise), *(
        (f"link{number}", {"type": tarfile.LNKTYPE, "linkname": "a"}) for number in range(50))])
    refused(file, inside, "its links unpack to more")


def test_a_bomb_in_what_is_left_out(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLACK", 1 << 20)
    file = tar_of(tmp_path / "a.tar.xz", [("skipped.png", b"\0" * 5_000_000)], "w:xz")
    with pytest.raises(InputError, match="a bomb"):
        unpack(file, inside, only=lambda parts: False)


def test_endless_entries(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 20)
    refused(tar_of(tmp_path / "a.tar", [(f"{n}.png", b"") for n in range(21)]), inside, "a bomb")


def test_a_zip_whose_header_understates_a_member(inside, tmp_path):
    """The size in the directory is a claim; what is written stays within it."""
    file = zip_of(tmp_path / "a.zip", [("a.png", b"x" * 1000)])
    raw = bytearray(file.read_bytes())
    place = raw.index(b"PK\x01\x02") + 24
    assert struct.unpack_from("<I", raw, place)[0] == 1000
    struct.pack_into("<I", raw, place, 10)
    file.write_bytes(raw)
    refused(file, inside, "damaged")
    assert sum(map(len, content_of(inside).values())) <= 10


@pytest.mark.parametrize("members", [
    [("a.png", b"1"), ("a.png", b"2")],
    [("a", b"1"), ("a/b.png", b"2")],
    [("a/b.png", b"1"), ("a", b"2")],
])
def test_members_that_claim_one_place(members, inside, tmp_path):
    refused(tar_of(tmp_path / "a.tar", members), inside, "two members claim")


@pytest.mark.parametrize("damage", ["truncated.tar.xz", "truncated.zip", "truncated.tar",
                                    "garbage.tar", "page.zip", "empty.tar", "flipped.tar.xz"])
def test_damaged_archives(damage, inside, tmp_path):
    noise = [(f"{n}.png", np.random.default_rng(n).bytes(50_000)) for n in range(4)]
    how, _, suffix = damage.partition(".")
    file = tmp_path / damage
    (zip_of(file, noise) if suffix == "zip" else tar_of(file, noise, f"w:{suffix[4:]}"))
    whole = file.read_bytes()
    file.write_bytes({
        "truncated": whole[:len(whole) // 2], "garbage": bytes(range(256)) * 40,
        "page": b"<html>this share has expired</html>", "empty": b"",
        "flipped": whole[:9000] + bytes([whole[9000] ^ 255]) + whole[9001:]}[how])
    refused(file, inside, "damaged, or not an archive")


def test_an_encrypted_zip(inside, tmp_path):
    file = zip_of(tmp_path / "a.zip", [("a.png", b"x")])
    raw = bytearray(file.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    file.write_bytes(raw)
    refused(file, inside, "damaged, or not an archive")


def test_a_disk_with_too_little_room(inside, tmp_path, monkeypatch):
    file = tar_of(tmp_path / "a.tar", CONTENT.items())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: usage(10, 9, 1000))
    refused(file, inside, r"unpacking a.tar needs .* has only 1 kB free")
    assert content_of(inside) == {}


def test_a_disk_that_fills_up_meanwhile(inside, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    file = tar_of(tmp_path / "a.tar", CONTENT.items())
    monkeypatch.setattr(unpacking.shutil, "copyfileobj", full)
    refused(file, inside, "the disk is full; free some")


@pytest.mark.slow
def test_xz_is_not_read_beyond_its_end(inside, tmp_path):
    """Gigabytes of zeros after the last member are a bomb that nobody has to defuse."""
    file = tar_of(tmp_path / "a.tar.xz", [("a.png", b"good")], "w:xz")
    file.write_bytes(file.read_bytes() + lzma.compress(b"\0" * 10_000_000))
    assert unpack(file, inside) == 1
