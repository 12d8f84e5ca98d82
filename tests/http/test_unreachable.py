"""A Supabase that is not there at all, through both lanes, with nothing faked."""

from __future__ import annotations

import socket

import pytest

from tests.asserts import assert_problem
from tests.conftest import GOOD_LOGIN, MakeClient


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("path", "body"),
    [("login", GOOD_LOGIN), ("refresh", {"refresh_token": "abcdefghijkl"})],
)
@pytest.mark.parametrize("url", ["https://velro-auth.invalid", "http://127.0.0.1:{port}"])
def test_nobody_there_is_503_and_never_401(make_client: MakeClient, url: str, path: str, body: dict[str, str]) -> None:
    client = make_client(SUPABASE_URL=url.format(port=closed_port()))

    response = client.post(f"/api/v1/auth/{path}", json=body)

    assert_problem(response, 503, "upstream_unavailable")
    assert float(response.headers["Server-Timing"].split("dur=")[1]) < 5200
