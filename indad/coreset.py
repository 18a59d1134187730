"""Which patches the memory bank keeps: greedy k-center selection, also called farthest-first.

`greedy_coreset_one_at_a_time` is the algorithm as every paper prints it. `greedy_coreset` is the
door to two that make the same picks far sooner: on a CPU `engine/lazy.py`, which looks again at a
point only when it could be the next one, and on a GPU `engine/blocks.py`, which looks at all, but
with a thousand picks at once. `random_coreset` is the honest baseline.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .data.arguments import CALLED, kind, maybe, table, takes, whole
from .engine.blocks import farthest_first_in_blocks
from .engine.lazy import farthest_first
from .engine.projections import PROJECTIONS, mean_distances
from .engine.search import MemoryIndex, distances_to
from .engine.selection import CoresetInterrupted, bank_size, begin, leave_out
from .engine.tables import Table
from .errors import InputError, Progress

__all__ = ["CoresetInterrupted", "CoresetSelection", "bank_size", "greedy_coreset",
           "greedy_coreset_one_at_a_time", "random_coreset", "select_coreset"]

FEATURES, SEED = table(2), whole(0, 2 ** 63 - 1)


@dataclass(frozen=True)
class CoresetSelection:
    """The picks in order: the first k of them are the coreset of size k.

    Attributes:
        indices: `(size,)` int64, rows of the features, in the order they were picked.
        radii: `(size,)` float32; `radii[i]` is the covering radius after pick i: the distance
            from the worst-covered point to its nearest pick.
    """

    indices: Tensor
    radii: Tensor

    def first(self, size: int) -> "CoresetSelection":
        """The coreset of a smaller size; it costs nothing."""
        if len(self.indices) < size:
            raise InputError(f"the selection has {len(self.indices)} picks, {size} are needed")
        return CoresetSelection(self.indices[:size], self.radii[:size])


@takes(features=FEATURES, size=whole(), start=maybe(whole()), seed=SEED)
def greedy_coreset_one_at_a_time(features: Tensor, size: int, *, start: int | None = None,
                                 seed: int = 0, distances: Tensor | None = None,
                                 ) -> CoresetSelection:
    """Pick the point farthest from all picks, again and again; the literal algorithm.

    Takes the same arguments as `greedy_coreset` and reads all `(n, d)` features for each pick.
    """
    distances, first = begin(features, size, start, seed, distances)
    indices, radii = [], []
    for step in range(size):
        pick = first if step == 0 and first is not None else int(distances.argmax())
        to_pick = torch.linalg.vector_norm(features - features[pick], dim=1)
        distances = torch.minimum(distances, to_pick)
        distances[pick] = -1  # never again, even when only copies of picked points are left
        indices.append(pick)
        radii.append(float(distances.max().clamp_min(0)))
    return CoresetSelection(torch.tensor(indices), torch.tensor(radii))


@takes(features=FEATURES, size=whole(), start=maybe(whole()), seed=SEED, block=maybe(whole(1)),
       device=maybe(kind(torch.device, "a torch.device")), progress=maybe(CALLED))
def greedy_coreset(features: Table, size: int, *, start: int | None = None, seed: int = 0,
                   distances: Tensor | None = None, block: int | None = None,
                   device: torch.device | None = None,
                   progress: Callable[[int, int], None] | None = None) -> CoresetSelection:
    """The same picks, far sooner.

    Args:
        features: `(n, d)` float32 or float16, on any device or in a memory-mapped file.
        size: how many to pick, 1 to n.
        start: the row to pick first; a random one from `seed` if None.
        distances: `(n,)` float32, distances that count as known before the first pick (instead
            of a start): the amazon preset begins with mean distances to ten random points.
        block: candidates at a time; changes speed, never a pick.
        device: where to compute; where the features lie if None.
        progress: called as `progress(picked, size)`.

    Raises `InputError` when size or start are out of range or features are not finite, and
    `CoresetInterrupted`, which holds the picks so far, on Ctrl-C.

    Example:
        >>> selection = greedy_coreset(features, 100)
        >>> bank, smaller = features[selection.indices], features[selection.first(10).indices]
    """
    distances, first = begin(features, size, start, seed, distances)
    device = features.device if device is None else device
    blocks = {} if block is None else {"block": block}
    if device.type == features.device.type == "cpu":
        found = farthest_first(features, size, first=first, distances=distances,
                               progress=progress, **blocks)
    else:
        found = farthest_first_in_blocks(features, size, first=first, distances=distances,
                                         device=device, progress=progress, **blocks)
    return CoresetSelection(*found)


@takes(count=whole(1, 2 ** 62), size=whole(0), seed=SEED)
def random_coreset(count: int, size: int, *, seed: int = 0) -> Tensor:
    """`(size,)` int64 rows drawn without replacement; nested: more rows only add to fewer."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size]


def select_coreset(features: Table, size: int, options: Mapping[str, Any], *,
                   left_out: Tensor | None = None, bank: Tensor | None = None,
                   device: torch.device | None = None,
                   progress: Progress | None = None) -> CoresetSelection:
    """Which of `(n, d)` features a memory bank takes, as the options of a `PatchCore` say.

    Args:
        size: how many; all that may be taken if there are fewer.
        options: coreset, coreset_start, projection and seed.
        left_out: `(n,)` bool, rows that must not be taken.
        bank: `(m, d)` float32, what it has: what is taken lies far from it, and from each other.
            There is no projection then, which saves time where many picks are to be made.
        device: where to compute; where the features lie if None.

    Returns indices on the device of the features.
    """
    seed = options["seed"]
    count = len(features) - (0 if left_out is None else int(left_out.sum()))
    size = min(size, count)
    if options["coreset"] == "random" or size == count:
        indices = random_coreset(len(features), len(features), seed=seed)
        if left_out is not None:
            indices = indices[~left_out.cpu()[indices]]
        return CoresetSelection(indices[:size].to(features.device),
                                torch.full((size,), float("nan")))
    seen, start, known = features, None, None
    if bank is not None:
        known = distances_to(MemoryIndex(bank), features)
    else:
        assert isinstance(features, Tensor), "only what joins a bank is read from two tables"
        seen = projected = (PROJECTIONS[options["projection"]](features, seed, device=device)
                            if options["projection"] else features)
        if options["coreset_start"] == "mean":
            known = mean_distances(projected, seed, device=device)
        start = 0 if options["coreset_start"] == "first" else None
    if left_out is not None:
        start, known = leave_out(left_out.to(features.device), start, known, seed=seed)
    return greedy_coreset(seen, size, start=start, seed=seed, distances=known, device=device,
                          progress=partial(progress, "selecting coreset") if progress else None)
