"""Verifies access tokens here, without asking Supabase.

An ES256 signature costs about 0.1 ms to check, so verified tokens are cached for up to a minute under the SHA-256 of
the token. The key, the time and the deny-list are checked every time, so a revoked key, an expired token and an ended
session are refused at once.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from velro_auth_client.core.auth.keys import CannotVerify, Key, Keys
from velro_auth_client.core.auth.tokens import MAX_TOKEN_BYTES, ClaimRules, Claims, UnprovenToken, read_token
from velro_auth_client.core.errors import SessionGone, TokenError, TokenInvalid

#: Algorithms of public keys that are verified here.
ASYMMETRIC: Final = frozenset({"ES256", "RS256", "EdDSA"})

#: Further algorithms that Supabase Auth can sign with; not verified here.
LEFT_TO_SUPABASE: Final = frozenset({"ES512", "RS512"})


class Denied(Protocol):
    """Sessions that ended before their tokens expired."""

    def denies(self, claims: Claims, *, waits: bool = True) -> bool:
        """Return whether the session of these claims was ended.

        Args:
            claims: The claims of a good token.
            waits: Whether this may wait for another process. Without its answer the result is True.
        """


class _Verified(NamedTuple):
    key: Key
    claims: Claims


class TokenVerifier:
    """Verifies access tokens by their signature and their claims.

    Args:
        keys: The project's signing keys.
        rules: Rules for the claims.
        secret: The key of HS256 tokens. Without it Supabase has to check them. It is never used for another
            algorithm, and no other key is ever used for HS256.
        denied: The deny-list; None for none.
        cache_size: How many verified tokens are cached; 0 for none. One takes 3 to 10 KiB.
        cache_ttl_s: How long they are cached.
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
        self._denied = denied
        self._cache_size, self._cache_ttl_s = cache_size, cache_ttl_s
        self._clock = clock
        # Digest → what was verified, and until when it is cached; oldest first. cachetools takes 3 µs a look-up.
        self._verified: OrderedDict[bytes, tuple[_Verified, float]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def remembered(self) -> int:
        """How many verified tokens are cached; for a metric."""
        with self._lock:
            self._drop_expired()
            return len(self._verified)

    def verify(self, token: str) -> Claims:
        """Return the claims of a good token.

        Raises:
            TokenInvalid: The token was refused, or its session was ended.
            TokenExpired: The token has expired.
            CannotVerify: Supabase has to be asked: the key or the secret is not known here.
        """
        digest = token_digest(token)
        verified = self._remembered(digest)
        if verified is None:
            verified = self._check(token)
            self._remember(digest, verified)
        else:
            self._rules.check_expiry(verified.claims)
        return self._admitted(verified.claims)

    def known(self, token: str) -> Claims | None:
        """Return the claims of a good token that is cached; None where only :meth:`verify` can tell. Never waits."""
        try:
            verified = self._remembered(token_digest(token), waits=False)
            if verified is None:
                return None
            self._rules.check_expiry(verified.claims)
        except TokenError:
            return None
        is_denied = self._denied is not None and self._denied.denies(verified.claims, waits=False)
        return None if is_denied else verified.claims

    def check_claims(self, token: str) -> Claims:
        """Return the claims of a token whose signature Supabase checks.

        Raises:
            TokenInvalid: The claims are not accepted, or the session was ended.
            TokenExpired: The token has expired.
        """
        return self._admitted(self._rules.check(read_token(token).claims))

    def _check(self, token: str) -> _Verified:
        unverified = read_token(token)
        try:
            key = self._key_for(unverified)
        except CannotVerify:
            # Supabase need not be asked about a token whose claims are refused here.
            self._rules.check(unverified.claims)
            raise
        if not key.signed(unverified.signed_part, unverified.signature):
            raise TokenInvalid("the signature is wrong")
        return _Verified(key, self._rules.check(unverified.claims))

    def _key_for(self, token: UnprovenToken) -> Key:
        """Return the key that must have signed this token.

        Raises:
            TokenInvalid: The algorithm is not accepted, or not the one of the key.
            CannotVerify: The key is not known here.
        """
        if token.algorithm == "HS256":
            # By algorithm, not by kid: Supabase sets a kid in HS256 tokens too.
            if self._secret is None:
                raise CannotVerify("an HS256 token, and no JWT secret is set")
            return self._secret
        if token.algorithm in LEFT_TO_SUPABASE:
            raise CannotVerify(f"{token.algorithm} is not verified here")
        if token.algorithm not in ASYMMETRIC:
            raise TokenInvalid("the algorithm is not accepted")
        key = self._keys.find(token.kid)
        if key.algorithm != token.algorithm:
            raise TokenInvalid("the algorithm is not the one of the key")
        return key

    def _admitted(self, claims: Claims) -> Claims:
        if self._denied is not None and self._denied.denies(claims):
            raise SessionGone("the session was ended")
        return claims

    def _remembered(self, digest: bytes, *, waits: bool = True) -> _Verified | None:
        with self._lock:
            found = self._verified.get(digest)
            if found is None or found[1] <= self._clock():
                return None
        verified = found[0]
        is_trusted = verified.key is self._secret or self._keys.trusts(verified.key, waits=waits)
        return verified if is_trusted else None

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if not self._cache_size:
            return
        with self._lock:
            self._drop_expired()
            self._verified.pop(digest, None)
            if len(self._verified) >= self._cache_size:
                self._verified.popitem(last=False)
            self._verified[digest] = verified, self._clock() + self._cache_ttl_s

    def _drop_expired(self) -> None:
        now_s = self._clock()
        while self._verified and next(iter(self._verified.values()))[1] <= now_s:
            self._verified.popitem(last=False)


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
