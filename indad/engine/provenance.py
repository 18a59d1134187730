"""What patch features were made with, and whether that is what a model makes its own with."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError

# Options of `PatchCore` without which features would be others, even were all else the same.
MAKING = ("backbone", "layers", "weights", "resize", "crop", "tiles", "overlap", "scale",
          "normalization", "patch_features", "scales", "balance_images")
# Of these a model learns something of its own, which says more.
LEARNING = ("region", "foreground", "align", "align_tolerance")


def kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that features depend on, as plain values that compare and can be stored."""
    return {name: _plain(options[name]) for name in (*MAKING, *LEARNING)}


def check_made_alike(features: Mapping[str, Any], options: Mapping[str, Any],
                     names: Collection[str] = MAKING + LEARNING) -> None:
    """Raise `InputError` for the first option that features were made with another value of.

    Args:
        features: what `kept` kept of the options that they were made with; empty if unknown.
        options: of the model that they are given to.
    """
    for name in names if features else ():
        made, wanted = features[name], _plain(options[name])
        if made != wanted:
            raise InputError(f"these features were extracted with {name}={made!r}, but the model "
                             f"has {wanted!r}; extract them again, with the model's own options")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
