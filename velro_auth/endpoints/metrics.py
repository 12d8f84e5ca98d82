"""``/metrics``: what Prometheus scrapes. Open on a laptop; in production only for who knows the token."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from werkzeug.wrappers import Request, Response

from velro_auth.endpoints.bodies import NO_STORE
from velro_auth.errors import NotFound
from velro_auth.telemetry.metrics import MEDIA_TYPE


@dataclass(frozen=True)
class MetricsEndpoint:
    """Answers with all metrics of this instance, whichever worker is asked.

    Attributes:
        render: Returns them as text.
        token: Who scrapes has to send it as a bearer token; empty for none.
        is_production: Whether to stay closed without a token.
    """

    render: Callable[[], bytes]
    token: str = field(default="", repr=False)
    is_production: bool = True

    name: ClassVar = "metrics"
    methods: ClassVar = ("GET", "HEAD")
    paths: ClassVar = ("/metrics",)

    def __call__(self, request: Request) -> Response:
        """Answer a scrape.

        Raises:
            NotFound: The token is missing or wrong. Whoever has no business here learns nothing of it.
        """
        if not self._admits(request.headers.get("Authorization", "")):
            raise NotFound("metrics without their token")
        return Response(self.render(), headers=[("Content-Type", MEDIA_TYPE), NO_STORE])

    def _admits(self, authorization: str) -> bool:
        if not self.token:
            return not self.is_production
        scheme, _, sent = authorization.partition(" ")
        # Both as bytes: compare_digest takes no text beyond ASCII.
        is_equal = hmac.compare_digest(sent.strip().encode("utf-8", "replace"), self.token.encode())
        return scheme.lower() == "bearer" and is_equal
