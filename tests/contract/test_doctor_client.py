"""``doctor --client``: each check seen failing against a gateway that is wrong in that point, and well without."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from supabase_standin import Standin
from tests.contract.face_lab import face_of
from tests.fixtures.standin import PASSWORD, new_email
from velro_auth.auth.models import Credentials
from velro_auth.config.settings import Settings
from velro_auth.ops.cli.doctor import doctor as command
from velro_auth.ops.doctor.checks import CLIENT_CHECKS
from velro_auth.ops.doctor.checkup import Result, run
from velro_auth.ops.doctor.client_calls import GatewayClient
from velro_auth.ops.doctor.context import DiagnosticContext

PAGE = "https://app.example.com"
#: Of one hop, or about the bytes that were on the way.
_OF_THE_HOP = {"connection", "content-length", "transfer-encoding", "date", "server", "content-encoding"}


@dataclass
class Reply:
    """An answer on its way through the proxy."""

    method: str
    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def says(self, **members: Any) -> None:
        """Change members of the body."""
        self.body = json.dumps({**json.loads(self.body), **members}).encode()

    def drop(self, *names: str) -> None:
        """Leave headers out."""
        wanted = {name.lower() for name in names}
        self.headers = {name: value for name, value in self.headers.items() if name.lower() not in wanted}


class Proxy:
    """Stands in front of a real gateway and spoils what passes.

    Args:
        target: The gateway.
    """

    def __init__(self, target: str) -> None:
        self.seen: list[str] = []
        self.ask: Callable[[dict[str, str]], None] = lambda _: None
        self.spoil: Callable[[Reply], None] = lambda _: None
        double = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"] or 0))
                sent = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_HOP}
                double.seen.append(repr((self.path, sent, content)))
                double.ask(sent)
                answer = requests.request(
                    self.command, target + self.path, headers=sent, data=content, allow_redirects=False, timeout=10
                )
                headers = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_HOP}
                reply = Reply(self.command, self.path, answer.status_code, headers, answer.content)
                double.spoil(reply)
                if not reply.status:
                    return
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string((timestamp or time.time()) + double.ahead_s)

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            setattr(Handler, f"do_{method}", Handler._pass)
        self.ahead_s = 0.0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@contextlib.contextmanager
def proxy_of(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()


@pytest.fixture(scope="module")
def project(standin_with: Callable[..., Standin]) -> Standin:
    return standin_with(providers=("gitlab",), redirect_urls=(f"{PAGE}/**",))


@pytest.fixture(scope="module")
def gateway(project: Standin) -> Iterator[str]:
    with face_of(project) as url:
        yield url


@pytest.fixture
def proxy(gateway: str) -> Iterator[Proxy]:
    with proxy_of(gateway) as made:
        yield made


@pytest.fixture
def options(project: Standin) -> dict[str, Any]:
    """What an operator gives for everything to be checked."""
    email = new_email()
    project.create_user(email, PASSWORD)
    return {
        "key": project.publishable_key,
        "origin": PAGE,
        "redirect_to": f"{PAGE}/welcome",
        "account": Credentials(email, PASSWORD),
    }


def look(url: str, options: Mapping[str, Any], *only: str) -> dict[str, Result]:
    client = GatewayClient(url=url, **options)
    with contextlib.closing(DiagnosticContext(settings=Settings.from_environment({}), client=client)) as context:
        return {result.check.name: result for result in run(CLIENT_CHECKS, context, only=only)}


def told(result: Result) -> str:
    return f"{result.status}: {result.found}"


def test_all_is_well_with_a_gateway_as_it_is(proxy: Proxy, options: dict[str, Any]) -> None:
    found = look(proxy.url, options)

    assert {name: told(result) for name, result in found.items() if result.status != "pass"} == {}
    assert list(found) == [check.name for check in CLIENT_CHECKS]


def test_the_session_is_ended(proxy: Proxy, options: dict[str, Any], project: Standin) -> None:
    look(proxy.url, options, "client.refresh")

    assert "scope=local" in proxy.seen[-1]
    body = {"email": options["account"].email, "password": PASSWORD}
    key = {"apikey": options["key"]}
    session = requests.post(f"{proxy.url}/auth/v1/token?grant_type=password", json=body, headers=key, timeout=10).json()
    assert look(proxy.url, options, "client.refresh")["client.refresh"].status == "pass"
    # Another session of the same user is none of its business.
    spent = {"refresh_token": session["refresh_token"]}
    again = requests.post(f"{proxy.url}/auth/v1/token?grant_type=refresh_token", json=spent, headers=key, timeout=10)
    assert again.status_code == 200


def _html(reply: Reply) -> None:
    reply.status, reply.headers, reply.body = 502, {"Content-Type": "text/html"}, b"<html>"


def _nothing(reply: Reply) -> None:
    reply.status = 0


def _without(*names: str) -> Callable[[Reply], None]:
    return lambda reply: reply.drop(*names)


def _with(name: str, value: str) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        reply.drop(name)
        reply.headers[name] = value

    return spoil


def _at(start: str, spoil: Callable[[Reply], None]) -> Callable[[Reply], None]:
    """Spoil only answers to requests that begin so."""
    return lambda reply: spoil(reply) if f"{reply.method} {reply.path}".startswith(start) else None


def _good(spoil: Callable[[Reply], None]) -> Callable[[Reply], None]:
    return lambda reply: spoil(reply) if reply.status == requests.codes.ok else None


def _empty(reply: Reply) -> None:
    reply.body = b"{}"


def _old(reply: Reply) -> None:
    reply.body = json.dumps({"code": reply.status, "msg": "old"}).encode()


def _shown(reply: Reply) -> None:
    """As a proxy does that follows a redirect: the page, and no address."""
    reply.status, reply.body = 200, b"<html>"
    reply.drop("Location")


def _refused(status: int, code: str) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        reply.status, reply.body = status, json.dumps({"code": code, "message": "no", "hint": "because"}).encode()

    return spoil


def _of_another(reply: Reply) -> None:
    reply.says(user={"id": "another"})


def _each_its_own(reply: Reply) -> None:
    reply.says(refresh_token=f"token-{time.monotonic_ns()}")


TOKEN = "POST /auth/v1/token"
REFRESH = f"{TOKEN}?grant_type=refresh_token"
VERIFY = "GET /auth/v1/verify"
REST = "GET /rest/v1"


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("client.face", _html, "fail: /auth/v1/settings without a key answers 502 (text/html)"),
        ("client.face", _nothing, "fail: no answer (ProtocolError)"),
        ("client.version", _at("GET /auth/v1/user", _without("X-Supabase-Api-Version")), "fail: a refusal comes with"),
        ("client.version", _at("GET /auth/v1/user", _without("x-sb-error-code")), "fail: a refusal comes without"),
        ("client.version", _at("GET /auth/v1/user", _old), "fail: a refusal has the older format"),
        (
            "client.version",
            _without("Access-Control-Expose-Headers"),
            "fail: pages may not read X-Supabase-Api-Version",
        ),
        ("client.preflight", _at("OPTIONS", _html), "fail: a preflight is answered 502"),
        ("client.preflight", _at("OPTIONS", _without("Access-Control-Allow-Origin")), "fail: pages of https://app"),
        (
            "client.preflight",
            _at("OPTIONS", _with("Access-Control-Allow-Origin", "null")),
            "fail: pages of https://app",
        ),
        (
            "client.preflight",
            _with("Access-Control-Allow-Headers", "apikey, *"),
            "fail: pages may not send: authorizati",
        ),
        (
            "client.preflight",
            _with("Access-Control-Allow-Methods", "GET, POST"),
            "fail: pages may not send: delete, put",
        ),
        (
            "client.preflight",
            _at(TOKEN, _without("Access-Control-Allow-Origin")),
            "fail: the preflight allows the page",
        ),
        ("client.key", _good(_empty), "fail: not accepted: 200"),
        ("client.redirect", _at(VERIFY, _shown), "fail: a link is answered 200, not with a redirect"),
        ("client.redirect", _at(VERIFY, _with("Location", "/welcome")), "fail: a link is answered 303, not with a"),
        (
            "client.redirect_to",
            _at(VERIFY, _with("Location", "https://else.example/#a")),
            "fail: dropped: a sign-in end",
        ),
        ("client.provider", _at("GET /auth/v1/authorize", _shown), "answered 200, not with a redirect"),
        (
            "client.login",
            _at(TOKEN, _refused(503, "unexpected_failure")),
            "fail: refused: 503 unexpected_failure: no bec",
        ),
        ("client.login", _at(TOKEN, _of_another), "fail: logged in, but another user was read"),
        (
            "client.login",
            _at("GET /auth/v1/user", _refused(403, "bad_jwt")),
            "fail: logged in, but the user cannot be re",
        ),
        ("client.refresh", _at(REFRESH, _refused(429, "limit")), "fail: the first refresh is refused: 429 limit"),
        (
            "client.refresh",
            _at(REFRESH, _of_another),
            "fail: the first refresh is answered with another user's session",
        ),
        ("client.refresh", _at(REFRESH, _each_its_own), "warn: refreshed twice"),
        ("client.data", _at(REST, _html), "pass: something serves data here: /rest/v1/ answers 502"),
        ("client.data", _at(REST, _refused(404, "not_found")), "warn: /rest/v1/ answers 404 and names no address"),
    ],
)
def test_a_gateway_that_is_wrong_in_one_point(
    name: str, spoil: Callable[[Reply], None], said: str, proxy: Proxy, options: dict[str, Any]
) -> None:
    proxy.spoil = spoil

    assert said in told(look(proxy.url, options, name)[name])


def test_a_gateway_without_the_face(project: Standin, options: dict[str, Any]) -> None:
    with face_of(project, AUTH_SUPABASE_API="off") as url:
        result = look(url, options, "client.face")["client.face"]

    assert told(result) == "fail: this service answers, but not /auth/v1"
    assert result.fix == "Set AUTH_SUPABASE_API=on."


def test_supabase_itself_is_not_taken_for_the_gateway(project: Standin, options: dict[str, Any]) -> None:
    assert look(project.url, options, "client.face")["client.face"].status == "fail"


def test_a_page_that_is_not_listed(proxy: Proxy, options: dict[str, Any]) -> None:
    found = look(proxy.url, {**options, "origin": "https://other.example"}, "client.preflight")

    assert "pages of https://other.example may not call" in found["client.preflight"].found


def test_a_key_that_is_not_listed_is_refused_with_the_reason(proxy: Proxy, options: dict[str, Any]) -> None:
    result = look(proxy.url, {**options, "key": "sb_publishable_of_another_app"}, "client.key")["client.key"]

    assert told(result).startswith("fail: not accepted: 401 invalid_api_key")
    assert "AUTH_CLIENT_KEYS lists further keys" in result.found


def test_a_secret_key_is_never_sent(proxy: Proxy, options: dict[str, Any], project: Standin) -> None:
    found = look(proxy.url, {**options, "key": project.secret_key})

    assert "it was not sent" in found["client.key"].found
    assert proxy.seen
    assert project.secret_key not in "".join(proxy.seen)


def test_a_proxy_that_adds_the_key_itself(proxy: Proxy, options: dict[str, Any]) -> None:
    """Whoever finds its address needs no key."""

    def with_key(sent: dict[str, str]) -> None:
        if "apikey" in sent:
            sent["apikey"] = options["key"]

    proxy.ask = with_key

    assert told(look(proxy.url, options, "client.key")["client.key"]) == "fail: accepted, but a made-up key too (200)"


@pytest.mark.parametrize(
    ("address", "said"),
    [("https://evil.example/", "fail: dropped: a sign-in ends at "), (f"{PAGE}/?next=a", "warn: allowed, but dropped")],
)
def test_where_a_sign_in_may_lead(address: str, said: str, proxy: Proxy, options: dict[str, Any]) -> None:
    found = look(proxy.url, {**options, "redirect_to": address}, "client.redirect_to")

    assert told(found["client.redirect_to"]).startswith(said)


def test_a_wrong_password(proxy: Proxy, options: dict[str, Any]) -> None:
    wrong = Credentials(options["account"].email, "canary")

    found = look(proxy.url, {**options, "account": wrong}, "client.login")["client.login"]

    assert told(found).startswith("fail: refused: 400 invalid_credentials")
    assert "canary" not in found.found


@pytest.mark.parametrize(("ahead_s", "status"), [(12.0, "warn"), (60.0, "fail"), (-60.0, "fail")])
def test_clocks_that_differ(ahead_s: float, status: str, proxy: Proxy, options: dict[str, Any]) -> None:
    """The gateway's, and this machine's, which the token's time shows too."""
    ours = look(proxy.url, {**options, "now": lambda: time.time() + ahead_s}, "client.clock")["client.clock"]
    proxy.ahead_s = ahead_s
    theirs = look(proxy.url, options, "client.clock")["client.clock"]

    assert (ours.status, theirs.status) == (status, status)
    assert "the token's: ours is" in ours.found


def test_what_was_not_given_is_named(proxy: Proxy) -> None:
    found = look(proxy.url, {})

    gives = {result.give for result in found.values() if result.status == "skip"}
    assert gives == {"--key", "--origin", "--redirect-to"}
    assert {name for name, result in found.items() if result.status == "pass"} == {
        *("client.face", "client.version", "client.redirect", "client.clock", "client.data")
    }


def test_the_command(proxy: Proxy, options: dict[str, Any]) -> None:
    """From outside: no setting of the service is there."""
    account = options["account"]
    given = ["--client", "--url", proxy.url, "--key", options["key"], "--origin", PAGE, "--json"]
    given += ["--redirect-to", options["redirect_to"]]
    environment = {"AUTH_BENCH_EMAIL": account.email, "AUTH_BENCH_PASSWORD": account.password}

    well = CliRunner().invoke(command, given, env=environment)
    proxy.spoil = _at("OPTIONS", _html)
    ill = CliRunner().invoke(command, given, env=environment)

    found = {one["id"]: one["status"] for one in json.loads(well.stdout)["checks"]}
    assert {name for name, status in found.items() if status != "pass"} == set()
    assert list(found) == [check.name for check in CLIENT_CHECKS]
    assert (well.exit_code, ill.exit_code) == (0, 2)
    for said in (well.output, ill.output):
        assert options["key"] not in said
        assert account.password not in said
        assert "eyJ" not in said


@pytest.mark.parametrize(
    "given", [("--client",), ("--key", "a"), ("--client", "--url", "http://127.0.0.1:9", "--fix"), ("--origin", PAGE)]
)
def test_what_makes_no_sense_is_refused(given: tuple[str, ...]) -> None:
    said = CliRunner().invoke(command, given)

    assert (said.exit_code, said.stderr[:6]) == (2, "Usage:")
