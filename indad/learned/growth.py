"""How a memory bank grows when more good images come.

Farthest-first, as it was selected, but from the bank that is there. Patches that an earlier
selection left out are gone, so a grown bank cannot go back for them; they lie within that
selection's covering radius of it. The larger bank should do better, so a model may keep a *reserve*
of the patches that its bank covers worst, which are candidates again when it grows.

Why these, and not the picks that would have come next? Those lie far from each other as well: of a
far corner they hold one patch, and when that is covered its neighbours need not be. What is left
out of this reserve is closer to the bank than anything in it.
"""

import time
from dataclasses import replace

import numpy as np
import torch

from ..coreset import bank_size, select_coreset
from ..data.sources import TrainingSet
from ..engine.approximate import index_of
from ..engine.extraction import PatchFeatures
from ..engine.machine import on_device
from ..engine.scaling import scale_rows
from ..engine.search import worst_covered
from ..engine.tables import Joined, Table
from ..errors import Progress
from .copies import learned_digests
from .fitted import Fitted
from .learning import Options, doubts_of, judge_bank, reserve_size, split_judges
from .suspects import joined, judging


def grow(fitted: Fitted, features: PatchFeatures, options: Options, *,
         training: TrainingSet | None = None, extract_s: float = 0.0,
         progress: Progress | None = None) -> Fitted:
    """A bank with patches of new images, besides those that it has.

    It grows to the coreset ratio of all patches seen, old and new, by what is farthest of new
    patches and reserve; then the worst covered of what is left are the reserve. The features, which
    are scaled where they lie, and the other arguments are as for `learn`.

    *Calibration.* The scores of the old images stay: a larger bank never raises a patch distance,
    so they can only be too high now, and the threshold with them. Too high a threshold costs misses
    but no false alarms. New images are judged as when fitting: by "leave-one-out", say, with the
    grown bank less their own patches, which for a single one is the old bank (and what the reserve
    gave). To let the old bank judge them all would be simpler and worse: ten photos in a new light,
    each far from what was known, would raise the threshold for good, although the model has just
    learned that light. Images that were chosen *because* they had been flagged are no fair sample,
    however judged.

    *A robust model* measures new photos by the limits of its fit. A patch that the bank has is
    supported, and so is one that other new photos have, if they are three or more: one or two
    photos in a new light are suspects.
    """
    began = time.perf_counter()
    given = (len(training.sources) if training
             else len(features.positions) + len(features.skipped))
    split = learned, judges, positions, groups = split_judges(features, options, training)
    old, seen, tiles = fitted.memory_bank, fitted.seen, learned.tiles
    known = seen if fitted.looked_at is None else fitted.looked_at
    grown = replace(fitted, images=fitted.images + len(tiles),
                    tiles=None if fitted.tiles is None else fitted.tiles + tiles)
    rows = on_device(learned.rows, old.device)
    if options["balance_layers"]:
        scale_rows(rows, fitted.feature_scale)
    doubts = doubts_of(rows, split, options, features, fitted.feature_scale, old.device, progress,
                       known=fitted.suspects, index=fitted.index)
    candidates: Table = Joined(rows, fitted.reserve) if len(fitted.reserve) else rows
    outside = learned.outside()
    total = known + learned.looked_at
    if outside is not None:
        outside = torch.cat([outside, outside.new_zeros(len(fitted.reserve))])
    numbers = torch.cat([torch.arange(seen, seen + len(rows), device=old.device),
                         fitted.reserve_indices])
    picked = doubts.of(select_coreset(
        candidates, bank_size(options["coreset_ratio"], total, len(old)), options,
        left_out=outside, bank=old, device=old.device, progress=progress))
    bank = torch.cat([old, candidates[picked.indices].to(old)])
    index = index_of(bank, options)
    indices = torch.cat([fitted.coreset_indices, numbers[picked.indices.to(old.device)]])
    # What old patches are from the new picks is not known; from the old ones at most this:
    old_radius = fitted.coreset_radii[-1:]
    radii = torch.cat([fitted.coreset_radii, picked.radii.to(old_radius).maximum(old_radius)])
    left = worst_covered(candidates, index, doubts.not_left(picked.indices),
                         reserve_size(options, total), outside)
    scores, peaks = judge_bank(fitted, index, rows, grown.image_of(indices) - fitted.images,
                               candidates, judges, groups, progress, learned=learned,
                               doubts=doubts, before=(known, len(old)))
    scores, peaks, suspects = judging(scores, peaks, doubts.record)
    recorded = training is not None and fitted.fingerprint is not None
    return replace(
        grown, options=dict(options), memory_bank=bank, index=index,
        looked_at=None if outside is None else total,
        coreset_indices=indices, coreset_radii=radii, reserve=candidates[left].to(old),
        reserve_indices=numbers[left.to(old.device)], skipped=features.skipped,
        calibration_scores=np.concatenate([fitted.calibration_scores, scores]),
        calibration_peaks=np.concatenate([fitted.calibration_peaks, peaks]),
        given=fitted.given + given, suspects=joined(fitted.suspects, suspects, fitted.given),
        fitted_on=fitted.fitted_on + [fitted.given + position for position in positions],
        files=((fitted.files or [None] * fitted.given)
               + (training.files if training else [None] * given)),
        fingerprint=(training.fingerprint(features.positions, fitted.fingerprint or "")
                     if recorded and training else None),
        digests=(learned_digests(fitted) + training.digests_at(features.positions)
                 if training else fitted.digests),
        timings={"extract_s": extract_s, "fit_s": extract_s + time.perf_counter() - began})
