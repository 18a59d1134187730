"""Wrong answers to the exercises of lesson 08, which their checks must refuse."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image


def _faults(folder, *, load=True, usual=None, both=False, by_bytes=False):
    pictures, faults, seen = {}, {}, {}
    for path in sorted(Path(folder).iterdir()):
        try:
            with Image.open(path) as image:
                size = image.size
                if load:
                    image.load()
        except OSError:
            faults[path.name] = "corrupt"
            continue
        try:
            with Image.open(path) as image:
                pixels = path.read_bytes() if by_bytes else image.convert("RGB").tobytes()
        except OSError:
            pixels = path.read_bytes()
        pictures[path.name] = size, pixels
    sizes = [size for size, _ in pictures.values()]
    expected = usual(sizes) if usual else Counter(sizes).most_common(1)[0][0]
    for name, (size, pixels) in pictures.items():
        if size != expected:
            faults[name] = "odd size"
        elif pixels in seen:
            faults[name] = "duplicate"
            if both:
                faults[seen[pixels]] = "duplicate"
        seen.setdefault(pixels, name)
    return faults


def only_opened(folder):
    """Opens files without reading them, so a missing end goes unnoticed."""
    return _faults(folder, load=False)


def first_is_usual(folder):
    """Takes the size of the first file for the usual one."""
    return _faults(folder, usual=lambda sizes: sizes[0])


def both_copies(folder):
    """Reports the earlier of two equal photos as well."""
    return _faults(folder, both=True)


def equal_files(folder):
    """Compares files instead of pixels."""
    return _faults(folder, by_bytes=True)


def no_duplicates(folder):
    """Forgets duplicates."""
    return {name: fault for name, fault in _faults(folder).items() if fault != "duplicate"}


def substring(path, folder):
    """Searches the whole path."""
    return "good" if "good" in str(path) else Path(path).parent.name


def substring_below(path, folder):
    """Searches the part below the folder, but still for a substring."""
    below = Path(path).relative_to(folder)
    return "good" if "good" in str(below) else below.parent.name or "unknown"


def parent_name(path, folder):
    """Takes the name of the parent even if that is the dataset's own folder."""
    return Path(path).parent.name


def first_part(path, folder):
    """Takes the first folder below, which may be a split."""
    below = Path(path).relative_to(folder).parts[:-1]
    return below[0] if below else "unknown"


def lowest_first(names, scores, k):
    """Forgets to turn it round."""
    return [names[i] for i in np.argsort(scores)[:k]]


def sorted_upwards(names, scores, k):
    """The right photos in the wrong order."""
    return [names[i] for i in np.argsort(scores)[-k:]]


def scores_too(names, scores, k):
    """Returns pairs."""
    return sorted(zip(names, scores, strict=True), key=lambda pair: -pair[1])[:k]


def blocks(photos, folds, judge):
    """Folds of neighbours, not of every n-th: with seven photos these have other sizes."""
    size, scores = math.ceil(len(photos) / folds), []
    for first in range(0, len(photos), size):
        some = photos[first:first + size]
        scores += judge([photo for photo in photos if photo not in some], some)
    return scores


def has_seen_all(photos, folds, judge):
    """A bank of all photos judges them."""
    return judge(photos, photos)


def fold_by_fold(photos, folds, judge):
    """Scores in the order of the folds."""
    scores = []
    for fold in range(min(folds, len(photos))):
        others = [photo for i, photo in enumerate(photos) if i % folds != fold]
        scores += judge(others, photos[fold::folds])
    return scores


def one_other_fold(photos, folds, judge):
    """The next fold judges, not all the others."""
    folds, scores = min(folds, len(photos)), [0.0] * len(photos)
    for fold in range(folds):
        scores[fold::folds] = judge(photos[(fold + 1) % folds::folds], photos[fold::folds])
    return scores


def empty_folds(photos, folds, judge):
    """Forgets that there may be more folds than photos."""
    scores = [0.0] * len(photos)
    for fold in range(folds):
        others = [photo for i, photo in enumerate(photos) if i % folds != fold]
        scores[fold::folds] = judge(others, photos[fold::folds])
    return scores


def _bisected(photos, luck, level=0.05):
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        low, high = (rate, high) if luck(rate) > level else (low, rate)
    return low


def _exactly(alarms, photos, rate):
    return math.comb(photos, alarms) * rate ** alarms * (1 - rate) ** (photos - alarms)


def exactly(alarms, photos):
    """The probability of exactly so many alarms."""
    if alarms == photos:
        return 1.0
    peak = alarms / photos
    return max(peak, _bisected(photos, lambda rate: 1 if rate < peak else _exactly(
        alarms, photos, rate)))


def normal(alarms, photos):
    """The normal approximation."""
    rate = alarms / photos
    return min(rate + 1.645 * math.sqrt(rate * (1 - rate) / photos), 1.0)


def rate_seen(alarms, photos):
    """The rate that was seen, as if it were the true one."""
    return alarms / photos


def two_sided(alarms, photos):
    """Half of the risk."""
    if alarms == photos:
        return 1.0
    return _bisected(photos, lambda rate: sum(_exactly(i, photos, rate)
                                              for i in range(alarms + 1)), 0.025)


def never_sure(alarms, photos):
    """Says 0.95 where all raise an alarm."""
    return min(_bisected(photos, lambda rate: sum(_exactly(i, photos, rate)
                                                  for i in range(alarms + 1))), 0.95)


MUTANTS = {
    "08.1": [lowest_first, sorted_upwards, scores_too],
    "08.2": [substring, substring_below, parent_name, first_part],
    "08.3": [only_opened, first_is_usual, both_copies, equal_files, no_duplicates],
    "08.4": [blocks, has_seen_all, fold_by_fold, one_other_fold, empty_folds],
    "08.5": [exactly, normal, rate_seen, two_sided, never_sure],
}
