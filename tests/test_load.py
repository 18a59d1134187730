"""Slow clients hold up nobody: deadlines, scarce connections, and the load test for two seconds."""

import socket
import sys
import threading
from pathlib import Path

import pytest

from indad import PatchCore, load_dataset
from indad.deploy import bench_server, serve

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import load  # noqa: E402

PATIENCE = 30


@pytest.fixture
def answered(monkeypatch):
    """A server whose application is called with the path and body; -> its port."""
    import waitress.server

    made, create = [], waitress.server.create_server

    def remembered(*arguments, **options):
        made.append(create(*arguments, **options))
        made[0].adj.asyncore_loop_timeout = 0.02  # seconds between two looks at the clock, else 1
        ready.set()
        return made[0]

    monkeypatch.setattr(waitress.server, "create_server", remembered)
    ready, gate = threading.Event(), threading.Event()

    def app(environ, start_response):
        body = environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/long":
            assert gate.wait(PATIENCE)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    listener = serve.listen(0)
    thread = threading.Thread(target=bench_server.answer_until_stopped, args=(app, listener),
                              kwargs={"threads": 2, "largest": 1000}, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    yield listener.getsockname()[1], gate
    gate.set()
    made[0].close()
    made[0].asyncore.close_all(made[0]._map, ignore_all=True)
    thread.join(PATIENCE)


def connected(port: int, data: bytes) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    line.sendall(data)
    return line


def request(path: str = "/", body: bytes = b"photo", length: int | None = None) -> bytes:
    return (f"POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\n\r\n").encode() + body


def rest(line: socket.socket) -> bytes:
    with line:
        return b"".join(iter(lambda: line.recv(1 << 16), b""))


@pytest.mark.parametrize("start", [
    b"", b"POST", request(length=500), b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
], ids=["nothing", "a word", "half a body", "empty lines", "chunks without an end"])
def test_a_request_that_is_not_whole_in_time_is_cut_off(answered, monkeypatch, start):
    monkeypatch.setattr(bench_server, "DEADLINE", 0.05)
    assert rest(connected(answered[0], start)) == b""


def test_the_time_that_the_server_takes_is_not_the_clients(answered, monkeypatch):
    port, gate = answered
    long = connected(port, request("/long"))
    monkeypatch.setattr(bench_server, "DEADLINE", 0.05)
    assert rest(connected(port, b"")) == b""  # by now the deadline has passed
    gate.set()
    assert rest(long).endswith(b"\r\n\r\nphoto")


def test_where_connections_are_scarce_the_slowest_go_first(answered, monkeypatch):
    port, gate = answered
    monkeypatch.setattr(bench_server, "CONNECTIONS", 4)
    long = connected(port, request("/long"))
    slow = [connected(port, request(length=500)) for _ in range(20)]
    for _ in range(3):
        assert rest(connected(port, request())).endswith(b"\r\n\r\nphoto")
    assert rest(slow[0]) == b""
    gate.set()
    assert rest(long).endswith(b"\r\n\r\nphoto")
    for line in slow[1:]:
        line.close()


def test_a_body_that_is_too_large_is_not_read(answered):
    assert rest(connected(answered[0], request(length=1 << 40))).split()[1] == b"413"


@pytest.mark.slow
def test_the_load_test_loses_nothing(drawn, tmp_path):
    """The whole of it, with its figures, is in results/reference/benchmarks/load.md."""
    train, test = load_dataset(str(drawn), "tiles")
    model = PatchCore(resize=64, device="cpu").fit(train)
    model.save(tmp_path / "tiles")
    photos = [(item.path.read_bytes(), float(score))
              for item, score in zip(test, model.predict(test).scores, strict=True)]
    with load.Server(tmp_path / "tiles") as server:
        found = load.load(server, photos, clients=6, slow=12, duration=2)
    assert (found["lost"], found["reasons"], server.said) == (0, [], "")
    assert found["answers"] >= 6
    assert "| 6 | 12 | 2 |" in load.markdown([found], {})
