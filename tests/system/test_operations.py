"""What an operator sees of a running gateway: metrics, alerts, the audit trail; a drill from end to end."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from supabase_standin import Standin
from tests.fixtures.programs import ROOT, Program, clean_environment, gateway
from tests.waiting import eventually

PASSWORD = "canary-in-the-password"
LOGIN = "/api/v1/auth/login"
SECRET = "canary-in-the-signature"


@pytest.fixture
def email(standin: Standin) -> str:
    address = f"operations-{random.getrandbits(48):x}@example.com"
    standin.create_user(address, PASSWORD)
    return address


@pytest.fixture
def environment(standin: Standin) -> dict[str, str]:
    return {
        "SUPABASE_URL": standin.url,
        "SUPABASE_SECRET_KEY": standin.secret_key,
        "AUTH_THROTTLE_SCALE": "1000",
        "AUTH_FAILURE_FLOOR_MS": "0",
    }


def log_in(program: Program, email: str, password: str = PASSWORD) -> int:
    body = {"email": email, "password": password}
    return requests.post(f"{program.url}{LOGIN}", json=body, timeout=30).status_code


def metrics(program: Program, token: str = "") -> dict[str, float]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.get(f"{program.url}/metrics", headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


class Pager:
    """A local server that takes alerts."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        pager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                pager.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def pager() -> Iterator[Pager]:
    made = Pager()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_metrics_of_two_workers_add_up(environment: dict[str, str], email: str, tmp_path: Path) -> None:
    with (
        gateway(tmp_path / "log", **environment, WEB_CONCURRENCY="2") as running,
        ThreadPoolExecutor(8) as pool,
    ):
        statuses = list(pool.map(lambda n: log_in(running, email, PASSWORD if n % 4 else "wrong"), range(200)))
        logins: dict[str, float] = {}

        def are_counted() -> bool:
            shown = metrics(running).items()
            logins.update((name, value) for name, value in shown if name.startswith("velro_auth_logins_total"))
            return sum(logins.values()) == 200

        eventually(are_counted)

    assert next(value for name, value in logins.items() if '"ok"' in name) == statuses.count(200) == 150
    assert next(value for name, value in logins.items() if '"invalid_credentials"' in name) == 50


def test_metrics_are_closed_in_a_deployment_without_their_token(environment: dict[str, str], tmp_path: Path) -> None:
    deployed = {**environment, "RAILWAY_ENVIRONMENT_NAME": "production"}
    with gateway(tmp_path / "closed", **deployed) as running:
        assert requests.get(f"{running.url}/metrics", timeout=10).status_code == 404
    with gateway(tmp_path / "open", **deployed, METRICS_TOKEN="scrape") as running:
        assert requests.get(f"{running.url}/metrics", timeout=10).status_code == 404
        assert metrics(running, "scrape")


def test_one_login_whose_token_is_refused_here_rings(
    environment: dict[str, str], email: str, pager: Pager, tmp_path: Path
) -> None:
    settings = {
        **environment,
        "WEB_CONCURRENCY": "2",
        "AUTH_ISSUERS": "https://auth.example/auth/v1",
        "ALERT_WEBHOOK_URL": pager.url,
    }
    with gateway(tmp_path / "log", **settings) as running:
        assert log_in(running, email) == 200
        eventually(lambda: pager.calls, or_say=lambda: running.output[-3000:])
        ready = requests.get(f"{running.url}/health/ready", timeout=10)

    told = json.loads(pager.calls[0][1])
    assert (told["alert"], told["level"]) == ("login_tokens", "warning")
    assert "AUTH_ISSUERS" in told["sentence"]
    assert ready.status_code == 200
    assert (ready.json()["status"], ready.json()["checks"]["tokens"][0]["status"]) == ("warn", "warn")
    assert "a login was answered with a token that this service refuses" in running.output


def test_a_drill(environment: dict[str, str], email: str, standin: Standin, pager: Pager, tmp_path: Path) -> None:
    """Supabase hangs: log, metric, webhook and readiness say critical; it heals: all clear, once."""
    settings = {
        **environment,
        # Only what hangs takes so long. Enough logins fail within the window all the same: 24 at a time.
        "UPSTREAM_DEADLINE_S": "3",
        "AUTH_SLO_WINDOW_S": "10",
        "ALERT_WEBHOOK_URL": f"{pager.url}/canary-in-the-address",
        "ALERT_WEBHOOK_SECRET": SECRET,
    }
    with gateway(tmp_path / "log", **settings) as running, ThreadPoolExecutor(24) as pool:
        assert set(pool.map(lambda _: log_in(running, email), range(30))) == {200}
        assert _alerts(running) == []
        standin.faults.on("hang", path="/auth/v1/token")
        hung_s = time.monotonic()
        while not _alerts(running, "critical"):
            assert time.monotonic() < hung_s + 60, running.output[-3000:]
            list(pool.map(lambda _: log_in(running, email), range(24)))
        ready = requests.get(f"{running.url}/health/ready", timeout=10)
        health = requests.get(f"{running.url}/health", timeout=10).status_code
        level = max(value for name, value in metrics(running).items() if name.startswith("velro_auth_alert_level"))

        standin.faults.clear()
        ends_s = time.monotonic() + 90
        while _raised(running) or len(pager.calls) < len(_alerts(running)):
            assert time.monotonic() < ends_s, running.output[-3000:]
            list(pool.map(lambda _: log_in(running, email), range(8)))
            time.sleep(0.3)
        ready_again = requests.get(f"{running.url}/health/ready", timeout=10)
        running.stop()

    assert ready.status_code == 503
    assert ready.json()["checks"]["slo"][0]["status"] == "fail"
    assert health == 200
    assert level == 2
    assert ready_again.json()["checks"]["slo"][0]["status"] == "pass"
    told = [json.loads(body) for _, body in pager.calls]
    texts = [call["text"] for call in told]
    assert any("critical" in text for text in texts)
    cleared = [call["alert"] for call in told if call["level"] == "ok"]
    assert sorted(cleared) == sorted({call["alert"] for call in told})
    assert [line["alert"]["alert"] for line in _alerts(running, "ok")] == cleared
    for headers, body in pager.calls:
        assert is_signed(headers, body)
    sent = "".join(body.decode() for _, body in pager.calls)
    for secret in (PASSWORD, email, SECRET, "canary-in-the-address", standin.secret_key):
        assert secret not in running.output + sent


def _alerts(program: Program, level: str = "") -> list[dict[str, Any]]:
    """Return what was announced, of one level or at all."""
    lines = [json.loads(line) for line in program.whole_lines]
    announced = [
        line for line in lines if line["logger"] == "velro_auth.alerts" and isinstance(line.get("alert"), dict)
    ]
    return [line for line in announced if level in {"", line["alert"]["level"]}]


def _raised(program: Program) -> set[str]:
    """Return the alerts that were announced and not called off yet."""
    levels = {line["alert"]["alert"]: line["alert"]["level"] for line in _alerts(program)}
    return {alert for alert, level in levels.items() if level != "ok"}


def is_signed(headers: dict[str, str], body: bytes) -> bool:
    (name,) = [name for name in headers if "signature" in name]
    fields = dict(part.split("=", 1) for part in headers[name].split(","))
    expected = hmac.new(SECRET.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, fields["v1"])


def test_the_audit_trail_tells_of_logins_and_notices_a_changed_line(
    environment: dict[str, str], email: str, tmp_path: Path
) -> None:
    trail = tmp_path / "audit.jsonl"

    def verdict() -> int:
        command = [sys.executable, "-m", "velro_auth", "audit", "verify", str(trail)]
        return subprocess.run(command, env=clean_environment(), cwd=ROOT, capture_output=True, check=False).returncode

    with gateway(tmp_path / "log", **environment, AUDIT_FILE=str(trail)) as running:
        assert [log_in(running, email), log_in(running, email, "wrong")] == [200, 401]
        running.stop()

    text = trail.read_text()
    assert verdict() == 0
    assert "login" in text
    assert email not in text
    assert PASSWORD not in text
    trail.write_text(text.replace("127.0.0.1", "127.0.0.2", 1))
    assert verdict() == 1
