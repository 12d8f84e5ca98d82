"""``doctor --client``: what depends on the gateway's address, without a gateway."""

from __future__ import annotations

from typing import Any

import pytest

from velro_auth.config.settings import Settings
from velro_auth.ops.doctor.checks import CLIENT_CHECKS
from velro_auth.ops.doctor.checkup import run
from velro_auth.ops.doctor.client_calls import Answer, GatewayClient
from velro_auth.ops.doctor.context import DiagnosticContext

REFUSED = b'{"code": "invalid_api_key", "message": "Invalid API key"}'


class Canned(GatewayClient):
    """Meets a gateway that leads links to one address."""

    site = "https://app.example.com"

    def ask(self, method: str, path: str, **_: Any) -> Answer:
        if "/verify" in path:
            return Answer(303, {"Location": f"{self.site}#error=access_denied"}, b"", 0.0)
        assert method == "GET"
        return Answer(401, {"x-sb-error-code": "invalid_api_key"}, REFUSED, 0.0)


def told(client: GatewayClient, name: str) -> str:
    context = DiagnosticContext(settings=Settings.from_environment({}), client=client)
    found = {result.check.name: result for result in run(CLIENT_CHECKS, context, only=[name])}
    return f"{found[name].status}: {found[name].found}"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://auth.example.com", "pass"),
        ("http://auth.example.com", "warn"),
        ("http://8.8.8.8:8000", "warn"),
        ("http://localhost:8000", "pass"),
        ("http://192.168.1.7:8000", "pass"),
        ("http://gateway.railway.internal:8000", "pass"),
    ],
)
def test_passwords_do_not_cross_the_net_in_the_clear(url: str, status: str) -> None:
    assert told(Canned(url=url), "client.face").startswith(f"{status}: ")


@pytest.mark.parametrize(
    ("url", "site", "said"),
    [
        (
            "https://auth.example.com",
            "http://localhost:3000",
            "warn: handed over; the Site URL is http://localhost:3000",
        ),
        ("http://localhost:8000", "http://localhost:3000", "pass: handed over; the Site URL is http://localhost:3000"),
        (
            "https://auth.example.com",
            "https://app.example.com",
            "pass: handed over; the Site URL is https://app.example",
        ),
        (
            "https://auth.example.com",
            "https://auth.example.com/confirm",
            "pass: handed over; the Site URL is the gatewa",
        ),
    ],
)
def test_where_links_lead_by_default(url: str, site: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Canned, "site", site)

    assert told(Canned(url=url), "client.redirect").startswith(said)
