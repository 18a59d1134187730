"""The one exception whose message is meant for the person at the keyboard."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something that was given is wrong; the message says what, and what to do about it."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not in a registry, with the nearest names first."""
    known = list(known)
    nearest = get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    return InputError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known) or 'none'})")
