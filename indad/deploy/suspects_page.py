"""What `python -m indad check --suspects` writes: a page to click through, and a table.

    suspects.html    the most suspect photos: the patch, and what comes nearest to it elsewhere
    suspects.csv     all of them
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..data.catalog import credits_of
from ..data.files import (
    check_replaceable,
    check_writable,
    complete_folder,
    explain_full_disk,
    write_scores,
    write_text,
)
from ..data.images import as_rgb
from .html import PAGES, fill, packed
from .pictures import close_up, framed
from .suspects import Seen, Suspect, SuspectList

PAGE, TABLE = "suspects.html", "suspects.csv"
COLUMNS = ("category", "image", "score", "limit", "suspect", "left", "top", "right", "bottom",
           "nearest", "distance")
FEWEST, MOST = 10, 40  # photos of a category in the page; the first tenth, and all suspects
HEIGHT, SIDE = 300, 150


@dataclass(frozen=True)
class Card:
    """A suspect as the page shows it: JPEGs."""

    name: str
    suspect: Suspect
    photo: bytes
    patch: bytes
    others: list[tuple[str, float, bytes]]


def check_free(folder: Path) -> None:
    """Raise `InputError` if the page would replace anything but an earlier one."""
    check_replaceable(folder, {PAGE, TABLE}, "a page of suspects",
                      "choose a new folder with --output", needs=PAGE)
    check_writable(folder.absolute().parent, "--output")


def write_suspects(found: Mapping[str, SuspectList], folder: str | Path) -> Path:
    """Write page and table of each category's photos; returns the page.

    Raises `InputError` for a folder that holds anything else.
    """
    folder = Path(folder)
    check_free(folder)
    cards = {name: [_card(one, photos) for one in photos.photos[:shown(photos)]]
             for name, photos in found.items()}
    text = fill("suspects.html", PAGES / "suspects.js", version=__version__, found=found,
                cards=cards, credits=credits_of(
                    [name for photos in found.values() for name in photos.names]))
    with explain_full_disk(str(folder), "free some space"), complete_folder(folder) as partial:
        write_text(partial / PAGE, text)
        write_scores(partial / TABLE, [row for name, photos in found.items()
                                       for row in _rows(name, photos)], COLUMNS)
    return folder / PAGE


def shown(photos: SuspectList) -> int:
    """How many of a category's photos the page has: a tenth, and all that are suspect."""
    return min(MOST, max(FEWEST, math.ceil(len(photos.photos) / 10), len(photos.beyond)))


def _rows(category: str, photos: SuspectList) -> list[dict]:
    rows = []
    for one in photos.photos:
        nearest = one.others[0]
        corners = dict(zip(("left", "top", "right", "bottom"), map(round, one.box), strict=True))
        rows.append({"category": category, "image": photos.names[one.photo], "score": one.score,
                     "limit": photos.limit, "suspect": "yes" if one.score > photos.limit else "no",
                     **corners, "nearest": photos.names[nearest.photo],
                     "distance": nearest.distance})
    return rows


def _card(one: Suspect, photos: SuspectList) -> Card:
    picture = as_rgb(photos.sources[one.photo])
    return Card(photos.names[one.photo], one,
                packed(framed(picture, one.box, HEIGHT), (4 * HEIGHT, HEIGHT)),
                packed(close_up(picture, one.box, HEIGHT), (HEIGHT, HEIGHT)),
                [(photos.names[other.photo], other.distance, _crop(other, photos))
                 for other in one.others[:6]])


def _crop(other: Seen, photos: SuspectList) -> bytes:
    return packed(close_up(as_rgb(photos.sources[other.photo]), other.box, SIDE), (SIDE, SIDE))
