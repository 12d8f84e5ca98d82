"""Memory is bounded, and flooding it does not wash out what matters."""

from __future__ import annotations

from tests.unit.guards.clock import HandClock
from tests.unit.guards.model import statuses
from velro_auth.guards.attempts import MemoryAttempts, MemoryCounters, RecordTable, Refusal, Reservation
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limit, Limits, Record

KEYRING = Keyring(b"secret")

#: No limit but the one in question.
OPEN = Limits(service=Limit(burst=10**6, refill_s=1e-3), network=Limit(burst=10**6, refill_s=1e-3))


def test_a_table_never_holds_more_than_its_bound() -> None:
    table = RecordTable(100)

    for number in range(1000):
        table.put(str(number), Record(9.0, 1, 1.0), now=1.0)

    assert len(table._records) == 100


def test_a_flood_of_fresh_accounts_does_not_wash_out_an_attacked_one(clock: HandClock) -> None:
    """A thousand new accounts in a table for a hundred: the victim's streak is the one that stays."""
    attempts = MemoryAttempts(limits=OPEN, clock=clock, counters=MemoryCounters(100))
    victim = [KEYRING.caller("victim@example.com", f"10.0.{number}.1") for number in range(11)]
    while isinstance(attempts.begin(victim[0]), Reservation):
        pass

    for number in range(1000):
        attempts.begin(KEYRING.caller(f"{number}@example.com", f"10.1.{number % 250}.1"))

    assert isinstance(attempts.begin(victim[0]), Refusal)


def test_one_account_with_many_networks_does_not_wash_out_who_is_known(clock: HandClock) -> None:
    """Somebody with a /48 has 65,536 networks to log in from."""
    attempts = MemoryAttempts(limits=OPEN, clock=clock, counters=MemoryCounters(100))
    owner = KEYRING.caller("owner@example.com", "192.0.2.1")
    _log_in(attempts, "owner@example.com", "192.0.2.1")

    for number in range(1000):
        _log_in(attempts, "attacker@example.com", f"2001:db8:0:{number:x}::1")

    reservation = attempts.begin(owner)
    assert isinstance(reservation, Reservation)
    assert reservation.is_known


def test_other_limits_forget_nothing(clock: HandClock) -> None:
    """Neither a wider limit nor the way back gives a guesser anything that was counted."""
    attempts = MemoryAttempts(limits=Limits(), clock=clock)
    guesser = KEYRING.caller("victim@example.com", "192.0.2.1")
    while isinstance(attempts.begin(guesser), Reservation):
        pass

    wider = MemoryAttempts(limits=Limits().scaled(3), clock=clock, counters=attempts.counters)
    assert isinstance(wider.begin(guesser), Reservation)
    as_before = MemoryAttempts(limits=Limits(), clock=clock, counters=wider.counters)

    assert isinstance(as_before.begin(guesser), Refusal)


def test_several_processes_have_their_share_of_other_limits(clock: HandClock) -> None:
    attempts = MemoryAttempts(limits=Limits(), clock=clock)
    guesser = KEYRING.caller("victim@example.com", "192.0.2.1")

    attempts = MemoryAttempts(limits=Limits().scaled(2).scaled(0.5), clock=clock, counters=attempts.counters)

    assert [isinstance(attempts.begin(guesser), Reservation) for _ in range(6)] == [True] * 5 + [False]


def test_a_pair_is_forgotten_after_its_time(clock: HandClock) -> None:
    attempts = MemoryAttempts(limits=OPEN, clock=clock)
    _log_in(attempts, "a@example.com", "192.0.2.1")

    known = [_log_in(attempts, "a@example.com", "192.0.2.1")]
    clock.advance(OPEN.known_s)
    known.append(_log_in(attempts, "a@example.com", "192.0.2.1"))

    assert known == [True, False]


def test_a_success_leaves_no_record_behind(clock: HandClock) -> None:
    attempts = MemoryAttempts(limits=Limits(), clock=clock)

    _log_in(attempts, "a@example.com", "192.0.2.1")

    caller = KEYRING.caller("a@example.com", "192.0.2.1")
    assert statuses(attempts, caller.account, caller.network) == {}


def _log_in(attempts: MemoryAttempts, account: str, address: str) -> bool:
    reservation = attempts.begin(KEYRING.caller(account, address))
    assert isinstance(reservation, Reservation)
    attempts.settle(reservation, succeeded=True)
    return reservation.is_known


def test_only_the_latest_networks_of_an_account_are_known(clock: HandClock) -> None:
    attempts = MemoryAttempts(limits=OPEN, clock=clock)
    for number in range(OPEN.known_networks + 1):
        _log_in(attempts, "a@example.com", f"10.0.{number}.1")
        clock.advance(1)

    known = [_log_in(attempts, "a@example.com", f"10.0.{number}.1") for number in (1, 0)]

    assert known == [True, False]


def test_a_streak_is_forgotten_when_its_time_is_over_and_not_before(clock: HandClock) -> None:
    attempts, caller = MemoryAttempts(limits=OPEN, clock=clock), KEYRING.caller("a@example.com", "192.0.2.1")
    attempts.begin(caller)
    streaks = []
    for pause in (OPEN.pair.forget_s - 1, 1):
        clock.advance(pause)
        streaks.append(statuses(attempts, caller.network)[caller.key("pair")][0])

    assert streaks == [1, 0]
