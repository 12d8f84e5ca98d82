"""Finds out whether the project demands a captcha, and so which key calls without a user's token need.

Supabase's edge treats a call with only a secret key as an administrator's call, for which it checks no captcha (seen on
the real server). The answers to such calls do not show that. With the publishable key Supabase says
``captcha_failed`` to a login without a captcha, before it counts the call and before it looks at anything else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from requests import PreparedRequest

from velro_auth.errors import UpstreamError
from velro_auth.upstream import translate
from velro_auth.upstream.answers import content
from velro_auth.upstream.transport.transport import Transport

T = TypeVar("T")

logger = logging.getLogger("velro_auth.upstream")

#: How long an answer is believed. Each question costs one of the calls that Supabase allows this service's address.
FRESH_S: Final = 60.0
#: How soon it is asked again after there was no answer.
RETRY_S: Final = 5.0
#: How long the answer may take: a login or a sign-up waits for it.
DEADLINE_S: Final = 1.0

_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_SERVER_CLASS: Final = 500


Answer: TypeAlias = Literal["demanded", "not demanded", "key refused", "unknown"]


class Learnt(Generic[T]):
    """An answer of the project, asked for again when it is too old. While one caller asks, others get the old answer.

    Args:
        ask: Returns the answer; None where there is none now.
        first: What is believed before the first answer.
        fresh_s: How long an answer is believed.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self, ask: Callable[[], T | None], first: T, *, fresh_s: float = FRESH_S, clock: Callable[[], float]
    ) -> None:
        self._ask, self._answer = ask, first
        self._fresh_s, self._clock = fresh_s, clock
        self._asking = threading.Lock()
        self._lock = threading.Lock()
        self._fresh_until_s = -1.0

    def __call__(self) -> T:
        """Return the answer, asking when it is too old."""
        if self._is_stale() and self._asking.acquire(blocking=False):
            try:
                # Another thread may have asked before this one got the lock.
                if self._is_stale():
                    self.note(self._ask())
            finally:
                self._asking.release()
        with self._lock:
            return self._answer

    def note(self, answer: T | None) -> None:
        """Take *answer* for the newest; None for a question without one."""
        with self._lock:
            self._fresh_until_s = self._clock() + (RETRY_S if answer is None else self._fresh_s)
            if answer is not None:
                self._answer = answer

    def _is_stale(self) -> bool:
        with self._lock:
            return self._clock() >= self._fresh_until_s


class Captcha(Protocol):
    """Whether the project demands a captcha."""

    @property
    def key(self) -> str:
        """The key for calls without a user's token, if the project demands a captcha."""

    def is_demanded(self) -> bool:
        """Return whether the project demands a captcha."""

    def demanded(self) -> None:
        """Note that Supabase demanded one, or refused one."""


@dataclass(frozen=True, slots=True)
class DemandedCaptcha:
    """The operator says that the project demands one."""

    key: str

    def is_demanded(self) -> bool:
        """Return True."""
        return True

    def demanded(self) -> None:
        """Learn nothing."""


def question(transport: Transport, key: str) -> PreparedRequest:
    """Return the request that shows whether a captcha is demanded: a login without an account and without a captcha."""
    return transport.prepare("POST", "/auth/v1/token?grant_type=password", key=key)


def ask(transport: Transport, request: PreparedRequest) -> Answer:
    """Send the question, and return what the answer means."""
    try:
        reply = transport.send(request, b"{}", deadline_s=DEADLINE_S)
    except UpstreamError:
        return "unknown"
    if reply.status == _UNAUTHORIZED:
        return "key refused"
    code = translate.code_of(reply, content(reply))
    if reply.status != _TOO_MANY and (code is None or reply.status >= _SERVER_CLASS):
        return "unknown"
    # The captcha is checked first: any other answer means that Supabase demanded none.
    return "demanded" if code == "captcha_failed" else "not demanded"


class LearntCaptcha:
    """Asks Supabase with the publishable key, at most once a minute, and shares the answer; per process.

    Until the answer is known, a captcha counts as demanded: the publishable key is right in any project.

    Args:
        transport: The way to the project.
        key: The publishable key.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, transport: Transport, *, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.key = key
        self._transport = transport
        self._request = question(transport, key)
        self._learnt: Learnt[Answer] = Learnt(self._ask, "demanded", clock=clock)
        self._is_key_refused = False

    def is_demanded(self) -> bool:
        """Return whether the project demands a captcha, asking when the answer is too old."""
        return self._learnt() == "demanded"

    def demanded(self) -> None:
        """Note that Supabase demanded one, or refused one: no question gives a better answer."""
        self._is_key_refused = False
        self._learnt.note("demanded")

    def _ask(self) -> Answer | None:
        answer = ask(self._transport, self._request)
        if answer == "key refused" and not self._is_key_refused:
            # As without a publishable key: a mistyped one must not end all logins.
            logger.error(
                "SUPABASE_PUBLISHABLE_KEY is refused, so nothing tells whether the project demands a captcha, and the"
                " secret key skips it"
            )
        self._is_key_refused = answer == "key refused"
        return None if answer == "unknown" else answer
