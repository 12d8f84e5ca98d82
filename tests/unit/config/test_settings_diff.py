"""New settings: what a running service takes of them, and what it refuses."""

from __future__ import annotations

from tests.unit.config.test_settings import GOOD
from velro_auth.config.reload import SettingsDiff, settings_diff
from velro_auth.config.settings import Settings


def diff_of(before: dict[str, str], after: dict[str, str]) -> SettingsDiff:
    return settings_diff(Settings.from_environment({**GOOD, **before}), Settings.from_environment({**GOOD, **after}))


def test_what_can_change_is_taken_and_told() -> None:
    found = diff_of({"LOG_LEVEL": "debug"}, {"CORS_ORIGINS": "https://a.example.com", "AUTH_FAST_LOGIN": "no"})

    assert found.settings.cors_origins == ("https://a.example.com",)
    assert found.settings.log_level == "info"
    assert found.changed == {
        "AUTH_FAST_LOGIN": "true -> false",
        "CORS_ORIGINS": "none -> https://a.example.com",
        "LOG_LEVEL": "debug -> info",
    }
    assert (found.errors, found.waiting) == ([], [])


def test_what_needs_a_restart_stays_and_is_named() -> None:
    found = diff_of({}, {"PORT": "9000", "REDIS_URL": "redis://other", "AUTH_THROTTLE_SCALE": "2"})

    assert found.settings == Settings.from_environment({**GOOD, "AUTH_THROTTLE_SCALE": "2"})
    assert found.waiting == ["REDIS_URL", "PORT"]


def test_a_secret_is_told_to_have_changed_and_no_more() -> None:
    found = diff_of({"METRICS_TOKEN": "canary-one"}, {"METRICS_TOKEN": "canary-two", "ALERT_WEBHOOK_SECRET": "canary"})

    assert "canary" not in str(found.changed) + str(found.waiting)
    assert found.settings.metrics_token == "canary-two"


def test_a_new_value_may_contradict_one_that_was_kept() -> None:
    found = diff_of({}, {"GUNICORN_THREADS": "128", "LOGIN_CONCURRENCY": "100"})

    assert [error.variable for error in found.errors] == ["LOGIN_CONCURRENCY"]


def test_a_mistake_in_what_needs_a_restart_counts_as_well() -> None:
    assert [error.variable for error in diff_of({}, {"PORT": "eighty"}).errors] == ["PORT"]
