"""Cross-origin rules (CORS), the same for both lanes, for errors and for preflights.

Own code, because flask-cors reflects any origin when ``*`` meets credentials, sends no ``Vary`` for a single
origin, and sees Flask's responses only.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from velro_auth.web.origins import MAX_MATCHED_LENGTH, MAX_ORIGIN_LENGTH, wildcard_pattern

Headers: TypeAlias = Sequence[tuple[str, str]]

#: Longest time a browser may cache a preflight, in seconds: Chromium caps it at 7200, Safari at 600.
MAX_AGE_S: Final = 600

#: Origins whose headers are cached; bounded, because a client may send any origin.
_CACHE_SIZE: Final = 1024

_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
#: What supabase-js, Sentry, OpenTelemetry and common frameworks send. A preflight asks for all headers at once.
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

#: Syntax of origins as browsers send them; nothing else is matched with a pattern.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*+://[a-z0-9._\[\]:-]++")
_FIELD_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
#: Scripts cannot set these (Fetch standard, "forbidden request-header").
_FORBIDDEN_NAMES: Final = re.compile(
    r"accept-charset|accept-encoding|access-control-.*|connection|content-length|cookie2?|date|dnt|expect|host"
    r"|keep-alive|origin|referer|set-cookie|t(?:e|railer|ransfer-encoding)|upgrade|via|proxy-.*|sec-.*"
)
#: Only gateways may write these; a page could otherwise impersonate one.
_GATEWAY_NAMES: Final = re.compile(r"x-auth-.*|x-velro-.*|x-real-ip|x-forwarded-.*|forwarded|x-original-.*")


def header_name(text: str) -> str:
    """Return *text* as a header name for the response to a preflight.

    Raises:
        ValueError: It is no header name, or a page must not or cannot send it; the message says what to do.
    """
    name = text.strip().lower()
    if name == "*":
        raise ValueError("'*' stands for nothing in requests with a token: name the headers")
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not the name of a header: write names like x-app-version, comma separated")
    if _FORBIDDEN_NAMES.fullmatch(name):
        raise ValueError(f"{name}: browsers set it themselves, and no page can: leave it out")
    if _GATEWAY_NAMES.fullmatch(name):
        raise ValueError(f"{name}: only a gateway may write it: leave it out")
    return name


class Cors:
    """Decides which origins may read responses.

    Args:
        origins: As ``origins.normal_origin`` returns them. A bare ``*`` and ``null`` match nothing.
        pattern: A regular expression for further origins; it has to match the whole origin. Empty for none.
        allow_headers: Request headers that pages may send beyond ``ALLOWED_HEADERS``.
    """

    def __init__(self, origins: Collection[str] = (), pattern: str = "", allow_headers: Collection[str] = ()) -> None:
        self._exact = frozenset(origin for origin in origins if "*" not in origin) - {"null"}
        # These patterns take linear time.
        self._wildcards = [
            re.compile(wildcard_pattern(origin)) for origin in origins if "*" in origin and origin != "*"
        ]
        self._pattern = re.compile(pattern) if pattern else None
        # Cached: a pattern costs more than all other response headers.
        self._cached_headers = functools.lru_cache(maxsize=_CACHE_SIZE)(self._headers)
        allowed = dict.fromkeys((*ALLOWED_HEADERS, *allow_headers))
        #: Headers of the response to an allowed preflight, beyond ``headers()``.
        self.preflight: Headers = (
            ("Access-Control-Allow-Methods", _METHODS),
            ("Access-Control-Allow-Headers", ", ".join(allowed)),
            ("Access-Control-Max-Age", str(MAX_AGE_S)),
        )

    def allows(self, origin: str | None) -> bool:
        """Return whether pages of *origin* may read responses. Origins are compared as browsers send them."""
        return len(self.headers(origin)) > 1

    def headers(self, origin: str | None) -> Headers:
        """Return the CORS headers of a response to *origin*."""
        if not origin or len(origin) > MAX_ORIGIN_LENGTH:
            return (_VARY,)
        return self._cached_headers(origin)

    def preflight_headers(self, environ: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the further headers of the response to a preflight; none for origins that are not allowed."""
        is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        return list(self.preflight) if is_preflight and self.allows(environ.get("HTTP_ORIGIN")) else []

    def _headers(self, origin: str) -> Headers:
        allowed = ("Access-Control-Allow-Origin", origin)
        if origin in self._exact:
            return (_VARY, allowed, ("Access-Control-Allow-Credentials", "true"), _EXPOSED)
        # Without credentials: a pattern also matches pages that its author did not know.
        return (_VARY, allowed, _EXPOSED) if self._matches(origin) else (_VARY,)

    def _matches(self, origin: str) -> bool:
        if not _ORIGIN.fullmatch(origin):
            return False
        if any(wildcard.fullmatch(origin) for wildcard in self._wildcards):
            return True
        return bool(self._pattern and len(origin) <= MAX_MATCHED_LENGTH and self._pattern.fullmatch(origin))
