"""From the features of good images to all that a model knows: bank, reserve, calibration."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration import cross_fit, leave_one_out, score_held_out
from ..coreset import CoresetInterrupted, CoresetSelection, bank_size, select_coreset
from ..data.sources import TrainingSet
from ..engine.extraction import PatchFeatures
from ..engine.groups import hold_out
from ..engine.machine import on_device
from ..engine.memory import memory_budget
from ..engine.search import MemoryIndex, distances_to
from ..engine.tables import CHUNK_ROWS, Joined, Table
from ..errors import Progress
from ..features import layer_scales
from ..scores import score_images
from .fitted import Fitted

Options = Mapping[str, Any]


def learn(features: PatchFeatures, options: Options, *, channels: Sequence[int],
          device: torch.device, groups: Sequence | None = None,
          selection: CoresetSelection | None = None, training: TrainingSet | None = None,
          copy: bool = True, progress: Progress | None = None) -> Fitted:
    """From the features of good images to all that a model knows.

    Args:
        options: of `PatchCore`.
        channels: of each feature map, for `features.layer_scales`.
        device: of the bank.
        groups: a label for each of the images that could be read, or None.
        selection: the picks of an earlier, larger coreset of the same features; as picks are
            nested, its first ones are these.
        training: where the features came from, if that is known.
        copy: leave the features as they are; else they may be scaled where they lie.

    Ctrl-C while the coreset is selected raises `CoresetInterrupted`, whose `fitted` has a bank of
    the patches picked so far, and nothing calibrated.
    """
    began = time.perf_counter()
    learned, judges, positions = split_judges(features, groups, options)
    rows = on_device(learned.rows, device)
    if copy and rows is features.rows:
        everything = range(len(features) // features.views)
        rows = features.of(everything, memory_budget(options["memory_budget"])).rows
    scale = torch.ones(1, device=device)
    if options["balance_layers"]:
        scale = layer_scales(rows, channels).to(device)
        scale_rows(rows, scale)
    scaled, images = time.perf_counter(), len(learned) // learned.views

    def fitted(picked: CoresetSelection, reserve: Tensor) -> Fitted:
        none = np.empty(0)
        return Fitted(
            dict(options), rows[picked.indices].to(device, torch.float32),
            picked.indices.to(device), picked.radii, scale, none, none, learned.grid, learned.size,
            images, learned.views, positions,
            given=len(features) // features.views + len(features.skipped),
            files=training.files if training else None,
            examples=training.examples if training else [],
            fingerprint=training.fingerprint(features.skipped) if training else None,
            reserve=rows[reserve].to(device, torch.float32), reserve_indices=reserve.to(device),
            selected_from=str(rows.dtype).removeprefix("torch."), skipped=features.skipped)

    try:
        size = bank_size(options["coreset_ratio"], len(rows))
        picked = (select_coreset(rows, size, options, progress=progress) if selection is None
                  else selection.first(size))
    except CoresetInterrupted as stopped:
        picks = CoresetSelection(stopped.indices, stopped.radii)
        stopped.fitted = fitted(picks, picks.indices[:0])
        raise
    found = fitted(picked, picked.indices[:0])
    left = worst_covered(rows, found.memory_bank, picked.indices, options, len(rows))
    found, selected = fitted(picked, left), time.perf_counter()
    scores, peaks = calibrate(found, rows, found.memory_bank,
                               found.coreset_indices // found.patches, judges, groups, progress)
    timings = {"extract_s": scaled - began, "coreset_s": selected - scaled,
               "fit_s": time.perf_counter() - began}
    return replace(found, calibration_scores=scores, calibration_peaks=peaks, timings=timings)


def worst_covered(features: Table, bank: Tensor, taken: Tensor, options: Options,
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


def calibrate(fitted: Fitted, rows: Tensor, bank: Tensor, owners: Tensor,
               judges: Tensor | None, groups: Sequence | None, progress: Progress | None, *,
               before: tuple[int, int] = (0, 0), reserve: Tensor | None = None,
               ) -> tuple[np.ndarray, np.ndarray]:
    """Scores and map peaks `(k,)` of good images that a bank has not seen, see calibration.py.

    Args:
        fitted: whose options, scales, grid and views these are.
        rows: `(n * views * patches, d)` scaled features of the images that were learned.
        bank: `(m, d)`; `owners` `(m,)` says which image each entry is from, below 0 if none of n.
        judges: features of images that were held out, not yet scaled, if that is the calibration.
        groups: `(n,)` labels of the images, or None.
        before: how many patches were seen, and taken, before these: the first rows of the bank.
        reserve: `(r, d)`, what else that bank could take from before.
    """
    options, (seen, taken) = fitted.options, before

    def score(own: Tensor, index: MemoryIndex) -> tuple[Tensor, Tensor]:
        return score_images(own, index, fitted.grid, fitted.size, options)

    def bank_without(left_out: Tensor) -> Tensor:
        size = bank_size(options["coreset_ratio"], seen + int((~left_out).sum()), taken)
        old, candidates = bank[:taken], rows if reserve is None else candidates_of(rows, reserve)
        left_out = torch.cat([left_out, left_out.new_zeros(len(candidates) - len(rows))])
        indices = select_coreset(candidates, size, options, left_out=left_out,
                                 bank=old if taken else None).indices
        indices = indices[~left_out[indices]]  # else copies of what was picked, at distance 0
        return torch.cat([old, candidates[indices].to(bank.device, torch.float32)])

    common: dict[str, Any] = dict(patches=fitted.grid[0] * fitted.grid[1], views=fitted.views,
                                  progress=progress)
    if judges is not None:
        scaled = judges.to(bank.device, torch.float32) * fitted.feature_scale
        return score_held_out(scaled, MemoryIndex(bank), score, **common)
    common |= dict(groups=groups, seed=options["seed"])
    if options["calibration"] == "folds":
        return cross_fit(rows, bank_without, score, **common)
    return leave_one_out(rows, MemoryIndex(bank), owners, score, **common)


def split_judges(features: PatchFeatures, groups: Sequence | None, options: Options,
                  ) -> tuple[PatchFeatures, Tensor | None, list[int]]:
    """-> features to learn, those of the judges if they are held out, positions of the first."""
    positions = [i // features.views for i in features.indices[::features.views]]
    if options["calibration"] != "held-out":
        return features, None, positions
    kept, held_out = hold_out(len(positions), groups, seed=options["seed"])
    budget = memory_budget(options["memory_budget"])
    return (features.of(kept, budget), features.of(held_out, budget).rows,
            [positions[image] for image in kept])


def candidates_of(rows: Tensor, reserve: Tensor) -> Table:
    """What a bank may take when it grows."""
    return Joined(rows, reserve) if len(reserve) else rows


def scale_rows(rows: Tensor, scale: Tensor) -> None:
    """In place, in parts: the rows may lie in a file."""
    for part in rows.split(CHUNK_ROWS):
        part *= scale.to(part.device)
