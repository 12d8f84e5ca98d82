"""Refused logins of several kinds, mixed at random and timed: the raw material of ``prove enumeration``."""

from __future__ import annotations

import dataclasses
import random
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import requests

KINDS: Final = ("unknown", "wrong", "banned")

#: Every answer has its own; whether the header is there counts, its value does not.
OF_EACH_ANSWER: Final = frozenset(
    {"date", "x-request-id", "server-timing", "x-fastlane-time-ms", "ratelimit", "sb-request-id", "cf-ray"}
)

TIMEOUT_S: Final = 30.0

#: Logins before the measurement, so that nobody's first connection is timed.
WARM_UP: Final = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and what a refusal looks like there.

    Attributes:
        url: Where logins are posted.
        headers: Sent along.
        refusal: The status of a refused login.
    """

    url: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    refusal: int


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """Whom the logins are for.

    Attributes:
        existing: An account that exists; its password is not needed.
        banned: An account that is banned.
    """

    existing: str
    banned: str

    def of(self, kind: str) -> str:
        """Return an account of *kind*; an unknown one is a new one each time."""
        stranger = f"nobody-{secrets.token_hex(6)}@{self.existing.partition('@')[2]}"
        return {"unknown": stranger, "wrong": self.existing, "banned": self.banned}[kind]


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One refused login, without what differs in every answer.

    Attributes:
        kind: One of ``KINDS``.
        status: The HTTP status.
        headers: Names and values.
        body: The body, the request id taken out.
        took_s: From the first byte sent to the last one received.
    """

    kind: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    took_s: float


def gather(target: Target, accounts: Accounts, *, rounds: int, parallel: int) -> list[Sample]:
    """Return *rounds* samples of each kind, asked for by *parallel* clients in a new order each round.

    Raises:
        requests.RequestException: The target cannot be asked.
    """
    local = threading.local()

    def one_round(_number: int) -> list[Sample]:
        if not hasattr(local, "session"):
            local.session = _session(target)
            sessions.append(local.session)
        kinds = random.sample(KINDS, k=len(KINDS))
        return [_ask(local.session, target, kind, accounts.of(kind)) for kind in kinds]

    sessions: list[requests.Session] = []
    with ThreadPoolExecutor(parallel) as pool:
        try:
            list(pool.map(one_round, range(WARM_UP * parallel)))
            return [sample for samples in pool.map(one_round, range(rounds)) for sample in samples]
        finally:
            pool.shutdown(cancel_futures=True)
            for session in sessions:
                session.close()


def samples_of(samples: Sequence[Sample], kind: str) -> list[float]:
    """Return the times of the samples of *kind*, in seconds."""
    return [sample.took_s for sample in samples if sample.kind == kind]


def _session(target: Target) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.update(target.headers)
    return session


def _ask(session: requests.Session, target: Target, kind: str, email: str) -> Sample:
    credentials = {"email": email, "password": secrets.token_urlsafe(12)}
    started = time.perf_counter()
    answer = session.post(target.url, json=credentials, timeout=TIMEOUT_S, allow_redirects=False)
    took_s = time.perf_counter() - started
    return Sample(kind, answer.status_code, _headers(answer), _body(answer), took_s)


def _headers(answer: requests.Response) -> tuple[tuple[str, str], ...]:
    named = ((name.lower(), value) for name, value in answer.headers.items())
    return tuple(sorted((name, "…" if name in OF_EACH_ANSWER else value) for name, value in named))


def _body(answer: requests.Response) -> bytes:
    request_id = answer.headers.get("X-Request-ID", "")
    return answer.content.replace(request_id.encode(), b"") if request_id else answer.content
