"""Exercises that answer: `check("03.1", my_function)` says what is wrong, and never stops Run all.

Each lesson has a file with its exercises: small cases first, an obvious and slow solution to
compare with, and a word on the usual mistake. An unsolved exercise is said to be open, and that is
all. Where the lesson goes on with what was written, `check` gives it back if it is right, and until
then the function that the lesson names, of the package or of a few lines.
"""

import copy
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from indad.errors import InputError

STRICT = "INDAD_STRICT"  # set it to have a failed check raise, as the tests of the solutions do


@dataclass(frozen=True)
class Case:
    """One call of the reader's function.

    Attributes:
        arguments: what it is called with, by name.
        expected: what it should return; numbers are compared within `tolerance`.
        says: what this case is about, as the end of the sentence "it fails for ...".
        judge: instead of `expected`: takes what came back, returns what is wrong with it, or None.
    """

    arguments: dict
    expected: object = None
    says: str = ""
    judge: Callable[[object], str | None] | None = None


@dataclass(frozen=True)
class Exercise:
    """What to write, how to know that it is right, and what readers get wrong most."""

    cases: Callable[[], Iterable[Case]]
    tolerance: float = 1e-4
    hint: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a check found: `passed` is None if the exercise is still open."""

    passed: bool | None
    message: str = field(repr=False)


def check(number: str, answer: object, *, otherwise: Any = None) -> Any:
    """Print whether an answer is right, and if not, the smallest case that shows it.

    Args:
        number: of the exercise, such as "03.1".
        answer: the reader's function (or value, where the exercise asks for one).
        otherwise: the function that the lesson goes on with until the answer is right.

    Returns what to go on with, `answer` or `otherwise`, where there is an `otherwise`.
    """
    try:
        outcome = judge(number, answer)
    except InputError as error:  # no such exercise
        outcome = Outcome(False, f"✗ {error}")
    print(outcome.message)
    if outcome.passed is not True and os.environ.get(STRICT):
        raise AssertionError(outcome.message)
    if otherwise is None:
        return None
    print("  the cells below go on with " + (
        "yours" if outcome.passed else f"`{otherwise.__name__}`, until this is right"))
    return answer if outcome.passed else otherwise


def judge(number: str, answer: object) -> Outcome:
    """What `check` prints, as a value."""
    exercise = find(number)
    count = 0
    for case in exercise.cases():
        count += 1
        try:
            # A copy, so that an answer that changes its arguments does not change the next case.
            returned = (answer(**copy.deepcopy(case.arguments)) if callable(answer)
                        else copy.deepcopy(answer))
        except Exception as error:  # the reader's code may do anything
            problem = f"it raised {type(error).__name__}: {error}"
            return _wrong(exercise, number, case, problem, callable(answer))
        if returned is None or returned is Ellipsis:
            return Outcome(None, f"◌ {number} is open: nothing came back yet")
        problem = (case.judge(returned) if case.judge
                   else difference(returned, case.expected, exercise.tolerance))
        if problem:
            return _wrong(exercise, number, case, problem, callable(answer))
    return Outcome(True, f"✓ {number}: right, in {count} case{'s' * (count != 1)}")


def find(number: str) -> Exercise:
    """The exercise of this number; "9.2" is "09.2". Raises `InputError` if there is none."""
    lesson, _, place = str(number).strip().partition(".")
    try:
        known = import_module(f".lesson_{lesson.zfill(2)}", __name__).EXERCISES
    except ModuleNotFoundError:
        raise InputError(f"there is no lesson {lesson!r}; exercises are called like "
                         '"03.1"') from None
    if f"{lesson.zfill(2)}.{place}" not in known:
        raise InputError(f"there is no exercise {number!r}; this lesson has {', '.join(known)}")
    return known[f"{lesson.zfill(2)}.{place}"]


def difference(returned: object, expected: object, tolerance: float) -> str | None:
    """What is wrong with what came back, in words; None if nothing is."""
    if isinstance(expected, dict):
        if not isinstance(returned, dict):
            return f"it returned {brief(returned)}, expected a dict"
        for key in [*expected, *(key for key in returned if key not in expected)]:
            if key not in returned or key not in expected:
                return (f"{key!r} is {'missing' if key in expected else 'there, but should not be'}"
                        f"; expected the keys {list(expected)}")
            problem = difference(returned[key], expected[key], tolerance)
            if problem:
                return f"at {key!r}: {problem}"
        return None
    if isinstance(returned, np.bool_):  # as comparisons of arrays give it
        returned = bool(returned)
    if isinstance(expected, (set, str, bool)) or expected is None:
        return (None if type(returned) is type(expected) and returned == expected
                else f"it returned {brief(returned)}, expected {brief(expected)}")
    if isinstance(expected, tuple):
        if not isinstance(returned, tuple) or len(returned) != len(expected):
            return f"it returned {brief(returned)}, expected {len(expected)} values"
        for place, (one, other) in enumerate(zip(returned, expected, strict=True)):
            problem = difference(one, other, tolerance)
            if problem:
                return f"value {place}: {problem}"
        return None
    try:
        found, wanted = np.asarray(returned, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return f"it returned {brief(returned)}, expected {brief(expected)}"
    if found.shape != wanted.shape:
        return f"it returned shape {found.shape}, expected {wanted.shape}"
    close = np.isclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return None
    if found.ndim == 0:
        return f"it returned {found:.6g}, expected {wanted:.6g}"
    place = tuple(int(i) for i in np.argwhere(~close)[0])
    at = f" at {list(place)}" if found.size > 1 else ""
    return f"it returned {found[place]:.6g}{at}, expected {wanted[place]:.6g}"


def brief(value: object, limit: int = 120) -> str:
    """A value as text that fits a line."""
    if hasattr(value, "tolist") and getattr(value, "size", 0) is not None:
        shape = tuple(value.shape)
        size = int(np.prod(shape)) if shape else 1
        text = str(_rounded(value.tolist())) if size <= 24 else f"an array of shape {shape}"
    else:
        text = repr(value)
    return text if len(text) <= limit else text[:limit - 1] + "…"


def _rounded(value: object) -> object:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def _wrong(exercise: Exercise, number: str, case: Case, problem: str, asked: bool) -> Outcome:
    called = ", ".join(f"{name}={brief(value)}" for name, value in case.arguments.items())
    lines = [f"✗ {number}: {problem}"]
    if case.says:
        lines.append(f"  in the case of {case.says}")
    if called:
        lines.append(f"  called with {called}" if asked else
                     "  it was not called: give the function itself, without ( ) behind its name")
    if exercise.hint:
        lines.append(f"  hint: {exercise.hint}")
    return Outcome(False, "\n".join(lines))
