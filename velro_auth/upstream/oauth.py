"""Supabase Auth as an OAuth client: where a sign-in with a provider begins, and the grant that ends it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from velro_auth import errors
from velro_auth.auth.models import Session
from velro_auth.auth.oauth import WrongVerifier
from velro_auth.context import RequestContext
from velro_auth.upstream.calls import AuthCalls
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


class SupabaseCodes:
    """Exchanges authorization codes for sessions.

    Args:
        calls: Asks Supabase Auth.
    """

    def __init__(self, calls: AuthCalls) -> None:
        self._calls = calls
        self._grant = calls.prepare_public("POST", "/token?grant_type=pkce")

    def exchange(self, code: str, verifier: str, context: RequestContext) -> Session:
        """Return the session of *code*.

        Raises:
            WrongVerifier: The code belongs to another verifier; it can still be used.
            LinkInvalid: The code is unknown, used or expired, or its user is banned.
            UpstreamThrottled: Supabase's rate limit is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        body = {"auth_code": code, "code_verifier": verifier}
        return self._calls.new_session(self._grant, context, PKCE_GRANT, body)
