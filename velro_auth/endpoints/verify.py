"""``/api/v1/auth/verify``: is this token good? For gateways (nginx, Traefik, Caddy, Envoy) and backends.

Any method, any sub-path: Envoy appends the path of the request it asks about and keeps its method. The body is
not looked at. A token is taken from ``Authorization`` only, never from the address.

What is demanded beyond a good token stands in the query of the exact path, or in the field ``X-Auth-Require``. Below
the path the query is the client's, because gateways append it there, and is ignored.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.requirements import Requirements, demands_of_header, demands_of_query, identity_headers
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import NO_STORE
from velro_auth.web.responses import RawResponse

_PLAIN_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")

# A gateway asks with the same few again and again. What is wrong is not remembered.
_of_query: Final = functools.lru_cache(maxsize=128)(demands_of_query)
_of_header: Final = functools.lru_cache(maxsize=128)(demands_of_header)


@dataclass(frozen=True)
class VerifyEndpoint:
    """Answers 200 with the identity in headers, 400, 401, 403, or 503 when the token cannot be judged."""

    sessions: Sessions

    name: ClassVar = "verify"
    #: Every method there is: the lanes hang it by its path alone.
    methods: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar = ("/api/v1/auth/verify",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer whether the token is good, and whose it is."""
        environ = request.environ
        context = RequestContext.of(environ)
        # First, so that a misspelt demand shows with any token.
        asked = self._requirements(environ, context)
        token = bearer_token(environ.get("HTTP_AUTHORIZATION"))
        verdict = self.sessions.verify(token, context, strict=any(requirements.strict for requirements in asked))
        for requirements in asked:
            requirements.check(verdict.claims)
        headers = [_PLAIN_TEXT, NO_STORE, *identity_headers(verdict.claims).items()]
        if verdict.degraded:
            headers.append(("X-Auth-Mode", "degraded"))
        return RawResponse(b"", headers)

    def _requirements(self, environ: Mapping[str, Any], context: RequestContext) -> Iterable[Requirements]:
        """Return all demands; each only adds to the others.

        Raises:
            BadParameter: One of them cannot be understood.
        """
        query, field = environ.get("QUERY_STRING"), environ.get("HTTP_X_AUTH_REQUIRE")
        # Most gateways demand nothing more: parsing nothing costs a quarter of the rest.
        if not query and not field:
            return ()
        asked = [_of_query(query)] if query and environ["PATH_INFO"] in self.paths else []
        if field and context.peer_is_trusted:
            asked.append(_of_header(field))
        elif field:
            context.notes["ignored"] = "X-Auth-Require: its sender is not in TRUSTED_PROXIES"
        return asked
