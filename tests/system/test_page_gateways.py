"""The recipes of deploy/gateways/pages, run by the programs they are for: cookies, rules and the way to the login."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.fixtures.tokens import SESSION_ID, USER_ID
from tests.system.gateway_lab import Asked
from tests.system.gateway_site import (
    CONNECTIONS,
    FOR_LINKS,
    GATEWAYS_OWN,
    IDENTITY,
    bearer,
    folded,
    folded_name,
    spellings,
)
from tests.system.gateway_upgrades import HTTP2, UPGRADES, WEBSOCKET, upgraded
from tests.system.page_lab import (
    EMAIL,
    LOGIN,
    NAME,
    PAGE,
    SCRIPT,
    SECRET,
    PageSite,
    caddy,
    cookies_of,
    envoy,
    nginx,
    page_site,
)
from tests.system.page_models import traefik

PREFLIGHT = {"Origin": "https://other.example", "Access-Control-Request-Method": "PUT", "Sec-Fetch-Mode": "cors"}
#: Fills two cookies.
LARGE = {"app_metadata": {"much": "x" * 2800}}


#: Three programs and a model.
ALL = ([nginx, caddy, envoy, traefik], ["nginx", "caddy", "envoy", "traefik (model)"])


@pytest.fixture(scope="module", params=ALL[0], ids=ALL[1])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageSite]:
    with page_site(request.param, tmp_path_factory.mktemp("pages")) as site:
        yield site


@pytest.fixture(scope="module", params=ALL[0][:3], ids=ALL[1][:3])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageSite]:
    """A site behind a program, for what the models know nothing about."""
    with page_site(request.param, tmp_path_factory.mktemp("programs")) as site:
        yield site


@pytest.fixture
def site(running: PageSite) -> PageSite:
    running.verify.requests.clear()
    running.project.refreshes.clear()
    running.project.lifetime_s = 3600
    return running


def _questions(site: PageSite) -> list[Asked]:
    """Return what the proxy asked verify."""
    return [asked for asked in site.verify.requests if asked.path.startswith("/api/v1/auth/verify")]


def test_a_visitor_is_led_to_the_login_and_back(site: PageSite) -> None:
    away = site.ask("/my/x?tab=1&next=%2Fy")

    assert away.status_code == 303
    location = urlsplit(away.headers["Location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == LOGIN
    [back] = parse_qs(location.query)["rd"]
    assert back == f"{site.url}/my/x?tab=1&next=%2Fy"
    assert away.headers["Cache-Control"] == "no-store"
    cookie = site.log_in()

    answer = requests.get(back, headers={**PAGE, "Cookie": cookie}, timeout=20)

    assert answer.status_code == 200
    assert answer.json()["path"] == "/my/x?tab=1&next=%2Fy"


def test_the_service_is_on_the_same_host_but_for_verify(site: PageSite) -> None:
    cookie = site.log_in(**LARGE)

    me = site.ask("/api/v1/auth/ping", PAGE)

    assert (me.status_code, me.json()["service"]) == (200, "auth")
    for path in ("/api/v1/auth/verify", "/api/v1/auth/verify/x", "/api/v1/auth/%76erify", "/api/v1//auth/verify"):
        headers = {**PAGE, "Cookie": cookie, "X-Velro-Relay": SECRET, "X-Forwarded-Uri": "/my/x"}
        assert not {*IDENTITY, "X-Auth-Access-Token"} & site.ask(path, headers).headers.keys()
    closed = site.ask("/api/v1/auth/verify", {**PAGE, "Cookie": cookie})
    # With Traefik the backend answers.
    assert closed.status_code == 404 or closed.json()["path"] == "/api/v1/auth/verify"
    # These are pages of velro-auth, and not of the backend.
    assert all(site.ask(path, PAGE).status_code == 404 for path in ("/login", "/static/x"))


def test_the_backend_is_told_who_its_user_is(site: PageSite) -> None:
    told = site.told(headers={**PAGE, "Cookie": site.log_in(user_role="editor", session_id=SESSION_ID)})

    assert [told.get(name.lower()) for name in IDENTITY] == [USER_ID, "ada@example.com", "editor", "aal1", SESSION_ID]
    assert site.told(headers={**PAGE, **bearer()})["x-auth-user-id"] == USER_ID


def test_what_is_no_page_is_401_and_leads_nowhere(site: PageSite) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = site.ask("/api/x", SCRIPT, method=method)

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="velro-auth"')
        assert "Location" not in answer.headers
        assert "X-Auth-Redirect" not in answer.headers


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        ("/", None, 200),
        ("/open/x?y", None, 200),
        ("/my/x", "viewer", 200),
        ("/admin/x", "viewer", 403),
        ("/admin/x", "admin", 200),
        ("/elsewhere", "admin", 403),
    ],
)
def test_the_rules_decide(site: PageSite, path: str, role: str | None, status: int) -> None:
    headers = {**PAGE, "Cookie": site.log_in(user_role=role)} if role else PAGE

    assert site.ask(path, headers).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/open/../admin/x",
        "/open/%2e%2e/admin/x",
        "//admin/x",
        "/open/..;/admin/x",
        "/open%2f..%2fadmin/x",
        "/Admin/x",
        "/admin",
        "/./admin/x",
        "/%61dmin/x",
    ],
)
def test_no_spelling_of_a_path_leads_around_a_rule(site: PageSite, path: str) -> None:
    cookie = site.log_in(user_role="viewer")
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"

    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as client:
        client.sendall(request.encode())
        status = client.recv(64).split(b" ")[1]

    # Envoy redirects to the path without escapes.
    assert status in {b"400", b"403", b"404", b"307", b"308"}


def test_another_host_is_not_served(program: PageSite) -> None:
    """Rules by host rest on it."""
    for lines in (
        "GET / HTTP/1.1\r\nHost: other.example.com\r\n",
        f"GET http://other.example.com/ HTTP/1.1\r\nHost: 127.0.0.1:{program.port}\r\n",
    ):
        with socket.create_connection(("127.0.0.1", program.port), timeout=20) as client:
            client.sendall(f"{lines}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert b'"method": "GET"' not in answer


@pytest.mark.parametrize("spelling", [str.lower, str.upper, lambda name: name.replace("-", "_")], ids=["-", "A", "_"])
def test_nothing_that_only_a_gateway_says_comes_from_a_client(site: PageSite, spelling: type[str]) -> None:
    names = [*IDENTITY, "X-Auth-Access-Token", "X-Velro-Relay", "X-Auth-Require", "X-Auth-Mode", "X-Real-IP"]
    names += ["X-Original-URL", "X-Original-Method"]
    forged = {spelling(name): "forged" for name in names}

    told = site.told("/open/x", {**PAGE, **forged})
    known = site.told("/my/x", {**PAGE, **forged, "Cookie": site.log_in(email="")})

    assert "forged" not in {*told.values(), *known.values()}
    assert known["x-auth-user-id"] == USER_ID
    assert all("forged" not in asked.headers.values() for asked in site.verify.requests)
    refused = site.ask("/admin/x", {**forged, "X-Auth-User-Role": "admin"})
    assert refused.status_code == 401


@pytest.mark.parametrize("name", FOR_LINKS)
def test_no_client_says_under_which_address_the_backend_is_reached(site: PageSite, name: str) -> None:
    """Backends build links of these, such as those of mails."""
    told = site.told("/open/x", {**PAGE, name: "forged.example.com"})

    assert "forged.example.com" not in told.values()


@pytest.mark.parametrize("name", [*GATEWAYS_OWN, "X-Velro-Relay", "X-Original-Method"])
def test_no_spelling_passes_that_a_backend_takes_for_the_same(site: PageSite, name: str) -> None:
    """With what the client says about its connection: the gateway's own field must not go and leave the forged one."""
    cookie = site.log_in(user_role="editor", session_id=SESSION_ID)
    public = folded(site.ask("/open/x", {**PAGE, **spellings(name), "Connection": name}))
    identity = [[USER_ID], [EMAIL], ["editor"], ["aal1"], [SESSION_ID]]
    for connection in CONNECTIONS:
        told = folded(site.ask("/my/x", {**PAGE, "Cookie": cookie, **spellings(name), "Connection": connection}))

        assert "forged" not in {value for values in (*told.values(), *public.values()) for value in values}
        assert [told.get(folded_name(of)) for of in IDENTITY] == identity
        assert told["HTTP_X_REAL_IP"] == ["127.0.0.1"]
    assert all("forged" not in asked.headers.values() for asked in site.verify.requests)


def test_no_client_hides_its_address_from_a_login(site: PageSite) -> None:
    form = {"email": EMAIL, "password": "correct horse battery staple"}
    statuses = [
        site.ask(
            "/api/v1/auth/login",
            {**SCRIPT, "Connection": f"close, {named}", "X_Real-IP": "forged"},
            method="POST",
            json=form,
        ).status_code
        for named in ("X-Real-IP", "X-Real-IP, X-Forwarded-For")
    ]

    logins = [asked for asked in site.verify.requests if asked.path == "/api/v1/auth/login"]
    # Envoy takes no request that names X-Forwarded-For there.
    assert len(logins) == 2 - statuses.count(400) >= 1
    assert {login.headers["X_REAL_IP"] for login in logins} == {"127.0.0.1"}


def test_only_the_backend_gets_the_access_token(site: PageSite) -> None:
    cookie = site.log_in()
    forged = {**PAGE, "Cookie": cookie, "X-Velro-Relay": SECRET, "X-Auth-Access-Token": "forged"}

    told = site.told("/my/x", forged)
    answer = site.ask("/leaky", forged)

    assert told["x-auth-access-token"].count(".") == 2
    assert SECRET not in told.values()
    assert {asked.headers.get("X_VELRO_RELAY") for asked in _questions(site)} == {SECRET}
    assert not {"X-Auth-Access-Token", "X-Velro-Relay", *IDENTITY} & answer.headers.keys()
    assert "own=1" in answer.headers["Set-Cookie"]
    assert site.told("/open/x", PAGE).get("x-auth-access-token", "") == ""


@pytest.mark.parametrize("proxy", ALL[0], ids=ALL[1])
def test_without_the_relay_no_backend_gets_it(proxy: object, tmp_path: Path) -> None:
    with page_site(proxy, tmp_path, relay=False) as site:  # type: ignore[arg-type]
        told = site.told("/my/x", {**PAGE, "Cookie": site.log_in(), "X-Velro-Relay": SECRET})

        assert told.get("x-auth-access-token", "") == ""


@pytest.mark.parametrize("claims", [{}, LARGE], ids=["one cookie", "two cookies"])
@pytest.mark.parametrize(("path", "status"), [("/my/x", 200), ("/admin/x", 403), ("/broken", 500)])
def test_a_refreshed_session_goes_on_to_the_browser(
    site: PageSite, claims: dict[str, object], path: str, status: int, request: pytest.FixtureRequest
) -> None:
    """Whatever else the answer is: the old refresh token is spent."""
    site.project.lifetime_s = 30
    cookie = site.log_in(**claims)
    site.project.lifetime_s = 3600

    answer = site.ask(path, {**PAGE, "Cookie": cookie})

    assert answer.status_code == status
    assert "X-Auth-Set-Cookie-2" not in answer.headers
    new = cookies_of(answer)
    assert new.count(NAME) == 1 + bool(claims)
    # Traefik and Envoy cannot add it to these answers alone.
    assert "no-store" in answer.headers.get("Cache-Control", "") or "model" in request.node.name
    assert len(site.project.refreshes) == 1
    assert site.ask("/my/x", {**PAGE, "Cookie": new}).status_code == 200
    assert len(site.project.refreshes) == 1


def test_what_needs_a_session_stays_in_no_cache(site: PageSite) -> None:
    """``Back`` after the logout would show it again. What is public stays as the backend says."""
    own = {**PAGE, "Cookie": site.log_in(user_role="admin")}

    for path in ("/my/x", "/my/cached", "/admin/x", "/api/x"):
        assert "no-store" in site.ask(path, own).headers["Cache-Control"], path
    for headers in (own, PAGE):
        assert "Cache-Control" not in site.ask("/open/x", headers).headers
        assert site.ask("/open/cached", headers).headers["Cache-Control"] == "max-age=60"


def test_a_session_that_got_shorter_loses_its_second_cookie(site: PageSite) -> None:
    site.project.lifetime_s = 30
    cookie = site.log_in(**LARGE)
    site.project.claims = {}

    answer = site.ask("/my/x", {**PAGE, "Cookie": cookie})

    fields = answer.raw.headers.getlist("Set-Cookie")
    assert [field.partition("=")[0] for field in fields] == [NAME, f"{NAME}_2"]
    assert "Max-Age=0" in fields[1]


def test_large_cookies_pass_beside_those_of_the_application(site: PageSite) -> None:
    own = f"other={'c' * 6000}"
    cookie = f"{own}; {site.log_in(**LARGE)}"
    assert len(cookie) > 12_000

    told = site.told(headers={**PAGE, "Cookie": cookie})

    assert told["cookie"] == cookie
    assert told["x-auth-user-id"] == USER_ID


def test_a_body_arrives_untouched_and_the_gateway_never_sees_it(site: PageSite) -> None:
    body = bytes(range(256)) * 4000
    headers = {**SCRIPT, "Cookie": site.log_in()}

    answer = site.ask("/api/x", headers, method="POST", data=body)

    assert answer.json()["body"].encode("latin-1") == body
    assert answer.json()["method"] == "POST"
    assert all(asked.headers.get("CONTENT_LENGTH", "0") == "0" for asked in _questions(site))


@pytest.mark.parametrize("query", ["on_fail=x", "role=admin", "aal=aal9", "q=" + "a" * 4200], ids=lambda q: q[:8])
def test_no_query_of_a_client_changes_the_verdict(site: PageSite, query: str) -> None:
    cookie = site.log_in()

    assert site.ask(f"/my/x?{query}", {**PAGE, "Cookie": cookie}).status_code == 200
    assert site.ask(f"/admin/x?{query}", {**PAGE, "Cookie": cookie}).status_code == 403
    assert site.ask(f"/my/x?{query}", SCRIPT).status_code == 401
    # Below the path, where Envoy asks, the query is no parameter.
    exact = {asked.query for asked in _questions(site) if asked.path == "/api/v1/auth/verify"}
    assert exact <= {"on_fail=login"}


def test_an_address_beyond_all_limits_is_refused_and_breaks_nothing(site: PageSite) -> None:
    answer = site.ask(f"/open/x?q={'a' * 9000}")

    assert answer.status_code in {200, 414, 431}


def test_a_preflight_is_a_matter_of_the_rules(site: PageSite) -> None:
    assert site.ask("/api/x", PREFLIGHT, method="OPTIONS").status_code == 200
    assert site.ask("/my/x", PREFLIGHT, method="OPTIONS").status_code == 401
    assert site.ask("/api/x", PREFLIGHT, method="PUT").status_code == 401


@pytest.mark.parametrize("foreign", [{"Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"}, {}], ids=str)
def test_no_other_site_changes_anything(site: PageSite, foreign: dict[str, str]) -> None:
    headers = {"Cookie": site.log_in(), **foreign}

    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert site.ask("/api/x", headers, method=method).status_code == 403
    assert site.ask("/api/x", {**headers, **SCRIPT}, method="POST").status_code == 200


def _open_websocket(site: PageSite, fields: dict[str, str]) -> tuple[int, bytes]:
    """Return the status of the answer, and what comes back for a text that is sent then."""
    lines = {"Host": f"127.0.0.1:{site.port}", **WEBSOCKET, **fields}
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        client.sendall(f"GET /chat HTTP/1.1\r\n{head}\r\n".encode())
        status = int(client.recv(4096).split(b" ")[1])
        if status != 101:
            return status, b""
        client.sendall(b"ping")
        return status, client.recv(4096)


def test_a_websocket_opens_with_a_session_from_a_page_of_the_site(program: PageSite) -> None:
    cookie = {"Cookie": program.log_in()}
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "websocket", "Origin": program.url}
    status, echo = _open_websocket(program, {**cookie, **own})
    assert (status, echo[-4:]) == (101, b"ping")

    assert _open_websocket(program, own)[0] == 401
    # A page of a neighbouring host: the browser sends the cookie of its own accord.
    for foreign in (
        {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "websocket"},
        {"Origin": "https://evil.example.com"},
    ):
        assert _open_websocket(program, {**cookie, **foreign})[0] == 403


def test_a_websocket_of_another_site_is_refused_in_every_browser(site: PageSite) -> None:
    """Chromium sends these fields, and no ``Sec-Fetch-Mode``."""
    cookie = {"Cookie": site.log_in()}

    assert upgraded(site.port, "/chat", {**WEBSOCKET, **cookie, "Origin": "https://app.example.com"})[0] == 101
    assert upgraded(site.port, "/chat", {**WEBSOCKET, "Origin": "https://app.example.com"})[0] == 401
    for foreign in ({"Origin": "https://evil.example.com"}, {"Origin": "null"}, {}):
        assert upgraded(site.port, "/chat", {**WEBSOCKET, **cookie, **foreign})[0] == 403


@pytest.mark.parametrize("protocols", UPGRADES, ids=" + ".join)
def test_no_other_protocol_takes_over_a_connection(site: PageSite, protocols: tuple[str, ...]) -> None:
    status, protocol = upgraded(site.port, "/my/x", {**HTTP2, **PAGE, "Cookie": site.log_in()}, protocols)

    assert (status, protocol) in {(200, ""), (101, "websocket"), (403, "")}
    assert status != 101 or "websocket" in protocols


def test_an_ended_session_is_removed_and_leads_to_the_login(site: PageSite) -> None:
    cookie = site.log_in()
    answer = requests.post(
        f"{site.url}/api/v1/auth/logout?scope=local",
        headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"},
        timeout=20,
    )
    assert answer.status_code == 200, answer.text

    assert site.ask("/my/x", {**PAGE, "Cookie": cookie}).status_code == 303


def test_when_the_gateway_cannot_judge_the_client_is_told_to_come_again(site: PageSite) -> None:
    site.verify.cannot_judge = True
    try:
        answer = site.ask("/my/x", {**PAGE, **bearer()})
    finally:
        site.verify.cannot_judge = False

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
