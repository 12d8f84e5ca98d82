"""What each layer costs per ping and per login, in microseconds of processor time.

Run it with ``python -m benchmarks.layers``. Everything is in one process and without sockets, but for the call of the
upstream, which is the double of the other benchmarks. Each number is the least of several rounds: what the code
takes when nobody is in its way. The page ``docs/explanation/hot-path.md`` shows the result.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import click
from gunicorn.config import Config
from gunicorn.http import get_parser, wsgi

from benchmarks.peers import bare
from benchmarks.servers import SECRET_KEY, Fleet
from benchmarks.wire import Question, get, login
from velro_auth.app import Service, create_app
from velro_auth.auth.models import Credentials
from velro_auth.endpoints.login import _ANSWER, _BODY
from velro_auth.exchange import AFTERWARDS, Exchange
from velro_auth.guards.keys import Keyring
from velro_auth.settings import Settings
from velro_auth.telemetry.logs import configuration
from velro_auth.upstream.identity import SupabaseIdentity, session_from
from velro_auth.upstream.transport import Reply, Transport
from velro_auth.wiring import wire
from velro_auth.worker_intake import Arrival, Intake
from velro_auth.worker_plain import Reader

_CLIENT: Final = ("::ffff:100.64.0.5", 40000)
_SERVER: Final = ("::", 8000)
_PING: Final = "/api/v1/auth/ping"

Row = tuple[str, float]


def microseconds(call: Callable[[], object], *, times: int = 2000, rounds: int = 7) -> float:
    """Return the processor time of one *call*: the least of some rounds."""
    taken = []
    for _ in range(rounds):
        started_s = time.thread_time()
        for _ in range(times):
            call()
        taken.append((time.thread_time() - started_s) / times * 1e6)
    return min(taken)


def gunicorn_config() -> Config:
    """Return gunicorn's settings as the project has them."""
    cfg = Config()
    for name, value in {
        "forwarded_allow_ips": "*",
        "forwarder_headers": "",
        "limit_request_fields": 64,
        "logconfig_dict": configuration("warning"),
    }.items():
        cfg.set(name, value)
    return cfg


class Requests:
    """Turns bytes into environments, as the worker and as gunicorn do."""

    def __init__(self) -> None:
        self._cfg = gunicorn_config()
        self._paths = ("/health", _PING, "/api/v1/auth/login")
        self._reader = Reader(self._cfg, self._paths)
        self._intake = Intake(probe_paths=self._paths, limit_request_line=4094)

    def ours(self, question: Question) -> dict[str, Any]:
        """Read a request as the worker does."""
        arrival = Arrival(bytearray(question.request))
        self._intake.judge(arrival)
        request = self._reader.read(arrival, _CLIENT, _SERVER)
        assert request is not None
        request.environ[AFTERWARDS] = []
        return request.environ

    def gunicorns(self, question: Question) -> dict[str, Any]:
        """Read it as gunicorn does."""
        request = next(get_parser(self._cfg, iter([question.request]), _CLIENT))
        sink = SimpleNamespace(send=lambda _: 0, sendall=lambda _: None)
        return wsgi.create(request, sink, _CLIENT, _SERVER, self._cfg)[1]  # type: ignore[no-any-return] # no types

    def answer(self, environ: dict[str, Any], app: Any) -> None:
        """Answer with gunicorn's response, into nowhere."""
        request = SimpleNamespace(method=environ["REQUEST_METHOD"], version=(1, 1), should_close=lambda: False)
        response = wsgi.Response(request, SimpleNamespace(sendall=lambda _: None), self._cfg)
        for item in app(environ, response.start_response):
            response.write(item)
        response.close()


def ping_rows(service: Service, flask_only: Service) -> list[Row]:
    """Measure a ping, from its bytes to its answer."""
    requests, ping = Requests(), get(_PING)
    environ = requests.ours(ping)

    def ask(app: Any) -> Callable[[], object]:
        return lambda: [*app({**environ, AFTERWARDS: []}, _started)]

    answered = [*ask(service)()]
    assert b'"fastpath":true' in answered[0], answered
    bare_us, ours_us = microseconds(ask(bare.app)), microseconds(ask(service))
    edge = service._edge
    lane_us = microseconds(lambda: [*edge._app({**environ, "velro_auth.exchange": _exchange()}, _started)])
    return [
        ("the head of 16 fields, read by gunicorn's parser (for comparison)", microseconds(lambda: requests.gunicorns(ping))),
        ("the same, read by the worker", microseconds(lambda: requests.ours(ping))),
        ("fast lane and endpoint", lane_us - bare_us),
        ("edge: request id, address, CORS, headers, metrics", ours_us - lane_us),
        ("gunicorn's response: checks of 13 header fields", microseconds(lambda: requests.answer({**environ}, service)) - ours_us),
        ("Flask and its extensions instead of the fast lane (for comparison)", microseconds(ask(flask_only)) - ours_us),
    ]  # fmt: skip


def login_rows(settings: Settings, service: Service, url: str) -> list[Row]:
    """Measure a login, part by part; the whole of it last."""
    requests, parts = Requests(), wire(settings)
    questions = [login(number) for number in range(500)]
    numbers = iter(range(10**9))
    transport = Transport(url, key=SECRET_KEY, pool_size=4)
    identity = SupabaseIdentity(transport, forwards_address=True)
    body = questions[1].request.partition(b"\r\n\r\n")[2]
    given = json.loads(body)
    session = identity.sign_in(Credentials(**given), _exchange())
    reply = _reply(transport, body)
    guards = parts.auth[0].log_in.guards  # type: ignore[attr-defined] # the login endpoint's
    keyring = Keyring(b"benchmark")

    def guarded() -> None:
        number = next(numbers) % 500
        with (
            guards.throttle.attempt(f"user{number}@example.com", f"198.18.0.{number % 250}"),
            guards.floor.hold(time.monotonic()),
        ):
            guards.quota.take(is_known=True)
            with guards.asking():
                pass

    def whole() -> None:
        environ = requests.ours(questions[next(numbers) % 500])
        for item in service(environ, _started):
            assert item

    access = logging.getLogger("velro_auth.access")
    return [
        ("the request, read by the worker", microseconds(lambda: requests.ours(questions[1]), times=500)),
        ("body: JSON and schema", microseconds(partial(_BODY.load, given), times=500)),
        ("names of the counters: HMAC of account and network", microseconds(partial(keyring.caller, given["email"], "198.18.0.1"), times=500)),
        ("throttle, floor, quota, gate, breaker", microseconds(guarded, times=500)),
        ("the call of Supabase by requests, of which a third is the kernel's", microseconds(lambda: _reply(transport, body), times=500)),
        ("the session, read from the answer", microseconds(partial(session_from, reply, time.time()), times=500)),
        ("the answer: schema and JSON", microseconds(lambda: json.dumps(_ANSWER.dump(session)), times=500)),
        ("the line of the access log, written when the answer has left", microseconds(lambda: access.info("POST %s %d", "/api/v1/auth/login", 200, extra=_FIELDS), times=500)),
        ("**all of it, without the log line**", microseconds(whole, times=500)),
    ]  # fmt: skip


_FIELDS: Final = {
    "request_id": "0" * 32, "method": "POST", "path": "/api/v1/auth/login", "status": 200, "outcome": "ok",
    "lane": "fast", "took_ms": 71.2, "upstream_ms": 70.1, "address": "198.18.0.1", "user_agent": "Mozilla/5.0", "account": "0" * 32,
}  # fmt: skip


def _started(_status: str, _headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
    return io.BytesIO().write


def _exchange() -> Exchange:
    return Exchange(request_id="0" * 32, address="203.0.113.7", arrived_s=0.0)


def _reply(transport: Transport, body: bytes) -> Reply:
    return transport.send(transport.prepare("POST", "/auth/v1/token?grant_type=password"), body)


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """Format every line as in production, and write it nowhere."""
    saved = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            logging.config.dictConfig(configuration("info"))
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)


@click.command()
@click.option("--first-port", type=click.IntRange(1024, 60000), default=18900, show_default=True)
def main(first_port: int) -> None:
    """Measure, and print two tables."""
    with tempfile.TemporaryFile() as log:
        fleet = Fleet(first_port=first_port, cores=None, log=log)
        with fleet.upstream(delay_ms=0) as upstream:
            settings = Settings.from_environment(
                {"SUPABASE_URL": upstream.url, "SUPABASE_SECRET_KEY": SECRET_KEY, "AUTH_THROTTLE_SCALE": "1000"}
            )
            service, flask_only = create_app(settings), create_app(settings, fast_lane=False)
            with _quiet_log():
                tables = {"ping": ping_rows(service, flask_only), "login": login_rows(settings, service, upstream.url)}
    for name, rows in tables.items():
        click.echo(f"| a {name} | µs |\n| --- | --- |")
        for title, value in rows:
            click.echo(f"| {title} | {value:.1f} |")
        click.echo()


if __name__ == "__main__":
    main()
