"""ELPV's photos of solar cells: what their labels say, and which module each cell is part of.

Photos are numbered module by module: datasets/README.md says how that was seen.
"""

import re
from bisect import bisect
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

KINDS = ("mono", "poly")
ALL = "_all"  # behind a kind: the test set also holds what the experts were not sure of
GOOD = 0.0  # of the probabilities that a cell is defective; what the four of them are taken for:
SURE_TYPES = {GOOD: "good", 1.0: "defective"}
DEFECT_TYPES = {GOOD: "good", 1 / 3: "good", 2 / 3: "perhaps_defective", 1.0: "defective"}
# The first photo of each of the 44 modules. They have 60 cells, but for four: 54 from photo 1201
# on, 50 from 1735 (the rest of that module was left out), 72 from 2145 and 48 from 2397.
FIRST_OF_MODULE = (*range(1, 1202, 60), *range(1255, 1736, 60), *range(1785, 2146, 60),
                   *range(2217, 2398, 60), *range(2445, 2566, 60))
# One module was photographed twice: cells 1735 to 1784 are also cells 2277 to 2326.
FIRST_TIME, SECOND_TIME = range(1735, 1785), range(2277, 2327)
MEND = "install it again: pip install --force-reinstall --no-deps elpv-dataset"


@dataclass(frozen=True)
class Cell:
    """A photo of one solar cell, and a line of labels.csv."""

    path: Path
    number: int
    probability: float  # that it is defective, one of `DEFECT_TYPES`
    kind: str  # of silicon, one of `KINDS`

    @property
    def first_photo(self) -> int:
        """The number of the first photo of the same cell."""
        if self.number in SECOND_TIME:
            return FIRST_TIME[SECOND_TIME.index(self.number)]
        return self.number

    @property
    def module(self) -> int:
        """The number of the first photo of the same module."""
        first = FIRST_OF_MODULE[bisect(FIRST_OF_MODULE, self.number) - 1]
        return FIRST_TIME[0] if first == SECOND_TIME[0] else first


def is_elpv(folder: Path) -> bool:
    return (folder / "labels.csv").is_file() and any((folder / "images").glob("cell*.png"))


def read_cells(folder: Path) -> list[Cell]:
    """All cells in the order of labels.csv; raises `InputError` for a folder that is not whole."""
    file, images = folder / "labels.csv", folder / "images"
    for place in (file, images):
        if not place.exists():
            raise InputError(f"{place} is missing; {MEND}")
    here = {entry.name for entry in images.iterdir()}
    cells = []
    for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), start=1):
        try:
            cell = _cell(folder, line)
            if cell.path.name not in here:
                raise ValueError(f"{cell.path} is missing")
        except ValueError as error:
            raise InputError(f"{file}, line {number}: {error}; {MEND}") from error
        cells.append(cell)
    return cells


def _cell(folder: Path, line: str) -> Cell:
    """One line, like `images/cell0001.png  1.0                 mono`; raises `ValueError`."""
    words = line.split()
    name = re.fullmatch(r"images/cell(\d+)\.png", words[0]) if len(words) == 3 else None
    if name is None:
        raise ValueError(f"{line!r} is not a name like images/cell0001.png, a probability and a "
                         "kind")
    probability = next((one for one in DEFECT_TYPES if f"{one:.3f}" == f"{float(words[1]):.3f}"),
                       None)
    if probability is None:
        raise ValueError(f"the probability is {words[1]}, none of 0, 1/3, 2/3 and 1")
    if words[2] not in KINDS:
        raise ValueError(f"the kind is {words[2]!r}, neither {' nor '.join(KINDS)}")
    return Cell(folder / words[0], int(name[1]), probability, words[2])
