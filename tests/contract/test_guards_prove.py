"""``velro-auth prove enumeration`` finds what a gateway gives away, and nothing where there is nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

import pytest
from click.testing import CliRunner

from velro_auth.errors import InvalidCredentials
from velro_auth.guards.failure_delay import FailureDelay
from velro_auth.ops.cli.timing_test import prove

Answer: TypeAlias = tuple[int, dict[str, str], dict[str, object]]
Behaviour: TypeAlias = Callable[[str], Answer]

#: A tenth of Supabase's real gap: 10 to 20 ms for an unknown account, 120 to 150 ms for a wrong password.
TOOK_S = {"existing@example.com": 0.014, "banned@example.com": 0.002}

REFUSED: Answer = (401, {"WWW-Authenticate": 'Bearer realm="velro-auth"'}, {"code": "invalid_credentials"})


def leaky(email: str) -> Answer:
    """Answer as soon as Supabase does."""
    time.sleep(TOOK_S.get(email, 0.001))
    return REFUSED


def held(failure_delay: FailureDelay) -> Behaviour:
    """Answer after the failure delay."""

    def answer(email: str) -> Answer:
        with contextlib.suppress(InvalidCredentials), failure_delay.hold(time.monotonic()):
            leaky(email)
            raise InvalidCredentials
        return REFUSED

    return answer


class Handler(BaseHTTPRequestHandler):
    """Answers logins as the server's behaviour says, with a new request id each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Gateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers, problem = self.server.behaviour(body["email"])
        request_id = f"request-{next(self.server.numbers):08d}"
        payload = json.dumps({**problem, "request_id": request_id}).encode()
        self.send_response(status)
        for name, value in {**headers, "X-Request-ID": request_id, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


class Gateway(ThreadingHTTPServer):
    """A gateway that gives away what its behaviour gives away."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.numbers = itertools.count()


@contextlib.contextmanager
def running(behaviour: Behaviour) -> Iterator[str]:
    with Gateway(behaviour) as gateway:
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{gateway.server_port}"
        finally:
            gateway.shutdown()
            thread.join(10)


def run(behaviour: Behaviour, samples: int = 150) -> tuple[int, str]:
    with running(behaviour) as url:
        arguments = ["enumeration", "--url", url, "--samples", str(samples), "--existing", "existing@example.com"]
        result = CliRunner().invoke(prove, arguments)
    return result.exit_code, result.output


def test_a_gateway_that_answers_when_supabase_does_is_told_apart() -> None:
    status, output = run(leaky)

    assert status == 1
    assert output.count("TOLD APART") >= 2


def test_a_gateway_that_holds_refusals_is_not() -> None:
    """Chance accuses a fair gateway now and then, so twice in three is what counts."""
    failure_delay = FailureDelay(delay_ms=50.0, permits=100)

    statuses = [run(held(failure_delay), samples=100)[0] for _ in range(3)]

    assert statuses.count(0) >= 1
    assert 2 not in statuses


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ((401, {"X-Reason": "banned"}, REFUSED[2]), "headers              DIFFERS"),
        ((401, REFUSED[1], {"code": "user_banned"}), "body                 DIFFERS"),
    ],
)
def test_another_header_or_body_for_one_kind_tells(answer: Answer, found: str) -> None:
    status, output = run(lambda email: answer if email == "banned@example.com" else REFUSED, samples=20)

    assert (status, found in output) == (1, True)


def test_a_throttled_measurement_is_none() -> None:
    """429 for some kinds would otherwise look like a leak, and for all like a proof."""
    status, output = run(lambda _email: (429, {}, {"code": "too_many_attempts"}), samples=5)

    assert status == 2
    assert "Open the throttle" in output


def test_a_gateway_that_is_not_there_is_said_so() -> None:
    arguments = ["enumeration", "--url", "http://127.0.0.1:9", "--samples", "1"]

    result = CliRunner().invoke(prove, arguments)

    assert result.exit_code == 2
    assert "cannot be asked" in result.output
