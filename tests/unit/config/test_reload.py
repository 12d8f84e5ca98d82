"""Reading settings anew in the master, and following it in a worker."""

from __future__ import annotations

import copy
import logging

import pytest

from tests.conftest import LogLines
from tests.unit.config.test_settings import GOOD
from velro_auth.config.reload import Outcome, Reloads
from velro_auth.config.settings import Settings


class Instance:
    """A master's side and a worker's, in one process."""

    def __init__(self, **environment: str) -> None:
        self.environment = {**GOOD, **environment}
        self.taken: list[Settings] = []
        self.is_defective = False
        self.reloads = Reloads(self.read(), take=self.take, read=self.read)

    def read(self) -> Settings:
        return Settings.from_environment(self.environment)

    def take(self, settings: Settings) -> None:
        if self.is_defective:
            raise ZeroDivisionError
        self.taken.append(settings)

    def reload(self, **environment: str) -> Outcome:
        self.environment |= environment
        return self.reloads.reload()

    def worker(self) -> tuple[Reloads, list[Settings]]:
        """Return what a worker of this instance has that is forked now."""
        taken: list[Settings] = []
        reloads = copy.copy(self.reloads)
        reloads._take = taken.append
        return reloads, taken


def errors(logs: LogLines) -> list[str]:
    return [record.getMessage() for record in logs.records if record.levelno >= logging.ERROR]


def test_new_settings_reach_the_master_and_its_workers_once() -> None:
    instance = Instance()
    worker, taken = instance.worker()
    worker.look()
    assert taken == []

    instance.reload(LOG_LEVEL="debug")
    worker.look()
    worker.look()

    assert [settings.log_level for settings in instance.taken] == ["debug"]
    assert taken == instance.taken


def test_a_worker_that_missed_one_takes_the_newest() -> None:
    instance = Instance()
    worker, taken = instance.worker()

    instance.reload(LOG_LEVEL="debug")
    instance.reload(LOG_LEVEL="error", CORS_ORIGINS="https://a.example.com")
    worker.look()

    assert taken == [instance.read()]


def test_a_mistake_keeps_the_old_settings(logs: LogLines) -> None:
    instance = Instance()
    worker, taken = instance.worker()

    instance.reload(LOG_LEVEL="loud", CORS_ORIGINS="*", AUTH_FAST_LOGIN="0")
    worker.look()

    assert (instance.taken, taken) == ([], [])
    assert errors(logs) == ["wrong setting: kept the old settings"] * 2
    instance.reload(LOG_LEVEL="info", CORS_ORIGINS="")
    assert [settings.auth_fast_login for settings in instance.taken] == [False]


def test_what_has_not_changed_is_not_taken_again(logs: LogLines) -> None:
    instance = Instance()

    instance.reload()

    assert instance.taken == []
    assert "nothing has changed" in logs.records[-1].getMessage()


def test_a_defect_ends_neither_the_master_nor_a_worker(logs: LogLines) -> None:
    instance = Instance()
    worker, taken = instance.worker()
    defective = copy.copy(instance.reloads)

    instance.is_defective = True
    instance.reload(LOG_LEVEL="debug")
    worker.look()
    assert (instance.taken, taken) == ([], [])
    instance.is_defective = False
    instance.reload()
    worker.look()
    instance.is_defective = True
    defective.look()
    defective.look()

    assert [len(instance.taken), len(taken)] == [1, 1]
    assert len(errors(logs)) == 2
    assert all("kept the old settings" in error for error in errors(logs))


@pytest.mark.parametrize("mended", [True, False])
def test_who_started_with_wrong_settings_needs_a_restart(logs: LogLines, mended: bool) -> None:
    """Nothing to ask Supabase with was built."""
    instance = Instance(SUPABASE_URL="nonsense")

    instance.reload(SUPABASE_URL=GOOD["SUPABASE_URL"] if mended else "other nonsense", LOG_LEVEL="debug")

    assert instance.taken == []
    (error,) = errors(logs)
    assert "needs a restart" in error


def test_the_caller_is_told_what_came_of_it() -> None:
    instance = Instance()

    refused = instance.reload(LOG_LEVEL="loud")
    taken = instance.reload(LOG_LEVEL="debug", GUNICORN_THREADS="8", METRICS_TOKEN="canary")
    unchanged = instance.reload()
    instance.is_defective = True
    failed = instance.reload(LOG_LEVEL="error")

    assert [outcome.state for outcome in (refused, taken, unchanged, failed)] == [
        "refused",
        "taken",
        "unchanged",
        "failed",
    ]
    assert [line.partition(":")[0] for line in refused.errors] == ["LOG_LEVEL"]
    assert taken.changed == {"LOG_LEVEL": "info -> debug", "METRICS_TOKEN": "changed (secret)"}
    assert taken.waiting == ["GUNICORN_THREADS"]
    assert (refused.number, unchanged.number) == (0, taken.number)


def test_a_worker_tells_which_settings_it_follows() -> None:
    instance = Instance()
    worker, _ = instance.worker()
    told: list[tuple[int, bool]] = []
    worker.on_followed = lambda number, *, is_taken: told.append((number, is_taken))

    first = instance.reload(LOG_LEVEL="debug")
    worker.look()
    worker.look()
    worker._take = instance.take
    second = instance.reload(LOG_LEVEL="error")
    instance.is_defective = True
    worker.look()

    assert told == [(first.number, True), (second.number, False)]
