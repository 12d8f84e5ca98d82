"""The part of OpenID Connect's discovery document that is the same in every project (Supabase Auth v2.196)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

DISCOVERED: Final[Mapping[str, Sequence[str]]] = {
    "scopes_supported": ["openid", "profile", "email", "phone", "offline_access"],
    "response_types_supported": ["code"],
    "response_modes_supported": ["query"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": ["RS256", "HS256", "ES256"],
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
    "claims_supported": [
        "sub",
        "aud",
        "iss",
        "exp",
        "iat",
        "auth_time",
        "nonce",
        "email",
        "email_verified",
        "phone_number",
        "phone_number_verified",
        "name",
        "picture",
        "preferred_username",
        "updated_at",
    ],
    "code_challenge_methods_supported": ["S256", "plain"],
}
