"""Runs as their folders hold them, checked before anybody relies on them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..data.replacing import read_whole
from ..errors import InputError, first_line
from ..metrics import image_metrics
from .records import load_record, read_scores, summary_row
from .tables import label, varied


@dataclass(eq=False)
class Run:
    """A run as its folder holds it.

    Attributes:
        name: of the folder, below the results.
        record: metrics.json; `rows`: scores.csv, None if there is none.
        row: its line of the summary.
        title: what tells it from the other runs of the page.
    """

    folder: Path
    name: str
    record: dict
    rows: list[dict] | None
    row: dict
    title: str = ""
    anchor: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def threshold(self) -> float | None:
        return self.record["decision"]["threshold"]


def read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """The runs in a folder, which is one of a run or holds some; and what is wrong with others."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of results; python -m indad run makes one")
    files = sorted(file for depth in ("", "*/", "*/*/", "*/*/*/")
                   for file in folder.glob(f"{depth}metrics.json")
                   if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    runs, left_out = [], []
    for file in files:
        name = file.parent.relative_to(folder).as_posix()
        name = file.parent.absolute().name if name == "." else name
        try:
            runs.append(read_whole(file.parent, partial(_read_run, name)))
        except (InputError, OSError) as error:
            left_out.append(str(error))
        except Exception as error:  # whatever a record holds, the others are told
            left_out.append(f"{file}: not the record of a run ({first_line(error)[:200]})")
    if not runs:
        raise InputError(left_out[0] if left_out else
                         f"{folder}: no results there: no metrics.json of a run, up to three "
                         "folders deep")
    rows = [run.row for run in runs]
    names = [name for name in varied(rows) if len({str(row[name]) for row in rows}) > 1]
    several = len({row["seed"] for row in rows}) > 1
    for run in runs:
        parts = [run.row["category"], *([label(run.row, names)] if names else []),
                 *([f"seed {run.row['seed']}"] if several else [])]
        run.title = " · ".join(parts)
    runs.sort(key=lambda run: (run.title, run.name))
    for number, run in enumerate(runs):
        run.anchor = f"run-{number}"
    return runs, left_out


def _read_run(name: str, folder: Path) -> Run:
    """One run, checked so far as the page relies on it; raises `InputError`."""
    for own in ("metrics.json", "scores.csv"):
        if (folder / own).exists() or (folder / own).is_symlink():
            check_own(folder, folder / own)
    record = load_record(folder)
    run, counts = Run(folder, name, record, None, summary_row(record, name)), record["counts"]
    if "suspects" in record:
        run.notes.append(record["suspects"])
    if not (folder / "scores.csv").exists():
        run.notes.append("There is no scores.csv in its folder, so no curves and no names.")
        return run
    run.rows = read_scores(folder)
    found = image_metrics(*scores_of(run.rows)) if run.rows else {}
    differ = [metric for metric, value in found.items() if value != record["metrics"][metric]
              and abs((value or 0) - (record["metrics"][metric] or 0)) > 1e-9]
    if differ or len(run.rows) != counts["test_good"] + counts["test_defective"]:
        raise InputError(f"{folder / 'scores.csv'}: not of the run in metrics.json beside it, as "
                         f"{differ[0] if differ else 'the number of images'} differs")
    return run


def check_own(folder: Path, file: Path) -> None:
    """Raise `InputError` unless a file is one of a run's own.

    A link could lead to any picture of the disk, which would then be in a page that is handed on,
    and a pipe would keep whoever opens it.
    """
    own = file.is_file() and not file.is_symlink()
    if not own or not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{file}: a link, or no plain file, in the folder of a run")


def scores_of(rows: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels, `(n,)` each."""
    return np.array([row["score"] for row in rows]), np.array([row["label"] for row in rows])


def outcome(row: dict, threshold: float | None) -> str:
    """What a verdict is worth: "found", "missed", "passed" (good, rightly) or "false alarm"."""
    if threshold is None:
        return "no verdict"
    flagged = row["score"] > threshold
    if row["label"]:
        return "found" if flagged else "missed"
    return "false alarm" if flagged else "passed"


def overlays_of(run: Run) -> list[tuple[Path, dict]]:
    """The pictures of a run, each with its line of scores.csv, where that is beyond doubt.

    `run` names a.png beside a.jpg after the whole file, and only the second of them.
    """
    owners: dict[str, list[dict]] = {}
    for row in run.rows or ():
        path = Path(row["image"])
        owners.setdefault(f"{row['defect_type']}_{path.name}.png", []).append(row)
    files = {file.name: file for file in sorted((run.folder / "overlays").glob("*.png"))}
    named = [(file, owners[name]) for name, file in files.items() if name in owners]
    taken = {id(rows[0]) for _, rows in named}
    stems: dict[str, list[dict]] = {}
    for row in run.rows or ():
        if id(row) not in taken:
            stems.setdefault(f"{row['defect_type']}_{Path(row['image']).stem}.png", []).append(row)
    named += [(file, stems[name]) for name, file in files.items()
              if name in stems and name not in owners]
    return [(file, rows[0]) for file, rows in named if len(rows) == 1]
