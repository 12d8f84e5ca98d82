"""The folder of migrations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from velro_auth.ops.database.errors import DatabaseError
from velro_auth.ops.database.files import load, load_all, named, shipped, upto


def test_migrations_come_in_order_with_their_way_back(tmp_path: Path) -> None:
    (tmp_path / "20260101000002_b.sql").write_text("up b")
    (tmp_path / "20260101000002_b.down.sql").write_text("down b")
    (tmp_path / "20260101000001_a.sql").write_text("up a")
    (tmp_path / "20260101000001_a.down.sql").write_text("down a")
    (tmp_path / "README.md").write_text("not a migration")

    found = load(tmp_path)

    assert [(one.label, one.up_sql, one.down_sql) for one in found] == [
        ("20260101000001_a", "up a", "down a"),
        ("20260101000002_b", "up b", "down b"),
    ]


def test_line_ends_do_not_change_the_checksum(tmp_path: Path) -> None:
    """A checkout on Windows may have other line ends, and is not an edited file."""
    checksums = set()
    for end in ("\n", "\r\n"):
        (tmp_path / "20260101000001_a.sql").write_bytes(f"select 1;{end}select 2;{end}".encode())
        (tmp_path / "20260101000001_a.down.sql").write_bytes(b"")
        checksums.add(load(tmp_path)[0].checksum)

    assert len(checksums) == 1


@pytest.mark.parametrize("names", [[], ["20260101000001_a.sql"]])
def test_an_unusable_folder_is_one_sentence(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("")

    with pytest.raises(DatabaseError, match=r"no migration in|has no 20260101000001_a\.down\.sql beside it"):
        load(tmp_path)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="There is no folder"):
        load(tmp_path / "nowhere")


def test_up_to_a_version_includes_it() -> None:
    migrations = load(shipped())

    assert upto(migrations, migrations[1].version) == migrations[:2]
    with pytest.raises(DatabaseError, match=migrations[0].version):
        upto(migrations, "1")


def test_optional_migrations_come_from_their_own_folder_and_are_called_by_name() -> None:
    every = load_all(shipped())
    [check] = [one for one in every if one.is_optional]

    assert [one for one in every if not one.is_optional] == list(load(shipped()))
    assert [one.version for one in every] == sorted(one.version for one in every)
    assert named(every, ["session-check"]) == (check,)
    assert named(every, []) == ()
    for name in ("session_check", "users"):
        with pytest.raises(DatabaseError, match=f"no optional migration {name}; there are: session-check"):
            named(every, [name])


def test_each_shipped_file_says_what_it_is_for() -> None:
    """They are read in the SQL editor, by somebody who has nothing else."""
    for migration in load_all(shipped()):
        assert migration.up_sql.startswith("-- ")
        assert migration.down_sql.startswith("-- ")


def test_no_shipped_file_ends_the_transaction_it_runs_in() -> None:
    for migration in load_all(shipped()):
        for sql in (migration.up_sql, migration.down_sql):
            assert not re.search(
                r"^\s*(commit|rollback|begin\s*;|start transaction)", sql, re.IGNORECASE | re.MULTILINE
            )
