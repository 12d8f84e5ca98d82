"""The index page of ``velro-auth dev`` and what is below ``/dev/``: for this machine's own browser alone."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
import responses
from werkzeug.test import Client

from tests.asserts import assert_problem
from tests.conftest import ENVIRONMENT, GOOD_LOGIN, SECRET_KEY, LogLines, MakeClient
from tests.upstream_double import PROJECT, UpstreamDouble
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.ops import assets
from velro_auth.ops.panel.app import with_panel
from velro_auth.ops.panel.endpoints import ASSETS
from velro_auth.ops.panel.faults import FAULTS
from velro_auth.ops.panel.project import VARIABLE, PanelProject

SWITCHES = f"{PROJECT}/_standin/faults"
CONTROL_TOKEN = "control_canary_0123456789"
PROJECT_OF_DEV = PanelProject(
    gateway_url="http://localhost:8000",
    supabase_url=PROJECT,
    mailbox_url=f"{PROJECT}/mailbox",
    control_token=CONTROL_TOKEN,
    email="demo@example.com",
    password='with "quotes" & <tags>',
    banned_email="banned@example.com",
)
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
#: What the page sends: a browser adds both, and no script can change them.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}

ROUTES = [("GET", "/dev/state"), ("POST", "/dev/fault"), *(("GET", f"/dev/assets/{name}") for name in ASSETS)]


@pytest.fixture
def dev(lane: str) -> Iterator[Client]:
    """A client of the application that ``velro-auth dev`` starts."""
    service = create_app(
        Settings.from_environment(ENVIRONMENT),
        fast_lane=lane == "fast lane",
        extend=functools.partial(with_panel, project=PROJECT_OF_DEV),
    )
    yield Client(service)
    service.stop()


class Switches:
    """The stand-in's switches, as far as the page uses them."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.on: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        for method in ("GET", "POST", "DELETE"):
            mock.add_callback(method, SWITCHES, self._answer)

    def _answer(self, request: Any) -> tuple[int, dict[str, str], str]:
        self.tokens.add(request.headers["Authorization"])
        if request.method == "DELETE":
            self.on.clear()
        elif request.method == "POST":
            self.on.append({**json.loads(request.body), "fired": 0})
        return 200, {}, json.dumps(self.on)


@pytest.fixture
def switches(upstream: UpstreamDouble) -> Switches:
    return Switches(upstream._mock)


class Page(HTMLParser):
    """What a page loads, and what runs inside of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in {"script", "link", "img", "iframe"}:
            self.loads.append(attributes.get("src") or attributes.get("href") or "inline")
        if tag == "a":
            self.links.append(attributes["href"] or "")
        if tag == "style":
            self.inline.append(tag)
        self.inline += [name for name in attributes if name == "style" or name.startswith("on")]


# The page


def test_a_browser_gets_the_page_and_all_others_what_production_answers(dev: Client, client: Client) -> None:
    page = dev.get("/", headers=BROWSER)

    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert page.headers["Cache-Control"] == "no-store"
    assert "Accept" in page.headers.get_all("Vary")
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert dev.get("/", headers=accept).get_json() == client.get("/").get_json()


def test_the_page_has_nothing_inline_and_loads_own_files_only(dev: Client) -> None:
    answer = dev.get("/", headers=BROWSER)

    page, policy = Page(answer.text), answer.headers["Content-Security-Policy"]
    assert page.inline == []
    assert len(page.loads) >= 7
    for address in page.loads:
        assert address.startswith("/dev/assets/")
        file = dev.get(address)
        assert file.status_code == 200
        assert file.mimetype == ASSETS[address.removeprefix("/dev/assets/")][1]
        assert len(file.data) > 100
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_the_page_names_what_runs_and_escapes_it(dev: Client) -> None:
    text = dev.get("/", headers=BROWSER).text

    assert {f"{PROJECT}/mailbox", "/docs", "/metrics", "/health/ready"} <= set(Page(text).links)
    assert "demo@example.com" in text
    assert "banned@example.com" in text
    assert "curl -i http://localhost:8000/api/v1/auth/login" in text
    assert "<tags>" not in text
    assert "&lt;tags&gt;" in text
    assert 'data-address-header="X-Real-IP"' in text


def test_no_secret_is_on_the_page_or_in_the_state_or_in_the_log(
    dev: Client, switches: Switches, logs: LogLines
) -> None:
    shown = dev.get("/", headers=BROWSER).text + dev.get("/dev/state").text
    shown += dev.post("/dev/fault", json={"fault": "down"}, headers=OWN_PAGE).text + str(logs)

    assert CONTROL_TOKEN not in shown
    assert SECRET_KEY not in shown
    assert CONTROL_TOKEN not in repr(PROJECT_OF_DEV)
    assert switches.tokens == {f"Bearer {CONTROL_TOKEN}"}


def test_an_unknown_file_is_404(dev: Client) -> None:
    assert_problem(dev.get("/dev/assets/app.py"), 404, "not_found")
    assert_problem(dev.get("/dev/assets/../panel.html"), 404, "not_found")


def test_the_library_is_unchanged_and_comes_with_its_licence(dev: Client) -> None:
    """Its version is in three places: the file, the page about it, and this test."""
    assert "uPlot (v1.6.32)" in dev.get("/dev/assets/uplot.js").text[:80]
    assert assets.text("uplot/README.md").startswith("# uPlot 1.6.32\n")
    assert "MIT License" in dev.get("/dev/assets/uplot.txt").text


# The state


def test_the_state_counts_logins_of_each_kind(dev: Client, upstream: UpstreamDouble, switches: Switches) -> None:
    good = dev.post("/api/v1/auth/login", json=GOOD_LOGIN)
    upstream.answers({"code": "invalid_credentials", "message": "no"}, status=400)
    refused = [dev.post("/api/v1/auth/login", json={**GOOD_LOGIN, "email": "eve@example.com"}) for _ in range(6)]
    upstream.answers({"code": "unexpected_failure", "message": "no"}, status=500)
    failed = dev.post("/api/v1/auth/login", json={**GOOD_LOGIN, "email": "bob@example.com"})

    state = dev.get("/dev/state")

    assert (good.status_code, failed.status_code) == (200, 503)
    assert [answer.status_code for answer in refused] == [401] * 5 + [429]
    assert state.headers["Cache-Control"] == "no-store"
    shown = state.get_json()
    assert shown["logins"] == {"good": 1, "refused": 6, "failed": 1}
    assert (shown["window"]["logins"], shown["window"]["failures"]) == (8, 1)
    assert 0 < shown["window"]["p50_ms"] <= shown["window"]["p95_ms"]
    assert shown["throttle"] == {"pair": 1}
    assert shown["mails_withheld"] == 0
    assert shown["breaker"] == {"closed": 1, "open": 0, "half-open": 0}
    assert shown["bulkhead"] == {"slots": 24, "taken": 0, "waiting": 0}
    assert shown["supabase"] == {"answers": True, "fault": None}
    assert switches.tokens == {f"Bearer {CONTROL_TOKEN}"}


def test_mails_that_are_withheld_are_counted(dev: Client, upstream: UpstreamDouble) -> None:
    """No answer says it, so a developer would look for the mail in vain."""
    upstream.answers({})
    statuses = {dev.post("/api/v1/auth/otp", json={"email": "ada@example.com"}).status_code for _ in range(3)}

    assert statuses == {202}
    assert dev.get("/dev/state").get_json()["mails_withheld"] == 1


def test_an_open_breaker_is_shown(dev: Client, upstream: UpstreamDouble, switches: Switches) -> None:
    upstream.answers({"code": "unexpected_failure", "message": "no"}, status=500)
    outcomes = [
        dev.post("/api/v1/auth/login", json={**GOOD_LOGIN, "email": f"user{number}@example.com"}).get_json()["code"]
        for number in range(30)
    ]

    assert outcomes[0] == "upstream_error"
    assert outcomes[-1] == "resting"
    assert dev.get("/dev/state").get_json()["breaker"]["open"] == 1


def test_the_state_is_given_although_the_local_supabase_is_gone(dev: Client, upstream: UpstreamDouble) -> None:
    assert dev.get("/dev/state").get_json()["supabase"] == {"answers": False, "fault": None}


def test_the_page_s_questions_do_not_fill_the_log(lane: str, switches: Switches, logs: LogLines) -> None:
    service = create_app(
        Settings.from_environment({**ENVIRONMENT, "LOG_PROBES_EVERY": "100"}),
        fast_lane=lane == "fast lane",
        extend=functools.partial(with_panel, project=PROJECT_OF_DEV),
    )
    client = Client(service)
    for _ in range(50):
        client.get("/dev/state")
    service.stop()

    assert len(logs.access) <= 1


# The faults


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_one_fault_is_on_at_a_time_and_goes_off_again(dev: Client, switches: Switches, fault: str) -> None:
    for name in ("slow", fault):
        assert dev.post("/dev/fault", json={"fault": name}, headers=OWN_PAGE).get_json() == {"fault": name}

    assert [switch["kind"] for switch in switches.on] == [FAULTS[fault]["kind"]]
    assert dev.get("/dev/state").get_json()["supabase"] == {"answers": True, "fault": {"name": fault, "met": 0}}
    assert dev.post("/dev/fault", json={"fault": None}, headers=OWN_PAGE).get_json() == {"fault": None}
    assert switches.on == []


@pytest.mark.parametrize("body", [{}, {"fault": "fire"}, {"fault": 1}, {"fault": "down", "path": "/"}])
def test_what_is_no_fault_is_refused(dev: Client, switches: Switches, body: dict[str, Any]) -> None:
    assert_problem(dev.post("/dev/fault", json=body, headers=OWN_PAGE), 422, "invalid_request")
    assert switches.on == []


def test_a_local_supabase_that_is_gone_is_said(dev: Client, upstream: UpstreamDouble) -> None:
    assert_problem(dev.post("/dev/fault", json={"fault": "down"}, headers=OWN_PAGE), 503, "upstream_unavailable")


# Who may


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "https://app.example.com"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Referer": "http://localhost/"},
    ],
    ids=lambda headers: " ".join(headers.values()) or "nothing",
)
def test_no_other_page_switches_a_fault(dev: Client, switches: Switches, headers: dict[str, str]) -> None:
    for content_type in ("application/json", "text/plain"):
        answer = dev.post("/dev/fault", data='{"fault": "down"}', content_type=content_type, headers=headers)

        assert_problem(answer, 403, "cross_site")
    assert switches.tokens == set()


def test_a_form_of_the_own_page_switches_none_either(dev: Client, switches: Switches) -> None:
    answer = dev.post("/dev/fault", data={"fault": "down"}, headers=OWN_PAGE)

    assert_problem(answer, 415, "unsupported_media_type")
    assert switches.tokens == set()


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("localhost:8000", {"Sec-Fetch-Site": "same-origin"}),
        ("LOCALHOST:8000", {"Origin": "http://localhost:8000"}),
        ("127.0.0.1:8000", {"Origin": "http://127.0.0.1:8000"}),
        ("[::1]:8000", {"Origin": "http://[::1]:8000", "Sec-Fetch-Site": "same-origin"}),
    ],
)
def test_each_name_of_this_machine_is_its_own(
    dev: Client, switches: Switches, host: str, headers: dict[str, str]
) -> None:
    answer = dev.post("/dev/fault", json={"fault": "down"}, headers={**headers, "Host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "notlocalhost:8000",
            "localhost:8000.evil.example",
        ),
        *("127.0.0.1.nip.io:8000", "10.0.0.1", ""),
    ],
)
@pytest.mark.parametrize("forwarded", [{}, {"X-Forwarded-Host": "localhost"}])
def test_a_foreign_name_that_leads_here_sees_nothing(
    dev: Client, switches: Switches, host: str, forwarded: dict[str, str]
) -> None:
    """DNS rebinding: for the browser that page is the origin of all of this, so only its name gives it away."""
    own = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{host}", "Host": host, **forwarded}

    for method, path in ROUTES:
        answer = dev.open(path, method=method, json={"fault": "down"} if method == "POST" else None, headers=own)
        assert_problem(answer, 404, "not_found")
    assert dev.get("/", headers={**BROWSER, **own}).mimetype == "application/json"
    assert switches.tokens == set()


# Production


@pytest.mark.parametrize("environment", [{}, {VARIABLE: PROJECT_OF_DEV.variables()[VARIABLE]}], ids=["plain", "set"])
def test_production_has_none_of_it(make_client: MakeClient, switches: Switches, environment: dict[str, str]) -> None:
    """Whatever is in the environment: only another application, which ``velro-auth dev`` names, has it."""
    client = make_client(**environment)

    for method, path in ROUTES:
        answer = client.open(path, method=method, json={"fault": "down"}, headers=OWN_PAGE)
        assert_problem(answer, 404, "not_found")
    page = client.get("/", headers=BROWSER)
    assert page.mimetype == "application/json"
    assert page.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert switches.tokens == set()


def test_no_setting_and_no_module_of_production_knows_it() -> None:
    """``velro_auth.ops`` is above the application: import-linter keeps the application from importing it."""
    assert not [name for name in Settings.__dataclass_fields__ if re.search("panel|dev", name)]


def test_the_project_is_handed_over_as_it_was_written() -> None:
    assert PanelProject.from_variables(PROJECT_OF_DEV.variables()) == PROJECT_OF_DEV
    with pytest.raises(KeyError):
        PanelProject.from_variables({})
