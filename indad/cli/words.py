"""The words that the command line takes; what they do is in commands.py."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from .. import __version__
from ..data.arguments import PATH, as_word

USAGE = "%(prog)s [OPTIONS]"
# One rule for all commands, see data/folders.py.
FOLDERS = ("Of folders, the photos in sub-folders count as well; hidden folders, folders of masks "
           "and earlier results do not, and what is left out is counted in a line. Good photos are "
           "in a folder called good, ok, normal or the like, in any case.")
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Defaults(argparse.HelpFormatter):
    """With defaults, where there are any and the help does not say them itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default, text = action.default, action.help or ""
        if not action.option_strings or "(default: " in text or default == [] or any(
                default is none for none in (None, False, argparse.SUPPRESS)):
            return action.help
        return f"{text} (default: {as_word(default)})"


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake costs one line, not a page of usage, and a word is not empty."""

    def __init__(self, *args: Any, **named: Any):
        super().__init__(*args, **named)
        self.register("type", None, _word)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"indad: error: {message} (try: python -m indad {self._command()}--help)\n")

    def _command(self) -> str:
        words = self.prog.split()
        return f"{words[-1]} " if words[-1] in COMMANDS else ""


def _word(text: str) -> str:
    """What is given where no other type is: something, that a file's name could hold."""
    if not PATH.holds(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no text")
    return text


def parser(command: str | None = None) -> Parser:
    """Of all commands; each leaves its name in `command`.

    Options of a model, whose table takes seconds to import, only of one command, or of all if None.
    """
    whole = Parser(prog="python -m indad", description="Anomaly detection from good images only.")
    whole.add_argument("--version", action="version", version=f"indad {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    for add_command in COMMANDS.values():
        add_command(commands)
    for name, options in OF_A_MODEL.items():
        if command in (name, None):
            from .model_words import add_options

            add_options(commands.choices[name], **options)
    return whole


def _run(commands: Commands) -> None:
    run = commands.add_parser("run", formatter_class=Defaults, usage=USAGE,
                              help="fit on good images, score test images, keep results",
                              epilog=FOLDERS)
    run.set_defaults(command="run")
    add = run.add_argument
    add("--category", default="all", help="one category, or all")
    add("--shots", type=int, help="train on so many good images only")
    add("--overlays", type=int, default=12, help="pictures to draw per category, at most")
    add("--metrics", nargs="+", default=[], metavar="NAME", help="besides AUROC, AP, F1 and AUPRO "
        "(results/README.md, how metrics are taken): pimo, segmentation, defects, intervals, and "
        "spro, which MVTec LOCO AD has without asking")
    _of_one_model(run)
    _of_runs(run)


def _benchmark(commands: Commands) -> None:
    sweep = commands.add_parser(
        "benchmark", formatter_class=Defaults, usage=USAGE,
        help="many runs: categories x presets x options x shots x seeds",
        description="Killed and started again, it goes on where it was.", epilog=FOLDERS)
    sweep.set_defaults(command="benchmark")
    add = sweep.add_argument
    add("--category", nargs="+", default=["all"], help="categories, or all")
    add("--preset", nargs="+", default=["default"], help="named settings, see `list presets`")
    add("--shots", nargs="+", default=["all"], help="numbers of training images, and all")
    seeds = sweep.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=int, default=1, help="so many: 0, 1, 2, ...")
    seeds.add_argument("--seed", type=int, nargs="+", dest="these", metavar="SEED",
                       help="or these")
    add("--experiment", help="a published table, by the name that `list` shows; its own choices "
        "take the place of these, and of a model's options only --device and --batch-size go with "
        "it")
    add("--quick", action="store_true", help="of an experiment: a minute on synthetic parts")
    add("--parallel", default="1", help="processes here, or a cluster: ray, ray://HOST:PORT, "
        "dask, tcp://HOST:PORT")
    _of_runs(sweep)


def _report(commands: Commands) -> None:
    report = commands.add_parser("report", help="results as one web page to read, send or print")
    report.set_defaults(command="report")
    report.add_argument("results", help="the folder of one run, or of many (that of --output)")
    report.add_argument("--output", metavar="FILE", help="report.html in that folder if not given")
    _shared(report)


def _fit(commands: Commands) -> None:
    fit = commands.add_parser("fit", formatter_class=Defaults,
                              usage="%(prog)s [OPTIONS] FOLDER --output OUTPUT",
                              help="learn from a folder of good photos and save the model",
                              epilog=FOLDERS)
    fit.set_defaults(command="fit")
    fit.add_argument("folder", help="photos, or a folder with `good` or `train/good` in it")
    fit.add_argument("--output", required=True, help="folder for the model")
    _of_one_model(fit)
    _shared(fit)


def _update(commands: Commands) -> None:
    update = commands.add_parser("update", formatter_class=Defaults,
                                 help="let a saved model learn more good photos",
                                 epilog=FOLDERS)
    update.set_defaults(command="update")
    add = update.add_argument
    add("model", help="the folder that fit wrote")
    add("folder", help="the new photos, or a folder with `good` or `train/good` in it")
    add("--output", help="folder for the grown model (in the place of the old one if not given)")
    _of_saved(update)


def _predict(commands: Commands) -> None:
    predict = commands.add_parser("predict", formatter_class=Defaults,
                                  help="scores, regions and pictures of new photos",
                                  description="Exit status 0 also where photos are flagged.",
                                  epilog=FOLDERS)
    predict.set_defaults(command="predict")
    add = predict.add_argument
    add("model", help="the folder that fit wrote")
    add("images", nargs="+", help="photos, or folders of them")
    add("--output", required=True, help="folder for the results; an earlier one is replaced")
    add("--false-alarm-rate", type=float, help="wanted for the verdicts (that of fit if not given)")
    add("--threshold", type=float, help="flag scores above this, whatever good photos say")
    add("--overlays", default="flagged", help="photos to draw: all, flagged or none")
    add("--regions-as", nargs="+", default=[], help="formats for the regions besides: coco, "
        "labelme, cvat")
    add("--maps", help="the map of every photo in its own pixels: tiff or npz")
    add("--masks", action="store_true", help="where maps are above their threshold, as PNG")
    _of_saved(predict)


def _export(commands: Commands) -> None:
    export = commands.add_parser("export", formatter_class=Defaults,
                                 help="a saved model as one ONNX file that needs no torch",
                                 epilog=FOLDERS)
    export.set_defaults(command="export")
    add = export.add_argument
    add("model", help="the folder that fit wrote")
    add("file", help="the file to write, like bolts.onnx")
    add("--bank-precision", default="float32", help="float32, or float16 for a smaller file")
    add("--pixels", default="uint8", help="what the file takes: uint8, or float32 from 0 to 1")
    add("--dynamic-size", action="store_true",
        help="let it take pictures of any height and width that are multiples of 32")
    add("--images", help="folder of photos to compare the file with the model on, up to 50 "
        "(if not given, the training photos, or noise where they are gone)")
    add("--false-alarm-rate", type=float, help="for the threshold in the file (that of fit if "
        "not given)")
    add("--weights", help="where the checkpoint of the backbone lies, if it had one and that moved")
    _shared(export)


def _serve(commands: Commands) -> None:
    bench = commands.add_parser("serve", formatter_class=Defaults,
                                help="a page on this machine that judges images dropped on it")
    bench.set_defaults(command="serve")
    bench.add_argument("model", help="the folder that fit wrote")
    bench.add_argument("--port", type=int, default=8000, help="0: any that is free")
    bench.add_argument("--weights", help="where the checkpoint of the backbone lies, if it had one "
                       "and that moved")
    bench.add_argument("--device", default="auto", help="as for fit")
    _shared(bench)


def _list(commands: Commands) -> None:
    show = commands.add_parser("list", help="datasets, categories, backbones and presets")
    show.set_defaults(command="list")
    show.add_argument("what", nargs="?",
                      help="only datasets, backbones, metrics, experiments or presets")
    show.add_argument("--installed", action="store_true",
                      help="only the datasets on this machine, with their counts")
    _shared(show)


def _download(commands: Commands) -> None:
    get = commands.add_parser("download", help="bring a dataset onto this machine")
    get.set_defaults(command="download")
    get.add_argument("dataset", help="a name that `list` shows")
    get.add_argument("category", nargs="*", default=[], help="all of them if not given")
    get.add_argument("--archives", help="folder of archives to look in first and to keep a copy "
                     "in, on Google Drive for instance; INDAD_ARCHIVES if not given")
    get.add_argument("--url", help="an address of your own for the archive, http or Google Drive")
    _shared(get)


def _check(commands: Commands) -> None:
    check = commands.add_parser("check", help="look for faults in a folder of images",
                                description="Exit status 0: no faults; 1: faults; 2: bad input.",
                                epilog=FOLDERS)
    check.set_defaults(command="check")
    check.add_argument("folder", help="a folder of images, or a name that `list` shows")
    check.add_argument("--category", default="all", help="one category, or all")
    check.add_argument("--json", action="store_true", help="for programs")
    suspects = check.add_argument_group("photos that are called good and probably are not")
    add = suspects.add_argument
    add("--suspects", action="store_true", help="rank the good photos by how little others know of "
        "their worst patch, in a page to click through; no faults for the exit status")
    add("--output", help="folder for the page and its table (results/suspects if not given)")
    add("--backbone", help="as for fit (efficientnet_lite0)")
    add("--resize", nargs="+", help="as for fit")
    add("--tiles", type=int, help="as for fit, for large photos")
    add("--device", help="as for fit")
    _shared(check)


def _submit(commands: Commands) -> None:
    submit = commands.add_parser("submit", formatter_class=Defaults,
                                 usage="%(prog)s [OPTIONS] FOLDER",
                                 help="maps of MVTec AD 2's private photos, for its server",
                                 description="Fits each object, and checks all by the rules; needs "
                                 "tifffile. Exit status 0: as the server wants it; 1: not; 2: bad "
                                 "input.")
    submit.set_defaults(command="submit")
    add = submit.add_argument
    add("folder", help="of the submission; objects that are there already are replaced")
    add("--check", action="store_true", help="only say what is wrong with a folder, one by one")
    add("--dataset", default="mvtec_ad_2", help="mvtec_ad_2, or its folder")
    add("--category", default="all", help="one object, or all")
    _of_one_model(submit)
    _shared(submit)


def _of_one_model(parser: argparse.ArgumentParser) -> None:
    """What `run` and `fit` take besides a model's options."""
    add = parser.add_argument
    add("--preset", default="default", help="named settings, see `list presets`")
    add("--strict", action="store_true", help="stop at the first unreadable image")


def _of_runs(parser: argparse.ArgumentParser) -> None:
    """What `run` and `benchmark` both take, for all their runs alike."""
    add = parser.add_argument
    add("--dataset", default="synthetic", help="a name that `list` shows, or a folder")
    add("--protocol", default="random", help="how shots are chosen: random or anomalydino")
    add("--split", default="paper", help="for MTD and ELPV: paper, or grouped by tile or "
        "module; for VisA paper, 2cls_fewshot or 2cls_highshot")
    add("--frame", default="model", help="pixels that metrics count: model or original")
    add("--output", default="results/runs", help="folder for the results")
    add("--skip-existing", action="store_true", help="keep complete results of the same run")
    _shared(parser)


def _of_saved(parser: argparse.ArgumentParser) -> None:
    """What `update` and `predict` take for the model they load."""
    add = parser.add_argument
    add("--weights", help="where the checkpoint of the backbone lies, if it had one and that moved")
    add("--device", default="auto", help="as for fit")
    add("--strict", action="store_true", help="stop at the first unreadable photo")
    _shared(parser)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--datasets",
                        help="folder of datasets; INDAD_DATASETS or ./datasets if not given")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


# In the order of --help.
COMMANDS: dict[str, Callable[[Commands], None]] = {
    "run": _run, "benchmark": _benchmark, "report": _report, "fit": _fit, "update": _update,
    "predict": _predict, "export": _export, "serve": _serve, "list": _list,
    "download": _download, "check": _check, "submit": _submit}

# What each of those that fit takes of a model's options, see `add_options`.
OF_A_MODEL: dict[str, dict[str, Any]] = {
    "run": {"without": ("reserve",)}, "submit": {"without": ("reserve", "false_alarm_rate")},
    "benchmark": {"without": ("reserve", "seed"), "several": True,
                  "single": ("device", "batch_size", "false_alarm_rate")},
    "fit": {"defaults": {"reserve": 0.05}}}


def given(options: argparse.Namespace, *names: str) -> dict:
    """The options that were given, for a preset to be overridden by nothing else."""
    return {name: getattr(options, name) for name in names
            if getattr(options, name) is not None}
