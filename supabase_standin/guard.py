"""Ends PostgreSQL when we are killed before we can do it ourselves.

A shell waits for the end of its input, a pipe of which we hold the other end. However we die, the system
closes it. ``PR_SET_PDEATHSIG`` would do the same on Linux only, would fire already when the *thread* that
started the server ends, and would need code to run between fork and exec.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supabase_standin.accounts import Account

#: First line in: whom to watch. End of input: we are gone. The pid is compared with the lock file of the
#: cluster, so that a number which the system used again stays untouched.
SCRIPT: Final = """
trap '' INT TERM HUP
read -r watched || exit 0
read -r ignored
read -r pid < "$1/postmaster.pid" && [ "$pid" = "$watched" ] && kill -INT "$pid"
"""


class Guard:
    """A small process that outlives us by the moment it takes to stop the server.

    Args:
        process: The shell that runs ``SCRIPT``, its input a pipe of ours.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def watch(self, pid: int) -> None:
        """Say which process is to end with us."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % pid)
        self._process.stdin.flush()


@contextlib.contextmanager
def guarding(pgdata: Path, account: Account) -> Iterator[Guard]:
    """Keep a guard beside us for the server of *pgdata*; leaving dismisses it."""
    process = subprocess.Popen(  # noqa: S603 - our own words only
        ["/bin/sh", "-c", SCRIPT, "velro-guard", str(pgdata)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **account.popen_arguments(),
    )
    try:
        yield Guard(process)
    finally:
        process.kill()  # before its input ends: the server has ended, nothing is left to watch
        process.communicate()
