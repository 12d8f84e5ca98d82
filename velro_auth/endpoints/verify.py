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
from typing import Any, ClassVar, Final, NamedTuple

from werkzeug.wrappers import Request

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.introspection import Introspection
from velro_auth.auth.requirements import (
    Requirements,
    identity_headers,
    requirements_of_header,
    requirements_of_query,
)
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import Claims
from velro_auth.context import SAME_ANSWER, RequestContext, SameAnswer
from velro_auth.endpoints.bodies import NO_STORE, PLAIN_TEXT, RawResponse
from velro_auth.errors import BadParameter, TokenError

# Gateways send the same few texts again and again. Errors are not cached.
_of_query: Final = functools.lru_cache(maxsize=128)(requirements_of_query)
_of_header: Final = functools.lru_cache(maxsize=128)(requirements_of_header)


@functools.lru_cache(maxsize=1024)
def _identity(
    sub: str, email: str | None, user_role: str | None, aal: str, session_id: str
) -> Sequence[tuple[str, str]]:
    claims = Claims(sub=sub, session_id=session_id, exp=0, email=email, user_role=user_role, aal=aal)
    return tuple(identity_headers(claims).items())


def _user(claims: Claims) -> tuple[str, str | None, str | None, str, str]:
    return claims.sub, claims.email, claims.user_role, claims.aal, claims.session_id


#: WSGI environ key: what was found by ``answers_at_once``, for the answer that follows.
_KNOWN: Final = "velro_auth.known_token"


class KnownToken(NamedTuple):
    """A token that was found good before its request is answered."""

    token: str
    result: Introspection

    @classmethod
    def of(cls, environ: Mapping[str, Any], token: str) -> Introspection | None:
        """Return what is known of *token*."""
        known: KnownToken | None = environ.get(_KNOWN)
        return known.result if known is not None and known.token == token else None


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
        # First, so that a misspelt requirement is reported with any token.
        requirements = requirements_of(environ, context, self.paths)
        token = bearer_token(environ.get("HTTP_AUTHORIZATION"))
        strict, result = any(required.strict for required in requirements), KnownToken.of(environ, token)
        if strict or result is None:
            result = self.sessions.verify(token, context, strict=strict)
        for required in requirements:
            required.check(result.claims)
        if context.required is not None:
            context.required.check(result.claims)
        headers = [PLAIN_TEXT, NO_STORE, *_identity(*_user(result.claims))]
        if result.degraded:
            headers.append(("X-Auth-Mode", "degraded"))
        return RawResponse(b"", headers)

    def answers_at_once(self, request: Request, token: str | None = None) -> bool:
        """Return whether *request* can be answered without waiting for anything.

        If so, the answer is made of what was found here: a moment later it might have to wait.

        Args:
            request: The request, before it has a context.
            token: The token of its cookie; None to read ``Authorization``.
        """
        environ, read = request.environ, "HTTP_COOKIE"
        try:
            if token is None:
                read = "HTTP_AUTHORIZATION"
                token = bearer_token(environ.get(read))
            result = self.sessions.known(token)
            # After the token check: the requirements of a request without a good token are not read.
            if result is None or _may_be_strict(environ, self.paths):
                return False
        except (BadParameter, TokenError):
            return False
        environ[_KNOWN] = KnownToken(token, result)
        if not environ.get("QUERY_STRING") and not environ.get("HTTP_X_AUTH_REQUIRE"):
            # Without a requirement the answer is who the user is, and nothing else.
            environ[SAME_ANSWER] = SameAnswer(_user(result.claims), read, environ.get(read))
        return True


def _may_be_strict(environ: Mapping[str, Any], paths: Collection[str]) -> bool:
    """Return whether Supabase may have to be asked, by query or header. The header may come from any sender."""
    query, header = environ.get("QUERY_STRING"), environ.get("HTTP_X_AUTH_REQUIRE")
    if query and environ["PATH_INFO"] in paths and _of_query(query).strict:
        return True
    return bool(header) and _of_header(header).strict


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
