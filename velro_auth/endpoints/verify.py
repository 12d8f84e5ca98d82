"""``/api/v1/auth/verify``: is this token good? For gateways (nginx, Traefik, Caddy, Envoy) and backends.

Any method, any sub-path: Envoy appends the path of the request it asks about and keeps its method. The body is
not looked at. A token is taken from ``Authorization`` only, never from the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from werkzeug.wrappers import Request

from velro_auth.answers import Ready
from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.demands import Demands, identity_headers
from velro_auth.auth.sessions import Sessions
from velro_auth.endpoints.bodies import NO_STORE
from velro_auth.exchange import Exchange

_PLAIN_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


@dataclass(frozen=True)
class VerifyEndpoint:
    """Answers 200 with the identity in headers, 401, 403, or 503 when nobody can judge."""

    sessions: Sessions

    name: ClassVar = "verify"
    #: Every method there is: see ``takes``.
    methods: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar = ("/api/v1/auth/verify",)

    def __call__(self, request: Request) -> Ready:
        """Answer whether the token is good, and whose it is."""
        environ = request.environ
        token = bearer_token(environ.get("HTTP_AUTHORIZATION"))
        # Most gateways ask for nothing more: parsing nothing costs a quarter of the rest.
        asks_more = bool(environ.get("QUERY_STRING"))
        strict = asks_more and request.args.get("strict", "") in {"1", "true"}
        verdict = self.sessions.verify(token, Exchange.of(environ), strict=strict)
        for demands in demands_of(request) if asks_more else ():
            demands.check(verdict.claims)
        headers = [_PLAIN_TEXT, NO_STORE, *identity_headers(verdict.claims).items()]
        if verdict.degraded:
            headers.append(("X-Auth-Mode", "degraded"))
        return Ready(b"", headers)


def demands_of(request: Request) -> list[Demands]:
    """Read ``role`` and ``aal`` from the query.

    Roles in one parameter are alternatives (``role=editor,admin``). A parameter given twice is two demands, so
    that nobody can talk a gateway's demand away by adding one.
    """
    return [
        *(
            Demands(roles=frozenset(role.strip() for role in value.split(",")))
            for value in request.args.getlist("role")
        ),
        *(Demands(aal=value) for value in request.args.getlist("aal")),
    ]
