"""A file that hands out no more than it may, for libraries that take an archive's word for it.

`tarfile` reads a header of any size at once, and `zipfile` a directory, whatever either says of its
own size, and a few kilobytes unpack to gigabytes. Here bytes are counted before they are held.
"""

import sys
from collections.abc import Callable
from typing import IO

from ...errors import InputError


class BoundedFile:
    """A file to read, for `tarfile` and `zipfile`.

    Args:
        refuse: called with a sentence, it makes the `InputError` that names the archive.
        end: no byte beyond this position, in what is unpacked, is reached.
    """

    def __init__(self, file: IO[bytes], refuse: Callable[[str], InputError],
                 end: int = sys.maxsize):
        self.file, self.refuse, self.end = file, refuse, end
        self.left, self.what = sys.maxsize, ""
        self.tell, self.seekable, self.close = file.tell, file.seekable, file.close

    def allow(self, size: int = sys.maxsize, what: str = "") -> None:
        """From now on let `size` bytes be read, which are `what`."""
        self.left, self.what = size, what

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        if len(block) > self.left:
            raise self.refuse(f"{self.what} is larger than that of any dataset")
        self.left -= len(block)
        self._check(self.tell())
        return block

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(position)  # first: what is packed is unpacked up to there
        return self.file.seek(position, whence)

    def _check(self, position: int) -> None:
        if position > self.end:
            raise self.refuse("it unpacks to far more than it takes: a bomb, or not a dataset")
