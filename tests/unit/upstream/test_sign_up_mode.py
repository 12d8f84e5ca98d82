"""Whether sign-ups need a mail is asked rarely, shared, and learnt from answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import responses

from tests.fixtures.tokens import HandClock
from tests.upstream_double import PROJECT
from velro_auth.upstream.probe import LearntSignUpMode
from velro_auth.upstream.transport.transport import Transport

SETTINGS = f"{PROJECT}/auth/v1/settings"


@pytest.fixture
def project() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def mode(clock: HandClock) -> LearntSignUpMode:
    return LearntSignUpMode(Transport(PROJECT, key="key", pool_size=1), clock=clock)


def test_the_settings_are_asked_once_a_minute(
    project: responses.RequestsMock, mode: LearntSignUpMode, clock: HandClock
) -> None:
    project.get(SETTINGS, json={"mailer_autoconfirm": True})

    assert {mode.needs_mail() for _ in range(5)} == {False}
    assert len(project.calls) == 1
    project.replace(responses.GET, SETTINGS, json={"mailer_autoconfirm": False})
    clock.advance(59)
    assert not mode.needs_mail()
    clock.advance(1)
    assert mode.needs_mail()
    assert len(project.calls) == 2


@pytest.mark.parametrize("answer", [{}, {"mailer_autoconfirm": "yes"}, [], ConnectionError("down")])
def test_a_mail_is_needed_while_it_is_not_known(
    project: responses.RequestsMock, mode: LearntSignUpMode, clock: HandClock, answer: object
) -> None:
    """Then the answer to a sign-up shows nothing."""
    if isinstance(answer, Exception):
        project.get(SETTINGS, body=answer)
    else:
        project.get(SETTINGS, json=answer)

    assert mode.needs_mail()
    clock.advance(4)
    assert mode.needs_mail()
    assert len(project.calls) == 1
    clock.advance(1)
    mode.needs_mail()
    assert len(project.calls) == 2


def test_what_was_known_stays_while_the_project_does_not_answer(
    project: responses.RequestsMock, mode: LearntSignUpMode, clock: HandClock
) -> None:
    mode.learn(needs_mail=False)
    project.get(SETTINGS, status=502)
    clock.advance(60)

    assert not mode.needs_mail()


def test_an_answer_to_a_sign_up_is_believed(
    project: responses.RequestsMock, mode: LearntSignUpMode, clock: HandClock
) -> None:
    project.get(SETTINGS, json={"mailer_autoconfirm": True})
    assert not mode.needs_mail()

    mode.learn(needs_mail=True)

    assert mode.needs_mail()
    assert len(project.calls) == 1


def test_while_one_asks_the_others_go_by_the_former_answer(
    project: responses.RequestsMock, mode: LearntSignUpMode
) -> None:
    asking, goes_on = threading.Event(), threading.Event()

    def answer(_: object) -> tuple[int, dict[str, str], str]:
        asking.set()
        goes_on.wait(30)
        return 200, {}, '{"mailer_autoconfirm": true}'

    project.add_callback(responses.GET, SETTINGS, answer, content_type="application/json")
    first = threading.Thread(target=mode.needs_mail)
    first.start()
    try:
        assert asking.wait(30)
        assert mode.needs_mail()
    finally:
        goes_on.set()
        first.join()
    assert not mode.needs_mail()
    assert len(project.calls) == 1
