"""Resolves names within a time limit, which ``getaddrinfo`` does not have."""

from __future__ import annotations

import functools
import ipaddress
import socket
import threading
from concurrent.futures import Future
from typing import Any, TypeAlias

AddressInfo: TypeAlias = tuple[Any, Any, int, str, Any]


class Resolver:
    """Resolves names within a limit; callers of one name at one time share one look-up and one thread.

    If the system has no thread, the last answer is good enough: addresses change less often than that happens.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, int], Future[list[AddressInfo]]] = {}
        self._last: dict[tuple[str, int], list[AddressInfo]] = {}

    def resolve(self, host: str, port: int, timeout_s: float | None) -> list[AddressInfo]:
        """Return what ``getaddrinfo`` says.

        Raises:
            socket.gaierror: There is no such name, or no name server.
            TimeoutError: The name servers did not answer in time, or there is no thread to ask them and no earlier
                answer.
        """
        if _is_literal(host):
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with self._lock:
            future = self._pending.get((host, port))
            if future is None:
                future = self._start(host, port)
        return future.result(timeout_s)

    def _start(self, host: str, port: int) -> Future[list[AddressInfo]]:
        future: Future[list[AddressInfo]] = Future()
        try:
            threading.Thread(target=self._look_up, args=(host, port, future), daemon=True).start()
        except RuntimeError as error:
            # Not noted as pending: this look-up would be waited for until the process ends.
            if (host, port) not in self._last:
                raise TimeoutError("no thread for a look-up") from error
            future.set_result(self._last[host, port])
            return future
        self._pending[host, port] = future
        return future

    def _look_up(self, host: str, port: int, future: Future[list[AddressInfo]]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            found = []
            outcome = functools.partial(future.set_exception, error)
        else:
            outcome = functools.partial(future.set_result, found)
        with self._lock:
            del self._pending[host, port]
            if found:
                self._last[host, port] = found
        outcome()


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
