"""A ticket ends ten minutes after the link, and sets one password."""

from __future__ import annotations

import time

import pytest

from tests.account_double import API, KEY
from tests.fixtures.tokens import claims_at
from tests.unit.guards.clock import HandClock
from velro_auth.auth.denylist import MemoryDenyList, end_of_session
from velro_auth.auth.models import Session, User
from velro_auth.auth.sealing import Sealer
from velro_auth.auth.tickets import Ticket, Tickets
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.errors import LinkInvalid, WeakPassword
from velro_auth.guards.challenges import MemorySpent

SESSION = Session(
    access_token=KEY.token(claims_at(time.time(), iss=API)),
    refresh_token="refresh",
    expires_in=3600,
    expires_at=2_000_000_000,
    user=User(id="id", email="ada@example.com", factors=[{"id": "one", "status": "verified", "secret": "x"}]),
)


@pytest.fixture
def clock() -> HandClock:
    clock = HandClock()
    clock.advance(time.time() - clock.now)
    return clock


@pytest.fixture
def denied() -> MemoryDenyList:
    return MemoryDenyList()


@pytest.fixture
def tickets(clock: HandClock, denied: MemoryDenyList) -> Tickets:
    sealer = Sealer([b"key"], "ticket", now=clock)
    return Tickets(sealer=sealer, spent=MemorySpent(clock=clock), denies=denied.denies, now=clock)


def test_a_new_ticket_after_a_failure_ends_with_the_first_one(tickets: Tickets, clock: HandClock) -> None:
    text = tickets.seal(SESSION, tickets.begin())
    for _ in range(5):
        clock.advance(119)
        session, series = tickets.open(Ticket(text))
        assert session.access_token == SESSION.access_token
        text = tickets.seal(session, series)
    clock.advance(7)

    with pytest.raises(LinkInvalid, match="expired"):
        tickets.open(Ticket(text))


def test_once_one_has_set_a_password_none_of_the_link_does(tickets: Tickets) -> None:
    first = tickets.seal(SESSION, tickets.begin())
    _, series = tickets.open(Ticket(first))
    with pytest.raises(WeakPassword), tickets.using(series):
        raise WeakPassword({"password": ["weak"]})
    second = tickets.seal(SESSION, series)
    with tickets.using(tickets.open(Ticket(second))[1]), pytest.raises(LinkInvalid, match="used"):  # noqa: SIM117
        # Not beside each other either.
        with tickets.using(tickets.open(Ticket(first))[1]):
            pass

    for text in (first, second):
        with pytest.raises(LinkInvalid, match="used"), tickets.using(tickets.open(Ticket(text))[1]):
            pass
    with tickets.using(tickets.begin()):
        pass


def test_a_ticket_ends_with_its_session(tickets: Tickets, denied: MemoryDenyList) -> None:
    text = tickets.seal(SESSION, tickets.begin())
    claims = claims_of_issued(SESSION.access_token)
    assert claims is not None
    denied.deny([end_of_session(claims, until_s=time.time() + 3600)])

    with pytest.raises(LinkInvalid, match="ended"):
        tickets.open(Ticket(text))
