"""Does the project have the addresses of new accounts confirmed by mail?

Its public settings say so (``mailer_autoconfirm``), and so does every answer to a sign-up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from velro_auth.errors import UpstreamError
from velro_auth.upstream.answers import content
from velro_auth.upstream.probe import SETTINGS
from velro_auth.upstream.transport.transport import Transport

#: How long an answer is believed.
FRESH_S: Final = 60.0
#: How soon it is asked again after there was no answer.
RETRY_S: Final = 5.0
#: How long the answer may take: a sign-up waits for it.
DEADLINE_S: Final = 1.0


class MailSignUpMode:
    """A mail is needed; for a service without a project."""

    def needs_mail(self) -> bool:
        """Return true."""
        return True

    def learn(self, *, needs_mail: bool) -> None:
        """Learn nothing."""


class LearntSignUpMode:
    """Reads the project's settings, at most once a minute, and shares the answer; per process.

    While it is not known, a mail is needed: then the answer to a sign-up shows nothing. While one caller asks, the
    others go by the former answer.

    Args:
        transport: The way to the project.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(self, transport: Transport, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        self._request = transport.prepare("GET", SETTINGS)
        self._asking = threading.Lock()
        self._lock = threading.Lock()
        self._needs_mail = True
        self._fresh_until_s = -1.0

    def needs_mail(self) -> bool:
        """Return whether a mail is needed, asking when the answer is too old."""
        if self._is_stale() and self._asking.acquire(blocking=False):
            try:
                # Somebody else may have asked between the look and the lock.
                if self._is_stale():
                    self._note(self._ask())
            finally:
                self._asking.release()
        with self._lock:
            return self._needs_mail

    def learn(self, *, needs_mail: bool) -> None:
        """Note what an answer to a sign-up showed: nothing shows it better."""
        self._note(needs_mail)

    def _is_stale(self) -> bool:
        with self._lock:
            return self._clock() >= self._fresh_until_s

    def _ask(self) -> bool | None:
        try:
            told = content(self._transport.send(self._request, deadline_s=DEADLINE_S))
        except UpstreamError:
            return None
        confirms = told.get("mailer_autoconfirm") if isinstance(told, dict) else None
        return None if not isinstance(confirms, bool) else not confirms

    def _note(self, needs_mail: bool | None) -> None:  # noqa: FBT001 - a value, not a switch
        with self._lock:
            self._fresh_until_s = self._clock() + (RETRY_S if needs_mail is None else FRESH_S)
            if needs_mail is not None:
                self._needs_mail = needs_mail
