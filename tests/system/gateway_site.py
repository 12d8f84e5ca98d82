"""A protected backend behind a proxy, as the tests of the recipes ask it."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.fixtures.tokens import SigningKey, claims_at
from tests.system.gateway_lab import VerifyEndpoint, backend_server, verify_server

KEY = SigningKey("one")
IDENTITY = ("X-Auth-User-Id", "X-Auth-User-Email", "X-Auth-User-Role", "X-Auth-Aal", "X-Auth-Session-Id")

Proxy = Callable[..., AbstractContextManager[int]]


@dataclass
class Site:
    """A protected backend behind a proxy."""

    port: int
    verify: VerifyEndpoint

    def ask(self, path: str = "/", method: str = "GET", **given: Any) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, timeout=10, allow_redirects=False, **given)

    def ask_exactly(self, path: str, headers: Mapping[str, str]) -> int:
        """Return the status for a path that is sent as it is written."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def told(self, path: str = "/", method: str = "GET", **given: Any) -> dict[str, str]:
        """Return the headers that the backend got, by lower-case name; several of one name as one text."""
        answer = self.ask(path, method, **given)
        assert answer.status_code == 200, answer.text
        headers: dict[str, str] = {}
        for name, value in answer.json()["headers"]:
            headers[name.lower()] = ",".join(filter(None, (headers.get(name.lower()), value)))
        return headers


@contextmanager
def site_behind(proxy: Proxy, verify: VerifyEndpoint, folder: Path, **options: bool) -> Iterator[Site]:
    """Run a backend and *verify* behind *proxy*."""
    with (
        verify_server(verify) as verify_port,
        backend_server() as backend_port,
        proxy(folder, verify_port, backend_port, **options) as port,
    ):
        yield Site(port, verify)


def bearer(**changes: Any) -> dict[str, str]:
    """Return the header of a good token."""
    return {"Authorization": f"Bearer {KEY.token(claims_at(time.time(), **changes))}"}
