"""What arguments may be: a wrong one costs one line, before anything is done.

    @takes(k=whole(1), method=one_of(METHODS))
    def nearest(queries, bank, k=1, *, method="auto"): ...

Left out: whatever depends on several arguments at once; the functions themselves say that.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import InputError, unknown

F = TypeVar("F", bound=Callable)


@dataclass(frozen=True)
class Rule:
    """Which values an argument takes, and how that is said; names that are known, if it is one.

    On the command line `read` makes a value of a word, which help shows as `written`. Of a list
    (`listed`), the values stand in one word with commas between them, like 2,3.
    """

    holds: Callable[[Any], bool]
    wanted: str
    known: Collection | None = None
    read: Callable[[str], Any] = str
    written: str = "NAME"
    listed: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise `InputError` for a value that is none of these."""
        if not self.holds(value):
            if self.known is not None and isinstance(value, str):
                raise unknown(name, value, self.known)
            raise InputError(f"{name} is {shown(value)}; it must be {self.wanted}")

    def from_word(self, name: str, word: str) -> Any:
        """What a word of the command line stands for; raises `InputError` for any other word."""
        try:
            value = self.read(word)
        except InputError:
            raise
        except ValueError:
            value = word
        self.check(name, value)
        return value


@dataclass(frozen=True)
class Option:
    """What there is to say of a parameter of `PatchCore`, beside its name and type.

    Attributes:
        rule: what it may be, by itself, and how a word of the command line is read.
        group: under which heading `--help` shows it.
        meaning: for docstrings, `--help` and menus alike; the rule's names follow a colon.
    """

    default: Any
    rule: Rule
    group: str
    meaning: str

    def __str__(self) -> str:
        names = ", ".join("none" if name is None else name for name in self.rule.known or ())
        return f"{self.meaning} {names}" if self.meaning.endswith(":") else self.meaning


def option(default: Any, rule: Rule, group: str, meaning: str) -> Any:
    """A field of a dataclass that is an `Option`."""
    return field(default=default, metadata={"option": Option(default, rule, group, meaning)})


def takes(**rules: Rule) -> Callable[[F], F]:
    """Hold a function's arguments to rules before it runs; defaults are right by definition."""
    def checked(function: F) -> F:
        signature = inspect.signature(function)
        assert rules.keys() <= signature.parameters.keys(), f"{rules.keys()} of {function}"

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            for name, value in signature.bind(*args, **named).arguments.items():
                if name in rules:
                    rules[name].check(name, value)
            return function(*args, **named)

        return cast(F, call)
    return checked


def as_word(value: object) -> str:
    """A value as `Rule.from_word` reads it; of lists of lists, with ; between those."""
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(one, (list, tuple)) for one in value)
        return (";" if nested else ",").join(map(as_word, value))
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))


def shown(value: object, most: int = 60) -> str:
    """A value in a few words of one line: of a table, its shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"a {type(value).__name__} {tuple(value.shape)} of {value.dtype}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a stranger's __repr__
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most - 3]}..."


def whole(least: int | None = None, most: int | None = None) -> Rule:
    """A whole number; True and 2.0 are none."""
    def holds(value: object) -> bool:
        return (isinstance(value, Integral) and not isinstance(value, bool)
                and (least is None or int(value) >= least) and (most is None or int(value) <= most))
    return Rule(holds, "a whole number" + _limits(least, most), read=int, written="N")


def number(least: float | None = None, most: float | None = None) -> Rule:
    """A finite number."""
    def holds(value: object) -> bool:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        try:
            found = float(value)
        except OverflowError:  # a whole number of four hundred digits
            return False
        return (math.isfinite(found) and (least is None or found >= least)
                and (most is None or found <= most))
    both = least is not None and most is not None
    return Rule(holds, f"in [{least}, {most}]" if both else "a number" + _limits(least, most),
                read=float, written="X")


def _limits(least: float | None, most: float | None) -> str:
    if most is None:
        return "" if least is None else f", {least} or more"
    return f" from {least} to {most}"


def one_of(known: Collection) -> Rule:
    """A name of a registry, or None where that is among them."""
    return Rule(lambda value: (value is None or isinstance(value, str)) and value in known,
                f"one of {', '.join(str(name) for name in known)}", known,
                read=_or_none(str) if None in known else str)


def maybe(rule: Rule) -> Rule:
    """None, or what a rule takes."""
    return replace(rule, holds=lambda value: value is None or rule.holds(value),
                   read=_or_none(rule.read))


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda word: None if word == "none" else read(word)


def either(*rules: Rule) -> Rule:
    """What any of these takes."""
    def read(word: str) -> Any:
        for rule in rules:
            with suppress(ValueError):
                return rule.read(word)
        raise ValueError(word)
    return Rule(lambda value: any(rule.holds(value) for rule in rules),
                " or ".join(rule.wanted for rule in rules), read=read, written=rules[0].written,
                listed=any(rule.listed for rule in rules))


def several(rule: Rule, count: int | None = None, *, least: int = 0) -> Rule:
    """A list or a tuple of what a rule takes, so many, or at least so many."""
    def holds(value: object) -> bool:
        return (isinstance(value, (list, tuple, range)) and len(value) >= least
                and count in (None, len(value)) and all(rule.holds(one) for one in value))
    return Rule(holds, f"a list{'' if count is None else f' of {count}'}, each {rule.wanted}",
                read=lambda word: tuple(rule.read(one) for one in word.split(",")),
                written=rule.written, listed=True)


def kind(of: type | tuple[type, ...], wanted: str) -> Rule:
    """Whatever is of a type."""
    return Rule(lambda value: isinstance(value, of), wanted)


def table(dimensions: int) -> Rule:
    """A tensor, or what is read like one, of floating-point numbers in so many dimensions."""
    def holds(value: Any) -> bool:
        return (hasattr(value, "device") and len(getattr(value, "shape", ())) == dimensions
                and (not hasattr(value, "dtype")
                     or getattr(value.dtype, "is_floating_point", False)))
    return Rule(holds, f"a tensor of floating-point numbers in {dimensions} dimensions")


def numbers(dimensions: int | None = None) -> Rule:
    """An array of real numbers, or a list of them, in so many dimensions (any, if None)."""
    def holds(value: Any) -> bool:
        import numpy as np

        try:
            found = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):  # ragged; a tensor on a GPU
            return False
        return found.dtype.kind in "biuf" and dimensions in (None, found.ndim)
    return Rule(holds, "an array of numbers" + (
        "" if dimensions is None else f" in {dimensions} dimension{'s' * (dimensions > 1)}"))


def _are_labels(value: Any) -> bool:
    return numbers(1).holds(value) and all(one in (0, 1) for one in set(value))


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike)) and str(value).strip() != "" \
        and "\0" not in str(value)


SHARE = replace(number(), holds=lambda value: number().holds(value) and 0 < value < 1,
                wanted="in (0, 1)")
PART = replace(number(), holds=lambda value: number().holds(value) and 0 < value <= 1,
               wanted="in (0, 1]")
ODD = replace(whole(1), holds=lambda value: whole(1).holds(value) and value % 2 == 1,
              wanted="odd, in pixels")
FLAG = kind(bool, "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and value.strip() != "",
            "a text that is not empty")
ADDRESS = Rule(lambda value: isinstance(value, str)
               and value.startswith(("http://", "https://")),
               "an address that begins with http:// or https://")
PATH = Rule(_is_path, "a path", written="FILE")
CALLED = Rule(callable, "a function")
LABELS = Rule(_are_labels, "0 (good) or 1 (defective) for each image")
NAMED = Rule(lambda value: isinstance(value, Mapping) and all(map(TEXT.holds, value)),
             "a dict with names of options")
LIST = Rule(lambda value: not isinstance(value, (str, bytes, Mapping))
            and hasattr(value, "__getitem__") and hasattr(value, "__len__")
            and len(getattr(value, "shape", (0,))) == 1, "a list")

MANY = Rule(lambda value: isinstance(value, Iterable) and not isinstance(
    value, (str, bytes, Mapping, set)), "several arrays, one after the other")


def as_path(name: str, value: str | os.PathLike) -> Path:
    """A path; raises `InputError` for what is none."""
    PATH.check(name, value)
    return Path(value)
