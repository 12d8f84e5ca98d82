"""What ``velro-auth dev`` is made of, as far as it needs no process."""

from __future__ import annotations

import errno
import signal
import socket
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import requests
from click.testing import CliRunner

from supabase_standin import StandinConfig
from supabase_standin.__main__ import config_of, parser
from supabase_standin.redirects import is_allowed
from velro_auth.guards.budgets import BudgetLimits
from velro_auth.ops.cli.dev import DATA_DIR, await_health, dev, welcome
from velro_auth.ops.cli.local_project import CannotStart, LocalProject, mail_options
from velro_auth.ops.cli.ports import free_port_beside, require_free
from velro_auth.ops.cli.processes import Stopped, StopRequest, await_end, deferred_signals, stop_on_signals


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

    monkeypatch.setattr("velro_auth.ops.cli.dev.requests.get", get)

    await_health(8000, Mock(poll=lambda: None))

    assert next(answers, None) is None


def test_a_gateway_that_ends_is_not_waited_for() -> None:
    with pytest.raises(CannotStart, match="its lines above"):
        await_health(8000, Mock(poll=lambda: 1))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_stop_signal_raises_and_restores_the_handler(number: signal.Signals) -> None:
    """A closed terminal says SIGHUP, and not every system ends the children of a process that just dies."""
    before = signal.getsignal(number)

    with pytest.raises(Stopped), stop_on_signals():
        signal.raise_signal(number)

    assert signal.getsignal(number) is before


def test_a_request_to_stop_whose_exception_was_lost_ends_the_wait() -> None:
    """An exception that is raised inside a finaliser is reported and dropped."""
    running = Mock(poll=lambda: None)

    with pytest.raises(Stopped):
        await_end(running, StopRequest(is_made=True))


def test_a_signal_sets_the_request_as_well_as_raising() -> None:
    with pytest.raises(Stopped), stop_on_signals() as request:
        signal.raise_signal(signal.SIGTERM)

    assert request.is_made


def test_the_status_of_a_program_that_ends_by_itself_is_returned() -> None:
    assert await_end(Mock(poll=lambda: 3), StopRequest()) == 3


def test_the_first_signal_sets_the_request_and_the_second_one_has_its_usual_effect() -> None:
    got: list[int] = []
    seen: list[tuple[bool, int]] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with deferred_signals() as request:
            for _ in range(2):
                signal.raise_signal(signal.SIGTERM)
                seen.append((request.is_made, len(got)))
    finally:
        signal.signal(signal.SIGTERM, before)

    assert seen == [(True, 0), (True, 1)]


@pytest.mark.parametrize("module", ["supabase_standin", "bcrypt"])
def test_a_missing_local_supabase_is_one_sentence_that_says_what_to_install(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in is a distribution of its own."""
    monkeypatch.setitem(sys.modules, module, None)

    result = CliRunner(env={"RAILWAY_ENVIRONMENT_NAME": None}).invoke(dev, ["--data-dir", str(tmp_path / "data")])

    assert result.exit_code == 1
    assert result.output.startswith(f"Error: The local Supabase is not installed ({module} is missing): ")
    assert result.output.count("\n") == 1
    assert "pip install ./supabase_standin" in result.output
    assert "make dist" in result.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("command", [["env"], ["add-user", "ada@example.com"]])
def test_the_data_directory_is_named_before_or_after_the_command(
    command: list[str], tmp_path: Path, *, is_before: bool
) -> None:
    option = ["--data-dir", str(tmp_path)]

    result = CliRunner().invoke(dev, [*option, *command] if is_before else [*command, *option])

    assert result.exit_code == 1
    assert f"No local Supabase runs on {tmp_path}" in result.output


def project(url: str) -> LocalProject:
    return LocalProject(
        gateway_url="http://localhost:8000",
        url=url,
        publishable_key="sb_publishable_x",
        secret_key="sb_secret_x",
        database_dsn="user=postgres password='a b'",
    )


@pytest.mark.parametrize(
    ("data_dir", "options"), [(DATA_DIR, ""), (Path("another folder"), " --data-dir 'another folder'")]
)
def test_the_next_commands_name_the_data_directory_unless_it_is_the_usual_one(data_dir: Path, options: str) -> None:
    said = welcome(8000, project("http://localhost:8001"), data_dir)

    assert f"velro-auth dev{options} add-user ada@example.com\n" in said
    assert f'velro-auth dev{options} env)"\n' in said


def test_the_first_lines_name_the_address_for_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the page to sign in keeps no session."""
    monkeypatch.delenv("AUTH_PUBLIC_URL", raising=False)
    usual = welcome(8000, project("http://localhost:8001"), DATA_DIR)
    monkeypatch.setenv("AUTH_PUBLIC_URL", "http://localhost:8080/")
    behind_a_proxy = welcome(8000, project("http://localhost:8001"), DATA_DIR)

    assert usual.startswith("  Open      http://localhost:8000/   (what runs here")
    assert "  sign in   http://localhost:8000/login " in usual
    assert behind_a_proxy.startswith("  Open      http://localhost:8080/   (AUTH_PUBLIC_URL")
    assert "  panel     http://localhost:8000/   (what runs here" in behind_a_proxy
    assert "  sign in   http://localhost:8080/login " in behind_a_proxy


def test_the_limits_of_mails_are_said() -> None:
    """Sign-ups that wait for a mail stop silently at a limit: the answers of all mails are the same."""
    said = welcome(8000, project("http://localhost:8001"), DATA_DIR)
    budgets = BudgetLimits()
    (from_network,), (to_address,) = budgets.mail_network, budgets.mail_pair

    assert f"{from_network.count} mails an hour from this machine, {to_address.count} for one address" in said
    assert "AUTH_THROTTLE_SCALE=100" in said


def test_a_running_project_is_found_by_its_folder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = project(f"http://127.0.0.1:{listener.getsockname()[1]}")

        with running.published(tmp_path):
            assert LocalProject.running(tmp_path) == running
            assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600]

        assert list(tmp_path.iterdir()) == []


def test_a_project_that_was_killed_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with project(f"http://127.0.0.1:{port}").published(tmp_path), pytest.raises(CannotStart, match="make run"):
        LocalProject.running(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"url": 1}'])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "running.json").write_text(content)

    with pytest.raises(CannotStart, match="No local Supabase runs"):
        LocalProject.running(tmp_path)


def test_links_in_mails_lead_to_the_gateway_and_spend_nothing() -> None:
    options = mail_options("http://localhost:8000", confirm="auto")

    config = standin_config(options)

    assert config.autoconfirm
    assert config.site_url == "http://localhost:8000/confirm"
    assert config.mail_link == "redirect"
    assert config.mail_interval_s == 1


@pytest.mark.parametrize("page", ["http://localhost:3000/a/b", "http://127.0.0.1:5173/", "http://localhost:8000/reset"])
def test_links_may_lead_to_a_frontend_on_any_port(page: str) -> None:
    assert is_allowed(standin_config(mail_options("http://localhost:8000", confirm="mail")), page)


def test_a_new_account_waits_for_a_mail_if_asked_to() -> None:
    assert not standin_config(mail_options("http://localhost:8000", confirm="mail")).autoconfirm


@pytest.mark.parametrize("chosen", ["Mail", "yes"])
def test_there_are_two_ways_to_confirm(chosen: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(dev, ["--data-dir", str(tmp_path)], env={"AUTH_DEV_CONFIRM": chosen})

    assert result.exit_code == 2
    assert "'auto', 'mail'" in result.output


def test_the_mailbox_is_at_the_local_supabase() -> None:
    running = project("http://127.0.0.1:8001")

    assert running.mailbox_url == "http://127.0.0.1:8001/mailbox"
    assert running.variables()["MAILBOX_URL"] == running.mailbox_url


def standin_config(options: list[str]) -> StandinConfig:
    return config_of(parser().parse_args(["--data-dir", ".", *options]))
