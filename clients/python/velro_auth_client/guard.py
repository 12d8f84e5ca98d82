"""The token guard: who sends this request? For any framework."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from velro_auth_client.core.auth.bearer import bearer_token
from velro_auth_client.core.auth.keys import secret_key
from velro_auth_client.core.auth.requirements import LEVELS, Requirements
from velro_auth_client.core.auth.tokens import ClaimRules, Claims
from velro_auth_client.core.auth.verifier import Denied, TokenVerifier
from velro_auth_client.core.upstream.jwks import KeyStore
from velro_auth_client.key_set import HttpKeySet


@dataclass(frozen=True, slots=True)
class User:
    """Who sent a request.

    Attributes:
        id: The user's id, a UUID.
        email: The mail address; None for users without one.
        role: The application's role; None without one.
        aal: The assurance level of the session (``aal1``, ``aal2``); empty when the token does not say.
        session_id: The session, a UUID.
        is_anonymous: Whether the user never gave an address.
        claims: Every claim of the token.
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
    """Verifies access tokens with the project's public keys. One per process, shared by all threads.

    The keys are fetched in the background: with the first token, and every ten minutes after that. The gateway need
    not be up. Without a deny-list a token stays good until it expires, also after a logout.

    Args:
        supabase_url: The project's address, ``https://….supabase.co``.
        jwt_secret: The legacy JWT secret, for projects that sign with HS256.
        issuers: Accepted values of ``iss``; by default ``<supabase_url>/auth/v1``.
        fetch: Returns the JWKS document; by default it is fetched from the project.
        denied: A deny-list, such as the gateway's in Redis.
        accepts_oauth_clients: Whether tokens issued to third-party applications are accepted.
        clock: Seconds that never go back.
        now: Seconds since 1970.

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
        self._keys = KeyStore(fetch=fetch or HttpKeySet(url=f"{base}/.well-known/jwks.json"), clock=clock)
        self._verifier = TokenVerifier(
            keys=self._keys,
            rules=ClaimRules(
                issuers=frozenset(issuers or (base,)), now=now, accepts_oauth_clients=accepts_oauth_clients
            ),
            secret=secret_key(jwt_secret) if jwt_secret else None,
            denied=denied,
            clock=clock,
        )

    def verify_bearer(self, header: str | None, *, role: str | Collection[str] = (), aal: str = "") -> User:
        """Return the user of an ``Authorization`` header.

        Args:
            header: Its value; None when there is no such header.
            role: The application role the user must have, or several of which one is enough.
            aal: The least assurance level of the session (NIST SP 800-63B-4).

        Raises:
            TokenMissing: No bearer token was sent.
            TokenInvalid: The token was verified and refused.
            TokenExpired: The token has expired.
            Forbidden: The user has none of the roles.
            InsufficientAal: The session is below the level.
            CannotVerify: The signing keys are not known: they could not be fetched, or the project signs with
                HS256 and no secret is set. Answer 503, not 401: the user did nothing wrong.
            ValueError: There is no such level.
        """
        return self._verify(header, requirements_of(role, aal))

    def _verify(self, header: str | None, requirements: Requirements) -> User:
        claims = self._verifier.verify(bearer_token(header))
        requirements.check(claims)
        return User.of(claims)

    def warm(self) -> None:
        """Fetch the keys before the first request, without waiting. Call it in a worker, after the fork."""
        self._keys.warm()

    def close(self) -> None:
        """Fetch no more keys."""
        self._keys.close()


def requirements_of(role: str | Collection[str], aal: str) -> Requirements:
    """Return what a token must have.

    Raises:
        ValueError: There is no such level.
    """
    if aal and aal not in LEVELS:
        raise ValueError(f"aal is {aal!r}, not one of {', '.join(LEVELS)}")
    return Requirements(roles=frozenset((role,) if isinstance(role, str) else role), aal=aal)


def _base(supabase_url: str) -> str:
    parts = urlsplit(supabase_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("supabase_url is not an address like https://abcdefgh.supabase.co")
    return supabase_url.strip().rstrip("/").removesuffix("/auth/v1") + "/auth/v1"
