"""A real Prometheus scrapes a live service, evaluates the alert rules, and answers what the dashboard asks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from werkzeug.serving import make_server

from tests.contract.telemetry_app import Service, build
from tests.fixtures.programs import ROOT, free_port
from tests.waiting import PATIENCE_S, eventually
from velro_auth.telemetry.telemetry import Telemetry

RULES = ROOT / "deploy" / "prometheus" / "velro-auth.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "velro-auth.json"


#: Everything at once: what lasts a quarter of a minute in production lasts a fifth of a second here.
CONFIG = """
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [velro-auth.rules.yml]
scrape_configs:
  - job_name: velro-auth
    static_configs: [{{targets: ["{target}"]}}]
"""


def binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"no {name}: install the Debian package prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def promtool(*arguments: str, given: bytes = b"") -> str:
    done = subprocess.run([binary("promtool"), *arguments], input=given, capture_output=True, check=False, timeout=60)
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    return output


def expressions() -> list[str]:
    """Return what the dashboard asks, as Grafana would send it."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [text.replace("$job", ".*").replace("$__rate_interval", "1m") for text in asked]


class Live:
    """A service and a Prometheus that scrapes it."""

    def __init__(self, telemetry: Telemetry, folder: Path) -> None:
        self.telemetry = telemetry
        self._server = make_server("127.0.0.1", 0, Service(telemetry), threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._start_prometheus(folder)

    def _start_prometheus(self, folder: Path) -> None:
        port = free_port()
        (folder / "prometheus.yml").write_text(CONFIG.format(target=f"127.0.0.1:{self._server.port}"))
        # Nobody waits for minutes here.
        (folder / RULES.name).write_text(re.sub(r"for: \d+m", "for: 0s", RULES.read_text()))
        self._prometheus = subprocess.Popen(
            [
                *(binary("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
                *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
            ],
            stdin=subprocess.DEVNULL,
        )
        self._api = f"http://127.0.0.1:{port}/api/v1"

    def log_in(self, **query: Any) -> None:
        requests.get(f"{self.url}/login", params=query, timeout=10)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        response = requests.get(f"{self._api}/query", params={"query": expression}, timeout=10).json()
        assert response["status"] == "success", (expression, response)
        result: list[dict[str, Any]] = response["data"]["result"]
        return result

    def is_scraping(self) -> bool:
        try:
            is_ready = requests.get(self._api.replace("/api/v1", "/-/ready"), timeout=10).ok
        except requests.ConnectionError:
            return False
        return is_ready and bool(self.ask("up == 1"))

    def firing(self) -> set[str]:
        alerts = requests.get(f"{self._api}/alerts", timeout=10).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def stop_service(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def close(self) -> None:
        self.stop_service()
        self.telemetry.jobs.stop()
        self._prometheus.terminate()
        self._prometheus.wait(PATIENCE_S)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    binary("prometheus")
    live = Live(build(workers=1), tmp_path)
    yield live
    live.close()


def test_the_rules_are_valid_and_pass_their_own_tests() -> None:
    assert "SUCCESS: 15 rules found" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULES.with_name("velro-auth.rules.test.yml")))


def test_every_alert_rule_has_a_test() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tests = RULES.with_name("velro-auth.rules.test.yml").read_text()
    fired = {name for name in alerts if re.search(rf"alertname: {name}\n\s+exp_alerts:\n", tests)}

    assert fired == alerts


def test_the_scrape_configuration_is_valid(tmp_path: Path) -> None:
    for file in (RULES, RULES.with_name("prometheus.yml")):
        shutil.copy(file, tmp_path)
    (tmp_path / "metrics-token").touch()

    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_names_and_units_are_as_prometheus_wants_them() -> None:
    telemetry = build(workers=1)

    promtool("check", "metrics", given=telemetry.render())


def test_every_metric_that_rules_and_dashboard_ask_for_exists() -> None:
    known = set(re.findall(r"^# TYPE (\S+) ", build(workers=1).render().decode(), re.MULTILINE))
    asked = set(re.findall(r"\bvelro_auth_\w+", RULES.read_text() + " ".join(expressions())))

    assert {re.sub(r"_bucket$", "", name) for name in asked} <= known


@pytest.mark.slow
def test_a_failing_upstream_is_seen_by_a_real_prometheus_from_beginning_to_end(live: Live) -> None:
    eventually(live.is_scraping)
    for _ in range(50):
        live.log_in()
    eventually(lambda: live.ask('velro_auth_requests_total{route="login",status="2xx"} >= 50'))
    assert live.firing() == set()

    def fires_while_logins_fail() -> bool:
        live.log_in(status=503, outcome="upstream_timeout", took_ms=5000)
        return wanted <= live.firing()

    live.log_in(status=503, outcome="upstream_misconfigured", took_ms=50)
    wanted = {"VelroAuthServiceLevelCritical", "VelroAuthLoginsFail", "VelroAuthMisconfigured"}
    eventually(fires_while_logins_fail)

    for expression in expressions():
        assert live.ask(expression), f"the dashboard would show nothing for: {expression}"
    assert live.ask("velro_auth_slo_p95_seconds")[0]["value"][1].startswith("5")

    live.stop_service()
    eventually(lambda: "VelroAuthDown" in live.firing())
