"""``velro-auth guard`` against a real store."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.fixtures.redis import RedisServer
from tests.unit.guards.outcomes import fail
from velro_auth.config.settings import Settings
from velro_auth.errors import InvalidCredentials, Throttled
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.budgets import BudgetLimits, MemoryBudgets
from velro_auth.guards.codes import CodeBudget
from velro_auth.guards.enforcement import Enforcement
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.mails import MailBudget
from velro_auth.guards.throttle import Throttle, TooManyAttempts
from velro_auth.ops.cli.guard import guard
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.budgets import RedisBudgets
from velro_auth.stores.client import StoreBackoff, connect
from velro_auth.stores.report import RedisReport

ADA = "ada@example.com"
HOME = "192.0.2.1"


def run(*arguments: str, redis_url: str = "") -> tuple[int, str]:
    environment = {"REDIS_URL": redis_url, "AUTH_THROTTLE_SECRET": "secret"}
    result = CliRunner().invoke(guard, arguments, env=environment)
    return result.exit_code, result.output


def test_an_operator_sees_and_releases_who_is_held_back(redis_server: RedisServer) -> None:
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        memory = MemoryAttempts(limits=Limits())
        prefix = Settings.from_environment({}).redis_prefix
        attempts = RedisAttempts(client=client, limits=Limits(), fallback=memory, backoff=StoreBackoff(), prefix=prefix)
        throttle = Throttle(attempts=attempts, keyring=Keyring(b"secret"))
        for _ in range(5):
            with pytest.raises(InvalidCredentials), throttle.attempt(ADA, HOME):
                fail()

        shown = run("show", "Ada@Example.com ", redis_url=redis_server.url)
        assert shown[0] == 0
        assert "pair          5 failures in a row   wait 30 s" in shown[1]
        assert "ada" not in shown[1]
        with pytest.raises(TooManyAttempts), throttle.attempt(ADA, HOME):
            pass
        assert run("release", ADA, redis_url=redis_server.url) == (0, "3 counters forgotten.\n")
        with throttle.attempt(ADA, HOME):
            pass
        assert run("release", HOME, redis_url=redis_server.url)[0] == 0
        assert run("show", HOME, redis_url=redis_server.url) == (0, "No failure is remembered.\n")


def test_an_operator_sees_and_releases_codes_and_mails(redis_server: RedisServer) -> None:
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        prefix, keyring = Settings.from_environment({}).redis_prefix, Keyring(b"secret")
        memory, attempts = MemoryBudgets(limits=BudgetLimits()), MemoryAttempts(limits=Limits())
        budgets = RedisBudgets(
            client=client, limits=BudgetLimits(), fallback=memory, backoff=StoreBackoff(), prefix=prefix
        )
        codes = CodeBudget(budgets=budgets, keyring=keyring)
        for _ in range(10):
            with pytest.raises(InvalidCredentials), codes.attempt(ADA):
                fail()
        assert MailBudget(budgets=budgets, keyring=keyring, attempts=attempts).take(ADA, HOME)

        status, shown = run("show", ADA, redis_url=redis_server.url)

        assert status == 0
        assert [line.split()[0] for line in shown.splitlines()] == [
            "code",
            "mail_account",
            "mail_account_strangers",
            "mail_pair",
        ]
        assert "code                     10 of 10 in 1 h, 10 of 30 in 24 h wait 3600 s" in shown
        assert "example" not in shown
        assert "mail_network " in run("show", HOME, redis_url=redis_server.url)[1]
        with pytest.raises(Throttled), codes.attempt(ADA):
            pass
        assert run("release", ADA, redis_url=redis_server.url) == (0, "4 counters forgotten.\n")
        with codes.attempt(ADA):
            pass


def test_the_report_of_all_processes_is_in_the_store(redis_server: RedisServer) -> None:
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        backoff, seen = StoreBackoff(), list[str]()
        report = RedisReport(
            client, backoff, prefix=Settings.from_environment({}).redis_prefix, wall_clock=lambda: 60.0
        )
        processes = [
            report.beside(Enforcement(is_on=False, on_reported=seen.append, on_good=seen.append)) for _ in range(2)
        ]
        for process in processes:
            process.report("pair")
            with process.let_through("code"):
                pass

        status, output = run("report", "--forget", redis_url=redis_server.url)

        assert status == 0
        rows = [line.split() for line in output.splitlines()]
        assert rows[1:4] == [["code", "2", "2"], ["pair", "2", "0"], ["all", "4", "2"]]
        assert output.endswith("Counted since 1970-01-01 00:01 UTC.\n")
        assert seen == ["pair", "code", "code"] * 2
        assert run("report", redis_url=redis_server.url)[1].startswith("Nothing would have been refused")


def test_a_store_that_fails_loses_the_report_and_no_request(own_redis: RedisServer) -> None:
    with connect(own_redis.url, timeout_s=0.25) as client:
        seen: list[str] = []
        report = RedisReport(client, StoreBackoff(), prefix="test")
        enforcement = report.beside(Enforcement(is_on=False, on_reported=seen.append))
        own_redis.kill()

        with enforcement.let_through("pair"):
            pass

    assert seen == ["pair"]


@pytest.mark.parametrize("command", ["show", "release", "report"])
def test_without_a_shared_store_an_operator_is_told_why_nothing_can_be_reached(command: str) -> None:
    status, output = run(command, *([] if command == "report" else [ADA]))

    assert status == 2
    assert "which no other process can reach" in output


def test_a_store_that_does_not_answer_is_said_so(own_redis: RedisServer) -> None:
    own_redis.kill()

    status, output = run("show", ADA, redis_url=own_redis.url)

    assert status == 2
    assert "cannot be asked" in output


def test_the_budget_is_printed() -> None:
    status, output = run("budget", "--replicas", "4")

    assert status == 0
    assert "      10  one account, at once" in output
    assert "mailed codes\n      10  one address or phone number, in 1 h\n" in output


def test_an_operator_sees_and_releases_the_networks_around_an_address(redis_server: RedisServer) -> None:
    with connect(redis_server.url, timeout_s=5.0) as client:
        client.flushall()
        prefix = Settings.from_environment({}).redis_prefix
        memory = MemoryAttempts(limits=Limits())
        attempts = RedisAttempts(client=client, limits=Limits(), fallback=memory, backoff=StoreBackoff(), prefix=prefix)
        throttle = Throttle(attempts=attempts, keyring=Keyring(b"secret"))
        for number in range(76):
            with pytest.raises((InvalidCredentials, TooManyAttempts)):
                _guess(throttle, f"{number}@example.com", f"2001:db8:0:{number % 2:x}::1")

        status, shown = run("show", "2001:db8:0:ff::1", redis_url=redis_server.url)

        assert status == 0
        assert [line.split()[0] for line in shown.splitlines()] == ["network56", "network48"]
        assert "75 failures in a row   wait" in shown
        assert run("release", "2001:db8:0:ff::1", redis_url=redis_server.url) == (0, "2 counters forgotten.\n")
        with throttle.attempt(ADA, "2001:db8:0:ff::1"):
            pass


def _guess(throttle: Throttle, account: str, address: str) -> None:
    with throttle.attempt(account, address):
        fail()
