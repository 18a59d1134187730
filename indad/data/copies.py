"""Photos that are there twice: the same file, which is dropped, and nearly the same, which is told.

A copy among the good photos is judged by a bank that knows it: its score is zero, and it pulls the
threshold down. A copy of a training photo in the test makes results too good.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..errors import InputError
from .datasets import ImageSet
from .images import as_rgb, digest_of, path_of, readers
from .left_out import Remark, tell
from .near_duplicates import alike, fine_detail

MOST_COMPARED = 1000  # photos; all pairs of more would take longer than learning them


def digests_of(sources: Iterable) -> list[str | None]:
    """SHA-256 in hex of each image's file, or pixels; None of what cannot be read.

    Whether they can be read is tried where two are equal: empty files are no copies of a photo.
    """
    sources = list(sources)
    digests = [_digest(source) for source in sources]
    counts = Counter(digests)
    unreadable = {digest for digest, source in dict(zip(digests, sources, strict=True)).items()
                  if counts[digest] > 1 and not _is_readable(source)}
    return [None if digest in unreadable else digest for digest in digests]


def _digest(source: object) -> str | None:
    try:
        return digest_of(source).hex()
    except (ValueError, OSError):  # told where it is read
        return None


def _is_readable(source: object) -> bool:
    try:
        as_rgb(source)
    except InputError:
        return False
    return True


def first_of_each(digests: Sequence[str | None], known: Iterable[str] = (),
                  ) -> tuple[list[int], dict[int, int | None]]:
    """-> positions to keep, and of each copy that of its original: None if that is `known`."""
    first: dict[str | None, int | None] = dict.fromkeys(known)
    kept, copies = [], {}
    for position, digest in enumerate(digests):
        if digest is not None and digest in first:
            copies[position] = first[digest]
        else:
            first[digest] = position
            kept.append(position)
    return kept, copies


def tell_copies(copies: Mapping[int, int | None], sources: Sequence) -> None:
    """Warn that copies among the sources, by `first_of_each`, are left out."""
    if copies:
        position, original = next(iter(copies.items()))
        name = _called(sources[position], position)
        whose = ("is the same as one that was learned before" if original is None
                 else f"is the same as {_called(sources[original], original)}")
        if original is not None and whose.endswith(f" {name}"):
            whose = "is given twice"
        some = "is a copy" if len(copies) == 1 else "are copies"
        tell([Remark("copies", f"{len(copies)} of {len(sources)} photos {some} and left out: "
                     f"{name} {whose}"
                     f"{', ...' * (len(copies) > 1)}")])


def _called(source: object, position: int) -> str:
    return path_of(source) or f"number {position}"


def without_copies(train: ImageSet, test: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Both sets less the copies in them; what is in both stays in the training set only."""
    items = [*train, *test]
    kept, copies = first_of_each(digests_of(items))
    if not copies:
        return train, test
    tell_copies(copies, items)
    return (train.replaced([items[i] for i in kept if i < len(train)]),
            test.replaced([items[i] for i in kept if i >= len(train)]))


def tell_near_copies(learned: Sequence, tested: Sequence = (), groups: Sequence | None = None,
                     ) -> None:
    """Warn of photos that are nearly the same: among those learned, and of these in the test.

    Args:
        learned, tested: what `images.as_rgb` reads; at most `MOST_COMPARED` are looked at.
        groups: of the learned ones; photos of one group may be alike, and are judged as one.
    """
    learned, groups = _once(learned, groups)
    some = [*learned[:MOST_COMPARED - min(len(tested), MOST_COMPARED // 2)]]
    others = [*tested[:MOST_COMPARED - len(some)]]
    with ThreadPoolExecutor(readers()) as pool:
        details = list(pool.map(_detail, [*some, *others]))
    among, across = [], []
    for i, j, _ in alike(np.stack(details)) if details else ():
        if j >= len(some) > i:
            across.append((some[i], others[j - len(some)]))
        elif j < len(some) and (groups is None or groups[i] != groups[j]):
            among.append((some[i], some[j]))
    for pairs, meaning in ((among, "each is judged by a model that knows the other, which lowers "
                                   "the threshold"),
                           (across, "one was learned and the other is tested, which makes results "
                                    "too good")):
        if pairs:
            first, second = (path_of(one) or "an image" for one in pairs[0])
            tell([Remark("near_copies", f"{len(pairs)} pair{'s' * (len(pairs) != 1)} of photos "
                         f"nearly the same: {meaning} ({first} and {second}"
                         f"{', ...' * (len(pairs) > 1)}; python -m indad check lists them)")])


def _once(sources: Sequence, groups: Sequence | None) -> tuple[list, Sequence | None]:
    """Without copies by digest, which are told when they are dropped."""
    kept, _ = first_of_each(digests_of(sources))
    return [sources[i] for i in kept], None if groups is None else [groups[i] for i in kept]


def _detail(source: object) -> np.ndarray:
    try:
        return fine_detail(as_rgb(source))
    except InputError:  # told where it is read
        return np.zeros(64 * 64, np.float32)


def still_there(files: Iterable[str | None] | None) -> list[str]:
    """Of the files that a model learned from, those that lie where they lay."""
    return [file for file in files or () if file and Path(file).is_file()]
