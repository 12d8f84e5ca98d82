"""One client's connection to a worker, with what gunicorn's ``ThreadWorker.handle`` expects of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.http import get_parser

from velro_auth.worker_channel import Channel
from velro_auth.worker_intake import Arrival
from velro_auth.worker_plain import Parser, Reader


class Connection:
    """A connection and where it waits.

    Attributes:
        sock: The channel; gunicorn calls it by this name.
        place: Where it waits: one of the worker's dictionaries, or None while somebody works on it.
        ends_s: When the wait in its place is over.
        is_watched: Whether it is in the selector.
        is_open: Whether its request counts against the share of threads that may wait for a body.
        afterwards: What the application wants to be done when its answer has left.
    """

    # gunicorn's: nothing to initialize, and there is data.
    initialized = data_ready = True
    is_http2 = False

    def __init__(self, cfg: Any, sock: Any, client: Any, server: Any, reader: Reader) -> None:
        self.sock = Channel(sock)
        self.client = client
        self.server = server
        self.parser = Parser(get_parser(cfg, self.sock, client), reader, client, server)
        self.arrival = Arrival(self.sock.inbox)
        self.afterwards: list[Callable[[], object]] = []
        self.place: dict[Connection, None] | None = None
        self.ends_s = 0.0
        self.is_watched = False
        self.is_open = False
        self.drained_bytes = 0

    def init(self) -> None:
        """Do nothing; gunicorn would wrap the socket here."""

    def turn_over(self) -> None:
        """Get ready for the next request, of which the parser may have read the start."""
        self.sock.inbox[:0] = self.parser.unreader.take_buffered()
        self.arrival = Arrival(self.sock.inbox)
