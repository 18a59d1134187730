"""The processor's cores, each at an image of its own.

Torch divides every single product among its threads, which wait for each other at the end of each:
on two cores a small network runs hardly faster than on one. Here each thread takes whole parts of
the work, and computes them by itself.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch
from torch import nn

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """`[function(part) for part in parts]`, by as many threads as torch computes with here.

    Each of them then computes with one. A single part is computed by all of them, as ever. Raises
    what the function raises, the first of the parts first.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) < 2:
        return [function(part) for part in parts]
    inference = torch.is_inference_mode_enabled()  # which a thread has for itself

    def one(part: Part) -> Result:
        with torch.inference_mode(inference):
            return function(part)

    return list(_pool(threads).map(one, parts))


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """So many threads that compute with one thread each; they wait here for the next call."""
    pool = ThreadPoolExecutor(threads, "indad", _begin)
    all_there = Barrier(threads)
    list(pool.map(lambda _: all_there.wait(), range(threads)))
    torch.set_num_threads(threads)  # or threads begun from now on would compute with one as well
    return pool


def _begin() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # a thread that asks for the first time is given what was set last


@lru_cache(maxsize=1)
def let_forks_compute() -> None:
    """From now on let processes that are forked from this one compute with one thread.

    Threads, those of OpenMP too, which torch and faiss share their work among, do not survive a
    fork, and the child would wait for them for ever. After `torch.set_num_threads(2)` in the child
    torch will.
    """
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        os.register_at_fork(after_in_child=_compute_alone)


def _compute_alone() -> None:
    _pool.cache_clear()
    torch.set_num_threads(1)
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(1)


def has_hooks(network: nn.Module) -> bool:
    """Hooks keep what they see, as those of some of timm's networks do: one thread at a time."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
