"""The PKCE grant: an authorization code and its verifier in, a session out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from supabase_standin import flow_states, params, sessions, users
from supabase_standin.backend import Backend, Call, audit
from supabase_standin.errors import Failure

FIELDS: Final[Mapping[str, type]] = {"auth_code": str, "code_verifier": str}


def trade(backend: Backend, call: Call) -> dict[str, Any]:
    """Answer ``POST /token?grant_type=pkce``; a wrong verifier leaves the code as it is.

    Raises:
        Failure: The code is unknown, used or old, or the verifier is not its own.
    """
    given = params.read(call.body, struct="PKCEGrantParams", fields=FIELDS)
    code, verifier = given.get("auth_code", ""), given.get("code_verifier", "")
    if not code or not verifier:
        text = "invalid request: both auth code and code verifier should be non-empty"
        raise Failure(400, "validation_failed", text)
    with backend.auth.transaction() as connection:
        flow = flow_states.by_code(connection, code)
        user = users.by_id(connection, flow.user_id) if flow and flow.user_id else None
        if flow is None or user is None:
            raise Failure(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
        if flow.is_expired(backend.clock(), backend.config.flow_state_exp_s):
            raise Failure(422, "flow_state_expired", "invalid flow state, flow state has expired")
        if not flow.matches(verifier):
            text = "code challenge does not match previously saved code verifier"
            raise Failure(400, "bad_code_verifier", text)
        audit(connection, user, call, action="login", now=backend.clock())
        answer = sessions.begin(backend, connection, call, user.id, method=flow.authentication_method)
        flow_states.delete(connection, flow.id)
    provided = {
        "provider_token": flow.provider_access_token,
        "provider_refresh_token": flow.provider_refresh_token,
    }
    return answer | {name: value for name, value in provided.items() if value}
