"""How the memory bank comes to be: selected from good images, and grown when more of them come.

Both are farthest-first: from a first patch, or from the bank that is there. Patches that an earlier
selection left out are gone, so a grown bank cannot go back for them; they lie within that
selection's covering radius of it. The larger bank should do better, so a model may keep a *reserve*
of the patches that its bank covers worst, which are candidates again when it grows.

Why these, and not the picks that would have come next? Those lie far from each other as well: of a
far corner they hold one patch, and when that is covered its neighbours need not be. What is left
out of this reserve is closer to the bank than anything in it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .calibration import cross_fit, judge, leave_one_out
from .coreset import CHUNK_ROWS, CoresetSelection, greedy_coreset, leave_out, random_coreset
from .neighbors import MemoryIndex
from .projections import PROJECTIONS, mean_distances

Progress = Callable[[str, int, int], None]


def room(options: dict, seen: int, taken: int = 0) -> int:
    """How many patches a bank that has `taken` takes, when `seen` were seen in all."""
    return max(1, int(seen * options["coreset_ratio"]) - taken)


class Joined:
    """Rows of two tables, `(n, d)` and `(k, d)`, read as one: the first may be too large to copy.
    """

    def __init__(self, first: Tensor, second: Tensor):
        self.tables, self.device = (first, second.to(first.device)), first.device
        self.shape = (len(first) + len(second), first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Always a float32 copy."""
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(self)), device=self.device)
        first, second = self.tables
        found = torch.empty(len(rows), self.shape[1], device=self.device)
        early = rows < len(first)
        found[early] = first[rows[early]].float()
        found[~early] = second[rows[~early] - len(first)]
        return found


def joined(rows: Tensor, reserve: Tensor) -> Tensor | Joined:
    """What a bank may take when it grows."""
    return Joined(rows, reserve) if len(reserve) else rows


def select(features: Tensor | Joined, size: int, options: dict, *, left_out: Tensor | None = None,
           bank: Tensor | None = None, progress: Progress | None = None) -> CoresetSelection:
    """Which of `(n, d)` features a memory bank takes.

    Args:
        size: how many; all that may be taken if there are fewer.
        options: of `PatchCore`: coreset, coreset_start, projection and seed.
        left_out: `(n,)` bool, rows that must not be taken.
        bank: `(m, d)` float32, what it has: what is taken lies far from it, and from each other.
            There is no projection then, which saves time where many picks are to be made.
    """
    seed = options["seed"]
    count = len(features) - (0 if left_out is None else int(left_out.sum()))
    size = min(size, count)
    if options["coreset"] == "random" or size == count:
        indices = random_coreset(len(features), len(features), seed=seed)
        if left_out is not None:
            indices = indices[~left_out.cpu()[indices]]
        return CoresetSelection(indices[:size], torch.full((size,), float("nan")))
    seen, start, known = features, None, None
    if bank is not None:
        known = distances_to(bank, features)
    else:
        if options["projection"]:
            seen = PROJECTIONS[options["projection"]](features, seed)
        known = mean_distances(seen, seed) if options["coreset_start"] == "mean" else None
        start = 0 if options["coreset_start"] == "first" else None
    if left_out is not None:
        start, known = leave_out(left_out, start, known, seed=seed)
    return greedy_coreset(
        seen, size, start=start, seed=seed, distances=known,
        progress=progress and (lambda done, total: progress("selecting coreset", done, total)))


def distances_to(bank: Tensor, features: Tensor | Joined) -> Tensor:
    """`(n,)` float32: how far each of `(n, d)` features, of any precision, is from the bank."""
    index = MemoryIndex(bank)
    parts = (features[i:i + CHUNK_ROWS] for i in range(0, len(features), CHUNK_ROWS))
    return torch.cat([index.search(part.to(bank.device, torch.float32))[0][:, 0]
                      for part in parts]).to(features.device)


def worst_covered(features: Tensor | Joined, bank: Tensor, taken: Tensor, options: dict,
                  seen: int) -> Tensor:
    """`(r,)` int64: which of `(n, d)` features stay in reserve beside a bank, the farthest first.

    Args:
        taken: int64, rows that are in the bank.
        options: of `PatchCore`: coreset and reserve.
        seen: how many patches were seen in all; the reserve is a share of them.
    """
    size = int(seen * options["reserve"]) if options["coreset"] == "greedy" else 0
    size = min(size, len(features) - len(taken))
    if not size:  # and nothing is searched
        return taken[:0]
    distances = distances_to(bank, features)
    return distances.index_fill_(0, taken.to(distances.device), -1).topk(size).indices


def calibrate(model: nn.Module, rows: Tensor, bank: Tensor, owners: Tensor,
              judges: Tensor | None = None, groups: Sequence | None = None,
              progress: Progress | None = None, *, before: tuple[int, int] = (0, 0),
              reserve: Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How a model scores good images it has not seen, see calibration.py.

    Args:
        model: the `PatchCore` whose options, scales, grid and views these are.
        rows: `(n * views * patches, d)` scaled features of the images that were learned.
        bank: `(m, d)`; `owners` `(m,)` says which image each entry is from, below 0 if none of n.
        judges: features of images that were held out, not yet scaled, if that is the calibration.
        groups: `(n,)` labels of the images, or None.
        before: how many patches were seen, and taken, before these: the first rows of the bank.
        reserve: `(r, d)`, what else that bank could take from before.

    Returns scores and map peaks `(k,)` of up to 100 of the n images.
    """
    options, (seen, taken) = model.options, before

    def score(own: Tensor, index: MemoryIndex) -> tuple[Tensor, Tensor]:
        return model.score(own, index, model.grid_, model.size_)

    def bank_without(left_out: Tensor) -> Tensor:
        size = room(options, seen + int((~left_out).sum()), taken)
        old, candidates = bank[:taken], rows if reserve is None else joined(rows, reserve)
        left_out = torch.cat([left_out, left_out.new_zeros(len(candidates) - len(rows))])
        indices = select(candidates, size, options, left_out=left_out,
                         bank=old if taken else None).indices
        indices = indices[~left_out[indices]]  # else copies of what was picked, at distance 0
        return torch.cat([old, candidates[indices].to(bank.device, torch.float32)])

    shape = dict(patches=model.grid_[0] * model.grid_[1], views=model.views_, progress=progress)
    if judges is not None:
        scaled = judges.to(model.device_, torch.float32) * model.feature_scale_
        return judge(scaled, MemoryIndex(bank), score, **shape)
    if options["calibration"] == "folds":
        return cross_fit(rows, bank_without, score, groups=groups, seed=options["seed"], **shape)
    return leave_one_out(rows, MemoryIndex(bank), owners, score, groups=groups,
                         seed=options["seed"], **shape)


def grow(model: nn.Module, rows: Tensor, judges: Tensor | None, groups: Sequence | None,
         progress: Progress | None = None) -> None:
    """Let the bank of a fitted `PatchCore` take patches of new images.

    Args:
        rows: `(n * views * patches, d)` scaled features of those that are learned.
        judges, groups: see `calibrate`.

    It grows to the coreset ratio of all patches seen, old and new, by what is farthest of new
    patches and reserve; then the worst covered of what is left are the reserve. Nothing of the
    model changes before all is done: Ctrl-C leaves it as it was.

    *Good scores.* Those of the old images stay: a larger bank never raises a patch distance, so
    they can only be too high now, and the threshold with them. Too high a threshold costs misses
    but no false alarms. New images are judged as when fitting: by "leave-one-out", say, with the
    grown bank less their own patches, which for a single one is the old bank (and what the reserve
    gave). To let the old bank judge them all would be simpler and worse: ten photos in a new light,
    each far from what was known, would raise the threshold for good, although the model has just
    learned that light. Images that were chosen *because* they had been flagged are no fair sample,
    however judged.
    """
    options, per_image = model.options, model.grid_[0] * model.grid_[1] * model.views_
    old, reserve, seen = model.memory_bank_, model.reserve_, model.images_ * per_image
    candidates, total = joined(rows, reserve), seen + len(rows)
    numbers = torch.cat([torch.arange(seen, total, device=old.device), model.reserve_indices_])
    picked = select(candidates, room(options, total, len(old)), options, bank=old,
                    progress=progress)
    bank = torch.cat([old, candidates[picked.indices].to(old)])
    indices = torch.cat([model.coreset_indices_, numbers[picked.indices.to(old.device)]])
    # What old patches are from the new picks is not known; from the old ones at most this:
    old_radius = model.coreset_radii_[-1:]
    radii = torch.cat([model.coreset_radii_, picked.radii.to(old_radius).maximum(old_radius)])
    left = worst_covered(candidates, bank, picked.indices, options, total)
    found = calibrate(model, rows, bank, indices // per_image - model.images_, judges, groups,
                      progress, before=(seen, len(old)), reserve=reserve)
    good = [np.concatenate(both) for both in
            zip((model.good_scores_, model.good_peaks_), found, strict=True)]
    model.keep(bank, CoresetSelection(indices, radii))
    model.keep_reserve(candidates[left], numbers[left.to(old.device)])
    model.good_scores_, model.good_peaks_ = good
    model.images_ += len(rows) // per_image
