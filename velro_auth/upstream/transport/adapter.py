"""The ``requests`` adapter whose connections keep deadlines. It never retries and never waits for a connection."""

from __future__ import annotations

import ssl
from typing import Any, cast

import requests.adapters
from urllib3.response import BaseHTTPResponse, HTTPResponse

from velro_auth.upstream.transport.pool import ConnectionPool, Exchange
from velro_auth.upstream.transport.resolver import Resolver


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
