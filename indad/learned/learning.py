"""From the features of good images to all that a model knows: bank, reserve, calibration."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration import calibrate
from ..coreset import CoresetInterrupted, CoresetSelection, bank_size, select_coreset
from ..data.arguments import CALLED, FLAG, LIST, kind, maybe, takes
from ..data.sources import TrainingSet
from ..engine.approximate import index_of
from ..engine.extraction import PatchFeatures
from ..engine.groups import hold_out
from ..engine.machine import on_device
from ..engine.memory import memory_budget
from ..engine.scaling import layer_scales, scale_rows
from ..engine.search import MemoryIndex, worst_covered
from ..engine.tables import Table
from ..errors import Progress
from ..scores import score_images
from .fitted import Fitted
from .scoring import check_learned
from .suspects import Doubts, Photos, Suspects, find_doubts, judging, limited

Options = Mapping[str, Any]
Split = tuple[PatchFeatures, PatchFeatures | None, list[int], Sequence | None]  # of split_judges


@takes(features=kind(PatchFeatures, "what extract returned"), groups=maybe(LIST), copy=FLAG,
       selection=maybe(kind(CoresetSelection, "a CoresetSelection")),
       progress=maybe(CALLED))
def learn(features: PatchFeatures, options: Options, *, channels: Sequence[int],
          device: torch.device, groups: Sequence | None = None,
          selection: CoresetSelection | None = None, training: TrainingSet | None = None,
          copy: bool = True, extract_s: float = 0.0,
          progress: Progress | None = None) -> Fitted:
    """From the features of good images to all that a model knows.

    Args:
        options: of `PatchCore`.
        channels: of each feature map, for `layer_scales`.
        device: of the bank.
        groups: a label for each of the images that could be read; what `training` knows if None.
        selection: the picks of an earlier, larger coreset of the same features; as picks are
            nested, its first ones are these.
        training: where the features came from, if that is known.
        copy: leave the features as they are; else they may be scaled where they lie.
        extract_s: seconds that extracting them took, for the record.

    Ctrl-C while the coreset is selected raises `CoresetInterrupted`, whose `fitted` has a bank of
    the patches picked so far, and nothing calibrated.
    """
    began = time.perf_counter()
    check_learned(features, options)
    split = learned, judges, positions, groups = split_judges(features, options, training, groups)
    rows, outside = on_device(learned.rows, device), learned.outside()
    looked_at = learned.looked_at
    if copy and rows is features.rows:
        everything = range(len(features.positions))
        rows = features.of(everything, memory_budget(options["memory_budget"])).rows
    scale = torch.ones(1, device=device)
    if options["balance_layers"]:
        scale = layer_scales(rows, channels, outside).to(device)
        scale_rows(rows, scale)
    scaled = time.perf_counter()
    doubts = doubts_of(rows, split, options, features, scale, device, progress)

    def fitted(picked: CoresetSelection) -> Fitted:
        none = np.empty(0)
        bank = rows[picked.indices.to(rows.device)].to(device, torch.float32)
        tiles = learned.tiles
        indices = picked.indices.to(device)
        return Fitted(
            dict(options), bank, indices, picked.radii, scale, none, none, learned.grid,
            learned.size, len(tiles), learned.views, positions,
            given=(len(training.sources) if training
                   else len(features.positions) + len(features.skipped)),
            tiles=tiles if options["tiles"] else None,
            files=training.files if training else None, fingerprint=None,
            reserve=bank[:0], reserve_indices=indices[:0],
            selected_from=str(rows.dtype).removeprefix("torch."), skipped=features.skipped,
            levels=features.levels, region=features.region, reference=features.reference,
            suspects=doubts.record, looked_at=None if outside is None else looked_at,
            examples=training.examples if training else [])

    try:
        size = bank_size(options["coreset_ratio"], looked_at)
        picked = doubts.of(select_coreset(rows, size, options, left_out=outside, device=device,
                                          progress=progress)
                           if selection is None else selection.first(size))
    except CoresetInterrupted as stopped:
        stopped.fitted = fitted(CoresetSelection(stopped.indices, stopped.radii))
        raise
    found = fitted(picked)
    left = worst_covered(rows, found.index, doubts.not_left(picked.indices),
                         reserve_size(options, looked_at), outside)
    selected = time.perf_counter()
    scores, peaks = judge_bank(found, found.index, rows, found.image_of(found.coreset_indices),
                               rows, judges, groups, progress, learned=learned, doubts=doubts)
    scores, peaks, suspects = judging(scores, peaks, limited(doubts.record, scores))
    return replace(
        found, calibration_scores=scores, calibration_peaks=peaks, suspects=suspects,
        reserve=rows[left].to(device, torch.float32), reserve_indices=left.to(device),
        timings={"extract_s": extract_s + scaled - began, "coreset_s": selected - scaled,
                 "fit_s": extract_s + time.perf_counter() - began},
        fingerprint=training.fingerprint(features.positions) if training else None,
        digests=training.digests_at(features.positions) if training else None)


def reserve_size(options: Options, seen: int) -> int:
    """How many patches stay in reserve, when `seen` were seen in all: of a greedy bank only."""
    return int(seen * options["reserve"]) if options["coreset"] == "greedy" else 0


def judge_bank(fitted: Fitted, index: MemoryIndex, rows: Tensor, owners: Tensor, candidates: Table,
               judges: PatchFeatures | None, groups: Sequence | None, progress: Progress | None, *,
               learned: PatchFeatures, doubts: Doubts, before: tuple[int, int] = (0, 0),
               ) -> tuple[np.ndarray, np.ndarray]:
    """Scores and map peaks `(k,)` of good images that a bank has not seen, see calibration.py.

    Args:
        fitted: whose options, scales, grid and views these are.
        index: of the bank `(m, d)`; `owners` `(m,)` says which image each entry is from, below 0
            if none of n.
        rows: `(n * views * patches, d)` scaled features of the images that were learned.
        candidates: what the bank could take: the rows, and after them a reserve.
        judges: features of images that were held out, not yet scaled, if that is the calibration.
        groups: `(n,)` labels of the images, or None.
        learned: what the rows were, for its tiles and what of them is looked at.
        doubts: rows that the bank must not take, and images that must not judge.
        before: how many patches were seen, and taken, before these: the first rows of the bank.
    """
    options, (seen, taken), bank = fitted.options, before, index.bank
    patches = fitted.grid[0] * fitted.grid[1]
    judging = learned if judges is None else judges
    outside = learned.outside()
    none = rows.new_zeros(len(rows), dtype=torch.bool)
    outside = none if outside is None else outside.to(rows.device)

    def score(own: Tensor, index: MemoryIndex, first: int) -> tuple[Tensor, Tensor]:
        found = [score_images(few, index, fitted.grid, fitted.size, options, inside)
                 for few, inside in judging.in_few(own, first, options["batch_size"])]
        return torch.cat([scores for scores, _ in found]), torch.cat([
            maps.amax((1, 2), keepdim=True) for _, maps in found])

    def bank_without(left_out: Tensor) -> Tensor:
        left_out = left_out | outside
        size = bank_size(options["coreset_ratio"], seen + int((~left_out).sum()), taken)
        left_out = torch.cat([left_out, left_out.new_zeros(len(candidates) - len(rows))])
        indices = select_coreset(candidates, size, options, left_out=left_out, device=bank.device,
                                 bank=bank[:taken] if taken else None).indices
        left_out = doubts.besides(left_out)
        indices = indices[~left_out[indices]]  # else copies of what was picked, at distance 0
        return torch.cat([bank[:taken], candidates[indices].to(bank.device, torch.float32)])

    return calibrate(rows, index, owners, score, bank_without,
                     None if judges is None else fitted.scaled(judges.rows),
                     options["calibration"], prepare=partial(index_of, options=options),
                     patches=patches, views=fitted.views,
                     tiles=judging.tiles, groups=groups, silent=doubts.silent,
                     seed=options["seed"], progress=progress)


def doubts_of(rows: Tensor, split: Split, options: Options, features: PatchFeatures, scale: Tensor,
              device: torch.device, progress: Progress | None, *, known: Suspects | None = None,
              index: MemoryIndex | None = None) -> Doubts:
    """What a robust fit doubts; nothing, where that is not the option.

    Args:
        rows: of the images that are learned, scaled with `scale`; `split` of the features.
        known, index: of the model that grows, see `find_doubts`.
    """
    learned, judges, positions, groups = split
    if not options["robust"]:
        return Doubts()

    def photos(rows: Tensor, of: PatchFeatures, positions: list[int]) -> Photos:
        each = of.patches * learned.views
        return Photos(rows, [count * each for count in of.tiles], positions, of.outside())

    asked = None
    if judges is not None:
        where = {position: place for place, position in enumerate(features.positions)}
        _, held_out = hold_out(len(where), groups, seed=options["seed"])
        groups = groups and [groups[where[position]] for position in positions]
        asked = photos(judges.rows.to(rows.device) * scale.to(rows.device), judges,
                       [features.positions[image] for image in held_out])
    return find_doubts(photos(rows, learned, positions), asked, groups, device=device,
                       seed=options["seed"], known=known, index=index, progress=progress)




def split_judges(features: PatchFeatures, options: Options, training: TrainingSet | None,
                 groups: Sequence | None = None) -> Split:
    """-> features to learn, those of the judges if they are held out, positions of the first, and
    the groups of all that could be read.
    """
    groups = groups if training is None else features.pick(training.groups)
    positions = features.positions
    if options["calibration"] != "held-out":
        return features, None, positions, groups
    kept, held_out = hold_out(len(positions), groups, seed=options["seed"])
    budget = memory_budget(options["memory_budget"])
    return (features.of(kept, budget), features.of(held_out, budget),
            [positions[image] for image in kept], groups)
