"""Small changes to how Supabase is asked that no other test would notice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import responses

from tests.upstream_double import PROJECT, TOKEN
from velro_auth.upstream.probe import LoginPathCheck
from velro_auth.upstream.transport.transport import Transport


@pytest.fixture
def supabase() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize("error", [requests.ReadTimeout(), requests.ConnectTimeout(), requests.ConnectionError()])
def test_a_login_path_that_does_not_answer_is_not_healthy(
    supabase: responses.RequestsMock, error: requests.RequestException
) -> None:
    supabase.post(TOKEN, body=error)
    check = LoginPathCheck(Transport(PROJECT, key="sb_secret_0123456789", pool_size=1))

    found = check()

    assert found.status == "fail"
    assert "does not answer" in found.output
