"""What libraries would do in place of `indad/data/download`: promises they keep, and time.

    pip install pooch httpx
    python tests/benchmarks/fetching.py [--megabytes 200] [--photos 2000] [--output DIR]

Each promise is put to a server on loopback, or to an archive, that breaks it; only what is on the
disk and on the wire afterwards counts, no message. pooch fetches with its retries, httpx streams
into a file with its retries of connections; archives are unpacked by `tarfile`'s data filter and by
`zipfile`. Times are medians of three, in turn. Writes fetching.json and fetching.md. Not part of
the test run.
"""

import argparse
import hashlib
import io
import sys
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import httpx  # noqa: E402
import pooch  # noqa: E402
from loopback import Loopback, page, serve, stall, status  # noqa: E402

from indad.data.download import fetch as fetching  # noqa: E402
from indad.data.download.unpack import unpack  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402

SILENCE = 0.3
BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def ours(url: str, file: Path, sha256: str | None) -> None:
    patience = fetching.Patience(connect=5, silence=SILENCE, slowest=1e6, tries=3, backoff=0)
    fetching.fetch([url], file, sha256=sha256, patience=patience)


def by_pooch(url: str, file: Path, sha256: str | None) -> None:
    pooch.create(file.parent, "", registry={file.name: sha256}, urls={file.name: url},
                 retry_if_failed=3).fetch(
        file.name, downloader=pooch.HTTPDownloader(timeout=SILENCE))


def by_httpx(url: str, file: Path, sha256: str | None) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=3), timeout=SILENCE) as client, \
            client.stream("GET", url, follow_redirects=True) as response, \
            open(file, "wb") as out:
        response.raise_for_status()
        for block in response.iter_raw():
            out.write(block)


FETCHERS = {"indad": ours, "pooch": by_pooch, "httpx": by_httpx}


def asked(fetcher: Callable, *behaviours: Callable, sha256: str | None = SHA256, times: int = 1,
          between: Callable | None = None) -> SimpleNamespace:
    """What is left of asking once, or again after a session that failed: file, bytes, seconds."""
    with Loopback() as server, tempfile.TemporaryDirectory() as folder:
        file, url = Path(folder) / "a", server.put("/a", BODY, *behaviours)
        for i in range(times):
            server.sent, began, failed = 0, time.perf_counter(), False
            try:
                fetcher(url, file, sha256)
            except Exception:  # whatever it says: what counts is on the disk
                failed = True
            if between and i + 1 < times:
                between(server)
        content = file.read_bytes() if file.is_file() else None
        return SimpleNamespace(whole=content == BODY, there=content is not None, failed=failed,
                               sent=server.sent, seconds=time.perf_counter() - began)


def _changed(server: Loopback) -> None:
    server.files["/a"] = BODY[::-1]


TRANSFERS: dict[str, Callable[[Callable], bool]] = {
    "fetches a file": lambda f: asked(f).whole,
    "asks again after a 503": lambda f: asked(f, status(503)).whole,
    "goes on after the line is cut": lambda f: asked(f, serve(cut=200_000)).whole,
    "and fetches no byte twice": lambda f: (
        lambda found: found.whole and found.sent <= len(BODY))(asked(f, serve(cut=200_000))),
    "goes on where an earlier session stopped": lambda f: (
        lambda found: found.whole and found.sent <= 100_000)(
            asked(f, *[serve(cut=200_000)] * 20, times=2,
                  between=lambda server: server.script["/a"].clear())),
    "goes on after silence": lambda f: asked(f, stall(100_000)).whole,
    "leaves a server that trickles": lambda f: asked(
        f, *[stall(500, trickle=True)] * 20).seconds < 5,
    "takes no web page for the file": lambda f: not asked(f, *[page()] * 20, sha256=None).there,
    "takes no part for the whole": lambda f: not asked(
        f, *[serve(cut=200_000)] * 20, sha256=None).there,
    "refuses a wrong checksum": lambda f: not asked(f, sha256="0" * 64).there,
    "sews no two versions together": lambda f: not (
        lambda found: found.there and not found.whole and found.sent < len(BODY))(
            asked(f, *[serve(cut=200_000)] * 20, serve(etag='"v2"'), sha256=None, times=2,
                  between=_changed)),
}


def by_libraries(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            zipped.extractall(folder)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")


UNPACKERS: dict[str, Callable] = {"indad": unpack, "libraries": by_libraries}


def tar_of(*members: tuple[str, bytes | dict], mode: str = "w") -> bytes:
    """Members: (name, content), or (name, attributes of the header)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            for key, value in (content.items() if isinstance(content, dict) else ()):
                setattr(member, key, value)
            if isinstance(content, bytes):
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def zip_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return out.getvalue()


def unpacked(unpacker: Callable, content: bytes) -> SimpleNamespace:
    with tempfile.TemporaryDirectory() as temporary:
        folder, archive = Path(temporary) / "in" / "side", Path(temporary) / "archive"
        folder.mkdir(parents=True)
        archive.write_bytes(content)
        failed = False
        tracemalloc.start()
        try:
            unpacker(archive, folder)
        except Exception:
            failed = True
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        inside = [entry for entry in folder.rglob("*") if not entry.is_dir()]
        return SimpleNamespace(
            failed=failed, memory=memory, links=any(entry.is_symlink() for entry in inside),
            files={entry.relative_to(folder).as_posix(): entry.read_bytes()[:100]
                   for entry in inside if entry.is_file()},
            escaped=any(entry not in (archive, folder.parent) and folder not in entry.parents
                        and entry != folder for entry in Path(temporary).rglob("*")),
            size=sum(entry.stat().st_size for entry in inside if entry.is_file()))


PHOTO = ("good/1.png", b"photo")
BIG = 64 << 20
ARCHIVES: dict[str, Callable[[Callable], bool]] = {
    "unpacks tar and zip": lambda u: (
        unpacked(u, tar_of(PHOTO)).files == unpacked(u, zip_of(**dict([PHOTO]))).files
        == {PHOTO[0]: PHOTO[1]}),
    "writes nothing outside": lambda u: not any(unpacked(u, content).escaped for content in (
        tar_of(("../a", b"")), zip_of(**{"../a": b""}), tar_of(
            ("l", dict(type=tarfile.SYMTYPE, linkname="..")), ("l/a", b"")))),
    "refuses what would lie outside": lambda u: all(unpacked(u, content).failed for content in (
        tar_of(("../a", b"")), tar_of(("/a", b"")), zip_of(**{"../a": b""}))),
    "makes no device": lambda u: unpacked(u, tar_of(("d", dict(type=tarfile.FIFOTYPE)))).failed,
    "makes no link": lambda u: not unpacked(u, tar_of(
        PHOTO, ("l", dict(type=tarfile.SYMTYPE, linkname=PHOTO[0])))).links,
    "refuses names that Windows takes otherwise": lambda u: unpacked(
        u, tar_of(("a:b", b""), ("c\\d", b""))).failed,
    "refuses two members of one name": lambda u: unpacked(u, tar_of(PHOTO, PHOTO)).failed,
    "stops a bomb (tar.gz)": lambda u: unpacked(
        u, tar_of(("a", bytes(2 * BIG)), mode="w:gz")).size < 2 * BIG,
    "stops a bomb (zip)": lambda u: unpacked(u, zip_of(a=bytes(2 * BIG))).size < 2 * BIG,
    "holds no header of 64 MB": lambda u: unpacked(
        u, tar_of(("a", dict(pax_headers={"comment": "x" * BIG})), mode="w:gz")).memory < BIG // 2,
}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fetch_times(megabytes: int) -> dict[str, float]:
    body = np.random.default_rng(0).bytes(megabytes * 1_000_000)
    sha256 = hashlib.sha256(body).hexdigest()
    found: dict[str, list[float]] = {name: [] for name in FETCHERS}
    for _ in range(3):
        for name, fetcher in FETCHERS.items():
            with Loopback() as server, tempfile.TemporaryDirectory() as folder:
                url, file = server.put("/a", body), Path(folder) / "a"
                found[name].append(seconds(lambda f=fetcher, u=url, p=file: f(u, p, sha256)))
    return {name: median(each) for name, each in found.items()}


def unpack_times(photos: int) -> dict[str, float]:
    content = np.random.default_rng(0).bytes(50_000)
    members = [(f"good/{i}.png", content) for i in range(photos)]
    found: dict[str, list[float]] = {}
    for kind, made in (("tar", tar_of(*members)), ("zip", zip_of(**dict(members)))):
        for _ in range(3):
            for name, unpacker in UNPACKERS.items():
                with tempfile.TemporaryDirectory() as folder:
                    archive = Path(folder) / "archive"
                    archive.write_bytes(made)
                    (Path(folder) / "in").mkdir()
                    found.setdefault(f"{kind}, {name}", []).append(seconds(
                        lambda u=unpacker, a=archive: u(a, a.parent / "in")))
    return {name: median(each) for name, each in found.items()}


def table(promises: dict[str, dict[str, bool]]) -> list[str]:
    names = list(next(iter(promises.values())))
    return [f"| | {' | '.join(names)} |", f"|---{'|---' * len(names)}|",
            *(f"| {what} | {' | '.join('yes' if kept else '**no**' for kept in row.values())} |"
              for what, row in promises.items()), ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    pooch.get_logger().setLevel("CRITICAL")
    wait, time.sleep = time.sleep, lambda seconds: wait(0.01)  # pauses between tries
    transfers = {what: {name: kept(one) for name, one in FETCHERS.items()}
                 for what, kept in TRANSFERS.items()}
    archives = {what: {name: kept(one) for name, one in UNPACKERS.items()}
                for what, kept in ARCHIVES.items()}
    time.sleep = wait
    times = {f"fetch {options.megabytes} MB": fetch_times(options.megabytes),
             f"unpack {options.photos:,} photos of 50 kB": unpack_times(options.photos)}
    versions = {"pooch": pooch.__version__, "httpx": httpx.__version__,
                "python": sys.version.split()[0]}
    lines = [*table(transfers), *table(archives),
             *(f"{what}: " + ", ".join(f"{name} {s:.2f} s" for name, s in row.items()) + "."
               for what, row in times.items()), "",
             ", ".join(f"{name} {version}" for name, version in versions.items()) + "."]
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "fetching.json", {
        "transfers": transfers, "archives": archives, "seconds": times, "versions": versions})
    write_text(options.output / "fetching.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
