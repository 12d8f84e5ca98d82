"""Recognises API keys of a Supabase project by their form. The form proves nothing; it helps to explain a mistake."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

#: Roles of the older keys, which are JWTs.
_ADMINISTRATORS: Final = frozenset({"service_role", "supabase_admin"})


def opens_administration(key: str) -> bool:
    """Return whether *key* has the form of a secret key."""
    if key.startswith("sb_secret_"):
        return True
    role = (claims_of(key) or {}).get("role")
    return isinstance(role, str) and role in _ADMINISTRATORS


def claims_of(token: str) -> dict[str, Any] | None:
    """Return the claims of a JWT without a check of its signature; None for another text."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
