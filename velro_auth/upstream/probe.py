"""Questions about the project: does its login path work, does it take passwords, does it count callers one by one?

``/auth/v1/health`` is green with a dead database. The login path itself refuses an empty login as invalid even where
e-mail logins are switched off, so the project's settings are read as well.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from velro_auth.errors import UpstreamError, UpstreamMisconfigured, UpstreamThrottled
from velro_auth.health_checks import Finding
from velro_auth.upstream import translate
from velro_auth.upstream.answers import content
from velro_auth.upstream.transport.transport import Transport

#: What an empty login is answered when all is well: refused before any account is looked at. With the publishable key
#: a captcha may be demanded first.
_HEALTHY: Final = frozenset({"validation_failed", "captcha_failed"})

#: How long the answer of :class:`ForwardingProof` may take: a refused login waits for it.
PROOF_DEADLINE_S: Final = 1.0

_TOO_MANY: Final = 429

#: Public settings of the project: which ways to log in are switched on.
SETTINGS: Final = "/auth/v1/settings"

_SWITCH_ON: Final = "switch them on in the project (Authentication, Sign In / Providers, Email)"
MAIL_LOGINS_ARE_OFF: Final = Finding(
    "fail",
    f"e-mail logins are switched off, so every login is 503 upstream_misconfigured: {_SWITCH_ON}",
    f"E-mail logins: {_SWITCH_ON}.",
)


class LoginPathCheck:
    """Asks for a login without an address and for the project's settings, at most once per *every_s*.

    Each empty login costs one of the logins that Supabase allows this address, hence the interval. All callers share
    the answer; while one asks, the others get the former one.

    Args:
        transport: The way to the project.
        every_s: Shortest time between two questions, in seconds.
        clock: A clock that never jumps.
    """

    def __init__(
        self, transport: Transport, *, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._every_s = every_s
        self._clock = clock
        self._asking = threading.Lock()
        self._finding = Finding("warn", "Supabase was not asked yet")
        self._fresh_until_s = -1.0
        self._request = transport.prepare("POST", "/auth/v1/token?grant_type=password")
        self._settings_request = transport.prepare("GET", SETTINGS)

    def __call__(self) -> Finding:
        """Return the newest finding, asking when it is too old."""
        if self._clock() >= self._fresh_until_s and self._asking.acquire(blocking=False):
            try:
                self._finding = self._ask()
                self._fresh_until_s = self._clock() + self._every_s
            finally:
                self._asking.release()
        return self._finding

    def _ask(self) -> Finding:
        try:
            reply = self._transport.send(self._request, b"{}")
        except UpstreamError as error:
            return Finding("fail", f"Supabase does not answer ({error.reason})")
        body = content(reply)
        if translate.code_of(reply, body) in _HEALTHY:
            return MAIL_LOGINS_ARE_OFF if self._takes_no_mail_logins() else Finding("pass")
        refused = translate.refusal(reply, translate.PASSWORD_GRANT)
        if isinstance(refused, UpstreamThrottled):
            return Finding("warn", "Supabase's rate limit is reached: turn on IP address forwarding")
        advice = "; check SUPABASE_URL and the keys" if isinstance(refused, UpstreamMisconfigured) else ""
        return Finding("fail" if isinstance(refused, UpstreamError) else "warn", refused.reason + advice)

    def _takes_no_mail_logins(self) -> bool:
        """Whether the project says so. Settings that cannot be read say nothing: its logins may work all the same."""
        try:
            told = content(self._transport.send(self._settings_request))
        except UpstreamError:
            return False
        ways = told.get("external") if isinstance(told, dict) else None
        return isinstance(ways, dict) and ways.get("email") is False


class ForwardingProof:
    """Asks for an empty login in the name of an address that never called before.

    Where callers are counted one by one, that address has all its calls left. A 429 for it means that it was counted
    with the others. Sound right after another 429 only: at other times the common count has room as well.

    Args:
        transport: The way to the project, with the key that logins are sent with.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._request = transport.prepare("POST", "/auth/v1/token?grant_type=password")

    def __call__(self) -> bool | None:
        """Return whether all callers count as one; None where Supabase cannot be asked."""
        headers = {"Sb-Forwarded-For": _unheard_of()}
        try:
            return self._transport.send(self._request, b"{}", headers, deadline_s=PROOF_DEADLINE_S).status == _TOO_MANY
        except UpstreamError:
            return None


def _unheard_of() -> str:
    """Return an address of the documentation's range (RFC 3849), which no caller has."""
    digits = secrets.token_hex(12)
    return "2001:db8:" + ":".join(digits[place : place + 4] for place in range(0, len(digits), 4))
