"""Requests that could reveal whether an address has an account, and what their answers look like."""

from __future__ import annotations

import dataclasses
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import requests

#: Headers whose values differ in every answer: only their presence is compared.
VARYING_HEADERS: Final = frozenset(
    {"date", "x-request-id", "server-timing", "x-fastlane-time-ms", "ratelimit", "sb-request-id", "cf-ray"}
    # The sealed cookie differs each time, and its length may not.
    | {"set-cookie"}
)

#: The metric of the gateway that counts its requests to Supabase.
UPSTREAM_REQUESTS: Final = "velro_auth_upstream_requests_total"

TIMEOUT_S: Final = 30.0
#: Rounds per client before the measurement, so that no connect is timed.
WARM_UP: Final = 3

#: A UUID or a time: made up anew for each answer, as their length is fixed.
_VARYING: Final = re.compile(
    rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z"
)

Body: TypeAlias = dict[str, Any]


class Face(NamedTuple):
    """How a service takes an address: where, how it answers all kinds of addresses, and the body for one."""

    path: str
    status: int
    body: Callable[[str], Body]


@dataclass(frozen=True, slots=True)
class Route:
    """A route that takes an address, of the gateway and of Supabase Auth.

    Attributes:
        prepare: The route that is called once for the existing address before the measurement: ``forgot`` gives it a
            code that can be guessed, ``signup`` makes an address that is not confirmed yet.
        is_mailing: Whether the answer comes at a fixed time, so that many requests can wait at once.
    """

    own: Face
    supabase: Face
    kinds: tuple[str, ...] = ("unknown", "known")
    prepare: str = ""
    is_mailing: bool = True


def _address(email: str) -> Body:
    return {"email": email}


def _credentials(email: str) -> Body:
    return {"email": email, "password": secrets.token_urlsafe(12)}


def _code(email: str) -> Body:
    return {"email": email, "token": f"{secrets.randbelow(10**6):06}", "type": "recovery"}


ROUTES: Final[Mapping[str, Route]] = {
    "login": Route(
        Face("/login", 401, _credentials),
        Face("/token?grant_type=password", 400, _credentials),
        kinds=("unknown", "wrong", "banned"),
        is_mailing=False,
    ),
    "signup": Route(Face("/signup", 202, _credentials), Face("/signup", 200, _credentials)),
    "forgot": Route(Face("/password/forgot", 202, _address), Face("/recover", 200, _address)),
    "otp": Route(Face("/otp", 202, _address), Face("/otp", 200, lambda email: {"email": email, "create_user": False})),
    "resend": Route(
        Face("/signup/resend", 202, _address),
        Face("/resend", 200, lambda email: {"email": email, "type": "signup"}),
        prepare="signup",
    ),
    "confirm": Route(Face("/confirm", 401, _code), Face("/verify", 403, _code), prepare="forgot", is_mailing=False),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests are sent.

    Attributes:
        base_url: The address before the route's path.
        is_supabase_api: Whether this is ``/auth/v1`` of the gateway.
        metrics_token: Opens the gateway's metrics, which count the requests that reached Supabase.
    """

    base_url: str
    route: Route
    is_direct: bool = False
    is_supabase_api: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    metrics_token: str = field(default="", repr=False)

    @property
    def face(self) -> Face:
        """Its paths, bodies and statuses: the gateway's own or Supabase's."""
        return self.route.supabase if self.is_direct or self.is_supabase_api else self.route.own

    @property
    def url(self) -> str:
        """The whole address."""
        return self.base_url + self.face.path

    def prepare(self, existing: str) -> str:
        """Ask what has to be asked before the measurement; return the address to measure as the existing one.

        Raises:
            requests.RequestException: The target does not answer.
        """
        if not self.route.prepare:
            return existing
        is_new = self.route.prepare == "signup"
        email = f"pending-{secrets.token_hex(6)}@{domain_of(existing)}" if is_new else existing
        before = dataclasses.replace(self, route=ROUTES[self.route.prepare])
        with open_session(before) as session:
            session.post(before.url, json=before.face.body(email), timeout=TIMEOUT_S)
        return email


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer, without what differs in every answer.

    *took_s* is from the first byte sent to the last one received; *body* lacks the request id, and ids and times of
    a sign-up.
    """

    kind: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    took_s: float


def gather(target: Target, accounts: Mapping[str, str], *, rounds: int, parallel: int) -> list[Sample]:
    """Return *rounds* samples of each kind, from *parallel* clients, in a random order in each round.

    *accounts* maps kinds to addresses; those of other kinds are made up, another one each time.

    Raises:
        requests.RequestException: The target does not answer.
    """
    local = threading.local()
    sessions: list[requests.Session] = []
    domain = domain_of(next(iter(accounts.values())))

    def one_round(_number: int) -> list[Sample]:
        if not hasattr(local, "session"):
            local.session = open_session(target)
            sessions.append(local.session)
        kinds = random.sample(target.route.kinds, k=len(target.route.kinds))
        return [_ask(local.session, target, kind, accounts.get(kind) or _unknown(domain)) for kind in kinds]

    with ThreadPoolExecutor(parallel) as pool:
        try:
            list(pool.map(one_round, range(WARM_UP * parallel)))
            return [sample for samples in pool.map(one_round, range(rounds)) for sample in samples]
        finally:
            pool.shutdown(cancel_futures=True)
            for session in sessions:
                session.close()


def upstream_requests(target: Target) -> int | None:
    """Return how many requests the gateway has sent to Supabase since its start; None where its metrics are closed.

    Raises:
        requests.RequestException: The target does not answer.
    """
    if target.is_direct:
        return None
    answer = requests.get(
        target.base_url.removesuffix("/api/v1/auth").removesuffix("/auth/v1") + "/metrics",
        headers={"Authorization": f"Bearer {target.metrics_token}"},
        timeout=TIMEOUT_S,
    )
    found = re.search(rf"^{UPSTREAM_REQUESTS} ([0-9.e+]+)$", answer.text, re.MULTILINE) if answer.ok else None
    return int(float(found[1])) if found else None


def requests_of(target: Target, *, rounds: int, parallel: int) -> int:
    """Return how many requests :func:`gather` sends."""
    return len(target.route.kinds) * (rounds + WARM_UP * parallel)


def domain_of(email: str) -> str:
    """Return the part after the at sign."""
    return email.rpartition("@")[2]


def open_session(target: Target) -> requests.Session:
    """Return a connection to the target."""
    session = requests.Session()
    session.trust_env = False
    session.headers.update(target.headers)
    return session


def _unknown(domain: str) -> str:
    """Return an email without an account, another one each time."""
    return f"nobody-{secrets.token_hex(6)}@{domain}"


def _ask(session: requests.Session, target: Target, kind: str, email: str) -> Sample:
    body = target.face.body(email)
    # A browser would send the cookie of the answer before: every sample is a caller of its own.
    session.cookies.clear()
    started = time.perf_counter()
    answer = session.post(target.url, json=body, timeout=TIMEOUT_S, allow_redirects=False)
    took_s = time.perf_counter() - started
    content = _without(answer, email)
    named = {name.lower(): value for name, value in answer.headers.items()}
    if named.get("content-length") == str(len(answer.content)):
        # Known and unknown addresses differ in length.
        named["content-length"] = str(len(content))
    headers = tuple(sorted((name, _comparable(name, value)) for name, value in named.items()))
    return Sample(kind, answer.status_code, headers, content, took_s)


def _comparable(header: str, value: str) -> str:
    """Return what may be compared of a header: nothing of a value that differs each time, but a cookie's shape."""
    if header not in VARYING_HEADERS:
        return value
    if header != "set-cookie":
        return "…"
    name, _, rest = value.partition("=")
    sealed, _, attributes = rest.partition(";")
    return f"cookie of {len(name)} = {len(sealed)};{attributes}"


def _without(answer: requests.Response, email: str) -> bytes:
    """Return the body without the request id, ids, times, and the address asked for."""
    body = answer.content
    for own in (answer.headers.get("X-Request-ID", ""), email):
        body = body.replace(own.encode(), b"") if own else body
    return _VARYING.sub(b"", body)
