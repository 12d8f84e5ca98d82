"""A new database cluster: made by ``initdb``, with a random password instead of trust."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

from supabase_standin.accounts import Account
from supabase_standin.paths import Places
from supabase_standin.problems import PostgresError

#: As on the hosted platform: ``postgres`` is an ordinary role there, so the superuser has another name.
SUPERUSER: Final = "supabase_admin"
INITDB_TIMEOUT_S: Final = 120.0
INITDB_OPTIONS: Final = (
    f"--username={SUPERUSER}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--wal-segsize=1",  # MB; 16 would waste disk on a laptop
    "--no-sync",
)
#: Nothing of the caller's environment: PGDATA, PGPORT and the like would redirect the server.
ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}


def is_made(places: Places) -> bool:
    """Tell whether the cluster is complete: ``initdb`` wrote it to its end and the password is kept."""
    return (places.pgdata / "PG_VERSION").exists() and places.password_file.exists()


def make(places: Places, bin_dir: Path, account: Account) -> None:
    """Make the cluster, over the remains of an attempt that was cut off.

    Raises:
        PostgresError: ``initdb`` failed.
    """
    unfinished = places.home / "pgdata.new"
    for leftover in (unfinished, places.pgdata):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    account.own(unfinished)
    _write_password(places.password_file, account)
    _run_initdb(bin_dir, unfinished, places.password_file, account)
    unfinished.rename(places.pgdata)


def _write_password(path: Path, account: Account) -> None:
    path.unlink(missing_ok=True)
    # A file of the account's own: a pipe made by root is not readable after stepping down.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    account.own(path)


def _run_initdb(bin_dir: Path, pgdata: Path, password_file: Path, account: Account) -> None:
    command = [str(bin_dir / "initdb"), "-D", str(pgdata), f"--pwfile={password_file}", *INITDB_OPTIONS]
    ended = subprocess.run(  # noqa: S603 - our own words only, no shell in between
        command,
        check=False,
        cwd="/",
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_S,
        umask=0o077,
        **account.popen_arguments(),
    )
    if ended.returncode != 0:
        last_lines = " ".join(ended.stderr.split()[-40:])
        raise PostgresError(f"The database could not be created in {pgdata.parent}: {last_lines}")


def check_version(places: Places, bin_dir: Path, account: Account) -> None:
    """Refuse programs of another major version than that of the cluster.

    Raises:
        PostgresError: The versions differ.
    """
    made_by = (places.pgdata / "PG_VERSION").read_text().strip()
    spoken = account.output(str(bin_dir / "postgres"), "--version")
    found = re.search(r"\d+", spoken)
    if found is None or found[0] != made_by:
        raise PostgresError(
            f"The database in {places.home} was made by PostgreSQL {made_by}, and {bin_dir} says {spoken!r}: "
            "set VELRO_PG_BIN to the old version, or use another folder."
        )
