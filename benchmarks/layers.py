"""What each layer costs per ping and per login, in microseconds of processor time.

Run it with ``python -m benchmarks.layers``. Everything runs in one process and without sockets, except the call of the
upstream, which is the double of the other benchmarks. Each number is the minimum of several rounds: the time of the
code on an idle machine. The page ``docs/explanation/hot-path.md`` shows the result.

``--walk`` prints the modules of ours that one login passes instead.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.config
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import click
from gunicorn.config import Config
from gunicorn.http import get_parser, wsgi

from benchmarks.peers import bare
from benchmarks.servers import SECRET_KEY, Fleet
from benchmarks.walk import walk
from benchmarks.wire import TOKEN_PATH, Question, get, login
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.context import AFTERWARDS, CONTEXT, RequestContext
from velro_auth.endpoints.schemas import LoginBody, SessionAnswer
from velro_auth.fastlane import FastLane
from velro_auth.guards.keys import Keyring
from velro_auth.server.dispatch import respond
from velro_auth.server.request_head import ParserSettings
from velro_auth.server.request_parser import RequestParser
from velro_auth.telemetry.logs import configuration
from velro_auth.upstream.answers import session_from
from velro_auth.upstream.transport.transport import Reply, Transport
from velro_auth.wiring import build
from velro_auth.wiring.guards import build_guards, open_guards

_CLIENT: Final = ("::ffff:100.64.0.5", 40000)
_SERVER: Final = ("::", 8000)
_PING: Final = "/api/v1/auth/ping"
_ROUNDS: Final = 7
#: Logins before the one whose modules are counted: the check of client addresses ends after 200.
_WARM_UP: Final = 250

Row: TypeAlias = tuple[str, float]


def microseconds(call: Callable[[], object], times: int) -> float:
    """Return the processor time of one *call*: the minimum of several rounds of *times* calls."""
    taken = []
    for _ in range(_ROUNDS):
        started_s = time.thread_time()
        for _ in range(times):
            call()
        taken.append((time.thread_time() - started_s) / times * 1e6)
    return min(taken)


def gunicorn_config() -> Config:
    """Return the project's settings for gunicorn."""
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
    """Parses requests into WSGI environments, as the worker and as gunicorn do."""

    def __init__(self) -> None:
        self._cfg = gunicorn_config()
        self._settings = ParserSettings(self._cfg, ("/health", _PING))
        self._common = self._settings.environ_of(_CLIENT, _SERVER)

    def ours(self, question: Question) -> dict[str, Any]:
        """Read a request as the worker does."""
        parser = RequestParser(self._settings, self._common)
        parser.feed(bytearray(question.request))
        parser.environ[AFTERWARDS] = []
        return parser.environ

    def gunicorns(self, question: Question) -> dict[str, Any]:
        """Parse it as gunicorn does."""
        request = next(get_parser(self._cfg, iter([question.request]), _CLIENT))
        sink = SimpleNamespace(send=lambda _: 0, sendall=lambda _: None)
        return wsgi.create(request, sink, _CLIENT, _SERVER, self._cfg)[1]  # type: ignore[no-any-return] # no types

    def gunicorns_response(self, environ: dict[str, Any], app: Any) -> None:
        """Answer with gunicorn's response, into nowhere."""
        request = SimpleNamespace(method=environ["REQUEST_METHOD"], version=(1, 1), should_close=lambda: False)
        response = wsgi.Response(request, SimpleNamespace(sendall=lambda _: None), self._cfg)
        for item in app(environ, response.start_response):
            response.write(item)
        response.close()


def ping_rows(settings: Settings, times: int) -> list[Row]:
    """Measure a ping, from the bytes of the request to the response."""
    requests, ping, parts = Requests(), get(_PING), build(settings)
    environ = requests.ours(ping)
    service, flask_only = create_app(settings), create_app(settings, fast_lane=False)
    lane = FastLane(bare.app, parts.fast, prefixed=[parts.verify])

    def ask(app: Any) -> float:
        def once() -> None:
            fresh = {**environ, AFTERWARDS: []}
            fresh[CONTEXT] = RequestContext(request_id="0" * 32, address="203.0.113.7", arrived_s=0.0)
            for item in app(fresh, _started):
                assert item

        return microseconds(once, times)

    def sending(send: Callable[[dict[str, Any]], object]) -> float:
        return microseconds(lambda: send({**environ, AFTERWARDS: []}), times)

    gunicorns_us = sending(lambda fresh: requests.gunicorns_response(fresh, service))
    ours_us = sending(lambda fresh: respond(service, fresh, keep=True))
    bare_us, lane_us, all_us = ask(bare.app), ask(lane), ask(service)
    return [
        ("the head of 16 fields, read by gunicorn's parser", microseconds(lambda: requests.gunicorns(ping), times)),
        ("the same, read by the worker itself", microseconds(lambda: requests.ours(ping), times)),
        ("fast lane and endpoint", lane_us - bare_us),
        ("middleware: request id, address, CORS, header fields", all_us - lane_us),
        (
            "gunicorn's response: checks of the header fields",
            gunicorns_us - all_us,
        ),
        ("the worker's own", ours_us - all_us),
        ("Flask, in place of the fast lane", ask(flask_only) - all_us),
    ]


class Logins:
    """Logins of many users, in parts and as a whole.

    Args:
        settings: The settings of the service.
    """

    def __init__(self, settings: Settings) -> None:
        self._requests, self._service = Requests(), create_app(settings)
        self._guards = build_guards(settings, open_guards(settings), on_refused=print)
        self._questions = [login(number) for number in range(500)]
        self._numbers = iter(range(10**9))
        self._transport = Transport(settings.supabase_url, key=SECRET_KEY, pool_size=4)
        self._request = self._transport.prepare("POST", TOKEN_PATH)
        self._body = self._questions[1].request.partition(b"\r\n\r\n")[2]
        self._access = logging.getLogger("velro_auth.access")

    def rows(self, times: int) -> list[Row]:
        """Measure each part, then the whole login."""
        given, reply = json.loads(self._body), self._asked()
        session = session_from(reply)
        keyring, login_body, session_answer = Keyring(b"benchmark"), LoginBody(unknown="exclude"), SessionAnswer()
        parts: Mapping[str, Callable[[], object]] = {
            "the request, read by the worker itself": lambda: self._requests.ours(self._questions[1]),
            "body: JSON and schema": lambda: login_body.load(given),
            "names of the counters: HMAC of account and network": lambda: keyring.caller(given["email"], "198.18.0.1"),
            "throttle, failure delay, upstream rate limit, bulkhead, circuit breaker": self._guarded,
            "the call of Supabase by requests and urllib3, the kernel's part included": self._asked,
            "the session, read from the answer": lambda: session_from(reply),
            "the answer: schema and JSON": lambda: json.dumps(session_answer.dump(session)),
            "the line of the access log, written after the response": self._logged,
            "**all of it, without that line**": self.log_in,
        }
        return [(name, microseconds(part, times)) for name, part in parts.items()]

    def _asked(self) -> Reply:
        return self._transport.send(self._request, self._body)

    def _guarded(self) -> None:
        number = next(self._numbers) % 500
        with (
            self._guards.throttle.attempt(f"user{number}@example.com", f"198.18.0.{number % 250}"),
            self._guards.failure_delay.hold(time.monotonic()),
        ):
            self._guards.rate_limit.acquire(is_known=True)
            with self._guards.asking():
                pass

    def _logged(self) -> None:
        self._access.info("POST %s %d", "/api/v1/auth/login", 200, extra=_FIELDS)

    def log_in(self) -> None:
        """Log the next user in."""
        environ = self._requests.ours(self._questions[next(self._numbers) % 500])
        self._ask(environ)

    def modules(self) -> list[str]:
        """Return the modules of ours between the worker and the call of Supabase, for one login of many."""
        for _ in range(_WARM_UP):
            self.log_in()
        environ = self._requests.ours(self._questions[next(self._numbers) % 500])
        return walk(lambda: self._ask(environ)).modules

    def _ask(self, environ: dict[str, Any]) -> None:
        for item in self._service(environ, _started):
            assert item


#: As many fields as the middleware writes.
_FIELDS: Final = {
    **dict.fromkeys(("request_id", "account"), "0" * 32),
    **dict.fromkeys(("method", "path", "outcome", "lane", "address", "user_agent"), "a word or two"),
    **dict.fromkeys(("status", "took_ms", "upstream_ms"), 70.1),
}


def _started(_status: str, _headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
    return io.BytesIO().write


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """Format every log line as in production, and discard it."""
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
@click.option("--first-port", type=click.IntRange(1024, 65000), default=18900, show_default=True)
@click.option("--times", type=click.IntRange(1), default=2000, show_default=True, help="Calls in a round.")
@click.option("--walk", "is_walk", is_flag=True, help="Print the modules of ours that one login passes.")
def main(first_port: int, times: int, *, is_walk: bool) -> None:
    """Measure, and print two tables."""
    with tempfile.TemporaryFile() as log:
        fleet = Fleet(first_port=first_port, cores=None, log=log)
        with fleet.upstream(delay_ms=0) as upstream:
            settings = Settings.from_environment(
                {"SUPABASE_URL": upstream.url, "SUPABASE_SECRET_KEY": SECRET_KEY, "AUTH_THROTTLE_SCALE": "1000"}
            )
            with _quiet_log():
                modules = Logins(settings).modules() if is_walk else []
                tables = (
                    {}
                    if is_walk
                    else {"ping": ping_rows(settings, times), "login": Logins(settings).rows(max(1, times // 4))}
                )
    for module in modules:
        click.echo(module)
    for name, rows in tables.items():
        click.echo(f"| a {name} | µs |\n| --- | --- |")
        for title, value in rows:
            click.echo(f"| {title} | {value:.1f} |")
        click.echo()


if __name__ == "__main__":
    main()
