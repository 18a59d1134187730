"""Archives whose headers are the bomb: refused before a library holds them; and odd ones."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from cases import few

from indad.data.download import unpack as unpacking
from indad.data.download.unpack import unpack
from indad.errors import InputError

MEMORY = 24 << 20  # bytes that Python may hold at once while it refuses
BIG = 32 << 20  # bytes in a few kilobytes; the bound on memory is the same for any size
PACKERS = {"gz": gzip.GzipFile, "bz2": bz2.BZ2File, "xz": lzma.LZMAFile}


def header(kind: bytes, size: int, name: str = "long") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def pax(*settings: str, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A header with settings of 6 to 95 letters, each with its length of two digits before it."""
    body = b"".join(f"{len(setting) + 4} {setting}\n".encode() for setting in settings)
    return header(kind, len(body)) + body.ljust(512, b"\0")


def old_sparse() -> bytes:
    """Its map of holes goes on in a block that says that another follows."""
    block = bytearray(header(tarfile.GNUTYPE_SPARSE, 0))
    block[482] = 1
    block[148:156] = b"%06o\0 " % (256 + sum(block[:148]) + sum(block[156:]))
    return bytes(block)


HEADERS = {  # how it starts, and what is repeated up to 32 MB
    "pax": (header(tarfile.XHDTYPE, BIG), b"a" * 512),
    "pax of Solaris": (header(tarfile.SOLARIS_XHDTYPE, BIG), b"a" * 512),
    "pax for all members": (header(tarfile.XGLTYPE, BIG), b"a" * 512),
    "long name": (header(tarfile.GNUTYPE_LONGNAME, BIG), b"a" * 512),
    "long link": (header(tarfile.GNUTYPE_LONGLINK, BIG), b"a" * 512),
    "one header after another": (b"", pax("comment=nothing", kind=tarfile.XGLTYPE)),
    "old map of holes": (old_sparse(), b"1" * 504 + b"\1" + b"0" * 7),
    "new map of holes": (pax("GNU.sparse.major=1", "GNU.sparse.minor=0")
                         + header(tarfile.REGTYPE, BIG), b"999999999\n" + b"0\n" * 251),
    "a negative size": (header(tarfile.XHDTYPE, -512), b"0" * 512),
    "holes that are packed": (pax("GNU.sparse.map=0,1", "GNU.sparse.size=1")
                              + header(tarfile.REGTYPE, 1 << 40), b"\0" * 512),
}


def refused(file, folder, message: str) -> None:
    """With one line, in little memory, and with next to nothing written."""
    folder.mkdir(exist_ok=True)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as caught:
            unpack(file, folder)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert str(file) in str(caught.value) and len(str(caught.value)) < 1000
    assert sum(entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()) < 1000


@pytest.mark.parametrize("name", few(list(HEADERS), ["pax", "a negative size"]))
def test_a_header_that_unpacks_to_gigabytes_is_refused_unread(name, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLACK", 16 << 20)
    start, block = HEADERS[name]
    packer = sorted(PACKERS)[sorted(HEADERS).index(name) % 3]
    quick = {"preset": 0} if packer == "xz" else {"compresslevel": 1}
    with PACKERS[packer](tmp_path / "a.tar", "wb", **quick) as file:
        file.write(start)
        for _ in range(BIG >> 20):
            file.write(block * 2048)
    assert (tmp_path / "a.tar").stat().st_size < 400_000
    refused(tmp_path / "a.tar", tmp_path / "inside", "refused, |damaged")


def test_headers_of_ordinary_archives_are_far_below_the_bound(tmp_path):
    """Long names, links and settings for all members, in both ways of writing them."""
    name = "/".join(["a" * 200] * 5) + "/0.png"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        file, folder = tmp_path / f"{form}.tar.xz", tmp_path / str(form)
        with tarfile.open(file, "w:xz", format=form, pax_headers={"comment": "c" * 9000}) as tar:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"good"))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.LNKTYPE, name
            tar.addfile(link)
        folder.mkdir()
        assert unpack(file, folder) == 2
        assert (folder / "link.png").read_bytes() == (folder / name).read_bytes() == b"good"


@pytest.mark.slow
def test_empty_members_count_by_their_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLACK", 1 << 20)
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        for number in range(2400):
            file.write(header(tarfile.DIRTYPE, 0, f"{number}"))
    refused(tmp_path / "a.tar.gz", tmp_path / "inside", "a bomb, or not a dataset")


def directory_of(count: int, name: bytes = b"") -> bytes:
    """A zip that holds a directory and nothing else."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0,
                        0, 0, 0) + name
    size = count * len(entry)
    return b"PK\3\4" + b"\0" * 26 + entry * count + struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, min(count, 65535), min(count, 65535), size, 30, 0)


def test_a_directory_of_a_zip_is_bounded_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "LARGEST_DIRECTORY", 1 << 20)
    (tmp_path / "a.zip").write_bytes(directory_of(100_000))
    refused(tmp_path / "a.zip", tmp_path / "inside", "its directory is larger")


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_whose_members_unpack_a_block_at_a_time_is_refused(method, tmp_path):
    """40 MB in a kilobyte, of which `zipfile` would hold all to hand out the ten bytes it names."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as zipped:
        zipped.writestr("a.png", b"\0" * 40_000_000)
    understate(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", tmp_path / "inside", "in a way other than deflate; unpack it")


def test_a_link_in_a_zip_that_unpacks_to_more_than_it_says(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr, link.compress_type = (stat.S_IFLNK | 0o777) << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(link, b"a" * 40_000_000)
    understate(tmp_path / "a.zip")
    refused(tmp_path / "a.zip", tmp_path / "inside", "damaged|no file before it")


def understate(file) -> None:
    """The one member has ten bytes, says the directory."""
    raw = bytearray(file.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\1\2") + 24, 10)
    file.write_bytes(raw)


@pytest.mark.parametrize("make", ["tar", "zip"])
@pytest.mark.parametrize("name, message", [
    ("a/" * 500 + "b", "folders deep"), ("a" * 5000, "letters long"),
    ("b" * 300, "no place for a file of the name 'b*'")])
def test_names_that_no_disk_can_hold(make, name, message, tmp_path):
    if make == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
            zipped.writestr(name, b"x")
    else:
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo(name))
    refused(next(tmp_path.glob("a.*")), tmp_path / "inside", message)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_flipped_bit_is_damage_in_every_format(packer, tmp_path):
    """gzip and bz2 say so with an `OSError`, as if the disk were at fault."""
    content = bytes(range(256)) * 400
    with PACKERS[packer](tmp_path / "a.tar", "wb") as file, \
            tarfile.open(fileobj=file, mode="w|") as tar:
        member = tarfile.TarInfo("a.png")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    whole = bytearray((tmp_path / "a.tar").read_bytes())
    whole[len(whole) // 2] ^= 255
    (tmp_path / "a.tar").write_bytes(whole)
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match="damaged, or not an archive"):
        unpack(tmp_path / "a.tar", tmp_path / "inside")


@pytest.mark.parametrize("setting", ["GNU.sparse.map=0,x", "GNU.sparse.major=x", "size=123456x"])
def test_settings_that_are_no_numbers_are_damage(setting, tmp_path):
    others = {"GNU.sparse.major=x": ["GNU.sparse.minor=0"]}.get(setting, [])
    (tmp_path / "a.tar").write_bytes(pax(setting, *others) + header(tarfile.REGTYPE, 0)
                                     + b"\0" * 10240)
    (tmp_path / "inside").mkdir()
    try:  # what is no number may also be passed over
        unpack(tmp_path / "a.tar", tmp_path / "inside")
    except InputError as error:
        assert "damaged" in str(error)
