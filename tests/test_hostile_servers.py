"""Servers that lie: what they send is never taken for the file, and the next mirror is asked."""

import hashlib
from itertools import count

import numpy as np
import pytest
from cases import few
from loopback import serve

from indad.data.download import fetch as fetching
from indad.data.download.fetch import Patience, fetch
from indad.errors import InputError

QUICK = Patience(connect=5, silence=0.5, slowest=1, tries=3, requests=12, backoff=0)
BODY = np.random.default_rng(0).bytes(30_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = BODY[::-1]


def raw(answer: bytes):
    """These bytes, and the line is closed."""
    def behaviour(server, request):
        request.wfile.write(answer)
        request.close_connection = True

    return behaviour


def answer(status: str, *headers: str, body: bytes = b""):
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
    return raw("\r\n".join(lines).encode() + body)


def redirect(location: str):
    return answer("302 Found", f"Location: {location}", "Content-Length: 0")


CHUNK = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
NONSENSE = {
    **{f"length {length!r}": answer("200 OK", f"Content-Length: {length}", body=BODY)
       for length in ("abc", "-5", "1e3", "0x10", "", "9" * 30, "30000, 5")},
    "an empty file": answer("200 OK", "Content-Length: 0"),
    "nothing at all": raw(b""),
    "no HTTP": raw(b"220 welcome to the mail server\r\n"),
    "a status that is none": answer("999 Odd", "Content-Length: 0"),
    "no content": answer("204 No Content"),
    "not modified": answer("304 Not Modified"),
    "a header without an end": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "headers without an end": raw(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000),
    "chunks of no size": answer("200 OK", "Transfer-Encoding: chunked", body=b"zz\r\nx"),
    "more than it should be": answer("200 OK", "Transfer-Encoding: chunked", body=CHUNK * 9),
    "a part, unasked": answer("206 Partial Content", "Content-Range: bytes 5-29999/30000",
                              "Content-Length: 29995", body=BODY[5:]),
    "a redirect to nowhere": answer("302 Found", "Content-Length: 0"),
    "a redirect to a file of this disk": redirect("file:///etc/passwd"),
    "a redirect to half an address": redirect("http://[::1"),
    "a redirect to no port": redirect("http://127.0.0.1:99999999/"),
    "a redirect to itself": redirect("/bad"),
}


@pytest.mark.parametrize("sha256", few([SHA256, None], 1), ids=["checksum", "none"])
@pytest.mark.parametrize("name", NONSENSE)
def test_a_mirror_that_talks_nonsense_is_the_next_ones_turn(server, tmp_path, name, sha256):
    bad, good = server.put("/bad", BODY, *[NONSENSE[name]] * 99), server.put("/good", BODY)
    told = []
    fetch([bad, good], tmp_path / "a", sha256=sha256, size=len(BODY), patience=QUICK,
          note=told.append)
    assert (tmp_path / "a").read_bytes() == BODY
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert len(told) == 1 and told[0].startswith(f"{bad}: ") and len(told[0]) < 200
    assert 1 <= len(server.ranges("/bad")) <= fetching.MOST_REDIRECTS + 1


HOLLOW = {  # what may answer "bytes=1000-" without a byte
    "nothing": answer("206 Partial Content", "Content-Length: 0"),
    "a range of nothing": answer("206 Partial Content", "Content-Range: bytes 1000-999/30000",
                                 "Content-Length: 0"),
    "a range that never comes": answer("206 Partial Content",
                                       "Content-Range: bytes 1000-29999/30000"),
    "a range of zero bytes": answer("206 Partial Content", "Content-Length: 0",
                                    "Content-Range: bytes 1000-29999/30000"),
    "a range beyond the end": answer("206 Partial Content", "Content-Length: 9000",
                                     "Content-Range: bytes 1000-9999/5000", body=b"x" * 9000),
    "the end": answer("416 Range Not Satisfiable", "Content-Range: bytes */1000",
                      "Content-Length: 0"),
    "another end": answer("416 Range Not Satisfiable", "Content-Range: bytes */77",
                          "Content-Length: 0"),
    "no end": answer("416 Range Not Satisfiable", "Content-Length: 0"),
}


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["checksum", "none"])
@pytest.mark.parametrize("name", HOLLOW)
def test_a_length_that_is_a_lie_and_ranges_without_a_byte_end(server, tmp_path, name, sha256):
    url = server.put("/a", BODY, *[behaviour for _ in range(99)
                                   for behaviour in (serve(cut=1000), HOLLOW[name])])
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch([url], tmp_path / "a", sha256=sha256, patience=QUICK)
    assert len(server.requests) <= QUICK.requests
    assert not (tmp_path / "a").exists()


def test_a_server_that_gives_a_byte_at_a_time_is_left_in_the_end(server, tmp_path):
    url = server.put("/a", BODY, *[serve(cut=cut) for cut in range(1, 99)])
    with pytest.raises(InputError, match="not whole after 12 requests"):
        fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert len(server.requests) == 12


def changed(mark: str, body: bytes = OTHER):
    """The rest of another file, whatever If-Range asked for, with a mark of that."""
    def behaviour(server, request):
        asked = request.headers.get("Range")
        start = int(asked[6:-1]) if asked else 0
        answer("206 Partial Content" if asked else "200 OK", mark,
               *([f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"] if asked else []),
               f"Content-Length: {len(body) - start}", body=body[start:])(server, request)

    return behaviour


FIRST = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize("first, then, body", [
    (serve(cut=9000), 'ETag: "v2"', OTHER),
    (answer("200 OK", FIRST, "Content-Length: 30000", body=BODY[:9000]),
     "Last-Modified: Tue, 02 Jan 2024 00:00:00 GMT", OTHER),
    (serve(cut=9000), 'ETag: "v1"', OTHER + b"longer"),
    (serve(cut=9000), "X: no mark at all", OTHER[:-9]),
], ids=["etag", "date", "length", "length alone"])
def test_without_a_checksum_the_first_answer_is_held_to(server, tmp_path, first, then, body):
    url = server.put("/a", BODY, first, *[changed(then, body)] * 9)
    fetch([url], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == body
    assert server.ranges("/a") == [None, "bytes=9000-", None]


def test_without_any_mark_nothing_is_continued(server, tmp_path):
    """Whether it is still the same file, nobody could say."""
    url = server.put("/a", BODY, serve(cut=9000, etag=None), serve(etag=None))
    fetch([url], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges("/a") == [None, None]


def test_a_date_is_asked_for_where_there_is_no_etag(server, tmp_path):
    conditions = []

    def rest(server, request):
        conditions.append(request.headers.get("If-Range"))
        changed(FIRST, BODY)(server, request)

    url = server.put("/a", BODY, answer("200 OK", FIRST, "Content-Length: 30000",
                                        body=BODY[:9000]), rest)
    fetch([url], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert conditions == [FIRST.removeprefix("Last-Modified: ")]


@pytest.mark.parametrize("origin", [b"[" * 100_000, b"[1]", b"\xff", b'{"url": 5, "length": {}}'])
def test_a_damaged_note_beside_a_part_means_to_start_over(server, tmp_path, origin):
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    (tmp_path / "a.part.json").write_bytes(origin)
    fetch([server.put("/a", BODY)], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_body_without_an_end_is_cut_off(server, tmp_path, monkeypatch):
    """With neither length nor checksum."""
    monkeypatch.setattr(fetching, "LARGEST", 100_000)
    sent = count()

    def endless(server, request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while next(sent) < 1000:
            request.wfile.write(CHUNK)

    with pytest.raises(InputError, match="it goes on after 100,000 bytes"):
        fetch([server.put("/a", BODY, endless)], tmp_path / "a", patience=QUICK)
