"""Which runs a sweep is made of: all combinations of what is to be varied. Nothing is computed."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .data import list_categories
from .errors import unknown
from .experiment import make_model
from .experiments import EXPERIMENTS
from .patchcore import PatchCore

QUICK_BACKBONES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


@dataclass(frozen=True)
class RunPlan:
    """One run, as `experiment.run` would be told."""

    dataset: str
    category: str
    preset: str = "default"
    options: dict = field(default_factory=dict)
    split: str = "paper"
    shots: int | None = None
    protocol: str = "random"
    frame: str = "model"
    false_alarm_rate: float = 0.05

    def model(self) -> PatchCore:
        return make_model(self.preset, self.options)


def expand(dataset: str, categories: Sequence[str], *, presets: Sequence[str] = ("default",),
           seeds: Sequence[int] = (0,), shots: Sequence[int | None] = (None,),
           choices: dict[str, Sequence] | None = None, options: dict | None = None,
           **common: object) -> list[RunPlan]:
    """All combinations, in the order in which people read tables.

    Args:
        choices: `PatchCore` arguments with the values to try, such as
            `{"backbone": [...], "coreset_ratio": [...]}`.
        options: `PatchCore` arguments that are the same for all.
        common: other fields of `RunPlan`, the same for all.
    """
    names, values = list(choices or {}), list((choices or {}).values())
    return [RunPlan(dataset, category, preset,
                    {**(options or {}), **dict(zip(names, chosen, strict=True)), "seed": seed},
                    shots=count, **common)
            for category, preset, *chosen, count, seed in itertools.product(
                categories, presets, *values, shots, seeds)]


def expand_experiment(name: str, *, quick: bool = False,
                      datasets: str | Path | None = None) -> list[RunPlan]:
    """The plans of a published table; `quick` stands in synthetic parts and packaged weights."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    row = EXPERIMENTS[name]
    dataset, categories, choices, options = row.dataset, row.categories, row.choices, row.options
    shots, seeds = row.shots, row.seeds
    if quick:
        dataset, categories, seeds = "synthetic", ("capsule", "weave"), min(seeds, 2)
        choices = choices | {"backbone": tuple(dict.fromkeys(
            "+".join(QUICK_BACKBONES[:1 + backbone.count("+")]) for backbone in
            choices["backbone"]))}
        options = {key: value for key, value in options.items() if key not in ("resize", "crop")}
        shots = tuple(count for count in shots if count is None or count <= 4)
    elif categories == ("all",):
        categories = list_categories(dataset, datasets=datasets)
    return expand(dataset, categories, presets=row.presets, seeds=range(seeds), shots=shots,
                  choices=choices, options=options, protocol=row.protocol)
