"""Wrong answers to the exercises of lesson 08, which their checks must refuse."""

from collections import Counter
from pathlib import Path

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


MUTANTS = {
    "08.1": [only_opened, first_is_usual, both_copies, equal_files, no_duplicates],
    "08.2": [substring, substring_below, parent_name, first_part],
}
