"""Everything works through a transaction pooler, where a session is nobody's own."""

from __future__ import annotations

import psycopg

from tests.contract.database.pooler import pooled
from tests.contract.database.project import Project
from velro_auth.ops.database import Runner


def test_the_pooler_of_these_tests_changes_backends(project: Project) -> None:
    """Or the next test would prove nothing: what a session was told is gone in the next transaction."""
    with pooled(project.dsn()) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        pids = {connection.execute("select pg_backend_pid()").fetchone() for _ in range(4)}
        with connection.transaction():
            inside = {connection.execute("select pg_backend_pid()").fetchone() for _ in range(4)}

    assert len(pids) == 2
    assert len(inside) == 1


def test_the_runner_works_through_a_pooler(project: Project) -> None:
    project.fill(20)
    before = project.dump()

    with pooled(project.dsn()) as dsn:
        runner = Runner(dsn)
        runner.up()
        runner.up(again=True)
        assert runner.backfill(batch_size=5).written == 20
        assert runner.verify() == []
        runner.down(steps=99, drop_data=True)

    assert project.dump() == before


def test_nothing_is_left_to_the_next_client_of_a_backend(project: Project) -> None:
    """A lock timeout or a search_path that stays would meet somebody else's query."""
    with pooled(project.dsn()) as dsn:
        Runner(dsn).up()
        with psycopg.connect(dsn, autocommit=True) as stranger:
            settings = "select current_setting('lock_timeout'), current_setting('search_path')"
            left = {stranger.execute(settings).fetchone() for _ in range(4)}

    assert left == {("0", '"$user", public, extensions')}
