"""No route leads a browser, or a mail, to an address that the operator did not list."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import responses
from werkzeug.test import Client, TestResponse

from tests.conftest import ENVIRONMENT as PROJECT_SETTINGS
from tests.conftest import MakeClient
from tests.fixtures.hostile import ALLOWED, APP, GOOD, HOSTILE
from tests.upstream_double import PROJECT
from velro_auth.auth.pkce import challenge_of
from velro_auth.config.settings import Settings
from velro_auth.endpoints import Endpoint
from velro_auth.wiring import build

AUTH = "/api/v1/auth"
ENVIRONMENT = {
    "AUTH_PUBLIC_URL": "https://auth.example.com",
    "AUTH_REDIRECT_URLS": ALLOWED,
    "AUTH_MAIL_DELAY_MS": "0",
    "AUTH_THROTTLE_SCALE": "1000",
}
BODY = {"email": "ada@example.com", "password": "correct horse battery staple"}
BEARER = {"Authorization": "Bearer x"}


def authorize(client: Client, address: str) -> TestResponse:
    query = {"redirect_to": address.encode("utf-8", "surrogatepass"), "code_challenge": challenge_of("x" * 43)}
    return client.get(f"{AUTH}/authorize/github", query_string=query)


def body_of(method: str, path: str, **headers: str) -> Callable[[Client, str], TestResponse]:
    def send(client: Client, address: str) -> TestResponse:
        return client.open(AUTH + path, method=method, json={**BODY, "redirect_to": address}, headers=headers)

    return send


#: Route → how to send it an address.
ROUTES: Mapping[str, Callable[[Client, str], TestResponse]] = {
    "authorize": authorize,
    "signup": body_of("POST", "/signup"),
    "register": body_of("POST", "/register"),
    "signup/resend": body_of("POST", "/signup/resend"),
    "otp": body_of("POST", "/otp"),
    "password/forgot": body_of("POST", "/password/forgot"),
    "password-reset": body_of("POST", "/password-reset"),
    "me": body_of("PATCH", "/me", **BEARER),
    "profile": body_of("PUT", "/profile", **BEARER),
}


@pytest.mark.parametrize("send", ROUTES.values(), ids=ROUTES)
def test_no_hostile_address_is_led_to(make_client: MakeClient, send: Callable[[Client, str], TestResponse]) -> None:
    """Supabase is not even asked: every address is refused here, by its field, and is not repeated."""
    assert len(HOSTILE) >= 500
    client, wrong = make_client(**ENVIRONMENT), []

    with responses.RequestsMock() as upstream:
        for address in HOSTILE:
            answer = send(client, address)
            errors = (answer.get_json() or {}).get("errors", {})
            is_refused = answer.status_code == 422 and set(errors) == {"redirect_to"}
            if not is_refused or {"Location", "Set-Cookie"} & set(answer.headers.keys()):
                wrong.append((address, answer.status_code))
        # Signing keys are fetched in the background, perhaps by the service of another test.
        assert [call.request.url for call in upstream.calls if "jwks" not in str(call.request.url)] == []

    assert wrong == []


def described_with(endpoint: Endpoint, name: str) -> bool:
    """Return whether a field or a parameter called *name* is in the description of an endpoint."""
    operations = getattr(endpoint, "operations", {}).values()
    parameters = {parameter["name"] for operation in operations for parameter in operation.parameters}
    fields = {field for operation in operations if operation.body for field in operation.body().fields}
    return name in parameters | fields


@pytest.mark.parametrize("name", ["redirect_to", "rd"])
def test_every_route_that_takes_an_address_is_tried(name: str) -> None:
    endpoints = build(Settings.from_environment(PROJECT_SETTINGS)).endpoints

    takers = {path for endpoint in endpoints if described_with(endpoint, name) for path in endpoint.paths}

    tried = {f"{AUTH}/{route}" for route in ROUTES} | {f"{AUTH}/authorize/<provider>"}
    assert takers <= tried
    assert takers or name == "rd"


@pytest.mark.parametrize("address", [address for address in GOOD if "?" not in address])
@pytest.mark.parametrize("route", ["otp", "password/forgot", "signup/resend"])
def test_a_listed_address_goes_on_as_it_was_sent(make_client: MakeClient, route: str, address: str) -> None:
    with upstream_for_mails() as upstream:
        answer = ROUTES[route](make_client(**ENVIRONMENT), address)

        assert answer.status_code == 202
        [asked] = asked_of(upstream)
        assert asked["redirect_to"] == address


HOSTS = ("evil.example", "auth.example.com.evil.example", "auth.example.com@evil.example", "evil.example:443")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("route", ["otp", "password/forgot", "signup/resend"])
def test_the_host_header_is_in_no_mail(make_client: MakeClient, route: str, host: str) -> None:
    """Nor is any other header with a host: the links of mails are made from what Supabase is asked with."""
    client = make_client(**ENVIRONMENT)
    headers = {
        "Host": host,
        "X-Forwarded-Host": host,
        "X-Original-Host": host,
        "Forwarded": f"host={host}",
        "Origin": f"https://{host}",
        "Referer": f"https://{host}/",
        "redirect_to": f"https://{host}/",
    }

    with upstream_for_mails() as upstream:
        for body in (BODY, {**BODY, "redirect_to": APP}):
            answer = client.post(f"{AUTH}/{route}", json=body, headers=headers)

            assert answer.status_code == 202
            assert "evil.example" not in str(answer.headers) + answer.get_data(as_text=True)
        for call in upstream.calls:
            request: Any = call.request
            assert "evil.example" not in f"{request.url} {request.headers} {request.body}"
        assert len(asked_of(upstream)) == 2


def upstream_for_mails() -> responses.RequestsMock:
    """Return a Supabase that sends every mail, in a project that confirms by mail."""
    mock = responses.RequestsMock(assert_all_requests_are_fired=False)
    for path in ("otp", "recover", "resend"):
        mock.add(responses.POST, f"{PROJECT}/auth/v1/{path}", json={})
    mock.add(responses.GET, f"{PROJECT}/auth/v1/settings", json={"mailer_autoconfirm": False})
    return mock


def asked_of(upstream: responses.RequestsMock) -> list[dict[str, Any]]:
    """Return what Supabase was asked to mail: the query and the body of each call."""
    calls: list[Any] = [call.request for call in upstream.calls if call.request.method == "POST"]
    return [{**call.params, **json.loads(call.body)} for call in calls]
