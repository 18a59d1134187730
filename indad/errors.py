"""What is told to whoever calls: the exception meant for a person, and progress."""

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

Progress = Callable[[str, int, int], None]  # (what, done, total); total is 0 where it is not known


class InputError(ValueError):
    """Something that was given is wrong; the message says what, and what to do about it."""


class InputWarning(UserWarning):
    """Something that was given is odd: what was made of it, or left out of it, in one line."""


def unknown(kind: str, name: object, known: Iterable[object]) -> InputError:
    """Build the error for a name that is not in a registry, with the nearest names first."""
    names = ["none" if one is None else str(one) for one in known]
    nearest = get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return InputError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names) or 'none'})")


def none_of(skipped: Sequence[tuple[int, str]]) -> str:
    """Why there is no image at all, of those that were skipped as (number, reason)."""
    return (f"none of {len(skipped)} can be read; the first: {skipped[0][1]}" if skipped
            else "none was given")


def first_line(error: Exception) -> str:
    """What an error says, in one line; of a `load_state_dict`, the first tensor it names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading"):
        lines = lines[1:]
    return lines[0] if lines else type(error).__name__
