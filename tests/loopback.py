"""A web server of the tests' own, on loopback, that misbehaves exactly as told."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 20.0  # seconds that any wait in here may take before the test fails


class Loopback:
    """Serves `files`; `script[path]` is a list of behaviours for the next requests of a path."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.script: dict[str, list[Callable]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []  # path and Range header
        self.sent = 0  # bytes of bodies
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                behaviours = outer.script[self.path]
                behaviour = behaviours.pop(0) if behaviours else serve()
                try:
                    behaviour(outer, self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # Lines are dropped on purpose.
        self.server.handle_error = (  # type: ignore[method-assign]
            lambda request, client_address: None)
        self.thread = threading.Thread(target=self.server.serve_forever,
                                       kwargs={"poll_interval": 0.02}, daemon=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"

    def put(self, path: str, body: bytes, *behaviours: Callable) -> str:
        """Have a file there, and behave so for the first requests; -> its address."""
        self.files[path] = body
        self.script[path] = list(behaviours)
        return self.url(path)

    def ranges(self, path: str) -> list[str | None]:
        return [asked for requested, asked in self.requests if requested == path]

    def __enter__(self) -> "Loopback":
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE)


def serve(*, ranges: bool = True, cut: int | None = None, etag: str | None = '"v1"',
          length: bool = True, hold: Callable[[Loopback], None] | None = None) -> Callable:
    """The file, with Range and If-Range; or without them; or only up to byte `cut` of it.

    At the cut the server drops the line; with `hold` it first calls that.
    """
    def behaviour(server: Loopback, request: BaseHTTPRequestHandler) -> None:
        body, start = server.files[request.path], 0
        asked = re.match(r"bytes=(\d+)-$", request.headers.get("Range") or "")
        condition = request.headers.get("If-Range")
        if ranges and asked and condition in (None, etag):
            start = int(asked[1])
            if start >= len(body):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(body)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        if etag:
            request.send_header("ETag", etag)
        request.send_header("Content-Type", "application/octet-stream")
        if length:
            request.send_header("Content-Length", str(len(body) - start))
        else:
            request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        end = len(body) if cut is None else max(cut, start)
        for first in range(start, end, 1 << 16):
            block = body[first:min(first + (1 << 16), end)]
            server.sent += len(block)  # first: who has read it may look at the count at once
            request.wfile.write(block if length else b"%x\r\n%s\r\n" % (len(block), block))
        if hold:
            request.wfile.flush()
            hold(server)
        if cut is not None:
            request.close_connection = True
            request.connection.close()
        elif not length:
            request.wfile.write(b"0\r\n\r\n")

    return behaviour


def status(code: int, **headers: str) -> Callable:
    """An answer without a file."""
    def behaviour(server: Loopback, request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return behaviour


def page(text: str = "<html>this share has expired</html>") -> Callable:
    """What a dead share says: 200, and a web page."""
    def behaviour(server: Loopback, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/html; charset=utf-8")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    return behaviour


def stall(after: int, *, trickle: bool = False) -> Callable:
    """The first bytes, then silence; or a byte now and then."""
    def hold(server: Loopback) -> None:
        server.closing.wait(PATIENCE)

    def behaviour(server: Loopback, request: BaseHTTPRequestHandler) -> None:
        if not trickle:
            return serve(cut=after, hold=hold)(server, request)
        body = server.files[request.path]
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        for position in range(after):
            request.wfile.write(body[position:position + 1])
            request.wfile.flush()
            if server.closing.wait(0.02):
                break
        return None

    return behaviour
