"""Cookies of sessions: sealed, in at most two parts that belong together, and safe from other hosts."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.web.test_flow_cookies import Browser, Clock, request_with
from velro_auth.auth.models import Session, User
from velro_auth.auth.sealing import Sealer
from velro_auth.errors import UpstreamMisconfigured
from velro_auth.web.flow_cookies import FlowCookies
from velro_auth.web.session_cookies import GOOD_FOR_S, KeptSession, SessionCookies

KEYS = (b"k" * 32,)
NAME = "__Host-velro_session"
SECOND = "__Host-velro_session_2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cookies(clock: Clock) -> SessionCookies:
    return SessionCookies(KEYS, public_url="https://auth.example.com", now=clock)


def session_of(size: int = 900, *, seed: str = "a") -> Session:
    """Return a session whose access token has *size* characters."""
    letters = random.Random(seed).choices(string.ascii_letters, k=size)  # noqa: S311
    return Session(
        access_token="".join(letters),
        refresh_token=f"refresh-{seed}",
        expires_in=3600,
        expires_at=1_785_603_600,
        user=User(id="u", email="a@example.com"),
    )


def kept_in(browser: Browser, cookies: SessionCookies, session: Session) -> KeptSession | None:
    browser.take(cookies.keep(session, browser.request))
    return cookies.find(browser.request)


@pytest.mark.parametrize(("size", "count"), [(20, 1), (900, 1), (2400, 1), (2600, 2), (4900, 2)])
def test_a_session_comes_back(cookies: SessionCookies, size: int, count: int) -> None:
    browser, session = Browser(), session_of(size)

    assert kept_in(browser, cookies, session) == KeptSession(session.access_token, "refresh-a", session.expires_at)
    assert list(browser.cookies) == [NAME, SECOND][:count]
    assert sum(len(name) + len(value) for name, value in browser.cookies.items()) <= 7 * 1024
    assert all(len(name) + len(value) <= 3584 for name, value in browser.cookies.items())
    assert session.access_token not in str(browser.cookies)


def test_the_cookie_is_kept_from_scripts_and_from_other_hosts(cookies: SessionCookies) -> None:
    [(_, field)] = cookies.keep(session_of(), Browser().request)

    assert field.startswith(f"{NAME}=")
    assert field.endswith(f"; Max-Age={GOOD_FOR_S}; Path=/; HttpOnly; SameSite=Lax; Secure")
    assert "Domain" not in field


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1"])
def test_on_this_machine_the_cookie_needs_no_tls(url: str) -> None:
    [(_, field)] = SessionCookies(KEYS, public_url=url).keep(session_of(), Browser().request)

    assert field.startswith("velro_session=")
    assert "Secure" not in field


@pytest.mark.parametrize("url", ["", "http://auth.example.com", "https://localhost"])
def test_elsewhere_it_does(url: str) -> None:
    [(_, field)] = SessionCookies(KEYS, public_url=url).keep(session_of(), Browser().request)

    assert field.startswith("__Host-")
    assert field.endswith("; Secure")


@pytest.mark.parametrize("size", [5100, 16_000])
def test_a_session_that_does_not_fit_is_a_mistake_of_the_project(cookies: SessionCookies, size: int) -> None:
    with pytest.raises(UpstreamMisconfigured, match="does not fit into cookies"):
        cookies.keep(session_of(size), Browser().request)


def test_a_short_session_replaces_a_long_one(cookies: SessionCookies) -> None:
    browser = Browser()
    kept_in(browser, cookies, session_of(4000, seed="long"))

    kept = kept_in(browser, cookies, session_of(seed="short"))

    assert kept is not None
    assert kept.refresh_token == "refresh-short"
    assert list(browser.cookies) == [NAME]


def test_a_second_part_that_is_left_over_does_no_harm(cookies: SessionCookies) -> None:
    browser = Browser()
    kept_in(browser, cookies, session_of(4000, seed="long"))
    # As when the answers to two requests arrive the other way round.
    browser.take(cookies.keep(session_of(seed="short"), Browser().request))

    kept = cookies.find(browser.request)

    assert kept is not None
    assert kept.refresh_token == "refresh-short"


def test_no_second_cookie_fills_the_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one user could drive the sessions of all others out of it."""
    monkeypatch.setattr("velro_auth.web.session_cookies.REMEMBERED", 3)
    cookies = SessionCookies(KEYS, now=clock)
    opened: list[str] = []
    open_until = Sealer.open_until

    def counted(self: Sealer, text: str, *, bound_to: str = "") -> tuple[Mapping[str, Any], int]:
        opened.append(text)
        return open_until(self, text, bound_to=bound_to)

    monkeypatch.setattr(Sealer, "open_until", counted)
    other, another, attacker = Browser(), Browser(), Browser()
    kept_in(other, cookies, session_of(seed="other"))
    kept_in(another, cookies, session_of(4000, seed="another"))
    kept_in(attacker, cookies, session_of(seed="attacker"))

    for number in range(20):
        junk = {**attacker.cookies, SECOND: f"junk-{number}"}
        assert cookies.find(request_with(junk)) is not None

    opened.clear()
    assert cookies.find(request_with(other.cookies)) is not None
    assert cookies.find(request_with(another.cookies)) is not None
    assert opened == []


def test_parts_of_two_sessions_make_none(cookies: SessionCookies) -> None:
    one, other = Browser(), Browser()
    kept_in(one, cookies, session_of(4000, seed="one"))
    kept_in(other, cookies, session_of(4000, seed="other"))

    assert cookies.find(request_with({NAME: one.cookies[NAME], SECOND: other.cookies[SECOND]})) is None


def test_parts_of_two_answers_with_one_session_make_it(cookies: SessionCookies) -> None:
    one, other = Browser(), Browser()
    for browser in (one, other):
        kept_in(browser, cookies, session_of(4000))

    assert one.cookies[NAME] != other.cookies[NAME]
    assert cookies.find(request_with({NAME: one.cookies[NAME], SECOND: other.cookies[SECOND]})) is not None


def test_a_cookie_that_comes_twice_is_ignored(cookies: SessionCookies) -> None:
    browser, other = Browser(), Browser()
    kept_in(browser, cookies, session_of())
    kept_in(other, cookies, session_of(seed="other"))

    for more in (f"{NAME}={other.cookies[NAME]}", f"{NAME}={browser.cookies[NAME]}", f"{NAME}="):
        assert cookies.find(request_with(browser.cookies, more)) is None


def test_removing_removes_what_was_sent(cookies: SessionCookies) -> None:
    browser = Browser()
    kept_in(browser, cookies, session_of(4000))

    browser.take(cookies.clear(browser.request))

    assert browser.cookies == {}
    assert cookies.clear(browser.request) == []


def test_a_session_that_is_not_used_ends(cookies: SessionCookies, clock: Clock) -> None:
    browser = Browser()
    kept_in(browser, cookies, session_of())

    clock.now += GOOD_FOR_S + 2

    assert cookies.find(browser.request) is None


def test_keys_can_be_replaced(cookies: SessionCookies, clock: Clock) -> None:
    browser = Browser()
    kept_in(browser, cookies, session_of())

    def opened_with(*keys: bytes) -> bool:
        return SessionCookies(keys, now=clock).find(browser.request) is not None

    assert opened_with(b"n" * 32, *KEYS)
    assert not opened_with(b"n" * 32)


def test_no_other_sealed_value_is_a_session(cookies: SessionCookies, clock: Clock) -> None:
    sealed = [
        Sealer(KEYS, purpose, now=clock).seal(value, good_for_s=60, bound_to=bound_to)
        for purpose in ("flow", "ticket", "oauth code")
        for value in ({"session": "", "part": ""}, {})
        for bound_to in ("", NAME, f"{NAME} 1/1")
    ]
    flows = FlowCookies(KEYS, now=clock)
    [(_, field)] = flows.keep(flows.new("oauth"), Browser().request)
    sealed.append(field.partition("=")[2].partition(";")[0])

    assert all(cookies.find(request_with({NAME: value})) is None for value in sealed)


def test_changed_cookies_are_no_session(cookies: SessionCookies) -> None:
    browser, chance = Browser(), random.Random(15)  # noqa: S311
    kept_in(browser, cookies, session_of(4000))
    first, second = browser.cookies[NAME], browser.cookies[SECOND]
    changed = [(second, first), (first, first), (second, second), (first, ""), ("", second), ("", "")]
    alphabet = f"{string.ascii_letters}{string.digits}-_"
    for _ in range(2000):
        place, letter = chance.randrange(len(first) - 1), chance.choice(alphabet)
        if first[place] != letter:
            changed.append((first[:place] + letter + first[place + 1 :], second))
        changed.append((first, second[: chance.randrange(len(second) - 1)]))

    for values in changed:
        assert cookies.find(request_with(dict(zip((NAME, SECOND), values, strict=True)))) is None
    assert cookies.find(request_with({NAME: first})) is None
    assert cookies.find(request_with({SECOND: second})) is None
