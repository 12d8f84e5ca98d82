"""Cookies of flows: sealed, bound to their names, bounded in number, and safe from other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import SimpleCookie

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from velro_auth.web.flow_cookies import MAX_CHARACTERS, MAX_FLOWS, Flow, FlowCookies, Header, Purpose

KEYS = (b"k" * 32,)


class Browser:
    """Keeps cookies as a browser does, and sends them."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def take(self, headers: list[Header]) -> None:
        for name, value in headers:
            assert name == "Set-Cookie"
            for morsel in SimpleCookie(value).values():
                if morsel["max-age"] == "0":
                    self.cookies.pop(morsel.key, None)
                else:
                    self.cookies[morsel.key] = morsel.value

    @property
    def request(self) -> Request:
        return request_with(self.cookies)


class Clock:
    now = 1_785_600_000.0

    def __call__(self) -> float:
        return self.now


def request_with(cookies: Mapping[str, str], *more: str) -> Request:
    header = "; ".join([*(f"{name}={value}" for name, value in cookies.items()), *more])
    return Request(EnvironBuilder(headers=[("Cookie", header)]).get_environ())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flows(clock: Clock) -> FlowCookies:
    return FlowCookies(KEYS, public_url="https://auth.example.com", now=clock)


def begin(flows: FlowCookies, browser: Browser, purpose: Purpose = "oauth", **data: str) -> Flow:
    flow = flows.new(purpose, data)
    browser.take(flows.keep(flow, browser.request))
    return flow


def test_a_flow_is_found_again_in_its_browser(flows: FlowCookies) -> None:
    browser = Browser()
    flow = begin(flows, browser, redirect_to="https://app.example.com/")

    assert flows.find("oauth", flow.id, browser.request) == flow


def test_the_cookie_is_out_of_reach_for_scripts_and_other_hosts(flows: FlowCookies) -> None:
    flow = flows.new("mail")

    [(_, value)] = flows.keep(flow, request_with({}))

    assert value.startswith(f"__Host-velro_flow_mail_{flow.id}=")
    assert value.split("; ")[1:] == ["Max-Age=3600", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert flow.verifier not in value
    assert flow.verifier not in repr(flow)


@pytest.mark.parametrize("public_url", ["http://localhost:8000", "http://127.0.0.1:8000"])
def test_on_this_machine_without_tls_browsers_keep_it_too(public_url: str) -> None:
    flows = FlowCookies(KEYS, public_url=public_url)

    [(_, value)] = flows.keep(flows.new("oauth"), request_with({}))

    assert value.startswith("velro_flow_oauth_")
    assert "Secure" not in value
    assert "HttpOnly" in value


@pytest.mark.parametrize("public_url", ["", "http://auth.example.com", "https://localhost:8000"])
def test_everywhere_else_it_is_secure(public_url: str) -> None:
    flows = FlowCookies(KEYS, public_url=public_url)

    [(_, value)] = flows.keep(flows.new("oauth"), request_with({}))

    assert value.startswith("__Host-")
    assert value.endswith("; Secure")


def test_a_flow_expires(flows: FlowCookies, clock: Clock) -> None:
    browser = Browser()
    flow, mail = begin(flows, browser), begin(flows, browser, "mail")

    clock.now += 601

    assert flows.find("oauth", flow.id, browser.request) is None
    assert flows.find("mail", mail.id, browser.request) == mail


def test_a_flow_ends(flows: FlowCookies) -> None:
    browser = Browser()
    flow = begin(flows, browser)

    browser.take([flows.end(flow)])

    assert flows.find("oauth", flow.id, browser.request) is None
    assert browser.cookies == {}


def test_a_value_opens_only_under_its_own_name(flows: FlowCookies) -> None:
    """Otherwise the verifier of one flow could be used for another one."""
    browser = Browser()
    first, second = begin(flows, browser), begin(flows, browser)
    names = list(browser.cookies)

    swapped = request_with(dict(zip(names, reversed(browser.cookies.values()), strict=True)))

    assert flows.find("oauth", first.id, swapped) is None
    assert flows.find("oauth", second.id, swapped) is None


def test_a_flow_of_one_purpose_is_none_of_another(flows: FlowCookies) -> None:
    browser = Browser()
    flow = begin(flows, browser, "mail")
    [sealed] = browser.cookies.values()

    assert flows.find("oauth", flow.id, browser.request) is None
    assert flows.find("oauth", flow.id, request_with({f"__Host-velro_flow_oauth_{flow.id}": sealed})) is None


def test_the_cookie_of_another_service_does_not_open(flows: FlowCookies) -> None:
    browser, other = Browser(), FlowCookies((b"o" * 32,))
    flow = begin(other, browser)

    assert flows.find("oauth", flow.id, browser.request) is None


def test_a_cookie_without_the_prefix_is_not_read(flows: FlowCookies) -> None:
    """A neighbouring subdomain can set such a one for the whole domain."""
    browser, insecure = Browser(), FlowCookies(KEYS, public_url="http://localhost")
    flow = begin(insecure, browser)

    assert flows.find("oauth", flow.id, browser.request) is None
    assert flows.all("oauth", browser.request) == []


def test_a_cookie_that_comes_twice_is_ignored(flows: FlowCookies) -> None:
    """Only somebody who tosses cookies makes a browser send one name twice."""
    browser = Browser()
    flow = begin(flows, browser)
    [name] = browser.cookies

    assert flows.find("oauth", flow.id, request_with(browser.cookies, f"{name}=tossed")) is None


@pytest.mark.parametrize("flow_id", ["", "x", "../../../../../..", "ä" * 16, "A" * 17, "AAAAAAAAAAAAAAA\n"])
def test_what_is_no_id_names_no_flow(flows: FlowCookies, flow_id: str) -> None:
    assert flows.find("oauth", flow_id, request_with({})) is None


def test_the_newest_flow_comes_first(flows: FlowCookies, clock: Clock) -> None:
    browser, begun = Browser(), []
    for _ in range(3):
        begun.append(begin(flows, browser, "mail"))
        clock.now += 1
    begin(flows, browser, "oauth")

    assert flows.all("mail", browser.request) == begun[::-1]


def test_the_oldest_flow_gives_way(flows: FlowCookies, clock: Clock) -> None:
    browser, begun = Browser(), []
    mail = begin(flows, browser, "mail")
    for _ in range(MAX_FLOWS + 2):
        clock.now += 1
        begun.append(begin(flows, browser))

    assert flows.all("oauth", browser.request) == begun[: -MAX_FLOWS - 1 : -1]
    assert flows.all("mail", browser.request) == [mail]


def test_all_cookies_together_stay_below_the_limit_of_a_request(flows: FlowCookies, clock: Clock) -> None:
    browser = Browser()
    for _ in range(10):
        clock.now += 1
        last = begin(flows, browser, redirect_to="https://app.example.com/" + "x" * 2000)

    assert sum(len(name) + len(value) for name, value in browser.cookies.items()) <= MAX_CHARACTERS
    assert flows.find("oauth", last.id, browser.request) == last


def test_one_cookie_is_small_enough_for_a_browser(flows: FlowCookies) -> None:
    """RFC 6265, 6.1: at least 4,096 bytes with its name and attributes."""
    flow = flows.new("oauth", {"redirect_to": "x" * 2048, "challenge": "x" * 43})

    [(_, value)] = flows.keep(flow, request_with({}))

    assert len(value) <= 4096


def test_cookies_that_do_not_open_are_removed(flows: FlowCookies, clock: Clock) -> None:
    browser = Browser()
    begin(flows, browser)
    clock.now += 601
    browser.cookies["__Host-velro_flow_mail_AAAAAAAAAAAAAAAA"] = "garbage"

    flow = begin(flows, browser)

    assert [name.rpartition("oauth_")[2] for name in browser.cookies] == [flow.id]
