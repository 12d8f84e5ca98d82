"""Supabase Auth as an OAuth client: where a sign-in with a provider begins, and what refusals at its end mean."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from velro_auth import errors
from velro_auth.auth.oauth import WrongVerifier
from velro_auth.upstream.translate import ANYWHERE, Question

#: ``POST /token?grant_type=pkce``. A ban, and a refusal of a hook, look like a wrong code.
PKCE_GRANT: Final = Question(
    codes={
        **ANYWHERE,
        "bad_code_verifier": WrongVerifier,
        "flow_state_not_found": errors.LinkInvalid,
        "flow_state_expired": errors.LinkInvalid,
        "flow_state_already_used": errors.LinkInvalid,
        "validation_failed": errors.LinkInvalid,
        "user_banned": errors.LinkInvalid,
        "user_not_found": errors.LinkInvalid,
        "unknown": errors.LinkInvalid,
    },
    refused=errors.LinkInvalid,
)


def authorize_url(project_url: str, *, provider: str, redirect_to: str, challenge: str) -> str:
    """Return the address at which Supabase begins a sign-in with *provider*.

    Args:
        project_url: Address of the project.
        provider: Supabase's name of the provider.
        redirect_to: Where Supabase sends the browser at the end. The project has to allow it.
        challenge: Our PKCE challenge, by the method S256.
    """
    query = {
        "provider": provider,
        "redirect_to": redirect_to,
        "code_challenge": challenge,
        "code_challenge_method": "s256",
    }
    return f"{project_url.rstrip('/')}/auth/v1/authorize?{urlencode(query)}"
