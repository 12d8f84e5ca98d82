"""Connections that keep one deadline for a whole answer and know when they were used before.

``requests`` limits each read of a socket, so a server that sends a byte a second is never too slow for it.
Here the time that is left shrinks with every read, from the status line to the last byte of the body.
Name resolution and the attempts to connect share one limit too.
"""

from __future__ import annotations

import functools
import http.client
import re
import socket
import ssl
import time
from typing import Any, Final, cast

import requests.adapters
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.poolmanager import PoolManager
from urllib3.response import HTTPResponse
from urllib3.util.wait import wait_for_read

from velro_auth.upstream.incoming import DeadlineReader, Incoming, IncomingSocket
from velro_auth.upstream.transport.idle import Caution, Idle, discard
from velro_auth.upstream.transport.plain_head import PlainResponse
from velro_auth.upstream.transport.resolver import AddressInfo, Resolver

#: A value that nobody can take for two fields, and none of urllib3's own that means something else.
_is_plain: Final = re.compile(r"(?!@)[\x20-\x7e]*+").fullmatch
_is_name: Final = functools.lru_cache(maxsize=64)(re.compile(r"[A-Za-z0-9-]++").fullmatch)


class StaleConnection(ConnectionResetError):
    """A connection that had served before died without one byte of an answer, or spoke before it was asked.

    Most likely the other side closed it while it was idle and never saw the request: the one case in which
    asking again is right. After bytes that were not asked for, the request is not sent at all.
    """


class Bounded(HTTPConnection):
    """One deadline per answer, one limit per connection attempt."""

    resolver: Resolver
    caution: Caution
    #: When it was opened and when it answered last, on the monotonic clock; how long it was silent before it was asked.
    opened_s = used_s = rested_s = 0.0
    #: Whether bytes were left behind the end of an answer.
    has_leftover = False
    _answers = 0
    _outbox: bytearray | None = None

    def _new_conn(self) -> socket.socket:
        limit_s = None if self.timeout is None else time.monotonic() + float(self.timeout)
        addresses = self._addresses()
        failure: OSError = OSError("no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                if limit_s is not None:
                    # A share for each address left, so that one black hole does not eat it all.
                    sock.settimeout(max(0.001, (limit_s - time.monotonic()) / (len(addresses) - number)))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting to {self.host} timed out") from failure
        raise NewConnectionError(self, f"failed to connect: {failure}") from failure

    def _addresses(self) -> list[AddressInfo]:
        timeout_s = None if self.timeout is None else float(self.timeout)
        try:
            return self.resolver.resolve(self._dns_host, self.port or 0, timeout_s)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"resolving {self.host} timed out") from error

    def connect(self) -> None:
        """Open the connection and note when."""
        self._answers = 0
        self.has_leftover = False
        super().connect()
        self.opened_s = self.used_s = time.monotonic()

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request.

        Raises:
            StaleConnection: The connection had served before, and cannot be written to any more or speaks unasked.
        """
        self._outbox = bytearray()
        try:
            super().request(*args, **kwargs)
            # The last moment: what arrives from now on is taken for the answer.
            self._demand_silence()
            self.rested_s = time.monotonic() - self.used_s
            self.sock.sendall(self._outbox)
        except (TimeoutError, StaleConnection):
            raise
        except OSError as error:
            if self._answers:
                raise StaleConnection(str(error)) from error
            raise
        finally:
            self._outbox = None

    def _demand_silence(self) -> None:
        if self._answers and self.hears_unasked():
            self.caution.surprised(0.0)
            raise StaleConnection("bytes arrived before the request was sent")

    def hears_unasked(self) -> bool:
        """Return whether bytes arrived while nothing was asked. Takes a byte: the connection must be closed then.

        Only for those who have taken the connection out of its pool. That the other side closed it is no byte, and
        neither is what TLS sends on its own account.
        """
        if self.sock is None or not (_has_decrypted(self.sock) or wait_for_read(self.sock, timeout=0.0)):
            return False
        timeout_s = self.sock.gettimeout()
        try:
            self.sock.settimeout(0)
            return bool(self.sock.recv(1))
        except OSError:
            return False
        finally:
            self.sock.settimeout(timeout_s)

    def putheader(self, header: str, *values: str) -> None:  # type: ignore[override] # as urllib3 does
        """Add a header field. What urllib3 and ``http.client`` would find in it is looked for at once: 1 µs, not 5."""
        value = values[0] if len(values) == 1 else None
        if isinstance(value, str) and isinstance(header, str) and _is_name(header) and _is_plain(value):
            self._output(f"{header}: {value}".encode("ascii"))  # type: ignore[attr-defined] # unknown to typeshed
        else:
            super().putheader(header, *values)

    def send(self, data: Any) -> None:
        """Keep *data* while a request is put together, so that its head and its body leave in one packet."""
        if self._outbox is None:
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        self._outbox += data

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3 does
        """Read an answer's head, and have its body read before one deadline.

        Raises:
            StaleConnection: The connection had served before and died without one byte of this answer.
        """
        deadline_s = None if self.timeout is None else time.monotonic() + float(self.timeout)
        reader = DeadlineReader(self.sock, deadline_s)
        incoming = Incoming(reader, self._found_leftover)

        def bounded_response(_: socket.socket, method: str | None = None) -> http.client.HTTPResponse:
            return PlainResponse(cast("socket.socket", IncomingSocket(incoming)), method=method)

        self.response_class = bounded_response  # type: ignore[assignment] # what http.client calls it with
        try:
            response = super().getresponse()
        except ConnectionError as error:  # RemoteDisconnected is one
            reader.close()
            if self._answers and not reader.received_bytes:
                raise StaleConnection(str(error)) from error
            raise
        except BaseException:
            reader.close()
            raise
        self._answers += 1
        self.used_s = time.monotonic()
        return response

    def _found_leftover(self) -> None:
        self.has_leftover = True


def _has_decrypted(sock: socket.socket) -> bool:
    """Return whether TLS has bytes that were received with others before."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


class _BoundedTls(Bounded, HTTPSConnection):
    """The same over TLS. The handshake is one call with one limit already."""


#: The kernel probes idle connections too, so that a peer that vanished is noticed at all.
_SOCKET_OPTIONS: Final = (
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


class Adapter(requests.adapters.HTTPAdapter):
    """A ``requests`` adapter whose connections keep deadlines. Never retries, never blocks on its pool.

    Args:
        pool_size: How many idle connections are kept; more may be open at once.
        tls: What https trusts. Made once: loading the authorities costs 20 ms of processor time a connection.
    """

    def __init__(self, *, pool_size: int, tls: ssl.SSLContext | None = None) -> None:
        self._resolver = Resolver()
        self._tls = tls
        self._pools: dict[str, Any] = {}
        super().__init__(pool_connections=1, pool_maxsize=pool_size, pool_block=False)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Build the pool manager with connections of our own."""
        caution = Caution()
        shared = {"resolver": self._resolver, "caution": caution}
        trust: dict[str, Any] = {"ssl_context": self._tls} if self._tls else {}
        plain, tls = type("Plain", (Bounded,), shared), type("Tls", (_BoundedTls,), shared)
        idle = type("CautiousIdle", (Idle,), {"caution": caution})
        self.poolmanager = PoolManager(
            num_pools=connections,
            maxsize=maxsize,
            block=block,
            socket_options=_SOCKET_OPTIONS,
            **trust,
        )
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain, "QueueCls": idle}),
            "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls, "QueueCls": idle}),
        }

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave it to the TLS context, which always verifies; the inherited one reloads the authorities."""

    def get_connection_with_tls_context(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the pool for *request*; working out which one it is costs 25 µs, so it is remembered."""
        # What every address of the project begins with.
        key = request.url[: request.url.index("/", len("https://"))]
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = super().get_connection_with_tls_context(request, *args, **kwargs)
        return pool

    def request_url(self, request: requests.PreparedRequest, *_: Any) -> str:
        """Return the path and the query: there is no proxy, which would want more."""
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return status, headers and what reads the body. No cookies: they would be one user's in another's login."""
        response = requests.Response()
        response.status_code, response.headers, response.raw, response.request = resp.status, resp.headers, resp, req
        return response

    def drop_idle(self) -> None:
        """Close the idle connections: after one was found dead, its siblings are suspects.

        One by one, and not their pool: others are about to ask it for a connection.
        """
        for pool in tuple(self._pools.values()):
            for connection in pool.pool.snapshot():
                discard(pool, connection)

    def pool_of(self, request: requests.PreparedRequest) -> HTTPConnectionPool:
        """Return the pool that ``send`` takes a connection for *request* from."""
        return cast("HTTPConnectionPool", self.get_connection_with_tls_context(request, verify=True))
