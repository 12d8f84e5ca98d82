"""Counts the processes that share a Redis, by a heartbeat in it.

Without Redis, or while it is away, each process takes its part of the limits, so it has to know how many there are.
Each one notes in a sorted set when it was seen last, by Redis's own clock, and counts those of the last ``ALIVE_S``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Final

import redis

from velro_auth.background import Background, after_fork
from velro_auth.stores.client import STORE_ERRORS

logger = logging.getLogger("velro_auth.stores")

#: How often a process is noted, in seconds.
BEAT_S: Final = 5.0

#: A process that was not seen for so long has ended: three beats, and some time for a busy machine.
ALIVE_S: Final = 17.0

#: The set is forgotten when all processes have ended, in seconds.
_FORGOTTEN_AFTER_S: Final = 3600


def _ignore() -> None:
    """Do nothing about another number."""


class Replicas:
    """How many processes share a Redis.

    A process that starts is noticed within a beat, one that stops within two, one that was killed within ``ALIVE_S``
    and two beats. While Redis is away the last number stays: that is when it is needed.

    Args:
        client: A client from ``connect``.
        prefix: The beginning of the key; it names the project.

    Attributes:
        processes: All processes, this one included; 0 before the first answer.
        thread: The thread that counts.
        on_change: Called in the background when the number has changed.
    """

    def __init__(self, *, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._key = f"{prefix}:processes"
        self._closed = threading.Event()
        self.thread = Background(self._beat, name="replicas")
        self.processes = self._counted = 0
        self.on_change: Callable[[], None] = _ignore
        self._name = ""
        after_fork(self)

    def after_fork(self) -> None:
        """Be a process of its own."""
        self._name = ""

    def start(self) -> None:
        """Begin to be counted."""
        self.thread.ensure()

    def stop(self) -> None:
        """Be counted no longer, from now on."""
        self._closed.set()
        self.thread.end()
        if self._name:
            with contextlib.suppress(*STORE_ERRORS):
                self._client.zrem(self._key, self._name)

    def count(self) -> int:
        """Note this process, and return how many there are.

        Raises:
            redis.RedisError, OSError, ValueError: Redis cannot be asked.
        """
        self._name = self._name or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        # One clock for all: those of the machines may differ by more than a beat.
        seconds, micros = self._client.time()
        now_s = seconds + micros / 1e6
        self._client.zadd(self._key, {self._name: now_s})
        self._client.zremrangebyscore(self._key, "-inf", now_s - ALIVE_S)
        self._client.expire(self._key, _FORGOTTEN_AFTER_S)
        return int(self._client.zcount(self._key, "-inf", "+inf"))

    def _beat(self) -> None:
        while not self._closed.is_set():
            try:
                if self._has_changed():
                    self.on_change()
            except Exception:
                # The thread must survive a defect, or this process would be counted no longer.
                logger.exception("another number of processes could not be taken over")
            self._closed.wait(BEAT_S)

    def _has_changed(self) -> bool:
        try:
            counted = self.count()
        except STORE_ERRORS:
            return False
        # A smaller number counts from the second beat on: after Redis was away, the others note themselves within one.
        before, self.processes = self.processes, max(counted, self._counted)
        self._counted = counted
        return self.processes != before
