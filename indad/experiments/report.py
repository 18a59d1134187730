"""The results of one run or of many as one web page that needs nothing else: to read, send, print.

Numbers come from metrics.json and scores.csv and pictures from overlays/ and explanations/, so a
report can be made wherever a results folder is, without the photos and without a model. The same
folder gives the same bytes. The page's only script and style are its own (pages/), see
deploy/html.py.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..data.arguments import PATH, maybe, takes
from ..data.catalog import credit
from ..data.files import write_text
from ..data.images import read_image
from ..data.region import PICTURE
from ..deploy.html import fill, packed
from ..deploy.pictures import TITLE_BAR
from ..errors import InputError
from .published import compare_with_published, published_for
from .records import METRICS
from .report_charts import histogram, precision_recall_points, roc_points, ticks
from .report_runs import Run, check_own, outcome, overlays_of, read_runs, scores_of
from .tables import aggregate, cell, overall, varied

PAGES = Path(__file__).with_name("pages")
PICTURE_BUDGET = 6_000_000  # bytes of JPEG in a page, a third more as text: below 10 MB in all
PICTURE_SIZE = (1200, 256)
MOST_MISTAKES = 40  # listed by name for each run
HOW = {
    "leave-one-out": "each good training image was scored by the memory bank less its own patches",
    "folds": "good training images were scored by banks that were selected without them, a fifth "
             "at a time",
    "held-out": "a fifth of the good images was kept out of the memory bank and scored by it",
}


@takes(folder=PATH, output=maybe(PATH))
def write_report(folder: str | Path, output: str | Path | None = None) -> tuple[Path, list[str]]:
    """Write the report of a results folder, `report.html` in it if no `output` is given.

    Returns the file, and what had to be left out. Raises `InputError` where there are no results,
    and where the file cannot be written.
    """
    folder = Path(folder)
    output = Path(output) if output is not None else folder / "report.html"
    runs, left_out = read_runs(folder)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise InputError(f"{output}: not a place for a file; give a name like report.html in a "
                         "folder that exists")
    write_text(output, page(runs, [text.replace(f"{folder}{os.sep}", "") for text in left_out]))
    return output, left_out


def page(runs: Sequence[Run], left_out: Sequence[str] = ()) -> str:
    """The report as HTML."""
    table = aggregate([run.row for run in runs])
    pictures, unseen = _pictures(runs)
    return fill(
        "report.html", PAGES / "report.js", folder=PAGES,
        filters=dict(fixed=_fixed, percent=_percent, line=_line, cell=cell),
        version=__version__, runs=runs, left_out=left_out, how=HOW, totals=_totals(runs),
        variants=list(overall(table)), names=varied(table),
        published=_published(table), charts={run.anchor: _charts(run) for run in runs},
        kinds={run.anchor: _by_defect_type(run) for run in runs},
        measures={run.anchor: _measures(run.record) for run in runs},
        mistakes={run.anchor: _mistakes(run) for run in runs}, most=MOST_MISTAKES,
        regions={run.anchor: _region(run) for run in runs},
        pictures=pictures, unseen=unseen, credits=_credits(pictures), **_configurations(runs))


def _fixed(value: float | None, digits: int = 4) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _percent(part: float | None, whole: float = 1) -> str:
    return "n/a" if part is None or not whole else f"{100 * part / whole:.1f} %"


def _line(points: np.ndarray) -> str:
    """Points for an SVG polyline, with six digits: more than a screen shows, few enough to read."""
    return " ".join(f"{x:.6g},{y:.6g}" for x, y in points.tolist())


def _totals(runs: Sequence[Run]) -> dict | None:
    """Counts over categories, if each was run once; else adding up would count images twice."""
    if len({run.row["category"] for run in runs}) < len(runs):
        return None
    decided = all(run.threshold is not None for run in runs)
    counts = {name: sum(run.record["counts"][name] for run in runs)
              for name in ("train", "test_good", "test_defective")}
    for name in ("misses", "false_alarms"):
        counts[name] = sum(run.record["decision"][name] for run in runs) if decided else None
    return counts


def _mistakes(run: Run) -> list[dict]:
    """Missed defects and false alarms, those furthest from the threshold first."""
    if run.rows is None or run.threshold is None:
        return []
    wrong = [row | {"outcome": outcome(row, run.threshold)} for row in run.rows]
    wrong = [row for row in wrong if row["outcome"] in ("missed", "false alarm")]
    return sorted(wrong, key=lambda row: -abs(row["score"] - run.threshold))


def _measures(record: dict) -> list[tuple[str, float | None, Sequence[float | None]]]:
    """Metrics that were asked for, and all if they have intervals: name, value, its two ends."""
    ends = record["intervals"]["ends"] if "intervals" in record else {}
    return [(name, value, ends.get(name) or (None, None))
            for name, value in record["metrics"].items() if ends or name not in METRICS]


def _by_defect_type(run: Run) -> list[dict]:
    """Good images first, then each defect type: how many, how many flagged, their scores."""
    kinds: dict[tuple[int, str], list[float]] = {}
    for row in run.rows or ():
        kinds.setdefault((row["label"], row["defect_type"]), []).append(row["score"])
    return [{"name": name, "defective": bool(kind), "images": len(scores),
             "flagged": None if run.threshold is None else
             sum(score > run.threshold for score in scores),
             "low": min(scores), "median": float(np.median(scores)), "high": max(scores)}
            for (kind, name), scores in sorted(kinds.items())]


def _charts(run: Run) -> dict:
    """Histogram, ROC and precision-recall curve of a run, as far as its labels allow."""
    if not run.rows:
        return {}
    scores, labels = scores_of(run.rows)
    drawn = histogram(scores, labels, run.threshold)
    found = {"histogram": drawn, "score_ticks": ticks(drawn.edges[0], drawn.edges[-1]),
             "count_ticks": ticks(0, max(drawn.good.max(), drawn.defective.max(), 2), 3)}
    if labels.any() and not labels.all():
        found |= {"roc": roc_points(scores, labels), "share": float(labels.mean()),
                  "precision_recall": precision_recall_points(scores, labels)}
        if run.threshold is not None:
            flagged = scores > run.threshold
            found["at"] = {
                "recall": float(flagged[labels == 1].mean()),
                "alarms": float(flagged[labels == 0].mean()),
                "precision": float(labels[flagged].mean()) if flagged.any() else None}
    return found


def _published(table: Sequence[dict]) -> list[dict]:
    """For each variant the published tables with a number of at least one of its categories."""
    found = []
    for variant in overall(table):
        for theirs in published_for(variant):
            rows = compare_with_published(table, variant, theirs)
            if any(other is not None for metrics in rows.values()
                   for _, other, _ in metrics.values()):
                found.append({"variant": variant, "theirs": theirs, "rows": rows})
    return found


def _configurations(runs: Sequence[Run]) -> dict:
    """What all runs have in common, and what each has of its own."""
    whole = [_flat("", {name: run.record.get(name) or {} for name in ("config", "environment")})
             for run in runs]
    common = {name: value for name, value in whole[0].items()
              if all(name in one and one[name] == value for one in whole)}
    own = {run.anchor: {name: value for name, value in one.items() if name not in common}
           for run, one in zip(runs, whole, strict=True)}
    return {"common": common, "own": own}


def _flat(name: str, value: object) -> dict[str, str]:
    """Nested settings as lines of text; of a checkpoint the file's name, not the way to it."""
    if isinstance(value, dict):
        return {key: text for word, inner in value.items()
                for key, text in _flat(str(word), inner).items()}
    if name == "weights" and value:
        return {name: Path(str(value)).name}
    if isinstance(value, (list, tuple)):
        return {name: ", ".join(map(str, value))}
    return {name: "–" if value is None else str(value)}


@dataclass(frozen=True, eq=False)
class Picture:
    """An overlay with what is known of its image, and why that is flagged, if it is."""

    run: Run
    row: dict
    file: Path
    jpeg: bytes = b""
    why: bytes = b""

    @property
    def outcome(self) -> str:
        return outcome(self.row, self.run.threshold)


def _region(run: Run) -> bytes:
    """The picture of what a run's model looks at; empty if that is everything."""
    file = run.folder / PICTURE
    if not (file.exists() or file.is_symlink()):
        return b""
    try:
        check_own(run.folder, file)
        return _jpeg(file)
    except InputError as error:
        run.notes.append(f"Left out: {str(error).replace(f'{run.folder}{os.sep}', '')}")
        return b""


def _pictures(runs: Sequence[Run]) -> tuple[list[Picture], int]:
    """Overlays for the gallery, worst first, and how many there was no room for.

    Every run shows its most telling picture before any shows its second.
    """
    turns: dict[int, list[Picture]] = {}
    for run in runs:
        known = [Picture(run, row, file) for file, row in overlays_of(run)]
        for turn, picture in enumerate(_telling(known)):
            turns.setdefault(turn, []).append(picture)
    waiting = [picture for turn in sorted(turns) for picture in turns[turn]]
    shown, room = [], PICTURE_BUDGET
    for picture in waiting:
        why = picture.file.parents[1] / "explanations" / picture.file.name
        try:
            check_own(picture.run.folder, picture.file)
            drawn = replace(picture, jpeg=_jpeg(picture.file, TITLE_BAR))
            if why.exists() or why.is_symlink():
                check_own(picture.run.folder, why)
                drawn = replace(drawn, why=_jpeg(why))
        except InputError as error:
            # Only what lies below the results is of interest elsewhere.
            text = str(error).replace(f"{picture.run.folder}{os.sep}", "")
            picture.run.notes.append(f"Left out: {text}")
            continue
        room -= len(drawn.jpeg) + len(drawn.why)
        if room < 0:
            break
        shown.append(drawn)
    shown.sort(key=lambda one: (runs.index(one.run), -one.row["score"]))
    return shown, len(waiting) - len(shown)


def _credits(pictures: Sequence[Picture]) -> list[str]:
    """Whose photos are shown, and under which licence: a line for each known dataset."""
    lines = [credit(one.run.row["dataset"]) for one in pictures]
    return [line for line in dict.fromkeys(lines) if line]


def _telling(pictures: Iterable[Picture]) -> list[Picture]:
    """Mistakes first, then by turns the worst and the best of the others."""
    ranked = sorted(pictures, key=lambda one: -one.row["score"])
    wrong = [one for one in ranked if one.outcome in ("missed", "false alarm")]
    rest = [one for one in ranked if one not in wrong]
    ends = [rest[i // 2] if i % 2 == 0 else rest[-1 - i // 2] for i in range(len(rest))]
    return wrong + ends


def _jpeg(file: Path, title: int = 0) -> bytes:
    """A picture without the lines on top with its title, where the page says it in text."""
    image = read_image(file)
    image = image.crop((0, min(title, image.height - 1), image.width, image.height))
    return packed(image, PICTURE_SIZE)

