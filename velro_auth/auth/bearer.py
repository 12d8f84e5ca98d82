"""Reads the bearer token of an ``Authorization`` header, the only source of tokens (RFC 6750, 2.1)."""

from __future__ import annotations

from velro_auth.errors import TokenInvalid, TokenMissing


def bearer_token(header: str | None) -> str:
    """Return the token of an ``Authorization`` header.

    Raises:
        TokenMissing: There is no such header, or it has another scheme or no token.
        TokenInvalid: There is more than one token.
    """
    scheme, _, rest = (header or "").strip(" ").partition(" ")
    token = rest.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing("no bearer token was sent")
    if " " in token or "," in token:
        # Servers join repeated headers with a comma; two tokens may name two users.
        raise TokenInvalid("more than one token was sent")
    return token
