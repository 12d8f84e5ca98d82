"""A store that refuses to work is reported differently from one that does not answer, with advice."""

from __future__ import annotations

import pytest
from redis import exceptions

from tests.conftest import LogLines
from tests.unit.guards.clock import HandClock
from velro_auth.stores.advice import advice_for
from velro_auth.stores.client import StoreBackoff

REFUSALS: list[tuple[Exception, str]] = [
    (exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"), "Redis Cluster"),
    (exceptions.MovedError("3999 127.0.0.1:6381"), "Redis Cluster"),
    (exceptions.RedisClusterException("Cluster mode is not enabled on this node"), "redis:// for redis+cluster"),
    (exceptions.ResponseError("Script attempted to access a non local key in a cluster node"), "Redis Cluster"),
    (exceptions.NoPermissionError("this user has no permissions to run the 'get' command"), "ACL SETUSER"),
    (exceptions.ResponseError("ACL failure in script: User gateway has no permissions"), "ACL SETUSER"),
    (exceptions.ResponseError("The user executing the script can't run this command or subcommand"), "ACL SETUSER"),
    (exceptions.ReadOnlyError("You can't write against a read only replica."), "primary"),
    (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "maxmemory"),
    (exceptions.AuthenticationError("invalid username-password pair or user is disabled."), "REDIS_URL"),
]
SILENCE: list[Exception] = [
    ConnectionRefusedError(),
    exceptions.ConnectionError("Error 111 connecting"),
    exceptions.TimeoutError("Timeout reading from socket"),
    exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"),
    ValueError("no number"),
]


@pytest.mark.parametrize(("error", "names"), REFUSALS)
def test_a_refusal_says_what_to_do(error: Exception, names: str, logs: LogLines) -> None:
    backoff = StoreBackoff(clock=HandClock())

    backoff.failed(error)

    assert names in advice_for(error)
    assert backoff.problem == (
        f"the store of login counters refuses to work ({advice_for(error)}):"
        " this process counts alone, with its share of the limits"
    )
    [line] = [record for record in logs.records if record.name == "velro_auth.guards"]
    assert line.levelname == "ERROR"
    assert line.getMessage().startswith(f"the shared store refuses to work ({type(error).__name__}): ")
    assert names in line.getMessage()
    assert "this process counts alone" in line.getMessage()


@pytest.mark.parametrize("error", SILENCE, ids=lambda error: type(error).__name__)
def test_no_answer_is_no_refusal(error: Exception) -> None:
    backoff = StoreBackoff(clock=HandClock())

    backoff.failed(error)

    assert advice_for(error) == ""
    assert "does not answer" in backoff.problem


def test_a_store_that_comes_back_only_to_refuse_is_told_so() -> None:
    backoff = StoreBackoff(clock=HandClock())

    backoff.failed(exceptions.ConnectionError())
    backoff.failed(exceptions.ReadOnlyError())

    assert "read-only replica" in backoff.problem
