"""A store with TLS: its certificate is checked by an authority of our own, and it checks ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.programs import free_port
from tests.fixtures.redis import START_S, redis_binary
from tests.waiting import eventually
from velro_auth.stores.client import STORE_ERRORS, connect


@pytest.fixture
def port(authority: Path, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    words = [
        *(redis_binary(), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)),
        *("--tls-cert-file", str(authority), "--tls-key-file", str(authority), "--tls-ca-cert-file", str(authority)),
        *("--tls-auth-clients", "yes", "--save", "", "--loglevel", "warning"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: process.poll() is not None or answers(f"rediss://localhost:{port}?{options(authority)}"))
        if process.poll() is not None:
            pytest.skip("this redis-server has no TLS")
        yield port
    finally:
        process.kill()
        process.wait(START_S)


def options(authority: Path) -> str:
    return f"ssl_ca_certs={authority}&ssl_certfile={authority}&ssl_keyfile={authority}"


def answers(url: str) -> bool:
    with connect(url, timeout_s=START_S) as client:
        try:
            return bool(client.ping())
        except STORE_ERRORS:
            return False


def test_both_sides_are_checked(port: int, authority: Path) -> None:
    assert answers(f"rediss://localhost:{port}?{options(authority)}")
    # Not by its own authority, without our certificate, by another name, without TLS.
    assert not answers(f"rediss://localhost:{port}?ssl_certfile={authority}&ssl_keyfile={authority}")
    assert not answers(f"rediss://localhost:{port}?ssl_ca_certs={authority}")
    assert not answers(f"rediss://127.0.0.1:{port}?{options(authority)}")
    assert not answers(f"redis://localhost:{port}")
    assert answers(f"rediss://127.0.0.1:{port}?{options(authority)}&ssl_check_hostname=false")
