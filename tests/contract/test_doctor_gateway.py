"""The doctor's checks of a running gateway: seen failing with each trouble, and well without."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from supabase_standin import Standin
from tests.contract.test_doctor_upstream import is_well, look, settings_of


class Gateway:
    """Answers what a gateway could; the real one takes minutes to come into such trouble."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {
            "/health": (200, json.dumps({"status": "healthy"})),
            "/health/ready": (200, json.dumps({"status": "pass", "checks": {"slo": [{"status": "pass"}]}})),
            "/metrics": (200, metrics()),
        }
        self.sent: list[str | None] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                double.sent.append(self.headers["Authorization"])
                status, body = double.answers[self.path]
                if not status:
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def metrics(idle: int = 2, age_s: float = 50, unused_s: float = 20) -> str:
    return (
        f"velro_auth_pool_idle_connections {idle:.1f}\nvelro_auth_pool_connection_age_seconds {age_s:.1f}\n"
        f"velro_auth_pool_connection_unused_seconds {unused_s:.1f}\n"
    )


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    double = Gateway()
    yield double
    double.server.shutdown()
    double.server.server_close()


READY = json.dumps({"status": "fail", "checks": {"breaker": [{"status": "warn", "output": "open"}]}})


@pytest.mark.parametrize(
    ("name", "path", "answer", "status", "said"),
    [
        ("gateway.health", "/health", (0, ""), "fail", "no answer (ProtocolError)"),
        ("gateway.health", "/health", (502, "<html>"), "fail", "answers 502"),
        ("gateway.ready", "/health/ready", (503, READY), "fail", "breaker (open)"),
        ("gateway.ready", "/health/ready", (200, "[]"), "fail", "nothing that can be read"),
        ("gateway.pool", "/metrics", (200, metrics(idle=0)), "warn", "0 idle"),
        ("gateway.pool", "/metrics", (200, metrics(age_s=700)), "warn", "opened 700 s ago"),
        ("gateway.pool", "/metrics", (200, metrics(unused_s=99)), "warn", "unused for 99 s"),
        ("gateway.pool", "/metrics", (404, "{}"), "skip", "METRICS_TOKEN"),
        ("gateway.pool", "/metrics", (200, ""), "skip", "after the first request"),
    ],
)
def test_a_gateway_in_trouble(
    gateway: Gateway, standin: Standin, name: str, path: str, answer: tuple[int, str], status: str, said: str
) -> None:
    assert is_well(name, standin, gateway_url=gateway.url)
    gateway.answers[path] = answer

    result = look(name, settings_of(standin), gateway_url=gateway.url)

    assert result.status == status
    assert said in result.found


def test_only_the_metrics_are_asked_for_with_the_token(gateway: Gateway, standin: Standin) -> None:
    look("gateway.pool", settings_of(standin, METRICS_TOKEN="scrape"), gateway_url=gateway.url)

    assert gateway.sent == [None, "Bearer scrape"]
