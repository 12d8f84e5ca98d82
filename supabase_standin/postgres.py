"""A PostgreSQL of our own: started as a child, reached by its socket, gone with its parent.

No TCP port is opened. The server is our own child and not a daemon, so it is reaped by us and never adopted
by mistake; a guard process ends it when we are killed before we could.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from supabase_standin import accounts, binaries, cluster, paths, stale_process
from supabase_standin.guard import guarding
from supabase_standin.lock import only_one
from supabase_standin.problems import PostgresError

__all__ = ["Postgres", "PostgresError"]

START_TIMEOUT_S: Final = 30.0
#: SIGINT asks for a fast shutdown; past this SIGQUIT leaves the rest to recovery.
STOP_TIMEOUT_S: Final = 15.0
POLL_S: Final = 0.005

#: Sized for a laptop: measured 30 MB on disk. Many projects may share one server, each with pools of its own.
SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "400",
    "shared_buffers": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
#: For tests, where a crash of the machine may cost the data.
FORGETFUL_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


def _silent(_line: str) -> None:
    """Say nothing."""


class Postgres:
    """A running PostgreSQL below one folder.

    Args:
        data_dir: The folder of the cluster; made when it is missing. One server at a time.
        durable: False trades crash safety for speed.
        bin_dir: The programs; found by themselves when None.
        shared_place: Where root puts what the account it steps down to could not reach otherwise.
        stop_timeout_s: How long the server may take for each of the orders to stop, before it is killed.
        progress: Told in plain lines what takes a moment.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        durable: bool = True,
        bin_dir: Path | None = None,
        progress: Callable[[str], None] = _silent,
        shared_place: Path = binaries.SHARED_PLACE,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._durable = durable
        self._bin_dir = bin_dir
        self._progress = progress
        self._shared_place = shared_place
        self._stop_timeout_s = stop_timeout_s
        self._cleanup = contextlib.ExitStack()
        self._socket_dir: Path | None = None
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and return when it takes connections; a new folder gets a new cluster first.

        Raises:
            PostgresError: Anything that keeps it from running, and what to do about it.
        """
        if self._process is not None:
            raise PostgresError(f"PostgreSQL already runs on {self._data_dir}: start it once.")
        with contextlib.ExitStack() as undo:
            self._start(undo)
            self._cleanup = undo.pop_all()

    def stop(self) -> None:
        """Stop the server and remove its socket; stopping twice does no harm."""
        self._cleanup.close()

    def dsn(self, *, user: str = "postgres", database: str = "postgres") -> str:
        """Return the address of *database* for *user*, password included, over the unix socket.

        Raises:
            PostgresError: The server does not run.
        """
        if self._socket_dir is None:
            raise PostgresError(f"PostgreSQL does not run on {self._data_dir}: start it first.")
        host = quote(str(self._socket_dir), safe="")
        return f"postgresql://{quote(user)}:{quote(self._password)}@/{quote(database)}?host={host}"

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it was not started."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, with or without an error."""
        self.stop()

    def _start(self, undo: contextlib.ExitStack) -> None:
        account = accounts.find()
        shared = self._shared_place
        bin_dir = binaries.reachable(binaries.find(self._bin_dir), account, shared_place=shared)
        where = paths.choose(self._data_dir, account, shared_place=shared)
        undo.enter_context(only_one(self._data_dir))
        stale_process.end(where.pgdata, patience_s=self._stop_timeout_s)
        if not cluster.is_made(where):
            self._progress(f"creating the database in {where.home}")
            cluster.make(where, bin_dir, account)
        cluster.check_version(where, bin_dir, account)
        self._password = where.password_file.read_text()
        socket_dir = where.make_socket_dir(account)
        undo.callback(shutil.rmtree, socket_dir, ignore_errors=True)
        self._progress("starting PostgreSQL")
        guard = undo.enter_context(guarding(where.pgdata, account))
        undo.callback(self._end)
        self._process = self._launch(bin_dir, where, socket_dir, account)
        guard.watch(self._process.pid)
        _wait_until_ready(self._process, where)
        self._socket_dir = socket_dir
        _make_owner(self.dsn(user=cluster.SUPERUSER), self._password)

    def _launch(
        self, bin_dir: Path, where: paths.Places, socket_dir: Path, account: accounts.Account
    ) -> subprocess.Popen[bytes]:
        settings = SETTINGS if self._durable else SETTINGS | FORGETFUL_SETTINGS
        command = [str(bin_dir / "postgres"), "-D", str(where.pgdata), "-k", str(socket_dir)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with where.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own words only, no shell in between
                command,
                cwd="/",
                env=cluster.ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we tell the server ourselves
                umask=0o077,
                **account.popen_arguments(),
            )

    def _end(self) -> None:
        process, self._process, self._socket_dir = self._process, None, None
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._stop_timeout_s)
                return
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], where: paths.Places) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if stale_process.status(where.pgdata) == (process.pid, "ready"):
            return
        if process.poll() is not None:
            raise PostgresError(f"PostgreSQL ended while starting: {_last_words(where.log)}")
        time.sleep(POLL_S)
    raise PostgresError(f"PostgreSQL was not ready after {START_TIMEOUT_S:g} s: {_last_words(where.log)}")


def _last_words(log: Path) -> str:
    return " ".join(log.read_text(errors="replace").split()[-40:]) or f"it said nothing, see {log}"


def _make_owner(dsn: str, password: str) -> None:
    """Make ``postgres`` what it is on the hosted platform: able to build, but not a superuser."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if connection.execute("select from pg_roles where rolname = 'postgres'").fetchone() is None:
            connection.execute(
                sql.SQL("create role postgres login createdb createrole bypassrls password {}").format(password)
            )
            connection.execute("alter database postgres owner to postgres")
