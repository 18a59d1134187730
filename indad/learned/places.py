"""Where a model's photos and its checkpoint lie, as seen from the folder that it is saved in.

So no path of this machine is in a model that leaves it, and what moves together stays together.
"""

import os
from collections.abc import Callable
from pathlib import Path


def seen_from(folder: Path, record: dict) -> dict:
    """The record as it is written: paths relative to the model's folder, and a word that they are.
    """
    def relative(path: str) -> str:
        try:
            return Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:  # on another drive
            return path

    return _with_paths(record, relative) | {"paths": "from this folder"}


def found_from(folder: Path, record: dict) -> dict:
    """The record as it is used: paths that lead there from here. Before, they were as given."""
    if "paths" not in record:
        return record
    return _with_paths(record, lambda path: os.path.normpath(folder / path))


def _with_paths(record: dict, change: Callable[[str], str]) -> dict:
    training, options = record["training"], record["options"]
    files = training.get("files")
    return record | {
        "options": options | {name: change(options[name]) for name in ("weights", "region")
                              if isinstance(options.get(name), str)},
        "training": training | ({} if files is None else {
            "files": [file and change(file) for file in files]})}
