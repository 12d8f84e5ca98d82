"""The gauges of a gateway, by the names that its dashboard and its alert rules look for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, get_args

from velro_auth.guards.bulkhead import Bulkhead
from velro_auth.guards.circuit_breaker import CircuitBreaker, State
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.telemetry.gauges import Gauge, Tally
from velro_auth.telemetry.logs import dropped_lines

STATES: Final[tuple[State, ...]] = get_args(State)

#: Counted by the log's sink, in each process.
LOG_TALLY: Final = Tally("log_lines_dropped", "Log lines that could not be written.", dropped_lines)


def guard_gauges(*, bulkhead: Bulkhead, breaker: CircuitBreaker, failure_delay: FailureDelay) -> Sequence[Gauge]:
    """Return the gauges of the guards, each the sum over all workers."""

    def is_in(state: State) -> Callable[[], float]:
        return lambda: float(breaker.state == state)

    return (
        Gauge("gate_slots", "Logins that may ask Supabase at once.", lambda: bulkhead.permits),
        Gauge("gate_taken", "Logins that ask Supabase now.", lambda: bulkhead.in_use),
        Gauge("gate_waiting", "Logins that wait for a slot.", lambda: bulkhead.waiting),
        Gauge("floor_free", "Requests that may still set out for Supabase.", lambda: failure_delay.free),
        *(Gauge("breaker", "Workers by state of their breaker.", is_in(state), {"state": state}) for state in STATES),
    )


def session_tally(refused: Callable[[], float]) -> Tally:
    """Return the count of calls about sessions that were refused because of their network."""
    return Tally("session_refusals", "Refreshes, logouts and me of networks that made too many.", refused)


def pool_gauges(
    *, idle: Callable[[], float], age_s: Callable[[], float], unused_s: Callable[[], float]
) -> Sequence[Gauge]:
    """Return the gauges of the connection pool.

    Args:
        idle: Counts connections to Supabase that are open and wait for use.
        age_s: Seconds since the oldest of them was opened; 0 without any.
        unused_s: Seconds since the one unused for longest was used; 0 without any.
    """
    return (
        Gauge("pool_idle_connections", "Open connections to Supabase that wait for use.", idle),
        Gauge("pool_connection_age_seconds", "Age of the oldest of them.", age_s, is_same_everywhere=True),
        Gauge(
            "pool_connection_unused_seconds",
            "Time since the last use of the one unused for longest.",
            unused_s,
            is_same_everywhere=True,
        ),
    )


def key_gauges(*, count: Callable[[], float], age_s: Callable[[], float]) -> Sequence[Gauge]:
    """Return the gauges of the signing keys.

    Args:
        count: Counts the keys that are known.
        age_s: Seconds since they were last fetched. Every worker fetches its own: the oldest is shown.
    """
    return (
        Gauge("signing_keys", "Signing keys that are known.", count, is_same_everywhere=True),
        Gauge("signing_keys_age_seconds", "Age of the oldest key set.", age_s, is_same_everywhere=True),
    )


def quota_gauge(counts_as_one: Callable[[], bool]) -> Gauge:
    """Return the gauge of Supabase's rate limit.

    Args:
        counts_as_one: Says whether a 429 proved to this worker that addresses are passed on in vain.
    """
    doc = "Workers for which Supabase counts all callers as one, although their addresses are passed on."
    return Gauge("quota_one_address", doc, lambda: float(counts_as_one()))


def store_gauge(is_degraded: Callable[[], bool]) -> Gauge:
    """Return the gauge of the shared store.

    Args:
        is_degraded: Says whether this worker goes on without it.
    """
    return Gauge("store_degraded", "Workers that go on without the shared store.", lambda: float(is_degraded()))


def cache_gauge(cache: str, size: Callable[[], float]) -> Gauge:
    """Return the gauge of one cache: how many entries it holds, over all workers."""
    return Gauge("cache_entries", "Entries that caches hold.", size, {"cache": cache})
