"""Every security event is recorded, once, without a secret."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.telemetry.answers import Child, answer, repeat
from tests.waiting import eventually
from velro_auth.guards.keys import Keyring
from velro_auth.telemetry.audit import MAX_VALUE_LENGTH, AuditTrail, LostRecords, open_trail, security_event
from velro_auth.telemetry.chain import verify
from velro_auth.telemetry.shared import Workers
from velro_auth.telemetry.sink import Sink
from velro_auth.web.problems import ANSWERS

Fork = Callable[[Callable[[], object]], Child]

#: Answers that tell of no security event anywhere: a mistyped path, and limits that protect ourselves.
UNEVENTFUL = {
    *("bad_request", "request_timeout", "expectation_failed", "not_implemented"),
    *("not_found", "method_not_allowed", "resting", "busy", "stopping"),
}

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Lines:
    """Keeps what was written, refuses it, or takes it and loses it."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.is_full = False
        self.loses = False
        self.lost: list[Callable[[], None]] = []

    def __call__(self, line: str, on_lost: Callable[[], None]) -> bool:
        if self.loses:
            self.lost.append(on_lost)
        elif not self.is_full:
            self.kept.append(line)
        return not self.is_full

    def find_out(self) -> None:
        """Tell that what was taken and not kept is lost."""
        self.loses = False
        while self.lost:
            self.lost.pop()()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.kept]

    @property
    def raw(self) -> list[bytes]:
        return [line.encode() + b"\n" for line in self.kept]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_a_refused_login_is_recorded_with_who_where_and_how(lines: Lines) -> None:
    account = Keyring(b"a secret").account("Ada@Example.com")

    AuditTrail(lines, wall_clock=lambda: 1_800_000_000.25).record_response(
        answer(401, outcome="invalid_credentials", took_ms=130.0, account=account)
    )

    (record,) = lines.records
    assert (
        record.items()
        >= {
            "message": "audit: login_refused",
            "level": "warning",
            "time": "2027-01-15T08:00:00.250Z",
            "event": "login_refused",
            "account": account,
            "address": "192.0.2.7",
            "user_agent": "a browser",
            "request_id": "a-request",
            "route": "login",
            "lane": "fast",
            "status": 401,
            "outcome": "invalid_credentials",
            "took_ms": 130.0,
            "upstream_ms": 110.0,
            "seq": 1,
        }.items()
    )
    assert "ada@" not in lines.kept[0].lower()


@pytest.mark.parametrize(
    ("route", "outcome", "event"),
    [
        ("login", "ok", "login_succeeded"),
        ("login", "email_not_confirmed", "login_refused"),
        ("login", "too_many_attempts", "throttled"),
        ("login", "upstream_misconfigured", "upstream_failed"),
        ("authorize", "ok", "login_begun"),
        ("exchange", "ok", "login_succeeded"),
        ("exchange", "link_invalid", "login_refused"),
        ("callback", "link_invalid", "link_refused"),
        ("refresh", "ok", "session_refreshed"),
        ("refresh", "session_expired", "refresh_refused"),
        ("logout", "ok", "session_ended"),
        ("session", "ok", "session_ended"),
        ("verify", "token_expired", "token_refused"),
        ("verify", "forbidden", "access_denied"),
        ("verify", "insufficient_aal", "access_denied"),
        ("verify", "ok", None),
        ("ping", "ok", None),
        ("other", "not_found", None),
        ("other", "internal_error", "internal_error"),
    ],
)
def test_security_events_are_told_by_endpoint_and_outcome(route: str, outcome: str, event: str | None) -> None:
    assert security_event(route, outcome) == event


def test_every_answer_of_a_login_is_an_event_or_is_none_on_purpose() -> None:
    """A new error needs a decision: does it belong into the audit trail?"""
    codes = {row.code for row in ANSWERS.values()}

    assert {code for code in codes if security_event("login", code) is None} == UNEVENTFUL


def test_a_caller_cannot_write_lines_of_their_own(lines: Lines) -> None:
    """ASVS 16.4.1."""
    trail = AuditTrail(lines)
    for hostile in ("a\r\nb", '"}\n{"chain": "x"', "\x1b[31m\u2028\x00", "${jndi:ldap://x}", "\ud800", "z" * 10_000):
        trail.record("login_refused", user_agent=hostile)

    assert all("\n" not in line and line.isascii() and line.isprintable() for line in lines.kept)
    assert all(len(record["user_agent"]) <= MAX_VALUE_LENGTH for record in lines.records)
    assert verify(lines.raw).faults == []


def test_a_record_that_could_not_be_written_leaves_a_gap_that_the_next_one_explains(lines: Lines) -> None:
    losses: list[None] = []
    trail = AuditTrail(lines)
    trail.on_lost = lambda: losses.append(None)
    trail.record("login_succeeded")
    lines.is_full = True
    trail.record("login_refused")
    trail.record("login_refused")
    lines.is_full = False

    trail.record("login_succeeded")
    trail.record("login_succeeded")

    assert [record.get("lost") for record in lines.records] == [None, 2, None]
    assert [record["seq"] for record in lines.records] == [1, 4, 5]
    report = verify(lines.raw)
    assert (report.faults, report.lost, len(losses)) == ([], 2, 2)
    assert [loss.what for loss in report.lost_records] == [
        "records 2 to 3 were lost before record 4: they could not be written"
    ]


def test_records_lost_after_they_were_taken_are_told_by_a_later_one(lines: Lines) -> None:
    """The thread that writes finds out late; one of the lost records told of others."""
    trail = AuditTrail(lines)
    trail.record("login_succeeded")
    lines.is_full = True
    trail.record("login_refused")
    lines.is_full, lines.loses = False, True
    trail.record("login_refused")
    trail.record("login_refused")
    lines.loses = False
    trail.record("login_succeeded")
    lines.loses = True
    trail.record("login_refused")
    lines.find_out()

    trail.record("login_succeeded")

    assert [(record["seq"], record.get("lost")) for record in lines.records] == [(1, None), (5, None), (7, 4)]
    report = verify(lines.raw)
    assert (report.faults, report.lost) == ([], 4)


def test_a_loss_of_an_earlier_chain_is_not_told_by_the_next(lines: Lines) -> None:
    trail = AuditTrail(lines)
    lines.loses = True
    trail.record("login_refused")
    trail.close()
    lines.loses = False
    trail.record("login_succeeded")
    lines.find_out()

    trail.record("login_succeeded")

    assert [record.get("lost") for record in lines.records] == [None, None]


def test_a_full_disk_is_counted_and_holds_up_no_login(fork: Fork) -> None:
    """As in a worker: a thread writes, and finds out when every record was taken."""

    def work() -> None:
        sink = Sink(lambda: open_trail(Path("/dev/full")))
        sink.after_fork()
        trail, lost_records = AuditTrail(sink.write), LostRecords(Workers())
        trail.on_lost = lost_records.record
        for _ in range(300):
            trail.record("login_refused")
        assert sink.flush(10)
        eventually(lambda: lost_records.in_process == 300)
        assert lost_records.check().status == "warn"

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    fork(work)


def test_a_disk_that_was_full_for_a_while_leaves_a_gap_of_the_right_size(fork: Fork, tmp_path: Path) -> None:
    """The system lets no file grow beyond 20 KB, then it does again."""
    file = tmp_path / "audit.jsonl"

    def work() -> None:
        sink = Sink(lambda: open_trail(file))
        sink.after_fork()
        trail, lost_records = AuditTrail(sink.write), LostRecords(Workers())
        trail.on_lost = lost_records.record
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        for _ in range(300):
            trail.record("login_refused", account="a" * 32)
        assert sink.flush(10)
        eventually(lambda: lost_records.in_process > 200)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        trail.record("login_succeeded")
        trail.close()
        assert sink.flush(10)
        (tmp_path / "lost").write_text(str(lost_records.in_process))

    fork(work)
    with file.open("rb") as stream:
        report = verify(stream)

    (chain,) = report.chains.values()
    assert (chain.records, chain.is_closed) == (302, True)
    assert report.lost == int((tmp_path / "lost").read_text())
    assert report.lost == 302 - sum(b'"seq"' in line and b'"hash"' in line for line in file.read_bytes().splitlines())
    assert [fault for fault in report.faults if "torn off" not in fault.what] == []


def test_threads_share_one_chain(lines: Lines) -> None:
    trail = AuditTrail(lines)
    threads = [threading.Thread(target=repeat, args=(200, lambda: trail.record("login_succeeded"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    report = verify(lines.raw)

    assert report.faults == []
    assert [chain.records for chain in report.chains.values()] == [1600]


def test_a_chain_that_recorded_nothing_is_not_closed(lines: Lines) -> None:
    AuditTrail(lines).close()

    assert lines.kept == []


def test_workers_write_chains_of_their_own_into_one_file(fork: Fork, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    sink = Sink(lambda: open_trail(file))
    trail = AuditTrail(sink.write)
    trail.record("started")

    def work() -> None:
        for _ in range(200):
            trail.record("login_succeeded")
        trail.close()
        assert sink.flush(10)

    children = [fork(work) for _ in range(3)]
    for child in children:
        child.kill()
    with file.open("rb") as stream:
        report = verify(stream)

    assert report.faults == []
    assert sorted((chain.records, chain.is_closed) for chain in report.chains.values()) == [
        (1, False),
        *[(201, True)] * 3,
    ]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_line_torn_off_by_a_power_failure_damages_no_later_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b'{"message": "audit: login_succ')

    fd = open_trail(file)
    AuditTrail(Sink(lambda: fd).write).record("login_succeeded")
    os.close(fd)

    torn, record = file.read_bytes().splitlines()
    assert torn == b'{"message": "audit: login_succ'
    assert json.loads(record)["seq"] == 1
