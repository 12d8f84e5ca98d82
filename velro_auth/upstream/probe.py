"""Asks whether the login path of the project works, takes passwords, and counts callers one by one.

``/auth/v1/health`` is green with a dead database. The login path itself refuses an empty login as invalid even where
e-mail logins are switched off, so the project's settings are read as well.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from velro_auth.errors import UpstreamError, UpstreamMisconfigured, UpstreamThrottled
from velro_auth.health_checks import Finding
from velro_auth.upstream import translate
from velro_auth.upstream.answers import content
from velro_auth.upstream.captcha import DEADLINE_S, Learnt
from velro_auth.upstream.transport.transport import Transport

#: The answers to an empty login when all is well: Supabase refuses it before it looks at any account. With the
#: publishable key it may demand a captcha first.
_HEALTHY: Final = frozenset({"validation_failed", "captcha_failed"})

#: Shortest time between two empty logins of :class:`LoginPathCheck`, in seconds.
EVERY_S: Final = 30.0

_TOO_MANY: Final = 429

#: Public settings of the project: which ways to log in are switched on.
SETTINGS: Final = "/auth/v1/settings"

_SWITCH_ON: Final = "switch them on in the project (Authentication, Sign In / Providers, Email)"
MAIL_LOGINS_ARE_OFF: Final = Finding(
    "fail",
    f"e-mail logins are switched off, so every login is 503 upstream_misconfigured: {_SWITCH_ON}",
    f"E-mail logins: {_SWITCH_ON}.",
)


class ProjectSettings:
    """Reads the public settings of the project.

    Args:
        transport: The way to the project.
        deadline_s: How long the answer may take; None for as long as any other.
    """

    def __init__(self, transport: Transport, *, deadline_s: float | None = None) -> None:
        self._transport, self._deadline_s = transport, deadline_s
        self._request = transport.prepare("GET", SETTINGS)

    def __call__(self) -> Mapping[str, Any]:
        """Return the settings; empty where they cannot be read."""
        try:
            told = content(self._transport.send(self._request, deadline_s=self._deadline_s))
        except UpstreamError:
            return {}
        return told if isinstance(told, dict) else {}


class LoginPathCheck:
    """Asks for a login without an address and for the project's settings, at most once per ``EVERY_S``.

    Each empty login costs one of the logins that Supabase allows this address, hence the interval.

    Args:
        transport: The way to the project.
        clock: A clock that never jumps.
    """

    def __init__(self, transport: Transport, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        first = Finding("warn", "Supabase was not asked yet")
        self._learnt = Learnt(self._ask, first, fresh_s=EVERY_S, clock=clock)
        self._request = transport.prepare("POST", "/auth/v1/token?grant_type=password")
        self._settings = ProjectSettings(transport)

    def __call__(self) -> Finding:
        """Return the newest finding, asking when it is too old."""
        return self._learnt()

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
        ways = self._settings().get("external")
        return isinstance(ways, dict) and ways.get("email") is False


class LearntSignUpMode:
    """Whether the project has the addresses of new accounts confirmed by mail: asked at most once a minute.

    Its public settings say so (``mailer_autoconfirm``), and so does every answer to a sign-up. While it is not known, a
    mail is needed: then the answer to a sign-up shows nothing.

    Args:
        transport: The way to the project; None for a service without a project.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, transport: Transport | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = ProjectSettings(transport, deadline_s=DEADLINE_S) if transport is not None else dict
        #: Returns whether a mail is needed, asking when the answer is too old.
        self.needs_mail: Final = Learnt(self._ask, first=True, clock=clock)

    def learn(self, *, needs_mail: bool) -> None:
        """Note what an answer to a sign-up showed: no question gives a better answer."""
        self.needs_mail.note(needs_mail)

    def _ask(self) -> bool | None:
        confirms = self._settings().get("mailer_autoconfirm")
        return not confirms if isinstance(confirms, bool) else None


class ForwardingProof:
    """Asks for an empty login in the name of an address that never called before.

    Where callers are counted one by one, that address has all its calls left. A 429 for it means that it was counted
    with the others. That is a proof only right after another 429: at other times the common count has room as well.

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
            return self._transport.send(self._request, b"{}", headers, deadline_s=DEADLINE_S).status == _TOO_MANY
        except UpstreamError:
            return None


def _unheard_of() -> str:
    """Return an address of the documentation's range (RFC 3849), which no caller has."""
    digits = secrets.token_hex(12)
    return "2001:db8:" + ":".join(digits[place : place + 4] for place in range(0, len(digits), 4))
