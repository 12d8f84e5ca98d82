"""What is sent to each target, over which client, and which answer is a right one."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import certifi
import requests
import urllib3.exceptions
from urllib3.util import Timeout

from velro_auth import __version__
from velro_auth.ops.bench.openloop import own_share_ms
from velro_auth.ops.monitor.observation import Failure, Observation
from velro_auth.upstream.answers import object_in
from velro_auth.upstream.transport.transport import Adapter

_OK: Final = 200
_BUILD_PART: Final = re.compile(r"[\x21-\x7e]{1,64}")
_CHECK_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MAX_CHECKS: Final = 10

#: Target → path, for all targets that are requested with GET.
PATHS: Final[Mapping[str, str]] = {
    "health": "/health",
    "ping": "/api/v1/auth/ping",
    "version": "/__version",
    "ready": "/health/ready",
}
_LOGIN: Final = "/api/v1/auth/login"
#: Ends only the new session: the account may have others.
_LOGOUT: Final = "/api/v1/auth/logout?scope=local"

Clock: TypeAlias = Callable[[], float]

#: Sends the requests to one target. The argument is the due time; yields one observation for each request.
Probe: TypeAlias = Callable[[float], Iterator[Observation]]

_MAX_BODY_BYTES: Final = 256 * 1024
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

#: Failure → exception types. The first row decides that matches the exception or one of its causes.
_FAILURES: Final[tuple[tuple[Failure, tuple[type[BaseException], ...]], ...]] = (
    ("dns", (urllib3.exceptions.NameResolutionError, socket.gaierror)),
    ("dns", (urllib3.exceptions.LocationParseError, requests.exceptions.InvalidURL, UnicodeError)),
    ("tls", (ssl.SSLError, urllib3.exceptions.SSLError, requests.exceptions.SSLError)),
    # Before the timeouts, because some of these are subclasses of a timeout.
    ("connection", (urllib3.exceptions.NewConnectionError, http.client.RemoteDisconnected)),
    ("timeout", (TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout)),
    ("garbage", (http.client.HTTPException, urllib3.exceptions.DecodeError, ValueError)),
    ("connection", (BaseException,)),
)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An HTTP answer. Not printable, because the body of a login contains tokens.

    Without a complete one, *failure* says why; *body* is empty unless it is a JSON object.
    """

    status: int | None
    failure: Failure
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The error's code, if the answer contains a well-formed one."""
        code = self.body.get("code")
        return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


class Client:
    """Sends requests to one address, each on a new connection. Thread-safe.

    A persistent connection would hide that no new one can be opened, and the server may close it just when it is used
    again. So each request includes the DNS look-up and the connect, and both are part of the time.

    *timeout_s* lasts from the DNS look-up to the last byte. Without *tls* the usual authorities are trusted.
    """

    def __init__(self, url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        if tls is None and self._url.startswith("https:"):
            tls = ssl.create_default_context(cafile=certifi.where())
        self._tls = tls

    def __call__(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> Answer:
        """Send one request and return the answer."""
        request = requests.PreparedRequest()
        headers = {"User-Agent": f"velro-auth-monitor/{__version__}", "Connection": "close"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        limits = Timeout(connect=self._timeout_s, total=self._timeout_s)
        adapter = Adapter(pool_size=1, tls=self._tls)
        try:
            request.prepare(method=method, url=self._url + path, headers=headers, json=body)
            response = adapter.send(request, stream=True, timeout=limits)  # type: ignore[arg-type] # typeshed
            with response.raw as exchange:
                text = exchange.read(_MAX_BODY_BYTES)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return Answer(None, failure_of(error), {}, {})
        finally:
            # Closes the connection even if the server keeps it open.
            adapter.close()
        return Answer(response.status_code, "", response.headers, object_in(text))


def failure_of(error: BaseException) -> Failure:
    """Return the class of an exception."""
    chain = tuple(_causes(error))
    return next(name for name, types in _FAILURES if any(isinstance(link, types) for link in chain))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and its causes; requests and urllib3 hide them in arguments and ``reason``."""
    yield error
    for link in [*error.args, getattr(error, "reason", None)]:
        if isinstance(link, BaseException) and link is not error:
            yield from _causes(link)


@dataclass(frozen=True)
class GetProbe:
    """Requests a public target."""

    target: str
    client: Client
    clock: Clock

    def __call__(self, due_s: float) -> Iterator[Observation]:
        """Send the request that is due at *due_s*."""
        answer = self.client("GET", PATHS[self.target])
        took_ms = 1000 * (self.clock() - due_s)
        note = _NOTES[self.target](answer.body) if self.target in _NOTES else ""
        # A proxy may answer any path with a page and status 200.
        yield _observed(due_s, self.target, took_ms, answer, is_right=bool(answer.body), note=note)


@dataclass(frozen=True)
class LoginProbe:
    """Logs in with an account and out again at once, so that sessions do not pile up at Supabase."""

    email: str = field(repr=False)
    password: str = field(repr=False)
    client: Client
    clock: Clock

    def __call__(self, due_s: float) -> Iterator[Observation]:
        """Send the login that is due at *due_s*, and the logout if there is a session."""
        answer = self.client("POST", _LOGIN, body={"email": self.email, "password": self.password})
        took_ms = 1000 * (self.clock() - due_s)
        token = answer.body.get("access_token") if answer.status == _OK else None
        own_ms = own_share_ms(answer.headers.get("Server-Timing", ""))
        yield _observed(due_s, "login", took_ms, answer, is_right=isinstance(token, str), own_ms=own_ms)
        if isinstance(token, str):
            yield self._log_out(token)

    def _log_out(self, token: str) -> Observation:
        sent_s = self.clock()
        answer = self.client("POST", _LOGOUT, bearer=token)
        return _observed(sent_s, "logout", 1000 * (self.clock() - sent_s), answer)


def _observed(
    at_s: float, target: str, took_ms: float, answer: Answer, *, is_right: bool = True, **more: Any
) -> Observation:
    """Return the observation of an answer; one with 200 that is not *is_right* is garbage."""
    failure: Failure = answer.failure if is_right or answer.status != _OK else "garbage"
    return Observation(at_s, target, took_ms, status=answer.status, failure=failure, code=answer.code, **more)


def _build(body: Mapping[str, Any]) -> str:
    """Return which build answered: version, commit and deployment, as far as the answer contains them."""
    deployment = body.get("deployment")
    parts = (
        body.get("version"),
        body.get("commit"),
        deployment.get("id") if isinstance(deployment, dict) else None,
    )
    return " ".join(part for part in parts if isinstance(part, str) and _BUILD_PART.fullmatch(part))


def _failed_checks(body: Mapping[str, Any]) -> str:
    """Return the names of the checks that do not pass, without their output, which may be confidential."""
    checks = body.get("checks")
    if not isinstance(checks, dict):
        return ""
    found = [name for name, entries in checks.items() if _CHECK_NAME.fullmatch(str(name)) and not _passes(entries)]
    return ", ".join(sorted(found)[:_MAX_CHECKS])


def _passes(entries: Any) -> bool:
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and entry.get("status") == "pass" for entry in entries
    )


_NOTES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {"version": _build, "ready": _failed_checks}
