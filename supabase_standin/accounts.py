"""The account PostgreSQL runs under: it refuses to run as root, so root lends it another one."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supabase_standin.problems import PostgresError

#: Accounts root steps down to, in this order, after the account that called sudo.
KNOWN_ACCOUNTS: Final = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who runs PostgreSQL.

    Attributes:
        name: The name in the password file.
        uid: Its user id.
        gid: Its group id.
        is_lent: Whether this process is root and has to step down to it.
    """

    name: str
    uid: int
    gid: int
    is_lent: bool

    def popen_arguments(self) -> dict[str, Any]:
        """Return what `subprocess` needs to start a child as this account."""
        if not self.is_lent:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        """Tell whether this account can reach *folder*; the kernel is asked, so access lists count too."""
        if not self.is_lent:
            return os.access(folder, os.X_OK)
        return self.succeeds("sh", "-c", 'cd "$1"', "sh", str(folder))

    def succeeds(self, *command: str) -> bool:
        """Run *command* as this account and tell whether it ended with 0."""
        try:
            return self._run(command).returncode == 0
        except OSError:
            return False

    def output(self, *command: str) -> str:
        """Run *command* as this account and return what it printed, in one line."""
        return " ".join(self._run(command).stdout.split())

    def own(self, path: Path) -> None:
        """Give *path* to this account."""
        if self.is_lent:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own words only, no shell in between
            command,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            **self.popen_arguments(),
        )


def find(*, uid: int | None = None, environ: Mapping[str, str] | None = None) -> Account:
    """Return the account PostgreSQL is to run under.

    An ordinary user runs it as himself. Root steps down to the account that called sudo, else to
    ``postgres``, else to ``nobody``; accounts are never created.

    Args:
        uid: The user id of this process; for tests.
        environ: Where ``SUDO_UID`` is looked up; for tests.

    Raises:
        PostgresError: The user id has no name, or root finds no account to step down to.
    """
    uid = os.geteuid() if uid is None else uid
    environ = os.environ if environ is None else environ
    if uid != 0:
        return _own_account(uid)
    candidates = [_by_id(environ.get("SUDO_UID", "")), *map(_by_name, KNOWN_ACCOUNTS)]
    for entry in candidates:
        if entry is not None and entry.pw_uid != 0:
            return _account(entry, is_lent=True)
    raise PostgresError(
        "PostgreSQL refuses to run as root, and neither an account 'postgres' nor 'nobody' exists: "
        "run this as an ordinary user."
    )


def _own_account(uid: int) -> Account:
    entry = _by_id(str(uid))
    if entry is None:
        # `docker run --user 1234` ends here; initdb says "could not look up effective user ID".
        raise PostgresError(
            f"PostgreSQL needs a named account, and user id {uid} has none in the password file: "
            "add one, or run this as a named user."
        )
    return _account(entry, is_lent=False)


def _account(entry: pwd.struct_passwd, *, is_lent: bool) -> Account:
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, is_lent=is_lent)


def _by_id(uid: str) -> pwd.struct_passwd | None:
    if not (uid.isascii() and uid.isdigit()):
        return None
    try:
        return pwd.getpwuid(int(uid))
    except (KeyError, OverflowError):
        return None


def _by_name(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
