"""Sign-in with a provider through both lanes: to Supabase, back, and the exchange of the code."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import Client, EnvironBuilder, TestResponse
from werkzeug.wrappers import Request

from tests.asserts import assert_problem
from tests.conftest import SECRET_KEY, LogLines, MakeClient
from tests.fixtures.hostile import ALLOWED, APP, GOOD
from tests.upstream_double import PROJECT, SESSION, UpstreamDouble, session, token
from velro_auth.app import Service
from velro_auth.auth.pkce import challenge_of, is_challenge, new_verifier
from velro_auth.auth.sealing import sealing_keys
from velro_auth.auth.tokens import claims_of_issued
from velro_auth.errors import Busy
from velro_auth.web.flow_cookies import FlowCookies

PUBLIC = "https://auth.example.com"
ENVIRONMENT = {"AUTH_PUBLIC_URL": PUBLIC, "AUTH_REDIRECT_URLS": ALLOWED}
AUTHORIZE = "/api/v1/auth/authorize/github"
CALLBACK = "/api/v1/auth/callback"
EXCHANGE = "/api/v1/auth/exchange"
USER = SESSION["user"]["id"]
SESSION_ID = "5b1f7a52-0c11-4d5e-8f3a-6f0f6f0f6f0f"
CODE = "0d4c2f4e-8a3b-4f1c-9d2e-1a2b3c4d5e6f"

MailFlow: TypeAlias = Callable[[], str]


class Flow:
    """A frontend and a browser that sign in with a provider.

    Args:
        client: The browser.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.verifier = new_verifier()
        self.sent: Mapping[str, str] = {}

    def begin(self, *, redirect_to: str = f"{APP}/welcome?tab=1", path: str = AUTHORIZE, **more: str) -> TestResponse:
        query = {"redirect_to": redirect_to, "code_challenge": challenge_of(self.verifier), **more}
        response = self.client.get(path, query_string=query, base_url=PUBLIC)
        if response.status_code == 303:
            self.sent = only(response.headers["Location"])
        return response

    @property
    def id(self) -> str:
        return only(self.sent["redirect_to"])["flow"]

    def come_back(self, **query: str) -> TestResponse:
        return self.client.get(CALLBACK, query_string={"flow": self.id, **query}, base_url=PUBLIC)

    def exchange(self, code: str, **more: Any) -> TestResponse:
        body = {"code": code, "code_verifier": self.verifier, **more}
        return self.client.post(EXCHANGE, json=body, base_url=PUBLIC)

    def whole(self) -> str:
        """Return the code that the frontend gets."""
        self.begin()
        return only(self.come_back(code=CODE).headers["Location"])["code"]


def only(address: str) -> dict[str, str]:
    """Return the query of *address*, in which no parameter comes twice."""
    query = parse_qs(urlsplit(address).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: value for name, [value] in query.items()}


@pytest.fixture
def browser(make_client: MakeClient) -> Client:
    return make_client(**ENVIRONMENT)


@pytest.fixture
def flow(browser: Client) -> Flow:
    return Flow(browser)


def test_a_sign_in_leads_to_supabase_with_a_challenge_of_our_own(flow: Flow) -> None:
    response = flow.begin()

    address = urlsplit(response.headers["Location"])
    assert (response.status_code, response.data) == (303, b"")
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{PROJECT}/auth/v1/authorize"
    assert set(flow.sent) == {"provider", "redirect_to", "code_challenge", "code_challenge_method"}
    assert (flow.sent["provider"], flow.sent["code_challenge_method"]) == ("github", "s256")
    assert flow.sent["redirect_to"] == f"{PUBLIC}{CALLBACK}?flow={flow.id}"
    assert is_challenge(flow.sent["code_challenge"])
    assert flow.sent["code_challenge"] != challenge_of(flow.verifier)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"


def test_every_sign_in_has_a_challenge_and_a_cookie_of_its_own(browser: Client) -> None:
    begun = [Flow(browser) for _ in range(3)]
    for one in begun:
        one.begin()

    assert len({one.sent["code_challenge"] for one in begun}) == len({one.id for one in begun}) == 3
    assert [one.come_back(code=CODE).status_code for one in begun] == [303, 303, 303]


def test_the_browser_comes_back_to_the_frontend_with_a_sealed_code(flow: Flow) -> None:
    flow.begin()

    response = flow.come_back(code=CODE)

    location = response.headers["Location"]
    assert (response.headers["Referrer-Policy"], response.headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert location.startswith(f"{APP}/welcome?tab=1&code=")
    assert CODE not in location
    assert response.headers["Set-Cookie"].startswith(f"__Host-velro_flow_oauth_{flow.id}=; Max-Age=0;")


def test_the_frontend_exchanges_the_code_for_a_session(flow: Flow, upstream: UpstreamDouble) -> None:
    response = flow.exchange(flow.whole())

    [asked] = upstream.asked
    told = json.loads(asked.body)
    assert response.status_code == 200
    assert response.get_json()["refresh_token"] == session()["refresh_token"]
    assert response.headers["Cache-Control"] == "no-store"
    assert asked.url == f"{PROJECT}/auth/v1/token?grant_type=pkce"
    assert set(told) == {"auth_code", "code_verifier"}
    assert told["auth_code"] == CODE
    assert challenge_of(told["code_verifier"]) == flow.sent["code_challenge"]


def test_parameters_of_our_names_in_the_frontends_address_give_way(flow: Flow) -> None:
    """The frontend would read the first one, which somebody else chose."""
    flow.begin(redirect_to=f"{APP}/?code=theirs&a=1&%63ode=theirs&error=x&error_description=y&co+de=2")

    location = flow.come_back(code=CODE).headers["Location"]

    assert set(only(location)) == {"a", "co de", "code"}
    assert only(location)["code"] != "theirs"


@pytest.mark.parametrize(
    ("query", "error", "text"),
    [
        ({"error": "access_denied"}, "access_denied", "cancelled"),
        ({"error": "access_denied", "error_code": "signup_disabled"}, "access_denied", "not accepted"),
        (
            {"error": "access_denied", "error_code": "provider_email_needs_verification"},
            "access_denied",
            "Confirm your mail address",
        ),
        ({"error": "access_denied", "error_code": "user_banned"}, "access_denied", "cancelled or refused"),
        ({"error": "server_error", "error_code": "unexpected_failure"}, "server_error", "failed"),
        ({"error": "temporarily_unavailable"}, "temporarily_unavailable", "Try again later"),
        ({"error": "<script>"}, "server_error", "failed"),
        ({"error": "access_denied", "code": CODE}, "access_denied", "cancelled"),
        ({"error": ""}, "server_error", "failed"),
        ({"code": "not-a-code"}, "server_error", "failed"),
        ({"code": f"{CODE}\n"}, "server_error", "failed"),
        ({}, "server_error", "failed"),
    ],
)
def test_an_error_reaches_the_frontend_in_our_own_words(
    flow: Flow, query: dict[str, str], error: str, text: str
) -> None:
    flow.begin()

    response = flow.come_back(**query, error_description="Call +1 555 0100 to unlock your account")

    told = only(response.headers["Location"])
    assert response.status_code == 303
    assert (set(told), told["error"]) == ({"tab", "error", "error_description"}, error)
    assert text in told["error_description"]
    assert "555" not in response.headers["Location"]


def test_a_flow_comes_back_once(flow: Flow) -> None:
    flow.whole()

    assert_problem(flow.come_back(code=CODE), 401, "link_invalid")


@pytest.mark.parametrize("flow_id", ["", "x", "AAAAAAAAAAAAAAAA", "../../etc/passwd"])
def test_a_browser_without_the_flow_gets_nothing(flow: Flow, flow_id: str) -> None:
    flow.begin()

    response = flow.client.get(CALLBACK, query_string={"flow": flow_id, "code": CODE}, base_url=PUBLIC)

    assert_problem(response, 401, "link_invalid")
    assert "Location" not in response.headers


def test_another_browser_cannot_come_back_in_its_place(flow: Flow, make_client: MakeClient) -> None:
    """A login CSRF: an attacker's callback must not work in the victim's browser."""
    flow.begin()
    victim = make_client(**ENVIRONMENT)

    response = victim.get(CALLBACK, query_string={"flow": flow.id, "code": CODE}, base_url=PUBLIC)

    assert_problem(response, 401, "link_invalid")


@pytest.mark.parametrize("pages", ["0", "1"])
def test_a_browser_that_comes_back_too_late_sees_the_login_page_where_there_is_one(
    flow: Flow, make_client: MakeClient, pages: str
) -> None:
    flow.begin()
    late = make_client(**ENVIRONMENT, AUTH_PAGES=pages)

    def come(accept: str) -> TestResponse:
        query = {"flow": flow.id, "code": CODE}
        return late.get(CALLBACK, query_string=query, base_url=PUBLIC, headers={"Accept": accept})

    assert_problem(come("*/*"), 401, "link_invalid")
    answer = come("text/html,application/xhtml+xml")
    if pages == "1":
        assert (answer.status_code, answer.headers["Location"]) == (303, "/login?error=server_error")
        assert "Set-Cookie" not in answer.headers
    else:
        assert_problem(answer, 401, "link_invalid")


def test_the_code_of_one_flow_with_the_cookie_of_another_is_refused(browser: Client, upstream: UpstreamDouble) -> None:
    """The verifier is the other flow's, which Supabase notices."""
    mine, other = Flow(browser), Flow(browser)
    mine.begin()
    other.begin()
    codes = {other.sent["code_challenge"]: CODE}

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        asked = json.loads(request.body)
        if codes.get(challenge_of(asked["code_verifier"])) == asked["auth_code"]:
            return 200, {}, json.dumps(session())
        return 400, {}, json.dumps({"code": "bad_code_verifier", "message": "…"})

    upstream.calls_back(answer)
    mixed = only(mine.come_back(code=CODE).headers["Location"])["code"]
    right = only(other.come_back(code=CODE).headers["Location"])["code"]

    assert_problem(mine.exchange(mixed), 401, "link_invalid")
    assert_problem(other.exchange(mixed), 401, "link_invalid")
    assert_problem(mine.exchange(right), 401, "link_invalid")
    assert other.exchange(right).status_code == 200


def test_flow_cookies_that_were_swapped_do_not_open(browser: Client) -> None:
    one, other = Flow(browser), Flow(browser)
    one.begin()
    other.begin()
    names = [f"__Host-velro_flow_oauth_{flow.id}" for flow in (one, other)]
    values = [cookie.value for name in names if (cookie := browser.get_cookie(name, "auth.example.com"))]
    for name, value in zip(names, reversed(values), strict=True):
        browser.set_cookie(name, value, domain="auth.example.com")

    assert_problem(one.come_back(code=CODE), 401, "link_invalid")
    assert_problem(other.come_back(code=CODE), 401, "link_invalid")


@pytest.mark.parametrize(
    "code_verifier", ["A" * 43, challenge_of("x" * 43), "", None], ids=["another", "a challenge", "empty", "null"]
)
def test_a_code_is_of_no_use_to_somebody_else(flow: Flow, upstream: UpstreamDouble, code_verifier: str | None) -> None:
    code = flow.whole()

    response = flow.exchange(code, code_verifier=code_verifier)

    assert response.status_code in {401, 422}
    assert upstream.asked == []
    assert flow.exchange(code).status_code == 200


def test_a_code_without_its_verifier_is_refused(flow: Flow, upstream: UpstreamDouble) -> None:
    response = flow.client.post(EXCHANGE, json={"code": flow.whole()}, base_url=PUBLIC)

    assert_problem(response, 401, "link_invalid")
    assert upstream.asked == []


@pytest.mark.parametrize("at", [0, 8, 30, 100, -1])
def test_a_changed_code_is_refused(flow: Flow, upstream: UpstreamDouble, at: int) -> None:
    code = flow.whole()
    changed = code[:at] + ("B" if code[at] != "B" else "C") + (code[at + 1 :] if at != -1 else "")

    assert_problem(flow.exchange(changed), 401, "link_invalid")
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "flow_state_not_found"),
        (422, "flow_state_expired"),
        (400, "flow_state_already_used"),
        (400, "bad_code_verifier"),
        (400, "validation_failed"),
        (403, "user_banned"),
        (403, "user_not_found"),
        (403, "unknown"),
        (400, "access_denied"),
    ],
)
def test_what_supabase_refuses_is_one_answer(flow: Flow, upstream: UpstreamDouble, status: int, code: str) -> None:
    upstream.answers({"code": code, "message": "…"}, status=status)

    assert_problem(flow.exchange(flow.whole()), 401, "link_invalid")


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ({"body": {"code": "over_request_rate_limit"}, "status": 429}, 429, "upstream_throttled"),
        ({"body": "<html>", "status": 502}, 503, "upstream_unavailable"),
        ({"body": {"message": "Invalid API key"}, "status": 401}, 503, "upstream_misconfigured"),
        ({"body": {"code": "unexpected_failure"}, "status": 500}, 503, "upstream_error"),
        ({"body": {"user": {}}}, 503, "upstream_error"),
    ],
)
def test_trouble_of_supabase_is_no_wrong_code(
    flow: Flow, upstream: UpstreamDouble, answer: dict[str, Any], status: int, code: str
) -> None:
    upstream.answers(**answer)

    assert_problem(flow.exchange(flow.whole()), status, code)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"redirect_to": ""}, "redirect_to"),
        ({"redirect_to": "https://evil.example"}, "redirect_to"),
        ({"code_challenge": ""}, "code_challenge"),
        ({"code_challenge": "short"}, "code_challenge"),
        ({"code_challenge": "=" * 43}, "code_challenge"),
        ({"code_challenge_method": "plain"}, "code_challenge_method"),
        ({"code_challenge_method": ""}, "code_challenge_method"),
    ],
)
def test_a_wrong_beginning_is_told_by_its_field(flow: Flow, changes: dict[str, str], field: str) -> None:
    response = flow.begin(**changes)

    assert set(assert_problem(response, 422, "invalid_request")["errors"]) == {field}
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("provider", ["GitHub", "-", "git%20hub", "a" * 65, "git%0d%0ahub", "git%26scopes=all", "%3C"])
def test_only_names_of_providers_are_passed_on(flow: Flow, provider: str) -> None:
    response = flow.begin(path=f"/api/v1/auth/authorize/{provider}")

    assert "provider" in assert_problem(response, 422, "invalid_request")["errors"]


@pytest.mark.parametrize("provider", ["google", "linkedin_oidc", "custom:acme"])
def test_names_of_providers_are_passed_on(flow: Flow, provider: str) -> None:
    flow.begin(path=f"/api/v1/auth/authorize/{provider}")

    assert flow.sent["provider"] == provider


@pytest.mark.parametrize("name", ["redirect_to", "code_challenge"])
def test_a_parameter_that_comes_twice_has_no_meaning(browser: Client, name: str) -> None:
    query = [("redirect_to", APP), ("code_challenge", challenge_of("x" * 43))]
    query.append(next(pair for pair in query if pair[0] == name))

    response = browser.get(AUTHORIZE, query_string="&".join(f"{key}={value}" for key, value in query))

    assert set(assert_problem(response, 422, "invalid_request")["errors"]) == {name}


def test_without_an_address_for_browsers_there_is_no_sign_in(make_client: MakeClient, logs: LogLines) -> None:
    """The Host header is no address: anybody can send any."""
    client = make_client(AUTH_REDIRECT_URLS=ALLOWED)

    response = Flow(client).begin()

    assert_problem(response, 503, "upstream_misconfigured")
    assert "AUTH_PUBLIC_URL" in logs.access[-1]["reason"]


def test_without_a_project_there_is_no_sign_in(make_client: MakeClient) -> None:
    client = make_client(**ENVIRONMENT, SUPABASE_URL="")

    assert_problem(Flow(client).begin(), 503, "upstream_misconfigured")
    response = client.post(EXCHANGE, json={"code": CODE})
    assert_problem(response, 401, "link_invalid")


def test_without_allowed_addresses_there_is_no_sign_in(make_client: MakeClient) -> None:
    assert_problem(Flow(make_client(AUTH_PUBLIC_URL=PUBLIC)).begin(), 422, "invalid_request")


def test_an_address_that_is_not_allowed_any_more_is_not_led_to(make_client: MakeClient) -> None:
    flow = Flow(make_client(**ENVIRONMENT))
    flow.begin()
    stricter = Flow(make_client(**{**ENVIRONMENT, "AUTH_REDIRECT_URLS": "https://www.example.com"}))
    stricter.sent = flow.sent
    name = f"__Host-velro_flow_oauth_{flow.id}"
    cookie = flow.client.get_cookie(name, "auth.example.com")
    assert cookie is not None
    stricter.client.set_cookie(name, cookie.value, domain="auth.example.com")

    assert_problem(stricter.come_back(code=CODE), 401, "link_invalid")


@pytest.mark.parametrize("address", GOOD)
def test_allowed_addresses_are_led_to(flow: Flow, address: str) -> None:
    assert flow.begin(redirect_to=address).status_code == 303

    led_to = urlsplit(flow.come_back(code=CODE).headers["Location"])

    asked = urlsplit(address)
    assert (led_to.hostname, led_to.path) == (asked.hostname, asked.path)


@pytest.mark.parametrize("host", ["evil.example", "auth.example.com.evil.example", "auth.example.com@evil.example"])
def test_the_host_header_is_in_no_address(flow: Flow, host: str) -> None:
    """Of the callback, of the redirect to the frontend, or of a cookie's domain."""
    headers = {
        "Host": host,
        "X-Forwarded-Host": host,
        "X-Original-Host": host,
        "Forwarded": f"host={host}",
        "Origin": f"https://{host}",
        "Referer": f"https://{host}/",
    }
    query = {"redirect_to": APP, "code_challenge": challenge_of(flow.verifier)}

    begun = flow.client.get(AUTHORIZE, query_string=query, headers=headers)

    assert begun.status_code == 303
    assert only(begun.headers["Location"])["redirect_to"].startswith(f"{PUBLIC}/")
    assert "evil.example" not in str(begun.headers)
    assert "Domain" not in begun.headers["Set-Cookie"]
    cookie = begun.headers["Set-Cookie"].partition(";")[0]
    flow_id = only(only(begun.headers["Location"])["redirect_to"])["flow"]
    back = flow.client.get(
        CALLBACK, query_string={"flow": flow_id, "code": CODE}, headers={**headers, "Cookie": cookie}
    )
    assert back.headers["Location"].startswith(f"{APP}?code=")
    assert "evil.example" not in str(back.headers)


def test_no_secret_of_a_flow_is_written_down(flow: Flow, upstream: UpstreamDouble, logs: LogLines) -> None:
    """Verifiers, codes and cookies stay out of logs and metrics, in refusals too."""
    code = flow.whole()
    cookies = [flow.sent["code_challenge"], flow.id]
    assert flow.exchange(code).status_code == 200
    assert_problem(flow.exchange(code[:-3] + "AAA"), 401, "link_invalid")
    flow.come_back(code=CODE)
    upstream.answers(ZeroDivisionError("defect"))
    flow.exchange(code)

    told = str(logs) + flow.client.get("/metrics").get_data(as_text=True)
    ours = json.loads(upstream.asked[0].body)["code_verifier"]
    for secret in (CODE, code, code[20:60], flow.verifier, challenge_of(flow.verifier), ours, *cookies):
        assert secret not in told


def test_mails_end_with_a_code_of_supabase(browser: Client, upstream: UpstreamDouble, mail_flow: MailFlow) -> None:
    """The default link of a mail leads to the frontend with Supabase's own code; the verifier is in a cookie."""
    older, verifier, newer = mail_flow(), mail_flow(), mail_flow()

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        if json.loads(request.body)["code_verifier"] == verifier:
            return 200, {}, json.dumps(session())
        return 400, {}, json.dumps({"code": "bad_code_verifier", "message": "…"})

    upstream.calls_back(answer)

    response = browser.post(EXCHANGE, json={"code": CODE}, base_url=PUBLIC)

    assert response.status_code == 200
    assert [json.loads(request.body)["code_verifier"] for request in upstream.asked] == [newer, verifier]
    assert older not in str(upstream.asked)
    [ended] = response.headers.getlist("Set-Cookie")
    assert ended.startswith("__Host-velro_flow_mail_")
    assert "Max-Age=0" in ended


def test_a_used_code_of_a_mail_is_asked_for_once(
    browser: Client, upstream: UpstreamDouble, mail_flow: MailFlow
) -> None:
    for _ in range(3):
        mail_flow()
    upstream.answers({"code": "flow_state_not_found", "message": "…"}, status=404)

    assert_problem(browser.post(EXCHANGE, json={"code": CODE}, base_url=PUBLIC), 401, "link_invalid")
    assert len(upstream.asked) == 1


def test_the_code_of_a_mail_is_of_no_use_in_another_browser(browser: Client, upstream: UpstreamDouble) -> None:
    assert_problem(browser.post(EXCHANGE, json={"code": CODE}, base_url=PUBLIC), 401, "link_invalid")
    assert upstream.asked == []


def test_the_verifier_of_a_sign_in_is_none_of_a_mail(flow: Flow, upstream: UpstreamDouble) -> None:
    flow.begin()

    assert_problem(flow.client.post(EXCHANGE, json={"code": CODE}, base_url=PUBLIC), 401, "link_invalid")
    assert upstream.asked == []


def test_refused_exchanges_are_delayed_and_good_ones_are_not(
    make_client: MakeClient, upstream: UpstreamDouble, logs: LogLines
) -> None:
    flow = Flow(make_client(**ENVIRONMENT, AUTH_FAILURE_FLOOR_MS="50"))
    code = flow.whole()
    assert flow.exchange(code).status_code == 200
    upstream.answers({"code": "flow_state_not_found"}, status=404)
    assert flow.exchange(code).status_code == 401
    assert flow.exchange("A" * 50).status_code == 401

    took = [line["took_ms"] for line in logs.access if line["path"] == EXCHANGE]
    held = ["held_ms" in line for line in logs.access if line["path"] == EXCHANGE]
    assert held == [False, True, True]
    assert min(took[1:]) >= 50


def test_a_session_that_a_logout_ended_meanwhile_is_not_given_out(
    make_client: MakeClient, upstream: UpstreamDouble
) -> None:
    client = make_client(**ENVIRONMENT)
    flow = Flow(client)
    code = flow.whole()
    issued = session(access_token=token(sub=USER, session_id=SESSION_ID, exp=int(time.time()) + 3600))
    service = client.application
    assert isinstance(service, Service)

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        claims = claims_of_issued(issued["access_token"])
        assert claims is not None
        service._parts.sessions.deny(claims)
        return 200, {}, json.dumps(issued)

    upstream.calls_back(answer)

    assert_problem(flow.exchange(code), 503, "busy")


def test_logins_keep_their_threads_while_exchanges_are_delayed(make_client: MakeClient) -> None:
    client = make_client(**ENVIRONMENT)
    service = client.application
    assert isinstance(service, Service)
    delay = service._parts.guards.failure_delay

    with contextlib.ExitStack() as others:
        with contextlib.suppress(Busy):
            while True:
                others.enter_context(delay.permit())

        assert delay.free > 0
        assert_problem(client.post(EXCHANGE, json={"code": "A" * 50}), 503, "busy")


def test_a_network_that_exchanges_too_much_is_refused(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    """A burst of 30 s' worth, at a tenth of the rate of refreshes. Mailed links and codes count with it."""
    client = make_client(**ENVIRONMENT, AUTH_SESSION_CALLS_PER_S="1")

    answers = [client.post(EXCHANGE, json={"code": "A" * 50}) for _ in range(10)]

    assert [answer.status_code for answer in answers[:3]] == [401] * 3
    assert_problem(answers[-1], 429, "too_many_attempts")
    assert upstream.asked == []


@pytest.fixture
def mail_flow(browser: Client) -> MailFlow:
    """Return a function that begins the flow of a mail in the browser, and returns its verifier."""
    flows = FlowCookies(sealing_keys((), secret=SECRET_KEY), public_url=PUBLIC)

    def begin() -> str:
        flow = flows.new("mail")
        for _, value in flows.keep(flow, Request(EnvironBuilder().get_environ())):
            name, _, rest = value.partition("=")
            browser.set_cookie(name, rest.partition(";")[0], domain="auth.example.com")
        return flow.verifier

    return begin
