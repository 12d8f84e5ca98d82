"""Which answers are security events (OWASP ASVS 5.0, 16.3.1 to 16.3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: (endpoint, outcome) → event: every login, refresh and logout, however it ended (16.3.1).
_BY_ROUTE: Final[Mapping[tuple[str, str], str]] = {
    ("login", "ok"): "login_succeeded",
    ("login", "invalid_credentials"): "login_refused",
    ("login", "email_not_confirmed"): "login_refused",
    ("login", "unauthorized"): "login_refused",
    ("login", "captcha_required"): "login_refused",
    ("login", "invalid_request"): "login_invalid",
    ("refresh", "ok"): "session_refreshed",
    ("refresh", "unauthorized"): "refresh_refused",
    ("logout", "ok"): "session_ended",
}

#: Outcome → event, wherever it happens: denied access (16.3.2), attempts to get around a control (16.3.3),
#: and controls or backends that fail (16.3.4).
_ANYWHERE: Final[Mapping[str, str]] = {
    "session_expired": "refresh_refused",
    "token_missing": "token_refused",
    "token_invalid": "token_refused",
    "token_expired": "token_refused",
    "forbidden": "access_denied",
    "insufficient_aal": "access_denied",
    "too_many_attempts": "throttled",
    "challenge_required": "challenged",
    "bad_json": "input_refused",
    "bad_parameter": "input_refused",
    "too_large": "input_refused",
    "headers_too_large": "input_refused",
    "uri_too_long": "input_refused",
    "unsupported_media_type": "input_refused",
    "upstream_throttled": "upstream_throttled",
    "upstream_misconfigured": "upstream_failed",
    "upstream_unavailable": "upstream_failed",
    "upstream_timeout": "upstream_failed",
    "upstream_error": "upstream_failed",
    "internal_error": "internal_error",
}


def security_event(route: str, outcome: str) -> str | None:
    """Return the event that an answer is, if it is one."""
    return _BY_ROUTE.get((route, outcome)) or _ANYWHERE.get(outcome)
