"""A protected backend behind a proxy, as the tests of the recipes ask it."""

from __future__ import annotations

import http.client
import itertools
import re
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
#: What a gateway writes for the backend and for velro-auth, and no client may write or take away.
GATEWAYS_OWN = (*IDENTITY, "X-Auth-Require", "X-Auth-Mode", "X-Real-IP", "X-Forwarded-Method", "X-Forwarded-Uri")
#: What a backend may believe about its own address.
FOR_LINKS = ("X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "Forwarded")
#: What else than letters, digits and "-" stands in the name of a field (RFC 9110, 5.6.2).
_MARKS = "_.!#$%&'*+^`|~"

#: Names the gateway's own fields. Envoy answers 400 where ``Connection`` names ten fields or more.
CONNECTIONS = [f"close, {', '.join(names)}" for names in (GATEWAYS_OWN[:5], GATEWAYS_OWN[5:])]

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


def spellings(name: str) -> dict[str, str]:
    """Return forged fields with other names that some backend takes for *name*: each mix of "-", "_" and "."."""
    parts = name.split("-")
    mixes = [[mark, *rest] for mark in "-_." for rest in itertools.product("-_.", repeat=len(parts) - 2)]
    mixes += [[mark, *["-"] * (len(parts) - 2)] for mark in _MARKS]
    mixes += [[*["-"] * (len(parts) - 2), mark] for mark in _MARKS]
    names = {"".join(itertools.chain(*zip(parts, [*mix, ""], strict=True))) for mix in mixes}
    return dict.fromkeys(sorted(names), "forged")


def folded_name(name: str) -> str:
    """Return the variable of a field's name, as CGI, WSGI and PHP have it between them."""
    return "HTTP_" + re.sub("[^A-Z0-9]", "_", name.upper())


def folded(answer: requests.Response) -> dict[str, list[str]]:
    """Return the values that a backend finds in each variable, by what the lab's backend told; none is empty."""
    assert answer.status_code == 200, answer.text
    found: dict[str, list[str]] = {}
    for name, value in answer.json()["headers"]:
        if value:
            found.setdefault(folded_name(name), []).append(value)
    return found


def bearer(**changes: Any) -> dict[str, str]:
    """Return the header of a good token."""
    return {"Authorization": f"Bearer {KEY.token(claims_at(time.time(), **changes))}"}
