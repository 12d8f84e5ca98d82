"""Whatever a target does, the monitor gets an answer or the class of what went wrong, within its limit."""

from __future__ import annotations

import time

import pytest
import requests
import urllib3.exceptions

from tests.fixtures.programs import free_port
from tests.fixtures.rude import Behaviour, Rude, answer, hangs, resets, says, says_and_closes, trickles
from velro_auth.ops.monitor.observation import Failure
from velro_auth.ops.monitor.probes import Answer, Client, failure_of

TIMEOUT_S = 0.5


def ask(url: str) -> Answer:
    return Client(url, timeout_s=TIMEOUT_S)("GET", "/health")


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (hangs, "timeout"),
        (trickles(answer(b"{}" * 100), every_s=0.1), "timeout"),
        (resets, "connection"),
        (says_and_closes(b""), "connection"),
        (says_and_closes(answer(b"x" * 100)[:-50]), "garbage"),
        (says(b"220 mail.example.com ESMTP\r\n"), "garbage"),
        (says(answer(headers=("Content-Encoding: gzip",))), "garbage"),
    ],
    ids=["hangs", "trickles", "resets", "closes", "truncates", "speaks mail", "no gzip"],
)
def test_every_trouble_has_its_class(rude: Rude, behaviour: Behaviour, failure: Failure) -> None:
    rude.does(behaviour)
    began_s = time.monotonic()

    found = ask(rude.url)

    assert (found.status, found.failure) == (None, failure)
    # A trickle of a byte in 0.1 s would take 30 s.
    assert time.monotonic() - began_s < 10


def test_a_closed_port() -> None:
    assert ask(f"http://127.0.0.1:{free_port()}").failure == "connection"


def test_an_untrusted_certificate(tls_rude: Rude) -> None:
    tls_rude.does(says(answer()))

    assert ask(tls_rude.url).failure == "tls"
    assert tls_rude.requests == []


def test_a_name_that_cannot_be() -> None:
    with_label_too_long = Client(f"http://{'a' * 64}.example.com", timeout_s=TIMEOUT_S)

    assert with_label_too_long("GET", "/").failure == "dns"


def test_an_unknown_name() -> None:
    """As requests wraps it."""
    pool = urllib3.HTTPConnectionPool("nobody.example.com")
    unknown = urllib3.exceptions.NameResolutionError("nobody.example.com", pool, OSError())  # type: ignore[arg-type] # typeshed
    wrapped = requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/", unknown))

    assert failure_of(wrapped) == "dns"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[" * 100_000, b"\xff", b'{"half":'])
def test_what_is_no_object_has_no_members(rude: Rude, body: bytes) -> None:
    rude.does(says(answer(body)))

    found = ask(rude.url)

    assert (found.status, found.failure, dict(found.body)) == (200, "", {})


def test_an_endless_answer_is_cut(rude: Rude) -> None:
    rude.does(says_and_closes(answer(b"x" * 10_000_000)))

    assert ask(rude.url).body == {}


def test_a_redirect_is_not_followed(rude: Rude) -> None:
    rude.does(says(answer(status="302 Found", headers=(f"Location: {rude.url}/elsewhere",))))

    assert ask(rude.url).status == 302
    assert len(rude.requests) == 1


def test_each_request_opens_a_connection(rude: Rude) -> None:
    """A kept one would hide that nobody accepts new ones, and break now and then when the server closes it."""
    rude.does(says(answer()))
    client = Client(rude.url, timeout_s=5)

    for _ in range(3):
        assert client("GET", "/health").status == 200

    assert rude.connected == 3


def test_proxies_of_the_environment_are_not_used(rude: Rude, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    rude.does(says(answer()))

    assert ask(rude.url).status == 200
