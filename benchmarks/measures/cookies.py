"""``verify`` by a session cookie, beside a bearer token, a bare callable, and oauth2-proxy by its own cookie."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.load import closed_loop
from benchmarks.peers import oauth2_proxy
from benchmarks.results import Measure
from benchmarks.servers import BARE, GATEWAY, Server
from benchmarks.setting import Setting, in_turn
from benchmarks.wire import Line, Question, get, login

_CONNECTIONS: Final = 8
_VERIFY: Final = "/api/v1/auth/verify"
#: The file of oauth2-proxy, where it is not in ``PATH``.
_VARIABLE: Final = "OAUTH2_PROXY"
_TIMEOUT_S: Final = 10.0

_COMPARED: Final = (
    "Each server is one process on one core. The bare WSGI callable answers every request with 70 bytes and two header"
    " fields, checks and logs nothing, and runs in the same worker with the same settings, in a thread of its pool;"
    " velro-auth answers for a known token on the worker's main thread. velro-auth and oauth2-proxy log each request."
)

_COOKIES: Final = dataclasses.replace(
    GATEWAY,
    settings={
        **GATEWAY.settings,
        "AUTH_COOKIE_SESSIONS": "1",
        "AUTH_PUBLIC_URL": "https://auth.example.com",
        # The origin in the headers of each request.
        "CORS_ORIGINS": "https://app.example.com",
    },
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table."""

    name: str
    title: str
    port: int
    question: Question


def throughput(setting: Setting) -> Measure:
    """Measure how many requests of one session are judged in a second, on one core."""
    rounds = []
    with setting.fleet.upstream(delay_ms=0) as upstream, contextlib.ExitStack() as stack:
        servers = [stack.enter_context(setting.fleet.server(contender, upstream)) for contender in (BARE, _COOKIES)]
        rows = [*_own(*servers), *stack.enter_context(_oauth2_proxy(setting))]
        for number in range(setting.effort.rounds):
            setting.tell(f"verify by cookie, round {number + 1}")
            rounds.append({row.name: _one(row, setting) for row in in_turn(rows, number)})
    has_proxy = any(row.name == "oauth2_proxy" for row in rows)
    missing = f"oauth2-proxy was not found: put it into PATH, or name it in {_VARIABLE}."
    like = "The session of oauth2-proxy holds the same tokens, from an OpenID provider, and its answer the identity."
    return Measure(
        name="verify_by_cookie",
        title=f"`{_VERIFY}` by cookie and by bearer token, {_CONNECTIONS} connections, the headers an edge adds",
        metrics=("requests/s", "p50 ms", "p99 ms", "failed"),
        titles={row.name: row.title for row in rows},
        rounds=rounds,
        ratio_of="requests/s",
        reference=BARE.name,
        notes=(_COMPARED, like if has_proxy else missing),
    )


def _own(bare: Server, gateway: Server) -> Iterator[_Row]:
    # Without the fields of a browser, the answer holds the tokens.
    head, body = _answer(gateway.port, _without_browser(login(1).request))
    token = body.partition(b'"access_token":"')[2].partition(b'"')[0].decode()
    assert token, (head, body)
    by_token = get(_VERIFY, token=token)
    # The same bytes for both.
    yield _Row("bare", BARE.title, bare.port, by_token)
    yield _Row("bearer", "velro-auth, bearer token", gateway.port, by_token)
    head, _ = _answer(gateway.port, login(2).request)
    yield _Row("cookie", "velro-auth, session cookie", gateway.port, _with_cookies(get(_VERIFY), head))


@contextlib.contextmanager
def _oauth2_proxy(setting: Setting) -> Iterator[list[_Row]]:
    """Run oauth2-proxy as the server of ``auth_request``, if it is there."""
    binary = os.environ.get(_VARIABLE) or shutil.which(oauth2_proxy.COMMAND)  # noqa: TID251 - of the benchmark alone
    if binary is None:
        yield []
        return
    port = setting.fleet.port()
    with oauth2_proxy.provider() as provider:
        arguments = oauth2_proxy.arguments(provider.url, port)
        with setting.fleet.binary(binary, *arguments, port=port):
            head, _ = _answer(port, get("/oauth2/start").request)
            back = get(oauth2_proxy.callback(_fields(head)["location"]))
            head, body = _answer(port, _with_cookies(back, head).request)
            question = dataclasses.replace(_with_cookies(get(oauth2_proxy.PATH), head), status=oauth2_proxy.STATUS)
            assert _works(port, question), (head, body)
            yield [_Row("oauth2_proxy", "oauth2-proxy, session cookie", port, question)]


def _one(row: _Row, setting: Setting) -> dict[str, float]:
    questions = itertools.repeat(row.question)
    found = closed_loop(row.port, questions, connections=_CONNECTIONS, duration_s=setting.effort.closed_s)
    return {"requests/s": found.per_s, "p50 ms": found.p50_ms, "p99 ms": found.p99_ms, "failed": found.failed}


def _answer(port: int, request: bytes) -> tuple[str, bytes]:
    """Return the head and the body of an answer."""
    request = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as sock:
        sock.sendall(request)
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    return head.decode("latin-1"), body


def _fields(head: str) -> dict[str, str]:
    fields = [line.partition(":") for line in head.split("\r\n")]
    return {name.lower(): value.strip() for name, _, value in fields}


def _without_browser(request: bytes) -> bytes:
    lines = request.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith((b"Origin:", b"Sec-Fetch-")))


def _with_cookies(question: Question, head: str) -> Question:
    """Return *question* with the cookies that an answer sets."""
    fields = [line.partition(":") for line in head.split("\r\n")]
    cookies = [value.strip().partition(";")[0] for name, _, value in fields if name.lower() == "set-cookie"]
    assert cookies, head
    line = f"\r\nCookie: {'; '.join(cookies)}\r\n\r\n".encode()
    return dataclasses.replace(question, request=question.request.replace(b"\r\n\r\n", line, 1))


def _works(port: int, question: Question) -> bool:
    with contextlib.closing(Line(port, timeout_s=_TIMEOUT_S)) as line:
        return question.is_answered_by(*line.ask(question.request))
