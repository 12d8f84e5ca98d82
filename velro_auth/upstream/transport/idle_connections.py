"""The idle connections of an adapter, seen by who keeps them warm while others use them."""

from __future__ import annotations

from typing import Final, cast

import requests
from urllib3.connectionpool import HTTPConnectionPool

from velro_auth.upstream.transport.connections import Adapter, Bounded
from velro_auth.upstream.transport.idle import Idle, discard

_LARGEST_ANSWER_BYTES: Final = 64 * 1024


class IdleConnections:
    """Takes single connections out of an adapter's pool and puts them back.

    Args:
        adapter: Whose.
        request: A cheap request without consequences; any answer to it shows that a connection works.
        connect_timeout_s: Limit for opening a connection.
        deadline_s: Limit for the answer.
    """

    def __init__(
        self, adapter: Adapter, request: requests.PreparedRequest, *, connect_timeout_s: float, deadline_s: float
    ) -> None:
        self._adapter = adapter
        self._request = request
        self._connect_timeout_s = connect_timeout_s
        self._deadline_s = deadline_s

    def idle(self) -> tuple[Bounded, ...]:
        """Return the idle connections, the one unused for longest first."""
        idle = self._adapter.pool_of(self._request).pool
        return idle.snapshot() if isinstance(idle, Idle) else ()

    def open(self) -> None:
        """Open one more and ask on it, where the pool has a place left.

        A connection that never answered is no ``StaleConnection`` when it dies, and nothing would be asked again.

        Raises:
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: There is none to be had.
        """
        pool = self._adapter.pool_of(self._request)
        if isinstance(pool.pool, Idle) and pool.pool.take(None):
            self._ask(pool, cast("Bounded", pool._new_conn()))  # noqa: SLF001 - urllib3 opens none without a request

    def use(self, connection: Bounded) -> None:
        """Ask on an idle connection, unless somebody took it in the meantime.

        Raises:
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: It does not work any more; it was closed.
        """
        pool = self._adapter.pool_of(self._request)
        if isinstance(pool.pool, Idle) and pool.pool.take(connection):
            self._ask(pool, connection)

    def discard(self, connection: Bounded) -> None:
        """Close an idle connection, unless somebody took it in the meantime."""
        discard(self._adapter.pool_of(self._request), connection)

    def _ask(self, pool: HTTPConnectionPool, connection: Bounded) -> None:
        works = False
        try:
            connection.timeout = self._connect_timeout_s
            if not connection.is_connected:
                connection.connect()
            connection.timeout = self._deadline_s
            connection.sock.settimeout(self._deadline_s)
            headers = dict(self._request.headers)
            connection.request("GET", self._request.path_url, headers=headers, preload_content=False)
            body = connection.getresponse().read(_LARGEST_ANSWER_BYTES)
            # A server that closes after each answer leaves nothing to keep.
            works = len(body) < _LARGEST_ANSWER_BYTES and connection.is_connected
            if not works:
                raise ConnectionError("the server keeps no connections")
        finally:
            if not works:
                connection.close()
            pool._put_conn(connection if works else None)  # noqa: SLF001
