"""What a person at a terminal sees and answers: progress bars and menus."""

import os
import select
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ..errors import InputWarning, Progress

if TYPE_CHECKING:
    from tqdm import tqdm


@contextmanager
def warned_in_a_line() -> Iterator[None]:
    """Each `InputWarning` once, as a line on standard error; other warnings as ever."""
    from tqdm import tqdm

    with warnings.catch_warnings():
        otherwise, told = warnings.showwarning, set[str]()

        def show(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                 file: TextIO | None = None, line: str | None = None) -> None:
            if not issubclass(category, InputWarning):
                otherwise(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                tqdm.write(f"indad: warning: {message}", file=sys.stderr)  # not through a bar

        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield


class Bars:
    """tqdm bars for a library that only reports (what, done, total)."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what: str | None = None

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def of(self, category: str, **style: object) -> Progress:
        """A progress callback for one category; `style` is of tqdm."""
        from tqdm import tqdm

        def progress(what: str, done: int, total: int) -> None:
            if self._bar is None or what != self._what:
                self.close()
                self._what = what
                self._bar = tqdm(desc=f"{category}: {what}", total=total or None, leave=False,
                                 **style)
            self._bar.update(done - self._bar.n)

        return progress

    def note(self, line: str) -> None:
        """A line on standard error, not through a bar."""
        self.close()
        print(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = self._what = None


def choose(what: str, names: list[str]) -> str:
    """Ask until the answer is a number or a name of the list; empty takes the first."""
    for number, name in enumerate(names, 1):
        print(f"  {number}  {name}")
    while True:
        try:
            answer = input(f"{what} [1]: ").strip() or "1"
        except EOFError:
            return names[0]
        if answer in names:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        print(f"  type a number from 1 to {len(names)}, or a name")


def still_read() -> bool:
    """Whether anybody reads what is printed: not after `| head`. If not, nothing more is printed,
    so that nothing is said at exit either."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError):  # on Windows; or no file at all
        return True
    if not poll.poll(0):
        return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False
