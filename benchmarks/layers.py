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
from benchmarks.wire import TOKEN_PATH, Question, get, login
from velro_auth.app import create_app
from velro_auth.config.settings import Settings
from velro_auth.context import AFTERWARDS, RequestContext
from velro_auth.endpoints.schemas import LoginBody, SessionAnswer
from velro_auth.fastlane import FastLane
from velro_auth.guards.keys import Keyring
from velro_auth.guards.upstream_rate_limit import OneAddress
from velro_auth.server.framing import Arrival, Intake
from velro_auth.server.plain_parser import Reader
from velro_auth.server.response_writer import Response
from velro_auth.telemetry.logs import configuration
from velro_auth.upstream.sessions import session_from
from velro_auth.upstream.transport.transport import Reply, Transport
from velro_auth.wiring import wire
from velro_auth.wiring.guards import wire_guards

_CLIENT: Final = ("::ffff:100.64.0.5", 40000)
_SERVER: Final = ("::", 8000)
_PING: Final = "/api/v1/auth/ping"
_ROUNDS: Final = 7

Row: TypeAlias = tuple[str, float]


def microseconds(call: Callable[[], object], times: int) -> float:
    """Return the processor time of one *call*: the least of some rounds of so many calls."""
    taken = []
    for _ in range(_ROUNDS):
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

    def answer(self, environ: dict[str, Any], app: Any, kind: type[wsgi.Response]) -> None:
        """Answer with a response of that *kind*, into nowhere."""
        request = SimpleNamespace(method=environ["REQUEST_METHOD"], version=(1, 1), should_close=lambda: False)
        response = kind(request, SimpleNamespace(sendall=lambda _: None), self._cfg)
        for item in app(environ, response.start_response):
            response.write(item)
        response.close()


def ping_rows(settings: Settings, times: int) -> list[Row]:
    """Measure a ping, from its bytes to its answer."""
    requests, ping, parts = Requests(), get(_PING), wire(settings)
    environ = requests.ours(ping)
    service, flask_only = create_app(settings), create_app(settings, fast_lane=False)
    lane = FastLane(bare.app, parts.fast, prefixed=parts.verify)

    def ask(app: Any) -> float:
        def once() -> None:
            fresh = {**environ, AFTERWARDS: []}
            RequestContext(request_id="0" * 32, address="203.0.113.7", arrived_s=0.0).attach(fresh)
            for item in app(fresh, _started):
                assert item

        return microseconds(once, times)

    def sending(kind: type[wsgi.Response]) -> float:
        return microseconds(lambda: requests.answer({**environ, AFTERWARDS: []}, service, kind), times)

    bare_us, lane_us, all_us = ask(bare.app), ask(lane), ask(service)
    return [
        ("the head of 16 fields, read by gunicorn's parser", microseconds(lambda: requests.gunicorns(ping), times)),
        ("the same, read by the worker itself", microseconds(lambda: requests.ours(ping), times)),
        ("fast lane and endpoint", lane_us - bare_us),
        ("edge: request id, address, CORS, header fields, metrics", all_us - lane_us),
        ("gunicorn's response: checks of the header fields", sending(wsgi.Response) - all_us),
        ("the worker's own", sending(Response) - all_us),
        ("Flask and its extensions, where they take the fast lane's place", ask(flask_only) - all_us),
    ]


class Logins:
    """Logins of many users, in parts and as a whole.

    Args:
        settings: What the service is told.
    """

    def __init__(self, settings: Settings) -> None:
        self._requests, self._service = Requests(), create_app(settings)
        self._guards = wire_guards(settings, on_refused=print, store=None, one_address=OneAddress())
        self._questions = [login(number) for number in range(500)]
        self._numbers = iter(range(10**9))
        self._transport = Transport(settings.supabase_url, key=SECRET_KEY, pool_size=4)
        self._request = self._transport.prepare("POST", TOKEN_PATH)
        self._body = self._questions[1].request.partition(b"\r\n\r\n")[2]
        self._access = logging.getLogger("velro_auth.access")

    def rows(self, times: int) -> list[Row]:
        """Measure each part, and all of it last."""
        given, reply = json.loads(self._body), self._asked()
        session = session_from(reply, time.time())
        keyring, login_body, session_answer = Keyring(b"benchmark"), LoginBody(unknown="exclude"), SessionAnswer()
        parts: Mapping[str, Callable[[], object]] = {
            "the request, read by the worker itself": lambda: self._requests.ours(self._questions[1]),
            "body: JSON and schema": lambda: login_body.load(given),
            "names of the counters: HMAC of account and network": lambda: keyring.caller(given["email"], "198.18.0.1"),
            "throttle, floor, quota, gate, breaker": self._guarded,
            "the call of Supabase by requests and urllib3, the kernel's part included": self._asked,
            "the session, read from the answer": lambda: session_from(reply, time.time()),
            "the answer: schema and JSON": lambda: json.dumps(session_answer.dump(session)),
            "the line of the access log, written when the answer has left": self._logged,
            "**all of it, without that line**": self._whole,
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

    def _whole(self) -> None:
        environ = self._requests.ours(self._questions[next(self._numbers) % 500])
        for item in self._service(environ, _started):
            assert item


#: As many fields as the edge writes.
_FIELDS: Final = {
    **dict.fromkeys(("request_id", "account"), "0" * 32),
    **dict.fromkeys(("method", "path", "outcome", "lane", "address", "user_agent"), "a word or two"),
    **dict.fromkeys(("status", "took_ms", "upstream_ms"), 70.1),
}


def _started(_status: str, _headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], object]:
    return io.BytesIO().write


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
@click.option("--first-port", type=click.IntRange(1024, 65000), default=18900, show_default=True)
@click.option("--times", type=click.IntRange(1), default=2000, show_default=True, help="Calls in a round.")
def main(first_port: int, times: int) -> None:
    """Measure, and print two tables."""
    with tempfile.TemporaryFile() as log:
        fleet = Fleet(first_port=first_port, cores=None, log=log)
        with fleet.upstream(delay_ms=0) as upstream:
            settings = Settings.from_environment(
                {"SUPABASE_URL": upstream.url, "SUPABASE_SECRET_KEY": SECRET_KEY, "AUTH_THROTTLE_SCALE": "1000"}
            )
            with _quiet_log():
                tables = {"ping": ping_rows(settings, times), "login": Logins(settings).rows(max(1, times // 4))}
    for name, rows in tables.items():
        click.echo(f"| a {name} | µs |\n| --- | --- |")
        for title, value in rows:
            click.echo(f"| {title} | {value:.1f} |")
        click.echo()


if __name__ == "__main__":
    main()
