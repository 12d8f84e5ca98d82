"""What ``velro-auth dev`` is made of, as far as it needs no process."""

from __future__ import annotations

import errno
import signal
import socket
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import requests

from velro_auth.cli.dev import CannotStart, await_health, free_port_beside, require_free
from velro_auth.cli.processes import Stopped, stop_on_signals


@pytest.mark.parametrize(
    ("port", "taken", "found"),
    [
        (8000, {8000}, 8001),
        (8000, {8000, 8001, 8002}, 8003),
        (65535, {65535}, 65534),
        (65530, set(range(65528, 65536)), 65527),
        (1, {1}, 2),
    ],
)
def test_the_local_supabase_takes_a_port_beside_the_gateway_s(port: int, taken: set[int], found: int) -> None:
    """There is nothing above the last port."""
    assert free_port_beside(port, is_free=lambda candidate: candidate not in taken) == found


def test_a_privileged_port_is_not_called_taken() -> None:
    def refuse(_: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(CannotStart, match=r"Port 80 is privileged.*from 1024 on"):
        require_free(80, listen=refuse)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CannotStart, match=f"Port {port} is taken by another program"):
            require_free(port)

    require_free(port)


def test_no_free_port_is_said() -> None:
    with pytest.raises(CannotStart, match="PORT=8100 make run"):
        free_port_beside(8000, is_free=lambda _: False)


def test_a_gateway_that_is_slow_to_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(
        [requests.ConnectionError(), requests.ReadTimeout(), SimpleNamespace(ok=False), SimpleNamespace(ok=True)]
    )

    def get(*_: object, **__: object) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("velro_auth.cli.dev.requests.get", get)

    await_health(8000, Mock(poll=lambda: None))

    assert next(answers, None) is None


def test_a_gateway_that_ends_is_not_waited_for() -> None:
    with pytest.raises(CannotStart, match="its lines above"):
        await_health(8000, Mock(poll=lambda: 1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_lets_it_tidy_up(number: signal.Signals) -> None:
    """A closed terminal says SIGHUP, and not every system ends the children of a process that just dies."""
    before = signal.getsignal(number)

    with pytest.raises(Stopped), stop_on_signals():
        signal.raise_signal(number)

    assert signal.getsignal(number) is before
