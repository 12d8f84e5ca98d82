"""The audit trail: who did what, in records that cannot be changed unseen."""

from __future__ import annotations

import functools
import os
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any, Final, TypeAlias

from velro_auth.telemetry.answered import ACCOUNT, Answered
from velro_auth.telemetry.chain import CLOSED, GENESIS, digest
from velro_auth.telemetry.security import security_event

Value: TypeAlias = str | int | float | bool | None

#: Takes a line, and what to call when the line was taken and could not be written; returns whether it was taken.
Write: TypeAlias = Callable[[str, Callable[[], None]], bool]

#: Whatever a caller sends is cut here: one line stays one line of sensible length.
LONGEST_VALUE: Final = 200


class AuditTrail:
    """Writes security events as a chain, one chain for each process.

    Accounts appear as HMACs only (``guards.keys.Keyring.account``), the same ones that ``velro-auth guard show``
    prints. A record that cannot be written (a full disk) leaves a gap in the numbers, and the next one says how many
    were lost: ``lost``. Where that one is lost as well, the one after it says so for both.

    Args:
        write: Takes a line. Must not block.
        wall_clock: The time of day, in seconds since the epoch.
        new_id: Makes the name of a chain.
    """

    def __init__(
        self,
        write: Write,
        *,
        wall_clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._write = write
        self._wall_clock = wall_clock
        self._new_id = new_id
        self._lock = threading.Lock()
        #: Told of every record that was lost.
        self.on_lost: Callable[[], None] = _unheard
        self._pid = self._lost = 0
        self._begin()

    def answered(self, answered: Answered) -> None:
        """Record an answer, if it is a security event."""
        context = answered.context
        event = security_event(answered.route, context.outcome)
        if event is None:
            return
        self.record(
            event,
            level="warning" if answered.status >= 400 else "info",  # noqa: PLR2004 - refused
            account=context.notes.get(ACCOUNT),
            address=context.address,
            user_agent=answered.user_agent,
            request_id=context.request_id,
            route=answered.route,
            lane=context.lane,
            status=answered.status,
            outcome=context.outcome,
            took_ms=round(answered.took_ms, 2),
            upstream_ms=round(context.upstream_ms, 2),
            reason=context.notes.get("reason"),
        )

    def record(self, event: str, *, level: str = "info", **fields: Value) -> None:
        """Write one event. *fields* never hold a secret nor an account in clear."""
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            carried: int = self._lost
            record = self._record(event, level, fields)
            record["hash"] = digest(record)
            self._seq, self._head, self._lost = record["seq"], record["hash"], 0
            lost = functools.partial(self._lose, self._chain, 1 + carried)
            if self._write(dumps(record), lost):
                return
        lost()

    def _lose(self, chain: str, records: int) -> None:
        """Have the next record say that *records* were lost: the one that was not written, and those it told of."""
        with self._lock:
            if chain == self._chain:
                self._lost += records
        self.on_lost()

    def close(self) -> None:
        """End the chain of this process, if it has one, so that a cut-off end can be told from a short life."""
        if self._pid == os.getpid() and self._seq:
            self.record(CLOSED)
            self._pid = 0

    def _begin(self) -> None:
        self._chain, self._seq, self._head, self._lost = self._new_id(), 0, GENESIS, 0
        self._pid = os.getpid()

    def _record(self, event: str, level: str, fields: dict[str, Value]) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        return {
            "message": f"audit: {event}",
            "level": level,
            "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": event,
            **{name: value[:LONGEST_VALUE] if isinstance(value, str) else value for name, value in fields.items()},
            **({"lost": self._lost} if self._lost else {}),
            "chain": self._chain,
            "seq": self._seq + 1,
            "prev": self._head,
        }


def _unheard() -> None:
    """Tell nobody."""


def open_trail(path: Path) -> int:
    """Open a file to append records to, and end the line that a power failure may have torn off."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")
    return fd
