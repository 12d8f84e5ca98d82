"""What is counted is counted exactly, over all workers, and no caller can add a series."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.telemetry.answers import Child, HandClock, answer, repeat, samples
from velro_auth.telemetry.alerts import EVENTS
from velro_auth.telemetry.gauges import STALE_S, ExternalCounter, Gauge
from velro_auth.telemetry.metrics import DURATION_BOUNDS_S, OTHER, PrometheusMetrics, render
from velro_auth.telemetry.shared import Workers
from velro_auth.telemetry.telemetry import Routes

Fork = Callable[[Callable[[], object]], Child]

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def new_metrics(**options: Any) -> PrometheusMetrics:
    return PrometheusMetrics(
        workers=Workers(workers=2), routes=["login", "ping"], outcomes=["ok", "invalid_credentials"], **options
    )


def shown(metrics: PrometheusMetrics) -> dict[str, float]:
    return samples(render(metrics))


def test_a_login_is_counted_by_outcome_and_its_time_is_told_apart() -> None:
    metrics = new_metrics()

    metrics.record(answer(took_ms=130.0, upstream_ms=110.0))
    metrics.record(
        answer(401, outcome="invalid_credentials", took_ms=350.0, upstream_ms=110.0, held_ms=230.0, lane="flask")
    )

    found = shown(metrics)
    assert found['velro_auth_logins_total{outcome="ok"}'] == 1
    assert found['velro_auth_logins_total{outcome="invalid_credentials"}'] == 1
    assert found['velro_auth_requests_total{lane="fast",route="login",status="2xx"}'] == 1
    assert found['velro_auth_requests_total{lane="flask",route="login",status="4xx"}'] == 1
    assert found['velro_auth_login_seconds_sum{share="upstream"}'] == pytest.approx(0.220)
    assert found['velro_auth_login_seconds_sum{share="own"}'] == pytest.approx(0.030)
    assert found['velro_auth_login_seconds_sum{share="total"}'] == pytest.approx(0.250)
    assert found['velro_auth_request_own_seconds_count{route="login"}'] == 2


def test_a_login_that_never_asked_supabase_says_nothing_about_supabase() -> None:
    metrics = new_metrics()

    metrics.record(answer(422, upstream_ms=0.0, outcome="invalid_request"))

    assert 'velro_auth_login_seconds_count{share="upstream"}' not in shown(metrics)
    assert shown(metrics)['velro_auth_login_seconds_count{share="own"}'] == 1


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=50))
def test_buckets_hold_what_does_not_exceed_their_bound(own_ms: list[float]) -> None:
    metrics = new_metrics()

    for took_ms in own_ms:
        metrics.record(answer(route="ping", took_ms=took_ms, upstream_ms=0.0))

    found = shown(metrics)
    for bound in DURATION_BOUNDS_S:
        inside = sum(took_ms / 1000 <= bound for took_ms in own_ms)
        assert found[f'velro_auth_request_own_seconds_bucket{{le="{bound}",route="ping"}}'] == inside
    assert found['velro_auth_request_own_seconds_bucket{le="+Inf",route="ping"}'] == len(own_ms)


def test_no_caller_can_add_a_series() -> None:
    """A scanner sends a million paths; each new label value would cost memory and money for good."""
    metrics = new_metrics()
    routes = Routes({"/api/v1/auth/login": "login"})
    metrics.record(answer(404, route=OTHER, outcome="not_found"))
    before = shown(metrics).keys()

    for number in range(1000):
        route = routes.name(f"/wp-admin/{number}")
        metrics.record(answer(404, route=route, outcome=f"outcome {number}", upstream_ms=0.0))
        metrics.record_throttled(f"scope {number}")
    metrics.record(answer(404, route="of nobody", outcome="not_found"))

    assert shown(metrics).keys() == before
    metrics.record(answer(418, outcome="of nobody"))
    assert shown(metrics)['velro_auth_logins_total{outcome="other"}'] == 1
    assert shown(metrics)['velro_auth_requests_total{lane="fast",route="other",status="4xx"}'] == 1002
    assert shown(metrics)['velro_auth_throttle_refusals_total{scope="other"}'] == 1000


def test_every_combination_together_stays_below_a_bound() -> None:
    metrics = new_metrics()
    for route, status, lane in itertools.product(
        ("login", "ping", "x"), (100, 200, 302, 404, 503), ("fast", "flask", "edge")
    ):
        metrics.record(answer(status, route=route, lane=lane))  # type: ignore[arg-type]  # lanes of the product

    assert len(shown(metrics)) < 300


def test_two_workers_and_one_killed_add_up_exactly(fork: Fork) -> None:
    metrics = new_metrics()

    fork(lambda: repeat(617, lambda: metrics.record(answer())))
    fork(lambda: repeat(383, lambda: metrics.record(answer()))).kill()

    found = shown(metrics)
    assert found['velro_auth_logins_total{outcome="ok"}'] == 1000
    assert found['velro_auth_login_seconds_count{share="total"}'] == 1000
    assert found['velro_auth_login_seconds_sum{share="total"}'] == pytest.approx(120.0)


def test_threads_lose_no_count() -> None:
    metrics = new_metrics()
    start = threading.Barrier(8)

    def log_in() -> None:
        start.wait()
        for _ in range(500):
            metrics.record(answer())
            metrics.record_event("upstream_throttled")
            metrics.record_throttled("pair")

    threads = [threading.Thread(target=log_in) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = shown(metrics)
    assert found['velro_auth_logins_total{outcome="ok"}'] == 4000
    assert found['velro_auth_events_total{event="upstream_throttled"}'] == 4000
    assert found['velro_auth_throttle_refusals_total{scope="pair"}'] == 4000


def test_events_exist_before_they_happen() -> None:
    """Prometheus sees no increase in a counter that begins with 1."""
    found = shown(new_metrics())

    assert {found[f'velro_auth_events_total{{event="{event}"}}'] for event in EVENTS} == {0.0}
    assert found['velro_auth_logins_total{outcome="other"}'] == 0.0


def test_gauges_of_all_workers_are_added_or_the_greatest_is_taken(fork: Fork, clock: HandClock) -> None:
    mine = {"gate": 2.0, "age": 5.0}
    metrics = new_metrics(
        clock=clock,
        gauges=[
            Gauge("gate_taken", "Slots taken.", lambda: mine["gate"]),
            Gauge("keys_age_seconds", "Age.", lambda: mine["age"], is_same_everywhere=True),
        ],
    )

    def other() -> None:
        mine.update(gate=3.0, age=4.0)
        metrics.refresh()

    fork(other)

    found = shown(metrics)
    assert found["velro_auth_gate_taken"] == 5.0
    assert found["velro_auth_keys_age_seconds"] == 5.0
    assert found["velro_auth_workers"] == 2.0


def test_gauges_of_a_dead_worker_vanish(fork: Fork, clock: HandClock) -> None:
    metrics = new_metrics(clock=clock, gauges=[Gauge("gate_taken", "Slots taken.", lambda: 3.0)])
    metrics.refresh()
    fork(metrics.refresh).kill()
    assert shown(metrics)["velro_auth_gate_taken"] == 6.0

    clock.advance(STALE_S + 1)

    assert shown(metrics)["velro_auth_workers"] == 1.0
    assert shown(metrics)["velro_auth_gate_taken"] == 3.0


def test_gauges_of_one_name_are_told_apart_by_their_labels() -> None:
    metrics = new_metrics(
        gauges=[
            Gauge("breaker", "Workers by state.", lambda: 1.0, {"state": "open"}),
            Gauge("breaker", "Workers by state.", lambda: 0.0, {"state": "closed"}),
        ]
    )

    found = shown(metrics)
    assert found['velro_auth_breaker{state="open"}'] == 1.0
    assert found['velro_auth_breaker{state="closed"}'] == 0.0


def test_counts_kept_elsewhere_outlive_the_worker_that_kept_them(fork: Fork) -> None:
    dropped = {"lines": 0.0}
    metrics = new_metrics(counters=[ExternalCounter("log_lines_dropped", "Dropped.", lambda: dropped["lines"])])

    def drop(lines: float) -> Callable[[], None]:
        def work() -> None:
            dropped["lines"] = lines
            metrics.refresh()
            metrics.refresh()

        return work

    fork(drop(7)).kill()
    fork(drop(4))

    assert shown(metrics)["velro_auth_log_lines_dropped_total"] == 11.0


def test_the_build_is_told() -> None:
    found = shown(new_metrics(build={"version": "1.2.3", "commit": "abc"}))

    assert found['velro_auth_build_info{commit="abc",version="1.2.3"}'] == 1.0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/auth/login", "login"),
        ("/api/v1/auth/verify", "verify"),
        ("/api/v1/auth/verify/any/thing", "verify"),
        ("/api/v1/auth/verifyx", OTHER),
        ("/api/v1/auth/login/", OTHER),
        ("", OTHER),
    ],
)
def test_a_route_is_named_by_its_endpoint(path: str, name: str) -> None:
    routes = Routes(
        {"/api/v1/auth/login": "login", "/api/v1/auth/verify": "verify"}, {"/api/v1/auth/verify/": "verify"}
    )

    assert routes.name(path) == name
    assert routes.names == ("login", "verify", OTHER)
