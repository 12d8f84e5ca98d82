"""Cross-origin rules, the same for both lanes, for errors and for preflights.

Own code, because flask-cors reflects any origin when ``*`` meets credentials, sends no ``Vary`` for a single
origin, and sees Flask's answers only.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from velro_auth.web.origins import LONGEST_MATCHED, LONGEST_ORIGIN, wildcard_pattern

Headers: TypeAlias = Sequence[tuple[str, str]]

#: Longest time a browser may remember a preflight, in seconds: Chromium caps it at 7200, Safari at 600.
MAX_AGE_S: Final = 600

#: Many pages have few origins; strangers' take no more room than this.
_REMEMBERED: Final = 1024

_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
#: What supabase-js, Sentry, OpenTelemetry and common frameworks send; a browser asks for all of a request's at once.
ALLOWED_HEADERS: Final = (
    "authorization",
    "content-type",
    "apikey",
    "x-client-info",
    "x-supabase-api-version",
    "x-request-id",
    "x-requested-with",
    "x-csrf-token",
    "idempotency-key",
    "cache-control",
    "traceparent",
    "tracestate",
    "baggage",
    "sentry-trace",
)
EXPOSED_HEADERS: Final = (
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Request-ID",
    "Server-Timing",
    "X-Fastlane-Time-Ms",
    "X-Supabase-Api-Version",
    "x-sb-error-code",
)

_VARY: Final = ("Vary", "Origin")
_EXPOSED: Final = ("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS))

#: As browsers send origins; nothing else is tried on a pattern.
_SENT: Final = re.compile(r"[a-z][a-z0-9+.-]*+://[a-z0-9._\[\]:-]++")
_FIELD_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
#: Scripts cannot set these (Fetch standard, "forbidden request-header").
_BROWSERS_OWN: Final = re.compile(
    r"accept-charset|accept-encoding|access-control-.*|connection|content-length|cookie2?|date|dnt|expect|host"
    r"|keep-alive|origin|referer|set-cookie|t(?:e|railer|ransfer-encoding)|upgrade|via|proxy-.*|sec-.*"
)
#: Gateways write these; a page that could would speak for one.
_GATEWAYS_OWN: Final = re.compile(r"x-auth-.*|x-velro-.*|x-real-ip|x-forwarded-.*|forwarded|x-original-.*")


def header_name(text: str) -> str:
    """Return the name of a request header for a preflight's answer.

    Raises:
        ValueError: It is no name, or none that a page may or can send; the message says what to do.
    """
    name = text.strip().lower()
    if name == "*":
        raise ValueError("'*' stands for nothing in requests with a token: name the headers")
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not the name of a header: write names like x-app-version, comma separated")
    if _BROWSERS_OWN.fullmatch(name):
        raise ValueError(f"{name}: browsers set it themselves, and no page can: leave it out")
    if _GATEWAYS_OWN.fullmatch(name):
        raise ValueError(f"{name}: only a gateway may write it: leave it out")
    return name


class Cors:
    """Decides which origins may read answers.

    Args:
        origins: As ``origins.normal_origin`` returns them. A bare ``*`` and ``null`` match nothing.
        pattern: A regular expression for further ones; it has to match the whole origin. Empty for none.
        allow_headers: Request headers that pages may send beyond ``ALLOWED_HEADERS``.
    """

    def __init__(self, origins: Collection[str] = (), pattern: str = "", allow_headers: Collection[str] = ()) -> None:
        self._exact = frozenset(origin for origin in origins if "*" not in origin) - {"null"}
        # Each of these looks at a letter once.
        self._wildcards = [
            re.compile(wildcard_pattern(origin)) for origin in origins if "*" in origin and origin != "*"
        ]
        self._pattern = re.compile(pattern) if pattern else None
        # Judged once for each: a pattern costs more than the rest of the answer's headers.
        self._judged = functools.lru_cache(maxsize=_REMEMBERED)(self._judge)
        allowed = dict.fromkeys((*ALLOWED_HEADERS, *allow_headers))
        #: What the answer to an allowed preflight carries beyond ``headers``.
        self.preflight: Headers = (
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", ", ".join(allowed)),
            ("Access-Control-Max-Age", str(MAX_AGE_S)),
        )

    def allows(self, origin: str | None) -> bool:
        """Tell whether pages of *origin* may read answers. Origins are compared as browsers send them."""
        return len(self.headers(origin)) > 1

    def headers(self, origin: str | None) -> Headers:
        """Return what an answer to *origin* carries."""
        if not origin or len(origin) > LONGEST_ORIGIN:
            return (_VARY,)
        return self._judged(origin)

    def preflight_headers(self, environ: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what the answer to a preflight carries beyond ``headers``; nothing for strangers."""
        is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        return list(self.preflight) if is_preflight and self.allows(environ.get("HTTP_ORIGIN")) else []

    def _judge(self, origin: str) -> Headers:
        allowed = ("Access-Control-Allow-Origin", origin)
        if origin in self._exact:
            return (_VARY, allowed, ("Access-Control-Allow-Credentials", "true"), _EXPOSED)
        # Without credentials: a pattern admits pages whose names were not known when it was written.
        return (_VARY, allowed, _EXPOSED) if self._matches(origin) else (_VARY,)

    def _matches(self, origin: str) -> bool:
        if not _SENT.fullmatch(origin):
            return False
        if any(wildcard.fullmatch(origin) for wildcard in self._wildcards):
            return True
        return bool(self._pattern and len(origin) <= LONGEST_MATCHED and self._pattern.fullmatch(origin))
