"""The service that is measured, as a client sees it."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from velro_auth.ops.bench.answers import Answer, own_share_ms
from velro_auth.ops.bench.schedule import Arrival, Kind

_LOGIN: Final = "/api/v1/auth/login"
_VERSION: Final = "/__version"
_OK: Final = 200
_MISTAKEN: Final = 400

#: Networks of /24 in 198.18.0.0/15, which RFC 2544 sets aside for benchmarks.
_NETWORKS: Final = 512
#: Good logins come from the first few of them in turn: fewer than the networks that the service remembers an account
#: by, more than one, since only so many logins of one account from one network may be on their way at a time.
_FAMILIAR: Final = 8


class CannotMeasure(Exception):
    """There is nothing to measure; the message says why."""


class Target:
    """Sends logins to one address over kept connections. Safe for any number of threads.

    Args:
        url: Address of the service, without a path.
        emails: Accounts that exist. Good logins and wrong passwords take turns on them.
        password: The password of all of them.
        timeout_s: How long one answer may take.
        connections: Most connections to keep.
        spreads_addresses: Whether to claim a caller's address (``X-Real-IP``): a new network for each login that
            will be refused, a few familiar ones for good logins. A service that sees them all come from one place
            holds that place back, good logins and all. Only a service that trusts this machine listens to it.
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
        # The most recently used connection is taken first: a rarely used one might be closed by the other side.
        self._pool = urllib3.connection_from_url(
            url, maxsize=connections, timeout=urllib3.Timeout(total=timeout_s), retries=False
        )
        self._emails = tuple(emails)
        self._turns: Mapping[Kind, Iterator[int]] = {"good": itertools.count(), "wrong_password": itertools.count()}
        self._password = password
        self._spreads_addresses = spreads_addresses
        refusals = itertools.count()
        self._places: Mapping[Kind, Iterator[int]] = {
            "good": itertools.count(),
            "wrong_password": refusals,
            "unknown_user": refusals,
        }

    @property
    def connections_opened(self) -> int:
        """How many connections were opened so far."""
        return self._pool.num_connections

    def __call__(self, arrival: Arrival) -> Answer:
        """Send one login."""
        body = json.dumps(self._credentials(arrival.kind)).encode()
        headers = {"Content-Type": "application/json", **self._origin(arrival.kind)}
        try:
            reply = self._pool.urlopen("POST", _LOGIN, body=body, headers=headers, redirect=False)
        except NewConnectionError:
            # Counts as a timeout in urllib3, for history's sake.
            return Answer(None, failure="connection")
        except PoolTimeoutError:
            return Answer(None, failure="timeout")
        except HTTPError:
            return Answer(None, failure="connection")
        timing = reply.headers.get("Server-Timing", "")
        return Answer(reply.status, code=_code(reply.status, reply.data), own_ms=own_share_ms(timing))

    def check(self) -> Mapping[str, Any]:
        """Log in once and return what the service says about its build.

        Raises:
            CannotMeasure: There is no answer, or the good login is refused.
        """
        answer = self(Arrival(0.0, "good"))
        if answer.status is None:
            raise CannotMeasure(f"No answer ({answer.failure}). Is the service running? Try: velro-auth dev")
        if answer.status != _OK:
            raise CannotMeasure(
                f"The good login got {answer.status} {answer.code}: there is nothing to measure without an account"
                " that can log in. Name it with --email and AUTH_BENCH_PASSWORD."
            )
        return self._build()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _build(self) -> Mapping[str, Any]:
        try:
            reply = self._pool.urlopen("GET", _VERSION, redirect=False)
            build = json.loads(reply.data) if reply.status == _OK else {}
        except (HTTPError, ValueError):
            build = {}
        return build if isinstance(build, dict) else {}

    def _credentials(self, kind: Kind) -> dict[str, str]:
        if kind == "unknown_user":
            return {"email": f"nobody-{secrets.token_hex(8)}@example.com", "password": self._password}
        password = self._password if kind == "good" else f"wrong-{secrets.token_hex(8)}"
        return {"email": self._emails[next(self._turns[kind]) % len(self._emails)], "password": password}

    def _origin(self, kind: Kind) -> dict[str, str]:
        if not self._spreads_addresses:
            return {}
        turn = next(self._places[kind])
        network = turn % _FAMILIAR if kind == "good" else _FAMILIAR + turn % (_NETWORKS - _FAMILIAR)
        return {"X-Real-IP": f"198.{18 + network // 256}.{network % 256}.1"}


def is_this_machine(url: str) -> bool:
    """Tell whether *url* leads to this machine: whether all its addresses can be bound to here."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return all(_is_ours(family, address) for family, _, _, _, address in found)


def _is_ours(family: int, address: tuple[Any, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address[0], 0, *address[2:]))
    except OSError:
        # IPv6 may be switched off here, and ``localhost`` still have an address of it.
        return str(address[0]) == "::1"
    return True


def _code(status: int, body: bytes) -> str:
    if status < _MISTAKEN:
        return ""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    code = problem.get("code") if isinstance(problem, dict) else None
    return code if isinstance(code, str) else ""
