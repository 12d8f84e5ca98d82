"""Sends requests to Supabase: one pool per process, one deadline per call, one cap per body."""

from __future__ import annotations

import functools
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import certifi
import requests.adapters
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util import Timeout

from velro_auth import __version__
from velro_auth.errors import UpstreamUnavailable
from velro_auth.upstream.transport.compatibility import check_libraries
from velro_auth.upstream.transport.failures import FOREIGN, failure, is_stale
from velro_auth.upstream.transport.keep_warm import IdleConnections
from velro_auth.upstream.transport.pool import ConnectionPool, Exchange
from velro_auth.upstream.transport.resolver import Resolver
from velro_auth.upstream.transport.tracing import Call, Tracer

#: Selects the newer error bodies, which hide database texts (contract of Supabase Auth, 2.1).
API_VERSION: Final = "2024-01-01"
#: Supabase refuses secret keys that come with a browser's name; the caller's is never passed on.
USER_AGENT: Final = f"velro-auth/{__version__}"

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its whole body, already capped. ``headers`` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def _unchanged(reply: Reply) -> Reply:
    return reply


class Adapter(requests.adapters.HTTPAdapter):
    """Sends requests through pools of our own.

    Args:
        pool_size: How many idle connections are kept; more may be in use at once.
        tls: What https trusts. Made once: loading the authorities costs 20 ms of processor time.
    """

    def __init__(self, *, pool_size: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._pool_size = pool_size
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        self._resolver = Resolver()
        self._pools: dict[str, ConnectionPool] = {}

    def get_connection_with_tls_context(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """Return the pool that ``send`` uses for *request*."""
        return self.pool_of(request.url or "")

    def pool_of(self, url: str) -> ConnectionPool:
        """Return the pool for the server of *url*, which has a path."""
        origin = url[: url.index("/", len("https://"))]
        pool = self._pools.get(origin)
        if pool is None:
            made = ConnectionPool(origin, size=self._pool_size, resolver=self._resolver, tls=self._tls)
            pool = self._pools.setdefault(origin, made)
        return pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Do nothing: the TLS context always verifies. The inherited method loads the authorities again."""

    def request_url(self, request: requests.PreparedRequest, *_: Any) -> str:
        """Return path and query. The inherited method searches the environment for a proxy."""
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Exchange | BaseHTTPResponse) -> requests.Response:
        """Return status and headers, and the exchange as ``raw``. Cookies are not read: they belong to one user."""
        exchange = resp if isinstance(resp, Exchange) else Exchange(cast("HTTPResponse", resp))
        response = requests.Response()
        response.status_code, response.headers = exchange.response.status, exchange.response.headers  # type: ignore[assignment] # looked up without regard to case
        response.raw, response.request = exchange, req
        return response

    def close_idle(self) -> None:
        """Close the idle connections: when one was found dead, the others are probably dead too."""
        for pool in tuple(self._pools.values()):
            pool.close_idle()

    def close(self) -> None:
        """Close all idle connections, and keep none from now on."""
        for pool in tuple(self._pools.values()):
            pool.close()


class Transport:
    """Sends requests to one Supabase project. Safe for any number of threads.

    It connects on first use and starts no thread, so it may be built before a fork. It uses no proxy, no ``.netrc``
    and no cookie: ``requests`` would take them from the environment, and a cookie jar would carry one user's cookie
    into another user's login. It follows no redirect.

    Args:
        base_url: Address of the project, without a path.
        key: The project's API key.
        pool_size: Idle connections to keep.
        connect_timeout_s: Limit for resolving the name and opening a connection.
        deadline_s: Limit for the whole call, which a trickling answer cannot stretch.
        max_body_bytes: Largest answer; Supabase's are 2 to 4 KiB, but the QR code of a second factor takes 400 KiB.
        tls: The TLS context for https; certifi's authorities when None.
        tracer: Records every request that is sent, the second attempt as well; None for no traces.
        clock: A clock that never jumps, in seconds.

    Raises:
        AttributeError: An installed library lacks what the connections need.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str,
        pool_size: int,
        connect_timeout_s: float = 2.0,
        deadline_s: float = 5.0,
        max_body_bytes: int = 1024 * 1024,
        tls: ssl.SSLContext | None = None,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_libraries()
        self._base_url = base_url.rstrip("/")
        self._key = key
        if tls is None and self._base_url.startswith("https:"):
            tls = _certifi_context()
        self._adapter = Adapter(pool_size=pool_size, tls=tls)
        self._connect_timeout_s = connect_timeout_s
        self._deadline_s = deadline_s
        self._max_body_bytes = max_body_bytes
        self._tracer = tracer
        self._clock = clock
        #: Requests that were sent, second attempts not counted.
        self.sent = 0
        self._counting = threading.Lock()

    def prepare(self, method: str, path: str, *, key: str = "") -> requests.PreparedRequest:
        """Return a request that can be sent any number of times: preparing costs as much as sending."""
        request = requests.PreparedRequest()
        request.prepare(
            method=method,
            url=self._base_url + path,
            headers={
                "apikey": key or self._key,
                "User-Agent": USER_AGENT,
                "X-Supabase-Api-Version": API_VERSION,
                "Content-Type": "application/json",
            },
        )
        return _with_dict_headers(request)

    def send(
        self,
        prepared: requests.PreparedRequest,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadline_s: float | None = None,
    ) -> Reply:
        """Send a copy of *prepared* and return the whole answer, with any status. Raises as :meth:`ask`."""
        return self.ask(prepared, _unchanged, body, headers, deadline_s=deadline_s)

    def ask(
        self,
        prepared: requests.PreparedRequest,
        read: Callable[[Reply], Read],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        deadline_s: float | None = None,
        waited_s: float = 0.0,
    ) -> Read:
        """Send a copy of *prepared* and return what *read* returns for the answer.

        Until *read* returns, the connection is used for nothing else. If *read* raises, the connection is closed: the
        right answer may still arrive on it.

        The request is sent a second time only if a reused connection failed before one byte of an answer; never
        after a timeout, since a login is not idempotent.

        Args:
            prepared: The request.
            read: Reads and checks the answer.
            body: The body.
            headers: Header fields beside the prepared ones, or instead of them, in the same spelling.
            deadline_s: Limit for the whole call, where it is less than usual.
            waited_s: How much of the limit is used up already. The call has at least half of it all the same.

        Raises:
            UpstreamUnavailable: No connection, a broken one, or an answer beyond the cap.
            UpstreamTimeout: The deadline passed.
        """
        request = requests.PreparedRequest()
        request.method, request.url, request.body = prepared.method, prepared.url, prepared.body
        request.headers = {**prepared.headers, **(headers or {})}  # type: ignore[assignment] # see _with_dict_headers
        if body is not None:
            request.body = body
            request.headers["Content-Length"] = str(len(body))
        with self._counting:
            self.sent += 1
        limit_s = min(self._deadline_s, deadline_s or self._deadline_s)
        ends_s = self._clock() + max(limit_s - waited_s, limit_s / 2)
        try:
            try:
                return self._ask(request, read, ends_s)
            except requests.ConnectionError as error:
                if not is_stale(error):
                    raise
            self._adapter.close_idle()
            return self._ask(request, read, ends_s)
        except FOREIGN as error:
            raise failure(error) from error

    def pass_on(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        read: Callable[[Reply], Reply] = _unchanged,
    ) -> Reply:
        """Send a request that a library built, under the same limits as :meth:`ask`, which raises.

        *read* returns the answer, or raises if it is about another user.
        """
        request = requests.PreparedRequest()
        request.prepare(method=method, url=url, headers={**headers, "Accept-Encoding": "identity"}, data=body)
        return self.ask(_with_dict_headers(request), read)

    def idle_connections(self, path: str = "/auth/v1/health") -> IdleConnections:
        """Return the idle connections for ``KeepWarm``, which checks them with a GET of *path*."""
        request = self.prepare("GET", path)
        return IdleConnections(
            self._adapter.pool_of(request.url or ""),
            request.path_url,
            request.headers,
            connect_timeout_s=self._connect_timeout_s,
            deadline_s=self._deadline_s,
        )

    def close(self) -> None:
        """Close all idle connections."""
        self._adapter.close()

    def _ask(self, request: requests.PreparedRequest, read: Callable[[Reply], Read], ends_s: float) -> Read:
        if self._tracer is None:
            return self._exchange(request, read, ends_s)
        with self._tracer.call(request.method or "", request.url or "") as call:
            if call is not None:
                request.headers.update(call.headers)
            return self._exchange(request, read, ends_s, call)

    def _exchange(
        self, request: requests.PreparedRequest, read: Callable[[Reply], Read], ends_s: float, call: Call | None = None
    ) -> Read:
        left_s = max(0.001, ends_s - self._clock())
        limits = Timeout(connect=min(self._connect_timeout_s, left_s), total=left_s)
        response = self._adapter.send(request, stream=True, timeout=limits)  # type: ignore[arg-type] # typeshed
        if call is not None:
            call.answered(response.status_code)
        with response.raw as exchange:
            body = exchange.read(self._max_body_bytes + 1)
            if len(body) > self._max_body_bytes:
                raise UpstreamUnavailable(f"answer of more than {self._max_body_bytes} bytes")
            return read(Reply(response.status_code, response.headers, body))


def _with_dict_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Replace the headers by a plain dict: to copy the mapping of ``requests`` takes 20 µs."""
    request.headers = dict(request.headers)  # type: ignore[assignment] # requests and urllib3 use it as a mapping
    return request


@functools.cache
def _certifi_context() -> ssl.SSLContext:
    """Return a TLS context that trusts certifi's authorities. Loading them takes 20 ms."""
    return ssl.create_default_context(cafile=certifi.where())
