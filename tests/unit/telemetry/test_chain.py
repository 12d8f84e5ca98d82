"""No record can be changed, removed or moved unseen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from velro_auth.ops.cli import main
from velro_auth.ops.cli.audit import audit
from velro_auth.telemetry.audit import AuditTrail
from velro_auth.telemetry.chain import GENESIS, digest, verify


def trail(*, events: int = 6, name: str = "chain-a", closes: bool = True) -> list[bytes]:
    """Return the lines of one process."""
    lines: list[bytes] = []

    def write(line: str, _on_lost: Callable[[], None]) -> bool:
        lines.append(line.encode() + b"\n")
        return True

    chain = AuditTrail(write, wall_clock=lambda: 1_800_000_000.25, new_id=lambda: name)
    for number in range(events):
        chain.record("login_refused", level="warning", account=f"{number:032x}", address="192.0.2.7", status=401)
    if closes:
        chain.close()
    return lines


LINES = trail()


def test_an_unbroken_trail_has_no_fault() -> None:
    report = verify(LINES)

    assert report.faults == []
    assert not report.is_torn
    chain = report.chains["chain-a"]
    assert (chain.records, chain.is_closed) == (7, True)
    assert chain.head == json.loads(LINES[-1])["hash"]


@given(st.data())
def test_every_changed_byte_is_found(data: st.DataObject) -> None:
    where = data.draw(st.integers(0, len(LINES) - 1))
    place = data.draw(st.integers(0, len(LINES[where]) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != LINES[where][place] and byte != ord("\n")))
    line = LINES[where][:place] + bytes([byte]) + LINES[where][place + 1 :]
    changed = [*LINES[:where], line, *LINES[where + 1 :]]

    report = verify(changed)

    if _means_the_same(line, LINES[where]):
        assert not report.faults
    elif report.faults:
        assert report.faults[0].line in {where + 1, where + 2}
    else:
        # Made a line of nobody's: seen only by those after it, or by the end that is missing.
        assert where == len(LINES) - 1
        assert not report.chains["chain-a"].is_closed


def _means_the_same(line: bytes, original: bytes) -> bool:
    try:
        return bool(json.loads(line) == json.loads(original))
    except ValueError:
        return False


@given(st.integers(0, len(LINES) - 2))
def test_a_removed_line_is_found(where: int) -> None:
    report = verify(LINES[:where] + LINES[where + 1 :])

    assert report.faults[0].line == where + 1
    assert "missing" in report.faults[0].what


@given(st.permutations(LINES))
def test_a_moved_line_is_found(lines: list[bytes]) -> None:
    assert bool(verify(lines).faults) is (lines != LINES)


@given(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES)))
def test_a_repeated_line_is_found(which: int, where: int) -> None:
    report = verify([*LINES[:where], LINES[which], *LINES[where:]])

    assert report.faults


@given(st.integers(1, len(LINES[-1]) - 2))
def test_a_torn_last_line_is_no_fault(length: int) -> None:
    report = verify([*LINES[:-1], LINES[-1][:length]])

    assert report.faults == []
    assert report.is_torn
    assert not report.chains["chain-a"].is_closed


def test_a_cut_off_end_leaves_the_chain_open() -> None:
    """All that its hashes can tell; the head has to be compared with what was shipped elsewhere."""
    report = verify(LINES[:-3])

    assert report.faults == []
    assert not report.chains["chain-a"].is_closed


def test_a_record_put_in_with_the_right_number_is_found() -> None:
    """Whoever recomputes one hash has to recompute all that follow."""
    forged: list[bytes] = []

    def write(line: str, _on_lost: Callable[[], None]) -> bool:
        forged.append(line.encode() + b"\n")
        return True

    AuditTrail(write, new_id=lambda: "chain-a").record("login_succeeded")

    report = verify([*forged, *LINES[1:]])

    assert [(fault.line, "another chain" in fault.what) for fault in report.faults] == [(2, True)]


def test_chains_of_several_workers_and_other_log_lines_share_a_file() -> None:
    other = trail(name="chain-b", events=3)
    log_line = b'{"message": "GET /health 200", "level": "info"}\n'
    mixed = [LINES[0], other[0], log_line, *LINES[1:4], *other[1:], log_line, *LINES[4:]]

    report = verify(mixed)

    assert report.faults == []
    assert {name: chain.records for name, chain in report.chains.items()} == {"chain-a": 7, "chain-b": 4}


@pytest.mark.parametrize(
    "line",
    [
        b"{\n",
        b"\xff\xfe\n",
        b'"text"\n',
        b'{"chain": "chain-a"}\n',
        b'{"chain": "chain-a", "seq": true, "prev": "0", "hash": "0"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_damaged_lines_are_faults_and_no_crash(line: bytes) -> None:
    report = verify([line, *LINES])

    assert [fault.line for fault in report.faults] == [1]


@pytest.mark.parametrize(
    "text", ["", '{"message": "GET /health 200", "level": "info"}\n', "\n\n"], ids=["empty", "log", "blank"]
)
def test_a_file_without_a_record_is_not_called_unbroken(tmp_path: Path, text: str) -> None:
    """The wrong file, or a trail that was removed whole."""
    (tmp_path / "audit.jsonl").write_text(text)

    said = CliRunner().invoke(audit, ["verify", str(tmp_path / "audit.jsonl")])

    assert said.exit_code == 1
    assert "holds no record of an audit trail" in said.output
    assert "Unbroken" not in said.output


def test_help_and_behaviour_agree_about_lines_that_are_no_json(tmp_path: Path) -> None:
    said = " ".join(CliRunner().invoke(main, ["audit", "verify", "--help"]).output.split())
    (tmp_path / "audit.jsonl").write_bytes(b"[2026-11-26 12:00:00] Starting\n" + b"".join(LINES))
    broken = CliRunner().invoke(audit, ["verify", str(tmp_path / "audit.jsonl")])

    assert "each a JSON object" in said
    assert "Any other line counts as damaged" in said
    assert "Exit status: 0 unbroken; 1 broken, or the file holds no record" in said
    assert broken.exit_code == 1
    assert ":1: the line is not JSON: damaged" in broken.output


def test_the_command_says_where_it_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(LINES))
    good = CliRunner().invoke(audit, ["verify", str(file)])
    file.write_bytes(b"".join(LINES).replace(b'"status": 401', b'"status": 200', 3))
    changed = CliRunner().invoke(audit, ["verify", str(file)])
    file.write_bytes(b"".join(LINES[:2] + LINES[3:]))
    missing = CliRunner().invoke(audit, ["verify", str(file)])
    file.write_bytes(b"".join(LINES)[:-30])
    torn = CliRunner().invoke(audit, ["verify", str(file)])

    assert (good.exit_code, good.output.splitlines()[-1]) == (0, "Unbroken: 7 records.")
    assert changed.exit_code == 1
    assert [f"{file}:{line}: record {line} does not match its own hash: changed" for line in (1, 2, 3)] == [
        line for line in changed.output.splitlines() if line.startswith(str(file)) and "own hash" in line
    ]
    assert missing.exit_code == 1
    assert f"{file}:3: records 3 to 3 are missing before record 4" in missing.output
    assert torn.exit_code == 0
    assert "unfinished" in torn.output


def lossy(kept: Sequence[bool], *, name: str = "chain-a") -> list[bytes]:
    """Return the lines of a process whose disk has room for some records only; the last one is kept."""
    lines: list[bytes] = []
    room = iter((*kept, True))

    def write(line: str, _on_lost: Callable[[], None]) -> bool:
        if has_room := next(room):
            lines.append(line.encode() + b"\n")
        return has_room

    chain = AuditTrail(write, wall_clock=lambda: 1_800_000_000.25, new_id=lambda: name)
    for _ in range(len(kept) + 1):
        chain.record("login_refused")
    return lines


@given(st.lists(st.booleans(), max_size=20))
def test_what_could_not_be_written_is_told_where_it_was(kept: list[bool]) -> None:
    report = verify(lossy(kept))

    assert report.faults == []
    assert report.lost == kept.count(False)
    assert bool(report.lost_records) is (False in kept)


@given(st.lists(st.booleans(), min_size=2, max_size=20), st.data())
def test_a_line_removed_from_a_trail_with_losses_is_found(kept: list[bool], data: st.DataObject) -> None:
    lines = lossy(kept)
    where = data.draw(st.integers(0, len(lines) - 1))

    report = verify(lines[:where] + lines[where + 1 :])

    # The last line is the end: nothing behind it can tell.
    assert bool(report.faults) is (where < len(lines) - 1)


def test_a_gap_that_is_larger_than_what_was_lost_is_a_fault() -> None:
    lines = lossy([True, False, False, True, True])

    report = verify([lines[0], *lines[2:]])

    assert [fault.what for fault in report.faults] == ["records 2 to 4 are missing before record 5"]


def test_losses_that_an_earlier_release_gave_no_numbers_are_told_too() -> None:
    record = {"event": "login_refused", "lost": 3, "chain": "old", "seq": 1, "prev": GENESIS}
    line = json.dumps({**record, "hash": digest(record)}).encode() + b"\n"

    report = verify([line])

    assert report.faults == []
    assert [loss.what for loss in report.lost_records] == [
        "3 records were lost before record 1: they could not be written"
    ]


def test_the_command_says_what_was_lost_and_where(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(lossy([True, True, False, False, False, True])))

    told = CliRunner().invoke(audit, ["verify", str(file)])

    assert told.exit_code == 1
    assert told.output.splitlines()[-2:] == [
        f"{file}:3: records 3 to 5 were lost before record 6: they could not be written",
        "Incomplete: 3 records could not be written; nothing else is wrong.",
    ]
