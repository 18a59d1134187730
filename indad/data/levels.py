"""What is black and what is white in photos of more than 8 bits.

A 16-bit file does not say how many of its bits the camera fills: 4,095 may be white, or nearly
black. One photo cannot tell either, as it may be a dark one. So it is decided once, over all photos
that a model learns from, and remembered with the model, which reads every later photo alike.

Levels are a dict with a pair (black, white) of "integers" and one of "floats": of those kinds of
numbers that were seen. It is empty after 8-bit photos, whose white is 255.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ..errors import InputError

Levels = dict[str, tuple[float, float]]
BITS = (8, 10, 12, 14, 16, 24, 32)
# Floats count to 1, or as integers do. What is a little above 1, or far below, gets the next power
# of two: no photo is left with a few grey levels.
FLOATS = (*(2.0 ** power for power in range(-24, -3)), 1, 2, 4, 8, 16)
SLACK = 1 / 255  # of the range: a grey level more, which resampled floats may have


def kind_of(numbers: np.ndarray) -> str:
    return "floats" if numbers.dtype.kind == "f" else "integers"


def colours(numbers: np.ndarray) -> np.ndarray:
    """Those of `(h, w)` or `(h, w, c)` without alpha."""
    return numbers[..., :3] if numbers.ndim == 3 else numbers


def extremes(numbers: np.ndarray) -> tuple[float, float] | None:
    """The lowest and highest of a photo's numbers, `(h, w)` or `(h, w, c)`, alpha and what is not
    finite left out; None if nothing is finite."""
    seen = colours(numbers)
    if seen.dtype.kind == "f":
        seen = seen[np.isfinite(seen)]
    return (float(seen.min()), float(seen.max())) if seen.size else None


def usual_range(kind: str, low: float, high: float) -> tuple[float, float]:
    """The narrowest usual range, (black, white), that holds numbers from `low` to `high`."""
    whites = [2.0 ** bits - 1 for bits in BITS]
    slack = 0.0
    if kind == "floats":
        whites, slack = [*FLOATS, *whites], SLACK
    white = next((white for white in whites if high <= white * (1 + slack)), high)
    if low >= -white * slack:
        return 0.0, white
    steps = [step + (kind == "integers") for step in whites]
    return -next((step for step in steps if -low <= step), -low), white


def decide(seen: Iterable[tuple[str, float, float]]) -> Levels:
    """Levels that hold the (kind, lowest, highest) of all photos."""
    whole: dict[str, tuple[float, float]] = {}
    for kind, low, high in seen:
        before = whole.get(kind, (low, high))
        whole[kind] = min(low, before[0]), max(high, before[1])
    return {kind: usual_range(kind, *whole[kind]) for kind in sorted(whole)}


def outside(numbers: np.ndarray, levels: Mapping) -> str | None:
    """What is to be said of a photo that `levels` do not fit; None if they do."""
    kind, found = kind_of(numbers), extremes(numbers)
    if found is None:
        return "holds no finite number"
    held = f"holds {kind} from {found[0]:.6g} to {found[1]:.6g}"
    if kind not in levels:
        return f"{held}, of which the model knows no white: what was taken is a guess"
    black, white = levels[kind]
    slack = (white - black) * SLACK * (kind == "floats")
    if black - slack <= found[0] and found[1] <= white + slack:
        return None
    return f"{held}, but the training photos say {black:.6g} is black and {white:.6g} is white"


def in_words(levels: Mapping) -> str:
    """For people: "photos of more than 8 bits: white is 4095 (12 bits)"."""
    said = []
    for kind, (black, white) in levels.items():
        bits = np.log2(white + 1) if kind == "integers" else 0.5
        said.append(f"white is {white:.6g}" + (f" and black {black:.6g}" if black else "")
                    + (f" ({bits:.0f} bits)" if bits == int(bits) else f" in {kind}"))
    return "photos of more than 8 bits: " + ", ".join(said)


def check_same(features: Mapping, model: Mapping) -> None:
    """Raise `InputError` if features are of images that were read by other levels."""
    if features != model:
        raise InputError(f"the features are of images read by the levels {features}, but the "
                         f"model's are {model}; extract them again with levels={model}")


def levels_in(transform: Mapping, file: Path) -> Levels:
    """Those that a saved model has; `InputError` that names `file` if somebody changed them."""
    levels = transform.get("levels", {})
    if not (isinstance(levels, dict) and all(
            kind in ("integers", "floats") and isinstance(pair, list) and len(pair) == 2
            and all(type(one) in (int, float) and abs(one) < 1e300 for one in pair)
            and pair[0] < pair[1] for kind, pair in levels.items())):
        raise InputError(f"{file}: levels are {levels!r}; they must be [black, white] of integers "
                         "or floats, black below white")
    return {kind: (float(black), float(white)) for kind, (black, white) in levels.items()}
