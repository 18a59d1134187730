"""An archive into a folder, trusting nothing in it.

Only plain files and folders are ever made, byte by byte with our own permissions; a link becomes a
copy of what it points to, if that is in the archive too. Everything else is refused, and the
folder, which the caller makes for this alone, can be thrown away.

By hand: `tarfile`'s data filter lets links, bombs and doubles pass; Python 3.10.11 lacks it.
"""

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ...errors import InputError, Progress, first_line
from ..files import check_space, explain_full_disk, in_units
from .bounded import BoundedFile

# Photos do not compress: an archive that grows more than this is a bomb, not a dataset.
LARGEST_GROWTH = 10
SLACK = 64 << 20
MOST_ENTRIES = 1_000_000
# What a library holds at once, several times over in its own objects, before anybody can look.
LARGEST_HEADER = 32 << 10  # of a tar's member; a path has 4 kB at most
LARGEST_DIRECTORY = 16 << 20  # of a zip, for some 150,000 photos
LARGEST_FILLING = 1 << 20  # zeros after the last member of a tar
LONGEST_PATH, DEEPEST = 4096, 64
ELSEWHERE = "free some, or choose another disk with --datasets"
# How compressed tars begin, and who reads them; whatever begins otherwise is not compressed.
UNPACKERS: dict[bytes, Callable] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"]\0\0": lzma.open}
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".zip")

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One member of an archive, whatever its format."""

    name: str
    kind: str  # "file", "folder", "link" or "special"
    size: int
    open: Callable[[], IO[bytes] | None]  # None: there is nothing in it, as it is no file
    target: Parts = ()  # of a link


def unpack(archive: Path, folder: Path, *, only: Callable[[Parts], bool] = lambda parts: True,
           progress: Progress | None = None) -> int:
    """Unpack a tar (plain, gz, xz, bz2) or zip file into an existing empty folder.

    Args:
        only: called with a member's path as a tuple of names; False leaves it out.
        progress: called with (what, bytes written, bytes of the archive).

    Returns the number of files. Raises `InputError`, with the member's name, for absolute paths,
    `..`, links that leave the archive, devices, members named twice, sizes beyond all reason (also
    of headers, before they are read), damaged archives, and disks that are full.
    """
    packed = archive.stat().st_size
    allowed = LARGEST_GROWTH * packed + SLACK
    check_space(folder, packed, f"unpacking {archive.name}", ELSEWHERE)
    seen = written = files = 0
    try:
        for count, entry in enumerate(_entries(archive, allowed), start=1):
            parts = safe_parts(archive, entry.name)
            if entry.size < 0:
                raise InputError(f"{archive}: refused, {entry.name!r} has {entry.size} bytes")
            seen += entry.size
            if seen > allowed or count > MOST_ENTRIES:
                raise InputError(
                    f"{archive}: refused, it unpacks to more than {in_units(allowed)} at "
                    f"{entry.name!r}: a bomb, or not a dataset")
            if entry.kind == "special":
                raise InputError(f"{archive}: refused, {entry.name!r} is a device or pipe")
            if not parts or not only(parts):
                continue
            place = folder.joinpath(*parts)
            with explain_full_disk(f"unpacking {archive.name}", ELSEWHERE):
                if entry.kind == "folder":
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                written += _write(archive, entry, place, folder)
            files += 1
            if written > allowed:  # links are free in the archive, their copies are not
                raise InputError(f"{archive}: refused, its links unpack to more than "
                                 f"{in_units(allowed)}")
            if progress:
                progress("unpacking", min(written, packed), packed)
    except InputError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{archive}: refused, two members claim {error.filename}") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise InputError(f"{archive}: refused, this system has no place for a file of the name "
                             f"{str(error.filename)[-80:]!r}") from error
        if error.errno is not None:  # gzip and bz2 raise those without a number
            raise
        raise _damaged(archive, error) from error
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError,
            RuntimeError, ValueError, ArithmeticError, LookupError, struct.error) as error:
        raise _damaged(archive, error) from error
    return files


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(f"{archive}: damaged, or not an archive that can be read "
                      f"({first_line(error)[:200]})")


def safe_parts(archive: Path, name: str) -> Parts:
    """The names along a member's path; raises `InputError` unless it stays inside.

    Strict on every system, so that an archive that is fine here is fine on Windows too.
    """
    path = PurePosixPath(name)
    if len(name) > LONGEST_PATH or len(path.parts) > DEEPEST:
        raise InputError(f"{archive}: refused, the path {name[:80]!r}... is {len(name):,} letters "
                         f"long and {len(path.parts):,} folders deep")
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise InputError(f"{archive}: refused, the path {name!r} leads out of the folder")
    return path.parts


def _write(archive: Path, entry: Entry, place: Path, folder: Path) -> int:
    source = folder.joinpath(*entry.target)
    if entry.kind == "link" and not source.is_file():
        raise InputError(f"{archive}: refused, the link {entry.name!r} points to "
                         f"{'/'.join(entry.target)!r}, which is no file before it")
    content = source.open("rb") if entry.kind == "link" else entry.open()
    assert content is not None  # folders and what is special never come here
    with content, open(place, "xb") as out:
        shutil.copyfileobj(content, out, 1 << 20)
        return out.tell()


def _entries(archive: Path, allowed: int) -> Iterator[Entry]:
    with open(archive, "rb") as file:
        start = file.read(6)

    def refuse(why: str) -> InputError:
        return InputError(f"{archive}: refused, {why}")

    if start.startswith(b"PK\x03\x04"):
        with open(archive, "rb") as file:
            yield from _zip_entries(archive, BoundedFile(file, refuse))
    else:
        unpacker = next((UNPACKERS[sign] for sign in UNPACKERS if start.startswith(sign)), open)
        with unpacker(archive, "rb") as file:
            yield from _tar_entries(archive, BoundedFile(file, refuse, end=allowed))


def _tar_entries(archive: Path, file: BoundedFile) -> Iterator[Entry]:
    def next_member() -> tarfile.TarInfo | None:
        file.allow(LARGEST_HEADER, "a member's header")
        member = tar.next()
        file.allow()
        # Else all members and settings would be kept, for look-ups that nobody makes.
        tar.members.clear()  # type: ignore[attr-defined]
        tar.pax_headers = {}
        return member

    file.allow(LARGEST_HEADER, "a member's header")
    with tarfile.open(fileobj=cast(IO[bytes], file), mode="r:") as tar:
        while member := next_member():
            kind = ("file" if member.isfile() else "folder" if member.isdir()
                    else "link" if member.islnk() or member.issym() else "special")
            target: Parts = ()
            if kind == "link":
                # A symbolic link counts from its own folder, a hard link from the top.
                base = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
                target = _link_target(archive, base, member.linkname)
            yield Entry(member.name, kind, member.size, partial(tar.extractfile, member), target)
    file.file.read(LARGEST_FILLING)  # up to the checksum at the end, which this tests


def _zip_entries(archive: Path, file: BoundedFile) -> Iterator[Entry]:
    file.allow(LARGEST_DIRECTORY, "its directory")
    with zipfile.ZipFile(cast(IO[bytes], file)) as zipped:
        file.allow()
        for member in zipped.infolist():
            mode = member.external_attr >> 16
            target: Parts = ()
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile unpacks a whole block of the others at once, however large it becomes.
                raise InputError(f"{archive}: refused, {member.filename[:80]!r} is compressed in a "
                                 "way other than deflate; unpack it by hand, or pack it anew")
            if member.is_dir():
                kind = "folder"
            elif stat.S_ISLNK(mode):
                kind = "link"
                if member.file_size > LONGEST_PATH:
                    raise InputError(f"{archive}: refused, the link {member.filename[:80]!r} is no "
                                     "path")
                with zipped.open(member) as link:  # `read` without a size would unpack all of it
                    target = _link_target(archive, PurePosixPath(member.filename).parent,
                                          link.read(LONGEST_PATH).decode("utf-8", "replace"))
            else:
                kind = "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "special"
            # ZipFile itself stops at `file_size` bytes and checks their CRC.
            yield Entry(member.filename, kind, member.file_size,
                        partial(zipped.open, member), target)


def _link_target(archive: Path, base: PurePosixPath, link: str) -> Parts:
    if PurePosixPath(link).is_absolute() or len(link) > LONGEST_PATH:
        raise InputError(f"{archive}: refused, a link leads to {link[:80]!r}, out of the folder")
    parts: list[str] = list(base.parts)
    for name in PurePosixPath(link).parts:
        if name == ".." and not parts:
            raise InputError(f"{archive}: refused, a link leads to {link!r}, out of the folder")
        parts = parts[:-1] if name == ".." else [*parts, name]
    return safe_parts(archive, "/".join(parts))
