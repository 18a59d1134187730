"""The command line: words in, a table and an exit status out.

Exit status 0: done; 2: something given was wrong, said in one line on standard error.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..data.arguments import whole
from ..data.files import in_units
from ..errors import InputError
from .checking import check
from .lists import show_installed, show_list
from .submitting import submit
from .terminal import Bars, choose, still_read, warned_in_a_line
from .words import parser

if TYPE_CHECKING:
    from ..learned.plan import FitPlan
    from ..patchcore import PatchCore

MOST_SEEDS = 10_000  # of a sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        arguments = _ask() if sys.stdin and sys.stdin.isatty() else ["run"]
    debug = "--debug" in arguments
    try:
        options = parser(arguments[0]).parse_args(arguments)
        with warned_in_a_line():
            status = COMMANDS[options.command](options)
        sys.stdout.flush()
        return status
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and not still_read():
            return 128 + 13  # as shells say it of SIGPIPE
        if debug:
            raise
        message = getattr(error, "at_shell", str(error)).replace("\n", " ")
        print(f"indad: error: {message}", file=sys.stderr)
        return 2
    except MemoryError:
        if debug:
            raise
        print("indad: error: not enough memory; choose a smaller --resize or --batch-size",
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nindad: interrupted; what was complete is kept, and a download goes on where "
              "it stopped", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from functools import partial
    from pathlib import Path

    from ..data.datasets import list_categories
    from ..experiments import records as results
    from ..experiments.run import run
    from ..presets import OPTIONS
    from .model_words import model_options

    chosen = model_options(options)
    false_alarm_rate = chosen.pop("false_alarm_rate", OPTIONS["false_alarm_rate"].default)
    categories = [options.category]
    if options.category == "all":
        categories = list_categories(options.dataset, datasets=options.datasets)
    rows, warnings, decisions, more, model = [], [], [], [], None
    with Bars() as bars:
        for category in categories:
            result = run(
                options.dataset, category, preset=options.preset, options=chosen,
                split=options.split, shots=options.shots, protocol=options.protocol,
                frame=options.frame,
                false_alarm_rate=false_alarm_rate, overlays=options.overlays,
                datasets=options.datasets, output=options.output,
                skip_existing=options.skip_existing, strict=options.strict,
                measures=options.metrics, progress=bars.of(category), shared=model,
                on_plan=partial(_note_plan, bars, category))
            bars.close()
            _note_levels(bars, category, result.record.get("levels"))
            model = result.model or model
            rows.append(results.summary_row(result.record, str(result.folder)))
            decisions.append(result.record["decision"])
            more += results.in_words(category, result.record)
            warnings += [f"{category}: {warning}" for warning in result.warnings]
            if len(rows) == 1:
                print(results.text_table_header())
            print(results.text_table_row(rows[-1]), flush=True)
    if len(rows) > 1:
        for by_images in (False, True)[:1 + bool(options.metrics)]:
            print(results.text_table_row(results.mean_row(rows, by_images=by_images)))
    results.write_summary(Path(options.output))
    for line in [*more, *results.reasons(rows)]:
        print(line)
    print(f"\n{_how_decided(decisions, false_alarm_rate)}")
    print(f"results and overlays: {rows[-1]['run'] if len(rows) == 1 else options.output}")
    return _warn(warnings, most=len(warnings))


def _note_plan(bars: Bars, category: str, plan: "FitPlan") -> None:
    bars.note(f"{category}: {plan}")


def _note_levels(bars: Bars, name: str, levels: dict | None) -> None:
    from ..data.levels import in_words

    if levels:
        bars.note(f"{name}: {in_words(levels)}")


def _how_decided(decisions: Sequence[dict], wanted: float) -> str:
    """Where the verdicts' thresholds come from, and what they cannot promise."""
    from ..deploy.verdicts import how_decided

    weakest = min(decisions, key=lambda decision: decision["calibrated_on"])
    return f"verdicts: {how_decided(weakest['calibration'], weakest['calibrated_on'], wanted)}"


def _benchmark(options: argparse.Namespace) -> int:
    from dataclasses import replace
    from pathlib import Path

    from ..data.datasets import list_categories
    from ..experiments import figures, tables
    from ..experiments import records as results
    from ..experiments.plans import expand, expand_experiment, find_experiment
    from ..experiments.published import published_table
    from ..experiments.sweep import run_sweep
    from ..presets import OPTIONS
    from .model_words import model_options

    chosen = model_options(options)
    of_machine = {name: chosen.pop(name) for name in ("device", "batch_size") if name in chosen}
    false_alarm_rate = chosen.pop("false_alarm_rate", OPTIONS["false_alarm_rate"].default)
    row = find_experiment(options.experiment) if options.experiment else None
    if row is not None:
        if chosen:
            raise InputError(f"--{next(iter(chosen)).replace('_', '-')} does not go with "
                             "--experiment, which has options of its own")
        for name in row.published:  # now, and not after hours
            published_table(name)
        plans = expand_experiment(options.experiment, quick=options.quick,
                                  datasets=options.datasets)
        plans = [replace(plan, options=plan.options | of_machine) for plan in plans]
    else:
        whole(1, MOST_SEEDS).check("seeds", options.seeds)
        categories = options.category
        if categories == ["all"]:
            categories = list_categories(options.dataset, datasets=options.datasets)
        plans = expand(
            options.dataset, categories, presets=options.preset,
            seeds=options.these or range(options.seeds), shots=_shots(options.shots),
            options=of_machine, choices=chosen, split=options.split, protocol=options.protocol,
            frame=options.frame, false_alarm_rate=false_alarm_rate)
    with Bars() as bars:
        tell = bars.of("benchmark", unit="run")
        outcomes = run_sweep(
            plans, datasets=options.datasets, output=options.output,
            skip_existing=options.skip_existing, parallel=options.parallel,
            on_run=lambda outcome, done, total: tell("runs", done, total))
    output = Path(options.output)
    rows = []
    for outcome in outcomes:
        record = results.load_record(outcome.folder)
        rows.append(results.summary_row(record, outcome.folder.relative_to(output).as_posix()))
    if row is None:
        written = tables.write_tables(output, rows)
    else:
        written = tables.write_tables(output, rows, title=row.title, note=row.note,
                                      published=row.published)
    figures.write_figures(output, tables.aggregate(rows), rows)
    print(written.read_text(encoding="utf-8"))
    for reason in results.reasons(rows):
        print(reason)
    reused = sum(outcome.reused for outcome in outcomes)
    print(f"{len(outcomes)} run{'s' * (len(outcomes) != 1)}, {reused} of them kept from before; "
          f"tables and figures: {written.parent}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from ..experiments.report import write_report

    file, left_out = write_report(options.results, options.output)
    print(f"{file}: {in_units(file.stat().st_size)}")
    return _warn([f"left out: {problem}" for problem in left_out], most=len(left_out))


def _fit(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..data.copies import tell_near_copies
    from ..data.layouts import good_photos
    from ..deploy.explanation import write_region
    from ..experiments.run import make_model
    from ..learned.storage import check_free
    from .model_words import model_options

    photos = good_photos(Path(options.folder))
    model = make_model(options.preset, model_options(options))
    check_free(Path(options.output))
    with Bars() as bars:
        bars.note(f"{options.folder}: {model.plan(photos)}")
        tell_near_copies(photos)
        model.fit(photos, strict=options.strict, progress=bars.of(options.folder))
        _note_levels(bars, options.folder, model.levels_)
    model.save(options.output)
    write_region(Path(options.output), model)
    print(f"{options.output}: learned from {model.images_} photos, remembers "
          f"{len(model.memory_bank_):,} patches")
    _tell_suspects(model)
    return _warn([reason for _, reason in model.skipped_])


def _tell_suspects(model: "PatchCore") -> None:
    if model.fitted_.suspects:
        print(model.fitted_.suspects.in_words(model.given_, model.files_))


def _update(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..data.copies import still_there, tell_near_copies
    from ..data.layouts import good_photos
    from ..deploy.explanation import write_region
    from ..learned.storage import check_free
    from ..patchcore import PatchCore

    photos, output = good_photos(Path(options.folder)), options.output or options.model
    check_free(Path(output))
    model = PatchCore.load(options.model, weights=options.weights, device=options.device)
    before, remembered = model.images_, len(model.memory_bank_)
    tell_near_copies([*still_there(model.files_), *photos])
    with Bars() as bars:
        model.update(photos, strict=options.strict, progress=bars.of(options.folder))
    model.save(output)
    write_region(Path(output), model)
    print(f"{output}: learned from {model.images_ - before} more photos, {model.images_} in all; "
          f"remembers {len(model.memory_bank_) - remembered:,} more patches, "
          f"{len(model.memory_bank_):,} in all")
    _tell_suspects(model)
    return _warn([reason for _, reason in model.skipped_])


def _predict(options: argparse.Namespace) -> int:
    from ..deploy.inspection import inspect_images
    from ..patchcore import PatchCore

    model = PatchCore.load(options.model, weights=options.weights, device=options.device)
    with Bars() as bars:
        found = inspect_images(
            model, options.images, options.output, model_name=options.model,
            false_alarm_rate=options.false_alarm_rate, threshold=options.threshold,
            overlays=options.overlays, regions_as=options.regions_as, maps=options.maps,
            masks=options.masks, strict=options.strict, progress=bars.of(options.model))
    print(found)
    return _warn(found.warnings)


def _warn(warnings: Sequence[str], most: int = 10) -> int:
    for warning in warnings[:most]:
        print(f"indad: warning: {warning}", file=sys.stderr)
    if len(warnings) > most:
        print(f"indad: warning: and {len(warnings) - most} more", file=sys.stderr)
    return 0


def _export(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..data.folders import images_below
    from ..deploy.export import export_onnx
    from ..patchcore import PatchCore

    images = None
    if options.images:
        images = images_below(Path(options.images))
        if not images:
            raise InputError(f"{options.images}: no images there")
    model = PatchCore.load(options.model, weights=options.weights, device="cpu")
    parity = export_onnx(model, options.file, bank_precision=options.bank_precision,
                         pixels=options.pixels, dynamic_size=options.dynamic_size,
                         check_images=images, false_alarm_rate=options.false_alarm_rate)
    print(f"{options.file}: {in_units(parity.size)}; {parity}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ..deploy.serve import HOST, check_packages, listen, serve
    from ..patchcore import PatchCore

    check_packages()
    with listen(options.port) as listener:
        model = PatchCore.load(options.model, weights=options.weights, device=options.device)
        print(f"http://{HOST}:{listener.getsockname()[1]}/ judges images with {options.model}; "
              "Ctrl-C ends it", flush=True)
        serve(model, listener, Path(options.model).absolute().name)
    return 0


def _shots(words: Sequence[str]) -> list[int | None]:
    """"1,2,4", "1 2 4" and "all" -> numbers, None for all."""
    counts = [word for given in words for word in given.replace(",", " ").split()]
    for word in counts:
        if word != "all" and not word.isdecimal():
            raise InputError(f"shots is {word!r}; give numbers of images, or all")
    return [None if word == "all" else int(word) for word in counts]


def _download(options: argparse.Namespace) -> int:
    from ..data.catalog import CATALOG
    from ..data.download.installing import download_dataset

    with Bars() as bars:
        folder = download_dataset(
            options.dataset, options.category, datasets=options.datasets,
            archives=options.archives, url=options.url,
            progress=bars.of(options.dataset, unit="B", unit_scale=True), note=bars.note)
    print(f"{options.dataset} is in {folder} ({CATALOG[options.dataset].licence})")
    return show_installed(options, only=options.dataset)


def _ask() -> list[str]:
    """A person at a terminal chooses; an empty answer takes the default."""
    from ..backbones.registry import BACKBONES, OFFLINE
    from ..data.datasets import list_categories

    category = choose("category of synthetic parts", ["all", *list_categories("synthetic")])
    backbone = choose("backbone", sorted(BACKBONES, key=lambda name: name != OFFLINE))
    return ["run", "--category", category, "--backbone", backbone]


COMMANDS = {"run": _run, "benchmark": _benchmark, "report": _report, "fit": _fit,
            "update": _update, "predict": _predict, "serve": _serve, "export": _export,
            "list": show_list, "download": _download, "check": check, "submit": submit}
