"""Calls to Supabase Auth: which key, which headers, and what an answer means."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

from requests import PreparedRequest

from velro_auth.auth.models import Session
from velro_auth.context import RequestContext
from velro_auth.errors import CaptchaRequired, UpstreamMisconfigured, WrongAnswer
from velro_auth.upstream import translate
from velro_auth.upstream.answers import Owners, session_from
from velro_auth.upstream.captcha import Captcha
from velro_auth.upstream.transport.transport import Read, Reply, Transport

logger = logging.getLogger("velro_auth.upstream")

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}

#: JSON values, or a form as it came.
Body: TypeAlias = Mapping[str, Any] | bytes


@dataclass(frozen=True, slots=True)
class PublicRequest:
    """A request without a user's token, once with each key."""

    privileged: PreparedRequest
    public: PreparedRequest


class AuthCalls:
    """Asks Supabase Auth over a pool of connections.

    It never uses a shared ``supabase.Client``: that stores the last session and sends it with the next user's login.
    Here no data of a call is kept after the call.

    Args:
        transport: The way to the project.
        forwards_address: Whether to tell Supabase the caller's address, so that its rate limit counts callers
            and not this service. Supabase listens only to secret keys.
        captcha: Whether the project demands a captcha. Then calls without a user's token go with the publishable
            key, and without the caller's address. None for never.
        owners: Which user a refresh token was given to, where others know it already.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        forwards_address: bool,
        captcha: Captcha | None = None,
        owners: Owners | None = None,
    ) -> None:
        self.owners = owners or Owners()
        self._transport = transport
        self._forwards_address = forwards_address
        self._captcha = captcha

    def prepare(self, method: str, path: str) -> PreparedRequest:
        """Return a request that goes with our own key; *path* is below ``/auth/v1``."""
        return self._transport.prepare(method, f"/auth/v1{path}")

    def prepare_public(self, method: str, path: str) -> PublicRequest:
        """Return a request without a user's token; *path* is below ``/auth/v1``."""
        key = self._captcha.key if self._captcha else ""
        return PublicRequest(self.prepare(method, path), self._transport.prepare(method, f"/auth/v1{path}", key=key))

    def ask_public(
        self,
        request: PublicRequest,
        context: RequestContext,
        question: translate.Question,
        read: Callable[[Reply], Read],
        body: Body | None,
    ) -> Read:
        """Ask without a user's token: with the publishable key where a captcha is demanded. Raises as :meth:`ask`."""
        began_s = time.monotonic()
        is_public = self._captcha is not None and self._captcha.is_demanded()
        # ``is_demanded`` may have asked Supabase, and waited for an answer.
        context.waited_s += time.monotonic() - began_s
        chosen = request.public if is_public else request.privileged
        try:
            return self.ask(chosen, context, question, read, body=body, forwards_address=not is_public)
        except CaptchaRequired:
            if self._captcha is not None:
                self._captcha.demanded()
            raise

    def new_session(
        self,
        request: PublicRequest,
        context: RequestContext,
        question: translate.Question,
        body: Body,
        check: Callable[[Session], None] = lambda _: None,
    ) -> Session:
        """Return the session in the answer; raises as :meth:`ask`, and what *check* raises for that of another user."""

        def read(reply: Reply) -> Session:
            session = session_from(reply)
            check(session)
            return session

        session = self.ask_public(request, context, question, read, body)
        self.owners.note(session.refresh_token, session.user.id)
        return session

    def ask(
        self,
        request: PreparedRequest,
        context: RequestContext,
        question: translate.Question,
        read: Callable[[Reply], Read],
        *,
        body: Body | None = None,
        bearer: str = "",
        deadline_s: float | None = None,
        forwards_address: bool = True,
    ) -> Read:
        """Send *request*, and return what *read* makes of a successful answer.

        Args:
            request: From :meth:`prepare`.
            context: The request that this call serves.
            question: What is asked: the meaning of refusals.
            read: Reads a successful answer; raises one of our errors for one that cannot be used.
            body: JSON values, or a form.
            bearer: The user's access token.
            deadline_s: How long the call may take, if less than usual.
            forwards_address: Whether the caller's address may be passed on.

        Raises:
            VelroAuthError: The error of *question* for a refusal.
            UpstreamThrottled: Supabase's rate limit is reached.
            UpstreamError: Supabase could not be asked, or gave no usable answer.
        """
        headers = self._headers(context, forwards_address=forwards_address)
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if isinstance(body, bytes):
            headers |= _FORM
        payload = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()

        def judged(reply: Reply) -> tuple[Read] | Reply:
            return (read(reply),) if reply.status in question.successes else reply

        with timed(context):
            answer = self._transport.ask(
                request, judged, payload, headers, deadline_s=deadline_s, waited_s=context.waited_s
            )
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


@contextlib.contextmanager
def timed(context: RequestContext) -> Iterator[None]:
    """Add the time of the call within the block to its request, and log an answer that is about another user."""
    started_s = time.perf_counter()
    try:
        yield
    except WrongAnswer as error:
        logger.error("Supabase's answer is about another user", extra={"what": error.reason})  # noqa: TRY400 - ours
        raise
    finally:
        context.upstream_ms += (time.perf_counter() - started_s) * 1000


class RefusingCalls(AuthCalls):
    """Stands in for the calls while the settings are wrong: refuses each and says which variable to set.

    Args:
        reason: What is wrong, for the log.
    """

    def __init__(self, reason: str) -> None:
        self.owners = Owners()
        self._reason = reason

    def prepare(self, method: str, path: str) -> PreparedRequest:  # noqa: ARG002 (as in the base class)
        """Return an empty request, which is never sent."""
        return PreparedRequest()

    def prepare_public(self, method: str, path: str) -> PublicRequest:
        """Return an empty request, which is never sent."""
        return PublicRequest(self.prepare(method, path), self.prepare(method, path))

    def ask_public(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)

    def ask(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse.

        Raises:
            UpstreamMisconfigured: Always.
        """
        raise UpstreamMisconfigured(self._reason)
