"""Access tokens: strict parsing, and the rules for their claims.

Signatures are checked elsewhere (``verifier``), because claims are checked in two cases: after a signature was
verified here, and before Supabase is asked about a token that cannot be verified here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from velro_auth_client.core.errors import TokenExpired, TokenInvalid

#: The worker accepts an ``Authorization`` of 16 KiB, ``Bearer `` included. Supabase's tokens have 1 to 2 KiB.
MAX_TOKEN_BYTES: Final = 16 * 1024 - len("Bearer ")

#: Header members that a verifier must understand (RFC 7515, 4.1.11), or that contain a key of the sender
#: (RFC 8725, 3.10). Supabase sends none of them.
FORBIDDEN_HEADERS: Final = frozenset({"b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"})

#: The roles of API keys. Such a token is never the token of a user.
API_KEY_ROLES: Final = frozenset({"anon", "service_role", "supabase_admin"})

#: NumericDate values beyond the year 9999 are invalid; as floats they would lose precision.
MAX_DATE_S: Final = 253_402_300_800

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of an access token.

    Attributes:
        sub: The user's id, a UUID.
        session_id: The session the token belongs to, a UUID.
        exp: When the token ends, in seconds since 1970.
        issued_at: When it was issued; None without ``iat``.
        email: The mail address; None for users without one.
        role: The database role (``authenticated``).
        user_role: The application's role: the ``user_role`` claim, else ``app_metadata.user_role``, else
            None.
        aal: The authenticator assurance level (``aal1``, ``aal2``); empty without ``aal``.
        amr: The methods the user authenticated with, newest first.
        is_anonymous: Whether this is an anonymous user.
        client_id: The third-party application that got the token from Supabase's OAuth server.
        raw: All claims, unchanged.
    """

    sub: str
    session_id: str
    exp: int
    issued_at: int | None = None
    email: str | None = None
    role: str = ""
    user_role: str | None = None
    aal: str = ""
    amr: tuple[str, ...] = ()
    is_anonymous: bool = False
    client_id: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class UnprovenToken:
    """A well-formed token whose signature and claims are not checked yet."""

    algorithm: str
    kid: str
    claims: Mapping[str, Any] = field(repr=False)
    signed_part: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_token(token: str) -> UnprovenToken:
    """Parse a compact JWS (RFC 7515, 3.1) strictly.

    Anything that two parsers could read differently is refused: white space, padding, other alphabets,
    left-over bits, duplicate members.

    Raises:
        TokenInvalid: It is too large or not well-formed, or its header has an unsupported member.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenInvalid("the token is too large")
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 (header, payload, signature)
        raise TokenInvalid("the token has not three parts")
    header = _json_object(_decoded(parts[0]))
    claims = _json_object(_decoded(parts[1]))
    signature = _decoded(parts[2])
    algorithm, kid = _checked_header(header)
    return UnprovenToken(algorithm, kid, claims, f"{parts[0]}.{parts[1]}".encode("ascii"), signature)


def read_claims(token: str) -> Claims:
    """Return the claims of a token without checking it: for tokens that just came from Supabase.

    Raises:
        TokenInvalid: It is not well-formed, or a claim is missing or malformed.
    """
    return _typed(read_token(token).claims)


def claims_of_issued(token: str) -> Claims | None:
    """Return the claims of a token that Supabase just issued; None for a token that ``verify`` would refuse anyway."""
    try:
        return read_claims(token)
    except TokenInvalid:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """Decides whether claims belong to an access token of a user of this project.

    Attributes:
        issuers: Accepted values of ``iss``, compared exactly.
        audience: ``aud`` has to equal or contain it.
        leeway_s: How far clocks may differ, in seconds (ASVS 9.2.1 allows up to 60).
        accepts_oauth_clients: Whether to accept tokens that Supabase's OAuth server issued to third-party
            applications (with ``client_id``). They have the same ``aud`` as the user's own tokens.
        now: The wall clock, because ``exp`` is wall time.
    """

    issuers: Collection[str]
    now: Callable[[], float]
    audience: str = "authenticated"
    leeway_s: float = 30.0
    accepts_oauth_clients: bool = False

    def check(self, claims: Mapping[str, Any]) -> Claims:
        """Return the checked *claims*.

        Raises:
            TokenInvalid: A claim is missing, malformed or not accepted.
            TokenExpired: Only the expiry is wrong.
        """
        self._check_origin(claims)
        self._check_kind(claims)
        checked = _typed(claims)
        self._check_not_early(checked.issued_at, "iat")
        self._check_not_early(_date(claims, "nbf"), "nbf")
        self.check_expiry(checked)
        return checked

    def check_expiry(self, claims: Claims) -> None:
        """Return if the token has not expired.

        Raises:
            TokenExpired: It has.
        """
        if self.now() >= claims.exp + self.leeway_s:
            raise TokenExpired("the token has expired")

    def _check_origin(self, claims: Mapping[str, Any]) -> None:
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or issuer not in self.issuers:
            raise TokenInvalid("iss is not an accepted issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not all(isinstance(name, str) for name in audiences) or self.audience not in audiences:
            raise TokenInvalid("aud is not the accepted audience")

    def _check_kind(self, claims: Mapping[str, Any]) -> None:
        if _text(claims, "role") in API_KEY_ROLES:
            raise TokenInvalid("the role is that of an API key")
        if claims.get("client_id") is not None and not self.accepts_oauth_clients:
            raise TokenInvalid("the token was issued to a third-party application")

    def _check_not_early(self, date_s: int | None, name: str) -> None:
        if date_s is not None and date_s > self.now() + self.leeway_s:
            raise TokenInvalid(f"{name} lies in the future")


def _typed(claims: Mapping[str, Any]) -> Claims:
    return Claims(
        sub=_uuid(claims, "sub"),
        session_id=_uuid(claims, "session_id"),
        exp=_required_date(claims, "exp"),
        issued_at=_date(claims, "iat"),
        email=_text(claims, "email"),
        role=_text(claims, "role") or "",
        user_role=_user_role(claims),
        aal=_text(claims, "aal") or "",
        amr=_methods(claims.get("amr")),
        is_anonymous=claims.get("is_anonymous") is True,
        client_id=_text(claims, "client_id"),
        raw=claims,
    )


def _decoded(segment: str) -> bytes:
    """Return the bytes of a base64url segment; only the canonical encoding is accepted (RFC 7515, 2)."""
    if not _SEGMENT.fullmatch(segment) or len(segment) % 4 == 1:
        raise TokenInvalid("a part is not base64url")
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode("ascii"):
        raise TokenInvalid("a part has left-over bits")
    return raw


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        # Decoded first, because json.loads would detect UTF-16 and UTF-32 in the bytes.
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise TokenInvalid("a part is not well-formed JSON") from error
    if not isinstance(value, dict):
        raise TokenInvalid("a part is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _checked_header(header: Mapping[str, Any]) -> tuple[str, str]:
    algorithm, kid, kind = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT")
    if not isinstance(algorithm, str):
        raise TokenInvalid("alg is missing")
    if not isinstance(kid, str) or len(kid) > 256:  # noqa: PLR2004 (Supabase's are UUIDs)
        raise TokenInvalid("kid is not a short string")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise TokenInvalid("typ is not JWT")
    if not FORBIDDEN_HEADERS.isdisjoint(header):
        raise TokenInvalid("the header has a member that is not accepted")
    return algorithm, kid


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a text claim, or None if it is missing or empty (Supabase writes "none" as empty)."""
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise TokenInvalid(f"{name} is not a string")
    return value or None


def _uuid(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise TokenInvalid(f"{name} is not a UUID")
    return value.lower()


def _date(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    # RFC 7519, 2: a NumericDate may have a fraction. Rounded down, the token expires earlier and counts as older.
    if type(value) not in {int, float} or not 0 < value < MAX_DATE_S:
        raise TokenInvalid(f"{name} is not a date")
    return int(value)


def _required_date(claims: Mapping[str, Any], name: str) -> int:
    value = _date(claims, name)
    if value is None:
        raise TokenInvalid(f"{name} is missing")
    return value


def _user_role(claims: Mapping[str, Any]) -> str | None:
    metadata = claims.get("app_metadata")
    candidates = (claims.get("user_role"), metadata.get("user_role") if isinstance(metadata, dict) else None)
    return next((role for role in candidates if isinstance(role, str) and role), None)


def _methods(amr: Any) -> tuple[str, ...]:
    """Return the names of the methods; a token hook may replace the entries by plain strings."""
    entries = amr if isinstance(amr, list) else []
    names = (entry.get("method") if isinstance(entry, dict) else entry for entry in entries)
    return tuple(name for name in names if isinstance(name, str))
