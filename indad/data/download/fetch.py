"""One file from the network to the disk: resumed, retried, verified, from whichever address works.

What arrives lies in `<file>.part` until it is whole and its checksum is right; only then does it
get its name. A transfer that was killed goes on where it stopped.

By hand, on requests: pooch begins again at the first byte, and httpx leaves all of this to us.
"""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn
from urllib.parse import urlsplit

from ...errors import InputError, Progress
from ..files import check_space, explain_full_disk, sha256_of, write_text
from ..locks import locked
from ..reading import read_json
from ..replacing import leftovers_of, remove, replace_file

if TYPE_CHECKING:
    from requests import Response
    from urllib3 import BaseHTTPResponse

BLOCK = 1 << 20
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
LONGEST_WAIT = 60  # seconds, whatever a server asks for
LARGEST = 100 << 30  # bytes, where nobody says how many there are
MOST_REDIRECTS = 10
ORIGIN = ("url", "sha256", "etag", "modified", "length")
FULL = "free some space and run again: what has arrived is kept"


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server: seconds, bytes a second, tries in a row for nothing, and
    requests in all."""

    connect: float = 10.0
    silence: float = 30.0
    slowest: float = 1024.0  # average over `silence`: a trickle is as good as dead
    tries: int = 5
    requests: int = 200
    backoff: float = 1.0  # before the second try; doubles with each further one


class Refused(Exception):
    """This address will not do, whatever we try: go on to the next."""


class Broken(Exception):
    """This try failed; the next may not. `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


def fetch(urls: Sequence[str], file: Path, *, sha256: str | None = None, size: int | None = None,
          patience: Patience | None = None, progress: Progress | None = None,
          note: Callable[[str], None] | None = None) -> Path:
    """Download one file from the first of several addresses that has it.

    Args:
        urls: http, https or Google Drive addresses of the same file, tried in turn.
        sha256: if known, nothing else gets the name `file`. If not, what was begun is continued
            only while the server's length and validator (ETag, or Last-Modified) stay the same.
        size: bytes, if known: an address that has another size is left at once.
        progress: called with (what, bytes done, bytes in all or 0).
        note: called with a line for people when an address fails.

    Raises `InputError` when no address works, saying why for each, or when the disk is full.
    """
    part, patience, reasons = _part_of(file), patience or Patience(), []
    for url in urls:
        try:
            _fetch_from(url, part, sha256, size, patience, progress)
        except Refused as refusal:
            reasons.append(f"{urlsplit(url).hostname or url}: {refusal}")
            if note:
                note(f"{url}: {refusal}")
            continue
        replace_file(part, file)
        _forget_origin(part)
        return file
    raise InputError(f"{file.name} could not be downloaded "
                     f"({'; '.join(dict.fromkeys(reasons))})")


def _fetch_from(url: str, part: Path, sha256: str | None, size: int | None, patience: Patience,
                progress: Progress | None) -> None:
    """Fill `part` from one address, and check it."""
    while True:
        if drive_id(url):
            resumed = False
            _from_drive(url, part, progress)
        else:
            resumed = _from_http(url, part, sha256, size, patience, progress)
        if sha256 is None:
            return
        tell = partial(progress, "checking") if progress else None
        found = sha256_of(part, progress=tell)
        if found == sha256:
            return
        part.unlink()
        _forget_origin(part)
        if not resumed:
            raise Refused(f"wrong checksum: {found[:12]}... instead of {sha256[:12]}...")
        # The first half, from an earlier session, may be what is wrong: once more from the start.


def _from_http(url: str, part: Path, sha256: str | None, size: int | None, patience: Patience,
               progress: Progress | None) -> bool:
    """Try until the file is whole; True if it builds on what an earlier session left."""
    from requests import RequestException, TooManyRedirects
    from urllib3.exceptions import HTTPError

    farthest, failures = _already(part, url, sha256), 0
    resumed = farthest > 0
    for _ in range(patience.requests):
        try:
            _transfer(url, part, sha256, size, patience, progress)
            return resumed
        except InputError:
            raise
        except TooManyRedirects:
            raise Refused("it sends on and on, to other addresses") from None
        except ValueError as error:  # what requests, urllib3 and Python say of absurd addresses
            raise Refused("not an address of a file") from error
        except (Broken, RequestException, HTTPError) as error:
            reason = _reason(error, patience)
            if "no such host" in reason:
                raise Refused(reason) from error
            # A try that brought bytes was not for nothing; but those that came before count once.
            arrived = _size(part)
            failures = 1 if arrived > farthest else failures + 1
            farthest = max(farthest, arrived)
            if failures >= patience.tries:
                raise Refused(f"{reason}, {failures} times in a row") from error
            wait = max(getattr(error, "wait", 0), patience.backoff * 2 ** (failures - 1))
            time.sleep(min(wait, LONGEST_WAIT))
    raise Refused(f"not whole after {patience.requests} requests")


def _transfer(url: str, part: Path, sha256: str | None, size: int | None, patience: Patience,
              progress: Progress | None) -> None:
    """One request: append what is missing, or start over where the server cannot resume."""
    import requests

    have = _already(part, url, sha256)
    if size and have == size:
        return
    # Compression in transit would make byte offsets meaningless.
    headers = {"Accept-Encoding": "identity", "User-Agent": "indad"}
    origin = _read_origin(part)
    if have:
        headers["Range"] = f"bytes={have}-"
        validator = origin["etag"] or origin["modified"]
        if origin["url"] == url and validator:
            headers["If-Range"] = validator  # another file by now comes whole, as a 200
    with requests.Session() as session:
        session.max_redirects = MOST_REDIRECTS
        response = session.get(url, headers=headers, stream=True,
                               timeout=(patience.connect, patience.silence))
        with response:
            if response.status_code == 416:  # nothing after `have`: whole already, or another file
                if response.headers.get("Content-Range") == f"bytes */{have}" \
                        and origin["length"] in (None, have):
                    return
                _start_over(part, "cannot resume there")
            start, total = _check_answer(response, have, size)
            now = {"url": url, "sha256": sha256, "etag": _strong_etag(response),
                   "modified": response.headers.get("Last-Modified"), "length": total or None}
            if start and _differs(origin, now):
                _start_over(part, "another file than before")
            check_space(part.parent, max(total - start, 0), f"downloading {part.stem}", FULL)
            if now != origin:
                write_text(_origin_of(part), json.dumps(now))
            most = size or total or LARGEST
            with explain_full_disk(str(part), FULL), \
                    open(part, "ab" if start else "wb", buffering=0) as out:
                done = _pour(response.raw, out, start, total, most, patience, progress)
    if most < LARGEST and done != most:  # urllib3 tells first, most of the time
        raise Broken(f"cut off after {done:,} of {most:,} bytes")
    if not done:
        raise Broken("it sends an empty file")


def _start_over(part: Path, reason: str) -> NoReturn:
    """Throw away what has arrived, and let the next try begin anew."""
    part.unlink(missing_ok=True)
    raise Broken(reason)


def _differs(origin: dict, now: dict) -> bool:
    """True if an answer is of another file than the one before, as far as both say what they are.

    The marks of two addresses cannot be compared, but their lengths can.
    """
    names = ("etag", "modified", "length") if origin["url"] == now["url"] else ("length",)
    return any(origin[name] and now[name] and origin[name] != now[name] for name in names)


def _check_answer(response: "Response", have: int, size: int | None) -> tuple[int, int]:
    """-> where the body starts in the file, and the file's size (0: the server does not say)."""
    status, headers = response.status_code, response.headers
    if status in TRY_AGAIN:
        asked = headers.get("Retry-After", "")
        raise Broken(f"HTTP {status}", wait=float(asked) if asked.isdecimal() else 0.0)
    if status not in (200, 206):
        raise Refused(f"HTTP {status}")
    if "text/html" in headers.get("Content-Type", ""):
        raise Refused("a web page, where the file should be")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Refused("compressed in transit, although unasked")
    length = _number(headers.get("Content-Length"))
    start, total = 0, length
    if status == 206:
        span = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)",
                            headers.get("Content-Range", ""), re.ASCII)
        start, last = (int(span[1]), int(span[2])) if span else (-1, -1)
        if span is None or start != have:
            raise Refused("resumes at another place than asked")
        total = last + 1 if span[3] == "*" else int(span[3])
        if not start <= last < total or length not in (0, last + 1 - start) \
                or (not length and "Content-Length" in headers):
            raise Refused("its Content-Range and its length contradict each other")
    if size and total and total != size:
        raise Refused(f"a file of {total:,} bytes instead of {size:,}")
    return start, total


def _number(text: str | None) -> int:
    """Of a Content-Length; 0 if there is none."""
    if text is None:
        return 0
    if not re.fullmatch(r"\d{1,18}", text.strip(), re.ASCII):
        raise Refused(f"nonsense: Content-Length is {text[:40]!r}")
    return int(text)


def _pour(source: "BaseHTTPResponse", out: BinaryIO, done: int, total: int, most: int,
          patience: Patience, progress: Progress | None) -> int:
    """Copy until the end; -> bytes of the file by then.

    Raises `Broken` if it only trickles, and `Refused` beyond `most` bytes.
    """
    window_began, window_bytes = time.monotonic(), 0
    # read1 hands over what is there; read would wait for a full block, however slowly it comes.
    while block := source.read1(BLOCK, decode_content=False):
        if done + len(block) > most:
            raise Refused(f"it goes on after {most:,} bytes")
        out.write(block)
        done += len(block)
        window_bytes += len(block)
        if progress:
            progress("downloading", done, total)
        seconds = time.monotonic() - window_began
        if seconds > patience.silence:
            if window_bytes < patience.slowest * seconds:
                raise Broken(f"only {window_bytes:,} bytes in {seconds:.3g} s")
            window_began, window_bytes = time.monotonic(), 0
    return done


def drive_id(url: str) -> str | None:
    """The file's number in a Google Drive link, or None for other addresses."""
    match = re.match(r"https?://(?:drive|docs)\.google\.com/.*?(?:/d/|[?&]id=)([\w-]+)", url)
    return match[1] if match else None


def _from_drive(url: str, part: Path, progress: Progress | None) -> None:
    """Google Drive asks questions about large files that gdown knows how to answer."""
    import gdown

    own = part.with_name(part.name + ".drive")  # gdown takes a file of this name for a whole one
    try:
        gdown.download(id=drive_id(url), output=str(own), quiet=progress is None, resume=True)
    except Exception as error:  # gdown's own and those of whatever it stands on
        raise Refused(str(error).strip().splitlines()[0] if str(error).strip()
                      else type(error).__name__) from error
    if not own.is_file():  # how older versions say no
        raise Refused("Google Drive does not hand it out")
    os.replace(own, part)


def _reason(error: Exception, patience: Patience) -> str:
    """What went wrong, in a few words instead of a library's nested exceptions."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, Broken):
        return text
    if "NameResolution" in text or "getaddrinfo" in text:
        return "no such host, or no network"
    if "Timeout" in name or "timed out" in text:
        return f"no answer within {patience.silence:g} s"
    return "connection refused" if "refused" in text else "connection lost"


def _strong_etag(response: "Response") -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else None


def _already(part: Path, url: str, sha256: str | None) -> int:
    """Bytes in `part` that a transfer from `url` may build on.

    They must come from there, with a mark that the server knows them by, or be of a file with the
    same checksum, which is tested at the end.
    """
    origin = _read_origin(part)
    marked = origin["url"] == url and (origin["etag"] or origin["modified"])
    same = marked or (sha256 is not None and origin["sha256"] == sha256)
    return _size(part) if same else 0


def _read_origin(part: Path) -> dict:
    """Where `part` comes from, and how the server marked it; None for what is not known."""
    try:
        origin = read_json(_origin_of(part))
        found = {name: origin.get(name) for name in ORIGIN}
        if all(isinstance(value, (str, int, type(None))) for value in found.values()):
            return found
    except (OSError, InputError, AttributeError):
        pass
    return dict.fromkeys(ORIGIN)


def _forget_origin(part: Path) -> None:
    """And what sessions that were killed while they wrote it left; at last the turn's own file."""
    with locked(origin := _origin_of(part)):
        for note in (origin, *leftovers_of(origin, "partial")):
            remove(note)


def _part_of(file: Path) -> Path:
    return file.with_name(file.name + ".part")


def _origin_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
