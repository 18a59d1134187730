"""Values on their way out of a process that nobody trusts: read without running anything.

A message is a line of JSON, the sizes of its arrays in it, and then their bytes. `pickle` would run
what the sender likes.
"""

import json
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

DEEPEST = 40
KINDS = "biufcUS"  # of arrays: nothing in them is an object


class Unsendable(ValueError):
    """A value that is no number, text, array or tensor, nor made of them."""


def encode(value: object) -> bytes:
    """A value as bytes. Raises `Unsendable`."""
    arrays: list[bytes] = []
    body = _encode(value, arrays, 0)
    head = json.dumps([body, [len(one) for one in arrays]]).encode()
    return b"".join([head, b"\n", *arrays])


def decode(message: bytes) -> Any:
    """The value of a message, or `ValueError` for what `encode` did not write."""
    head, _, rest = message.partition(b"\n")
    try:
        body, sizes = json.loads(head)
        arrays = []
        for size in sizes:
            if not 0 <= size <= len(rest):
                raise ValueError("an array is longer than its message")
            arrays.append(rest[:size])
            rest = rest[size:]
        return _decode(body, arrays, 0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError,
            OverflowError) as error:
        raise ValueError(f"not a value: {type(error).__name__}") from None


def _encode(value: Any, arrays: list[bytes], depth: int) -> Any:
    if depth > DEEPEST:
        raise Unsendable("it is nested too deeply")
    if value is None or isinstance(value, (bool, str)):
        return value if type(value) in (bool, str, type(None)) else str(value)
    if isinstance(value, int):
        return {"int": str(int(value))}
    if isinstance(value, float) and type(value) is float:
        return {"float": value.hex()}
    if isinstance(value, (list, tuple, set, frozenset)):
        kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
        return {kind.__name__: [_encode(one, arrays, depth + 1) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, arrays, depth + 1), _encode(one, arrays, depth + 1)]
                         for key, one in value.items()]}
    if isinstance(value, bytes):
        arrays.append(value)
        return {"bytes": len(arrays) - 1}
    if isinstance(value, PurePath):
        return {"path": str(value)}
    if value is Ellipsis:
        return {"ellipsis": 0}
    if isinstance(value, torch.Tensor):
        plain = value.detach().as_subclass(torch.Tensor).cpu().contiguous()
        kind = str(plain.dtype).removeprefix("torch.")
        if kind == "bfloat16":
            plain = plain.float()
        return {"tensor": [kind, _array(plain.numpy(), arrays)]}
    if isinstance(value, (np.ndarray, np.generic)):
        return {"scalar" if isinstance(value, np.generic) else "array":
                _array(np.asarray(value), arrays)}
    raise Unsendable(f"it is a {type(value).__name__}, which cannot be handed over")


def _array(value: np.ndarray, arrays: list[bytes]) -> list:
    if value.dtype.kind not in KINDS:
        raise Unsendable("it is an array of objects")
    arrays.append(np.ascontiguousarray(value).tobytes())
    return [value.dtype.str, list(value.shape), len(arrays) - 1]


def _decode(body: Any, arrays: list[bytes], depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError("too deep")
    if body is None or isinstance(body, (bool, str)):
        return body
    [(kind, inside)] = body.items()
    if kind == "int":
        return int(inside)
    if kind == "float":
        return float.fromhex(inside)
    if kind in ("list", "tuple", "set", "frozenset"):
        make = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind]
        return make(_decode(one, arrays, depth + 1) for one in inside)
    if kind == "dict":
        return {_decode(key, arrays, depth + 1): _decode(one, arrays, depth + 1)
                for key, one in inside}
    if kind == "bytes" and inside >= 0:
        return arrays[inside]
    if kind == "path":
        return PurePath(inside)
    if kind == "ellipsis":
        return Ellipsis
    if kind == "tensor":
        name, array = inside
        dtype = getattr(torch, name)
        if not isinstance(dtype, torch.dtype):
            raise ValueError("no dtype")
        return torch.from_numpy(_read(array, arrays)).to(dtype)
    if kind in ("array", "scalar"):
        array = _read(inside, arrays)
        return array if kind == "array" else array[()]
    raise ValueError("no such kind")


def _read(described: list, arrays: list[bytes]) -> np.ndarray:
    name, shape, place = described
    dtype = np.dtype(str(name))
    if dtype.kind not in KINDS or place < 0:
        raise ValueError("no such array")
    return np.frombuffer(arrays[place], dtype).reshape([int(side) for side in shape]).copy()
