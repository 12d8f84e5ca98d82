"""``velro-auth health``: one question to the service on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.fixtures.programs import free_port
from velro_auth.ops.cli.health import health


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """A service that is alive, and not ready."""
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_service_that_answers_is_well(port: int) -> None:
    done = CliRunner().invoke(health, env={"PORT": str(port)})

    assert (done.exit_code, done.output) == (0, f"/health on port {port} answered 200.\n")


def test_one_that_is_not_ready_is_not(port: int) -> None:
    done = CliRunner().invoke(health, ["--ready", "--port", str(port)])

    assert (done.exit_code, done.output) == (
        1,
        f"Error: /health/ready on port {port} answered 503. velro-auth doctor says why.\n",
    )


def test_the_port_in_the_settings_file_is_asked(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(f"PORT={port}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTH_ENV_FILE", raising=False)

    assert CliRunner().invoke(health).exit_code == 0


def test_nothing_there_is_not_well() -> None:
    done = CliRunner().invoke(health, ["--port", str(free_port())])

    assert done.exit_code == 1
    assert "does not answer (ConnectionRefusedError)" in done.output
