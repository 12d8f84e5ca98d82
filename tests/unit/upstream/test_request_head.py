"""The head of a request as our connection writes it against urllib3's: the same bytes, or the same refusal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.connection import HTTPConnection
from urllib3.util import SKIP_HEADER

from velro_auth.upstream.transport.connection import Connection
from velro_auth.upstream.transport.resolver import Resolver

_NAMES = st.one_of(
    st.sampled_from(["apikey", "Authorization", "Content-Length", "Host", "Accept-Encoding", "User-Agent", ""]),
    st.text(st.characters(max_codepoint=300), max_size=4),
    st.sampled_from([b"apikey", b"X-Bytes"]),
)  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(["2", "Bearer a.b.c", " a", "a ", "", "a\r\nX: y", "a\r\n b", "a\n", b"bytes", SKIP_HEADER, 5]),
    st.text(st.characters(max_codepoint=300), max_size=6),
)  # fmt: skip

_REQUEST = ("POST", "/auth/v1/token?grant_type=password", b"{}")


def written_by(kind: type[HTTPConnection], headers: dict[Any, Any], *, port: int = 8000) -> Any:
    """Return what one of the two sends, or the class and the text of its error."""
    sent: list[bytes] = []
    options = {"resolver": Resolver()} if kind is Connection else {}
    connection = kind("project.supabase.co", port, **options)  # type: ignore[arg-type]
    connection.sock = SimpleNamespace(sendall=lambda data: sent.append(bytes(data)), settimeout=lambda _: None)
    try:
        if isinstance(connection, Connection):
            connection._write_request(*_REQUEST, headers)
        else:
            connection.request(*_REQUEST, headers)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other has to say it too
        return type(error), str(error)
    return b"".join(sent)


@settings(max_examples=500)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_what_is_sent_is_what_urllib3_would_send(headers: dict[Any, Any]) -> None:
    assert written_by(Connection, headers) == written_by(HTTPConnection, headers)


@pytest.mark.parametrize("port", [80, 443, 54321])
def test_a_host_is_named_whatever_the_port(port: int) -> None:
    """For the usual port ``http.client`` writes the name as bytes."""
    written = written_by(Connection, {"apikey": "sb_publishable_1"}, port=port)

    assert written == written_by(HTTPConnection, {"apikey": "sb_publishable_1"}, port=port)
    assert b"\r\nHost: project.supabase.co" in written


def test_a_field_may_have_several_values() -> None:
    written: list[bytes] = []
    connection = Connection("project.supabase.co", 80, resolver=Resolver())
    connection.putrequest("GET", "/")
    connection.putheader("Vary", "Accept", "Origin")
    connection.send = written.append  # type: ignore[assignment]
    connection.endheaders()

    assert b"\r\nVary: Accept\r\n\tOrigin\r\n" in written[0]


@pytest.mark.parametrize("value", ["a\r\nX-Forged: y", "a\nX-Forged: y", "a\rX-Forged: y"])
def test_a_value_cannot_bring_a_field_of_its_own(value: str) -> None:
    kind, _ = written_by(Connection, {"traceparent": value})

    assert kind is ValueError
