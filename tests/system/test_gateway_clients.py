"""What clients may send through the recipes of deploy/gateways: the token alone decides."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.programs import gateway
from tests.fixtures.tokens import ISSUER, SESSION_ID, USER_ID
from tests.system.gateway_lab import VerifyEndpoint, backend_server, caddy, envoy, nginx, project_server
from tests.system.gateway_models import traefik
from tests.system.gateway_site import (
    CONNECTIONS,
    FOR_LINKS,
    GATEWAYS_OWN,
    IDENTITY,
    KEY,
    Proxy,
    Site,
    bearer,
    folded,
    folded_name,
    site_behind,
    spellings,
)
from tests.system.gateway_upgrades import HTTP2, UPGRADES, WEBSOCKET, upgraded

PROXIES = pytest.mark.parametrize(
    "proxy", [nginx, caddy, envoy, traefik], ids=["nginx", "caddy", "envoy", "traefik (model)"]
)
PROGRAMS = pytest.mark.parametrize("proxy", [nginx, caddy, envoy], ids=["nginx", "caddy", "envoy"])
LONG = "q=" + "a" * 4200
PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "DELETE"}


@pytest.fixture
def site(proxy: Proxy, verify: VerifyEndpoint, tmp_path: Path) -> Iterator[Site]:
    with site_behind(proxy, verify, tmp_path) as running:
        yield running


@pytest.fixture
def lenient_site(proxy: Proxy, verify: VerifyEndpoint, tmp_path: Path) -> Iterator[Site]:
    """With the option that lets preflights through."""
    with site_behind(proxy, verify, tmp_path, preflights=True) as running:
        yield running


@PROXIES
@pytest.mark.parametrize("query", ["role=", "role=x", "aal=aal3", "strict=1", "roles=admin", LONG], ids=lambda q: q[:8])
def test_no_query_of_a_client_changes_the_verdict(site: Site, query: str) -> None:
    assert site.ask(f"/search?{query}", headers=bearer()).status_code == 200
    assert site.ask(f"/search?{query}").status_code == 401
    # A demand cannot be talked away either.
    assert site.ask(f"/admin/x?{query}", headers=bearer(user_role="viewer")).status_code == 403
    assert site.ask(f"/admin/x?{query}", headers=bearer(user_role="admin", aal="aal2")).status_code == 200

    exact = [asked for asked in site.verify.requests if asked.path == "/api/v1/auth/verify"]
    assert {asked.query for asked in exact} <= {"", "role=admin&aal=aal2"}


@PROXIES
@pytest.mark.parametrize("require", ["role=viewer", "roles=admin", "nonsense", "aal=aal9"])
@pytest.mark.parametrize("spelling", ["X-Auth-Require", "x_auth_require"])
def test_no_demand_of_a_client_arrives(site: Site, spelling: str, require: str) -> None:
    told = site.told(headers={**bearer(user_role="editor"), spelling: require, "X-Auth-Mode": "forged"})
    refused = site.ask("/admin/x", headers={**bearer(user_role="viewer"), spelling: require})

    assert not {
        value for name, value in told.items() if name.replace("_", "-") in {"x-auth-require", "x-auth-mode"}
    } - {""}
    assert refused.status_code == 403
    requirements = {asked.headers.get("X_AUTH_REQUIRE", "") for asked in site.verify.requests}
    assert requirements <= {"", "role=admin; aal=aal2"}


@PROXIES
@pytest.mark.parametrize("size", [8_000, 9_000])
def test_cookies_of_other_sites_stay_outside(site: Site, size: int) -> None:
    """The backend gets them, velro-auth does not: it has a limit for them."""
    cookie = f"other={'c' * size}"

    assert site.told(headers={**bearer(), "Cookie": cookie})["cookie"] == cookie
    assert site.ask(headers={"Cookie": cookie}).status_code == 401
    assert all("COOKIE" not in asked.headers for asked in site.verify.requests)


@PROXIES
def test_a_large_token_passes(site: Site) -> None:
    """Up to what velro-auth takes; how it judges it is not the proxy's business."""
    token = "Bearer " + "t" * (16 * 1024 - len("Bearer "))

    site.ask(headers={"Authorization": token})

    assert [asked.headers["AUTHORIZATION"] for asked in site.verify.requests] == [token]


@PROXIES
def test_a_body_and_its_length_stay_outside(site: Site) -> None:
    """A server that is told of a body waits for it."""

    def chunks() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    assert site.ask("/x", "POST", headers=bearer(), data=b"five!").json()["body"] == "five!"
    assert site.ask("/x", "POST", data=b"five!").status_code == 401
    site.ask("/x", "PUT", headers=bearer(), data=chunks())

    for asked in site.verify.requests:
        assert asked.headers.get("CONTENT_LENGTH", "0") == "0"
        assert "TRANSFER_ENCODING" not in asked.headers


@PROXIES
@pytest.mark.parametrize("name", ["X-Real-IP", "x-real-ip", "X_Real_IP"])
def test_no_client_makes_up_its_address(site: Site, name: str) -> None:
    told = site.told(headers={**bearer(), name: "203.0.113.66"})

    assert "203.0.113.66" not in told.values()
    assert told["x-real-ip"] == "127.0.0.1"
    assert {asked.headers.get("X_REAL_IP") for asked in site.verify.requests} == {"127.0.0.1"}


@PROXIES
@pytest.mark.parametrize("name", FOR_LINKS)
def test_no_client_says_under_which_address_the_backend_is_reached(site: Site, name: str) -> None:
    """Backends build links of these, such as those of mails."""
    assert "forged.example.com" not in site.told(headers={**bearer(), name: "forged.example.com"}).values()


@PROXIES
@pytest.mark.parametrize("name", GATEWAYS_OWN)
def test_no_spelling_passes_that_a_backend_takes_for_the_same(site: Site, name: str) -> None:
    """With what the client says about its connection: the gateway's own field must not go and leave the forged one."""
    identity = [[USER_ID], ["ada@example.com"], ["editor"], ["aal1"], [SESSION_ID]]
    for connection in CONNECTIONS:
        forged = {**spellings(name), "Connection": connection}

        told = folded(site.ask(headers={**bearer(user_role="editor"), **forged}))

        assert "forged" not in {value for values in told.values() for value in values}
        assert [told.get(folded_name(of)) for of in IDENTITY] == identity
        assert told["HTTP_X_REAL_IP"] == ["127.0.0.1"]
    for asked in site.verify.requests:
        assert asked.headers["X_REAL_IP"] == "127.0.0.1"
        assert "forged" not in asked.headers.values()


@PROXIES
def test_a_preflight_needs_a_token_like_any_request(site: Site) -> None:
    assert site.ask(method="OPTIONS", headers=PREFLIGHT).status_code == 401
    assert site.ask(method="OPTIONS", headers={**PREFLIGHT, **bearer()}).status_code == 200


@PROXIES
@pytest.mark.parametrize("path", ["/", "/admin/x"])
def test_preflights_may_be_let_through_and_nothing_else(lenient_site: Site, path: str) -> None:
    forged = {**spellings("X-Auth-User-Id"), **dict.fromkeys(IDENTITY, "forged"), "X_Real-IP": "forged"}
    forged["Connection"] = "X-Real-IP"
    told = lenient_site.told(path, "OPTIONS", headers={**PREFLIGHT, **forged})

    assert "forged" not in told.values()
    assert told["x-real-ip"] == "127.0.0.1"
    assert "upgrade" not in lenient_site.told(path, "OPTIONS", headers={**PREFLIGHT, **HTTP2, "Upgrade": "h2c"})
    assert lenient_site.verify.requests == []
    for method, headers in (
        ("OPTIONS", {}),
        ("OPTIONS", {"Origin": "https://app.example"}),
        ("OPTIONS", {"Access-Control-Request-Method": "GET"}),
        ("GET", PREFLIGHT),
        ("POST", PREFLIGHT),
        ("DELETE", PREFLIGHT),
    ):
        assert lenient_site.ask(path, method, headers=headers).status_code == 401, (method, headers)
    assert lenient_site.ask("/admin/x", headers=bearer(user_role="viewer")).status_code == 403


@PROGRAMS
def test_a_websocket_opens_with_a_token_only(site: Site) -> None:
    assert site.ask("/chat", headers=WEBSOCKET).status_code == 401

    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as client:
        fields = {"Host": f"127.0.0.1:{site.port}", **WEBSOCKET, **bearer()}
        client.sendall(b"GET /chat HTTP/1.1\r\n" + _lines(fields) + b"\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
        client.sendall(b"ping")
        assert client.recv(4096).endswith(b"ping")


@PROXIES
def test_a_websocket_needs_what_its_path_demands(site: Site) -> None:
    viewer, admin = bearer(user_role="viewer"), bearer(user_role="admin", aal="aal2")

    assert upgraded(site.port, "/chat", {**WEBSOCKET, **viewer}) == (101, "websocket")
    assert upgraded(site.port, "/chat", WEBSOCKET)[0] == 401
    assert upgraded(site.port, "/admin/chat", {**WEBSOCKET, **admin}) == (101, "websocket")
    assert upgraded(site.port, "/admin/chat", {**WEBSOCKET, **viewer})[0] == 403


@PROXIES
@pytest.mark.parametrize("protocols", UPGRADES, ids=" + ".join)
def test_no_other_protocol_takes_over_a_connection(site: Site, protocols: tuple[str, ...]) -> None:
    """What follows in it would reach the backend without a question to velro-auth."""
    status, protocol = upgraded(site.port, "/", {**HTTP2, **bearer()}, protocols)

    # Caddy and Traefik choose the websocket of several. Envoy refuses what it does not know.
    assert (status, protocol) in {(200, ""), (101, "websocket"), (403, "")}
    assert status != 101 or "websocket" in protocols


@PROGRAMS
@pytest.mark.parametrize(
    "path",
    ["/admin", "/admin/", "//admin/x", "/x/../admin/y", "/%61dmin/x", "/admin%2Fx", "/./admin/x", "/admin/../admin/x"],
)
def test_no_spelling_of_a_path_leads_around_its_demand(site: Site, path: str) -> None:
    assert site.ask_exactly(path, bearer(user_role="viewer")) != 200


@pytest.fixture
def served(proxy: Proxy, tmp_path: Path) -> Iterator[int]:
    """The recipe in front of the service as it is deployed, with all limits of its server; the port of the proxy."""
    with project_server(KEY) as url, backend_server() as backend_port:
        environment = {
            "SUPABASE_URL": url,
            "SUPABASE_SECRET_KEY": "sb_secret_of_the_gateway_lab",
            "AUTH_ISSUERS": ISSUER,
        }
        with gateway(tmp_path / "log", **environment) as running:
            port = int(running.url.rpartition(":")[2])
            with proxy(tmp_path, port, backend_port) as proxy_port:
                yield proxy_port


@PROXIES
def test_the_server_s_limits_refuse_no_good_token(served: int) -> None:
    """Not for what its client sends besides."""

    def status(method: str, path: str, body: bytes | None = None, **more: Any) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", served, timeout=30)
        try:
            connection.request(method, path, body, headers={**bearer(), **more})
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("GET", "/") == 200
    assert status("GET", f"/search?{LONG}") == 200
    assert status("POST", "/upload", b"b" * 70_000) == 200
    assert status("GET", "/", Cookie="c" * 9_000) == 200
    assert status("GET", "/admin/?role=viewer") == 403


def _lines(fields: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
