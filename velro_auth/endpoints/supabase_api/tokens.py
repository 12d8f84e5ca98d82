"""``token``, ``logout`` and the grants: how a session begins, goes on and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from velro_auth.auth.denylist import Scope
from velro_auth.auth.freshness import Proof
from velro_auth.auth.login import Login
from velro_auth.auth.models import Credentials, Session
from velro_auth.auth.oauth import CodeExchange, is_supabase_code
from velro_auth.auth.passing import Call, PassedCalls
from velro_auth.auth.sessions import Sessions
from velro_auth.auth.tokens import MAX_TOKEN_BYTES
from velro_auth.context import OVERSIZE
from velro_auth.endpoints.bodies import (
    MAX_REFRESH_TOKEN_LENGTH,
    NO_STORE,
    RawResponse,
    json_answer,
)
from velro_auth.endpoints.supabase_api.asked import Asked, account_of, captcha_of, only, password_of, text_of
from velro_auth.endpoints.supabase_api.passed import answer_of
from velro_auth.errors import InvalidCredentials, InvalidRequest, PassedOn, Told

_MAX_ID_TOKEN_LENGTH: Final = 16 * 1024
_ID_TOKEN: Final = ("provider", "client_id", "id_token", "access_token", "nonce", "issuer", "gotrue_meta_security")


@dataclass(frozen=True)
class Tokens:
    """The handlers."""

    log_in: Login
    sessions: Sessions
    exchange: CodeExchange
    calls: PassedCalls

    def token(self, asked: Asked) -> RawResponse:
        """Answer ``POST /token``."""
        grants: Mapping[str, Callable[[Asked], RawResponse]] = {
            "password": self._password,
            "refresh_token": self._refresh,
            "pkce": self._pkce,
            "id_token": self._id_token,
        }
        grant = grants.get(asked.query.get("grant_type", ""))
        if grant is None:
            # Supabase's own answer to a grant that it does not know.
            raise InvalidCredentials("unknown grant_type")
        return grant(asked)

    def log_out(self, asked: Asked) -> RawResponse:
        """Answer ``POST /logout``."""
        scope = asked.query.get("scope", "global")
        if scope not in get_args(Scope):
            raise InvalidRequest({"scope": ["Must be one of: " + ", ".join(get_args(Scope)) + "."]})
        self.sessions.log_out(asked.token, cast("Scope", scope), asked.context)
        return RawResponse(b"", [NO_STORE], "204 No Content")

    def _password(self, asked: Asked) -> RawResponse:
        body = asked.body()
        account, is_phone = account_of(body)
        password = password_of(body)
        if not account or not password:
            raise InvalidRequest({"email": ["An address and a password are needed."]})
        credentials = Credentials(account, password, captcha_of(body), is_phone=is_phone)
        return session_answer(self.log_in(credentials, asked.context), asked)

    def _refresh(self, asked: Asked) -> RawResponse:
        token = text_of(asked.body(), "refresh_token", longest=MAX_REFRESH_TOKEN_LENGTH)
        if not token or not token.isascii() or not token.isprintable():
            raise _validation("refresh_token required")
        return session_answer(self.sessions.refresh(token, asked.context), asked)

    def _pkce(self, asked: Asked) -> RawResponse:
        body = asked.body()
        code, verifier = text_of(body, "auth_code"), text_of(body, "code_verifier")
        if not code or not verifier:
            raise _validation("invalid request: both auth code and code verifier should be non-empty")
        if not is_supabase_code(code):
            error = PassedOn("no code of Supabase")
            error.told = Told(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
            raise error
        return session_answer(self.exchange(code, "", [verifier], asked.context).session, asked)

    def _id_token(self, asked: Asked) -> RawResponse:
        body = asked.body()
        text_of(body, "id_token", longest=_MAX_ID_TOKEN_LENGTH)
        is_link = body.get("link_identity") is True
        call = Call(
            kind="user" if is_link else "grant",
            method="POST",
            path="/token",
            query=[("grant_type", "id_token")],
            body=only(body, *_ID_TOKEN, *(("link_identity",) if is_link else ())),
            bearer=asked.token if is_link else "",
        )
        if is_link:
            # Another way to sign in is added to the account, so it needs what other such changes need.
            return answer_of(self.calls.change(call, asked.context, proof=Proof()))
        return session_answer(self.calls.grant(call, asked.context), asked)


def session_answer(session: Session, asked: Asked) -> RawResponse:
    """Answer with a session as Supabase sent it."""
    if len(session.access_token) > MAX_TOKEN_BYTES:
        asked.context.log_fields[OVERSIZE] = len(session.access_token)
    return json_answer(_own(session))


def _own(session: Session) -> dict[str, Any]:
    """Return the session's members. Its lifetime is the token's, where a hook of the project changed that."""
    raw = session.raw or _rebuilt(session)
    return {**raw, "expires_in": session.expires_in, "expires_at": session.expires_at}


def _rebuilt(session: Session) -> dict[str, Any]:
    """Return what is known of a session that a process of an earlier release refreshed: it shares less."""
    user = session.user
    return {
        "access_token": session.access_token,
        "token_type": "bearer",
        "refresh_token": session.refresh_token,
        "user": {
            "id": user.id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": user.email or "",
            "phone": "",
            "app_metadata": {},
            "user_metadata": dict(user.user_metadata),
            "factors": list(user.factors),
            "is_anonymous": user.is_anonymous,
            "created_at": user.created_at,
        },
    }


def _validation(message: str) -> PassedOn:
    """Return the refusal of a request, as Supabase words it."""
    error = PassedOn(message)
    error.told = Told(400, "validation_failed", message)
    return error
