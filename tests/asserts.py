"""What tests claim again and again."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse


def assert_problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Claim that *response* is an error answer of the one shape, and return its body."""
    body = response.get_json()

    assert (response.status_code, body["code"]) == (status, code)
    assert response.mimetype in {"application/json", "application/problem+json"}
    assert body["type"] == "about:blank"
    assert body["status"] == body["status_code"] == status
    assert isinstance(body["title"], str)
    assert isinstance(body["detail"], str)
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert response.headers["Cache-Control"] == "no-store"
    if status == 401:
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="velro-auth"')
    if status in {429, 503}:
        assert int(response.headers["Retry-After"]) >= 1
    return dict(body)
