"""JSON that was written earlier, here or by somebody else: read as if a stranger had made it."""

import json
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line

LARGEST = 200_000_000  # bytes
DEEPEST = 40  # lists and objects within each other; what indad writes has 5
HIGHEST = 1e300  # of a number's size: beyond it lies nothing that was measured


def read_json(file: Path) -> Any:
    """What a JSON file holds; raises `InputError` unless it is plain, and `OSError` if it cannot.

    Plain: UTF-8, no nan or infinity, which are not JSON, no number too large to compute with, no
    text that could not be written again, and not nested as no program nests.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"larger than {LARGEST / 1e6:.0f} MB")
        return parse_json(file.read_bytes())
    except (ValueError, MemoryError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({first_line(error)})") from error


def parse_json(data: bytes) -> Any:
    """The same of bytes; raises `ValueError`."""
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError("nested too deep")
        if isinstance(one, dict):
            waiting += [(inner, depth + 1) for pair in one.items() for inner in pair]
        elif isinstance(one, list):
            waiting += [(inner, depth + 1) for inner in one]
        elif isinstance(one, str):
            one.encode()
        elif isinstance(one, (int, float)) and not abs(one) < HIGHEST:
            raise ValueError("a number in it is not finite, or too large")
    return value
