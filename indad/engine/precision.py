"""float32 that is float32: how precisely torch multiplies is set for a moment, and set back.

By default torch lets convolutions on a GPU round their inputs to TF32, whose fractions have ten
bits, and by a setting products as well, on CPUs too. Scores then differ in the fourth digit between
devices, and between batches of another size.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from threading import Condition, local
from typing import Any, ParamSpec, TypeVar

import torch

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
AUTOCAST = {"float16": torch.float16, "bfloat16": torch.bfloat16}  # mixed precision

P = ParamSpec("P")
R = TypeVar("R")
Setter = Callable[[Any], None]


class _Products:
    """Torch has one setting for all threads: those that want another one wait for their turn."""

    def __init__(self) -> None:
        self._free = Condition()
        self._precision, self._inside = "", 0
        self._before: list[tuple[Setter, Any]] = []
        self._mine = local()  # what this thread is in, and how deep

    @contextmanager
    def __call__(self, precision: str) -> Iterator[None]:
        """Products of float32 numbers in "float32" or in "tf32", where the device has that.

        Raises `RuntimeError` inside of the other one, which a thread cannot wait for.
        """
        outer = getattr(self._mine, "precision", precision)
        if outer != precision:
            raise RuntimeError(f"products({precision!r}) inside of products({outer!r})")
        with self._free:
            self._free.wait_for(lambda: not self._inside or self._precision == precision)
            if not self._inside:
                self._precision, self._before = precision, _set(precision)
            self._inside += 1
        self._mine.precision = precision
        depth = self._mine.depth = getattr(self._mine, "depth", 0) + 1
        try:
            yield
        finally:
            self._mine.depth = depth - 1
            if depth == 1:
                del self._mine.precision
            with self._free:
                self._inside -= 1
                if not self._inside:
                    for change, value in self._before:
                        change(value)
                    self._free.notify_all()


products = _Products()


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate what multiplies float32 numbers: it does so in float32, whatever torch's settings.
    """
    @wraps(function)
    def precise(*args: P.args, **kwargs: P.kwargs) -> R:
        with products("float32"):
            return function(*args, **kwargs)

    return precise


def _set(precision: str) -> list[tuple[Setter, Any]]:
    """Change what has to be changed; -> what sets it back."""
    wanted: tuple
    places: list[tuple[Callable[[], Any], Setter, tuple]]
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):  # torch 2.9 and later
        wanted = ("tf32",) if precision == "tf32" else ("ieee", "none")
        places = [(partial(getattr, place, "fp32_precision"),
                   partial(setattr, place, "fp32_precision"), wanted)
                  for place in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul,
                                backends.mkldnn.conv, backends.mkldnn.matmul)]
    else:
        wanted = ("high", "medium") if precision == "tf32" else ("highest",)
        places = [(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, wanted),
                  (partial(getattr, backends.cudnn, "allow_tf32"),
                   partial(setattr, backends.cudnn, "allow_tf32"), (precision == "tf32",))]
    before = [(change, read(), wanted) for read, change, wanted in places]
    before = [one for one in before if one[1] not in one[2]]
    for change, _, wanted in before:
        change(wanted[0])
    return [(change, value) for change, value, _ in before]
