"""Which runs a sweep is made of: all combinations of what is to be varied. Nothing is computed.

The published tables are experiments, each one command away: `python -m indad benchmark --experiment
NAME` makes the table on a machine that has the dataset (and the weights, or a network to fetch
them); with `--quick` the same plan runs in about a minute on two synthetic categories with packaged
weights: not for its numbers, but to know that it works.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..data.arguments import (
    NAMED,
    PATH,
    TEXT,
    Rule,
    as_word,
    kind,
    maybe,
    several,
    takes,
    whole,
)
from ..data.datasets import list_categories
from ..errors import InputError, unknown
from ..patchcore import PatchCore
from .records import written_out
from .run import make_model
from .valid import WITHOUT_EFFECT


@dataclass(frozen=True)
class Experiment:
    """What to vary, and which tables of published.json to lay beside the outcome."""

    name: str
    title: str
    published: tuple[str, ...]
    dataset: str = "mvtec_ad"
    categories: tuple[str, ...] = ("all",)
    presets: tuple[str, ...] = ("default",)
    choices: dict[str, tuple] = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    shots: tuple[int | None, ...] = (None,)
    seeds: int = 1
    protocol: str = "random"
    note: str = ""


_WRN50 = {"backbone": ("wide_resnet50_2",)}
_REDUCED = ("carpet_reduced", "grid_reduced", "hazelnut_reduced", "screw_reduced")

EXPERIMENTS: dict[str, Experiment] = {row.name: row for row in (
    Experiment(
        "paper", "PatchCore's main table, at 25, 10 and 1 %",
        ("paper-25", "paper-10", "paper-1"),
        presets=("paper-25", "paper-10", "paper-1"), choices=_WRN50),
    Experiment(
        "reference", "the reference implementation, 10 %, 224 pixels", ("amazon-10",),
        presets=("amazon",), choices=_WRN50),
    Experiment(
        "reference-ensemble", "three backbones at once", ("amazon-ensemble-224",),
        presets=("amazon",),
        choices={"backbone": ("wide_resnet101_2+resnext101+densenet201",)},
        note="ours puts all features into one memory bank; the reference keeps one bank for each "
             "backbone and averages scores that are scaled with the test set's minimum and "
             "maximum"),
    Experiment(
        "clip", "ImageNet against CLIP, all categories",
        ("palladino-10-wrn50", "palladino-10-clip-rn50", "palladino-10-clip-rn101"),
        presets=("ind_knn_ad",),
        choices={"backbone": ("wide_resnet50_2", "resnet50_clip", "resnet101_clip")}),
    Experiment(
        "clip-reduced", "ImageNet against CLIP, reduced categories", (),
        categories=_REDUCED, presets=("ind_knn_ad",),
        choices={"backbone": ("wide_resnet50_2", "resnet50_clip", "resnet101_clip")},
        note="the published runs drew reduced sets of their own, so nothing stands beside"),
    Experiment(
        "few-shot-santos", "few-shot with anti-aliased features (arXiv 2307.10792)",
        ("fewshot-santos-mvtec",), presets=("anomalib",),
        choices={"backbone": ("wide_resnet50_2", "antialiased_wide_resnet50_2"),
                 "augmentation": ("none", "santos")},
        options={"resize": 448, "crop": None, "coreset_ratio": 1.0, "image_score": "max"},
        shots=(1, 2, 4, 5, 10), seeds=5,
        note="its settings are read from its code, its numbers from a figure"),
    Experiment(
        "few-shot-anomalydino", "few-shot with DINOv2 tokens (arXiv 2405.14529)",
        ("fewshot-winclip-mvtec",), presets=("anomalydino",),
        choices={"backbone": ("dinov2_small",)}, options={"augmentation": "rotations"},
        shots=(1, 2, 4, 8, 16), seeds=3, protocol="anomalydino",
        note="without its masking of the background; the picture is squared to 448 pixels, where "
             "the original keeps its shape"),
    Experiment(
        "seeds", "the spread at 1 %: thirteen seeds", ("xaverrobrecht-1",),
        presets=("paper-1",), choices=_WRN50, seeds=13),
)}

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

CHOICES = Rule(lambda value: NAMED.holds(value) and all(
    several(kind(object, "any")).holds(one) for one in value.values()),
    "a dict with lists of values to try")


@takes(dataset=PATH, categories=several(TEXT), presets=several(TEXT), seeds=several(whole(0)),
       shots=several(maybe(whole(1))), choices=maybe(CHOICES), options=maybe(NAMED))
def expand(dataset: str, categories: Sequence[str], *, presets: Sequence[str] = ("default",),
           seeds: Sequence[int] = (0,), shots: Sequence[int | None] = (None,),
           choices: Mapping[str, Sequence] | None = None, options: dict | None = None,
           split: str = "paper", protocol: str = "random", frame: str = "model",
           false_alarm_rate: float = 0.05) -> list[RunPlan]:
    """All combinations, in the order in which people read tables.

    Args:
        choices: `PatchCore` arguments with the values to try, such as
            `{"backbone": [...], "coreset_ratio": [...]}`.
        options: `PatchCore` arguments that are the same for all.
        split, protocol, frame, false_alarm_rate: of `RunPlan`, the same for all.
    """
    names, values = list(choices or {}), list((choices or {}).values())
    return [RunPlan(dataset, category, preset,
                    {**(options or {}), **dict(zip(names, chosen, strict=True)), "seed": seed},
                    split=split, shots=count, protocol=protocol, frame=frame,
                    false_alarm_rate=false_alarm_rate)
            for category, preset, *chosen, count, seed in itertools.product(
                categories, presets, *values, shots, seeds)]


def check_apart(plans: Sequence[RunPlan]) -> None:
    """Raise `InputError` for two ways to say one run, which would be two runs into one folder."""
    seen: dict[str, RunPlan] = {}
    for plan in plans:
        options = {name: value for name, value in written_out(plan.model().options).items()
                   if name not in WITHOUT_EFFECT}
        run = json.dumps(asdict(plan) | {"options": options}, sort_keys=True, default=str)
        before = seen.setdefault(run, plan)
        if before is not plan:
            both = (", ".join(f"{name}={as_word(value)}" for name, value in one.options.items())
                    for one in (before, plan))
            raise InputError(f"two of these runs are the same ({' / '.join(both)}); leave one out")


def find_experiment(name: str) -> Experiment:
    """A row of `EXPERIMENTS`; raises `InputError` for unknown names."""
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]


def expand_experiment(name: str, *, quick: bool = False,
                      datasets: str | Path | None = None) -> list[RunPlan]:
    """The plans of a published table; `quick` stands in synthetic parts and packaged weights."""
    row = find_experiment(name)
    categories: Sequence[str] = row.categories
    dataset, choices, options = row.dataset, row.choices, row.options
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
