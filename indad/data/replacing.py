"""A file or folder takes the place of an older one, which is at every moment whole: old or new.

On Linux the two are exchanged in one step. Elsewhere the old one is renamed aside and the new one
renamed in, and whoever reads between the two finds the old one aside. Nothing is deleted before the
new one is in its place and on the disk.
"""

import ctypes
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from .locks import locked

T = TypeVar("T")
RENAME_EXCHANGE = 2  # of linux/fs.h
AT_FDCWD = -100  # of fcntl.h: paths are as the process sees them
TRIES = 20


def replace_file(new: Path, place: Path) -> None:
    """Rename a complete file into its place, where an older one may be."""
    _flush(new)
    _patiently(os.replace, new, place)
    _flush_folder(place.parent)


def replace_folder(new: Path, place: Path) -> None:
    """Put a complete folder, of the same disk, into its place, where an older one may be.

    The old one is deleted at the end. If anything fails before that, the old one stays.
    """
    if place.is_file():
        raise InputError(f"{place} is a file, where a folder of results belongs; move it away")
    for folder, _, files in os.walk(new):
        for name in files:
            _flush(Path(folder, name))
        _flush_folder(Path(folder))
    if not place.exists():
        _patiently(os.rename, new, place)
    elif not _exchange(new, place):
        aside = new.with_suffix(".old")
        _patiently(os.rename, place, aside)
        try:
            _patiently(os.rename, new, place)
        except BaseException:
            os.rename(aside, place)
            raise
        new = aside
    try:
        _flush_folder(place.parent)
    finally:
        remove(new)


def remove(leftover: Path) -> None:
    """Delete a file or folder, if it is there and as far as it can be."""
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        with suppress(OSError):
            leftover.unlink()


def leftovers_of(place: Path, kind: str) -> list[Path]:
    """What writers of this place, alive or dead, have beside it: `kind` is "partial" or "old"."""
    ours = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.{kind}")
    try:
        return sorted(file for file in place.parent.iterdir() if ours.fullmatch(file.name))
    except OSError:
        return []


def mend(place: Path) -> list[Path]:
    """Undo what writers that are dead left half-done; says what was removed.

    Only for whoever has the turn at this place, or it would be the work of the living.
    """
    aside, partial = leftovers_of(place, "old"), leftovers_of(place, "partial")
    if aside and not place.exists():
        os.rename(aside.pop(), place)
    for leftover in aside + partial:
        remove(leftover)
    return partial


def read_whole(place: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a folder that others may replace meanwhile: all of it old, or all new.

    `read` is called again if the folder was replaced under its hands, and finally in a turn of its
    own. What it raises about a folder that nobody replaced is raised.
    """
    for _ in range(TRIES):
        aside = [] if place.exists() else leftovers_of(place, "old")
        now = aside[0] if aside else place
        with _held(now) as before:
            try:
                found = read(now)
            except Exception:
                same = before == _identity(now) if before else _is_missing(place)
                if same and not aside:  # which may be half deleted
                    raise
            else:
                if before and before == _identity(now):
                    return found
    with locked(place):
        return read(place)


def _is_missing(place: Path) -> bool:
    """True if nothing is there, and nothing that was there is aside for a moment."""
    return not (place.exists() or leftovers_of(place, "old") or place.exists())


@contextmanager
def _held(folder: Path) -> Iterator[tuple[int, int] | None]:
    """The identity of a folder, which no other gets while it is open."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # not there; and Windows, which gives no identity twice, opens no folders
        yield _identity(folder)
        return
    try:
        yield _identity(descriptor)
    finally:
        os.close(descriptor)


def _identity(folder: Path | int) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@cache
def _renameat2() -> Callable[..., int] | None:
    """The C library's function, None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the disk cannot."""
    rename = _renameat2()
    return rename is not None and rename(
        AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _patiently(rename: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    """Windows renames nothing that somebody reads just now, which is over in a moment."""
    for _ in range(TRIES if os.name == "nt" else 0):
        try:
            return rename(source, target)
        except PermissionError:
            time.sleep(0.05)
    return rename(source, target)


def _flush(file: Path) -> None:
    """Wait until a file is on the disk, or a power cut could leave its name without its content."""
    descriptor = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """The same for the names in a folder, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some mounted disks have no such thing for folders
        pass
    finally:
        os.close(descriptor)
