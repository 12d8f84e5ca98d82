"""Announcements by HTTP: signed, in order, tried again, and never in the way of a request."""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import requests

from velro_auth.background import Background
from velro_auth.telemetry.alerts import Announcement

logger = logging.getLogger("velro_auth.alerts")

SIGNATURE: Final = "X-Velro-Signature"

#: Between tries, in seconds: two minutes in all, then somebody else has to notice.
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)

#: More announcements than this are old news: the oldest give way.
MAX_WAITING: Final = 100

_TIMEOUT_S: Final = 5.0
_OK: Final = 300


def signature(secret: bytes, body: bytes, at: int) -> str:
    """Return the value of the signature field: ``t=<Unix time>,v1=<HMAC-SHA256 of "t.body", in hex>``.

    The time is signed too, so that a receiver can refuse what was recorded and sent again.
    """
    return f"t={at},v1={hmac.digest(secret, b'%d.' % at + body, 'sha256').hex()}"


class Webhook:
    """Posts announcements to one address, from a thread that starts with the first of them.

    A receiver counts as served when it answers with 2xx. What was not delivered after the last try is given up
    and logged. The secret never leaves this object; the address, which may hold one, is in no log line.

    Args:
        url: Where to; anything that takes Slack's ``{"text": …}`` will do.
        secret: Key of the signature; empty sends none.
        source: Who speaks: service, environment, replica.
        pauses_s: How long to wait before the second, third, … try.
        timeout_s: How long one try may take to connect, and to answer.
        wall_clock: The time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        source: str = "velro-auth",
        pauses_s: tuple[float, ...] = PAUSES_S,
        timeout_s: float = _TIMEOUT_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._secret, self._source = url, secret.encode(), source
        self._pauses_s, self._timeout_s = pauses_s, timeout_s
        self._wall_clock = wall_clock
        self._waiting: deque[Announcement] = deque(maxlen=MAX_WAITING)
        self._turn = threading.Condition()
        #: Looked after by the watch: alerts are rare, and the next one may be hours away.
        self.thread: Final = Background(self._run, name="webhook")
        self._stopping = threading.Event()
        self._is_delivering = False
        self.delivered = 0
        self.given_up = 0

    def __call__(self, announcement: Announcement) -> None:
        """Have *announcement* posted."""
        with self._turn:
            self._waiting.append(announcement)
            self._turn.notify_all()
        self.thread.ensure()

    def drain(self, within_s: float) -> bool:
        """Wait until all was delivered or given up; tell whether it was."""
        with self._turn:
            return self._turn.wait_for(lambda: not self._waiting and not self._is_delivering, within_s)

    def stop(self) -> None:
        """End the thread; what was not delivered is lost."""
        self._stopping.set()
        self.thread.end()
        with self._turn:
            self._turn.notify_all()

    def _run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while announcement := self._next():
                self._deliver(session, announcement)
                self._delivered()

    def _delivered(self) -> None:
        with self._turn:
            self._is_delivering = False
            self._turn.notify_all()

    def _next(self) -> Announcement | None:
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._stopping.is_set())
            if self._stopping.is_set():
                return None
            self._is_delivering = True
            return self._waiting.popleft()

    def _deliver(self, session: requests.Session, announcement: Announcement) -> None:
        body = self._body(announcement)
        trouble = ""
        for pause_s in (0.0, *self._pauses_s):
            if self._stopping.wait(pause_s):
                return
            trouble = self._post(session, body)
            if not trouble:
                self.delivered += 1
                return
        if self._stopping.is_set():
            return
        logger.error(
            "the alert webhook could not be reached",
            extra={"alert": announcement.alert, "trouble": trouble, "tries": 1 + len(self._pauses_s)},
        )
        self.given_up += 1

    def _post(self, session: requests.Session, body: bytes) -> str:
        """Try once; return what went wrong, in a word."""
        headers = {"Content-Type": "application/json", "User-Agent": "velro-auth"}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, body, int(self._wall_clock()))
        try:
            # Streamed, so that nobody can make us read an endless answer.
            with session.post(
                self._url, data=body, headers=headers, timeout=self._timeout_s, allow_redirects=False, stream=True
            ) as answer:
                return "" if answer.status_code < _OK else f"status {answer.status_code}"
        except (requests.RequestException, ValueError) as error:
            return type(error).__name__

    def _body(self, announcement: Announcement) -> bytes:
        fields = announcement.fields() | {
            "source": self._source,
            "text": f"[{self._source}] {announcement.text}",
            "sentence": announcement.text,
        }
        return json.dumps(fields).encode()
