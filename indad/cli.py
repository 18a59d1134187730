"""The command line: words in, a table and an exit status out.

Exit status 0: done; 2: something given was wrong, said in one line on standard error.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import __version__
from .errors import InputError
from .files import in_units
from .terminal import Bars, choose

COMMANDS = ("run", "benchmark", "report", "fit", "update", "predict", "serve", "export", "list",
            "download", "check")


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake costs one line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"indad: error: {message} (try: python -m indad {self._command()}--help)\n")

    def _command(self) -> str:
        words = self.prog.split()
        return f"{words[-1]} " if words[-1] in COMMANDS else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments:
        arguments = _ask() if sys.stdin and sys.stdin.isatty() else ["run"]
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (InputError, OSError) as error:
        if options.debug:
            raise
        message = str(error).replace("\n", " ")
        print(f"indad: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nindad: interrupted; what was complete is kept, and a download goes on where "
              "it stopped", file=sys.stderr)
        return 130


def _parser() -> Parser:
    parser = Parser(prog="python -m indad", description="Anomaly detection from good images only.")
    parser.add_argument("--version", action="version", version=f"indad {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    defaults = argparse.ArgumentDefaultsHelpFormatter
    run = commands.add_parser("run", formatter_class=defaults,
                              help="fit on good images, score test images, keep results")
    run.set_defaults(command=_run)
    add = run.add_argument
    add("--category", default="all", help="one category, or all")
    add("--shots", type=int, help="train on so many good images only")
    add("--overlays", type=int, default=12, help="pictures to draw per category, at most")
    _of_one_model(run)
    _of_runs(run)

    sweep = commands.add_parser(
        "benchmark", formatter_class=defaults,
        help="many runs: categories x backbones x presets x ratios x shots x seeds",
        description="Killed and started again, it goes on where it was.")
    sweep.set_defaults(command=_benchmark)
    add = sweep.add_argument
    add("--category", nargs="+", default=["all"], help="categories, or all")
    add("--backbone", nargs="+", default=["efficientnet_lite0"], help="as for run, several")
    add("--preset", nargs="+", default=["default"], help="names that `list` shows")
    add("--coreset-ratio", nargs="+", type=float, help="several; one selection serves all")
    add("--image-score", nargs="+", help="max, reweighted, top, peak, ind_knn_ad")
    add("--shots", nargs="+", default=["all"], help="numbers of training images, and all")
    add("--seeds", type=int, default=1, help="so many: 0, 1, 2, ...")
    add("--augmentation", nargs="+", help="none, rotations, flips, santos, santos-visa")
    add("--experiment", help="a published table, by the name that `list` shows; its own choices "
        "take the place of these")
    add("--quick", action="store_true", help="of an experiment: a minute on synthetic parts")
    add("--parallel", default="1", help="processes here, or a cluster: ray, ray://HOST:PORT, "
        "dask, tcp://HOST:PORT")
    _of_runs(sweep)

    report = commands.add_parser("report", help="results as one web page to read, send or print")
    report.set_defaults(command=_report)
    report.add_argument("results", help="the folder of one run, or of many (that of --output)")
    report.add_argument("--output", metavar="FILE", help="report.html in that folder if not given")
    _shared(report)

    fit = commands.add_parser("fit", formatter_class=defaults,
                              help="learn from a folder of good photos and save the model")
    fit.set_defaults(command=_fit)
    fit.add_argument("folder", help="photos, or a folder with `good` or `train/good` in it")
    fit.add_argument("--output", required=True, help="folder for the model")
    _of_one_model(fit)
    _of_models(fit)

    update = commands.add_parser("update", formatter_class=defaults,
                                 help="let a saved model learn more good photos")
    update.set_defaults(command=_update)
    add = update.add_argument
    add("model", help="the folder that fit wrote")
    add("folder", help="the new photos, or a folder with `good` or `train/good` in it")
    add("--output", help="folder for the grown model (in the place of the old one if not given)")
    _of_saved(update)

    predict = commands.add_parser("predict", formatter_class=defaults,
                                  help="scores, regions and pictures of new photos",
                                  description="Exit status 0 also where photos are flagged.")
    predict.set_defaults(command=_predict)
    add = predict.add_argument
    add("model", help="the folder that fit wrote")
    add("images", nargs="+", help="photos, or folders of them")
    add("--output", required=True, help="folder for the results; an earlier one is replaced")
    add("--false-alarm-rate", type=float, help="wanted for the verdicts (that of fit if not given)")
    add("--threshold", type=float, help="flag scores above this, whatever good photos say")
    add("--overlays", default="flagged", help="photos to draw: all, flagged or none")
    _of_saved(predict)

    export = commands.add_parser("export", formatter_class=defaults,
                                 help="a saved model as one ONNX file that needs no torch")
    export.set_defaults(command=_export)
    add = export.add_argument
    add("model", help="the folder that fit wrote")
    add("file", help="the file to write, like bolts.onnx")
    add("--bank-precision", default="float32", help="float32, or float16 for a smaller file")
    add("--images", help="folder of photos to compare the file with the model on, up to 50 "
        "(drawn noise if not given)")
    add("--false-alarm-rate", type=float, help="for the threshold in the file (that of fit if "
        "not given)")
    add("--weights", help="where the checkpoint of the backbone lies, if it had one and that moved")
    _shared(export)

    bench = commands.add_parser("serve", formatter_class=defaults,
                                help="a page on this machine that judges images dropped on it")
    bench.set_defaults(command=_serve)
    bench.add_argument("model", help="the folder that fit wrote")
    bench.add_argument("--port", type=int, default=8000, help="0: any that is free")
    bench.add_argument("--weights", help="where the checkpoint of the backbone lies, if it had one "
                       "and that moved")
    bench.add_argument("--device", default="auto", help="auto, cpu or cuda")
    _shared(bench)

    show = commands.add_parser("list", help="datasets, categories, backbones and presets")
    show.set_defaults(command=_list)
    show.add_argument("--installed", action="store_true",
                      help="only the datasets on this machine, with their counts")
    _shared(show)

    get = commands.add_parser("download", help="bring a dataset onto this machine")
    get.set_defaults(command=_download)
    get.add_argument("dataset", help="a name that `list` shows")
    get.add_argument("category", nargs="*", default=[], help="all of them if not given")
    get.add_argument("--archives", help="folder of archives to look in first and to keep a copy "
                     "in, on Google Drive for instance; INDAD_ARCHIVES if not given")
    get.add_argument("--url", help="an address of your own for the archive, http or Google Drive")
    _shared(get)

    check = commands.add_parser("check", help="look for faults in a folder of images",
                                description="Exit status 0: no faults; 1: faults; 2: bad input.")
    check.set_defaults(command=_check)
    check.add_argument("folder", help="a folder of images, or a name that `list` shows")
    check.add_argument("--category", default="all", help="one category, or all")
    check.add_argument("--json", action="store_true", help="for programs")
    _shared(check)
    return parser


def _of_one_model(parser: argparse.ArgumentParser) -> None:
    """What `run` and `fit` take, of which `benchmark` takes several."""
    add = parser.add_argument
    add("--backbone", default="efficientnet_lite0",
        help="a name that `list` shows, a tag of timm, or several joined by +")
    add("--preset", default="default", help="a name that `list` shows")
    add("--coreset-ratio", type=float, help="share of patches to remember, in (0, 1]")
    add("--image-score", help="max, reweighted, top, peak or ind_knn_ad")
    add("--calibration", help="how the verdict's threshold is found: leave-one-out, folds or "
        "held-out")
    add("--seed", type=int, default=0, help="of everything that is drawn at random")
    add("--augmentation", help="of the training images: none, rotations, flips, santos...")
    add("--strict", action="store_true", help="stop at the first unreadable image")


def _of_runs(parser: argparse.ArgumentParser) -> None:
    """What `run` and `benchmark` both take, for all their runs alike."""
    add = parser.add_argument
    add("--dataset", default="synthetic", help="a name that `list` shows, or a folder")
    add("--protocol", default="random", help="how shots are chosen: random or anomalydino")
    add("--split", default="paper", help="for MTD: paper, or grouped by tile")
    add("--frame", default="model", help="pixels that metrics count: model or original")
    add("--output", default="results/runs", help="folder for the results")
    add("--skip-existing", action="store_true", help="keep complete results of the same run")
    _of_models(parser)


def _of_models(parser: argparse.ArgumentParser) -> None:
    """What everything that fits takes, for all its models alike."""
    add = parser.add_argument
    add("--weights", help="a checkpoint of your own for the backbone")
    add("--layers", type=int, nargs="+", help="feature maps, as timm's out_indices")
    add("--resize", type=int, help="side of the square that images are resized to")
    add("--crop", type=int, help="side of the square cut from the middle after that")
    add("--false-alarm-rate", type=float, default=0.05, help="wanted for the verdicts")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--precision", help="of the backbone: float32, or float16 for mixed precision on a GPU")
    add("--batch-size", type=int, default=16, help="images at a time; changes no score")
    add("--memory-budget", help="of training features, like 2GB; above it they go to a file "
        "(half of the free memory if not given)")
    _shared(parser)


def _of_saved(parser: argparse.ArgumentParser) -> None:
    """What `update` and `predict` take for the model they load."""
    add = parser.add_argument
    add("--weights", help="where the checkpoint of the backbone lies, if it had one and that moved")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--strict", action="store_true", help="stop at the first unreadable photo")
    _shared(parser)


def _given(options: argparse.Namespace, *names: str) -> dict:
    """The options that were given, for a preset to be overridden by nothing else."""
    return {name: getattr(options, name) for name in names
            if getattr(options, name) is not None}


def _model_options(options: argparse.Namespace) -> dict:
    chosen = _given(options, "weights", "resize", "crop", "precision", "memory_budget", "device",
                    "batch_size")
    return chosen | ({"layers": tuple(options.layers)} if options.layers else {})


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--datasets",
                        help="folder of datasets; INDAD_DATASETS or ./datasets if not given")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _one_model(options: argparse.Namespace) -> dict:
    return _model_options(options) | _given(
        options, "coreset_ratio", "image_score", "calibration", "augmentation", "backbone",
        "seed")


def _run(options: argparse.Namespace) -> int:
    from pathlib import Path

    from . import results
    from .data import list_categories
    from .experiment import run

    chosen = _one_model(options)
    categories = [options.category]
    if options.category == "all":
        categories = list_categories(options.dataset, datasets=options.datasets)
    rows, warnings, decisions = [], [], []
    with Bars() as bars:
        for category in categories:
            result = run(
                options.dataset, category, preset=options.preset, options=chosen,
                split=options.split, shots=options.shots, protocol=options.protocol,
                frame=options.frame,
                false_alarm_rate=options.false_alarm_rate, overlays=options.overlays,
                datasets=options.datasets, output=options.output,
                skip_existing=options.skip_existing, strict=options.strict,
                progress=bars.of(category),
                on_plan=lambda plan, category=category: bars.note(f"{category}: {plan}"))
            bars.close()
            rows.append(results.summary_row(result.record, str(result.folder)))
            decisions.append(result.record["decision"])
            warnings += [f"{category}: {warning}" for warning in result.warnings]
            if len(rows) == 1:
                print(results.text_table_header())
            print(results.text_table_row(rows[-1]), flush=True)
    if len(rows) > 1:
        print(results.text_table_row(results.mean_row(rows)))
    results.write_summary(Path(options.output))
    print(f"\n{_how_decided(decisions, options.false_alarm_rate)}")
    print(f"results and overlays: {rows[-1]['run'] if len(rows) == 1 else options.output}")
    for warning in warnings:
        print(f"indad: warning: {warning}", file=sys.stderr)
    return 0


def _how_decided(decisions: Sequence[dict], wanted: float) -> str:
    """Where the verdicts' thresholds come from, and what they cannot promise."""
    from .thresholds import how_decided

    weakest = min(decisions, key=lambda decision: decision["calibrated_on"])
    return f"verdicts: {how_decided(weakest['calibration'], weakest['calibrated_on'], wanted)}"


def _benchmark(options: argparse.Namespace) -> int:
    from dataclasses import replace
    from pathlib import Path

    from . import figures, results, tables
    from .data import list_categories
    from .experiments import EXPERIMENTS
    from .plans import expand, expand_experiment
    from .sweep import run_sweep

    heading = {}
    if options.experiment:
        plans = expand_experiment(options.experiment, quick=options.quick,
                                  datasets=options.datasets)
        plans = [replace(plan, options=plan.options | {"device": options.device})
                 for plan in plans]
        row = EXPERIMENTS[options.experiment]
        heading = {"title": row.title, "note": row.note, "published": row.published}
    else:
        categories = options.category
        if categories == ["all"]:
            categories = list_categories(options.dataset, datasets=options.datasets)
        plans = expand(
            options.dataset, categories, presets=options.preset, seeds=range(options.seeds),
            shots=_shots(options.shots), options=_model_options(options),
            choices=_given(options, "backbone", "coreset_ratio", "image_score", "augmentation"),
            split=options.split, protocol=options.protocol, frame=options.frame,
            false_alarm_rate=options.false_alarm_rate)
    with Bars() as bars:
        tell = bars.of("benchmark", unit="run")
        outcomes = run_sweep(
            plans, datasets=options.datasets, output=options.output,
            skip_existing=options.skip_existing, parallel=options.parallel,
            on_run=lambda outcome, done, total: tell("runs", done, total))
    output = Path(options.output)
    rows = [results.summary_row(results.read_record(outcome.folder),
                                outcome.folder.relative_to(output).as_posix())
            for outcome in outcomes]
    written = tables.write_tables(output, rows, **heading)
    figures.write_figures(output, tables.aggregate(rows), rows)
    print(written.read_text(encoding="utf-8"))
    reused = sum(outcome.reused for outcome in outcomes)
    runs = f"{len(outcomes)} run{'s' * (len(outcomes) != 1)}"
    print(f"{runs}, {reused} of them kept from before; tables and figures: "
          f"{written.parent}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from .report import write_report

    file, left_out = write_report(options.results, options.output)
    print(f"{file}: {in_units(file.stat().st_size)}")
    for problem in left_out:
        print(f"indad: warning: left out: {problem}", file=sys.stderr)
    return 0


def _fit(options: argparse.Namespace) -> int:
    from pathlib import Path

    from .experiment import check_run, make_model
    from .layouts import good_photos
    from .storage import check_replaceable

    photos = good_photos(Path(options.folder))
    model = make_model(options.preset, _one_model(options))
    check_run("model", options.false_alarm_rate)
    check_replaceable(Path(options.output))
    model.false_alarm_rate = options.false_alarm_rate
    with Bars() as bars:
        bars.note(f"{options.folder}: {model.plan(photos)}")
        model.fit(photos, strict=options.strict, progress=bars.of(options.folder))
    model.save(options.output)
    print(f"{options.output}: learned from {model.images_} photos, remembers "
          f"{len(model.memory_bank_):,} patches")
    for _, reason in model.skipped_:
        print(f"indad: warning: {reason}", file=sys.stderr)
    return 0


def _update(options: argparse.Namespace) -> int:
    from pathlib import Path

    from .layouts import good_photos
    from .patchcore import PatchCore
    from .storage import check_replaceable

    photos, output = good_photos(Path(options.folder)), options.output or options.model
    check_replaceable(Path(output))
    model = PatchCore.load(options.model, weights=options.weights, device=options.device)
    before, remembered = model.images_, len(model.memory_bank_)
    with Bars() as bars:
        model.update(photos, strict=options.strict, progress=bars.of(options.folder))
    model.save(output)
    print(f"{output}: learned from {model.images_ - before} more photos, {model.images_} in all; "
          f"remembers {len(model.memory_bank_) - remembered:,} more patches, "
          f"{len(model.memory_bank_):,} in all")
    return _warn([reason for _, reason in model.skipped_])


def _predict(options: argparse.Namespace) -> int:
    from .inspection import inspect_images
    from .patchcore import PatchCore

    model = PatchCore.load(options.model, weights=options.weights, device=options.device)
    with Bars() as bars:
        found = inspect_images(
            model, options.images, options.output, model_name=options.model,
            false_alarm_rate=options.false_alarm_rate, threshold=options.threshold,
            overlays=options.overlays, strict=options.strict, progress=bars.of(options.model))
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

    from .export import export_onnx
    from .layouts import images_in
    from .patchcore import PatchCore

    images = None
    if options.images:
        images = images_in(Path(options.images))
        if not images:
            raise InputError(f"{options.images}: no images there")
    model = PatchCore.load(options.model, weights=options.weights, device="cpu")
    parity = export_onnx(model, options.file, bank_precision=options.bank_precision,
                         check_images=images, false_alarm_rate=options.false_alarm_rate)
    print(f"{options.file}: {in_units(parity.size)}; {parity}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from pathlib import Path

    from .patchcore import PatchCore
    from .serve import HOST, check_flask, listen, serve

    check_flask()
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
    from .catalog import CATALOG
    from .download import download_dataset

    with Bars() as bars:
        folder = download_dataset(
            options.dataset, options.category, datasets=options.datasets,
            archives=options.archives, url=options.url,
            progress=bars.of(options.dataset, unit="B", unit_scale=True), note=bars.note)
    print(f"{options.dataset} is in {folder} ({CATALOG[options.dataset].licence})")
    return _list_installed(options, only=options.dataset)


def _check(options: argparse.Namespace) -> int:
    import json

    from .checks import audit

    category = None if options.category == "all" else options.category
    with Bars() as bars:
        found = audit(options.folder, category, datasets=options.datasets,
                      progress=bars.of(options.folder))
    print(json.dumps(found.as_dict(), indent=1) if options.json else found)
    return 1 if found.faults else 0


def _list_installed(options: argparse.Namespace, only: str | None = None) -> int:
    from .data import datasets_folder
    from .download import list_installed

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
    return 0


def _list(options: argparse.Namespace) -> int:
    if options.installed:
        return _list_installed(options)
    from .backbones import BACKBONES
    from .catalog import CATALOG
    from .experiments import EXPERIMENTS
    from .presets import PRESETS

    print("datasets (or give a folder)")
    for row in CATALOG.values():
        print(f"  {row.name:<20}{row.title} [{row.licence}]\n{'':22}{', '.join(row.categories)}")
    print("\nbackbones")
    for row in BACKBONES.values():
        where = "installed" if row.package else "downloaded on first use"
        print(f"  {row.name:<20}{row.family}, {row.weights_mb} MB, {row.licence}, {where}")
    print("\nexperiments")
    for row in EXPERIMENTS.values():
        print(f"  {row.name:<20}  {row.title} ({row.dataset})")
    print("\npresets")
    for name, preset in PRESETS.items():
        settings = ", ".join(f"{key}={value}" for key, value in preset.items())
        print(f"  {name:<20}{settings or 'the defaults of PatchCore'}")
    return 0


def _ask() -> list[str]:
    """A person at a terminal chooses; an empty answer takes the default."""
    from .backbones import BACKBONES, OFFLINE
    from .data import list_categories

    category = choose("category of synthetic parts", ["all", *list_categories("synthetic")])
    backbone = choose("backbone", sorted(BACKBONES, key=lambda name: name != OFFLINE))
    return ["run", "--category", category, "--backbone", backbone]
