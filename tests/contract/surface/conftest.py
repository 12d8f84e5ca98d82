"""A stand-in per set of settings, and a world around each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from supabase_standin import Standin, StandinConfig
from supabase_standin.postgres import Postgres
from tests.contract.surface.settings import options
from tests.contract.surface.world import Clock, World


@pytest.fixture(scope="session")
def world_of(
    open_folder: Path, postgres: Postgres, new_database: Callable[[], str]
) -> Iterator[Callable[[Mapping[str, str]], World]]:
    """Return a function that gives the world of a set of the real server's settings."""
    known: dict[str, World] = {}
    with contextlib.ExitStack() as stack:

        def start(settings: Mapping[str, str]) -> World:
            name = new_database()
            config = StandinConfig(
                data_dir=open_folder / f"surface-{name}",
                database_dsn=postgres.dsn(user="supabase_admin", database=name),
                pool_size=2,
                **options(settings),
            )
            clock = Clock()
            world = World(stack.enter_context(Standin(config, clock=clock)), clock)
            stack.callback(world.close)
            return world

        def give(settings: Mapping[str, str]) -> World:
            key = repr(sorted(settings.items()))
            if key not in known:
                known[key] = start(settings)
            known[key].reset()
            return known[key]

        yield give
