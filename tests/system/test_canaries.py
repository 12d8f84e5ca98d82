"""Secrets that sing when they are let out: put in wherever one goes in, looked for wherever something comes out."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.collectors import Collector, running_collector
from tests.fixtures.garbled import ENDED, GARBLED, ask, assert_refused
from tests.fixtures.programs import ROOT, Program, clean_environment, free_port, gateway
from tests.waiting import eventually
from velro_auth.auth.models import Credentials, Session, User
from velro_auth.auth.pkce import challenge_of, new_verifier
from velro_auth.config.settings import Settings
from velro_auth.wiring import build

API = "/api/v1/auth"
EMAIL = "canary-of-the-mail@example.com"
PASSWORD = "canary-of-the-password"
#: Some canaries sit where what is around them is allowed to be seen.
CANARY = "canary-of-"
#: Named by those requests that are looked for in every place, to know that the places are the right ones.
MARK = "seen-everywhere"
ENVIRONMENT: Mapping[str, str] = {
    "DATABASE_URL": "postgresql://postgres:canary-of-the-database@127.0.0.1:1/postgres",
    "METRICS_TOKEN": "canary-of-the-scraper",
    "ALERT_WEBHOOK_SECRET": "canary-of-the-alerts",
    "SUPABASE_JWT_SECRET": "canary-of-the-signature",
    "AUTH_THROTTLE_SECRET": "canary-of-the-throttle",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=canary-of-the-collector",
}
#: In places that nobody has a reason to repeat.
HEADERS: Mapping[str, str] = {
    "X-Custom": "canary-of-a-header",
    "Cookie": "session=canary-of-a-cookie",
    "Referer": "https://app.example.com/?token=canary-of-the-referer",
    "Origin": "https://canary-of-the-origin.example.com",
    "X-Real-IP": "canary-of-an-address",
    "X-Request-ID": "canary-of-the id",
    "tracestate": "vendor=canary-of-the-trace",
    "baggage": "who=canary-of-the-baggage",
}
JSON = {"Content-Type": "application/json"}


@dataclass
class Visit:
    """A gateway that is visited with canaries.

    Attributes:
        tokens: What it gave out, which is as secret as what went in.
        flows: What a sign-in with a provider hands around: verifiers, challenges, codes and cookies.
        answers: Errors as they were answered, and what operators read.
    """

    running: Program
    tokens: list[str] = field(default_factory=list)
    flows: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, expected: int, **options: Any) -> dict[str, Any]:
        """Ask with all those headers, keep an answer that tells of a failure."""
        headers = {**HEADERS, **options.pop("headers", {})}
        url = f"{self.running.url}{path}"
        answer = requests.request(method, url, headers=headers, timeout=20, **options)
        assert answer.status_code == expected, (path, options, answer.text)
        if answer.status_code >= 400 or not path.startswith(API):
            self.answers.append(f"{answer.headers} {answer.text}")
        return dict(answer.json()) if answer.text.startswith("{") else {}

    def log_in(self, expected: int, password: str = PASSWORD, email: str = EMAIL, **headers: str) -> dict[str, Any]:
        """Log in; keep the tokens."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"email": email, "password": password, "captcha_token": "canary-of-the-captcha"}
        session = self.ask("POST", f"{API}/login?canary-of-the-query=1", expected, json=body, headers=fields)
        self._keep(session)
        return session

    def sign_in(self, path: str, expected: int, **body: str) -> dict[str, Any]:
        """Have a session opened in another way; keep the tokens."""
        session = self.ask("POST", f"{API}/{path}", expected, json=body)
        self._keep(session)
        return session

    def refresh(self, token: str, expected: int) -> dict[str, Any]:
        """Refresh; keep the tokens."""
        session = self.ask("POST", f"{API}/refresh", expected, json={"refresh_token": token})
        self._keep(session)
        return session

    def _keep(self, session: dict[str, Any]) -> None:
        self.tokens += [session[name] for name in ("access_token", "refresh_token") if name in session]


def whole_life(visit: Visit) -> None:
    """Log in, look around, refresh, log out; then with tokens nobody gave."""
    session = visit.log_in(200, X_Request_ID=MARK)
    bearer = {"Authorization": f"Bearer {session['access_token']}"}
    visit.ask("GET", f"{API}/verify/canary?token=canary-of-the-query", 200, headers=bearer)
    visit.ask("GET", f"{API}/me", 200, headers=bearer)
    session = visit.refresh(session["refresh_token"], 200)
    visit.ask("POST", f"{API}/logout", 200, headers={"Authorization": f"Bearer {session['access_token']}"})
    for token in ("canary-of-a-bearer", "eyJhbGciOiJIUzI1NiJ9.canary-of-a-payload.canary-of-a-signature"):
        for method, path in (("GET", "verify"), ("GET", "me"), ("POST", "logout")):
            visit.ask(method, f"{API}/{path}", 401, headers={"Authorization": f"Bearer {token}"})
    visit.refresh("canary-of-a-refresh-token", 401)


def by_mail(visit: Visit, standin: Standin) -> None:
    """Sign up, and replace a forgotten password at the second attempt."""
    email = f"canary-of-a-newcomer-{secrets.token_hex(4)}@example.com"
    person = {"email": email, "password": PASSWORD, "full_name": "canary-of-a-name"}
    visit.sign_in("signup", 200, **person)
    visit.ask("POST", f"{API}/signup", 409, json=person)
    page = "https://app.example.com/canary-of-the-page"
    visit.ask("POST", f"{API}/password/forgot", 202, json={"email": email, "redirect_to": page})
    visit.ask("POST", f"{API}/otp", 422, json={"email": email, "redirect_to": "https://canary-of-evil.example.com/"})
    box = f"{standin.url}/mailbox.json"
    eventually(lambda: requests.get(box, params={"to": email}, timeout=20).json())
    mail = requests.get(box, params={"to": email}, timeout=20).json()[0]
    visit.ask("POST", f"{API}/confirm", 401, json={"email": email, "token": "000000", "type": "magiclink"})
    reset = {"token_hash": mail["token_hash"], "password": PASSWORD}
    refused = requests.post(f"{visit.running.url}{API}/password/reset", json=reset, timeout=20)
    assert refused.status_code == 422, refused.text
    ticket = refused.json()["ticket"]
    visit.tokens += [mail["token_hash"], mail["token"], ticket]
    visit.ask("POST", f"{API}/password/reset", 401, json=reset)
    visit.ask("POST", f"{API}/password/reset", 401, json={"ticket": f"x{ticket}", "password": "canary-of-a-guess"})
    visit.sign_in("password/reset", 200, ticket=ticket, password="canary-of-a-new-password", code="123456")


def sign_in_with_a_provider(visit: Visit) -> None:
    """Begin, come back with a code, and exchange it; then be wrong in every way."""
    browser, page = requests.Session(), "https://app.example.com/"
    url, code, verifier = f"{visit.running.url}{API}", "0d4c2f4e-8a3b-4f1c-9d2e-1a2b3c4d5e6f", new_verifier()
    query = {"redirect_to": f"{page}?canary-of-the-page=1", "code_challenge": challenge_of(verifier)}
    begun = browser.get(f"{url}/authorize/demo", params=query, headers=HEADERS, allow_redirects=False, timeout=20)
    sent = parse_qs(urlsplit(begun.headers["Location"]).query)
    back = sent["redirect_to"][0].replace("http://localhost:8000", visit.running.url)
    sealed = begun.headers["Set-Cookie"].partition(";")[0]
    cookie = {"Cookie": sealed}
    returned = requests.get(f"{back}&code={code}", headers=cookie, allow_redirects=False, timeout=20)
    handed = returned.headers["Location"].rpartition("code=")[2]
    visit.flows += [code, verifier, query["code_challenge"], sent["code_challenge"][0], handed, handed[30:90]]
    visit.flows += [back.rpartition("flow=")[2], sealed, sealed.partition("=")[2]]
    refused = {"error": "canary-of-the-error", "error_description": "canary-of-the-description"}
    told = requests.get(f"{back}&{urlencode(refused)}", headers=cookie, allow_redirects=False, timeout=20)
    visit.answers.append(told.headers["Location"].removeprefix(query["redirect_to"]))
    for body in (
        {"code": handed, "code_verifier": verifier},
        {"code": handed, "code_verifier": "canary-of-the-verifier-that-is-long-enough-for-one"},
        {"code": "canary-of-the-code", "code_verifier": verifier},
        {"code": code},
    ):
        visit.ask("POST", f"{API}/exchange", 401, json=body)
    visit.ask("GET", f"{API}/callback?flow=canary-of-a-flow&code=canary-of-a-code", 401)
    visit.ask("GET", f"{API}/authorize/demo?redirect_to=canary-of-a-target&code_challenge=canary-of-a-challenge", 422)
    visit.ask("GET", f"{API}/authorize/demo%0d?redirect_to=canary-of-a-target", 422)


def refusals(visit: Visit) -> None:
    """Be wrong in every way."""
    visit.log_in(401, "canary-of-a-wrong-password")
    visit.log_in(401, email="canary-of-a-stranger@example.com")
    visit.log_in(422, email="canary-of-no-address")
    for data, status in ((b'{"canary-of-a-key"', 400), (b'{"email": 1, "password": {"canary-of-a-key": 1}}', 422)):
        visit.ask("POST", f"{API}/login", status, data=data, headers=JSON)
    visit.ask("POST", f"{API}/login", 415, data=b"canary-of-a-form", headers={"Content-Type": "text/canary-of-a-type"})
    visit.ask("GET", f"{API}/login?canary-of-the-query", 405)
    visit.ask("GET", "/nowhere?canary-of-the-query", 404)
    while not visit.answers[-1].count("too_many_attempts"):
        body = {"email": "canary-of-the-held-back@example.com", "password": "canary-of-a-guess"}
        answer = requests.post(f"{visit.running.url}{API}/login", json=body, timeout=20)
        assert answer.status_code in {401, 429}
        visit.answers.append(answer.text)


def troubles(visit: Visit, standin: Standin) -> None:
    """Meet Supabase in its worst moods, then a defect of our own."""
    message = "canary-of-upstream's text"
    moods: tuple[tuple[str, dict[str, Any], int], ...] = (
        ("hang", {}, 503),
        ("html", {}, 503),
        ("truncated", {"honest_length": False}, 503),
        ("failure", {"message": message}, 503),
        ("failure", {"message": message, "status": 502}, 503),
        ("failure", {"message": message, "status": 400, "code": "invalid_credentials"}, 401),
        ("failure", {"message": message, "status": 401, "code": ""}, 503),
        ("failure", {"message": message, "status": 429, "code": "over_request_rate_limit"}, 429),
        ("failure", {"status": 400, "code": "canary-of-upstream is no code"}, 503),
        ("failure", {"status": 400, "code": "canary-of-upstream is invalid"}, 401),
        ("wrong_json", {"value": {"user": message}}, 503),
        ("content_type", {"content_type": "text/canary-of-upstream"}, 503),
        ("redirect", {"location": "http://canary-of-upstream.example.com/"}, 503),
    )
    for kind, options, status in moods:
        switch = standin.faults.on(kind, path="/auth/v1/token", times=1, **options)
        visit.log_in(status)
        assert switch.fired == 1
    visit.log_in(500, "canary-of-a-boom", X_Request_ID=MARK)


def garbled(visit: Visit, requests_: Mapping[str, bytes] = GARBLED) -> None:
    """Speak as no client should; each such connection is closed after a problem document."""
    for name, request in requests_.items():
        answer = ask(visit.running.url, request)
        assert_refused(name, answer)
        visit.answers.append(answer.decode())


def read(visit: Visit) -> None:
    """Read what operators read."""
    for path in ("/health", "/__version"):
        visit.ask("GET", path, 200)
    visit.answers.append(requests.get(f"{visit.running.url}/health/ready", timeout=20).text)
    visit.ask("GET", "/metrics", 404, headers={"Authorization": "Bearer canary-of-no-scraper"})
    visit.ask("GET", "/metrics", 200, headers={"Authorization": f"Bearer {ENVIRONMENT['METRICS_TOKEN']}"})


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def environment(standin: Standin, collector: Collector) -> dict[str, str]:
    return {
        **ENVIRONMENT,
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "SUPABASE_PUBLISHABLE_KEY": standin.publishable_key,
        "REDIS_URL": f"redis://:canary-of-redis@127.0.0.1:{free_port()}/0",
        "ALERT_WEBHOOK_URL": f"{collector.url}/canary-of-the-webhook",
        "SENTRY_DSN": f"http://canary-of-sentry@{collector.address}/1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "RAILWAY_ENVIRONMENT_NAME": "production",
        "UPSTREAM_DEADLINE_S": "1",
        "AUTH_FAILURE_FLOOR_MS": "0",
        "AUTH_MAIL_DELAY_MS": "50",
        "AUTH_PUBLIC_URL": "http://localhost:8000",
        "AUTH_REDIRECT_URLS": "https://app.example.com",
        "LOG_LEVEL": "debug",
        "LOG_PROBES_EVERY": "1",
    }


def leaks(outlets: Mapping[str, str], hidden: list[str]) -> set[tuple[str, str]]:
    """Return which secret is seen where."""
    seen = re.compile("|".join([f"{CANARY}[a-z-]+", *map(re.escape, hidden)]))
    return {(place, secret) for place, text in outlets.items() for secret in seen.findall(text)}


@pytest.mark.parametrize("lane", ["fast", "flask"])
def test_no_canary_gets_out(
    lane: str, standin: Standin, environment: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    trail = tmp_path / "audit.jsonl"
    options = {**environment, "AUTH_FAST_LOGIN": "1" if lane == "fast" else "0", "AUDIT_FILE": str(trail)}
    if not standin_knows(standin):
        standin.create_user(EMAIL, PASSWORD)
    with gateway(tmp_path / "log", app="tests.fixtures.defective:app", **options) as running:
        visit = Visit(running)
        whole_life(visit)
        by_mail(visit, standin)
        sign_in_with_a_provider(visit)
        refusals(visit)
        troubles(visit, standin)
        garbled(visit)
        read(visit)
        running.stop()

    lines = [json.loads(line) for line in running.output.splitlines()]
    assert sum(line["logger"] == "velro_auth.access" for line in lines) > 30
    outlets = {
        "log": running.output,
        "audit trail": trail.read_text(),
        "traces": "\n".join(map(repr, collector.spans)),
        "Sentry": "\n".join(map(repr, collector.events)),
        "whatever was sent": collector.text,
        "answers": "\n".join(visit.answers),
    }
    assert leaks(outlets, [*visit.tokens, *visit.flows, standin.secret_key, standin.publishable_key]) == set()
    assert [place for place, text in outlets.items() if MARK not in text] == []
    assert len(visit.tokens) == 4 + 7


def test_gunicorn_s_own_worker_repeats_nothing_either(environment: dict[str, str], tmp_path: Path) -> None:
    """Where somebody goes back to it, or ours does not fit."""
    with gateway(tmp_path / "log", **{**environment, "GUNICORN_WORKER_CLASS": "gthread"}) as running:
        visit = Visit(running)
        garbled(visit, {name: GARBLED[name] for name in ENDED})
        running.stop()

    assert running.output.count('"lane": "server"') >= len(ENDED)
    assert leaks({"log": running.output, "answers": "\n".join(visit.answers)}, []) == set()


def standin_knows(standin: Standin) -> bool:
    """Tell whether the account exists: the other lane's test may have made it."""
    body, headers = {"email": EMAIL, "password": PASSWORD}, {"apikey": standin.secret_key}
    url = f"{standin.url}/auth/v1/token?grant_type=password"
    return requests.post(url, json=body, headers=headers, timeout=20).ok


def test_no_report_of_a_benchmark_holds_a_canary(standin: Standin, tmp_path: Path) -> None:
    email = "canary-of-the-benchmark@example.com"
    standin.create_user(email, PASSWORD)
    settings = {"SUPABASE_URL": standin.url, "SUPABASE_SECRET_KEY": standin.secret_key}
    command = [sys.executable, "-m", "velro_auth", "bench", "--rps", "5", "--duration", "1", "--html"]
    account = {"AUTH_BENCH_EMAIL": email, "AUTH_BENCH_PASSWORD": PASSWORD}
    with gateway(tmp_path / "log", **settings) as running:
        done = subprocess.run(
            [*command, "--url", running.url, "--output-dir", str(tmp_path)],
            env=clean_environment(**account),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    reports = {path.suffix: path.read_text() for path in tmp_path.glob("auth_benchmark_*")}

    assert reports.keys() == {".json", ".html"}
    assert leaks({**reports, "terminal": done.stdout + done.stderr}, [standin.secret_key]) == set()


@pytest.mark.parametrize(
    ("command", "said"),
    [(["config", "check"], "SENTRY_DSN"), (["doctor", "--json"], '"checks"'), (["doctor"], "REDIS_URL")],
)
def test_commands_that_look_at_the_settings_keep_them(
    command: list[str], said: str, environment: dict[str, str], standin: Standin
) -> None:
    account = {"AUTH_BENCH_EMAIL": EMAIL, "AUTH_BENCH_PASSWORD": PASSWORD}
    for changes in ({}, {"REDIS_URL": "canary-of-redis", "SUPABASE_SECRET_KEY": "canary-of-the-key"}):
        done = subprocess.run(
            [sys.executable, "-m", "velro_auth", *command],
            env=clean_environment(**{**environment, **account, **changes}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

        assert said in done.stdout
        keys = [standin.secret_key, standin.publishable_key]
        assert leaks({"stdout": done.stdout, "stderr": done.stderr}, keys) == set()


def test_no_repr_shows_a_canary(environment: dict[str, str], standin: Standin) -> None:
    settings = Settings.from_environment(environment)
    user = User(id="1", email=EMAIL, user_metadata={"canary-of-metadata": 1})
    session = Session(
        access_token="canary-of-access", refresh_token="canary-of-refresh", expires_in=1, expires_at=1, user=user
    )
    credentials = Credentials(EMAIL, PASSWORD, "canary-of-the-captcha")
    things = {"settings": settings, "parts": build(settings), "session": session, "credentials": credentials}

    assert settings.errors == ()
    shown = {name: repr(thing) + str(thing) for name, thing in things.items()}
    assert leaks(shown, [standin.secret_key, standin.publishable_key]) == set()


def test_a_canary_that_got_out_would_be_seen() -> None:
    outlets = {"log": f'{{"reason": "{PASSWORD}"}}', "traces": "a to.ken", "answers": "nothing"}

    assert leaks(outlets, ["to.ken"]) == {("log", PASSWORD), ("traces", "to.ken")}
