"""Supabase Auth as the one who knows the users."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard, get_args

from requests import PreparedRequest

from velro_auth.auth.denylist import Scope
from velro_auth.auth.models import Credentials, Profile, Session, User
from velro_auth.errors import UpstreamFailed, UpstreamMisconfigured, UpstreamUnavailable, WrongAnswer
from velro_auth.exchange import Exchange
from velro_auth.upstream import translate
from velro_auth.upstream.owners import Owners, demand, same_address
from velro_auth.upstream.transport import Read, Reply, Transport

logger = logging.getLogger("velro_auth.upstream")

_OK: Final = frozenset({200, 204})


class SupabaseIdentity:
    """Asks Supabase Auth over a pool of connections.

    Never by a shared ``supabase.Client``: that stores the last session and sends it along with the next
    user's login. Nothing of one call outlives it here.

    Args:
        transport: The way to the project.
        forwards_address: Whether to tell Supabase the caller's address, so that its rate limit counts callers
            and not this service. Supabase listens only to secret keys.
        clock: The current time, in seconds since the epoch.
    """

    def __init__(self, transport: Transport, *, forwards_address: bool, clock: Callable[[], float] = time.time) -> None:
        self._transport = transport
        self._forwards_address = forwards_address
        self._clock = clock
        self._owners = Owners()
        self._password_grant = transport.prepare("POST", "/auth/v1/token?grant_type=password")
        self._refresh_grant = transport.prepare("POST", "/auth/v1/token?grant_type=refresh_token")
        self._user = transport.prepare("GET", "/auth/v1/user")
        self._logout = {scope: transport.prepare("POST", f"/auth/v1/logout?scope={scope}") for scope in get_args(Scope)}

    def sign_in(self, credentials: Credentials, exchange: Exchange) -> Session:
        """Return a new session for *credentials*.

        Raises:
            InvalidCredentials: The pair was refused.
            EmailNotConfirmed: The password is right, the address not confirmed.
            CaptchaRequired: A captcha is demanded or was refused.
            InvalidRequest: Supabase does not take the address for one.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        body: dict[str, Any] = {"email": credentials.email, "password": credentials.password}
        if credentials.captcha_token is not None:
            body["gotrue_meta_security"] = {"captcha_token": credentials.captcha_token}

        def read(reply: Reply) -> Session:
            session = session_from(reply, self._clock())
            is_right = session.user.email is not None and same_address(session.user.email, credentials.email)
            demand(is_right=is_right, what="the mail address")
            return session

        session = self._ask(self._password_grant, exchange, translate.PASSWORD_GRANT, read, body=body)
        self._owners.note(session.refresh_token, session.user.id)
        return session

    def refresh(self, refresh_token: str, exchange: Exchange) -> Session:
        """Return the session that follows *refresh_token*, which is spent by this.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        owner = self._owners.of(refresh_token)

        def read(reply: Reply) -> Session:
            session = session_from(reply, self._clock())
            demand(is_right=owner in {None, session.user.id}, what="the user of the refresh token")
            return session

        body = {"refresh_token": refresh_token}
        session = self._ask(self._refresh_grant, exchange, translate.REFRESH_GRANT, read, body=body)
        self._owners.note(session.refresh_token, session.user.id)
        return session

    def check(self, access_token: str, exchange: Exchange, *, deadline_s: float | None = None) -> None:
        """Return when Supabase says that the session and the user of *access_token* still exist.

        Args:
            access_token: The user's token.
            exchange: The request it came with.
            deadline_s: How long the answer may take, where that is less than usual.

        Raises:
            TokenInvalid: Supabase refuses the token.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

        def read(reply: Reply) -> None:
            user = translate.content(reply)
            if not isinstance(user, dict) or not _is_text(user.get("id")):
                raise UpstreamUnavailable("200 without a user")
            demand(is_right=user["id"] == _claims(access_token).get("sub"), what="the subject of the token")

        self._ask(self._user, exchange, translate.BEARER, read, bearer=access_token, deadline_s=deadline_s)

    def sign_out(self, access_token: str, scope: Scope, exchange: Exchange) -> None:
        """End sessions of the user of *access_token*.

        Raises:
            TokenInvalid: Supabase refuses the token; among the reasons, the session has ended already.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

        def read(reply: Reply) -> None:
            demand(is_right=not reply.body, what="a logout is answered without a body, and the body")

        self._ask(self._logout[scope], exchange, translate.BEARER, read, bearer=access_token)

    def _ask(
        self,
        request: PreparedRequest,
        exchange: Exchange,
        question: translate.Question,
        read: Callable[[Reply], Read],
        *,
        body: dict[str, Any] | None = None,
        bearer: str = "",
        deadline_s: float | None = None,
    ) -> Read:
        def judged(reply: Reply) -> tuple[Read] | Reply:
            return (read(reply),) if reply.status in _OK else reply

        headers = self._headers(exchange)
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        payload = None if body is None else json.dumps(body).encode()
        started_s = time.perf_counter()
        try:
            answer = self._transport.ask(request, judged, payload, headers, deadline_s=deadline_s)
        except WrongAnswer as error:
            logger.error("Supabase's answer is about another user", extra={"what": error.reason})  # noqa: TRY400 - ours
            raise
        finally:
            exchange.upstream_ms += (time.perf_counter() - started_s) * 1000
        if isinstance(answer, Reply):
            raise translate.refusal(answer, question)
        return answer[0]

    def _headers(self, exchange: Exchange) -> dict[str, str]:
        headers = {}
        if self._forwards_address and exchange.address:
            headers["Sb-Forwarded-For"] = exchange.address
        if exchange.traceparent:
            headers["traceparent"] = exchange.traceparent
        return headers


class Unconfigured:
    """Stands in for Supabase while the settings are wrong: refuses everything and says which variable to set.

    Args:
        reason: What is wrong, for the log.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def sign_in(self, _: Credentials, __: Exchange) -> Session:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def refresh(self, _: str, __: Exchange) -> Session:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def check(self, _: str, __: Exchange, *, deadline_s: float | None = None) -> None:  # noqa: ARG002 (protocol)
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def sign_out(self, _: str, __: Scope, ___: Exchange) -> None:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)


def session_from(reply: Reply, now_s: float) -> Session:
    """Read a session from a successful answer of the token endpoint.

    Lenient about what is beside the point, strict about both tokens and the user's id. Where a hook changed the
    token's lifetime, the token is right and the body is not (contract of Supabase Auth, 1).

    Raises:
        UpstreamUnavailable: Not JSON: somebody else answered.
        UpstreamFailed: JSON, but no session.
        WrongAnswer: The token is another user's than the one beside it.
    """
    body = translate.content(reply)
    if body is translate.NO_JSON:
        raise UpstreamUnavailable("200 without JSON")
    if not isinstance(body, dict) or not isinstance(user := body.get("user"), dict):
        raise UpstreamFailed("200 without a session")
    access_token, refresh_token = body.get("access_token"), body.get("refresh_token")
    if not _is_text(access_token) or not _is_text(refresh_token) or not _is_text(user.get("id")):
        raise UpstreamFailed("200 without both tokens and a user")
    claims = _claims(access_token)
    demand(is_right=claims.get("sub", user["id"]) == user["id"], what="the subject of the access token")
    expires_in, expires_at = _lifetime(body, claims, now_s)
    return Session(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in=expires_in,
        expires_at=expires_at,
        user=_user(user, claims),
        weak_password=_mapping(body.get("weak_password")),
    )


def _lifetime(body: Mapping[str, Any], claims: Mapping[str, Any], now_s: float) -> tuple[int, int]:
    expires_in, expires_at, exp = body.get("expires_in"), body.get("expires_at"), claims.get("exp")
    if isinstance(exp, int) and exp != expires_at:
        return max(0, exp - int(now_s)), exp
    if isinstance(expires_in, int):
        return expires_in, expires_at if isinstance(expires_at, int) else int(now_s) + expires_in
    if isinstance(expires_at, int):
        return max(0, expires_at - int(now_s)), expires_at
    raise UpstreamFailed("200 without a lifetime")


def _user(user: Mapping[str, Any], claims: Mapping[str, Any]) -> User:
    factors = user.get("factors")
    return User(
        id=user["id"],
        email=_text(user.get("email")),
        email_confirmed_at=_text(user.get("email_confirmed_at")),
        created_at=_text(user.get("created_at")),
        role=_text(claims.get("user_role")) or _text((_mapping(user.get("app_metadata")) or {}).get("user_role")),
        profile=Profile(
            display_name=_text(claims.get("display_name")),
            avatar_url=_text(claims.get("avatar_url")),
            credits_balance=balance if isinstance(balance := claims.get("credits_balance"), int) else None,
        ),
        is_anonymous=user.get("is_anonymous") is True,
        factors=[factor for factor in factors if isinstance(factor, dict)] if isinstance(factors, list) else [],
        user_metadata=_mapping(user.get("user_metadata")) or {},
    )


def _claims(token: str) -> Mapping[str, Any]:
    """Read a token's claims without judging it: it came from Supabase this moment. Empty when unreadable."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None
