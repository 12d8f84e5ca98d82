"""``/api/v1/auth/verify``: is this token good? For gateways (nginx, Traefik, Caddy, Envoy) and backends.

Any method, any sub-path: Envoy appends the path of the request it asks about and keeps its method. The body is
ignored. The token is read from ``Authorization`` only, never from the URL. ``cookie_sessions`` adds the cookie, and
``protection`` the rules of a site and the way to the login.

Further requirements come from the query of the exact path, or from the header ``X-Auth-Require``. Below the path
the query is the client's, because gateways append it there, and is ignored.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.requirements import (
    Requirements,
    identity_headers,
    requirements_of_header,
    requirements_of_query,
)
from velro_auth.auth.sessions import Sessions
from velro_auth.context import RequestContext
from velro_auth.endpoints.bodies import NO_STORE, PLAIN_TEXT, RawResponse

# Gateways send the same few texts again and again. Errors are not cached.
_of_query: Final = functools.lru_cache(maxsize=128)(requirements_of_query)
_of_header: Final = functools.lru_cache(maxsize=128)(requirements_of_header)


@dataclass(frozen=True)
class VerifyEndpoint:
    """Answers 200 with the identity in headers, 400, 401, 403, or 503 when the token cannot be verified."""

    sessions: Sessions

    name: ClassVar = "verify"
    #: Empty means every method: both lanes route it by path alone.
    methods: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar = ("/api/v1/auth/verify",)

    def __call__(self, request: Request) -> RawResponse:
        """Answer whether the token is good, and who its user is."""
        environ = request.environ
        context = RequestContext.of(environ)
        # First, so that a misspelt requirement is reported whatever the token.
        requirements = requirements_of(environ, context, self.paths)
        token = bearer_token(environ.get("HTTP_AUTHORIZATION"))
        result = self.sessions.verify(token, context, strict=any(required.strict for required in requirements))
        for required in requirements:
            required.check(result.claims)
        if context.required is not None:
            context.required.check(result.claims)
        headers = [PLAIN_TEXT, NO_STORE, *identity_headers(result.claims).items()]
        if result.degraded:
            headers.append(("X-Auth-Mode", "degraded"))
        return RawResponse(b"", headers)


def requirements_of(
    environ: Mapping[str, Any], context: RequestContext, paths: Collection[str]
) -> Sequence[Requirements]:
    """Return the requirements in query and header; the token has to meet each of them.

    Raises:
        BadParameter: One of them cannot be understood.
    """
    query, header = environ.get("QUERY_STRING"), environ.get("HTTP_X_AUTH_REQUIRE")
    # Most gateways require nothing more: this exit saves a quarter of the time.
    if not query and not header:
        return ()
    requirements = [_of_query(query)] if query and environ["PATH_INFO"] in paths else []
    if header and context.peer_is_trusted:
        requirements.append(_of_header(header))
    elif header:
        context.log_fields["ignored"] = "X-Auth-Require: its sender is not in TRUSTED_PROXIES"
    return requirements
