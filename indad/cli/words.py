"""The words that the command line takes; what they do is in commands.py."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from .. import __version__
from ..data.arguments import PATH
from ..errors import InputError

DEFAULTS = argparse.ArgumentDefaultsHelpFormatter
# One rule for all commands, see data/folders.py.
FOLDERS = ("Of folders, the photos in sub-folders count as well; hidden folders, folders of masks "
           "and earlier results do not, and what is left out is counted in a line. Good photos are "
           "in a folder called good, ok, normal or the like, in any case.")
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


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


def _region(text: str) -> Any:
    """A mask's path, or polygons."""
    from ..data.drawn import region_from

    try:
        region = region_from(_word(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if isinstance(region, str) and not Path(region).is_file():
        raise argparse.ArgumentTypeError(f"{region}: no such mask; give a picture, or points")
    return region


def parser() -> Parser:
    """Of all commands; each leaves its name in `command`."""
    whole = Parser(prog="python -m indad", description="Anomaly detection from good images only.")
    whole.add_argument("--version", action="version", version=f"indad {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    for add_command in COMMANDS.values():
        add_command(commands)
    return whole


def _run(commands: Commands) -> None:
    run = commands.add_parser("run", formatter_class=DEFAULTS,
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
        "benchmark", formatter_class=DEFAULTS,
        help="many runs: categories x backbones x presets x ratios x shots x seeds",
        description="Killed and started again, it goes on where it was.", epilog=FOLDERS)
    sweep.set_defaults(command="benchmark")
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


def _report(commands: Commands) -> None:
    report = commands.add_parser("report", help="results as one web page to read, send or print")
    report.set_defaults(command="report")
    report.add_argument("results", help="the folder of one run, or of many (that of --output)")
    report.add_argument("--output", metavar="FILE", help="report.html in that folder if not given")
    _shared(report)


def _fit(commands: Commands) -> None:
    fit = commands.add_parser("fit", formatter_class=DEFAULTS,
                              help="learn from a folder of good photos and save the model",
                              epilog=FOLDERS)
    fit.set_defaults(command="fit")
    fit.add_argument("folder", help="photos, or a folder with `good` or `train/good` in it")
    fit.add_argument("--output", required=True, help="folder for the model")
    fit.add_argument("--reserve", type=float, default=0.05, help="share of patches to keep beside "
                     "the remembered ones, for update; 0: none")
    _of_one_model(fit)
    _of_models(fit)


def _update(commands: Commands) -> None:
    update = commands.add_parser("update", formatter_class=DEFAULTS,
                                 help="let a saved model learn more good photos",
                                 epilog=FOLDERS)
    update.set_defaults(command="update")
    add = update.add_argument
    add("model", help="the folder that fit wrote")
    add("folder", help="the new photos, or a folder with `good` or `train/good` in it")
    add("--output", help="folder for the grown model (in the place of the old one if not given)")
    _of_saved(update)


def _predict(commands: Commands) -> None:
    predict = commands.add_parser("predict", formatter_class=DEFAULTS,
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
    export = commands.add_parser("export", formatter_class=DEFAULTS,
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
    bench = commands.add_parser("serve", formatter_class=DEFAULTS,
                                help="a page on this machine that judges images dropped on it")
    bench.set_defaults(command="serve")
    bench.add_argument("model", help="the folder that fit wrote")
    bench.add_argument("--port", type=int, default=8000, help="0: any that is free")
    bench.add_argument("--weights", help="where the checkpoint of the backbone lies, if it had one "
                       "and that moved")
    bench.add_argument("--device", default="auto", help="auto, or a name such as cpu, cuda:1, mps")
    _shared(bench)


def _list(commands: Commands) -> None:
    show = commands.add_parser("list", help="datasets, categories, backbones and presets")
    show.set_defaults(command="list")
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
    add("--resize", type=int, nargs="+", help="as for fit")
    add("--tiles", type=int, help="as for fit, for large photos")
    add("--device", help="auto, or a name such as cpu, cuda:1, mps")
    _shared(check)


def _submit(commands: Commands) -> None:
    submit = commands.add_parser("submit", formatter_class=DEFAULTS,
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
    _of_models(submit)


def _of_one_model(parser: argparse.ArgumentParser) -> None:
    """What `run` and `fit` take, of which `benchmark` takes several."""
    add = parser.add_argument
    add("--backbone", default="efficientnet_lite0",
        help="a name that `list` shows, a tag of timm, or several joined by +")
    add("--preset", default="default", help="a name that `list` shows")
    add("--coreset-ratio", type=float, help="share of patches to remember, in (0, 1]")
    add("--image-score", help="max, reweighted, top, peak or ind_knn_ad")
    add("--search", help="exact; or, of very many patches: ivfpq or hnsw, which may miss some")
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
    add("--split", default="paper", help="for MTD and ELPV: paper, or grouped by tile or "
        "module; for VisA paper, 2cls_fewshot or 2cls_highshot")
    add("--frame", default="model", help="pixels that metrics count: model or original")
    add("--output", default="results/runs", help="folder for the results")
    add("--skip-existing", action="store_true", help="keep complete results of the same run")
    _of_models(parser)


def _of_models(parser: argparse.ArgumentParser) -> None:
    """What everything that fits takes, for all its models alike."""
    add = parser.add_argument
    add("--weights", help="a checkpoint of your own for the backbone")
    add("--layers", type=int, nargs="+", help="feature maps, as timm's out_indices")
    add("--resize", type=int, nargs="+", help="side of the square that images are resized to; or "
        "height and width")
    add("--crop", type=int, help="side of the square cut from the middle after that")
    add("--tiles", type=int, help="instead: side of the squares that large photos are cut into, "
        "the worst of which decides")
    add("--overlap", type=int, help="pixels that neighbouring tiles share (an eighth of one)")
    add("--scale", type=float, help="shrink photos by this before they are cut (1)")
    add("--region", type=_region, help="where to look, and nowhere else: a mask image, white "
        "there; or corners in fractions of width and height, like \"0.1,0.1 0.9,0.1 0.5,0.9\", "
        "with ; between polygons; or the .json file of them that the page of serve gives")
    add("--foreground", help="auto: find where to look, by what stands out from the photos' border")
    add("--align", help="lay each photo's part where a reference has it, by a shift, rigid (with a "
        "turn) or similarity (with a scale too); needs opencv-python-headless")
    add("--align-tolerance", type=float, nargs="+", help="what is misplaced: farther off than this "
        "share of the longer side, turned by more degrees, larger by more than this share (half "
        "more than good photos have)")
    add("--robust", action="store_true", default=None, help="not all training photos are good: "
        "those that others do not know set no threshold, see check --suspects")
    add("--false-alarm-rate", type=float, default=0.05, help="wanted for the verdicts")
    add("--device", default="auto", help="auto, or a name such as cpu, cuda:1, mps")
    add("--precision", help="of the backbone: float32, tf32, float16 or bfloat16")
    add("--batch-size", type=int, default=16, help="images at a time; changes no score")
    add("--memory-budget", help="of training features, like 2GB; above it they go to a file "
        "(half of the free memory if not given)")
    _shared(parser)


def _of_saved(parser: argparse.ArgumentParser) -> None:
    """What `update` and `predict` take for the model they load."""
    add = parser.add_argument
    add("--weights", help="where the checkpoint of the backbone lies, if it had one and that moved")
    add("--device", default="auto", help="auto, or a name such as cpu, cuda:1, mps")
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


def given(options: argparse.Namespace, *names: str) -> dict:
    """The options that were given, for a preset to be overridden by nothing else."""
    return {name: getattr(options, name) for name in names
            if getattr(options, name) is not None}


def resize(options: argparse.Namespace) -> dict:
    if options.resize is None:
        return {}
    return {"resize": options.resize[0] if len(options.resize) == 1 else tuple(options.resize)}
