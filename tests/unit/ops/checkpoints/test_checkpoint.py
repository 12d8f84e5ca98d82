from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ops.checkpoints.samples import COMMIT, checkpoint
from velro_auth.ops.checkpoints.checkpoint import Checkpoint, DamagedCheckpoint, ForeignTag, _digest, one_line


def read(message: str, commit: str = COMMIT) -> Checkpoint:
    return Checkpoint.read("rollback-20261125-2111", commit, message)


def changed(message: str, *, digest: bool, **members: Any) -> str:
    """Return *message* with other members in its block: with the right hash, or as somebody's editor leaves it."""
    start, end = message.index("{"), message.rindex("}") + 1
    block = json.loads(message[start:end]) | members
    if digest:
        block["sha256"] = _digest(block)
    return message[:start] + json.dumps(block) + message[end:]


@pytest.mark.parametrize("changes", [{}, {"migrations": None}, {"migrations": ()}, {"deployment_id": None, "note": ""}])
def test_everything_is_carried_there_and_back(changes: dict[str, Any]) -> None:
    made = checkpoint(**changes)

    assert read(made.message()) == made


@given(st.text())
def test_any_note_is_carried_as_one_line(note: str) -> None:
    assert read(checkpoint(note=one_line(note)).message()).note == one_line(note)
    assert "\n" not in one_line(note)
    assert "\x1b" not in one_line(note)


def test_people_can_read_it() -> None:
    assert (
        checkpoint()
        .message()
        .startswith(
            "Checkpoint of velro-auth 0.1.0 before rolling back to rollback-20261124-0800\n\nbefore the hook\n\n"
            f"Commit: {COMMIT}\n"
            "Deployment: 9288283e-34ab-4f67-affb-13e9ee47fc14\n"
            "Database: 2 migrations applied\n"
            "  20261122100100_step_1\n"
            "  20261122100200_step_2\n"
            "Settings that differ from their default: LOG_LEVEL\n"
            "Secrets that are set: SUPABASE_SECRET_KEY\n"
        )
    )


def test_a_message_torn_anywhere_is_refused() -> None:
    message = checkpoint().message().rstrip()

    for length in range(len(message)):
        with pytest.raises((DamagedCheckpoint, ForeignTag)):
            read(message[:length])


@pytest.mark.parametrize(
    "edit", [{"migrations": []}, {"deployment_id": "another"}, {"at": "2020-01-01T00:00:00+00:00"}, {"more": 1}]
)
def test_an_edited_message_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(DamagedCheckpoint, match="was edited"):
        read(changed(checkpoint().message(), digest=False, **edit))


def test_a_tag_that_was_moved_is_refused() -> None:
    with pytest.raises(DamagedCheckpoint, match="moved to another commit"):
        read(checkpoint().message(), commit="b2" * 20)


def test_a_checkpoint_of_another_release_is_refused_with_advice() -> None:
    with pytest.raises(DamagedCheckpoint, match="another release of velro-auth; use that one"):
        read(changed(checkpoint().message(), digest=True, format=2))


@pytest.mark.parametrize(
    "edit",
    [
        {"migrations": [["20261122100100; drop table", "x", ""]]},
        {"migrations": [["20261122100100", "\x1b[2J", ""]]},
        {"migrations": [["20261122100100"]]},
        {"migrations": 7},
        {"settings": {}},
        {"settings": {"changed": {"\x1b[2J": "0"}, "secrets": []}},
        {"at": "yesterday"},
        {"note": None},
    ],
)
def test_a_checkpoint_made_up_by_somebody_is_refused(edit: dict[str, Any]) -> None:
    """What is printed, and handed to git and the database, was looked at."""
    with pytest.raises(DamagedCheckpoint, match="cannot be understood"):
        read(changed(checkpoint().message(), digest=True, **edit))


def test_a_time_that_lacks_its_zone_can_be_reckoned_with() -> None:
    made_up = changed(checkpoint().message(), digest=True, at="2026-11-25T21:11:05")

    assert read(made_up).at.tzinfo is not None


def test_another_message_is_no_checkpoint() -> None:
    with pytest.raises(ForeignTag):
        read("Before the great migration\n")


def test_a_note_that_quotes_a_checkpoint_and_a_signature_behind_do_not_confuse() -> None:
    made = checkpoint(note=one_line(checkpoint().message()))

    assert read(made.message() + "-----BEGIN PGP SIGNATURE-----\n{}\n") == made
