"""``velro-auth prove enumeration`` finds what a gateway gives away, and nothing where there is nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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
        self.server.paths.append(self.path)
        status, headers, problem = self.server.behaviour(body["email"])
        request_id = f"request-{next(self.server.numbers):08d}"
        payload = json.dumps({**problem, "request_id": request_id}).encode()
        self.send_response(status)
        for name, value in {**headers, "X-Request-ID": request_id, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        reached = self.server.reached()
        payload = b"" if reached is None else f"# x\nvelro_auth_upstream_requests_total {reached:.1f}\n".encode()
        self.send_response(404 if reached is None else 200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay silent."""


class Gateway(ThreadingHTTPServer):
    """A gateway that gives away what its behaviour gives away."""

    daemon_threads = True
    # Sixteen connect at once; the class's own five would have some refused on a busy machine.
    request_queue_size = 64

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.numbers = itertools.count()
        self.paths: list[str] = []
        #: The metric that counts the requests to Supabase; None while the metrics are closed.
        self.reached: Callable[[], int | None] = lambda: None


@contextlib.contextmanager
def running(behaviour: Behaviour, change: Callable[[Gateway], None] = lambda _gateway: None) -> Iterator[str]:
    with Gateway(behaviour) as gateway:
        change(gateway)
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{gateway.server_port}"
        finally:
            gateway.shutdown()
            thread.join(10)


def run(
    behaviour: Behaviour,
    samples: int = 150,
    *options: str,
    change: Callable[[Gateway], None] = lambda _gateway: None,
) -> tuple[int, str]:
    with running(behaviour, change) as url:
        arguments = ["enumeration", "--url", url, "--samples", str(samples), "--existing", "existing@example.com"]
        arguments += options
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


def test_the_time_left_in_a_rate_limit_tells_nothing() -> None:
    """It differs in every answer, a second more or less."""
    seconds = itertools.count(86400)

    _, output = run(
        lambda _email: (401, {**REFUSED[1], "RateLimit": f'"login";r=4;t={next(seconds)}'}, REFUSED[2]), samples=5
    )

    assert "headers              equal" in output


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


PATHS = {
    "login": ["/login"],
    "signup": ["/signup"],
    "forgot": ["/password/forgot"],
    "otp": ["/otp"],
    "resend": ["/signup", "/signup/resend"],
    "confirm": ["/password/forgot", "/confirm"],
}
ACCEPTED: Answer = (202, {}, {"status": "sent"})


@pytest.mark.parametrize("route", PATHS)
def test_each_route_is_asked_and_a_telling_answer_found(route: str) -> None:
    plain = REFUSED if route in {"login", "confirm"} else ACCEPTED
    telling = (plain[0], {"X-Known": "yes"}, plain[2])
    gateways: list[Gateway] = []

    def answer(email: str) -> Answer:
        return plain if email.startswith("nobody-") else telling

    status, output = run(answer, 4, "--route", route, change=gateways.append)

    assert (status, "headers              DIFFERS" in output) == (1, True)
    asked = [path.removeprefix("/api/v1/auth") for path in gateways[0].paths if path != "/metrics"]
    assert list(dict.fromkeys(asked)) == PATHS[route]


def test_answers_about_the_same_address_are_alike_but_for_the_address() -> None:
    def answer(email: str) -> Answer:
        return 202, {"Set-Cookie": f"flow={email[:3] * 5}; Secure"}, {"email": email}

    status, output = run(answer, 60, "--route", "otp")

    assert "DIFFERS" not in output
    assert status in {0, 1}


def test_a_shorter_cookie_tells() -> None:
    def answer(email: str) -> Answer:
        return 202, {"Set-Cookie": f"flow={'x' * (3 + email.startswith('nobody-'))}; Secure"}, {}

    assert run(answer, 4, "--route", "otp")[0] == 1


def test_what_never_reached_supabase_is_no_proof() -> None:
    def change(gateway: Gateway) -> None:
        gateway.reached = lambda: 7

    status, output = run(lambda _email: ACCEPTED, 4, "--route", "forgot", change=change)

    assert (status, "reached Supabase" in output) == (2, True)


def test_what_reached_supabase_is_one() -> None:
    def change(gateway: Gateway) -> None:
        gateway.reached = lambda: len(gateway.paths)

    status, output = run(lambda _email: ACCEPTED, 40, "--route", "forgot", change=change)

    assert status in {0, 1}, output
    assert "reached Supabase" not in output


def test_a_project_that_confirms_by_itself_is_said_so() -> None:
    status, output = run(lambda _email: (409, {}, {"code": "already_registered"}), 2, "--route", "signup")

    assert (status, "confirms addresses by itself" in output) == (2, True)


def test_without_a_project_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    result = CliRunner().invoke(prove, ["enumeration", "--data-dir", str(tmp_path)])

    assert result.exit_code == 2
    assert "make run" in result.output
