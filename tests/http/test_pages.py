"""The pages through both lanes, with Supabase faked: policies, the form of the sign-in, where it leads, branding."""

from __future__ import annotations

import json
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from tests.conftest import ENVIRONMENT, GOOD_LOGIN, MakeClient
from tests.http.test_cookie_sessions import FOREIGN
from tests.upstream_double import UpstreamDouble
from velro_auth.app import Service
from velro_auth.config.settings import Settings
from velro_auth.endpoints.pages.messages import SHIPPED as MESSAGES
from velro_auth.endpoints.pages.messages import Languages
from velro_auth.endpoints.pages.rendering import SHIPPED as TEMPLATES
from velro_auth.web.problems import ANSWERS

PUBLIC = "https://auth.example.com"
NAME = "__Host-velro_session"
PAGES: dict[str, str] = {
    "AUTH_PAGES": "1",
    "AUTH_COOKIE_SESSIONS": "1",
    "AUTH_PUBLIC_URL": PUBLIC,
    "AUTH_REDIRECT_URLS": "https://app.example.com, https://other.example.com/in/",
}
OURS = {"Sec-Fetch-Site": "same-origin"}
PATHS = ("/login", "/signup", "/forgot", "/reset", "/confirm")
#: Where the sign-in must not lead to.
HOSTILE = (
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\/evil.example",
    "/%2f/evil.example",
    "/\t/evil.example",
    "///evil.example",
    "/a/..//evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://app.example.com@evil.example/",
    "https://app.example.com.evil.example/",
    "https://other.example.com/out",
    "evil.example",
    "/x\r\nSet-Cookie: a=b",
    "/" + "x" * 3000,
)


@pytest.fixture
def pages(make_client: MakeClient) -> Client:
    return make_client(**PAGES)


def send(client: Client, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
    """Send the form of the sign-in."""
    return client.post("/login", data={**GOOD_LOGIN, **fields}, headers=OURS if headers is None else headers)


@pytest.mark.parametrize("path", PATHS)
def test_a_page_allows_nothing_inline_and_is_kept_nowhere(pages: Client, path: str) -> None:
    answer = pages.get(path)

    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "img-src": "'self' data:",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.mimetype == "text/html"
    assert not re.search(
        r"<style|style=|<script(?! type=\"application/json\"| type=\"module\" src)|\son\w+=", answer.text
    )


@pytest.mark.parametrize("path", PATHS)
def test_every_file_of_a_page_is_kept_for_a_year(pages: Client, path: str) -> None:
    files = re.findall(r'(?:href|src)="(/static/[^"]+)"', pages.get(path).text)

    assert len(files) >= 4
    for file in files:
        answer = pages.get(file)
        assert answer.status_code == 200, file
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_file_of_another_build_is_not_kept(pages: Client) -> None:
    """During a deployment a page of the new build may ask an instance of the old one."""
    answer = pages.get("/static/0123456789abcdef/core.js")

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    assert pages.get("/static/0123456789abcdef/secrets.js").status_code == 404
    assert pages.get("/static/0123456789abcdef/../pages.py").status_code == 404


def test_they_are_off_by_default(client: Client) -> None:
    for path in (*PATHS, "/account", "/login/factor"):
        assert client.get(path).status_code == 404


def test_without_an_address_they_are_a_mistake_of_the_settings(make_client: MakeClient) -> None:
    wrong = {**PAGES, "AUTH_PUBLIC_URL": ""}
    settings = Settings.from_environment({**wrong, "SUPABASE_URL": "https://a.supabase.co"})

    assert "AUTH_PAGES" in {error.variable for error in settings.errors}
    assert make_client(**wrong).get("/login").status_code == 404


def test_they_need_no_cookie_sessions(make_client: MakeClient) -> None:
    alone = {**PAGES, "AUTH_COOKIE_SESSIONS": "0"}
    settings = Settings.from_environment({**alone, "SUPABASE_URL": "https://a.supabase.co"})

    assert "AUTH_PAGES" not in {error.variable for error in settings.errors}
    assert make_client(**alone).get("/login").status_code == 200


def test_the_form_signs_in(pages: Client, upstream: UpstreamDouble) -> None:
    answer = send(pages)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/account")
    assert answer.headers["Set-Cookie"].startswith(f"{NAME}=")
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert answer.data == b""


def test_the_password_of_the_form_arrives_as_it_was_typed(pages: Client, upstream: UpstreamDouble) -> None:
    password = "  ü&=+% \u2603 "

    send(pages, password=password)

    (asked,) = upstream.asked
    assert json.loads(asked.body)["password"] == password


@pytest.mark.parametrize(
    "aim", ["/account?a=1", "/app/x", "https://app.example.com/x?y=1", "https://other.example.com/in/x"]
)
def test_it_leads_where_it_was_asked_to(pages: Client, upstream: UpstreamDouble, aim: str) -> None:
    assert f'name="rd" value="{aim}"' in pages.get("/login", query_string={"rd": aim}).text.replace("&amp;", "&")
    assert send(pages, rd=aim).headers["Location"] == aim


@pytest.mark.parametrize("aim", HOSTILE)
def test_it_leads_nowhere_else(pages: Client, upstream: UpstreamDouble, aim: str) -> None:
    shown = pages.get("/login", query_string={"rd": aim})

    assert 'name="rd" value=""' in shown.text
    assert "evil.example" not in shown.text + str(shown.headers)
    assert send(pages, rd=aim).headers["Location"] == "/account"


@pytest.mark.parametrize("headers", [*FOREIGN, {}], ids=str)
def test_no_other_site_signs_in(pages: Client, upstream: UpstreamDouble, headers: dict[str, str]) -> None:
    """Else somebody could be signed in as somebody else; and a client without a browser gets no session here."""
    answer = send(pages, headers)

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert upstream.asked == []
    assert "The request did not come from this page" in answer.text


def test_the_own_address_may_stand_in_origin(pages: Client, upstream: UpstreamDouble) -> None:
    assert send(pages, {"Origin": PUBLIC}).status_code == 303


def test_a_refusal_shows_the_form_again(pages: Client, upstream: UpstreamDouble) -> None:
    upstream.answers({"code": "invalid_credentials"}, status=400)

    answer = send(pages, email="<b>@example.com", rd="/app")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "The address or the password is wrong" in answer.text
    assert 'value="&lt;b&gt;@example.com"' in answer.text
    assert 'name="rd" value="/app"' in answer.text
    assert GOOD_LOGIN["password"] not in answer.text
    assert "Set-Cookie" not in answer.headers


def test_the_form_meets_the_same_failure_delay(make_client: MakeClient, upstream: UpstreamDouble) -> None:
    client = make_client(**PAGES, AUTH_FAILURE_FLOOR_MS="300")
    upstream.answers({"code": "invalid_credentials"}, status=400)

    started_s = time.monotonic()
    answer = send(client)

    assert answer.status_code == 401
    assert time.monotonic() - started_s >= 0.3


def test_the_form_meets_the_same_throttle(pages: Client, upstream: UpstreamDouble) -> None:
    """A try by the form and one by the API count together."""
    upstream.answers({"code": "invalid_credentials"}, status=400)
    answers = [send(pages) for _ in range(3)]
    answers += [pages.post("/api/v1/auth/login", json=GOOD_LOGIN, headers=OURS) for _ in range(40)]

    refused = send(pages)

    assert {answer.status_code for answer in answers} == {401, 429}
    assert refused.status_code == 429
    assert f"Try again in {refused.headers['Retry-After']} s." in refused.text


def test_a_form_is_a_login_in_metrics_and_in_the_audit_trail(
    make_client: MakeClient, upstream: UpstreamDouble, tmp_path: Path
) -> None:
    client = make_client(**PAGES, AUDIT_FILE=str(tmp_path / "audit"))

    client.get("/login")
    assert send(client).status_code == 303
    upstream.answers({"code": "invalid_credentials"}, status=400)
    assert send(client).status_code == 401
    send(client, {"Sec-Fetch-Site": "cross-site"})

    metrics = client.get("/metrics").text
    assert 'velro_auth_logins_total{outcome="ok"} 1.0' in metrics
    assert 'velro_auth_logins_total{outcome="invalid_credentials"} 1.0' in metrics
    assert re.search(r'velro_auth_requests_total\{[^}]*"page_login"[^}]*\} 1\.0', metrics)
    assert isinstance(client.application, Service)
    client.application.stop()
    events = [json.loads(line)["event"] for line in (tmp_path / "audit").read_text().splitlines()]
    assert [event for event in events if event != "chain_closed"][:3] == [
        "login_succeeded",
        "login_refused",
        "access_denied",
    ]


def test_an_outage_says_when_to_try_again(pages: Client, upstream: UpstreamDouble) -> None:
    upstream.answers("<html>", status=503, headers={"Content-Type": "text/html"})

    answer = send(pages)

    assert answer.status_code == 503
    assert f"Supabase cannot be reached. Try again in {answer.headers['Retry-After']} s." in answer.text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": GOOD_LOGIN}, 415),
        ({"data": "x", "content_type": "text/plain"}, 415),
        ({"data": {"email": "a" * 40_000}}, 413),
        ({"data": {"email": "nobody", "password": "x"}}, 422),
        ({"data": {"email": "a@example.com"}}, 422),
        ({"data": b"email=%ff%00&password=%00", "content_type": "application/x-www-form-urlencoded"}, 422),
    ],
)
def test_an_odd_form_is_answered_with_the_page(
    pages: Client, upstream: UpstreamDouble, sent: dict[str, Any], status: int
) -> None:
    answer = pages.post("/login", headers=OURS, **sent)

    assert (answer.status_code, answer.mimetype) == (status, "text/html")
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("rd", "aim"), [("/x?a=1", "%2Fx%3Fa%3D1"), ("https://evil.example/", "%2Faccount"), ("", "%2Faccount")]
)
def test_a_code_that_is_sent_without_a_session_leads_to_the_sign_in_and_on(pages: Client, rd: str, aim: str) -> None:
    answer = pages.post("/login/factor", data={"code": "123456", "rd": rd}, headers=OURS)

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/login?rd={aim}")


@pytest.mark.parametrize("path", ["/account", "/login/factor?rd=%2Fx"])
def test_without_a_session_a_page_leads_to_the_sign_in(pages: Client, path: str) -> None:
    wanted = {"/account": "/login?rd=%2Faccount", "/login/factor?rd=%2Fx": "/login?rd=%2Fx"}[path]

    assert pages.get(path).headers["Location"] == wanted
    pages.set_cookie(NAME, "v1.wrong", domain="localhost")
    assert pages.get(path).headers["Location"] == wanted


def test_an_error_of_a_provider_is_told_in_own_words(pages: Client) -> None:
    told = pages.get("/login/factor?rd=%2Fx&error=access_denied&error_description=Call+0900")

    assert told.headers["Location"] == "/login?rd=%2Fx&error=access_denied"
    assert "The sign-in was cancelled" in pages.get("/login?error=access_denied").text
    assert 'role="alert"></div>' in pages.get("/login?error=Call+0900").text


@pytest.mark.parametrize("path", ["/signup", "/forgot", "/reset?token_hash=abc", "/confirm?type=signup&token_hash=abc"])
def test_a_form_sent_before_its_script_was_there_shows_the_page_again(pages: Client, path: str) -> None:
    assert pages.post(path, data=GOOD_LOGIN, headers=OURS).headers["Location"] == path


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_no_form_puts_its_fields_into_the_address(template: Path) -> None:
    for form in re.findall(r"<form[^>]*>", template.read_text("utf-8")):
        assert 'method="post"' in form


def test_the_token_of_a_link_is_not_repeated(pages: Client) -> None:
    for path in ("/confirm?type=signup&", "/reset?"):
        assert "canary" not in pages.get(f"{path}token_hash=canary&code=canary").text


@pytest.mark.parametrize(
    ("accept", "lang"),
    [("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr", "en"), ("", "en"), ("en-GB,de;q=0.9", "en"), ("*", "en"), (";;;", "en")],
)
def test_the_language_is_that_of_the_browser(pages: Client, accept: str, lang: str) -> None:
    answer = pages.get("/login", headers={"Accept-Language": accept})

    assert f'<html lang="{lang}">' in answer.text
    assert "Accept-Language" in answer.headers.getlist("Vary")


def test_a_chosen_language_stays(pages: Client) -> None:
    answer = pages.get("/login?lang=de&rd=%2Fapp")

    assert "Passwort vergessen?" in answer.text
    assert 'href="/forgot?lang=de"' in answer.text
    assert 'href="/signup?rd=%2Fapp&amp;lang=de"' in answer.text
    assert '<html lang="en">' in pages.get("/login?lang=../../etc/passwd").text


def test_all_languages_have_the_same_texts() -> None:
    def keys(code: str) -> dict[str, set[str]]:
        return {table: set(texts) for table, texts in raw[code].items()}

    raw = {path.stem: tomllib.loads(path.read_text("utf-8")) for path in MESSAGES.glob("*.toml")}

    assert set(raw) == {"de", "en"} == set(Languages(MESSAGES).codes)
    assert keys("de") == keys("en")
    for table, texts in raw["en"].items():
        for name, text in texts.items():
            words = [re.findall(r"\{\w+\}", raw[code][table][name]) for code in raw]
            assert words[0] == words[1], (table, name)
            assert text.strip()


def test_every_code_of_an_error_has_a_text_or_is_never_seen_on_a_page() -> None:
    #: What a page never causes, or what ends at the sign-in.
    unseen = {
        "bad_json", "bad_parameter", "bad_request", "unauthorized", "token_invalid", "token_missing", "token_expired",
        "method_not_allowed", "too_large", "unsupported_media_type", "request_timeout", "uri_too_long",
        "expectation_failed", "headers_too_large", "not_implemented", "internal_error",
    }  # fmt: skip
    texts = Languages(MESSAGES)._texts["en"]["error"]

    assert {answer.code for answer in ANSWERS.values()} - unseen <= set(texts)


def test_branding(make_client: MakeClient, tmp_path: Path) -> None:
    (logo := tmp_path / "logo.png").write_bytes(b"\x89PNG")
    client = make_client(**PAGES, AUTH_BRAND_NAME="A & B", AUTH_BRAND_LOGO=str(logo), AUTH_BRAND_COLOR="#ffdd00")

    page = client.get("/login").text

    assert "<span>A &amp; B</span>" in page
    logo_path = re.search(r'<img src="(/static/[^"]+/logo\.png)"', page)
    assert logo_path
    assert client.get(logo_path[1]).data == b"\x89PNG"
    styles = client.get(re.findall(r'href="([^"]+pages\.css)"', page)[0]).text
    assert "--brand:#ffdd00;--on-brand:#000000" in styles


def test_a_logo_elsewhere_is_allowed_by_the_policy(make_client: MakeClient) -> None:
    answer = make_client(**PAGES, AUTH_BRAND_LOGO="https://cdn.example.com/a/logo.svg").get("/login")

    assert "img-src 'self' data: https://cdn.example.com;" in answer.headers["Content-Security-Policy"]
    assert '<img src="https://cdn.example.com/a/logo.svg"' in answer.text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTH_BRAND_COLOR", "red"),
        ("AUTH_BRAND_COLOR", "#fff"),
        ("AUTH_BRAND_COLOR", "#ffffff;}"),
        ("AUTH_BRAND_LOGO", "https://a.example; script-src *"),
        ("AUTH_BRAND_LOGO", "http://a.example/logo.svg"),
        ("AUTH_BRAND_LOGO", "/nowhere/logo.svg"),
        ("AUTH_BRAND_LOGO", "/etc/passwd"),
        ("AUTH_BRAND_NAME", "x" * 61),
        ("AUTH_PAGES_DIR", "/nowhere"),
        ("AUTH_PAGES_PROVIDERS", "git hub"),
    ],
)
def test_a_wrong_value_is_reported(variable: str, value: str) -> None:
    assert variable in {error.variable for error in Settings.from_environment({variable: value}).errors}


def test_a_folder_replaces_templates_messages_and_styles(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "forgot.html").write_text("{% extends 'base.html' %}{% block title %}Own{% endblock %}")
    (tmp_path / "en.toml").write_text('[login]\nlead = "Good to see you."\n')
    (tmp_path / "fr.toml").write_text('[login]\ntitle = "Se connecter"\n')
    (tmp_path / "brand.css").write_text("body{letter-spacing:1px}")
    client = make_client(**PAGES, AUTH_PAGES_DIR=str(tmp_path))

    assert "<title>Own · auth.example.com</title>" in client.get("/forgot").text
    page = client.get("/login").text
    assert "Good to see you." in page
    assert "Forgot password?" in page
    assert client.get(re.findall(r'href="([^"]+brand\.css)"', page)[0]).text == "body{letter-spacing:1px}"
    french = client.get("/login", headers={"Accept-Language": "fr"}).text
    assert "<h1>Se connecter</h1>" in french
    assert "Good to see you." in french


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("en.toml", "[login"),
        ("en.toml", 'title = "x"'),
        ("en.toml", "[login]\ntitle = 1"),
        ("login.html", "{% block x %}"),
        ("login.html", "{{ a b }}"),
    ],
)
def test_a_wrong_file_is_reported_and_keeps_nothing_from_starting(
    make_client: MakeClient, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)

    (found,) = Settings.from_environment({**ENVIRONMENT, **PAGES, "AUTH_PAGES_DIR": str(tmp_path)}).errors

    assert found.variable == "AUTH_PAGES_DIR"
    assert name in found.advice
    assert make_client(**PAGES, AUTH_PAGES_DIR=str(tmp_path)).get("/login").status_code == 200


def test_the_buttons_of_providers(make_client: MakeClient) -> None:
    client = make_client(**PAGES, AUTH_PAGES_PROVIDERS="github,linkedin_oidc")

    page = client.get("/login?rd=%2Fapp").text

    back = "https%3A%2F%2Fauth.example.com%2Flogin%2Ffactor%3Frd%3D%252Fapp"
    assert f'href="/api/v1/auth/authorize/github?redirect_to={back}">Continue with GitHub' in page
    assert "Continue with LinkedIn" in page
    begun = client.get(re.findall(r'href="([^"]+authorize/github[^"]+)"', page)[0])
    assert begun.status_code == 303
    assert begun.headers["Location"].startswith("https://project.supabase.co/auth/v1/authorize?")
