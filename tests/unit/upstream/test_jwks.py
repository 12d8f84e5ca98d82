from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.fixtures.tokens import HandClock, SigningKey, document
from tests.waiting import eventually
from velro_auth.auth.keys import CannotVerify
from velro_auth.errors import UpstreamUnavailable
from velro_auth.upstream.jwks import KeyStore, KeyTimes

ONE, TWO = SigningKey("one"), SigningKey("two")


class Publisher:
    """A JWKS endpoint that can be told to fail, or to hang until it is let go."""

    def __init__(self, *keys: SigningKey) -> None:
        self.body = document(keys)
        self.is_down = False
        self.calls = 0
        self.open = threading.Event()
        self.open.set()

    def publish(self, *keys: SigningKey) -> None:
        self.body = document(keys)

    def __call__(self) -> bytes:
        self.calls += 1
        body = self.body
        assert self.open.wait(10)
        if self.is_down:
            raise UpstreamUnavailable("no JWKS today")
        return body


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1000.0)


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(ONE)


@pytest.fixture
def store(publisher: Publisher, clock: HandClock) -> Iterator[KeyStore]:
    store = KeyStore(fetch=publisher, clock=clock)
    yield store
    publisher.open.set()
    store.close()


def test_nothing_happens_before_the_first_key_is_asked_for(store: KeyStore, publisher: Publisher) -> None:
    assert publisher.calls == 0
    assert store._progress.under_way is None
    assert store.state().age_s is None


def test_the_first_reader_waits_for_the_keys(store: KeyStore, publisher: Publisher) -> None:
    assert store.find("one").kid == "one"
    assert publisher.calls == 1
    assert store.state().names == ("one",)


def test_a_set_is_used_without_asking_again(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    store.find("one")

    clock.advance(479)
    for _ in range(100):
        store.find("one")

    assert publisher.calls == 1


def test_a_set_is_renewed_ahead_of_need_and_nobody_waits(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    key = store.find("one")
    publisher.open.clear()
    clock.advance(481)

    assert store.find("one") is key
    assert store.find("one") is key
    publisher.open.set()

    eventually(lambda: store.state().age_s == 0)
    assert publisher.calls == 2


def test_a_renewed_key_is_the_same_key(store: KeyStore, clock: HandClock) -> None:
    """Otherwise every remembered token would be proven again after each fetch."""
    key = store.find("one")

    clock.advance(1000)

    assert store.find("one") is not key
    assert store.trusts(key)


def test_after_an_idle_hour_the_reader_waits_for_fresh_keys(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    """A key revoked meanwhile must not be believed because nobody happened to ask."""
    old = store.find("one")
    publisher.publish(TWO)

    clock.advance(3600)

    assert not store.trusts(old)
    assert store.find("two").kid == "two"


def test_a_revoked_key_is_refused_within_the_ttl(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    key = store.find("one")
    publisher.publish(TWO)

    trusted_s = 0.0
    while store.trusts(key):
        clock.advance(1)
        trusted_s += 1
        time.sleep(0.0001)

    assert 479 <= trusted_s <= 600


def test_keys_outlive_an_outage_of_ten_minutes(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    key = store.find("one")
    publisher.is_down = True

    for _ in range(600 + 600):
        clock.advance(1)
        assert store.trusts(key)
        assert store.find("one") == key

    assert store.state().is_stale
    assert store.state().failures > 0


def test_an_outage_that_makes_fetches_hang_slows_nobody_down(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    """The first failure tells that this is an outage; from then on nobody waits for its end."""
    key = store.find("one")
    publisher.is_down = True
    clock.advance(500)
    store.find("one")
    eventually(lambda: store.state().failures == 1)
    publisher.open.clear()
    clock.advance(200)

    started_s = time.perf_counter()
    for _ in range(100):
        assert store.find("one") is key

    assert time.perf_counter() - started_s < 1
    assert publisher.calls == 3


def test_during_an_outage_the_keys_are_asked_for_once_per_cooldown(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    store.find("one")
    publisher.is_down = True

    for _ in range(480, 1080):
        clock.advance(1)
        store.find("one")
        eventually(lambda: store._progress.under_way is None)

    assert publisher.calls <= 1 + 600 / 30 + 1


def test_keys_older_than_the_last_resort_judge_nothing(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    key = store.find("one")
    publisher.is_down = True
    clock.advance(599)
    store.find("one")
    eventually(lambda: store.state().failures == 1)

    clock.advance(3601)
    assert store.trusts(key)
    clock.advance(1)

    assert not store.trusts(key)
    with pytest.raises(CannotVerify):
        store.find("one")


def test_after_an_outage_the_new_keys_are_found(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    store.find("one")
    publisher.is_down = True
    clock.advance(700)
    store.find("one")
    eventually(lambda: store.state().failures == 1)

    publisher.is_down = False
    publisher.publish(ONE, TWO)
    clock.advance(31)

    assert store.find("two").kid == "two"


@pytest.mark.parametrize("body", [b"<html>521</html>", b'{"keys": [{"kty": "EC", "kid": "x"}]}', b""])
def test_an_answer_that_is_no_key_set_changes_nothing(
    store: KeyStore, publisher: Publisher, clock: HandClock, body: bytes
) -> None:
    key = store.find("one")
    publisher.body = body

    clock.advance(700)
    store.find("one")

    eventually(lambda: store.state().failures == 1)
    assert store.trusts(key)


def test_a_key_of_a_rotation_is_found_at_once(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    """One fetch, started by the first token signed with it."""
    store.find("one")
    publisher.publish(ONE, TWO)
    clock.advance(31)

    assert store.find("two").kid == "two"
    assert publisher.calls == 2


def test_ten_thousand_made_up_names_cost_one_fetch_per_cooldown(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    store.find("one")

    for number in range(10_000):
        clock.advance(0.03)
        with pytest.raises(CannotVerify):
            store.find(f"made up {number}")

    # Three hundred seconds; the first fetch was for "one".
    assert publisher.calls <= 1 + 300 / 30


def test_made_up_names_do_not_slow_good_tokens_down(store: KeyStore, publisher: Publisher, clock: HandClock) -> None:
    """Even while the endpoint hangs: strangers wait for it, a few of them, and nobody else."""
    store.find("one")
    publisher.open.clear()
    clock.advance(31)
    strangers = [threading.Thread(target=_unknown, args=(store, f"made up {number}")) for number in range(12)]
    for stranger in strangers:
        stranger.start()
    eventually(lambda: store._progress.waiting == 4)

    slowest_s = 0.0
    for _ in range(1000):
        started_s = time.perf_counter()
        store.find("one")
        slowest_s = max(slowest_s, time.perf_counter() - started_s)

    # Whoever waited would have waited for 2.5 s; a busy machine takes some of this second.
    assert slowest_s < 1
    # Those who were turned away are on their way out.
    eventually(lambda: sum(stranger.is_alive() for stranger in strangers) == 4)
    publisher.open.set()
    for stranger in strangers:
        stranger.join(5)
    assert publisher.calls == 2


def test_a_reader_waits_only_so_long(publisher: Publisher, clock: HandClock) -> None:
    store = KeyStore(fetch=publisher, times=KeyTimes(wait_s=0.02), clock=clock)
    publisher.open.clear()

    with pytest.raises(CannotVerify):
        store.find("one")

    publisher.open.set()
    store.close()


def test_readers_at_the_start_share_one_fetch(store: KeyStore, publisher: Publisher) -> None:
    found: list[str] = []
    readers = [threading.Thread(target=lambda: found.append(store.find("one").kid)) for _ in range(16)]

    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(5)

    assert found == ["one"] * 16
    assert publisher.calls == 1


def test_a_start_during_an_outage_is_over_soon_after_it(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    publisher.is_down = True
    with pytest.raises(CannotVerify):
        store.find("one")
    with pytest.raises(CannotVerify):
        store.find("one")
    assert publisher.calls == 1

    publisher.is_down = False
    clock.advance(2)

    assert store.find("one").kid == "one"


def test_a_start_during_an_outage_costs_some_threads_and_not_all(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    """Once a fetch has failed, four readers wait for the next one; the others are told at once."""
    publisher.is_down = True
    with pytest.raises(CannotVerify):
        store.find("one")
    publisher.open.clear()
    clock.advance(2)
    readers = [threading.Thread(target=_unknown, args=(store, "one")) for _ in range(12)]

    for reader in readers:
        reader.start()

    eventually(lambda: sum(reader.is_alive() for reader in readers) == 4)
    publisher.open.set()
    for reader in readers:
        reader.join(5)
    assert publisher.calls == 2


def test_purged_keys_are_fetched_before_anything_else_is_judged(store: KeyStore, publisher: Publisher) -> None:
    """Also when a fetch is under way that may bring the revoked key back."""
    key = store.find("one")
    publisher.publish(TWO)

    store.purge()

    assert not store.trusts(key)


def test_an_answer_from_before_a_purge_is_not_used(store: KeyStore, publisher: Publisher) -> None:
    publisher.open.clear()
    store.warm()
    eventually(lambda: publisher.calls == 1)
    publisher.publish(TWO)

    store.purge()
    store.warm()
    publisher.open.set()

    assert store.find("two").kid == "two"
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "jwks"])
    assert store.state().names == ("two",)


def test_warming_up_waits_for_nothing(store: KeyStore, publisher: Publisher) -> None:
    publisher.open.clear()

    store.warm()
    store.warm()
    publisher.open.set()

    eventually(lambda: store.state().names == ("one",))
    assert publisher.calls == 1


def test_a_closed_store_uses_what_it_has_and_fetches_no_more(
    store: KeyStore, publisher: Publisher, clock: HandClock
) -> None:
    store.find("one")

    store.close()
    clock.advance(500)

    assert store.find("one").kid == "one"
    assert publisher.calls == 1


def _unknown(store: KeyStore, name: str) -> None:
    with pytest.raises(CannotVerify):
        store.find(name)


def test_whether_a_key_is_trusted_can_be_asked_without_waiting(store: KeyStore, publisher: Publisher) -> None:
    key = store.find("one")
    assert store.trusts(key, waits=False)
    publisher.open.clear()
    store.purge()

    started_s = time.monotonic()

    assert not store.trusts(key, waits=False)
    assert time.monotonic() - started_s < 0.5
    publisher.open.set()
    eventually(lambda: store.trusts(key, waits=False))
