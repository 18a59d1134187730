"""A week of parts for one student: drawn and spoiled by a seed, which alone knows the truth.

The course ends with it. Everybody gets another category, other costs, other accidents among the
photos to learn from, and other file names, so that one student's answers are of no use to the next.
"""

import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import InputError
from ..files import complete_folder
from .categories import draw_part

# Defects that one can see, so that looking decides: small ones are for other lessons.
DEFECTS = {"weave": ("contamination", "cut", "hole"), "tiles": ("chip", "contamination", "crack"),
           "capsule": ("contamination", "crack", "dent"),
           "gear": ("missing_tooth", "contamination", "rust")}
LEARN, KNOWN_GOOD, KNOWN_BAD, JUDGED = 28, 4, 8, 20
# Bad parts, copies and unreadable files among the photos to learn from.
ACCIDENTS = ((2, 0, 1), (3, 1, 0), (2, 2, 0), (3, 0, 1), (2, 1, 1), (0, 2, 1), (3, 2, 1))


@dataclass(frozen=True)
class Costs:
    """What a mistake costs, in euros, and the share of parts that are defective."""

    miss: float
    alarm: float
    share: float


@dataclass(frozen=True)
class Week:
    """The truth about a student's photos, by file name.

    Attributes:
        learn: files to learn from, accidents among them: `bad` parts, files `unreadable`, and
            `copies`, sets of files with one picture.
        known: files that an inspector has judged, `judged` those that nobody has: defective or not.
    """

    name: str
    seed: int
    category: str
    costs: Costs
    learn: tuple[str, ...]
    bad: frozenset[str]
    unreadable: frozenset[str]
    copies: tuple[frozenset[str], ...]
    known: dict[str, bool]
    judged: dict[str, bool]


def seed_of(name: str | int) -> int:
    """The seed of a name or number as somebody types it; case and spaces make no difference."""
    text = " ".join(str(name).casefold().split())
    if not text:
        raise InputError("a name or number is needed: your photos are drawn from it")
    return int(text) % 2 ** 32 if text.isdecimal() else zlib.crc32(text.encode())


def week_of(name: str | int) -> Week:
    """What `draw_week` draws for a name, without drawing it."""
    seed = seed_of(name)
    generator = np.random.default_rng([seed, zlib.crc32(b"capstone")])
    category = str(generator.choice(list(DEFECTS)))
    bad, copied, cut = ACCIDENTS[generator.integers(len(ACCIDENTS))]
    numbers = generator.permutation(9000)[:LEARN + copied + KNOWN_GOOD + KNOWN_BAD + JUDGED] + 1000
    files = [f"IMG_{number}.png" for number in numbers.tolist()]
    learn, rest = files[:LEARN + copied], files[LEARN + copied:]
    # Copies come last; two of them may be of one picture, which then is there three times.
    originals = [learn[LEARN // 2 + int(generator.integers(2))] for _ in range(copied)]
    groups: dict[str, set[str]] = {}
    for original, copy in zip(originals, learn[LEARN:], strict=True):
        groups.setdefault(original, {original}).add(copy)
    defective = int(generator.integers(7, 11))
    labels = generator.permutation(np.arange(JUDGED) < defective).tolist()
    known, judged = rest[:KNOWN_GOOD + KNOWN_BAD], rest[KNOWN_GOOD + KNOWN_BAD:]
    return Week(
        " ".join(str(name).split()), seed, category,
        Costs(miss=float(generator.choice([100, 150, 200])),
              alarm=float(generator.choice([2, 4, 5])),
              share=float(generator.choice([0.02, 0.03, 0.04]))),
        tuple(learn), frozenset(learn[:bad]), frozenset(learn[bad:bad + cut]),
        tuple(map(frozenset, groups.values())),
        {file: place >= KNOWN_GOOD for place, file in enumerate(known)},
        dict(zip(judged, labels, strict=True)))


def draw_week(name: str | int, folder: str | Path) -> Path:
    """Draw a student's photos: `learn/good`, `known/good`, `known/defective` and `judge`.

    What lies in `folder` from another name is replaced; the same week is not drawn twice.
    """
    week, folder = week_of(name), Path(folder)
    stamp = f"{week.seed}"
    if (folder / "seed.txt").is_file() and (folder / "seed.txt").read_text() == stamp:
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / "seed.txt").is_file():
        raise InputError(f"{folder} holds other files: give a folder that is empty")
    with complete_folder(folder) as partial:
        _draw(week, partial)
        (partial / "seed.txt").write_text(stamp)
    return folder


def _draw(week: Week, folder: Path) -> None:
    count = 0

    def write(file: str, place: str, defective: bool) -> None:
        nonlocal count
        kinds = DEFECTS[week.category]
        kind = kinds[count % len(kinds)] if defective else "good"
        pixels, _ = draw_part(week.category, defect=kind, split="test", index=count,
                              seed=week.seed)
        (folder / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / place / file, compress_level=1)
        count += 1

    for file in week.learn[:LEARN]:
        write(file, "learn/good", file in week.bad)
    for file, defective in week.known.items():
        write(file, "known/defective" if defective else "known/good", defective)
    for file, defective in week.judged.items():
        write(file, "judge", defective)
    learn = folder / "learn/good"
    for group in week.copies:
        original = next(file for file in week.learn if file in group)
        for file in group - {original}:
            shutil.copy(learn / original, learn / file)
    for file in week.unreadable:
        whole = (learn / file).read_bytes()
        (learn / file).write_bytes(whole[:len(whole) // 2])
