"""``verify`` for web pages, through both lanes: the rules of a site, and the way to the login."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.asserts import assert_problem
from tests.conftest import LogLines, MakeClient
from tests.fixtures.tokens import SigningKey, claims_at, document
from tests.http.test_cookie_sessions import ENVIRONMENT, FAILURES, KEY, PUBLIC, gives, log_in, refuses
from tests.upstream_double import PROJECT, SESSION, TOKEN
from velro_auth.app import create_app
from velro_auth.config.settings import Settings

VERIFY = "/api/v1/auth/verify"
SITE = "https://app.example.com"
LOGIN = f"{PUBLIC}/login"
STRANGER = "203.0.113.9"
PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
ALLOWED = f"{SITE},https://other.example.com/in/"
RULES = """
[[rules]]
name = "open"
path = ["/", "/open/**"]
allow = "public"

[[rules]]
path = "/hook"
methods = "POST"
allow = "public"

[[rules]]
path = "/closed/**"
allow = "nobody"

[[rules]]
path = "/admin/**"
allow = "signed-in"
role = ["admin", "owner"]

[[rules]]
path = "/vault/**"
allow = "signed-in"
aal = "aal2"

[[rules]]
host = "other.example.com"
path = "/only/**"
allow = "signed-in"

[[rules]]
path = "/my/**"
allow = "signed-in"
"""
#: How each gateway names a request for the address ``https://app.example.com`` + target.
GATEWAYS = ("nginx", "caddy", "envoy")
NOBODY = {
    "X-Auth-User-Id": "",
    "X-Auth-User-Email": "",
    "X-Auth-User-Role": "",
    "X-Auth-Aal": "",
    "X-Auth-Session-Id": "",
}


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{PROJECT}/auth/v1/.well-known/jwks.json", body=document([KEY]))
        gives(mock)
        yield mock


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return {**ENVIRONMENT, "AUTH_REDIRECT_URLS": ALLOWED, "AUTH_RULES_FILE": str(path)}


@pytest.fixture
def client(make_client: MakeClient, supabase: responses.RequestsMock) -> Client:
    """Without rules."""
    return make_client(**{**ENVIRONMENT, "AUTH_REDIRECT_URLS": ALLOWED})


@pytest.fixture
def site(make_client: MakeClient, supabase: responses.RequestsMock, environment: Mapping[str, str]) -> Client:
    """With the rules above."""
    return make_client(**environment)


def bearer(**claims: Any) -> dict[str, str]:
    given = {"iss": f"{PROJECT}/auth/v1", "sub": SESSION["user"]["id"], "user_role": "editor", **claims}
    return {"Authorization": f"Bearer {KEY.token(claims_at(time.time(), **given))}"}


def as_gateway(gateway: str, method: str, address: str, query: str = "") -> tuple[str, str, dict[str, str]]:
    """Return method, path and header fields of the question of a gateway."""
    parts = urlsplit(address)
    target = address.partition(parts.netloc)[2]
    if gateway == "nginx":
        return "GET", VERIFY + query, {"X-Original-Method": method, "X-Original-URL": address}
    named = {"X-Forwarded-Proto": parts.scheme, "X-Forwarded-Host": parts.netloc}
    if gateway == "caddy":
        return "GET", VERIFY + query, {**named, "X-Forwarded-Method": method, "X-Forwarded-Uri": target}
    return method, VERIFY + target, {"X-Forwarded-Proto": parts.scheme, "Host": parts.netloc}


def ask(
    client: Client,
    target: str = "/",
    headers: Mapping[str, str] = PAGE,
    *,
    method: str = "GET",
    gateway: str = "caddy",
    query: str = "?on_fail=login",
    peer: str = "127.0.0.1",
    changes: Mapping[str, str] | None = None,
) -> TestResponse:
    """Ask about *target* of the site, or about a whole address, as a gateway does."""
    address = target if "://" in target else SITE + target
    question, path, fields = as_gateway(gateway, method, address, query)
    if gateway == "envoy" and query:
        fields["X-Auth-Require"] = query.removeprefix("?")
    fields |= {**headers, **(changes or {})}
    # A client with cookies of its own would remove those of the header.
    bare = Client(client.application, use_cookies=False)
    return bare.open(path, method=question, headers=fields, environ_overrides={"REMOTE_ADDR": peer})


def with_cookie(client: Client, headers: Mapping[str, str] = PAGE) -> dict[str, str]:
    """Return the header fields of a browser that has logged in."""
    response = log_in(client)
    cookies = [field.partition(";")[0] for field in response.headers.getlist("Set-Cookie")]
    return {**headers, "Cookie": "; ".join(cookies)}


def rd(response: TestResponse) -> str | None:
    """Return the address that the login is to lead back to."""
    location = response.headers.get("Location") or response.headers["X-Auth-Redirect"]
    assert location.startswith(LOGIN)
    found = parse_qs(urlsplit(location).query).get("rd")
    return found[0] if found else None


def test_a_page_without_a_session_leads_to_the_login(client: Client) -> None:
    for gateway in ("caddy", "envoy"):
        response = ask(client, "/my/page?tab=1&next=%2Fx", gateway=gateway)

        assert response.status_code == 303
        assert (
            response.headers["Location"]
            == f"{LOGIN}?rd=https%3A%2F%2Fapp.example.com%2Fmy%2Fpage%3Ftab%3D1%26next%3D%252Fx"
        )
        assert response.headers["Cache-Control"] == "no-store"
        assert "Accept, Sec-Fetch-Mode" in response.headers.getlist("Vary")
        assert response.data == b""


def test_nginx_gets_a_401_and_the_address(client: Client) -> None:
    """It takes no redirect for an answer to ``auth_request``."""
    response = ask(client, "/my/page?tab=1", gateway="nginx")

    assert_problem(response, 401, "token_missing")
    assert rd(response) == f"{SITE}/my/page?tab=1"
    assert "Location" not in response.headers


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_what_is_no_page_load_gets_a_401(client: Client, gateway: str) -> None:
    for headers in (
        {},
        {"Accept": "*/*"},
        {"Accept": "application/json", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Mode": "no-cors", "Accept": "image/png"},
        {"Sec-Fetch-Mode": "websocket"},
    ):
        response = ask(client, "/my/page", headers, gateway=gateway)

        assert_problem(response, 401, "token_missing")
        assert "X-Auth-Redirect" not in response.headers


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Mode": "navigate"}, {"Accept": "Text/HTML"}])
def test_either_sign_of_a_page_load_is_enough(client: Client, headers: dict[str, str]) -> None:
    assert ask(client, "/my/page", headers).status_code == 303


def test_without_the_parameter_nothing_leads_anywhere(client: Client) -> None:
    for gateway in GATEWAYS:
        response = ask(client, "/my/page", gateway=gateway, query="")

        assert_problem(response, 401, "token_missing")
        assert "X-Auth-Redirect" not in response.headers


def test_every_end_of_a_session_leads_to_the_login(client: Client, supabase: responses.RequestsMock) -> None:
    expired = KEY.token(claims_at(time.time() - 7200, iss=f"{PROJECT}/auth/v1"))
    for token in ("a.b.c", expired, SigningKey("other").token(claims_at(time.time()))):
        assert ask(client, "/my/page", {**PAGE, "Authorization": f"Bearer {token}"}).status_code == 303

    gives(supabase, left_s=-3000)
    headers = with_cookie(client)
    refuses(supabase)
    response = ask(client, "/my/page", headers)

    assert response.status_code == 303
    assert any("Max-Age=0" in cookie for cookie in response.headers.getlist("Set-Cookie"))


def test_a_good_session_is_no_failure(client: Client) -> None:
    for gateway in GATEWAYS:
        assert ask(client, "/my/page", {**PAGE, **bearer()}, gateway=gateway).status_code == 200
        assert ask(client, "/my/page", with_cookie(client), gateway=gateway).status_code == 200


def test_a_user_who_may_not_is_not_led_to_the_login(client: Client) -> None:
    """Nothing there would help, and it might lead back at once, for ever."""
    headers = {**PAGE, **bearer(aal="aal1")}

    assert_problem(ask(client, "/x", headers, query="?on_fail=login&role=admin"), 403, "forbidden")
    assert_problem(ask(client, "/x", headers, query="?on_fail=login&aal=aal2"), 403, "insufficient_aal")


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_of_supabase_ends_no_visit(
    client: Client, supabase: responses.RequestsMock, failure: dict[str, Any]
) -> None:
    gives(supabase, left_s=-3000)
    headers = with_cookie(client)
    supabase.upsert(responses.POST, TOKEN, **failure)

    assert ask(client, "/my/page", headers).status_code == 503


#: Addresses that the login must not lead back to.
HOSTILE = [
    "https://evil.example/",
    "http://app.example.com/",
    "https://app.example.com:8443/",
    "https://app.example.com.evil.example/",
    "https://app.example.com@evil.example/",
    "https://user:pass@app.example.com/",
    "https://app.example.com//evil.example/",
    "https://app.example.com/\\evil.example",
    "https://app.example.com\\@evil.example/",
    "https://app.example.com/../x",
    "https://app.example.com/%2e%2e/x",
    "https://app.example.com/%2f%2fevil.example",
    "https://app.example.com/a b",
    "https://app.example.com/a\tb",
    "https://app.example.com/é",
    "https://app.example.com/x#y",
    "https://other.example.com/out/",
    "https://other.example.com/in/../out",
    "javascript://app.example.com/%0aalert(1)",
    "//app.example.com/x",
    "/x",
    "app.example.com",
    "https://",
    "https://app.example.com%2eevil.example/",
    "https://app.example.com/" + "x" * 3000,
]


@pytest.mark.parametrize("address", HOSTILE)
def test_the_login_never_leads_to_another_site(client: Client, address: str) -> None:
    response = ask(client, "/", gateway="nginx", changes={"X-Original-URL": address})

    assert_problem(response, 401, "token_missing")
    assert rd(response) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Host": "app.example.com@evil.example"},
        {"X-Forwarded-Host": "app.example.com/x"},
        {"X-Forwarded-Host": "app.example.com, evil.example"},
        {"X-Forwarded-Host": "app.example.com:8443"},
        {"X-Forwarded-Host": ""},
        {"X-Forwarded-Proto": "http"},
        {"X-Forwarded-Proto": "https, http"},
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Uri": "//evil.example/"},
        {"X-Forwarded-Uri": "/\\evil.example/"},
        {"X-Forwarded-Uri": "@evil.example/"},
        {"X-Forwarded-Uri": ".evil.example/"},
        {"X-Forwarded-Uri": ":8443/"},
        {"X-Forwarded-Uri": "https://evil.example/"},
        {"X-Forwarded-Uri": ""},
        {"X-Original-URL": "https://app.example.com/elsewhere"},
    ],
    ids=str,
)
def test_nor_by_any_field_of_a_gateway(client: Client, changes: dict[str, str]) -> None:
    response = ask(client, "/my/page", changes=changes)

    assert rd(response) is None


def test_only_a_trusted_peer_is_believed(client: Client) -> None:
    for gateway in GATEWAYS[:2]:
        response = ask(client, "/my/page", gateway=gateway, peer=STRANGER)

        assert response.status_code == 303
        assert response.headers["Location"] == LOGIN


def test_a_listed_path_is_an_address_to_come_back_to(client: Client) -> None:
    assert rd(ask(client, "https://other.example.com/in/x")) == "https://other.example.com/in/x"
    assert rd(ask(client, "https://other.example.com/x")) is None


def test_the_page_of_the_login_never_leads_to_itself(make_client: MakeClient, logs: LogLines) -> None:
    client = make_client(AUTH_PUBLIC_URL=PUBLIC, AUTH_LOGIN_URL=f"{SITE}/in", AUTH_REDIRECT_URLS=SITE)

    for target in ("/in", "/in/", "/in?rd=https%3A%2F%2Fapp.example.com%2Fin"):
        assert_problem(ask(client, target), 401, "token_missing")
        assert "login needs a session itself" in logs.access[-1]["not_redirected"]
    assert ask(client, "/inside").status_code == 303


def test_another_page_of_the_login_may_have_a_query(make_client: MakeClient) -> None:
    client = make_client(AUTH_LOGIN_URL="https://id.example.org/start?app=a", AUTH_REDIRECT_URLS=SITE)

    location = ask(client, "/my/page").headers["Location"]

    assert location == "https://id.example.org/start?app=a&rd=https%3A%2F%2Fapp.example.com%2Fmy%2Fpage"


def test_a_login_on_every_host_is_a_path(make_client: MakeClient) -> None:
    """Cookies belong to one host, so each host needs a login of its own."""
    client = make_client(AUTH_LOGIN_URL="/login", AUTH_REDIRECT_URLS=ALLOWED)

    assert ask(client, "/my").headers["Location"] == "/login?rd=https%3A%2F%2Fapp.example.com%2Fmy"
    assert ask(client, "https://evil.example/my").headers["Location"] == "/login"
    assert_problem(ask(client, "/login"), 401, "token_missing")


@pytest.mark.parametrize(
    "value",
    ["login", "//evil.example", "/\\evil", "https://a.example/x#y", "ftp://a/", "https://u@a/", "/a b", "/../x"],
)
def test_a_login_that_is_no_page_is_a_mistake(value: str) -> None:
    settings = Settings.from_environment({"AUTH_LOGIN_URL": value})

    assert "AUTH_LOGIN_URL" in {error.variable for error in settings.errors}


def test_without_an_address_of_the_login_the_settings_are_wrong(make_client: MakeClient, logs: LogLines) -> None:
    client = make_client()

    assert_problem(ask(client, "/my/page"), 503, "upstream_misconfigured")
    assert "AUTH_LOGIN_URL" in logs.access[-1]["reason"]
    assert_problem(ask(client, "/my/page", {}), 401, "token_missing")


@pytest.mark.parametrize(
    "query", ["on_fail=", "on_fail=Login", "on_fail=page", "on_fail=login&on_fail=login", "onfail=login"]
)
def test_a_slip_in_the_parameter_is_told(client: Client, query: str) -> None:
    assert_problem(ask(client, "/my/page", {**PAGE, **bearer()}, query=f"?{query}"), 400, "bad_parameter")


def test_below_the_path_the_query_is_the_client_s(client: Client) -> None:
    response = ask(client, "/my/page?on_fail=login", gateway="envoy", query="")

    assert_problem(response, 401, "token_missing")


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("session", ["none", "bearer", "cookie"])
def test_the_rules_decide(site: Client, gateway: str, session: str) -> None:
    headers = {"none": {}, "bearer": bearer(), "cookie": {}}[session]
    if session == "cookie":
        headers = with_cookie(site, {})
    signed_in = 401 if session == "none" else 200

    def status(target: str, method: str = "GET") -> int:
        own = {"Sec-Fetch-Site": "same-origin"}
        return ask(site, target, {**headers, **own}, method=method, gateway=gateway, query="").status_code

    assert [status("/"), status("/open/x?y=/admin"), status("/hook", "POST")] == [200] * 3
    assert [status("/my"), status("/my/x?role=admin")] == [signed_in] * 2
    assert [status("/hook"), status("/closed/x"), status("/elsewhere"), status("/only/x")] == [403] * 4
    assert [status("/admin"), status("/vault")] == [401 if session == "none" else 403] * 2
    assert status("https://other.example.com/only/x") == signed_in
    assert status("https://OTHER.example.com:444/only/x") == signed_in


def test_role_and_level_open_their_parts(site: Client) -> None:
    admin, strong = bearer(user_role="owner"), bearer(aal="aal2")

    assert ask(site, "/admin/x", admin).status_code == 200
    assert_problem(ask(site, "/vault/x", {**PAGE, **admin}), 403, "insufficient_aal")
    assert_problem(ask(site, "/admin/x", {**PAGE, **strong}), 403, "forbidden")
    assert ask(site, "/vault/x", strong).status_code == 200


def test_a_public_part_shows_its_users_to_the_backend(site: Client) -> None:
    known = ask(site, "/open/x", bearer(), query="")
    unknown = ask(site, "/open/x", {}, query="")

    assert known.headers["X-Auth-User-Id"] == SESSION["user"]["id"]
    assert {name: unknown.headers[name] for name in NOBODY} == NOBODY
    assert unknown.headers["Cache-Control"] == "no-store"


def test_the_gateway_is_told_what_no_cache_may_keep(site: Client) -> None:
    """Also for refusals, which nginx answers itself."""
    for path, status in (("/my/x", 200), ("/admin/x", 403)):
        answer = ask(site, path, bearer())
        assert (answer.status_code, answer.headers["X-Auth-Cache-Control"]) == (status, "no-store")
    for headers in (bearer(), {}):
        assert "X-Auth-Cache-Control" not in ask(site, "/open/x", headers).headers


def test_a_public_part_stays_open_to_bad_sessions(site: Client, supabase: responses.RequestsMock) -> None:
    gives(supabase, left_s=-3000)
    headers = with_cookie(site)
    supabase.upsert(responses.POST, TOKEN, status=503, body="")

    for given in (headers, {"Authorization": "Bearer a.b.c"}, {"Cookie": "__Host-velro_session=x"}):
        response = ask(site, "/open/x", given)
        assert {name: response.headers[name] for name in NOBODY} == NOBODY

    refuses(supabase)
    response = ask(site, "/open/x", headers)
    assert response.status_code == 200
    assert any("Max-Age=0" in cookie for cookie in response.headers.getlist("Set-Cookie"))


def test_what_the_gateway_requires_besides_is_required_of_a_public_part_too(site: Client) -> None:
    assert_problem(ask(site, "/open/x", {}, query="?role=admin"), 401, "token_missing")
    assert_problem(ask(site, "/open/x", bearer(), query="?role=admin"), 403, "forbidden")


def test_no_other_site_changes_a_public_part_with_the_user_s_cookie(site: Client) -> None:
    headers = with_cookie(site, {"Origin": "https://evil.example"})

    assert_problem(ask(site, "/hook", headers, method="POST"), 403, "cross_site")
    assert ask(site, "/hook", {"Origin": "https://evil.example"}, method="POST").status_code == 200


def test_the_rules_lead_to_the_login(site: Client) -> None:
    assert rd(ask(site, "/my/x")) == f"{SITE}/my/x"
    assert rd(ask(site, "/admin/x", gateway="nginx")) == f"{SITE}/admin/x"
    assert ask(site, "/closed/x").status_code == 403
    assert ask(site, "/elsewhere").status_code == 403


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/open/../admin", "GET"),
        ("/open/%2e%2e/admin", "GET"),
        ("//admin", "GET"),
        ("/open/..;/admin", "GET"),
        ("/open%2f..%2fadmin", "GET"),
        ("/Open/x", "GET"),
        ("/open/x", "GE T"),
    ],
)
@pytest.mark.parametrize("gateway", ["nginx", "caddy"])
def test_no_trick_with_the_address_leads_around_the_rules(site: Client, gateway: str, target: str, method: str) -> None:
    response = ask(
        site,
        "/",
        {**PAGE, **bearer(user_role="admin", aal="aal2")},
        gateway=gateway,
        method=method,
        changes={"X-Original-URL" if gateway == "nginx" else "X-Forwarded-Uri": SITE * (gateway == "nginx") + target},
    )

    assert_problem(response, 403, "forbidden")


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Original-URL": f"{SITE}/open/x"},
        {"X-Original-URL": ""},
        {"X-Original-Method": "POST"},
        {"X-Forwarded-Host": "app.example.com, other.example.com"},
        {"X-Forwarded-Host": "app.example.com/open"},
        {"X-Forwarded-Uri": "open/x"},
        {"X-Forwarded-Uri": ""},
        {"X-Forwarded-Proto": "ftp"},
    ],
    ids=str,
)
def test_contradicting_fields_let_nobody_in(site: Client, changes: dict[str, str]) -> None:
    """A client may send those of another gateway."""
    response = ask(site, "/admin/x", {**PAGE, **bearer(user_role="admin")}, changes=changes)

    assert_problem(response, 400, "bad_parameter")


def test_fields_of_two_gateways_may_agree(site: Client) -> None:
    agreeing = {"X-Original-URL": f"{SITE}/my/x", "X-Original-Method": "GET"}

    assert ask(site, "/my/x", bearer(), changes=agreeing).status_code == 200


def test_a_client_of_envoy_cannot_name_another_path(site: Client) -> None:
    for field, value in (
        ("X-Forwarded-Uri", "/open/x"),
        ("X-Original-URL", f"{SITE}/open/x"),
        ("X-Forwarded-Method", "POST"),
    ):
        response = ask(site, "/admin/x", gateway="envoy", query="", changes={field: value})
        assert_problem(response, 400, "bad_parameter")


def test_without_a_request_to_judge_nobody_passes(site: Client) -> None:
    for headers in ({}, {"X-Original-URL": f"{SITE}/open"}, {"X-Forwarded-Method": "GET"}):
        overrides = {"REMOTE_ADDR": "127.0.0.1"}
        response = site.get(VERIFY, headers={**headers, **bearer()}, environ_overrides=overrides)
        body = assert_problem(response, 400, "bad_parameter")
        assert "X-Forwarded-Uri" in body["detail"]


def test_a_gateway_that_is_not_trusted_is_told_so(site: Client) -> None:
    body = assert_problem(ask(site, "/open/x", bearer(), peer=STRANGER), 400, "bad_parameter")

    assert "TRUSTED_PROXIES" in body["detail"]


def test_a_broken_file_lets_nobody_in(make_client: MakeClient, environment: Mapping[str, str]) -> None:
    Path(environment["AUTH_RULES_FILE"]).write_text("[[rules]\n")
    client = make_client(**environment)

    for target in ("/", "/my/x"):
        assert_problem(ask(client, target, {**PAGE, **bearer()}), 503, "upstream_misconfigured")
        assert_problem(ask(client, target, {**PAGE, **bearer()}, query=""), 503, "upstream_misconfigured")


def test_the_log_names_the_rule(site: Client, logs: LogLines) -> None:
    ask(site, "/open/x", {}, query="")
    assert (logs.access[-1]["rule"], logs.access[-1]["anonymous"]) == ("open", "token_missing")
    ask(site, "/my/x", bearer(), query="")
    assert logs.access[-1]["rule"] == RULES.splitlines().index('path = "/my/**"')
    ask(site, "/elsewhere", bearer(), query="")
    assert "no rule matches" in logs.access[-1]["reason"]


def test_a_reload_reads_the_rules_anew_and_keeps_them_when_the_file_is_broken(
    environment: Mapping[str, str], supabase: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, logs: LogLines
) -> None:
    for name, value in {
        "SUPABASE_URL": PROJECT,
        "SUPABASE_SECRET_KEY": "sb_secret_canary01234567890123",
        **environment,
    }.items():
        monkeypatch.setenv(name, value)
    service, path = create_app(Settings.from_environment()), Path(environment["AUTH_RULES_FILE"])
    client = Client(service)

    def status() -> int:
        return ask(client, "/elsewhere", bearer(), query="").status_code

    assert status() == 403
    path.write_text(RULES + '[[rules]]\npath = "/elsewhere"\nallow = "public"\n')
    outcome = service.reload()
    assert (outcome.state, outcome.changed) == ("taken", {"AUTH_RULES_FILE": "7 rules -> 8 rules"})
    assert status() == 200

    path.write_text('[[rules]]\npath = "elsewhere"\nallow = "public"\n')
    outcome = service.reload()
    assert outcome.state == "refused"
    assert "line 2: 'elsewhere'" in str(outcome.errors)
    assert "kept the old settings" in str(logs)
    assert status() == 200

    path.write_text(RULES)
    assert service.reload().state == "taken"
    assert status() == 403
    assert service.reload().state == "unchanged"


def test_the_second_cookie_is_named_twice_for_nginx_alone(client: Client, supabase: responses.RequestsMock) -> None:
    gives(supabase, left_s=30, app_metadata={"much": "x" * 2000})
    headers = with_cookie(client)
    gives(supabase, refresh_token="second", app_metadata={"much": "y" * 2000})

    def second(gateway: str, peer: str = "127.0.0.1") -> tuple[str | None, list[str]]:
        response = ask(client, "/my/x", headers, gateway=gateway, peer=peer)
        assert response.status_code == 200
        return response.headers.get("X-Auth-Set-Cookie-2"), response.headers.getlist("Set-Cookie")

    repeated, cookies = second("nginx")
    assert len(cookies) == 2
    assert repeated == cookies[1]
    assert second("caddy")[0] is None
    assert second("nginx", STRANGER)[0] is None
