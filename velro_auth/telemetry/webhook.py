"""Sends announcements by HTTP: signed, in order, with retries, and without delaying any request."""

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

#: Seconds between attempts: two minutes together.
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)

#: With more announcements in the queue the oldest are dropped.
MAX_WAITING: Final = 100

_OK: Final = 300


def signature(secret: bytes, body: bytes, at: int) -> str:
    """Return the value of the signature field: ``t=<Unix time>,v1=<HMAC-SHA256 of "t.body", in hex>``.

    The time is signed, too, so that a receiver can refuse a replayed request.
    """
    return f"t={at},v1={hmac.digest(secret, b'%d.' % at + body, 'sha256').hex()}"


class Webhook:
    """Posts announcements to one address, from a thread that starts with the first of them.

    A response with 2xx counts as delivered. After the last attempt an announcement is dropped and that is logged.
    The secret never leaves this object; the address, which may hold one, is in no log line.

    Args:
        url: The address; the body has a member ``text``, as Slack's webhooks need it.
        secret: Key of the signature; empty sends none.
        source: Name of the sender: service, environment, replica.
        pauses_s: Seconds before the second, third, … attempt.
        timeout_s: Time limit of one attempt, for connecting and for the response.
        wall_clock: Unix time in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        source: str = "velro-auth",
        pauses_s: tuple[float, ...] = PAUSES_S,
        timeout_s: float = 5.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._secret, self._source = url, secret.encode(), source
        self._pauses_s, self._timeout_s = pauses_s, timeout_s
        self._wall_clock = wall_clock
        self._waiting: deque[Announcement] = deque(maxlen=MAX_WAITING)
        self._changed = threading.Condition()
        #: The periodic jobs retry its start: the next alert may be hours away.
        self.thread: Final = Background(self._run, name="webhook")
        self._stopping = threading.Event()
        self._is_delivering = False
        self.delivered = 0
        self.given_up = 0

    def __call__(self, announcement: Announcement) -> None:
        """Queue *announcement*."""
        with self._changed:
            self._waiting.append(announcement)
            self._changed.notify_all()
        self.thread.ensure()

    def drain(self, within_s: float) -> bool:
        """Wait until all announcements are delivered or dropped, at most *within_s*; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_delivering, within_s)

    def stop(self) -> None:
        """End the thread. Announcements in the queue are lost."""
        self._stopping.set()
        self.thread.end()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while announcement := self._next():
                self._deliver(session, announcement)
                with self._changed:
                    self._is_delivering = False
                    self._changed.notify_all()

    def _next(self) -> Announcement | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
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
        """Make one attempt; return what went wrong, in a word, or an empty text."""
        headers = {"Content-Type": "application/json", "User-Agent": "velro-auth"}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, body, int(self._wall_clock()))
        try:
            # Streamed and not read: the response may be endless.
            with session.post(
                self._url, data=body, headers=headers, timeout=self._timeout_s, allow_redirects=False, stream=True
            ) as response:
                return "" if response.status_code < _OK else f"status {response.status_code}"
        except (requests.RequestException, ValueError) as error:
            return type(error).__name__

    def _body(self, announcement: Announcement) -> bytes:
        fields = announcement.fields() | {
            "source": self._source,
            "text": f"[{self._source}] {announcement.text}",
            "sentence": announcement.text,
        }
        return json.dumps(fields).encode()
