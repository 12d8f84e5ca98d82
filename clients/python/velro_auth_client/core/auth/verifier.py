"""Judges access tokens here, without asking Supabase.

An ES256 signature costs about 0.1 ms to check, so verified tokens are remembered for up to a minute under the
SHA-256 of the token. What is remembered is the signature only: the key, the time and the deny-list are
looked at each time, so a revoked key, an expired token or an ended session is refused at once all the same.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from cachetools import TTLCache

from velro_auth_client.core.auth.keys import CannotVerify, Key, Keys
from velro_auth_client.core.auth.tokens import MAX_TOKEN_BYTES, ClaimRules, Claims, UnprovenToken, read_token
from velro_auth_client.core.errors import TokenInvalid

#: Algorithms of public keys that are judged here.
ASYMMETRIC: Final = frozenset({"ES256", "RS256", "EdDSA"})

#: What Supabase Auth can be told to sign with beyond those: real, but not judged here.
LEFT_TO_SUPABASE: Final = frozenset({"ES512", "RS512"})


class Denied(Protocol):
    """Sessions that ended before their tokens did."""

    def denies(self, claims: Claims) -> bool:
        """Say whether the session of these claims was ended."""


class DeniesNobody:
    """The twin for those who keep no deny-list."""

    def denies(self, claims: Claims) -> bool:  # noqa: ARG002 (the protocol's signature)
        """Say no."""
        return False


class _Proven(NamedTuple):
    key: Key
    claims: Claims


class TokenVerifier:
    """Says whether an access token is good, by its signature and its claims.

    Args:
        keys: The project's signing keys.
        rules: What the claims have to be.
        secret: The key of HS256 tokens. Without it they are left to Supabase. It is never used for another
            algorithm, and no other key is ever used for HS256.
        denied: The deny-list.
        cache_size: How many proven tokens are remembered; 0 switches it off. One takes 3 to 10 KiB.
        cache_ttl_s: For how long.
        clock: A clock that never jumps, for the cache.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        rules: ClaimRules,
        secret: Key | None = None,
        denied: Denied | None = None,
        cache_size: int = 2048,
        cache_ttl_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._rules = rules
        self._secret = secret
        self._denied = denied or DeniesNobody()
        self._proven: TTLCache[bytes, _Proven] = TTLCache(cache_size, cache_ttl_s, timer=clock)
        self._lock = threading.Lock()

    @property
    def remembered(self) -> int:
        """How many proven tokens are remembered; for a metric."""
        with self._lock:
            # Even this drops what has expired.
            return len(self._proven)

    def verify(self, token: str) -> Claims:
        """Return the claims of a good token.

        Raises:
            TokenInvalid: The token was judged and refused, or its session was ended.
            TokenExpired: The token was good once.
            CannotJudge: Supabase has to be asked: the key is not known here, or the secret is not.
        """
        digest = token_digest(token)
        proven = self._remembered(digest)
        if proven is None:
            proven = self._prove(token)
            self._remember(digest, proven)
        else:
            self._rules.check_expiry(proven.claims)
        return self._admitted(proven.claims)

    def read_vouched(self, token: str) -> Claims:
        """Return the claims of a token whose signature somebody else has vouched for.

        Raises:
            TokenInvalid: The claims are not acceptable here, or the session was ended.
            TokenExpired: The token was good once.
        """
        return self._admitted(self._rules.check(read_token(token).claims))

    def _prove(self, token: str) -> _Proven:
        unproven = read_token(token)
        try:
            key = self._key_for(unproven)
        except CannotVerify:
            # Nobody needs to be asked about a token that its own claims condemn.
            self._rules.check(unproven.claims)
            raise
        if not key.signed(unproven.signed_part, unproven.signature):
            raise TokenInvalid("the signature is wrong")
        return _Proven(key, self._rules.check(unproven.claims))

    def _key_for(self, unproven: UnprovenToken) -> Key:
        """Return the key that has to have signed this token.

        Raises:
            TokenInvalid: The algorithm is not accepted, or not the one of the key.
            CannotJudge: The key is not known here.
        """
        if unproven.algorithm == "HS256":
            # By algorithm, not by name: Supabase puts a kid on HS256 tokens too.
            if self._secret is None:
                raise CannotVerify("an HS256 token, and no JWT secret is set")
            return self._secret
        if unproven.algorithm in LEFT_TO_SUPABASE:
            raise CannotVerify(f"{unproven.algorithm} is not judged here")
        if unproven.algorithm not in ASYMMETRIC:
            raise TokenInvalid("the algorithm is not accepted")
        key = self._keys.find(unproven.kid)
        if key.algorithm != unproven.algorithm:
            raise TokenInvalid("the algorithm is not the one of the key")
        return key

    def _admitted(self, claims: Claims) -> Claims:
        if self._denied.denies(claims):
            raise TokenInvalid("the session was ended")
        return claims

    def _remembered(self, digest: bytes) -> _Proven | None:
        with self._lock:
            proven = self._proven.get(digest)
        if proven is None or proven.key is self._secret or self._keys.trusts(proven.key):
            return proven
        return None

    def _remember(self, digest: bytes, proven: _Proven) -> None:
        if self._proven.maxsize:
            with self._lock:
                self._proven[digest] = proven


def token_digest(token: str) -> bytes:
    """Return the SHA-256 of a token: caches are keyed by it, so that they hold no token (ASVS 14.2.2).

    Raises:
        TokenInvalid: It is too large, or holds a character that no token has.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenInvalid("the token is too large")
    try:
        return hashlib.sha256(token.encode("ascii")).digest()
    except UnicodeEncodeError:
        raise TokenInvalid("the token is not ASCII") from None
