"""What there is to choose from: datasets, backbones, experiments and presets; and what is here."""

import argparse


def show_list(options: argparse.Namespace) -> int:
    if options.installed:
        return show_installed(options)
    from ..backbones.registry import BACKBONES
    from ..data.catalog import CATALOG
    from ..evaluation.measures import MEASURES
    from ..experiments.plans import EXPERIMENTS
    from ..presets import PRESETS

    print("datasets (or give a folder)")
    for info in CATALOG.values():
        terms = "; ".join(part for part in (info.licence, info.citation) if part)
        print(f"  {info.name:<20}{info.title} [{terms}]\n"
              f"{'':22}{', '.join(info.categories)}")
    print("\nbackbones")
    for backbone in BACKBONES.values():
        where = "installed" if backbone.package else "downloaded on first use"
        print(f"  {backbone.name:<20}{backbone.family}, {backbone.weights_mb} MB, "
              f"{backbone.licence}, {where}")
    print("\nmetrics, besides those of every run")
    for measure in MEASURES.values():
        print(f"  {measure.name:<20}{measure.gives} [{measure.source}]")
    print("\nexperiments")
    for experiment in EXPERIMENTS.values():
        print(f"  {experiment.name:<20}  {experiment.title} ({experiment.dataset})")
    print("\npresets")
    for name, preset in PRESETS.items():
        settings = ", ".join(f"{key}={value}" for key, value in preset.items())
        print(f"  {name:<20}{settings or 'the defaults of PatchCore'}")
    return 0


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
