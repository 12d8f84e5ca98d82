"""The OpenAPI document says what the service does."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.test import Client

from tests.asserts import assert_problem
from tests.conftest import ENVIRONMENT, GOOD_LOGIN, MakeClient
from tests.upstream_double import UpstreamDouble
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.endpoints.openapi import OPERATIONS
from velro_auth.wiring import build


def document(client: Client) -> dict[str, Any]:
    return dict(json.loads(client.get("/openapi.json").data))


def test_every_endpoint_but_the_documents_themselves_is_described() -> None:
    endpoints = build(Settings.from_environment(ENVIRONMENT)).endpoints
    own = {endpoint.name for endpoint in endpoints if getattr(endpoint, "operations", None)}

    assert not own & set(OPERATIONS)
    assert own | set(OPERATIONS) == {endpoint.name for endpoint in endpoints} - {"openapi", "docs", "metrics"}


def test_the_document_names_every_route_and_no_password_flow(client: Client) -> None:
    """ROPC is forbidden (RFC 9700, 2.4); a login is not dressed up as one."""
    told = document(client)

    assert told["openapi"] == "3.1.0"
    assert told["paths"]["/api/v1/auth/login"]["post"]["responses"]["401"]["description"].count("`") >= 4
    assert "oauth2" not in json.dumps(told)


def test_the_page_needs_nothing_from_elsewhere(client: Client) -> None:
    response = client.get("/docs")
    text = response.get_data(as_text=True)

    assert response.mimetype == "text/html"
    assert re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)", text) == []
    assert "http://" not in text
    assert "https://" not in text
    assert len(response.headers.getlist("Content-Security-Policy")) == 1


def test_nothing_but_the_page_s_own_script_and_style_may_run(client: Client) -> None:
    response = client.get("/docs")
    policy = dict(
        part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";") if part.strip()
    )

    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", response.get_data(as_text=True), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["form-action"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_the_page_has_every_operation_with_a_form(client: Client) -> None:
    text = client.get("/docs").get_data(as_text=True)

    for path, operations in document(client)["paths"].items():
        for method in operations.keys() - {"head"}:
            assert f'data-method="{method.upper()}" data-path="{path}"' in text


def test_documents_are_closed_in_a_deployment_unless_opened(make_client: MakeClient) -> None:
    for path in ("/docs", "/openapi.json"):
        assert_problem(make_client(RAILWAY_ENVIRONMENT_NAME="production").get(path), 404, "not_found")
        opened = make_client(RAILWAY_ENVIRONMENT_NAME="production", DOCS_ENABLED="on")
        assert opened.get(path).status_code == 200
        assert_problem(make_client(DOCS_ENABLED="off").get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/health/ready"])
def test_no_answer_is_compressed(client: Client, path: str) -> None:
    """Compressing secrets beside input of the client invites BREACH; the documents are small."""
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "gzip, br"}).headers


def schema_of(*, fast_lane: bool) -> Any:
    environment = {**ENVIRONMENT, "AUTH_THROTTLE_SCALE": "100000"}
    app = create_app(Settings.from_environment(environment), fast_lane=fast_lane)
    return schemathesis.openapi.from_wsgi("/openapi.json", app)


GENERATED = settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
CONFORMANCE = (content_type_conformance, response_schema_conformance, status_code_conformance)


def check(case: Any) -> None:
    """Send a generated request, good or bad: no defect, and nothing that the document does not know."""
    response = case.call()

    assert response.status_code != 500
    case.validate_response(response, checks=CONFORMANCE)


@GENERATED
@schema_of(fast_lane=True).parametrize()  # type: ignore[untyped-decorator] # schemathesis makes it at run time
def test_the_fast_lane_answers_as_documented(case: Any, upstream: UpstreamDouble) -> None:
    check(case)


@GENERATED
@schema_of(fast_lane=False).parametrize()  # type: ignore[untyped-decorator] # the same
def test_flask_answers_as_documented(case: Any, upstream: UpstreamDouble) -> None:
    check(case)


@pytest.mark.parametrize("cookies", ["0", "1"])
def test_the_server_reads_the_body_of_every_operation_that_has_one(cookies: str) -> None:
    """A body that the server is not told of would arrive too late, unless it comes with the head."""
    sessions = {"AUTH_COOKIE_SESSIONS": cookies, "AUTH_PUBLIC_URL": "https://auth.example.com"}
    service = create_app(Settings.from_environment({**ENVIRONMENT, **sessions}))
    described = {
        (method, path)
        for endpoint in service._parts.endpoints
        for method, operation in getattr(endpoint, "operations", {}).items()
        if operation.body
        for path in endpoint.paths
    }

    assert described
    assert described | {("POST", "/api/v1/auth/login")} <= service.body_limits.keys()
    assert not [route for route in service.body_limits if route[0] in {"GET", "HEAD"}]


def test_cookie_mode_is_described_for_browsers(upstream: UpstreamDouble) -> None:
    cookies = {"AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": "https://auth.example.com"}
    from_here = {"Sec-Fetch-Site": "same-origin"}
    client = Client(create_app(Settings.from_environment({**ENVIRONMENT, **cookies})))
    document = client.get("/openapi.json").get_json()
    paths = {path.removeprefix("/api/v1/auth"): operations for path, operations in document["paths"].items()}

    answer = client.post("/api/v1/auth/login", json=GOOD_LOGIN, headers=from_here).get_json()

    shapes = paths["/login"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    names = [shape["$ref"].rpartition("/")[2] for shape in shapes]
    assert names == ["SessionAnswer", "BrowserSessionAnswer"]
    of_browsers = document["components"]["schemas"]["BrowserSessionAnswer"]
    assert set(of_browsers["required"]) <= answer.keys() <= of_browsers["properties"].keys()
    assert document["components"]["securitySchemes"]["cookie"]["name"] == "__Host-velro_session"
    assert paths["/me"]["get"]["security"] == paths["/verify"]["get"]["security"] == [{"token": []}, {"cookie": []}]
    assert not paths["/refresh"]["post"]["requestBody"]["required"]
    assert "`cross_site`" in paths["/logout"]["post"]["responses"]["403"]["description"]
    assert "403" not in paths["/me"]["get"]["responses"]
