"""Several projects share one Redis and nothing in it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.fixtures.redis import RedisServer
from tests.fixtures.tokens import checked_claims
from velro_auth.auth.denylist import Denial, end_of_session
from velro_auth.auth.models import Session
from velro_auth.auth.refresh import Outcome
from velro_auth.config.settings import Settings
from velro_auth.errors import InvalidCredentials, Throttled
from velro_auth.guards.limits import Limits
from velro_auth.guards.throttle import Throttle
from velro_auth.stores.client import SharedStore, connect
from velro_auth.stores.denylist_codec import DenialsInRedis
from velro_auth.wiring.guards import build_guards, open_guards
from velro_auth.wiring.sessions import _shared

#: Few tries reach the limit of the service: these many.
SCALE = 0.05
SERVICE_TRIES = Limits().scaled(SCALE).service.burst

MakeSettings = Callable[[str], Settings]


@pytest.fixture
def settings_of(own_redis: RedisServer) -> MakeSettings:
    """Return a function that makes the settings of a project; all use the one Redis."""

    def make(host: str) -> Settings:
        return Settings.from_environment(
            {
                "SUPABASE_URL": f"https://{host}",
                "SUPABASE_SECRET_KEY": "sb_secret_0123456789012345678901",
                "REDIS_URL": own_redis.url,
                "AUTH_THROTTLE_SCALE": str(SCALE),
            }
        )

    return make


def throttle_of(settings: Settings) -> Throttle:
    return build_guards(settings, open_guards(settings, store=SharedStore())).throttle


def guess(throttle: Throttle, number: int) -> None:
    with throttle.attempt(f"{number}@example.com", f"10.{number}.0.1"):
        raise InvalidCredentials


def test_guesses_at_one_project_leave_the_limits_of_another_alone(settings_of: MakeSettings) -> None:
    attacked, other = throttle_of(settings_of("one.supabase.co")), throttle_of(settings_of("two.supabase.co"))
    for number in range(SERVICE_TRIES):
        with pytest.raises(InvalidCredentials):
            guess(attacked, number)
    with pytest.raises(Throttled, match="service"):
        guess(attacked, 200)

    with pytest.raises(InvalidCredentials):
        guess(other, 201)


def test_every_key_names_the_project(settings_of: MakeSettings, own_redis: RedisServer) -> None:
    settings = settings_of("one.supabase.co")
    with pytest.raises(InvalidCredentials):
        guess(throttle_of(settings), 0)
    denied, relay, _ = _shared(settings, SharedStore(), "")
    denied.deny([end_of_session(checked_claims(), until_s=time.time() + 3600)])
    assert relay is not None
    relay.share("a refresh token", _refused)

    with own_redis.client() as client:
        keys = [key.decode() for key in client.scan_iter()]

    # Denials have no version in their names: releases share them.
    names = {key.removeprefix(f"{settings.redis_prefix}:").removeprefix("v2:").split(":")[0] for key in keys}
    assert names >= {"throttle", "denied", "denials", "refresh"}
    assert [key for key in keys if not key.startswith(settings.redis_prefix + ":")] == []
    assert settings.redis_prefix != settings_of("two.supabase.co").redis_prefix


def _refused() -> Outcome[Session]:
    return Outcome(None, "gone")


def test_a_logout_under_the_keys_of_an_earlier_release_stays_in_force(
    settings_of: MakeSettings, own_redis: RedisServer
) -> None:
    claims = checked_claims(exp=int(time.time()) + 3500, issued_at=int(time.time()) - 100)
    entered = [end_of_session(claims, until_s=time.time() + 3600)]
    with connect(own_redis.url, timeout_s=5.0) as client:
        DenialsInRedis(client=client).write(entered)
        denials = DenialsInRedis(client=client, prefix="velro:of-a-project", earlier_prefix="velro")

        assert set(denials.read_all()) == set[Denial](entered)
        assert set(denials.read_for(claims)) == set(entered)
