"""A web server in which slow clients hold up nobody but themselves.

Whole requests only come to the application: until the last byte is there, a client costs a
connection and a file, and no thread. It has so many seconds to send it, or to take the answer; and
where connections get scarce, whoever has dawdled longest goes first.
"""

import logging
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

DEADLINE = 30.0  # seconds for a request, for an answer, and for a connection with neither
CONNECTIONS = 64


def answer_until_stopped(app: "Flask", listener: socket.socket, *, threads: int,
                         largest: int) -> None:
    """Answer until Ctrl-C.

    Args:
        threads: requests at work at the same time; others wait for their turn.
        largest: bytes of a body, above which it is not read.
    """
    from waitress.channel import HTTPChannel
    from waitress.server import create_server

    class Channel(HTTPChannel):
        """A connection, which the server asks in every round whether it wants to read."""

        def __init__(self, server: Any, *arguments: Any, **options: Any):
            self.began, self.idle = time.monotonic(), True
            super().__init__(server, *arguments, **options)
            waiting = [one for one in server.active_channels.values() if not one.requests]
            if len(server.active_channels) > CONNECTIONS and waiting:
                min(waiting, key=lambda one: one.began).will_close = True

        def received(self, data: bytes) -> bool:
            if self.idle:
                self.began, self.idle = time.monotonic(), False
            return super().received(data)

        def readable(self) -> bool:
            now = time.monotonic()
            if self.requests:  # the time that the server takes is not the client's
                self.began, self.idle = now, True
            elif now - self.began > DEADLINE:
                self.will_close = True
            return super().readable()

    logging.getLogger("waitress").setLevel(logging.ERROR)  # who waits is told by waiting
    server = create_server(app, sockets=[listener], threads=threads, ident="indad",
                           max_request_body_size=largest, max_request_header_size=16 << 10,
                           connection_limit=2 * CONNECTIONS, log_socket_errors=False)
    server.channel_class = Channel
    try:
        server.run()
    finally:
        server.close()
