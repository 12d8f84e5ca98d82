"""One network cannot use all permits for refreshes, logouts and me, and these cannot use those of the logins."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from tests.unit.guards.clock import HandClock
from tests.waiting import eventually
from velro_auth.context import RequestContext
from velro_auth.errors import Busy, SessionExpired, Throttled
from velro_auth.guards.asking import Bulkhead
from velro_auth.guards.sessions import BURST_S, Kind, SessionCalls

HERE, THERE = "203.0.113.7", "198.51.100.1"


def new_calls(
    clock: HandClock, *, in_flight: int = 5, per_s: float = 2.0, permits: int = 100, max_buckets: int = 100
) -> SessionCalls:
    bulkhead = Bulkhead(permits=permits, wait_s=0.0, max_waiting=0)
    return SessionCalls(bulkhead=bulkhead, in_flight=in_flight, per_s=per_s, max_buckets=max_buckets, clock=clock)


@contextlib.contextmanager
def under_way(calls: SessionCalls, *addresses: str) -> Iterator[None]:
    """Have one refresh of each address under way."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            stack.enter_context(calls.permit("refresh", address))
        yield


def taken(calls: SessionCalls, kind: Kind, address: str = HERE) -> int:
    """Make calls one after the other until one is refused; return how many were not."""
    count = 0
    try:
        while count < 10_000:
            with calls.permit(kind, address):
                count += 1
    except (Busy, Throttled):
        pass
    return count


def test_a_network_with_too_many_calls_under_way_is_refused_and_others_are_not(clock: HandClock) -> None:
    calls = new_calls(clock, in_flight=3)
    with under_way(calls, HERE, HERE, "203.0.113.200"):
        with pytest.raises(Busy), calls.permit("refresh", HERE):
            pass
        with calls.permit("refresh", THERE):
            pass

    with calls.permit("refresh", HERE):
        pass
    assert calls.state.refused == 1


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["2001:db8:1:101::1", "2001:db8:1:102::1", "2001:db8:1:103::1"], id="one /56"),
        pytest.param(["2001:db8:1:101::1", "2001:db8:1:201::1", "2001:db8:1:301::1"], id="one /48"),
    ],
)
def test_the_networks_of_one_subscriber_are_refused_together(clock: HandClock, addresses: list[str]) -> None:
    calls = new_calls(clock, in_flight=3)
    with under_way(calls, *addresses):
        with pytest.raises(Busy), calls.permit("refresh", "2001:db8:1:1ff::1"):
            pass
        with calls.permit("refresh", "2001:db8:2::1"):
            pass

    assert calls.state.in_flight == {}


def test_a_network_of_ipv6_leaves_a_call_to_its_neighbours(clock: HandClock) -> None:
    calls = new_calls(clock, in_flight=3)
    with under_way(calls, "2001:db8:1:101::1", "2001:db8:1:101::2"):
        with pytest.raises(Busy), calls.permit("refresh", "2001:db8:1:101::3"):
            pass
        with calls.permit("refresh", "2001:db8:1:102::1"):
            pass


@pytest.mark.parametrize(("kind", "error"), [("refresh", Busy), ("logout", Throttled), ("me", Throttled)])
def test_only_a_refresh_is_told_busy_because_clients_end_the_session_on_429(
    clock: HandClock, kind: Kind, error: type[Exception]
) -> None:
    calls = new_calls(clock, in_flight=1)

    with under_way(calls, HERE), pytest.raises(error) as refusal, calls.permit(kind, HERE):
        pass

    assert refusal.value.retry_after_s == 1.0  # type: ignore[attr-defined]


def test_calls_per_second_are_bounded_and_the_wait_is_exact(clock: HandClock) -> None:
    calls = new_calls(clock, per_s=2.0)
    assert taken(calls, "refresh") == 2 * BURST_S
    with pytest.raises(Busy) as refusal, calls.permit("refresh", HERE):
        pass

    clock.advance(refusal.value.retry_after_s or 0)

    assert taken(calls, "refresh") == 1
    clock.advance(BURST_S)
    assert taken(calls, "refresh") == 2 * BURST_S


def test_a_refused_call_costs_nothing(clock: HandClock) -> None:
    """Otherwise a client that tries too early would wait for ever."""
    calls = new_calls(clock, per_s=1.0)
    taken(calls, "refresh")
    for _ in range(1000):
        assert taken(calls, "refresh") == 0

    clock.advance(1.0)

    assert taken(calls, "refresh") == 1


def test_kinds_have_rates_of_their_own(clock: HandClock) -> None:
    calls = new_calls(clock, per_s=1.0)

    assert [taken(calls, kind) for kind in ("refresh", "logout", "me", "refresh")] == [30, 30, 150, 0]


@pytest.mark.parametrize(
    ("neighbour", "stranger"),
    [("203.0.113.200", "203.0.114.7"), ("2001:db8:0:1::9", "2001:db8:0:2::9"), ("::ffff:203.0.113.9", "::1")],
)
def test_a_network_is_a_24_or_a_64(clock: HandClock, neighbour: str, stranger: str) -> None:
    calls = new_calls(clock, per_s=1.0)
    address = HERE if "203.0.113" in neighbour else "2001:db8:0:1::1"
    taken(calls, "refresh", address)

    assert taken(calls, "refresh", neighbour) == 0
    assert taken(calls, "refresh", stranger) == 30


def test_all_networks_together_leave_permits_to_the_logins(clock: HandClock) -> None:
    calls = new_calls(clock, permits=8)

    with under_way(calls, *(f"203.0.{number}.7" for number in range(8))):
        with pytest.raises(Busy), calls.permit("me", THERE):
            pass
        assert calls.bulkhead.in_use == 8


@pytest.mark.parametrize("error", [SessionExpired, KeyError, SystemExit])
def test_every_way_out_releases_the_permit(clock: HandClock, error: type[BaseException]) -> None:
    calls = new_calls(clock, in_flight=1)
    for _ in range(3):
        with pytest.raises(error), calls.permit("refresh", HERE):
            raise error

    assert (calls.bulkhead.in_use, calls.state.in_flight) == (0, {})


def test_a_call_that_finds_no_permit_leaves_nothing_behind(clock: HandClock) -> None:
    calls = new_calls(clock, permits=1)
    with under_way(calls, THERE), pytest.raises(Busy), calls.permit("refresh", HERE):
        pass

    assert (calls.bulkhead.in_use, calls.state.in_flight) == (0, {})


def test_what_is_remembered_is_bounded_and_the_last_ones_stay(clock: HandClock) -> None:
    calls = new_calls(clock, per_s=1.0, max_buckets=10)
    for number in range(200):
        taken(calls, "refresh", f"10.0.{number}.1")

    assert len(calls.state.full_until) == 10
    assert taken(calls, "refresh", "10.0.199.1") == 0


def test_other_numbers_are_in_force_at_once(clock: HandClock) -> None:
    calls = new_calls(clock, in_flight=1, per_s=1.0)
    taken(calls, "refresh")

    after = SessionCalls(bulkhead=calls.bulkhead, in_flight=2, per_s=2.0, clock=clock, state=calls.state)

    with under_way(after, THERE, THERE):
        pass
    clock.advance(1.0)
    assert taken(after, "refresh") == 2


def test_less_than_one_call_in_half_a_minute_is_still_one(clock: HandClock) -> None:
    calls = new_calls(clock, per_s=0.01)

    assert taken(calls, "refresh") == 1


def test_the_wait_for_a_permit_counts_towards_the_deadline_of_the_call(clock: HandClock) -> None:
    bulkhead = Bulkhead(permits=1, wait_s=60.0, max_waiting=1)
    calls = SessionCalls(bulkhead=bulkhead, in_flight=5, clock=clock)
    context = RequestContext("id", HERE, 0.0)
    may_end = threading.Event()

    def hold() -> None:
        with calls.permit("me", THERE):
            may_end.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    eventually(lambda: bulkhead.in_use == 1)

    def release() -> None:
        eventually(lambda: bulkhead.waiting == 1)
        time.sleep(0.05)
        may_end.set()

    releaser = threading.Thread(target=release)
    releaser.start()
    with calls.permit("me", HERE, context):
        pass
    holder.join()
    releaser.join()

    assert context.waited_s >= 0.05
