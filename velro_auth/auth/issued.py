"""Reads the tokens that Supabase just issued, without judging them: they came from Supabase this moment."""

from __future__ import annotations

from velro_auth.auth.models import Session
from velro_auth.auth.tokens import Claims, read_claims
from velro_auth.errors import TokenInvalid


def claims_of(session: Session) -> Claims | None:
    """Return what the access token of a new session says; None for a token that ``verify`` would refuse anyway."""
    try:
        return read_claims(session.access_token)
    except TokenInvalid:
        return None
