"""Cross-origin rules, the same for both lanes, for errors and for preflights.

Own code, because flask-cors reflects any origin when ``*`` meets credentials, sends no ``Vary`` for a single
origin, and sees Flask's answers only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

#: Longest time a browser may remember a preflight, in seconds: Chromium caps it at 7200, Safari at 600.
MAX_AGE_S: Final = 600

_PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "authorization, content-type, x-request-id, traceparent"),
    ("Access-Control-Max-Age", str(MAX_AGE_S)),
)
_EXPOSED: Final = ("Access-Control-Expose-Headers", "Retry-After, X-Request-ID, Server-Timing, X-Fastlane-Time-Ms")
_VARY: Final = ("Vary", "Origin")


class Cors:
    """Decides which origins may read answers.

    Args:
        origins: Exact origins, lower case. ``*`` and ``null`` match nothing.
        pattern: A regular expression for further ones; it has to match the whole origin. Empty for none.
    """

    def __init__(self, origins: Collection[str] = (), pattern: str = "") -> None:
        self._origins = frozenset(origins) - {"*", "null"}
        self._pattern = re.compile(pattern) if pattern else None

    def allows(self, origin: str | None) -> bool:
        """Tell whether pages of *origin* may read answers. Origins are compared as browsers send them."""
        if not origin or origin == "null":
            return False
        return origin in self._origins or bool(self._pattern and self._pattern.fullmatch(origin))

    def headers(self, origin: str | None) -> list[tuple[str, str]]:
        """Return what an answer to *origin* carries."""
        if origin is None or not self.allows(origin):
            return [_VARY]
        return [
            _VARY,
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            _EXPOSED,
        ]

    def preflight_headers(self, environ: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what the answer to a preflight carries beyond ``headers``; nothing for strangers."""
        is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        return list(_PREFLIGHT) if is_preflight and self.allows(environ.get("HTTP_ORIGIN")) else []
