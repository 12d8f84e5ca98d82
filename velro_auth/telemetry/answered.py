"""One answered request, as telemetry sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from velro_auth.context import RequestContext

#: What is not a route of ours is called this, or scanners would choose the names of our metrics.
OTHER: Final = "other"

#: Under this name an exchange notes how long a refused login was held back on purpose: a float, in milliseconds.
HELD_MS: Final = "held_ms"

#: Under this name an exchange notes the HMAC of the account.
ACCOUNT: Final = "account"


class Answered(NamedTuple):
    """What the edge knows when an answer is ready.

    Attributes:
        route: The name of the endpoint, or ``other``.
        status: The HTTP status.
        took_ms: From arrival to answer, without the time that refused logins are held back on purpose.
        own_ms: Our share of it: without the upstream's.
        context: Everything else: lane, outcome, the upstream's share, who called.
        user_agent: What the caller calls itself, shortened.
    """

    route: str
    status: int
    took_ms: float
    own_ms: float
    context: RequestContext
    user_agent: str = ""

    @classmethod
    def after(
        cls, took_ms: float, *, route: str, status: int, context: RequestContext, user_agent: str = ""
    ) -> Answered:
        """Return what is known of an answer that took *took_ms* from arrival to the end."""
        held = context.notes.get(HELD_MS)
        if isinstance(held, float):
            took_ms -= held
        own_ms = took_ms - context.upstream_ms
        return cls(route, status, took_ms, own_ms if own_ms > 0 else 0.0, context, user_agent)


class Routes:
    """Names the endpoint of a path.

    Args:
        exact: Path → name.
        below: Prefix that ends with a slash → name, for endpoints that answer whatever is below them.
    """

    def __init__(self, exact: Mapping[str, str], below: Mapping[str, str] | None = None) -> None:
        self._exact = dict(exact)
        self._below = tuple((below or {}).items())

    @property
    def names(self) -> tuple[str, ...]:
        """All names there can be, each once."""
        return tuple(dict.fromkeys([*self._exact.values(), *(name for _, name in self._below), OTHER]))

    def name(self, path: str) -> str:
        """Return the name of the endpoint that answers *path*."""
        if found := self._exact.get(path):
            return found
        return next((name for prefix, name in self._below if path.startswith(prefix)), OTHER)
