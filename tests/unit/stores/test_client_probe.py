"""With a probe no request waits for a store that failed: a thread finds out when it works again."""

from __future__ import annotations

import pytest
import redis

from tests.waiting import eventually
from velro_auth.stores import client as client_module
from velro_auth.stores.client import RedisUnavailable, StoreBackoff


class Store:
    """Works or does not."""

    def __init__(self) -> None:
        self.works = False
        self.probes = 0

    def probe(self) -> None:
        self.probes += 1
        if not self.works:
            raise redis.exceptions.ConnectionError


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(client_module, "FIRST_PAUSE_S", 0.01)
    return Store()


def fail(backoff: StoreBackoff) -> None:
    with pytest.raises(RedisUnavailable), backoff.attempt():
        raise redis.exceptions.TimeoutError


def test_no_request_asks_until_the_probe_succeeds(store: Store, backoff: StoreBackoff) -> None:
    fail(backoff)
    eventually(lambda: store.probes > 2)
    assert not backoff.may_ask()

    store.works = True

    eventually(backoff.may_ask)
    assert backoff.recoveries == 1


def test_a_request_that_began_before_the_failure_proves_nothing(backoff: StoreBackoff) -> None:
    """In a cluster another node may have answered it."""
    with backoff.attempt():
        fail(backoff)

    assert backoff.is_degraded


def test_the_other_user_of_the_store_need_not_find_out_by_itself(backoff: StoreBackoff) -> None:
    other = StoreBackoff()
    backoff.tell(other)

    fail(backoff)

    assert not other.may_ask()


def test_a_refusal_is_not_passed_on(backoff: StoreBackoff) -> None:
    """Rights may be missing for the one and not for the other."""
    other = StoreBackoff()
    backoff.tell(other)

    backoff.failed(redis.exceptions.NoPermissionError())

    assert other.may_ask()


def test_a_defect_of_the_probe_does_not_end_it(
    store: Store, backoff: StoreBackoff, caplog: pytest.LogCaptureFixture
) -> None:
    def defect() -> None:
        store.probes += 1
        if store.probes == 1:
            raise ZeroDivisionError

    backoff._probe = defect
    fail(backoff)

    eventually(backoff.may_ask)

    assert "the probe of the shared store failed" in caplog.text
