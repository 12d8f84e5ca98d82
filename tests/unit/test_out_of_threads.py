"""Every part that has a thread lives through a system that has none to give, and gets it later."""

from __future__ import annotations

import threading

import pytest

from tests.conftest import ENVIRONMENT
from tests.fixtures.threads import out_of_threads
from tests.fixtures.tokens import checked_claims
from tests.unit.config.test_reload import Instance
from tests.waiting import eventually
from velro_auth.app import create_app
from velro_auth.background import PeriodicJobs
from velro_auth.config.settings import Settings
from velro_auth.stores.client import connect
from velro_auth.stores.denylist import RedisDenyList
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.upstream.transport.keep_warm import KeepWarm


class NoSpares:
    """A pool whose connections nobody can open or keep."""

    def __init__(self) -> None:
        self.opened = 0

    def idle(self) -> tuple[()]:
        return ()

    def open(self) -> None:
        self.opened += 1

    def check(self, connection: object) -> None:
        raise AssertionError

    discard = check


def running(name: str) -> int:
    return [thread.name for thread in threading.enumerate()].count(name)


def test_the_watch_starts_with_a_later_request() -> None:
    looks: list[None] = []
    jobs = PeriodicJobs([lambda: looks.append(None)], every_s=0.01)
    with out_of_threads():
        jobs.ensure()
        jobs.ensure()

    jobs.ensure()

    eventually(lambda: looks)
    jobs.stop()


def test_the_watch_starts_what_it_keeps_and_keeps_nothing_alive() -> None:
    idle_connections = NoSpares()
    keep_warm, other = KeepWarm(idle_connections, connections=1), KeepWarm(NoSpares(), connections=1)
    jobs = PeriodicJobs([])
    jobs.retry_with(keep_warm.thread, other.thread)
    with out_of_threads():
        keep_warm.start()
        jobs.run_once()
    assert idle_connections.opened == 0

    jobs.run_once()

    eventually(lambda: idle_connections.opened)
    assert not other.thread.is_running
    keep_warm.stop()


def test_new_settings_are_followed_by_a_thread_that_starts_later() -> None:
    reloads = Instance().reloads
    jobs = PeriodicJobs([])
    jobs.retry_with(reloads.thread)
    with out_of_threads():
        reloads.start()

    jobs.run_once()

    assert reloads.thread.is_running
    reloads.stop()


def test_a_token_is_judged_though_the_deny_list_cannot_listen() -> None:
    claims = checked_claims(session_id="00000000-0000-4000-8000-000000000000", sub="somebody")
    with connect("redis://127.0.0.1:9") as client:
        denied = RedisDenyList(store=DenialsInRedis(client=client), heartbeat_s=0.01)
        seen = []
        with out_of_threads():
            seen.append((denied.denies(claims), denied._listener.is_running))
        seen.append((denied.denies(claims), denied._listener.is_running))

        assert seen == [(False, False), (False, True)]
        denied.close()


@pytest.mark.parametrize("collector", ["", "http://127.0.0.1:9"])
def test_a_worker_starts_without_its_threads_and_gets_them_later(collector: str) -> None:
    environment = {**ENVIRONMENT, "UPSTREAM_WARM_CONNECTIONS": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    service = create_app(Settings.from_environment(environment))
    before = running("OtelBatchSpanRecordProcessor")
    with out_of_threads():
        service.start()
        assert running("reload") == 0

    service._parts.state.telemetry.jobs.run_once()

    assert running("reload") == 1
    assert (running("OtelBatchSpanRecordProcessor") > before) is bool(collector)
    service.stop()
    eventually(lambda: running("reload") == 0)


def test_a_part_that_cannot_be_stopped_keeps_no_other_from_it() -> None:
    environment = {**ENVIRONMENT, "UPSTREAM_WARM_CONNECTIONS": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    service = create_app(Settings.from_environment(environment))
    service.start()

    with out_of_threads():
        service.stop()

    eventually(lambda: running("reload") == 0)
    # Once more, for the part that could not be stopped.
    service.stop()
