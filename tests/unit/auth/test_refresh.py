from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.fixtures.tokens import HandClock
from tests.waiting import eventually
from velro_auth.auth.refresh import Outcome, Refreshes
from velro_auth.errors import Busy, SessionExpired, SessionRefused, UpstreamThrottled, UpstreamUnavailable


class Upstream:
    """Answers with a new number each time, after a moment that lets others come."""

    def __init__(self, error: Exception | None = None, pause_s: float = 0.0) -> None:
        self.error = error
        self.calls = 0
        self._pause_s = pause_s

    def __call__(self) -> str:
        self.calls += 1
        time.sleep(self._pause_s)
        if self.error is not None:
            raise self.error
        return f"session {self.calls}"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def refreshes(clock: HandClock) -> Refreshes[str]:
    return Refreshes(clock=clock)


def in_parallel(count: int, call: Callable[[], str]) -> list[str]:
    outcomes: list[str] = []

    def run() -> None:
        try:
            outcomes.append(call())
        except (SessionExpired, UpstreamUnavailable) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return outcomes


def test_twenty_parallel_refreshes_are_one(refreshes: Refreshes[str]) -> None:
    upstream = Upstream(pause_s=0.05)

    answers = in_parallel(20, lambda: refreshes.refresh("token", upstream))

    assert answers == ["session 1"] * 20
    assert upstream.calls == 1


def test_the_same_answer_is_given_for_ten_seconds(refreshes: Refreshes[str], clock: HandClock) -> None:
    upstream = Upstream()
    refreshes.refresh("token", upstream)

    clock.advance(9.9)
    assert refreshes.refresh("token", upstream) == "session 1"
    clock.advance(0.2)

    assert refreshes.refresh("token", upstream) == "session 2"


def test_another_token_is_another_refresh(refreshes: Refreshes[str]) -> None:
    upstream = Upstream()

    assert refreshes.refresh("one", upstream) != refreshes.refresh("two", upstream)


def test_the_end_of_a_session_is_final(refreshes: Refreshes[str]) -> None:
    upstream = Upstream(SessionExpired("refresh_token_already_used"), pause_s=0.05)

    assert in_parallel(5, lambda: refreshes.refresh("token", upstream)) == ["SessionExpired"] * 5
    with pytest.raises(SessionExpired, match="refresh_token_already_used"):
        refreshes.refresh("token", upstream)

    assert upstream.calls == 1


def test_trouble_on_the_way_is_shared_and_forgotten(refreshes: Refreshes[str]) -> None:
    """Kept, it would turn one lost packet into ten seconds of outage for a user."""
    upstream = Upstream(UpstreamUnavailable("down"), pause_s=0.05)

    assert in_parallel(5, lambda: refreshes.refresh("token", upstream)) == ["UpstreamUnavailable"] * 5
    assert upstream.calls == 1
    upstream.error = None

    assert refreshes.refresh("token", upstream) == "session 2"


def test_supabases_rate_limit_says_nothing_about_the_session(refreshes: Refreshes[str]) -> None:
    upstream = Upstream(UpstreamThrottled("slow down"))

    with pytest.raises(UpstreamThrottled):
        refreshes.refresh("token", upstream)
    upstream.error = None

    assert refreshes.refresh("token", upstream) == "session 2"


def test_what_is_kept_is_bounded_and_holds_no_token(clock: HandClock) -> None:
    refreshes: Refreshes[str] = Refreshes(size=3, clock=clock)

    for number in range(10):
        refreshes.refresh(f"token {number}", Upstream())

    assert len(refreshes._outcomes) == 3
    assert "token" not in str([*refreshes._outcomes])


class Permits:
    """So few permits, and who asked for one."""

    def __init__(self, free: int) -> None:
        self._lock = threading.Lock()
        self._free = free
        self.asked = 0

    @contextmanager
    def permit(self) -> Iterator[None]:
        with self._lock:
            self.asked += 1
            if self._free == 0:
                raise Busy("no permit")
            self._free -= 1
        yield
        with self._lock:
            self._free += 1


def test_40_parallel_refreshes_are_one_however_few_permits_there_are(clock: HandClock) -> None:
    refreshes: Refreshes[str] = Refreshes(clock=clock, wait_s=60)
    permits, calls = Permits(2), []

    def upstream() -> str:
        calls.append("call")
        eventually(lambda: permits.asked == 40)
        return "session"

    answers = in_parallel(40, lambda: refreshes.refresh("token", upstream, permit=permits.permit))

    assert answers == ["session"] * 40
    assert len(calls) == 1


def test_who_comes_without_a_permit_when_the_call_has_just_ended_gets_its_answer(clock: HandClock) -> None:
    refreshes: Refreshes[str] = Refreshes(clock=clock)

    def permit() -> AbstractContextManager[object]:
        """Have another one's call end between the first look and the second."""
        refreshes.refresh("token", lambda: "of the other one")
        raise Busy("no permit")

    assert refreshes.refresh("token", lambda: "mine", permit=permit) == "of the other one"


def test_a_refusal_that_may_not_last_is_shared_and_forgotten(refreshes: Refreshes[str]) -> None:
    upstream = Upstream(SessionRefused("a hook said no"), pause_s=0.05)

    assert in_parallel(5, lambda: refreshes.refresh("token", upstream)) == ["SessionRefused"] * 5
    upstream.error = None

    assert refreshes.refresh("token", upstream).startswith("session")


def test_any_text_is_a_token(refreshes: Refreshes[str]) -> None:
    """JSON may hold a lone surrogate; that is for Supabase to refuse."""
    assert refreshes.refresh("\ud800", Upstream()) == "session 1"


class Elsewhere:
    """A relay whose other process spent the token, and keeps its outcome for so long."""

    def __init__(self, clock: HandClock, *, until_s: float) -> None:
        self._clock = clock
        self._until_s = until_s

    def share(self, token: str, spend: Callable[[], Outcome[str]]) -> Outcome[str]:
        return Outcome("of another process") if self._clock() < self._until_s else spend()


def test_an_answer_of_another_process_is_not_kept_for_another_ten_seconds(clock: HandClock) -> None:
    """Got in the last moment, it would be given for nearly twenty seconds, long after its tokens were used."""
    refreshes = Refreshes(relay=Elsewhere(clock, until_s=clock() + 10), clock=clock)
    upstream = Upstream()

    clock.advance(9.9)
    assert refreshes.refresh("token", upstream) == "of another process"
    clock.advance(0.2)

    assert refreshes.refresh("token", upstream) == "session 1"
