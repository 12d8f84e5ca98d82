"""The parts of other libraries that the transport needs are looked for before the first request."""

from __future__ import annotations

import http.client

import pytest
import requests.adapters
import urllib3.connection

from velro_auth.upstream.transport.compatibility import check_libraries
from velro_auth.upstream.transport.transport import Transport


def test_the_installed_libraries_have_all_of_them() -> None:
    check_libraries()


@pytest.mark.parametrize(
    ("owner", "name", "message"),
    [
        (requests.adapters.HTTPAdapter, "build_response", r"of requests \d+\.\d+\.\d+ has no 'build_response'"),
        (urllib3.connection.HTTPConnection, "is_connected", r"of urllib3 \d+\.\d+\.\d+ has no 'is_connected'"),
        (http.client.HTTPResponse, "begin", r"of Python 3\.\d+\.\d+ has no 'begin'"),
    ],
    ids=["requests", "urllib3", "http.client"],
)
def test_a_transport_says_what_is_missing_and_in_which_version(
    owner: type, name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)

    with pytest.raises(AttributeError, match=message):
        Transport("http://127.0.0.1:1", key="k" * 20, pool_size=1)
