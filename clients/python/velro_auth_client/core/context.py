"""One request and what is known about it, from the edge down to Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias

Lane: TypeAlias = Literal["fast", "flask", "edge", "server"]

#: A list that a server may put into the environment; what is in it is called when the answer has left.
AFTERWARDS: Final = "velro_auth.afterwards"

#: WSGI environ key: the error for which the server refuses a request that no application has to see.
REFUSED: Final = "velro_auth.refused"

#: Under this name an exchange notes the size of an access token that was handed out and fits into no request.
OVERSIZE: Final = "token_bytes"

_KEY: Final = "velro_auth.context"


class Allowance(Protocol):
    """What a caller may still do; see ``guards.limits.Allowance``."""

    @property
    def quota(self) -> int:
        """Tries in a row without waiting."""

    @property
    def window_s(self) -> float:
        """How long until all of them are forgotten."""

    @property
    def remaining(self) -> int:
        """Tries left without waiting."""

    @property
    def reset_s(self) -> float:
        """When they are forgotten, or without one left when the next may be tried."""


@dataclass(slots=True)
class RequestContext:
    """What the edge found out about a request, and what the rest of the way adds to it.

    Attributes:
        request_id: The caller's, when it was fit to be repeated, else a new one.
        address: The caller's IP address, as text; empty when unknown.
        peer_is_trusted: Whether the connection comes from one of ``TRUSTED_PROXIES``.
        arrived_s: When the edge saw it first, on the monotonic clock.
        traceparent: W3C trace context to pass upstream; None when there was none, or a malformed one.
        queue_ms: How long it waited between the platform's edge and us, when the edge said so.
        lane: Who answered; ``server`` is the worker, for a request that reached no application.
        upstream_ms: Time spent waiting for Supabase.
        shows_upstream: Whether the answer may tell ``upstream_ms``. Refused logins keep it to themselves,
            because Supabase's time tells whether the account exists.
        outcome: The error code of the answer, or ``ok``.
        allowance: What the caller may still try, on a throttled route whose answer tells it.
        notes: Further fields for the access log. Never a secret.
    """

    request_id: str
    address: str
    arrived_s: float
    peer_is_trusted: bool = False
    traceparent: str | None = None
    queue_ms: float | None = None
    lane: Lane = "flask"
    upstream_ms: float = 0.0
    shows_upstream: bool = False
    outcome: str = "ok"
    allowance: Allowance | None = None
    notes: dict[str, str | int | float | bool | None] = field(default_factory=dict)

    def attach(self, environ: dict[str, Any]) -> None:
        """Put this exchange into a WSGI environment."""
        environ[_KEY] = self

    @staticmethod
    def of(environ: Mapping[str, Any]) -> RequestContext:
        """Return the exchange of a WSGI environment that passed the edge."""
        context = environ[_KEY]
        assert isinstance(context, RequestContext)
        return context
