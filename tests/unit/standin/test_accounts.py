"""Who runs PostgreSQL."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from supabase_standin import accounts
from supabase_standin.accounts import Account
from supabase_standin.problems import PostgresError
from tests.unit.standin.conftest import needs_root

SOMEBODY = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
UNUSED_UID = next(uid for uid in range(4242, 60000) if uid not in {e.pw_uid for e in pwd.getpwall()})


def test_an_ordinary_user_runs_it_as_himself() -> None:
    account = accounts.find(uid=SOMEBODY.pw_uid, environ={})

    assert (account.uid, account.is_lent) == (SOMEBODY.pw_uid, False)
    assert account.popen_arguments() == {}


def test_a_user_without_a_name_is_told_so() -> None:
    """``docker run --user 1234``: PostgreSQL's own words would be "could not look up effective user ID"."""
    with pytest.raises(PostgresError, match=f"user id {UNUSED_UID} has none in the password file"):
        accounts.find(uid=UNUSED_UID, environ={})


def test_root_steps_down_to_who_called_sudo() -> None:
    account = accounts.find(uid=0, environ={"SUDO_UID": str(SOMEBODY.pw_uid)})

    assert (account.uid, account.is_lent) == (SOMEBODY.pw_uid, True)
    assert account.popen_arguments() == {
        "user": SOMEBODY.pw_uid,
        "group": SOMEBODY.pw_gid,
        "extra_groups": [],
    }


@pytest.mark.parametrize("sudo_uid", ["0", "", "nonsense", str(UNUSED_UID), "9" * 30, "-1", "٣"])
def test_without_a_usable_caller_root_steps_down_to_a_known_account(sudo_uid: str) -> None:
    account = accounts.find(uid=0, environ={"SUDO_UID": sudo_uid})

    assert account.name in accounts.KNOWN_ACCOUNTS
    assert account.uid != 0


@needs_root
def test_the_kernel_says_what_a_lent_account_can_enter(place: Path, account: Account) -> None:
    closed, opened = place / "closed" / "inner", place / "opened"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    opened.mkdir(mode=0o711)

    assert account.can_enter(opened)
    assert not account.can_enter(closed)


@needs_root
def test_a_command_runs_as_the_lent_account(account: Account) -> None:
    assert account.output("id", "-u") == str(account.uid)
    assert account.output("id", "-G") == str(account.gid)


def test_a_command_that_is_missing_does_not_succeed() -> None:
    account = accounts.find(uid=os.geteuid() or SOMEBODY.pw_uid, environ={})

    assert account.succeeds("true")
    assert not account.succeeds("false")
    assert not account.succeeds("/no/such/command")
