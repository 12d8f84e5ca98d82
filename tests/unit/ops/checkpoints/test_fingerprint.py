from __future__ import annotations

from velro_auth.config.settings import Settings, specs
from velro_auth.ops.checkpoints.checkpoint import Fingerprint

ENVIRONMENT = {"SUPABASE_URL": "https://abc.supabase.co", "LOG_LEVEL": "debug", "METRICS_TOKEN": "canary-of-metrics"}


def fingerprint(**environment: str) -> Fingerprint:
    return Fingerprint.of(Settings.from_environment(environment))


def test_it_says_which_settings_are_not_as_they_were() -> None:
    then = fingerprint(**ENVIRONMENT)
    now = fingerprint(SUPABASE_URL="https://xyz.supabase.co", AUTH_FAST_LOGIN="0", REDIS_URL="redis://localhost")

    assert then.differences(now) == {
        "AUTH_FAST_LOGIN": "set since then",
        "LOG_LEVEL": "back at its default",
        "SUPABASE_URL": "another value",
        "REDIS_URL": "set since then",
        "METRICS_TOKEN": "no longer set",
    }
    assert then.differences(then) == {}


def test_it_holds_no_value_and_of_a_secret_not_even_a_hash() -> None:
    """A short secret can be guessed from its hash; and a key may stand in the wrong variable."""
    found = fingerprint(**ENVIRONMENT, AUDIT_FILE="sb_secret_in_the_wrong_variable")

    assert "METRICS_TOKEN" in found.secrets
    assert found.differences(fingerprint(**ENVIRONMENT | {"METRICS_TOKEN": "other"})) == {
        "AUDIT_FILE": "back at its default"
    }
    for value in ("sb_secret", "canary", "debug", "supabase.co"):
        assert value not in repr(found)


def test_every_secret_is_known_by_its_presence_only() -> None:
    secrets = {spec.metadata["variable"] for spec in specs() if spec.metadata["secret"]}
    # The one among them that is refused when it is nonsense.
    found = fingerprint(**dict.fromkeys(secrets, "x" * 40) | {"REDIS_URL": "redis://localhost"})

    assert found.secrets == secrets
    assert not secrets & found.changed.keys()


def test_what_differs_from_deployment_to_deployment_is_left_out() -> None:
    assert fingerprint(RAILWAY_DEPLOYMENT_ID="1", RAILWAY_REPLICA_ID="2") == fingerprint()
