"""Cleans up after a server that was cut off: it leaves a lock file, and sometimes its process.

Our own lock is held when this runs, so no other stand-in uses what is found here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Final

from supabase_standin.paths import SHORT_PREFIX
from supabase_standin.problems import PostgresError

POLL_S: Final = 0.02
#: Lines of ``postmaster.pid`` (PostgreSQL, src/include/utils/pidfile.h), counted from 0.
PID_LINE, SOCKET_LINE, STATUS_LINE = 0, 4, 7


def status(pgdata: Path) -> tuple[int, str] | None:
    """Return pid and status ("starting", "ready", …) of the server of *pgdata*, None without a lock file."""
    lines = _lock_file(pgdata)
    if len(lines) <= STATUS_LINE or not lines[PID_LINE].isdigit():
        return None
    return int(lines[PID_LINE]), lines[STATUS_LINE].strip()


def end(pgdata: Path, *, patience_s: float) -> None:
    """End a server that survived its parent, then clear its lock file and socket folder.

    PostgreSQL itself would refuse to start when the process id in a stale lock file happens to be in use
    again, by any program. Where the system can tell what a process is (Linux), that is looked up.

    Raises:
        PostgresError: The old server does not end within *patience_s* seconds.
    """
    lines = _lock_file(pgdata)
    if not lines or not lines[PID_LINE].isdigit():
        return
    pid = int(lines[PID_LINE])
    if _serves(pid, pgdata):
        _stop(pid, pgdata, patience_s)
    if Path("/proc/self").exists():
        (pgdata / "postmaster.pid").unlink(missing_ok=True)
    if len(lines) > SOCKET_LINE and Path(lines[SOCKET_LINE]).name.startswith(SHORT_PREFIX):
        shutil.rmtree(lines[SOCKET_LINE], ignore_errors=True)


def _lock_file(pgdata: Path) -> list[str]:
    try:
        return (pgdata / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _serves(pid: int, pgdata: Path) -> bool:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == pgdata.resolve()  # noqa: PTH115 - may be "(deleted)"
    except OSError:
        return False


def _stop(pid: int, pgdata: Path, patience_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + patience_s
    while _serves(pid, pgdata):
        if time.monotonic() > deadline:
            raise PostgresError(f"An older PostgreSQL (process {pid}) does not end: stop it by hand.")
        time.sleep(POLL_S)
