"""Fetching the key set over a real connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.fixtures.tokens import HandClock, HeldKeys, SigningKey, claims_at, document, rules
from velro_auth.auth.introspection import AskLimits, RemoteIntrospector, TokenIntrospector
from velro_auth.auth.keys import CannotVerify
from velro_auth.auth.verifier import TokenVerifier
from velro_auth.errors import TokenInvalid, UpstreamError, UpstreamFailed, UpstreamTimeout, UpstreamUnavailable
from velro_auth.upstream.jwks import KeyStore, KeyTimes
from velro_auth.upstream.jwks_http import MAX_BODY_BYTES, HttpKeySet

PATH = "/auth/v1/.well-known/jwks.json"


class Server(ThreadingHTTPServer):
    """Publishes keys, or misbehaves as told."""

    daemon_threads = True
    body = b'{"keys": []}'
    fault = ""
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{PATH}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        getattr(self, f"_answer_{self.server.fault or 'well'}")()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass

    def _answer_well(self) -> None:
        self._send(200, self.server.body)

    def _answer_html(self) -> None:
        self._send(521, b"<html>web server is down</html>")

    def _answer_redirect(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer_flood(self) -> None:
        self._send(200, b"x" * (MAX_BODY_BYTES + 1))

    def _answer_silence(self) -> None:
        time.sleep(0.6)

    def _answer_trickle(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" " * 4096)
            time.sleep(0.05)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def test_the_key_set_is_fetched(server: Server) -> None:
    server.body = document([SigningKey("one")])

    assert HttpKeySet(url=server.url)() == server.body


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("html", UpstreamFailed),
        ("redirect", UpstreamFailed),
        ("flood", UpstreamFailed),
        ("silence", UpstreamTimeout),
        ("trickle", UpstreamTimeout),
    ],
)
def test_anything_else_is_an_error_in_time(server: Server, fault: str, error: type[UpstreamError]) -> None:
    """A redirect too: the keys come from the address that was configured, or not at all."""
    server.fault = fault

    started_s = time.monotonic()
    with pytest.raises(error):
        HttpKeySet(url=server.url, timeout_s=0.2)()

    assert time.monotonic() - started_s < 1
    assert server.requests == 1


def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UpstreamUnavailable):
        HttpKeySet(url="http://127.0.0.1:9/jwks.json")()


class Supabase:
    """Knows which keys sign at the moment, which a key store may only learn a little later."""

    def __init__(self, *keys: SigningKey) -> None:
        self.accepts(*keys)
        self.asked = 0

    def accepts(self, *keys: SigningKey) -> None:
        self._verifier = TokenVerifier(keys=HeldKeys(*keys), rules=rules(HandClock()))

    def user(self, token: str) -> None:
        self.asked += 1
        try:
            self._verifier.verify(token)
        except CannotVerify:
            raise TokenInvalid("bad_jwt") from None


def test_tokens_stay_good_while_keys_rotate_under_load(server: Server) -> None:
    """Two rotations within a second, each used before it was published, six threads, real signatures."""
    one, two, three = SigningKey("one"), SigningKey("two"), SigningKey("three")
    server.body = document([one])
    supabase = Supabase(one)
    store = KeyStore(fetch=HttpKeySet(url=server.url), times=KeyTimes(ttl_s=0.4, refresh_after_s=0.2))
    introspector = TokenIntrospector(
        verifier=TokenVerifier(keys=store, rules=rules(HandClock())),
        remote=RemoteIntrospector(limits=AskLimits(unproven_per_s=10_000, unproven_burst=10_000), now=HandClock()),
    )
    current, refused, checked = [one], list[str](), list[int]()
    stop = threading.Event()

    def load() -> None:
        count = 0
        while not stop.is_set():
            key, count = current[-1], count + 1
            token = key.token(claims_at(nonce=count % 50))
            try:
                introspector.introspect(token, partial(supabase.user, token))
            except Exception as error:  # noqa: BLE001 (any is a failure of the test)
                refused.append(f"{key.kid}: {error!r}")
        checked.append(count)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for old, new in ((one, two), (two, three)):
        time.sleep(0.2)
        supabase.accepts(old, new)
        current.append(new)
        time.sleep(0.1)
        server.body = document([old, new])
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join(5)
    server.body = document([three])
    supabase.accepts(three)
    store.purge()

    assert refused == []
    assert sum(checked) > 100
    with pytest.raises(TokenInvalid):
        introspector.introspect(token := one.token(claims_at(nonce="late")), partial(supabase.user, token))
    store.close()
