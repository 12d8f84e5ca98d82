"""What is sent to each target, and which answer is a right one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from velro_auth.ops.bench.openloop import own_share_ms
from velro_auth.ops.monitor.client import Client
from velro_auth.ops.monitor.observation import Observation

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


@dataclass(frozen=True)
class GetProbe:
    """Requests a public target."""

    target: str
    client: Client
    clock: Clock

    def __call__(self, due_s: float) -> Iterator[Observation]:
        """Send the request that is due at *due_s*."""
        answer = self.client("GET", PATHS[self.target])
        # A proxy may answer any path with a page and status 200.
        is_garbage = answer.status == _OK and not answer.body
        yield Observation(
            due_s,
            self.target,
            1000 * (self.clock() - due_s),
            status=answer.status,
            failure="garbage" if is_garbage else answer.failure,
            code=answer.code,
            note=_NOTES[self.target](answer.body) if self.target in _NOTES else "",
        )


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
        token = answer.body.get("access_token") if answer.status == _OK else None
        is_garbage = answer.status == _OK and not isinstance(token, str)
        yield Observation(
            due_s,
            "login",
            1000 * (self.clock() - due_s),
            status=answer.status,
            failure="garbage" if is_garbage else answer.failure,
            code=answer.code,
            own_ms=own_share_ms(answer.headers.get("Server-Timing", "")),
        )
        if isinstance(token, str):
            yield self._log_out(token)

    def _log_out(self, token: str) -> Observation:
        sent_s = self.clock()
        answer = self.client("POST", _LOGOUT, bearer=token)
        took_ms = 1000 * (self.clock() - sent_s)
        return Observation(sent_s, "logout", took_ms, status=answer.status, failure=answer.failure, code=answer.code)


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
