"""One file over a network that fails in every way a network can, on loopback."""

import errno
import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import gdown
import numpy as np
import pytest
from loopback import PATIENCE, page, serve, stall, status

from indad.data.download import fetch as fetching
from indad.data.download.fetch import Patience, drive_id, fetch
from indad.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]
QUICK = Patience(connect=5, silence=0.3, slowest=1e6, tries=3, backoff=0)
BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def part_of(file):
    return file.with_name(file.name + ".part")


def leave_part(file, content, url, sha256=SHA256, etag='"v1"'):
    """What a killed session leaves behind."""
    part_of(file).write_bytes(content)
    file.with_name(file.name + ".part.json").write_text(
        json.dumps({"url": url, "sha256": sha256, "etag": etag}))


def test_a_download_is_whole_and_reports_progress(server, tmp_path):
    url, seen = server.put("/a.tar", BODY), []
    file = fetch([url], tmp_path / "a.tar", sha256=SHA256, size=len(BODY), patience=QUICK,
                 progress=lambda *step: seen.append(step))
    assert file.read_bytes() == BODY
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]
    assert ("downloading", len(BODY), len(BODY)) in seen
    assert seen[-1] == ("checking", len(BODY), len(BODY))
    assert [done for what, done, _ in seen if what == "downloading"] == sorted(
        done for what, done, _ in seen if what == "downloading")


def test_a_truncated_transfer_is_resumed(server, tmp_path):
    url = server.put("/a", BODY, serve(cut=100_000), serve(cut=200_000))
    assert fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK).read_bytes() == BODY
    assert server.ranges("/a") == [None, "bytes=100000-", "bytes=200000-"]
    assert server.sent == len(BODY)


def test_a_transfer_that_never_ends_whole_is_given_up(server, tmp_path):
    url = server.put("/a", BODY, *[serve(ranges=False, cut=1000)] * 9)
    with pytest.raises(InputError, match="connection lost|cut off"):
        fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert 3 <= len(server.requests) <= 5
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_killed_at_ten_random_points_and_resumed(server, tmp_path):
    """50 MB; each process is killed where the server has sent so many bytes, whatever the time."""
    generator = np.random.default_rng(7)
    body = generator.bytes(50_000_000)
    points = sorted(generator.choice(len(body), 10, replace=False).tolist())
    reached = [threading.Event() for _ in points]
    killed = [threading.Event() for _ in points]

    def hold(number):
        def wait(_):
            reached[number].set()
            killed[number].wait(PATIENCE)
        return wait

    url = server.put("/a", body, *[serve(cut=point, hold=hold(number))
                                   for number, point in enumerate(points)])
    code = ("import sys; from pathlib import Path; from indad.data.download.fetch import fetch; "
            "fetch([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3])")
    words = [sys.executable, "-c", code, url, str(tmp_path / "a"), hashlib.sha256(body).hexdigest()]
    for number in range(len(points)):
        process = subprocess.Popen(words, cwd=REPOSITORY)
        assert reached[number].wait(PATIENCE)
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        assert process.wait(PATIENCE) != 0
        killed[number].set()
        assert not (tmp_path / "a").exists()
    subprocess.run(words, cwd=REPOSITORY, check=True, timeout=60)
    assert (tmp_path / "a").read_bytes() == body
    assert len(server.requests) == 11
    starts = [int(asked[6:-1]) if asked else 0 for asked in server.ranges("/a")]
    assert starts == sorted(starts)
    # What a kill loses is what was under way: socket buffers, not what had been written.
    assert all(point - start < 12_000_000
               for point, start in zip(points, starts[1:], strict=True))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_breaking_more_often_than_there_are_tries_is_fine_while_bytes_come(server, tmp_path):
    url = server.put("/a", BODY, *[serve(cut=40_000 * leg) for leg in range(1, 7)])
    fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(server.requests) == 7 > QUICK.tries


def test_an_answer_to_another_range_than_asked_is_not_used(server, tmp_path):
    url = server.put("/a", BODY, status(206, Content_Range="bytes 0-299999/300000"))
    leave_part(tmp_path / "a", BODY[:1000], url)
    with pytest.raises(InputError, match="resumes at another place than asked"):
        fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert part_of(tmp_path / "a").read_bytes() == BODY[:1000]


@pytest.mark.parametrize("name", ["a", "a[1]"])
@pytest.mark.parametrize("litter", ["0a1b2c3d.partial", "lock"])
def test_litter_of_a_session_killed_at_the_wrong_moment_goes(server, tmp_path, name, litter):
    url = server.put("/a", BODY, serve(cut=1_000))
    with pytest.raises(InputError):
        fetch([url], tmp_path / name, sha256=SHA256, patience=replace(QUICK, requests=1))
    assert (tmp_path / f"{name}.part.json").exists()  # and is not written again
    (tmp_path / f".{name}.part.json.{litter}").write_text("{")
    fetch([url], tmp_path / name, sha256=SHA256, patience=QUICK)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_server_without_range_makes_it_start_over(server, tmp_path):
    url = server.put("/a", BODY, serve(ranges=False))
    leave_part(tmp_path / "a", BODY[:1000], url)
    assert fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK).read_bytes() == BODY
    assert server.ranges("/a") == ["bytes=1000-"]


def test_404_and_then_the_mirror(server, tmp_path):
    dead, alive = server.put("/dead", b"", status(404)), server.put("/alive", BODY)
    told = []
    fetch([dead, alive], tmp_path / "a", sha256=SHA256, patience=QUICK, note=told.append)
    assert (tmp_path / "a").read_bytes() == BODY
    assert told == [f"{dead}: HTTP 404"]
    assert [path for path, _ in server.requests] == ["/dead", "/alive"]  # no retry of a 404


def test_a_mirror_goes_on_where_the_first_one_broke(server, tmp_path):
    first = server.put("/first", BODY, serve(cut=90_000), status(404))
    second = server.put("/second", BODY)
    fetch([first, second], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges("/second") == ["bytes=90000-"]


def test_without_a_checksum_two_addresses_are_never_spliced(server, tmp_path):
    first = server.put("/first", BODY, serve(cut=90_000), status(404))
    second = server.put("/second", BODY[::-1])
    fetch([first, second], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY[::-1]


def test_500_and_then_retry_with_growing_pauses(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    url = server.put("/a", BODY, status(500), status(503, Retry_After="7"), status(502))
    fetch([url], tmp_path / "a", sha256=SHA256, patience=Patience(tries=5, backoff=1))
    assert (tmp_path / "a").read_bytes() == BODY
    assert pauses == [1, 7, 4]


def test_a_server_that_stays_broken_is_given_up(server, tmp_path):
    url = server.put("/a", BODY, *[status(503)] * 9)
    with pytest.raises(InputError, match=r"HTTP 503, 3 times in a row"):
        fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert len(server.requests) == 3


def test_a_web_page_is_not_the_file(server, tmp_path):
    url, mirror = server.put("/a", BODY, page()), server.put("/b", BODY)
    fetch([url, mirror], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_wrong_checksum_deletes_nothing_that_was_there(server, tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    url = server.put("/a", BODY[:-1] + b"x")
    with pytest.raises(InputError, match="wrong checksum"):
        fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert not part_of(tmp_path / "a").exists()
    fetch([url, server.put("/b", BODY)], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_damaged_part_of_an_earlier_session_costs_one_fresh_start(server, tmp_path):
    url = server.put("/a", BODY)
    leave_part(tmp_path / "a", b"\0" * 1000, url)
    fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges("/a") == ["bytes=1000-", None]


def test_a_file_that_changed_meanwhile_comes_whole(server, tmp_path):
    url = server.put("/a", BODY, serve(etag='"v2"'))
    leave_part(tmp_path / "a", b"\0" * 1000, url, sha256=None, etag='"v1"')
    fetch([url], tmp_path / "a", patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("size, requests", [(len(BODY), []), (None, ["bytes=300000-"])])
def test_a_part_that_is_whole_already_is_not_fetched_again(server, tmp_path, size, requests):
    url = server.put("/a", BODY)
    leave_part(tmp_path / "a", BODY, url)
    fetch([url], tmp_path / "a", sha256=SHA256, size=size, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges("/a") == requests


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    url = server.put("/a", BODY)
    leave_part(tmp_path / "a", BODY + b"more", url)
    fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY


def test_an_address_with_another_size_is_left_at_once(server, tmp_path):
    url = server.put("/a", BODY)
    with pytest.raises(InputError, match=r"a file of 300,000 bytes instead of 5"):
        fetch([url], tmp_path / "a", size=5, patience=QUICK)
    assert server.sent < len(BODY) or len(server.requests) == 1


def test_a_server_that_falls_silent_is_resumed(server, tmp_path):
    url = server.put("/a", BODY, stall(after=50_000))
    fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges("/a") == [None, "bytes=50000-"]


def test_a_server_that_only_trickles_counts_as_dead(server, tmp_path):
    url = server.put("/a", BODY, stall(after=1000, trickle=True))
    fetch([url], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert (tmp_path / "a").read_bytes() == BODY
    (start,) = [int(asked[6:-1]) for asked in server.ranges("/a") if asked]
    assert start < 200  # left long before the thousand bytes were through


def test_a_server_that_never_answers(server, tmp_path):
    def silence(server, request):
        server.closing.wait(PATIENCE)

    url = server.put("/a", BODY, *[silence] * 3)
    with pytest.raises(InputError, match=r"no answer within 0.3 s, 3 times"):
        fetch([url], tmp_path / "a", patience=QUICK)


@pytest.mark.parametrize("behaviours", [
    [serve(length=False)],
    [serve(length=False, cut=70_000), serve(length=False)],
])
def test_a_file_of_unknown_length(server, tmp_path, behaviours):
    url, seen = server.put("/a", BODY, *behaviours), []
    fetch([url], tmp_path / "a", patience=QUICK, progress=lambda *step: seen.append(step))
    assert (tmp_path / "a").read_bytes() == BODY


def test_no_network_is_said_at_once(tmp_path, monkeypatch):
    def no_name(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    pauses = []
    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    with pytest.raises(InputError, match="no such host, or no network"):
        fetch(["https://data.example/a"], tmp_path / "a")
    assert pauses == []


@pytest.mark.parametrize("url, reason", [
    ("http://127.0.0.1:9/a", "connection refused"), ("ftp://127.0.0.1/a", "not an address"),
    ("nonsense", "not an address")])
def test_addresses_that_lead_nowhere(url, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        fetch([url], tmp_path / "a", patience=QUICK)


def test_a_full_disk_is_said_before_the_transfer(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 9, 1000))
    with pytest.raises(InputError, match=r"needs 300 kB, but the disk .* has only 1 kB"):
        fetch([server.put("/a", BODY)], tmp_path / "a", patience=QUICK)


def test_a_disk_that_fills_up_meanwhile(server, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    part_of(tmp_path / "a").symlink_to("/dev/full")  # every write: no space left on device
    with pytest.raises(InputError, match="the disk is full; free some space and run again"):
        fetch([server.put("/a", BODY)], tmp_path / "a", patience=QUICK)


def test_other_trouble_with_the_disk_is_not_hidden(server, tmp_path, monkeypatch):
    def broken(*arguments):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(fetching, "_pour", broken)
    with pytest.raises(OSError, match="input/output error"):
        fetch([server.put("/a", BODY)], tmp_path / "a", patience=QUICK)


@pytest.mark.parametrize("url, number", [
    ("https://drive.google.com/file/d/1MX-Rq_c0/view?usp=sharing", "1MX-Rq_c0"),
    ("https://drive.google.com/uc?id=1MX-Rq_c0", "1MX-Rq_c0"),
    ("https://drive.google.com/uc?export=download&id=1MX-Rq_c0", "1MX-Rq_c0"),
    ("https://data.example/file/d/1MX-Rq_c0", None)])
def test_google_drive_links_are_known(url, number):
    assert drive_id(url) == number


def test_google_drive_goes_through_gdown(server, tmp_path, monkeypatch, capsys):
    """gdown itself does the transfer; only the host is ours."""
    address, real, asked = server.put("/a", BODY), gdown.download, []

    def from_loopback(*, id, **options):
        asked.append(id)
        return real(url=address, **options)

    monkeypatch.setattr(gdown, "download", from_loopback)
    link = "https://drive.google.com/file/d/1MXRqc/view"
    # A part from another address must not pass for gdown's own.
    leave_part(tmp_path / "a", BODY[:500], "elsewhere")
    fetch([link], tmp_path / "a", sha256=SHA256, patience=QUICK)
    assert asked == ["1MXRqc"]
    assert (tmp_path / "a").read_bytes() == BODY
    assert capsys.readouterr().err == ""


def test_a_drive_file_that_is_not_shared_leads_to_the_mirror(server, tmp_path, monkeypatch):
    def refused(**options):
        raise RuntimeError("Cannot retrieve the public link of the file.\nYou may need ...")

    monkeypatch.setattr(gdown, "download", refused)
    told = []
    link, mirror = "https://drive.google.com/uc?id=1MXRqc", server.put("/a", BODY)
    fetch([link, mirror], tmp_path / "a", sha256=SHA256, patience=QUICK, note=told.append)
    assert told == [f"{link}: Cannot retrieve the public link of the file."]
