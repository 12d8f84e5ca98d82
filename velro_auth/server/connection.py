"""One client's connection to a worker, with what gunicorn's ``ThreadWorker`` expects of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.http import get_parser

from velro_auth.server.buffered_connection import BufferedConnection
from velro_auth.server.deadlines import Place
from velro_auth.server.framing import Arrival
from velro_auth.server.plain_parser import Parser, Reader


class Connection:
    """A connection and where it waits.

    Attributes:
        sock: The channel; gunicorn calls it by this name.
        place: Where it waits; None while somebody works on it.
        ends_s: When the wait in its place is over.
        is_watched: Whether it is in the selector.
        is_open: Whether its request counts against the share of threads that may wait for a body.
        has_to_close: Whether its answer is the last one, because the body of its request is not read.
        was_continued: Whether the client was told to send the body.
        afterwards: What the application wants to be done when its answer has left.
    """

    def __init__(self, cfg: Any, sock: Any, client: Any, server: Any, reader: Reader) -> None:
        self.sock = BufferedConnection(sock)
        self.client = client
        self.server = server
        self.parser = Parser(get_parser(cfg, self.sock, client), reader, client, server, self.sock.inbox)
        self.arrival = Arrival(self.sock.inbox)
        self.afterwards: list[Callable[[], object]] = []
        self.place: Place | None = None
        self.ends_s = 0.0
        self.is_watched = False
        self.is_open = False
        self.has_to_close = False
        self.was_continued = False
        self.drained_bytes = 0

    def tell_to_continue(self) -> None:
        """Tell a client that waits for it to send its body, once."""
        if self.arrival.wants_continue and not self.was_continued:
            self.was_continued = True
            self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def turn_over(self) -> None:
        """Get ready for the next request, of which the parser may have read the start."""
        self.sock.inbox[:0] = self.parser.unreader.take_buffered()
        self.arrival = Arrival(self.sock.inbox)
        self.was_continued = False
