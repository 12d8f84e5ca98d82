"""Checks whether this service accepts the tokens that its own logins return, and finds the wrong setting if not.

A login returns Supabase's access token without verifying it. If an issuer, a secret, a hook or a clock is wrong, every
login is answered with 200, and every later request with 401.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.tokens import MAX_TOKEN_BYTES, ClaimRules, read_token
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.errors import TokenExpired, TokenInvalid

#: Claims without which a token is refused, by the contract of ``verify``.
REQUIRED_CLAIMS: Final = ("iss", "aud", "sub", "session_id", "exp")

#: Longer values of claims are truncated in logs.
_MAX_VALUE_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason why issued tokens are refused here, and what to do about it.

    Attributes:
        name: A stable identifier.
        sentence: The reason, for an operator.
        fix: What to change.
    """

    name: str
    sentence: str
    fix: str

    def __str__(self) -> str:
        """Return sentence and fix as one line."""
        return f"{self.sentence}: {self.fix}"


TOO_LARGE: Final = Cause(
    "too_large",
    "access tokens are larger than verify, me and logout accept",
    f"keep app_metadata, user_metadata and the hook's claims so small that a token has at most {MAX_TOKEN_BYTES} bytes",
)
CLAIM_MISSING: Final = Cause(
    "claim_missing",
    "access tokens lack a claim that every token has to have (iss, aud, sub, session_id, exp)",
    "let the access token hook add to the claims that it is given, and return all of them",
)
ISSUER: Final = Cause(
    "issuer",
    "access tokens name an issuer that is not accepted here",
    "set AUTH_ISSUERS to the issuer that they name, or correct SUPABASE_URL",
)
CLOCK_SLOW: Final = Cause(
    "clock_slow",
    "access tokens are from the future, so this machine's clock is slow",
    "set the clock (timedatectl set-ntp true)",
)
CLOCK_FAST: Final = Cause(
    "clock_fast",
    "access tokens have expired when they are issued, so this machine's clock is fast",
    "set the clock (timedatectl set-ntp true)",
)
SECRET: Final = Cause(
    "secret",
    "access tokens are not signed with SUPABASE_JWT_SECRET",
    "set SUPABASE_JWT_SECRET to the secret of the project (Project Settings, JWT Keys), or clear it",
)
SIGNATURE: Final = Cause(
    "signature",
    "access tokens are not signed with the key that the project publishes under their key's name",
    "look whether SUPABASE_URL leads to the project that issues them",
)
OTHER: Final = Cause(
    "other",
    "access tokens are refused here",
    "look at what the access token hook changes, and at what the log says with 'detail'",
)

#: Number → cause; 0 stands for none. Workers exchange these numbers.
CAUSES: Final = (None, TOO_LARGE, CLAIM_MISSING, ISSUER, CLOCK_SLOW, CLOCK_FAST, SECRET, SIGNATURE, OTHER)


@dataclass(frozen=True, slots=True)
class Refused:
    """An issued token that is refused here.

    Attributes:
        cause: Why.
        detail: The values that were found. Never the token.
    """

    cause: Cause
    detail: str


class IssuedTokenCheck:
    """Verifies issued tokens with the same rules as incoming ones.

    Args:
        verifier: A verifier without a deny-list, because the user may have logged out meanwhile.
        rules: The verifier's rules for claims.
    """

    def __init__(self, verifier: TokenVerifier, rules: ClaimRules) -> None:
        self._verifier = verifier
        self._rules = rules

    def refused(self, token: str) -> Refused | None:
        """Return why *token* is refused; None if it is accepted, or only Supabase can check it."""
        try:
            self._verifier.verify(token)
        except CannotVerify:
            return None
        except (TokenInvalid, TokenExpired) as error:
            return self._diagnosis(token, error.reason)
        return None

    def _diagnosis(self, token: str, reason: str) -> Refused:
        if len(token) > MAX_TOKEN_BYTES:
            return Refused(TOO_LARGE, f"{len(token)} bytes; {MAX_TOKEN_BYTES} are accepted")
        try:
            unproven = read_token(token)
        except TokenInvalid as error:
            return Refused(OTHER, error.reason)
        if fault := self._fault_of_claims(unproven.claims):
            return fault
        return Refused(SECRET if unproven.algorithm == "HS256" else SIGNATURE, reason)

    def _fault_of_claims(self, claims: Mapping[str, Any]) -> Refused | None:
        if missing := [name for name in REQUIRED_CLAIMS if claims.get(name) is None]:
            return Refused(CLAIM_MISSING, f"missing: {', '.join(missing)}")
        if not isinstance(claims["iss"], str) or claims["iss"] not in self._rules.issuers:
            accepted = ", ".join(self._rules.issuers)
            return Refused(ISSUER, f"iss is {_shown(claims['iss'])}; accepted: {accepted}")
        try:
            self._rules.check(claims)
        except TokenExpired:
            return Refused(CLOCK_FAST, f"expired {self._rules.now() - claims['exp']:.0f} s ago")
        except TokenInvalid as error:
            ahead_s = max(_number(claims.get(name)) for name in ("iat", "nbf")) - self._rules.now()
            if ahead_s > self._rules.leeway_s:
                return Refused(CLOCK_SLOW, f"issued {ahead_s:.0f} s in the future")
            return Refused(OTHER, error.reason)
        return None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _shown(value: object) -> str:
    return repr(value)[:_MAX_VALUE_LENGTH]
