"""A threaded HTTP/1.1 server that can also misbehave: slow bytes, resets, silent ends.

A thread per connection, so that hundreds of idle or hanging clients do not stand in each other's way.
"""

from __future__ import annotations

import contextlib
import http.server
import logging
import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

from werkzeug.datastructures import Headers

from supabase_standin.faultkinds import Vanish
from supabase_standin.faults import Faults
from supabase_standin.wire import Answer, Received, RequestLog

log = logging.getLogger(__name__)

#: More than the 1 MiB the services take, so that they can say so themselves.
MAX_READ_BYTES: Final = 8 * 1024 * 1024
LINE_LIMIT: Final = 65536


class Server:
    """Listens, and gives every request to *answer*, through the faults.

    Args:
        host: The address.
        port: The port, 0 for any free one.
        answer: What answers a request.
        control: What answers a request about the stand-in itself, None for others; no fault meets those.
        faults: What goes wrong on purpose.
        requests: Where requests are noted.
        idle_close_s: Close connections that were idle for so long; None never does.
        max_requests: Close a connection after so many answers; None never does.

    Raises:
        OSError: The port is taken, or the address is not of this machine.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        answer: Callable[[Received], Answer],
        control: Callable[[Received], Answer | None],
        faults: Faults,
        requests: RequestLog,
        idle_close_s: float | None = None,
        max_requests: int | None = None,
    ) -> None:
        self.answer = answer
        self.control = control
        self.faults = faults
        self.requests = requests
        self.idle_close_s = idle_close_s
        self.max_requests = max_requests
        self.is_stopping = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = _Listener((host, port), family, self)
        self._thread = threading.Thread(target=self._listen, name="standin-listener", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.server_address[1]
        return port

    def start(self) -> None:
        """Take connections from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections and end those there are, also those that hang on purpose."""
        self.is_stopping.set()
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()
        self._listener.end_connections()

    def _listen(self) -> None:
        self._listener.serve_forever(poll_interval=0.05)


class _Listener(socketserver.ThreadingTCPServer):
    """Accepts connections and knows which are open."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    #: A burst of logins must not meet a full queue: the kernel would let them retry after a second.
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily, owner: Server) -> None:
        self.address_family = family
        self.owner = owner
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, _Connection)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in its own thread."""
        with self._lock:
            self._open[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def end_connections(self, *, patience_s: float = 5.0) -> None:
        """End every open connection and wait for the threads."""
        with self._lock:
            still_open = dict(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in still_open.values():
            thread.join(patience_s)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note what a handler did not expect; the default would print it."""
        del request
        log.exception("connection from %s failed", client_address)  # noqa: LOG004 - socketserver is inside one


class _Connection(http.server.BaseHTTPRequestHandler):
    """One client: its requests one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # small writes in a row would wait for each other, up to 40 ms
    server: _Listener

    def setup(self) -> None:
        """Prepare the streams."""
        super().setup()
        self._served = 0
        self.request_received: Received | None = None

    def handle(self) -> None:
        """Serve until either side has enough."""
        with contextlib.suppress(ConnectionError, TimeoutError, BrokenPipeError, OSError):
            super().handle()

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.connection.settimeout(self.server.owner.idle_close_s)
        self.raw_requestline = self.rfile.readline(LINE_LIMIT + 1)
        self.connection.settimeout(None)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self._read_body()
        if body is None:
            self.close_connection = True
            return
        self._served += 1
        self.request_received = self._received(body)
        self._exchange()

    @property
    def received(self) -> Received:
        """The request being served."""
        assert self.request_received is not None
        return self.request_received

    def _exchange(self) -> None:
        owner = self.server.owner
        try:
            answer = owner.control(self.received)
            if answer is None:
                owner.requests.add(self.received)
                exchange = _Exchange(self.connection, self.received, owner.is_stopping)
                answer = owner.faults.answer(exchange, lambda: owner.answer(self.received))
        except Vanish as vanish:
            self._vanish(is_reset=vanish.is_reset)
            return
        self._send(answer)
        is_worn = owner.max_requests is not None and self._served >= owner.max_requests
        self.close_connection = self.close_connection or answer.closes or is_worn

    def _received(self, body: bytes) -> Received:
        path, _, query = self.path.partition("?")
        return Received(
            method=self.command,
            path=path,
            query=query,
            headers=Headers(list(self.headers.items())),
            body=body,
            address=self.client_address[0],
            nth=self._served,
        )

    def _read_body(self) -> bytes | None:
        """Return the body, None when it cannot be read."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        length = self.headers.get("Content-Length", "0").strip()
        if not length.isdecimal() or int(length) > MAX_READ_BYTES:
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _read_chunks(self) -> bytes | None:
        """Return a body sent in chunks (RFC 9112, 7.1)."""
        body = b""
        while len(body) <= MAX_READ_BYTES:
            try:
                size = int(self.rfile.readline(LINE_LIMIT).split(b";")[0], 16)
            except ValueError:
                return None
            body += self.rfile.read(size)
            end = self.rfile.readline(LINE_LIMIT)
            if size == 0:
                while end.strip():  # trailer fields
                    end = self.rfile.readline(LINE_LIMIT)
                return body
        return None

    def _send(self, answer: Answer) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        if answer.trickle is None:
            self.connection.sendall(answer.head() + body)
            return
        head = answer.head()
        if answer.trickle.body_only:
            self.connection.sendall(head)
            head = b""
        for byte in head + body:
            if self.server.owner.is_stopping.wait(answer.trickle.interval_s):
                return
            self.connection.sendall(bytes((byte,)))

    def _vanish(self, *, is_reset: bool) -> None:
        self.close_connection = True
        if is_reset:
            # Closing with zero lingering sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Stay silent; requests are noted elsewhere."""


class _Exchange:
    """What a fault sees of a connection."""

    def __init__(self, connection: socket.socket, request: Received, is_stopping: threading.Event) -> None:
        self._connection = connection
        self._is_stopping = is_stopping
        self.request = request

    def wait(self, seconds: float) -> None:
        """Pause, at most until the stand-in stops."""
        self._is_stopping.wait(seconds)

    def wait_for_the_end(self) -> None:
        """Pause until the client goes away or the stand-in stops."""
        with contextlib.suppress(OSError):
            while self._connection.recv(1, socket.MSG_PEEK):
                if self._is_stopping.wait(0.05):
                    return
