"""A synthetic data set to learn from: six categories drawn into the folder layout of MVTec AD.

Real data sets are large and not free to share; these pictures are drawn in seconds, on any
machine, and their masks are known by construction: each defective part is drawn together with its
good twin, and the mask outlines where the two differ.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import InputError, unknown
from ..files import explain_full_disk, partial_folder
from ..images import cores
from ..locks import locked
from ..reading import read_json
from ..replacing import mend, replace_folder
from .objects import draw_board, draw_capsule, draw_gear
from .outlines import outline
from .parts import noise, photograph
from .textures import draw_tiles, draw_weave, draw_wood

# Raised whenever a pixel of a photo or mask changes, so that old drawings are drawn again.
VERSION = 2  # 2: the photos of 1, with masks as a person outlines them
VISIBLE = 6 / 255  # a change of fewer grey levels in every channel is not called a defect


@dataclass(frozen=True)
class SyntheticCategory:
    """What can be drawn: draw(part generator, defect name, flaw generator) -> float picture."""

    name: str
    kind: str
    title: str
    draw: Callable[[np.random.Generator, str, np.random.Generator], np.ndarray]
    defects: tuple[str, ...]


CATEGORIES: dict[str, SyntheticCategory] = {
    category.name: category
    for category in (
        SyntheticCategory(
            "weave", "texture", "woven cloth of blue and natural yarn", draw_weave,
            ("contamination", "cut", "hole", "pulled_thread", "stain")),
        SyntheticCategory(
            "tiles", "texture", "glazed tiles with grout", draw_tiles,
            ("chip", "contamination", "crack", "misplaced", "stain")),
        SyntheticCategory(
            "wood", "texture", "planed pine with sound knots", draw_wood,
            ("contamination", "crack", "hole", "scratch", "stain")),
        SyntheticCategory(
            "gear", "object", "turned steel gear on a dark mat", draw_gear,
            ("bent_tooth", "clogged_hole", "contamination", "missing_tooth", "rust", "scratch")),
        SyntheticCategory(
            "capsule", "object", "two-coloured capsule with an imprint", draw_capsule,
            ("contamination", "crack", "dent", "incomplete_print", "misplaced_print", "scratch")),
        SyntheticCategory(
            "board", "object", "populated circuit board", draw_board,
            ("cut_trace", "misplaced", "missing", "reversed_chip", "scratch", "solder_bridge",
             "wrong_part")),
    )
}


def draw_part(category: str, *, defect: str = "good", split: str = "train", index: int = 0,
              seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """-> image (256, 256, 3) uint8, mask (256, 256) bool (all False for good).

    Each picture has its own seed made of all its names, so it never depends on what else is drawn.
    """
    return draw_twins(category, defect=defect, split=split, index=index, seed=seed)[1:]


def draw_twins(category: str, *, defect: str = "good", split: str = "train", index: int = 0,
               seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> good twin and image, both (256, 256, 3) uint8, and mask (256, 256) bool.

    The twins share part, light and noise; so all that differs is the defect, and a mask of it can
    be made, and tested.
    """
    kind = CATEGORIES[_known(category, CATEGORIES, "category")]
    _known(defect, ("good", *kind.defects), f"defect of {category}")
    _known(split, ("train", "test"), "split")

    def generator(purpose: str) -> np.random.Generator:
        return _generator(seed, category, split, defect, purpose, index)

    def shot(shown: str) -> np.ndarray:
        picture = kind.draw(generator("part"), shown, generator("flaw"))
        return photograph(generator("light"), picture)

    good, grain = shot("good"), noise(generator("noise"))
    twin = _developed(good, grain)
    if defect == "good":
        return twin, twin, np.zeros(twin.shape[:2], bool)
    shown = shot(defect)
    change = (np.abs(shown - good) > VISIBLE).any(axis=0)
    return twin, _developed(shown, grain), outline(change, defect)


def write_category(folder: str | Path, category: str, *, seed: int = 0, train: int = 32,
                   good: int = 16, per_defect: int = 5,
                   progress: Callable[[int, int], None] | None = None) -> Path:
    """Draw a category in MVTec AD layout with synthetic.json, and return its folder.

    `folder` becomes the category's own folder. It is drawn beside its place and renamed at the
    end, so that a half-drawn category is never read as whole; a complete one is left untouched.
    """
    folder = Path(folder)
    wanted = _description(category, seed, train, good, per_defect)
    if _drawn(folder) == wanted:
        return folder
    with locked(folder, patience=math.inf):
        mend(folder)
        if _drawn(folder) != wanted:  # another process may have drawn it meanwhile
            _refuse_foreign(folder)
            _draw_all(folder, wanted, progress)
    return folder


def _draw_all(folder: Path, wanted: dict, progress: Callable[[int, int], None] | None) -> None:
    category, seed = wanted["category"], wanted["seed"]
    jobs = list(_jobs(category, **wanted["counts"]))

    def draw(job: tuple[str, str, int]) -> None:
        split, defect, index = job
        _write_one(partial, category, split, defect, index, seed)

    with (explain_full_disk(f"{folder}: drawing it", "free some space"),
          partial_folder(folder) as partial):
        # NumPy and zlib leave the GIL for most of the time; more threads than cores only fight.
        pool = ThreadPoolExecutor(max_workers=cores())
        try:
            written = pool.map(draw, jobs)
            for done, _ in enumerate(written, start=1):
                if progress:
                    progress(done, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
        (partial / "synthetic.json").write_text(json.dumps(wanted, indent=1) + "\n")
        replace_folder(partial, folder)


def is_complete(folder: str | Path, category: str, *, seed: int = 0, train: int = 32,
                good: int = 16, per_defect: int = 5) -> bool:
    """True if the folder holds exactly this drawing: same version, seed, category and counts."""
    return _drawn(Path(folder)) == _description(category, seed, train, good, per_defect)


def _drawn(folder: Path) -> dict | None:
    """What a folder says was drawn there."""
    try:
        return read_json(folder / "synthetic.json")
    except (OSError, InputError):
        return None


def version_of(folder: Path) -> int | None:
    """Which version of a category lies in a folder; None if it was not drawn here."""
    drawn = _drawn(folder)
    if not isinstance(drawn, dict) or drawn.get("category") not in tuple(CATEGORIES):
        return None
    version = drawn.get("version")
    known = isinstance(version, int) and not isinstance(version, bool) and version > 0
    return version if known else None


def _refuse_foreign(folder: Path) -> None:
    """Real data sets have a `wood` and a `capsule` too: never replace what was not drawn here."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "synthetic.json").exists():
        raise FileExistsError(f"{folder} holds files but no synthetic.json: not replaced")


def _known(name: str, known: Iterable[str], what: str) -> str:
    """Check a name, because a typo should be answered with the right spelling."""
    if name not in known:
        raise unknown(what, name, known)
    return name


def _generator(seed: int, *names: str | int) -> np.random.Generator:
    """A generator of its own for each purpose; crc32, as hash() changes from run to run."""
    words = [name if isinstance(name, int) else zlib.crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *words])


def _developed(picture: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Planes (3, 256, 256) of 0..1 plus noise -> image (256, 256, 3) uint8."""
    grey_levels = np.clip((picture + grain) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(grey_levels.transpose(1, 2, 0))


def _description(category: str, seed: int, train: int, good: int, per_defect: int) -> dict:
    _known(category, CATEGORIES, "category")
    counts = {"train": train, "good": good, "per_defect": per_defect}
    return {"version": VERSION, "seed": seed, "category": category, "counts": counts}


def _jobs(category: str, train: int, good: int, per_defect: int) -> Iterator[tuple[str, str, int]]:
    """All pictures of a category as (split, defect, index)."""
    yield from (("train", "good", index) for index in range(train))
    yield from (("test", "good", index) for index in range(good))
    for defect in CATEGORIES[category].defects:
        yield from (("test", defect, index) for index in range(per_defect))


def _write_one(root: Path, category: str, split: str, defect: str, index: int, seed: int) -> None:
    image, mask = draw_part(category, defect=defect, split=split, index=index, seed=seed)
    _save(image, root / split / defect / f"{index:03d}.png")
    if defect != "good":
        grey = mask.astype(np.uint8) * 255
        _save(grey, root / "ground_truth" / defect / f"{index:03d}_mask.png")


def _save(pixels: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Noise never repeats, so looking for repeats only costs time: Huffman coding alone is smaller.
    Image.fromarray(pixels).save(file, compress_level=1, compress_type=zlib.Z_HUFFMAN_ONLY)
