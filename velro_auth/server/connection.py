"""One client's connection to a worker. Its socket never blocks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from velro_auth.server.request_parser import ParserSettings, RequestParser

if TYPE_CHECKING:
    from velro_auth.server.deadlines import DeadlineQueue

#: One read of the socket. More than the head or the login of any honest client.
READ_BYTES: Final = 16 * 1024


class Connection:
    """A connection, the bytes that wait on it, and the queue in which it waits.

    Args:
        sock: The connected socket; it is made non-blocking.
        client: The peer's address, as ``accept`` returns it.
        server: Our own, likewise.
        settings: Settings of the parser.

    Attributes:
        inbox: What has arrived and was not read by the parser yet.
        outbox: What has to be sent.
        parser: Reads the current request.
        queue: Where the connection waits; None while its request is answered.
        deadline_s: When the wait in its queue is over.
        is_watched: Whether it is registered with the selector.
        has_ended: The client sends nothing more.
        drained_bytes: What was read and dropped since we closed our side.
        afterwards: Callbacks of the application, to run after the response is sent.
    """

    def __init__(self, sock: socket.socket, client: Any, server: Any, settings: ParserSettings) -> None:
        sock.settimeout(0)
        self.sock = sock
        self.client, self.server = client, server
        self._settings = settings
        self._environ = settings.environ_of(client, server)
        self.inbox, self.outbox = bytearray(), bytearray()
        self.parser = RequestParser(settings, self._environ)
        self.queue: DeadlineQueue | None = None
        self.deadline_s = 0.0
        self.is_watched = False
        self.has_ended = False
        self.drained_bytes = 0
        self.afterwards: list[Callable[[], object]] = []
        self._was_continued = False

    def receive(self) -> None:
        """Read what has arrived, without waiting."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.inbox += data
        self.has_ended = not data

    def flush(self) -> bool:
        """Send the outbox, as far as the system takes it; False when something is left.

        Raises:
            OSError: The client is gone.
        """
        if self.outbox:
            try:
                del self.outbox[: self.sock.send(self.outbox)]
            except BlockingIOError:
                return False
        return not self.outbox

    def send_continue(self) -> None:
        """Send ``100 Continue``, once, to a client that waits for it before it sends the body."""
        if self.parser.wants_continue and not self._was_continued:
            self._was_continued = True
            self.outbox += b"HTTP/1.1 100 Continue\r\n\r\n"
            self.flush()

    def expect_next_request(self) -> None:
        """Prepare for the next request, whose start may be in the inbox already."""
        self.parser = RequestParser(self._settings, self._environ)
        self._was_continued = False

    def half_close(self) -> bool:
        """Tell the client that nothing more comes (FIN); False when it is gone."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True
