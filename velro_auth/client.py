"""For Python backends behind the gateway: who sends this request? Answered without a request of their own.

::

    from velro_auth.client import TokenGuard

    auth = TokenGuard("https://abcdefgh.supabase.co")

    @app.get("/reports")
    @auth.require_user(role="admin", aal="aal2")
    def reports():
        return {"for": auth.current_user().email}

The project's public keys are fetched in the background, when the first token comes and then every ten minutes.
Nothing here needs the gateway to be up, and nothing here learns of a logout before the token ends unless a
deny-list is given.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from velro_auth.auth.bearer import bearer_token
from velro_auth.auth.keys import secret_key
from velro_auth.auth.requirements import LEVELS, Requirements
from velro_auth.auth.tokens import ClaimRules, Claims
from velro_auth.auth.verifier import Denied, TokenVerifier
from velro_auth.errors import VelroAuthError
from velro_auth.upstream.jwks import KeyStore
from velro_auth.upstream.jwks_http import HttpKeySet

P = ParamSpec("P")
R = TypeVar("R")

#: As the gateway takes it from callers.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """Who sent a request.

    Attributes:
        id: The user's id.
        email: The mail address; None for users without one.
        role: The application's role; None without one.
        aal: The assurance level of the session (``aal1``, ``aal2``).
        session_id: The session.
        is_anonymous: Whether the user never gave an address.
        claims: Everything the token says.
    """

    id: str
    email: str | None
    role: str | None
    aal: str
    session_id: str
    is_anonymous: bool
    claims: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, claims: Claims) -> User:
        """Return the user of checked claims."""
        return cls(
            id=claims.sub,
            email=claims.email,
            role=claims.user_role,
            aal=claims.aal,
            session_id=claims.session_id,
            is_anonymous=claims.is_anonymous,
            claims=claims.raw,
        )


class TokenGuard:
    """Lets in who carries a good access token. One per process, shared by all threads.

    Args:
        supabase_url: The project's address, ``https://….supabase.co``.
        jwt_secret: The legacy JWT secret, for projects that (still) sign with HS256.
        issuers: Accepted values of ``iss`` where the project has a domain of its own; by default
            ``<supabase_url>/auth/v1``.
        fetch: Returns the JWKS document; by default it is fetched from the project.
        denied: A deny-list, such as the gateway's in Redis; by default a token is good until it ends.
        accepts_oauth_clients: Whether tokens of third-party applications count as the user's own.
        clock: A clock that never jumps.
        now: The wall clock.

    Raises:
        ValueError: The address or the secret cannot be right.
    """

    def __init__(
        self,
        supabase_url: str,
        *,
        jwt_secret: str | None = None,
        issuers: Collection[str] = (),
        fetch: Callable[[], bytes] | None = None,
        denied: Denied | None = None,
        accepts_oauth_clients: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        base = _base(supabase_url)
        fetch = fetch or HttpKeySet(url=f"{base}/.well-known/jwks.json")
        self._keys = KeyStore(fetch=fetch, clock=clock)
        self._verifier = TokenVerifier(
            keys=self._keys,
            rules=ClaimRules(
                issuers=frozenset(issuers or (base,)), now=now, accepts_oauth_clients=accepts_oauth_clients
            ),
            secret=secret_key(jwt_secret) if jwt_secret else None,
            denied=denied,
            clock=clock,
        )

    def verify_bearer(self, header: str | None, *, requirements: Requirements | None = None) -> User:
        """Return the user of an ``Authorization`` header. For any framework, or none.

        Args:
            header: Its value, None when there is no such header.
            requirements: What the user must have beyond a good token.

        Raises:
            TokenMissing: No bearer token was sent.
            TokenInvalid: The token was judged and refused.
            TokenExpired: The token was good once.
            Forbidden: The role, or (InsufficientAal) the assurance level, is not the demanded one.
            CannotJudge: The signing keys are not known: they could not be fetched, or the project signs with
                HS256 and no secret is given. Answer 503, not 401: the user is not at fault.
        """
        claims = self._verifier.verify(bearer_token(header))
        if requirements is not None:
            requirements.check(claims)
        return User.of(claims)

    def require_user(
        self, *, role: str | Collection[str] = (), aal: str = ""
    ) -> Callable[[Callable[P, R]], Callable[P, Any]]:
        """Return a decorator for Flask views that only users with a good token get through.

        Everybody else gets the same JSON answers that the gateway gives: 401 with ``WWW-Authenticate``, 403, or
        503 with ``Retry-After``. Put it below the route's decorator.

        Args:
            role: The application role the user must have, or several of which one will do.
            aal: The least assurance level of the session.

        Raises:
            ValueError: There is no such level.
        """
        if aal and aal not in LEVELS:
            raise ValueError(f"aal is {aal!r}, not one of {', '.join(LEVELS)}")
        requirements = Requirements(roles=frozenset((role,) if isinstance(role, str) else role), aal=aal)

        def decorate(view: Callable[P, R]) -> Callable[P, Any]:
            @wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
                import flask  # noqa: PLC0415 (who does not use this decorator needs no Flask)

                try:
                    flask.g.velro_user = self.verify_bearer(
                        flask.request.headers.get("Authorization"), requirements=requirements
                    )
                except VelroAuthError as error:
                    return _problem(error, flask.request.environ)
                return flask.current_app.ensure_sync(view)(*args, **kwargs)

            return guarded

        return decorate

    def current_user(self) -> User:
        """Return the user of the current Flask request.

        Raises:
            RuntimeError: The view is not decorated with :meth:`require_user`.
        """
        import flask  # noqa: PLC0415 (as above)

        user = flask.g.get("velro_user")
        if not isinstance(user, User):
            raise RuntimeError("there is no user: decorate the view with require_user()")  # noqa: TRY004
        return user

    def warm(self) -> None:
        """Fetch the keys ahead of the first request, without waiting. Call it in a worker, after the fork."""
        self._keys.warm()

    def close(self) -> None:
        """Fetch no more keys."""
        self._keys.close()


def _base(supabase_url: str) -> str:
    parts = urlsplit(supabase_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("supabase_url is not an address like https://abcdefgh.supabase.co")
    return supabase_url.strip().rstrip("/").removesuffix("/auth/v1") + "/auth/v1"


def _problem(error: VelroAuthError, environ: Mapping[str, Any]) -> Any:
    """Return the answer that the gateway would give."""
    from velro_auth.context import RequestContext  # noqa: PLC0415
    from velro_auth.web import problems  # noqa: PLC0415

    sent = environ.get("HTTP_X_REQUEST_ID", "")
    request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    own = dict(environ)
    RequestContext(request_id=request_id, address="", arrived_s=time.monotonic()).attach(own)
    return problems.respond(error, own)
