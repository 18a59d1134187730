"""What there is to choose from: datasets, backbones, experiments and presets; and what is here."""

import argparse
import re
from collections.abc import Callable, Iterator
from textwrap import wrap

from ..data.arguments import one_of


def show_list(options: argparse.Namespace) -> int:
    if options.what:
        one_of(PARTS).check("list", options.what)
    if options.installed:
        return show_installed(options)
    for number, name in enumerate([options.what] if options.what else PARTS):
        print("\n" * (number > 0) + name + NOTES.get(name, ""))
        for title, text in PARTS[name]():
            print(f"  {title:<20}{text}")
    return 0


NOTES = {"datasets": " (or give a folder)", "metrics": ", besides those of every run"}


def _datasets() -> Iterator[tuple[str, str]]:
    from ..data.catalog import CATALOG

    for info in CATALOG.values():
        terms = "; ".join(part for part in (info.licence, info.citation) if part)
        yield info.name, f"{info.title} [{terms}]\n{'':22}{', '.join(info.categories)}"


def _backbones() -> Iterator[tuple[str, str]]:
    from ..backbones.registry import BACKBONES

    for row in BACKBONES.values():
        where = "installed" if row.package else "downloaded on first use"
        yield row.name, f"{row.family}, {row.weights_mb} MB, {row.licence}, {where}"


def _metrics() -> Iterator[tuple[str, str]]:
    from ..evaluation.measures import MEASURES

    for row in MEASURES.values():
        yield row.name, f"{row.gives} [{row.source}]"


def _experiments() -> Iterator[tuple[str, str]]:
    from ..experiments.plans import EXPERIMENTS

    for row in EXPERIMENTS.values():
        yield row.name, f"  {row.title} ({row.dataset})"


def _presets() -> Iterator[tuple[str, str]]:
    """The words that say the same."""
    from ..presets import PRESETS
    from .model_words import words_of

    for name, preset in PRESETS.items():
        said = " ".join(words_of(preset)) or "what run --help calls the defaults"
        pairs = re.sub(" (?!--)", "\xa0", said)  # an option and its value stay in one line
        yield name, f"\n{'':22}".join(wrap(pairs, 78, break_on_hyphens=False)).replace("\xa0", " ")


PARTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "datasets": _datasets, "backbones": _backbones, "metrics": _metrics,
    "experiments": _experiments, "presets": _presets}


def show_installed(options: argparse.Namespace, only: str | None = None) -> int:
    """The datasets on this machine with their counts, or one of them; and whose photos they are."""
    from ..data.catalog import credit
    from ..data.datasets import datasets_folder
    from ..data.download.installing import list_installed

    rows = [row for row in list_installed(options.datasets) if only in (None, row.dataset)]
    if not rows:
        print(f"no dataset in {datasets_folder(options.datasets)}; see: python -m indad download "
              "--help")
        return 0
    print(f"{'dataset':<14}{'category':<22}{'train':>7}{'good':>7}{'defective':>11}")
    for row in rows:
        train, good, defective = row.counts
        problem = f"  not whole: {row.problem}" if row.problem else ""
        print(f"{row.dataset:<14}{row.category:<22}{train:>7}{good:>7}{defective:>11}{problem}")
    for line in dict.fromkeys(credit(row.dataset) for row in rows):
        if line:
            print(line)
    return 0
