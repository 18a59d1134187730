"""Many runs at once: what they share is computed once, and a killed sweep goes on where it was.

    plans -> jobs (one extraction each) -> selections (one for all coreset ratios) -> runs

Every run ends in the folder, with the record, that `experiment.run` alone would leave. What is
shared lies in `.sweep-<hash of the plans>` beside the results until the last run is done: features,
selections, and a journal with a line for each thing computed.
"""

import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from ..coreset import CoresetSelection, bank_size
from ..data.arguments import CALLED, FLAG, PATH, kind, maybe, several, takes
from ..data.copies import without_copies
from ..data.datasets import ImageSet, fingerprint, load_dataset
from ..data.files import check_writable, complete_file, explain_full_disk, sha256_of
from ..data.images import Placement
from ..data.layouts import Item
from ..data.locks import locked
from ..data.pose import Pose
from ..data.region import Region
from ..data.registration import Reference
from ..engine.extraction import PatchFeatures
from ..engine.memory import memory_budget
from ..errors import InputError
from ..patchcore import PatchCore
from ..presets import EXTRACTION_OPTIONS
from . import records as results
from .plans import RunPlan, check_apart
from .run import check_run, check_test, checkpoint_of, existing, make_config, mask_of, write_run
from .workers import workers

# With these and the same training images, two models pick the same patches in the same order.
SELECTION_OPTIONS = ("coreset", "coreset_start", "projection", "balance_layers", "calibration",
                     "seed")


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its folder, and whether it was there already."""

    plan: RunPlan
    folder: Path
    reused: bool


@takes(plans=several(kind(RunPlan, "a RunPlan, as expand makes them")), datasets=maybe(PATH),
       output=PATH, skip_existing=FLAG, on_run=maybe(CALLED))
def run_sweep(plans: Sequence[RunPlan], *, datasets: str | Path | None = None,
              output: str | Path = "results/runs", skip_existing: bool = False,
              parallel: int | str = 1,
              on_run: Callable[[Outcome, int, int], None] | None = None) -> list[Outcome]:
    """Do all runs, and bring the summary of `output` up to date.

    A sweep that was killed and is started again with the same plans and output goes on: no
    extraction, selection or run that was complete is done again.

    Args:
        skip_existing: also keep complete results of earlier sweeps, of exactly the same
            configuration and data.
        parallel: processes on this machine, or the address of a cluster that sees the same disk:
            `ray://...` (or "ray" for one of its own here), `tcp://...` of a Dask scheduler.
        on_run: called with each outcome, how many are done, and how many there are.

    Raises `InputError` for anything wrong with the plans, before the first run.
    """
    output = Path(output)
    if not plans:
        raise InputError("a sweep without a single run; give at least one of everything")
    for plan in plans:
        plan.model()
        check_run(plan.frame, plan.false_alarm_rate)
    check_apart(plans)
    check_writable(output, "--output")
    _check_data(plans, datasets)
    state = output / f".sweep-{_hash([asdict(plan) for plan in plans])}"
    jobs = list(_jobs(plans).values())
    outcomes: list[Outcome] = []
    with _one_sweep(state), explain_full_disk(f"{output}", "free some space, and start the same "
                                              "again: what is complete is kept"):
        state.mkdir(exist_ok=True)
        with workers(parallel) as work:
            for done in work(run_job, jobs, datasets, output, state, skip_existing):
                for outcome in done:
                    outcomes.append(outcome)
                    if on_run:
                        on_run(outcome, len(outcomes), len(plans))
        results.write_summary(output)
        _forget(state)
    place = {_hash(asdict(plan)): i for i, plan in enumerate(plans)}
    return sorted(outcomes, key=lambda outcome: place[_hash(asdict(outcome.plan))])


@contextmanager
def _one_sweep(state: Path) -> Iterator[None]:
    """Refuse what another process is doing already; two different sweeps do not meet."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(state, patience=0))
        except InputError as error:
            raise InputError(f"{state.parent}: the same sweep is at work there, in another "
                             "process; wait until it ends, or choose another --output") from error
        yield


def _forget(state: Path) -> None:
    shutil.rmtree(state, ignore_errors=True)


def _check_data(plans: Sequence[RunPlan], datasets: str | Path | None) -> None:
    """Find out now, and not after hours, that a category is missing or has too few images."""
    hardest: dict[tuple, RunPlan] = {}
    for plan in plans:
        key = (plan.dataset, plan.category, plan.split, plan.protocol)
        before = hardest.setdefault(key, plan)
        if _demand(plan) > _demand(before):
            hardest[key] = plan
    for plan in hardest.values():
        check_test(*load_dataset(
            plan.dataset, plan.category, datasets=datasets, split=plan.split, shots=plan.shots,
            protocol=plan.protocol, seed=plan.options.get("seed", 0)))


def _demand(plan: RunPlan) -> int:
    return (plan.options.get("seed", 0) + 1) * (plan.shots or 0)


def run_job(plans: Sequence[RunPlan], datasets: str | Path | None, output: Path, state: Path,
            skip_existing: bool) -> Iterator[Outcome]:
    """The runs of one extraction: those that share category, backbone and image size."""
    sets: dict[tuple, tuple[ImageSet, ImageSet]] = {}
    waiting = []
    for plan in plans:
        model = plan.model()
        key = (plan.split, plan.shots, plan.protocol, model.options["seed"])
        if key not in sets:
            sets[key] = without_copies(*load_dataset(
                plan.dataset, plan.category, datasets=datasets, split=plan.split,
                shots=plan.shots, protocol=plan.protocol, seed=model.options["seed"]))
        train, test = sets[key]
        config = make_config(train, model, preset=plan.preset, split=plan.split, shots=plan.shots,
                             protocol=plan.protocol, frame=plan.frame,
                             false_alarm_rate=plan.false_alarm_rate)
        run = _Run(plan, model, train, test, config, results.run_folder(output, config),
                   fingerprint(train, test))
        mine = {"event": "run", "run": run.folder.relative_to(output).as_posix(), "data": run.data}
        if existing(run.folder, run.data) and (skip_existing or _noted(state, mine)):
            yield Outcome(plan, run.folder, reused=True)
        else:
            waiting.append((run, mine))
    if not waiting:
        return
    # Of all plans, not only of those that wait: a sweep that goes on finds the same tables.
    model = waiting[0][0].plan.model()
    model.prepare()
    trained = _table(model, [train for train, _ in sets.values()], state, training=True)
    tested = _table(model, [test for _, test in sets.values()], state, training=False,
                    like=trained.features)
    # The largest coreset first: the smaller ones of the same selection are its first picks.
    waiting.sort(key=lambda one: one[0].model.options["coreset_ratio"])
    while waiting:
        run, mine = waiting.pop()  # and with it, when done, its memory bank
        run.model.prepare(shared=model)
        _do(run, trained, tested, state)
        _note(state, mine)
        yield Outcome(run.plan, run.folder, reused=False)


@dataclass
class _Run:
    """A run on its way: the plan, and all that follows from it before anything is computed."""

    plan: RunPlan
    model: PatchCore
    train: ImageSet
    test: ImageSet
    config: dict
    folder: Path
    data: str


@dataclass
class _Table:
    """Features of many images, found by path, and what extracting one of them took."""

    features: PatchFeatures
    position: dict[str, int]
    reasons: dict[str, str]
    seconds_per_image: float

    def of(self, items: ImageSet, budget: int) -> PatchFeatures:
        """A copy for one run, numbered as its items are; in a file if larger than `budget`."""
        found = [(i, self.position[str(item.path)]) for i, item in enumerate(items)
                 if str(item.path) in self.position]
        chosen = self.features.of([position for _, position in found], budget)
        chosen.skipped = [(i, self.reasons[str(item.path)]) for i, item in enumerate(items)
                          if str(item.path) in self.reasons]
        if chosen.views == 1:
            chosen.indices = [found[image][0] for image in chosen.indices]
        return chosen


def _do(run: _Run, trained: _Table, tested: _Table, state: Path) -> None:
    """Select (or take over), keep, calibrate, score, evaluate, write."""
    budget = memory_budget(run.model.options["memory_budget"])
    train, test = trained.of(run.train, budget), tested.of(run.test, budget)
    if not len(train) or not len(test):
        raise InputError(f"{run.plan.category}: no readable {'test' if len(train) else 'training'} "
                         "image")
    groups = run.train.groups and [group for item, group in zip(
        run.train, run.train.groups, strict=True) if str(item.path) in trained.position]
    file = state / f"selection-{_selection_hash(run)}.pt"
    known = _kept(state, file)
    size, coreset_s = bank_size(run.model.coreset_ratio, train.looked_at), {}
    if size == train.looked_at:  # keeps everything: nothing is selected that others could share
        run.model.fit_features(train, groups=groups, copy=False)
    elif known and len(known["indices"]) >= size:
        selection = CoresetSelection(known["indices"], known["radii"])
        run.model.fit_features(train, groups=groups, selection=selection, copy=False)
        coreset_s = {"coreset_s": known["seconds"]}
    elif run.model.robust:  # a model of fewer picks than were made, which others could not share
        run.model.fit_features(train, groups=groups, copy=False)
    else:
        run.model.fit_features(train, groups=groups, copy=False)
        seconds = run.model.timings_["coreset_s"]
        _keep(state, file, {"indices": run.model.coreset_indices_.cpu(), "seconds": seconds,
                            "radii": run.model.coreset_radii_.cpu()})
        _note(state, {"event": "selection", "selection": file.stem, "size": size})
    began = time.perf_counter()
    prediction = run.model.predict_features(test)
    scoring = time.perf_counter() - began
    timings = run.model.timings_ | coreset_s
    extraction = len(train) * trained.seconds_per_image
    timings = {**timings, "extract_s": timings["extract_s"] + extraction,
               "fit_s": timings["fit_s"] + extraction,
               "predict_s": scoring + len(test) * tested.seconds_per_image}
    write_run(run.folder, run.config, run.data, run.model, prediction, run.train, run.test,
              timings=timings)


def _table(model: PatchCore, sets: Sequence[ImageSet], state: Path, *, training: bool,
           like: PatchFeatures | None = None) -> _Table:
    """Features of all images of some sets: from the sweep's folder, or extracted and left there."""
    items: dict[str, Item] = {str(item.path): item for images in sets for item in images}
    views = {} if training else {"augmentation": "none"}  # which test images have not
    made_of = [_extraction(model) | views, training, fingerprint(*sets),
               *([like.levels] if like and like.levels else ()),
               *([astuple(like.region)] if like and like.region else ()),
               *([like.reference.digest] if like and like.reference else ())]
    file = state / f"features-{_hash(made_of)}.pt"
    kept = _kept(state, file)
    if kept is None:
        began = time.perf_counter()
        if like and like.reference:
            model.use(model.prepare().aligned_to(like.reference))
        features = model.extract(list(items.values()), training=training, strict=False,
                                 levels=like.levels if like else None,
                                 region=like.region if like else None)
        seconds = (time.perf_counter() - began) / max(len(features), 1)
        numbers = [astuple(placement) for placement in features.placements]
        region, reference = features.region, features.reference
        kept = _keep(state, file, {**vars(features), "placements": numbers, "seconds": seconds,
                                   "region": region and astuple(region),
                                   "reference": reference and reference.plain()})
        _note(state, {"event": "features", "features": file.stem, "images": len(items)})
    seconds = kept.pop("seconds")
    placements = [_placement(*of_one) for of_one in kept["placements"]]
    seen, to = kept.get("region"), kept.get("reference")
    features = PatchFeatures(**kept | {
        "placements": placements, "region": seen and Region(*seen),
        "reference": to and Reference.from_plain(to)})
    paths = list(items)
    read = [paths[position] for position in features.positions]
    return _Table(features, {path: place for place, path in enumerate(read)},
                  {paths[i]: reason for i, reason in features.skipped}, seconds)


def _placement(original: Any, resized: Any, top: int, left: int, size: Any,
               pose: Any = None) -> Placement:
    return Placement(original, resized, top, left, size, pose and Pose(*pose))


def _jobs(plans: Sequence[RunPlan]) -> dict[str, list[RunPlan]]:
    """Plans by what they extract."""
    jobs = defaultdict(list)
    for plan in plans:
        jobs[_hash([plan.dataset, plan.category, _extraction(plan.model())])].append(plan)
    return jobs


def _extraction(model: PatchCore) -> dict:
    return {name: model.options[name] for name in EXTRACTION_OPTIONS} | (
        checkpoint_of(model) | mask_of(model))


def _selection_hash(run: _Run) -> str:
    chosen = {name: run.model.options[name] for name in SELECTION_OPTIONS}
    return _hash([_extraction(run.model), chosen, fingerprint(run.train)])


def _keep(state: Path, file: Path, value: dict) -> dict:
    """Save a table, note its checksum, and return it as it lies on the disk."""
    with complete_file(file) as partial, open(partial, "wb") as out:
        torch.save(value, out)
    _note(state, _seal(file))
    return torch.load(file, mmap=True, weights_only=True)


def _kept(state: Path, file: Path) -> dict | None:
    """A table of this sweep; None where there is none, or another than was noted."""
    if not file.is_file() or not _noted(state, _seal(file)):
        return None
    try:
        return torch.load(file, mmap=True, weights_only=True)
    except Exception:  # a different type for every way in which a file can be wrong
        return None


def _seal(file: Path) -> dict:
    return {"event": "table", "file": file.name, "sha256": sha256_of(file)}


def _note(state: Path, line: dict) -> None:
    """One line in the journal; short enough to be written in one piece by many processes.

    A line of its own even where a process that was killed has left half a one.
    """
    with open(state / "journal.jsonl", "a", encoding="utf-8") as journal:
        journal.write(f"\n{json.dumps(line)}\n")


def _noted(state: Path, line: dict) -> bool:
    journal = state / "journal.jsonl"
    return journal.exists() and json.dumps(line).encode() in journal.read_bytes().splitlines()


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
