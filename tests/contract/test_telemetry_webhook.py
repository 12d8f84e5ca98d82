"""The webhook against a real server that is slow, broken, gone or well."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import LogLines
from tests.fixtures.programs import free_port
from tests.fixtures.threads import out_of_threads
from tests.waiting import PATIENCE_S, eventually
from velro_auth.background import PeriodicJobs
from velro_auth.telemetry.alerts import Announcement
from velro_auth.telemetry.slo import Level, Reading
from velro_auth.telemetry.webhook import MAX_WAITING, SIGNATURE, Webhook

SECRET = "canary-of-the-webhook"


class Receiver:
    """Takes announcements, and answers as it is told."""

    def __init__(self, port: int = 0) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.delay_s = 0.0
        #: Whoever holds it keeps every answer back.
        self.answering = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((dict(self.headers.items()), body))
                time.sleep(receiver.delay_s)
                with receiver.answering:
                    pass
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/{SECRET}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def await_bodies(self, count: int) -> list[dict[str, Any]]:
        eventually(lambda: len(self.received) >= count)
        return [json.loads(body) for _, body in self.received]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def announcement(level: Level = "critical", alert: str = "login_p95") -> Announcement:
    reading = Reading(
        logins=100,
        failures=0,
        timed=100,
        success_rate=100.0,
        p50_ms=900.0,
        p95_ms=1234.56789,
        p99_ms=2000.0,
        own_p95_ms=3.0,
        burn_recent=0.0,
        burn_hour=0.0,
        hour_logins=100,
    )
    return Announcement(alert, level, "ok", f"{level}: logins are slow", reading, 1_800_000_000.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def new_webhook(receiver: Receiver) -> Iterator[Callable[..., Webhook]]:
    """Return a function that builds one; all of them are stopped at the end."""
    made: list[Webhook] = []

    def make(url: str = "", **options: Any) -> Webhook:
        options = {"secret": SECRET, "pauses_s": (0.01, 0.02, 0.05), **options}
        made.append(Webhook(url or receiver.url, source="velro-auth production", **options))
        return made[-1]

    yield make
    for webhook in made:
        webhook.stop()


def test_an_announcement_arrives_signed_and_readable_for_slack(
    receiver: Receiver, new_webhook: Callable[..., Webhook]
) -> None:
    new_webhook(wall_clock=lambda: 1_800_000_123.9)(announcement())

    (body,) = receiver.await_bodies(1)
    headers, raw = receiver.received[0]
    assert body["text"] == "[velro-auth production] critical: logins are slow"
    assert body.items() >= {"alert": "login_p95", "level": "critical", "was": "ok"}.items()
    assert body["reading"]["p95_ms"] == 1234.568
    # As a receiver checks it, from the words of the documentation.
    at, _, mac = headers[SIGNATURE].removeprefix("t=").partition(",v1=")
    assert at == "1800000123"
    assert mac == hmac.new(SECRET.encode(), at.encode() + b"." + raw, "sha256").hexdigest()


def test_an_announcement_waits_for_a_thread_that_the_system_has_later(
    receiver: Receiver, new_webhook: Callable[..., Webhook]
) -> None:
    """Nobody raises another alert meanwhile."""
    webhook, jobs = new_webhook(), PeriodicJobs([])
    jobs.retry_with(webhook.thread)
    with out_of_threads():
        webhook(announcement())
        jobs.run_once()

    jobs.run_once()

    (body,) = receiver.await_bodies(1)
    assert body["alert"] == "login_p95"


def test_without_a_secret_nothing_is_signed(receiver: Receiver, new_webhook: Callable[..., Webhook]) -> None:
    new_webhook(secret="")(announcement())

    receiver.await_bodies(1)
    assert SIGNATURE not in receiver.received[0][0]


def test_a_receiver_that_fails_is_tried_again_and_the_order_is_kept(
    receiver: Receiver, new_webhook: Callable[..., Webhook]
) -> None:
    receiver.statuses = [500, 429, 302]
    webhook = new_webhook()

    webhook(announcement("critical"))
    webhook(announcement("ok"))

    levels = [body["level"] for body in receiver.await_bodies(5)]
    assert levels == ["critical", "critical", "critical", "critical", "ok"]
    eventually(lambda: webhook.delivered == 2)


def test_a_receiver_that_is_gone_is_given_up_and_the_next_announcement_has_its_chance(
    receiver: Receiver, new_webhook: Callable[..., Webhook], logs: LogLines
) -> None:
    receiver.statuses = [500] * 4
    webhook = new_webhook()

    webhook(announcement("critical"))
    webhook(announcement("ok"))

    eventually(lambda: webhook.delivered == 1)
    assert webhook.given_up == 1
    (line,) = [vars(record) for record in logs.records if record.name == "velro_auth.alerts"]
    assert (line["trouble"], line["tries"], line["levelname"]) == ("status 500", 4, "ERROR")


def test_a_receiver_that_comes_back_hears_of_it(new_webhook: Callable[..., Webhook]) -> None:
    port = free_port()
    webhook = new_webhook(f"http://127.0.0.1:{port}/", pauses_s=(0.05,) * 200)
    webhook(announcement())
    time.sleep(0.2)

    receiver = Receiver(port)

    try:
        assert len(receiver.await_bodies(1)) == 1
    finally:
        receiver.close()


def test_nobody_waits_for_a_receiver_that_hangs(receiver: Receiver, new_webhook: Callable[..., Webhook]) -> None:
    webhook = new_webhook(timeout_s=PATIENCE_S, pauses_s=())

    with receiver.answering:
        started = time.monotonic()
        for _ in range(MAX_WAITING + 50):
            webhook(announcement())
        # Whoever waited would have waited for the timeout.
        assert time.monotonic() - started < PATIENCE_S

    # One may be under way while the others wait.
    eventually(lambda: webhook.delivered >= MAX_WAITING)
    assert webhook.drain(PATIENCE_S)
    assert webhook.delivered <= MAX_WAITING + 1


@pytest.mark.parametrize("url", ["not an address", "http://127.0.0.1:1/", "ftp://127.0.0.1/", "http://[::1"])
def test_an_address_that_cannot_work_is_logged_without_the_address_or_the_secret(
    url: str, new_webhook: Callable[..., Webhook], logs: LogLines
) -> None:
    webhook = new_webhook(f"{url}?{SECRET}" if url != "http://[::1" else url)

    webhook(announcement())

    eventually(lambda: webhook.given_up == 1)
    assert SECRET not in str(logs)
    assert SECRET not in repr(webhook)
    assert any(record.getMessage() == "the alert webhook could not be reached" for record in logs.records)


def test_a_process_that_ends_can_wait_for_what_is_under_way(
    receiver: Receiver, new_webhook: Callable[..., Webhook]
) -> None:
    receiver.delay_s = 0.05
    webhook = new_webhook()
    assert webhook.drain(0)
    for _ in range(3):
        webhook(announcement())

    assert webhook.drain(20)
    assert webhook.delivered == 3


def test_it_waits_no_longer_than_it_is_told(new_webhook: Callable[..., Webhook]) -> None:
    webhook = new_webhook(f"http://127.0.0.1:{free_port()}/", pauses_s=(60.0,))
    webhook(announcement())

    assert not webhook.drain(0.05)
