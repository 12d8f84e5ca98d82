"""The one place a token may come from: ``Authorization: Bearer …`` (RFC 6750, 2.1)."""

from __future__ import annotations

from velro_auth_client.core.auth.tokens import MAX_TOKEN_BYTES
from velro_auth_client.core.context import OVERSIZE, RequestContext
from velro_auth_client.core.errors import TokenInvalid, TokenMissing


def bearer_token(header: str | None) -> str:
    """Return the token of an ``Authorization`` header.

    Raises:
        TokenMissing: There is no such header, or it is of another scheme, or holds no token.
        TokenInvalid: There is more than one token.
    """
    scheme, _, rest = (header or "").strip(" ").partition(" ")
    token = rest.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing("no bearer token was sent")
    if " " in token or "," in token:
        # Servers join header lines with a comma; two of them are two opinions about who this is.
        raise TokenInvalid("more than one token was sent")
    return token


def note_too_large(token: str, context: RequestContext) -> None:
    """Note, for the log and the metrics, an access token that was handed out and fits into no ``Authorization``."""
    if len(token) > MAX_TOKEN_BYTES:
        context.notes[OVERSIZE] = len(token)
