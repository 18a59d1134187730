"""One process at a time works on a place; the others wait for their turn."""

import errno
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, InputWarning

PATIENCE = 600.0  # seconds that a writer waits for its turn
NOTICE = 5.0  # seconds after which somebody is told why nothing happens
POLL = 0.05
# Some mounted disks know no locks: these go without.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def locked(place: Path, *, waiting: Callable[[], None] | None = None,
           patience: float | None = None) -> Iterator[None]:
    """Let one process (or thread) at a time write to a file or folder.

    The system lifts the lock, of a file `.NAME.lock` beside the place, when its process ends,
    however it ends.

    Args:
        waiting: called once if it is another's turn; a warning after some seconds if None.
        patience: seconds to wait; `PATIENCE` if None.

    Raises `InputError` if the turn does not come in time.
    """
    place = Path(os.path.abspath(place))
    lock = place.with_name(f".{place.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    began, told = time.monotonic(), False
    while (descriptor := _take(lock)) is None:
        waited = time.monotonic() - began
        if waited >= (PATIENCE if patience is None else patience):
            raise InputError(f"{place}: another process is writing there, and has been for "
                             f"{waited:.0f} s; wait until it ends, or choose another place")
        if not told and (waiting or waited > NOTICE):
            told = True
            if waiting:
                waiting()
            else:
                warnings.warn(f"{place}: waiting for another process that is writing there",
                              InputWarning, stacklevel=4)
        time.sleep(POLL)
    try:
        yield
    finally:
        _leave(lock, descriptor)


def _take(lock: Path) -> int | None:
    """An open descriptor that holds the lock; None if another holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    taken = False
    try:
        taken = _try_lock(descriptor) and _is_still(lock, descriptor)
    finally:
        if not taken:
            os.close(descriptor)
    return descriptor if taken else None


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in NO_LOCKS
    return True


def _is_still(lock: Path, descriptor: int) -> bool:
    """False if whoever held the lock has removed its file since we opened it."""
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _leave(lock: Path, descriptor: int) -> None:
    """Remove the file while it is still ours; on Windows, where that is not allowed, after."""
    try:
        with suppress(OSError):  # a file that stays is in nobody's way
            if os.name != "nt":
                os.unlink(lock)
    finally:
        os.close(descriptor)
    with suppress(OSError):  # or another has it open by now
        if os.name == "nt":
            os.unlink(lock)
