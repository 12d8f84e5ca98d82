"""The HTTP client that sends the logins."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from velro_auth.ops.bench.openloop import Answer, own_share_ms
from velro_auth.ops.bench.schedule import KINDS, Arrival, Kind
from velro_auth.ops.verdict import NotMeasured
from velro_auth.upstream.answers import object_in

_LOGIN: Final = "/api/v1/auth/login"
_VERSION: Final = "/__version"
_OK: Final = 200
_FIRST_ERROR: Final = 400

#: /24 networks in 198.18.0.0/15, which RFC 2544 reserves for benchmarks.
_NETWORKS: Final = 512
#: Good logins come from the first few of them in turn. The service remembers more known networks of an account than
#: this. One network is not enough: the service limits the concurrent logins of an account from one network.
_KNOWN_NETWORKS: Final = 8


class Target:
    """Sends logins to one address over persistent connections. Thread-safe.

    Args:
        url: Address of the service, without a path.
        emails: Existing accounts. Good logins and wrong passwords use them in turn.
        spreads_addresses: Whether to send a client address (``X-Real-IP``): a new network for each login that will be
            refused, a few known networks for good logins. Otherwise the throttle of the service would block all of
            them. Only a service that trusts this machine reads the header.
    """

    def __init__(
        self,
        url: str,
        *,
        emails: Sequence[str],
        password: str,
        timeout_s: float,
        connections: int,
        spreads_addresses: bool,
    ) -> None:
        # urllib3 reuses the most recently used connection first: the server may have closed an old one.
        self._pool = urllib3.connection_from_url(
            url, maxsize=connections, timeout=urllib3.Timeout(total=timeout_s), retries=False
        )
        self._emails = tuple(emails)
        self._password = password
        self._spreads_addresses = spreads_addresses
        self._account_numbers = {kind: itertools.count() for kind in KINDS}
        #: Those that are refused share one row of numbers.
        self._network_numbers = {is_good: itertools.count() for is_good in (False, True)}

    @property
    def connections_opened(self) -> int:
        """Number of connections opened so far."""
        return self._pool.num_connections

    def __call__(self, arrival: Arrival) -> Answer:
        """Send one login."""
        body = json.dumps(self._credentials(arrival.kind)).encode()
        headers = {"Content-Type": "application/json", **self._origin(arrival.kind)}
        try:
            response = self._pool.urlopen("POST", _LOGIN, body=body, headers=headers, redirect=False)
        except NewConnectionError:
            # A subclass of urllib3's timeout error.
            return Answer(None, failure="connection")
        except PoolTimeoutError:
            return Answer(None, failure="timeout")
        except HTTPError:
            return Answer(None, failure="connection")
        timing = response.headers.get("Server-Timing", "")
        return Answer(response.status, code=_code(response.status, response.data), own_ms=own_share_ms(timing))

    def check(self) -> Mapping[str, Any]:
        """Log in once and return the build information of the service.

        Raises:
            NotMeasured: There is no answer, or the good login is refused.
        """
        answer = self(Arrival(0.0, "good"))
        if answer.status is None:
            raise NotMeasured(f"No answer ({answer.failure}). Is the service running? Try: velro-auth dev")
        if answer.status != _OK:
            raise NotMeasured(
                f"The good login got {answer.status} {answer.code}: there is nothing to measure without an account"
                " that can log in. Name it with --email and AUTH_BENCH_PASSWORD."
            )
        return self._build()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _build(self) -> Mapping[str, Any]:
        try:
            response = self._pool.urlopen("GET", _VERSION, redirect=False)
        except HTTPError:
            return {}
        return object_in(response.data) if response.status == _OK else {}

    def _credentials(self, kind: Kind) -> dict[str, str]:
        if kind == "unknown_user":
            return {"email": f"nobody-{secrets.token_hex(8)}@example.com", "password": self._password}
        password = self._password if kind == "good" else f"wrong-{secrets.token_hex(8)}"
        return {"email": self._emails[next(self._account_numbers[kind]) % len(self._emails)], "password": password}

    def _origin(self, kind: Kind) -> dict[str, str]:
        if not self._spreads_addresses:
            return {}
        number = next(self._network_numbers[kind == "good"])
        network = (
            number % _KNOWN_NETWORKS if kind == "good" else _KNOWN_NETWORKS + number % (_NETWORKS - _KNOWN_NETWORKS)
        )
        return {"X-Real-IP": f"198.{18 + network // 256}.{network % 256}.1"}


def is_this_machine(url: str) -> bool:
    """Tell whether *url* points to this machine: whether a socket can be bound to all its addresses."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return all(_is_local(family, address) for family, _, _, _, address in found)


def _is_local(family: int, address: tuple[Any, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address[0], 0, *address[2:]))
    except OSError:
        # ``localhost`` may have an IPv6 address even where IPv6 is switched off.
        return str(address[0]) == "::1"
    return True


def _code(status: int, body: bytes) -> str:
    code = object_in(body).get("code") if status >= _FIRST_ERROR else None
    return code if isinstance(code, str) else ""
