"""``/metrics``: open on a laptop, closed in production but for the token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from velro_auth.endpoints import Endpoint
from velro_auth.endpoints.operations import MetricsEndpoint
from velro_auth.errors import NotFound

TOKEN = "canary-of-the-scraper"


def ask(endpoint: MetricsEndpoint, authorization: str | None = None, method: str = "GET") -> Response:
    headers = [] if authorization is None else [("Authorization", authorization)]
    environ = EnvironBuilder("/metrics", method=method, headers=headers).get_environ()
    return endpoint(Request(environ))


def text() -> bytes:
    return b"velro_auth_workers 1.0\n"


def test_it_answers_text_that_nobody_stores() -> None:
    response = ask(MetricsEndpoint(text, is_production=False))

    assert (response.status_code, response.get_data()) == (200, text())
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("authorization", [None, "", f"Bearer {TOKEN}", "Bearer "])
def test_production_without_a_token_is_closed_to_everybody(authorization: str | None) -> None:
    with pytest.raises(NotFound):
        ask(MetricsEndpoint(text, is_production=True), authorization)


@pytest.mark.parametrize("is_production", [True, False])
@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
def test_the_token_opens_it(is_production: bool, authorization: str) -> None:
    assert ask(MetricsEndpoint(text, token=TOKEN, is_production=is_production), authorization).status_code == 200


@pytest.mark.parametrize("is_production", [True, False])
@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é"],
)
def test_with_a_token_set_nothing_else_opens_it(is_production: bool, authorization: str | None) -> None:
    """Also on a laptop: whoever sets a token wants it to count."""
    with pytest.raises(NotFound):
        ask(MetricsEndpoint(text, token=TOKEN, is_production=is_production), authorization)


def test_it_is_an_endpoint_like_the_others_and_keeps_its_token_to_itself() -> None:
    make: Callable[[], Endpoint] = lambda: MetricsEndpoint(text, token=TOKEN)  # noqa: E731 - a claim about types

    assert make().methods == ("GET", "HEAD")
    assert make().paths == ("/metrics",)
    assert TOKEN not in repr(make())
