"""Files and folders that are whole or not there at all.

Everything is written beside its place under a name that starts with a dot and ends in `.partial`,
and renamed when complete: a power cut leaves litter, never something that reads as a result.
"""

import csv
import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from .locks import locked
from .replacing import leftovers_of, mend, remove, replace_file, replace_folder

FULL = (errno.ENOSPC, errno.EDQUOT)


def write_text(file: Path, text: str) -> None:
    """Write a text file so that it is never seen half-written.

    Raises `InputError` when the disk is full.
    """
    with explain_full_disk(str(file), "free some space"), complete_file(file) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(file: Path, value: object) -> None:
    """JSON without nan or infinity, which are not JSON; a metric that is missing is null."""
    write_text(file, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_scores(file: Path, rows: list[dict], columns: Sequence[str]) -> None:
    """scores.csv: one line an image, worst first; those without a score last."""
    with open(file, "w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (row["score"] is None,
                                                       -(row["score"] or 0))))


@contextmanager
def complete_file(file: Path) -> Iterator[Path]:
    """Yield a name beside `file` to write to; it takes the place of `file` if all goes well."""
    with locked(file):
        mend(file)
        partial = _beside(file)
        try:
            yield partial
            replace_file(partial, file)
        finally:
            remove(partial)


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `folder`; whatever is not moved out of it is removed."""
    partial = _beside(folder)
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        remove(partial)


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Yield a fresh folder to write into; it takes the place of `folder` if all goes well.

    Writers of one place take turns. Of a symbolic link, the folder that it leads to is replaced.
    """
    folder = folder.resolve()
    with locked(folder):
        mend(folder)
        with partial_folder(folder) as partial:
            yield partial
            replace_folder(partial, folder)


def clear_interrupted(folder: Path) -> list[Path]:
    """Remove what interrupted work on this folder left beside it; says what.

    Nothing is touched while another process is at work there.
    """
    folder = folder.resolve()
    if not leftovers_of(folder, "partial") + leftovers_of(folder, "old"):
        return []
    try:
        with locked(folder, patience=0):
            return mend(folder)
    except InputError:
        return []


def check_replaceable(folder: Path, own: Collection[str], what: str, remedy: str, *,
                      needs: str | None = None) -> None:
    """Raise `InputError` if writing `folder` anew would replace anything but what we wrote there.

    Args:
        own: names of files and folders that are ours; `needs`: one without which none of them is.
        what: we write, in words; `remedy`: what to do.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file; give a folder for {what}")
    if os.path.ismount(folder):
        raise InputError(f"{folder}: a disk is mounted there, so it cannot be replaced as a whole; "
                         "give a folder in it")
    try:
        inside = {file.name for file in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        inside = set()
    others = sorted(inside - set(own)) or sorted(inside if needs and needs not in inside else ())
    if others:
        raise InputError(f"{folder}: holds {others[0]}, which is no part of {what}; {remedy}")


def check_writable(folder: Path, option: str) -> None:
    """Raise `InputError` now rather than after an hour of work; `option` chooses the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _beside(folder / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror}); "
                         f"choose another folder with {option}") from error


def check_space(folder: str | Path, needed: int, what: str, remedy: str) -> None:
    """Raise `InputError` if the disk of `folder` (which exists) lacks `needed` bytes for `what`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{what} needs {in_units(needed)}, but the disk of {folder} has only "
                         f"{in_units(free)} free; {remedy}")


@contextmanager
def explain_full_disk(what: str, remedy: str) -> Iterator[None]:
    """Turn "no space left on device" into an `InputError` that says what to do."""
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise InputError(f"{what}: the disk is full; {remedy}") from error


def is_full_disk(error: BaseException | None) -> bool:
    """True also if a library says so in words of its own about what happened to it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def sha256_of(file: Path, *, progress: Callable[[int, int], None] | None = None) -> str:
    """SHA-256 of a file of any size, in hex; `progress(bytes done, bytes in all)`."""
    digest, done, size = hashlib.sha256(), 0, file.stat().st_size
    with open(file, "rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, size)
    return digest.hexdigest()


def in_units(size: float) -> str:
    """1234567 -> "1.23 MB": powers of ten, as disks and downloads are labelled."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _beside(place: Path) -> Path:
    return place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.partial")
