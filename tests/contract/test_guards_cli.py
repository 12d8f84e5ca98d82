"""``velro-auth guard`` against a real store."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.fixtures.redis import RedisServer
from tests.unit.guards.outcomes import fail
from velro_auth.config.settings import Settings
from velro_auth.errors import InvalidCredentials
from velro_auth.guards.attempts import MemoryAttempts
from velro_auth.guards.keys import Keyring
from velro_auth.guards.limits import Limits
from velro_auth.guards.throttle import Throttle, TooManyAttempts
from velro_auth.ops.cli.guard import guard
from velro_auth.stores.attempts import RedisAttempts
from velro_auth.stores.client import StoreBackoff, connect

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


@pytest.mark.parametrize("command", ["show", "release"])
def test_without_a_shared_store_an_operator_is_told_why_nothing_can_be_reached(command: str) -> None:
    status, output = run(command, ADA)

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
