"""Supabase Auth as the one who knows the users."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, get_args

from requests import PreparedRequest

from velro_auth.auth.denylist import Scope
from velro_auth.auth.models import Credentials, Session
from velro_auth.context import RequestContext
from velro_auth.errors import CaptchaRequired, UpstreamMisconfigured, UpstreamUnavailable, WrongAnswer
from velro_auth.upstream import translate
from velro_auth.upstream.captcha import Captcha, FixedCaptcha
from velro_auth.upstream.owners import Owners, demand, same_address
from velro_auth.upstream.sessions import claims_of, is_text, session_from
from velro_auth.upstream.transport.transport import Read, Reply, Transport

logger = logging.getLogger("velro_auth.upstream")

_OK: Final = frozenset({200, 204})

NO_CAPTCHA: Final = FixedCaptcha()


@dataclass(frozen=True, slots=True)
class Grant:
    """A request for a session, once with each key."""

    privileged: PreparedRequest
    public: PreparedRequest


class SupabaseIdentity:
    """Asks Supabase Auth over a pool of connections.

    Never by a shared ``supabase.Client``: that stores the last session and sends it along with the next
    user's login. Nothing of one call outlives it here.

    Args:
        transport: The way to the project.
        forwards_address: Whether to tell Supabase the caller's address, so that its rate limit counts callers
            and not this service. Supabase listens only to secret keys.
        captcha: Whether the project demands a captcha. Then calls without a user's token go with the publishable
            key, and without the caller's address.
        owners: Which user a refresh token was given to, where others know it already.
        clock: The current time, in seconds since the epoch.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        forwards_address: bool,
        captcha: Captcha = NO_CAPTCHA,
        owners: Owners | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._forwards_address = forwards_address
        self._clock = clock
        self._owners = owners or Owners()
        self._captcha = captcha
        self._password_grant = self._grant("password")
        self._refresh_grant = self._grant("refresh_token")
        self._user = transport.prepare("GET", "/auth/v1/user")
        self._logout = {scope: transport.prepare("POST", f"/auth/v1/logout?scope={scope}") for scope in get_args(Scope)}

    def _grant(self, grant_type: str) -> Grant:
        path = f"/auth/v1/token?grant_type={grant_type}"
        return Grant(
            self._transport.prepare("POST", path), self._transport.prepare("POST", path, key=self._captcha.key)
        )

    def sign_in(self, credentials: Credentials, context: RequestContext) -> Session:
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

        session = self._granted(self._password_grant, context, translate.PASSWORD_GRANT, read, body)
        self._owners.note(session.refresh_token, session.user.id)
        return session

    def refresh(self, refresh_token: str, context: RequestContext) -> Session:
        """Return the session that follows *refresh_token*, which is spent by this.

        Raises:
            SessionExpired: The token is unknown, used or expired, or its session is gone.
            SessionRefused: The same for now: a later try may succeed.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        owner = self._owners.of(refresh_token)

        def read(reply: Reply) -> Session:
            session = session_from(reply, self._clock())
            demand(is_right=owner in {None, session.user.id}, what="the user of the refresh token")
            return session

        body = {"refresh_token": refresh_token}
        session = self._granted(self._refresh_grant, context, translate.REFRESH_GRANT, read, body)
        self._owners.note(session.refresh_token, session.user.id)
        return session

    def check(self, access_token: str, context: RequestContext, *, deadline_s: float | None = None) -> None:
        """Return when Supabase says that the session and the user of *access_token* still exist.

        Args:
            access_token: The user's token.
            context: The request it came with.
            deadline_s: How long the answer may take, where that is less than usual.

        Raises:
            TokenInvalid: Supabase refuses the token.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

        def read(reply: Reply) -> None:
            user = translate.content(reply)
            if not isinstance(user, dict) or not is_text(user.get("id")):
                raise UpstreamUnavailable("200 without a user")
            demand(is_right=user["id"] == claims_of(access_token).get("sub"), what="the subject of the token")

        self._ask(self._user, context, translate.BEARER, read, bearer=access_token, deadline_s=deadline_s)

    def sign_out(self, access_token: str, scope: Scope, context: RequestContext) -> float | None:
        """End sessions of the user of *access_token*; return when, by Supabase's clock, if it says so.

        Raises:
            SessionGone: The session has ended already, or its user is gone or banned.
            TokenInvalid: Supabase refuses the token, so the session may live on.
            UpstreamThrottled: Supabase's rate limit.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """

        def read(reply: Reply) -> float | None:
            demand(is_right=not reply.body, what="a logout is answered without a body, and the body")
            return _date_s(reply)

        return self._ask(self._logout[scope], context, translate.BEARER, read, bearer=access_token)

    def _granted(
        self,
        grant: Grant,
        context: RequestContext,
        question: translate.Question,
        read: Callable[[Reply], Session],
        body: dict[str, Any],
    ) -> Session:
        """Ask without a user's token: with the publishable key where a captcha is demanded."""
        is_public = self._captcha.is_demanded()
        request = grant.public if is_public else grant.privileged
        try:
            return self._ask(request, context, question, read, body=body, forwards_address=not is_public)
        except CaptchaRequired:
            self._captcha.demanded()
            raise

    def _ask(
        self,
        request: PreparedRequest,
        context: RequestContext,
        question: translate.Question,
        read: Callable[[Reply], Read],
        *,
        body: dict[str, Any] | None = None,
        bearer: str = "",
        deadline_s: float | None = None,
        forwards_address: bool = True,
    ) -> Read:
        def judged(reply: Reply) -> tuple[Read] | Reply:
            return (read(reply),) if reply.status in _OK else reply

        headers = self._headers(context, forwards_address=forwards_address)
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
            context.upstream_ms += (time.perf_counter() - started_s) * 1000
        if isinstance(answer, Reply):
            raise translate.refusal(answer, question)
        return answer[0]

    def _headers(self, context: RequestContext, *, forwards_address: bool) -> dict[str, str]:
        headers = {}
        if self._forwards_address and forwards_address and context.address:
            headers["Sb-Forwarded-For"] = context.address
        if context.traceparent:
            headers["traceparent"] = context.traceparent
        return headers


class Unconfigured:
    """Stands in for Supabase while the settings are wrong: refuses everything and says which variable to set.

    Args:
        reason: What is wrong, for the log.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def sign_in(self, _: Credentials, __: RequestContext) -> Session:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def refresh(self, _: str, __: RequestContext) -> Session:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def check(self, _: str, __: RequestContext, *, deadline_s: float | None = None) -> None:  # noqa: ARG002 (protocol)
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def sign_out(self, _: str, __: Scope, ___: RequestContext) -> float | None:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)


def _date_s(reply: Reply) -> float | None:
    """Return the ``Date`` of an answer in seconds since the epoch; None without a usable one."""
    try:
        return parsedate_to_datetime(reply.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return None
