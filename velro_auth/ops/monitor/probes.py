"""What is asked of each target, and what makes an answer the right one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from velro_auth.ops.bench.answers import own_share_ms
from velro_auth.ops.monitor.observation import Observation
from velro_auth.ops.monitor.wire import Heard

_OK: Final = 200
_WORD: Final = re.compile(r"[\x21-\x7e]{1,64}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

#: Path of each target that is asked with GET.
PATHS: Final[Mapping[str, str]] = {
    "health": "/health",
    "ping": "/api/v1/auth/ping",
    "version": "/__version",
    "ready": "/health/ready",
}
_LOGIN: Final = "/api/v1/auth/login"
#: Only the session that was just made; the account may be used elsewhere.
_LOGOUT: Final = "/api/v1/auth/logout?scope=local"

Clock: TypeAlias = Callable[[], float]


class Ask(Protocol):
    """Sends one request; see ``Wire``."""

    def __call__(
        self, method: str, path: str, *, body: Mapping[str, str] | None = None, bearer: str | None = None
    ) -> Heard:
        """Return what came back."""


class Probe(Protocol):
    """Looks at one target."""

    def __call__(self, due_s: float) -> Iterator[Observation]:
        """Yield what was seen, once for each request."""


@dataclass(frozen=True)
class Get:
    """Asks a target that anybody may ask.

    Attributes:
        target: One of ``PATHS``.
        ask: Sends the request.
        clock: The time of day in seconds, never going back.
    """

    target: str
    ask: Ask
    clock: Clock

    def __call__(self, due_s: float) -> Iterator[Observation]:
        """Yield what was seen."""
        heard = self.ask("GET", PATHS[self.target])
        # A page of somebody's edge with status 200 is no answer of this service.
        is_garbage = heard.status == _OK and not heard.body
        yield Observation(
            due_s,
            self.target,
            1000 * (self.clock() - due_s),
            status=heard.status,
            failure="garbage" if is_garbage else heard.failure,
            code=heard.code,
            note=_NOTES.get(self.target, _no_note)(heard.body),
        )


@dataclass(frozen=True)
class Login:
    """Logs in with an account, and out again at once: sessions would pile up at Supabase.

    Attributes:
        email: The account.
        password: Its password, which must be right.
        ask: Sends the requests.
        clock: The time of day in seconds, never going back.
    """

    email: str = field(repr=False)
    password: str = field(repr=False)
    ask: Ask
    clock: Clock

    def __call__(self, due_s: float) -> Iterator[Observation]:
        """Yield what became of the login, and of the logout if there was a session."""
        heard = self.ask("POST", _LOGIN, body={"email": self.email, "password": self.password})
        token = heard.body.get("access_token") if heard.status == _OK else None
        is_garbage = heard.status == _OK and not isinstance(token, str)
        yield Observation(
            due_s,
            "login",
            1000 * (self.clock() - due_s),
            status=heard.status,
            failure="garbage" if is_garbage else heard.failure,
            code=heard.code,
            own_ms=own_share_ms(heard.headers.get("Server-Timing", "")),
        )
        if isinstance(token, str):
            yield self._log_out(token)

    def _log_out(self, token: str) -> Observation:
        sent_s = self.clock()
        heard = self.ask("POST", _LOGOUT, bearer=token)
        took_ms = 1000 * (self.clock() - sent_s)
        return Observation(sent_s, "logout", took_ms, status=heard.status, failure=heard.failure, code=heard.code)


def _no_note(_: Mapping[str, Any]) -> str:
    return ""


def _build(body: Mapping[str, Any]) -> str:
    """Return which build answered: version, commit and deployment, as far as they are known."""
    deployment = body.get("deployment")
    parts = (
        body.get("version"),
        body.get("commit"),
        deployment.get("id") if isinstance(deployment, dict) else None,
    )
    return " ".join(part for part in parts if isinstance(part, str) and _WORD.fullmatch(part))


def _complaints(body: Mapping[str, Any]) -> str:
    """Return the checks that do not pass. Names only: what they say is for those who may read it there."""
    checks = body.get("checks")
    if not isinstance(checks, dict):
        return ""
    found = [name for name, entries in checks.items() if _NAME.fullmatch(str(name)) and not _passes(entries)]
    return ", ".join(sorted(found)[:10])


def _passes(entries: Any) -> bool:
    return isinstance(entries, list) and all(
        isinstance(entry, dict) and entry.get("status") == "pass" for entry in entries
    )


_NOTES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {"version": _build, "ready": _complaints}
