"""The audit trail: who did what, in records that cannot be changed unnoticed."""

from __future__ import annotations

import functools
import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any, Final, TypeAlias

from velro_auth.health_checks import Finding
from velro_auth.telemetry.chain import CLOSED, GENESIS, digest
from velro_auth.telemetry.gauges import ExternalCounter
from velro_auth.telemetry.metrics import ResponseRecord
from velro_auth.telemetry.shared import Table, Workers

logger = logging.getLogger("velro_auth.telemetry")

Value: TypeAlias = str | int | float | bool | None

#: Accepts a line, and a callback for a line that was accepted and could not be written; returns whether it accepts it.
Write: TypeAlias = Callable[[str, Callable[[], None]], bool]

#: Longer values that a caller sends are cut.
MAX_VALUE_LENGTH: Final = 200

#: Lost records are logged at most once in so many seconds.
LOG_EVERY_S: Final = 60.0

#: For so many seconds after a loss readiness warns.
WARN_FOR_S: Final = 300.0

#: (endpoint, outcome) → security event: every login, refresh and logout, however it ended (OWASP ASVS 5.0, 16.3.1).
_BY_ROUTE: Final[Mapping[tuple[str, str], str]] = {
    ("login", "ok"): "login_succeeded",
    ("login", "invalid_credentials"): "login_refused",
    ("login", "email_not_confirmed"): "login_refused",
    ("login", "unauthorized"): "login_refused",
    ("login", "captcha_required"): "login_refused",
    ("login", "invalid_request"): "login_invalid",
    ("exchange", "ok"): "login_succeeded",
    ("exchange", "link_invalid"): "login_refused",
    ("authorize", "ok"): "login_begun",
    ("refresh", "ok"): "session_refreshed",
    ("refresh", "unauthorized"): "refresh_refused",
    ("logout", "ok"): "session_ended",
    ("session", "ok"): "session_ended",
    # A mail may have been sent or not: the answer does not show which.
    ("signup", "ok"): "sign_up",
    ("signup_resend", "ok"): "confirmation_asked",
    ("otp", "ok"): "sign_in_code_asked",
    ("password_forgot", "ok"): "recovery_asked",
    ("confirm", "ok"): "link_accepted",
    ("password_reset", "ok"): "password_changed",
    ("password", "ok"): "password_changed",
    ("factor", "ok"): "factor_removed",
    ("factor_verify", "ok"): "session_stepped_up",
    ("reauthenticate", "ok"): "code_asked_for",
    ("anonymous", "ok"): "anonymous_signed_up",
}

#: Security event → outcomes that are this event at every endpoint: denied access (16.3.2), attempts to bypass a control
#: (16.3.3), and controls or backends that fail (16.3.4).
_OUTCOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "refresh_refused": ("session_expired",),
    "token_refused": ("token_missing", "token_invalid", "token_expired"),
    "access_denied": ("forbidden", "insufficient_aal", "reauthentication_needed", "not_enabled", "cross_site"),
    "link_refused": ("link_invalid",),
    "code_refused": ("code_invalid",),
    "sign_up_refused": ("already_registered",),
    "password_refused": ("weak_password", "same_password"),
    "throttled": ("too_many_attempts",),
    "challenged": ("challenge_required",),
    "input_refused": (
        *("bad_json", "bad_parameter", "too_large", "headers_too_large", "uri_too_long", "unsupported_media_type"),
    ),
    "upstream_throttled": ("upstream_throttled",),
    "upstream_failed": ("upstream_misconfigured", "upstream_unavailable", "upstream_timeout", "upstream_error"),
    "internal_error": ("internal_error",),
}
_BY_OUTCOME: Final = {outcome: event for event, outcomes in _OUTCOMES.items() for outcome in outcomes}


def security_event(route: str, outcome: str) -> str | None:
    """Return the security event that a response is, if any."""
    return _BY_ROUTE.get((route, outcome)) or _BY_OUTCOME.get(outcome)


def _do_nothing() -> None:
    pass


class AuditTrail:
    """Writes security events as a hash chain, one chain for each process.

    Accounts appear only as the HMACs that ``velro-auth guard show`` prints. A record that cannot be written (a full
    disk) leaves a gap in the numbers, and the next record that is written says how many were lost: ``lost``.

    Args:
        write: Accepts a line. Must not block.
        flush: Waits a short time until the accepted lines are written.
        new_id: Makes the name of a chain.
    """

    def __init__(
        self,
        write: Write,
        *,
        flush: Callable[[], object] = _do_nothing,
        wall_clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._write, self._flush = write, flush
        self._wall_clock = wall_clock
        self._new_id = new_id
        self._lock = threading.Lock()
        #: Called for every lost record.
        self.on_lost: Callable[[], None] = _do_nothing
        self._pid = self._lost = 0
        self._begin()

    def record_response(self, response: ResponseRecord) -> None:
        """Record a response, if it is a security event."""
        context = response.context
        event = security_event(response.route, context.outcome) or context.security_event
        if event is None:
            return
        self.record(
            event,
            level="warning" if response.status >= 400 else "info",  # noqa: PLR2004 - refused
            account=context.log_fields.get("account"),
            address=context.address,
            user_agent=response.user_agent,
            request_id=context.request_id,
            route=response.route,
            lane=context.lane,
            status=response.status,
            outcome=context.outcome,
            took_ms=round(response.took_ms, 2),
            upstream_ms=round(context.upstream_ms, 2),
            reason=context.log_fields.get("reason"),
        )

    def record(self, event: str, *, level: str = "info", **fields: Value) -> None:
        """Write one event. *fields* hold no secret and no account in clear text."""
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            lost_before: int = self._lost
            record = self._record(event, level, fields)
            record["hash"] = digest(record)
            self._seq, self._head, self._lost = record["seq"], record["hash"], 0
            on_lost = functools.partial(self._record_lost, self._chain, 1 + lost_before)
            if self._write(dumps(record), on_lost):
                return
        on_lost()

    def close(self) -> None:
        """End the chain of this process, if it has one, and flush. An open chain may have been cut off."""
        if self._pid == os.getpid() and self._seq:
            self.record(CLOSED)
            self._pid = 0
        self._flush()

    def _record_lost(self, chain: str, records: int) -> None:
        """Add to the count for the next record: the lost record, and the lost ones that it reported."""
        with self._lock:
            if chain == self._chain:
                self._lost += records
        self.on_lost()

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
            **{name: value[:MAX_VALUE_LENGTH] if isinstance(value, str) else value for name, value in fields.items()},
            **({"lost": self._lost} if self._lost else {}),
            "chain": self._chain,
            "seq": self._seq + 1,
            "prev": self._head,
        }


def open_trail(path: Path) -> int:
    """Open a file for appending records. A line that a power failure left unfinished is ended first."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")
    return fd


class LostRecords:
    """Counts the audit records that all workers of an instance lost, and reports them in the log and in readiness."""

    #: Offsets in a row: number of lost records, and when the last one was lost.
    _COUNT, _LAST_S, _WIDTH = 0, 1, 2

    def __init__(self, workers: Workers, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = Table(workers, self._WIDTH)
        self._clock = clock
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._pid, self._own, self._logged, self._logged_s = os.getpid(), 0, 0, -math.inf

    @property
    def in_process(self) -> int:
        """How many records this process lost."""
        return self._own if self._pid == os.getpid() else 0

    def counter(self) -> ExternalCounter:
        """Return the metric."""
        return ExternalCounter(
            "audit_records_lost", "Audit records that could not be written.", lambda: self.in_process
        )

    def record(self) -> None:
        """Count one lost record. Logs nothing, because the thread that writes the log calls this."""
        row = self._table.own_row()
        with self._lock:
            if self._pid != os.getpid():
                self._begin()
            self._own += 1
            row[self._COUNT] += 1
            row[self._LAST_S] = self._clock()

    def log_new(self) -> None:
        """Log new losses, at most once a minute; called every few seconds."""
        if self._clock() - self._logged_s >= LOG_EVERY_S:
            self.log_now()

    def log_now(self) -> None:
        """Log losses that were not logged yet, if any."""
        with self._lock:
            count, self._logged = self.in_process - self._logged, self.in_process
            if count > 0:
                self._logged_s = self._clock()
        if count > 0:
            logger.error("audit records were lost", extra={"lost": count, "variable": "AUDIT_FILE"})

    def check(self) -> Finding:
        """Return the readiness check of the audit trail."""
        lost, last_s = int(self._table.sums()[self._COUNT]), max(row[self._LAST_S] for row in self._table.rows)
        if not lost or self._clock() - last_s >= WARN_FOR_S:
            return Finding("pass")
        return Finding(
            "warn",
            f"{lost} audit records could not be written, the last {self._clock() - last_s:.0f} s ago:"
            " see that the disk of AUDIT_FILE has room",
        )
