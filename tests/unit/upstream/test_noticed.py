"""Small changes to how Supabase is asked that no other test would notice."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
import urllib3.exceptions

from tests.fixtures.tokens import HandClock
from tests.upstream_double import PROJECT, TOKEN
from velro_auth.context import RequestContext
from velro_auth.errors import UpstreamTimeout, UpstreamUnavailable
from velro_auth.upstream.calls import AuthCalls
from velro_auth.upstream.captcha import DemandedCaptcha
from velro_auth.upstream.probe import LoginPathCheck
from velro_auth.upstream.translate import PASSWORD_GRANT
from velro_auth.upstream.transport.connection import Connection, StaleConnection
from velro_auth.upstream.transport.resolver import Resolver
from velro_auth.upstream.transport.transport import Transport

STALE = requests.ConnectionError(StaleConnection("reset"))


class FailingAdapter:
    """Takes a second for each request, and fails; records the time that each request was given."""

    def __init__(self, clock: HandClock, *errors: Exception) -> None:
        self._clock = clock
        self._errors = list(errors)
        self.given_s: list[float] = []

    def send(self, *_: Any, timeout: Any, **__: Any) -> None:
        self.given_s.append(timeout.total)
        self._clock.advance(1.0)
        raise self._errors.pop(0)

    def close_idle(self) -> None:
        pass


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def ask(clock: HandClock, *errors: Exception, deadline_s: float | None = None, waited_s: float = 0.0) -> FailingAdapter:
    """Send one request whose tries end with *errors*; return what was sent."""
    transport = Transport(PROJECT, key="k" * 20, pool_size=1, deadline_s=5.0, clock=clock)
    adapter = FailingAdapter(clock, *errors)
    transport._adapter = adapter  # type: ignore[assignment]
    request = transport.prepare("POST", "/auth/v1/token")
    with pytest.raises((UpstreamUnavailable, UpstreamTimeout)):
        transport.ask(request, lambda reply: reply, b"{}", deadline_s=deadline_s, waited_s=waited_s)
    return adapter


def test_the_second_try_has_only_the_time_that_the_first_one_left(clock: HandClock) -> None:
    assert ask(clock, STALE, STALE).given_s == pytest.approx([5.0, 4.0])


@pytest.mark.parametrize(("deadline_s", "given_s"), [(0.5, 0.5), (60.0, 5.0), (None, 5.0)])
def test_a_call_has_its_own_deadline_if_that_is_shorter(
    clock: HandClock, deadline_s: float | None, given_s: float
) -> None:
    assert ask(clock, TimeoutError(), deadline_s=deadline_s).given_s == pytest.approx([given_s])


@pytest.mark.parametrize(("waited_s", "given_s"), [(0.25, 4.75), (2.0, 3.0), (60.0, 2.5)])
def test_a_call_has_less_time_where_it_waited_for_permission(clock: HandClock, waited_s: float, given_s: float) -> None:
    assert ask(clock, TimeoutError(), waited_s=waited_s).given_s == pytest.approx([given_s])


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout(),
        requests.ConnectTimeout(),
        urllib3.exceptions.ReadTimeoutError(None, "", "timed out"),  # type: ignore[arg-type]
        urllib3.exceptions.IncompleteRead(1, 2),
        requests.ConnectionError(urllib3.exceptions.ProtocolError("aborted", ConnectionResetError("reset"))),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_request_that_supabase_may_have_read_is_sent_once(clock: HandClock, error: Exception) -> None:
    assert len(ask(clock, error).given_s) == 1


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    """Return an open connection, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    connection = Connection("project.supabase.co", 80, resolver=Resolver())
    connection.sock = ours
    with ours, theirs:
        yield connection, theirs


def exchange(connection: Connection, *, is_reused: bool, body: bytes = b"{}") -> None:
    connection._is_reused = is_reused
    connection.exchange("POST", "/", body, {}, connect_timeout_s=0.05, ends_s=time.monotonic() + 0.05)


def test_a_used_connection_whose_answer_is_late_is_not_stale(pair: tuple[Connection, socket.socket]) -> None:
    """Supabase may be at work on the request: it must not be sent again."""
    connection, _ = pair

    with pytest.raises(TimeoutError):
        exchange(connection, is_reused=True)


def test_nor_is_one_that_could_not_take_the_whole_request_in_time(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair

    with pytest.raises(TimeoutError):
        exchange(connection, is_reused=True, body=b" " * 10_000_000)


@pytest.mark.parametrize(("is_reused", "error"), [(False, ConnectionError), (True, StaleConnection)])
def test_only_a_connection_that_answered_before_is_stale_when_it_cannot_be_written_to(
    pair: tuple[Connection, socket.socket], is_reused: bool, error: type[Exception]
) -> None:
    connection, theirs = pair
    theirs.close()

    with pytest.raises(error):
        exchange(connection, is_reused=is_reused)


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize("error", [requests.ReadTimeout(), requests.ConnectTimeout(), requests.ConnectionError()])
def test_a_login_path_that_does_not_answer_is_not_healthy(
    supabase: responses.RequestsMock, error: requests.RequestException
) -> None:
    supabase.post(TOKEN, body=error)
    check = LoginPathCheck(Transport(PROJECT, key="sb_secret_0123456789", pool_size=1))

    found = check()

    assert found.status == "fail"
    assert "does not answer" in found.output


def test_the_question_whether_a_captcha_is_demanded_counts_towards_the_deadline(clock: HandClock) -> None:
    class SlowCaptcha(DemandedCaptcha):
        def is_demanded(self) -> bool:
            time.sleep(0.05)
            return True

    transport = Transport(PROJECT, key="k" * 20, pool_size=1, deadline_s=5.0, clock=clock)
    adapter = FailingAdapter(clock, TimeoutError())
    transport._adapter = adapter  # type: ignore[assignment]
    calls = AuthCalls(transport, forwards_address=False, captcha=SlowCaptcha("p" * 20))
    context = RequestContext("id", "192.0.2.1", 0.0)

    with pytest.raises(UpstreamTimeout):
        calls.ask_public(calls.prepare_public("POST", "/token"), context, PASSWORD_GRANT, lambda reply: reply, {})

    assert adapter.given_s[0] <= 4.95
