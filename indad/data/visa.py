"""VisA's splits, as the files that come with its photos have them.

Y. Zou, J. Jeong, L. Pemula, D. Zhang, O. Dabeer, "SPot-the-Difference Self-Supervised Pre-training
for Anomaly Detection and Segmentation", ECCV 2022: "paper" is its one-class setup. In its two-class
setups some photos with defects train as well, a fifth of all photos with few shots and three fifths
with many; here only the good ones among them do, and the test photos are those of the setup. So a
number of a two-class setup stands beside methods that have seen defects.
"""

import csv
from pathlib import Path

from ..errors import InputError

SPLIT_FILES = {"paper": "1cls.csv", "2cls_fewshot": "2cls_fewshot.csv",
               "2cls_highshot": "2cls_highshot.csv"}
COLUMNS = ("object", "split", "label", "image", "mask")


def is_visa(folder: Path) -> bool:
    return (folder / "split_csv" / SPLIT_FILES["paper"]).is_file()


def read_rows(folder: Path, split: str = "paper") -> list[dict[str, str]]:
    """The rows of a split's file; raises `InputError` for one that is not there, or no such table.
    """
    file = folder / "split_csv" / SPLIT_FILES.get(split, SPLIT_FILES["paper"])
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:  # Excel begins with a mark
            rows = list(csv.DictReader(lines))
    except FileNotFoundError as error:
        raise InputError(f"{file}: the split {split} needs this file, which comes with the photos; "
                         "get them anew, or take split paper") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: is no table of commas in UTF-8 ({error}); get it anew, or save "
                         "it as \"CSV UTF-8\"") from error
    for line, row in enumerate(rows or [{}], 2):
        if missing := [name for name in COLUMNS if row.get(name) is None]:
            raise InputError(f"{file}, line {line}: the columns {', '.join(missing)} are missing")
    return rows
