"""A connection to Supabase: one deadline for a whole answer, and bytes that belong to no answer are noticed.

``requests`` limits each read of a socket, so a server that sends one byte a second is never too slow for it.
Here the time that is left shrinks with every read, from the status line to the last byte of the body.
``http.client`` and urllib3 write the request and read the answer.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from urllib3.connection import HTTPConnection, port_by_scheme
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProtocolError
from urllib3.response import HTTPResponse
from urllib3.util.wait import wait_for_read

from velro_auth.upstream.transport.resolver import AddressInfo, Resolver

#: The kernel probes idle connections too, so that a peer that vanished is noticed.
_SOCKET_OPTIONS: Final = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]
#: Interim answers (RFC 9110, 15.2) before the final one, at most.
_MAX_INTERIM: Final = 16
_FINAL: Final = 200
_SHORTEST_S: Final = 0.001
#: A value of one field. urllib3 has values of its own that begin with @ and leave a field out.
_is_plain: Final = re.compile(r"(?!@)[\x20-\x7e]*+").fullmatch
_is_name: Final = functools.lru_cache(maxsize=64)(re.compile(r"[A-Za-z0-9-]++").fullmatch)


class StaleConnection(ProtocolError):
    """A reused connection failed before the first byte of an answer.

    Most likely the server closed it while it was idle and never saw the request. Or bytes arrived on it before the
    request was sent, and the request was not sent. Only in these cases is it right to send the request again.
    """


class Connection(HTTPConnection):
    """A connection with one deadline per answer and one limit per attempt to connect.

    Args:
        host: The server's name or address, without brackets.
        port: The server's port.
        resolver: Resolves the name.
        tls: The TLS context for https; None for http.
    """

    def __init__(self, host: str, port: int, *, resolver: Resolver, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(host, port, socket_options=_SOCKET_OPTIONS)
        self._name = host
        self._resolver = resolver
        self._tls = tls
        # The Host header leaves out the usual port.
        self.default_port = port_by_scheme["https" if tls else "http"]  # type: ignore[misc] # per connection here
        #: When it was opened and when it answered last, on the monotonic clock.
        self.opened_s = self.used_s = 0.0
        #: How long it had been idle before its last request.
        self.idle_before_s = 0.0
        #: Whether bytes arrived while it was idle, and whether bytes followed the part of an answer that was read.
        self.has_unexpected_bytes = self.has_leftover = False
        self._is_reused = False
        self._unsent: bytearray | None = None

    def connect(self) -> None:
        """Open the connection.

        Raises:
            NameResolutionError, ConnectTimeoutError, NewConnectionError: The server cannot be reached.
            OSError: The TLS handshake failed.
        """
        sock = self._open_socket()
        self.sock = self._tls.wrap_socket(sock, server_hostname=self.host) if self._tls else sock
        self.opened_s = self.used_s = time.monotonic()

    def _open_socket(self) -> socket.socket:
        timeout_s = float(cast("float", self.timeout))
        ends_s = time.monotonic() + timeout_s
        addresses = self._addresses(timeout_s)
        failure: OSError = OSError("no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # A share for each address left, so that one black hole does not use all the time.
                sock.settimeout(max(_SHORTEST_S, (ends_s - time.monotonic()) / (len(addresses) - number)))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} timed out") from failure
        raise NewConnectionError(self, f"failed to connect: {failure}") from failure

    def _addresses(self, timeout_s: float) -> list[AddressInfo]:
        try:
            return self._resolver.resolve(self._name, self.port, timeout_s)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"resolving {self.host} timed out") from error

    def exchange(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        connect_timeout_s: float,
        ends_s: float,
    ) -> HTTPResponse:
        """Send a request, and return the answer when its head has been read.

        *ends_s* is the deadline for the last byte of the answer, on the monotonic clock.

        Raises:
            StaleConnection: The connection had served before, and failed before one byte of this answer.
            TimeoutError: The deadline passed.
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: There is no answer.
        """
        if self.sock is None:
            self.timeout = connect_timeout_s
            self.connect()
        self.timeout = max(_SHORTEST_S, ends_s - time.monotonic())
        self._write_request(method, target, body, headers)
        reader = _DeadlineReader(self.sock, ends_s)
        self.response_class = functools.partial(_FinalResponse, _Buffer(reader, self._note_leftover))  # type: ignore[assignment] # what http.client calls
        try:
            response = self.getresponse()
        except ConnectionError as error:  # RemoteDisconnected is one.
            if self._is_reused and not reader.received_bytes:
                raise StaleConnection(str(error), error) from error
            raise
        self._is_reused = True
        self.used_s = time.monotonic()
        return response

    def _write_request(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> None:
        self._unsent = bytearray()
        try:
            self.request(method, target, body, headers, preload_content=False)
            # The last moment to look: bytes that arrive from now on are read as the answer.
            if self._is_reused and self.received_unexpected_bytes():
                raise StaleConnection("bytes arrived before the request was sent")
            self.idle_before_s = time.monotonic() - self.used_s
            # A server may answer early and close. On a new connection its answer can still be read.
            with contextlib.suppress(*() if self._is_reused else (BrokenPipeError, ConnectionResetError)):
                self.sock.sendall(self._unsent)
        except OSError as error:
            if self._is_reused and not isinstance(error, TimeoutError):
                raise StaleConnection(str(error), error) from error
            raise
        finally:
            self._unsent = None

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override] # as urllib3 does
        """Add a header field. A plain name and value are checked with two patterns: 1 µs, not 5."""
        value = values[0] if len(values) == 1 else None
        if isinstance(value, str) and isinstance(header, str) and _is_name(header) and _is_plain(value):
            self._output(f"{header}: {value}".encode("ascii"))  # type: ignore[attr-defined] # unknown to typeshed
        else:
            super().putheader(header, *values)

    def send(self, data: Any) -> None:
        """Collect *data*, so that the head and the body of a request leave in one packet."""
        if self._unsent is None:
            super().send(data)
        else:
            self._unsent += data

    def received_unexpected_bytes(self) -> bool:
        """Return whether bytes arrived outside an exchange. This reads a byte: the connection must be closed then.

        Call it only after the connection was taken out of its pool. The end of the connection is no byte, and TLS
        records without application data are none.
        """
        if not (_has_decrypted(self.sock) or wait_for_read(self.sock, timeout=0.0)):
            return False
        timeout_s = self.sock.gettimeout()
        try:
            self.sock.settimeout(0)
            self.has_unexpected_bytes = bool(self.sock.recv(1))
        except OSError:
            return False
        finally:
            self.sock.settimeout(timeout_s)
        return self.has_unexpected_bytes

    def _note_leftover(self) -> None:
        self.has_leftover = True


def _has_decrypted(sock: socket.socket) -> bool:
    """Return whether TLS has bytes that it received together with earlier ones."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _FinalResponse(http.client.HTTPResponse):
    """Reads an answer from a buffer, and skips interim answers: ``http.client`` itself skips only 100."""

    def __init__(self, buffer: _Buffer, _: socket.socket, *, method: str | None = None) -> None:
        super().__init__(cast("socket.socket", buffer), method=method)

    def begin(self) -> None:
        """Read the head of the final answer. 103 (RFC 8297) and 102 may come before it.

        Raises:
            http.client.HTTPException: There are too many interim answers, or what arrives is no answer.
            OSError: It cannot be read.
        """
        for _ in range(_MAX_INTERIM):
            super().begin()
            if self.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.UnknownProtocol("101 Switching Protocols")
            if self.status >= _FINAL:
                return
            self.headers = self.msg = None  # type: ignore[assignment] # begin() reads the next head
        raise http.client.BadStatusLine("interim answers without an end")


class _DeadlineReader(io.RawIOBase):
    """Reads a socket; each read may take the time that is left until the deadline."""

    def __init__(self, sock: socket.socket, ends_s: float) -> None:
        super().__init__()
        self._sock = sock
        # Keeps the socket open: http.client closes it before the body of an answer without keep-alive is read.
        self._raw = cast("io.RawIOBase", sock.makefile("rb", buffering=0))
        self._ends_s = ends_s
        self.received_bytes = 0
        #: Set at the end of the answer: nothing is read from the socket any more.
        self.is_done = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived; nothing after the end of the answer.

        Raises:
            TimeoutError: The deadline has passed.
        """
        if self.is_done:
            return 0
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline for the answer has passed")
        self._sock.settimeout(left_s)
        count = self._raw.readinto(buffer) or 0
        self.received_bytes += count
        return count

    def close(self) -> None:
        """Release the socket."""
        self._raw.close()
        super().close()


class _Buffer(io.BufferedReader):
    """The buffer that ``http.client`` reads an answer from; it closes the buffer at the end of the answer."""

    def __init__(self, reader: _DeadlineReader, on_leftover: Callable[[], None]) -> None:
        super().__init__(reader)
        self._reader = reader
        self._on_leftover = on_leftover

    def makefile(self, _: str) -> io.BufferedReader:
        """Return itself: ``http.client`` asks a socket for a file."""
        return self

    def close(self) -> None:
        """Report bytes behind the end of the answer, and release the socket."""
        if not self.closed:
            self._reader.is_done = True
            if self.peek():
                self._on_leftover()
        super().close()
