"""Results as tables of pandas: of photos, of runs, of sweeps."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.arguments import PATH, shown
from ..data.as_frame import as_frame
from ..data.pose import COLUMNS as POSE
from ..engine.prediction import Prediction
from ..errors import InputError
from .records import COLUMNS, load_record, read_all, summary_row
from .run import RunResult
from .sweep import Outcome

WHOLE, NUMBERS = ("label", "regions"), ("score", "threshold", "rank", *POSE[:-1])


def to_frame(results: object, images: object = None) -> Any:
    """A `pandas.DataFrame` of results, with the columns of their csv files.

    Args:
        results: what `predict` or `run` returned, or their folder: a row a photo, see scores.csv;
            or the folder of many runs, or what `run_sweep` returned: a row a run, see summary.csv.
        images: of a prediction, what it was made of, see `Prediction.to_frame`.

    Raises `InputError` if there are no results, or no pandas.

    Example:
        >>> to_frame("results/runs").groupby("backbone").image_auroc.mean()
    """
    if isinstance(results, Prediction):
        return results.to_frame(images)
    if isinstance(results, RunResult):
        results = results.folder
    if isinstance(results, Sequence) and results and all(
            isinstance(one, Outcome) for one in results):
        return as_frame([summary_row(load_record(one.folder), "/".join(one.folder.parts[-3:]))
                         for one in results], COLUMNS)
    if not PATH.holds(results):
        raise InputError(f"results is {shown(results)}; it must be what predict, run or run_sweep "
                         "returned, or a folder of results")
    folder = Path(str(results))
    if (folder / "scores.csv").is_file():
        return _of_photos(folder / "scores.csv")
    rows = read_all(folder)
    if not rows:
        raise InputError(f"{folder}: no results there: neither scores.csv nor folders of runs")
    return as_frame(rows, COLUMNS)


def _of_photos(file: Path) -> Any:
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            table = csv.DictReader(lines)
            rows = [{name: _value(name, text) for name, text in row.items()} for row in table]
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{file}: not a table of scores ({error})") from error
    return as_frame(rows, table.fieldnames or ())


def _value(name: str, text: str) -> object:
    if name in WHOLE or name in NUMBERS:
        return (int if name in WHOLE else float)(text) if text else None
    return text
