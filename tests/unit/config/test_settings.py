"""Settings: read once, all errors together, secrets masked."""

from __future__ import annotations

import base64
import ipaddress
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from werkzeug.test import Client

from velro_auth.app import create_app
from velro_auth.config.settings import Settings, shown, specs
from velro_auth.config.validation import SettingError
from velro_auth.ops.cli import main

GOOD = {
    "SUPABASE_URL": "https://abcdefgh.supabase.co",
    "SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0123456789abcdef",
    "SUPABASE_SECRET_KEY": "sb_secret_0123456789abcdefghi",
}


def legacy_key(**claims: str) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.signature"


def errors(**changes: str) -> dict[str, str]:
    settings = Settings.from_environment({**GOOD, **changes})
    return {error.variable: error.advice for error in settings.errors}


def test_good_settings_have_no_errors() -> None:
    assert errors() == {}


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_environment(GOOD)

    assert settings.auth_fast_login is True
    assert settings.upstream_connect_timeout_s == 2
    assert settings.upstream_deadline_s == 5
    assert settings.auth_max_body_bytes == 16 * 1024
    assert settings.gunicorn_threads == 32
    assert ipaddress.ip_network("100.64.0.0/10") in settings.trusted_proxies


def test_nothing_set_names_every_variable_that_is_needed() -> None:
    settings = Settings.from_environment({})

    assert [error.variable for error in settings.errors] == ["SUPABASE_URL", "SUPABASE_SECRET_KEY"]


def test_all_errors_are_reported_together() -> None:
    found = errors(
        PORT="eighty",
        AUTH_FAST_LOGIN="perhaps",
        GUNICORN_THREADS="1",
        UPSTREAM_DEADLINE_S="-1",
        CORS_ORIGINS="*",
        CORS_ORIGIN_REGEX="(",
        TRUSTED_PROXIES="10.0.0.0/8, everybody",
        SUPABASE_URL="supabase.co",
        LOG_LEVEL="loud",
    )

    assert sorted(found) == [
        "AUTH_FAST_LOGIN",
        "CORS_ORIGINS",
        "CORS_ORIGIN_REGEX",
        "GUNICORN_THREADS",
        "LOG_LEVEL",
        "PORT",
        "SUPABASE_URL",
        "TRUSTED_PROXIES",
        "UPSTREAM_DEADLINE_S",
    ]


def test_a_mistake_leaves_the_default_in_place() -> None:
    assert Settings.from_environment({**GOOD, "PORT": "eighty"}).port == 8000


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("1", True),
        ("true", True),
        ("on", True),
        ("0", False),
        ("false", False),
        ("off", False),
        ("", True),
        (" ", True),
    ],
)
def test_a_flag_is_read_as_people_write_it(given: str, read: bool) -> None:
    """An empty variable is one that somebody cleared in a dashboard."""
    assert Settings.from_environment({**GOOD, "AUTH_FAST_LOGIN": given}).auth_fast_login is read


def test_the_older_key_names_are_taken() -> None:
    settings = Settings.from_environment(
        {
            "SUPABASE_URL": "https://abcdefgh.supabase.co",
            "SUPABASE_ANON_KEY": legacy_key(role="anon", ref="abcdefgh"),
            "SUPABASE_SERVICE_ROLE_KEY": legacy_key(role="service_role", ref="abcdefgh"),
        }
    )

    assert settings.errors == ()
    assert settings.upstream_key == legacy_key(role="service_role", ref="abcdefgh")
    assert not settings.forwards_client_ip


def test_an_older_key_with_bytes_that_no_client_can_send_is_none() -> None:
    settings = Settings.from_environment({**GOOD, "SUPABASE_ANON_KEY": "\udcff" * 40})

    assert settings.client_keys == (GOOD["SUPABASE_PUBLISHABLE_KEY"],)
    assert not settings.errors


def test_the_newer_name_wins() -> None:
    settings = Settings.from_environment({**GOOD, "SUPABASE_ANON_KEY": "older" * 8})

    assert settings.supabase_publishable_key == GOOD["SUPABASE_PUBLISHABLE_KEY"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SUPABASE_SECRET_KEY", GOOD["SUPABASE_PUBLISHABLE_KEY"], "belongs into SUPABASE_PUBLISHABLE_KEY"),
        ("SUPABASE_PUBLISHABLE_KEY", GOOD["SUPABASE_SECRET_KEY"], "belongs into SUPABASE_SECRET_KEY"),
        ("SUPABASE_SECRET_KEY", "short", "too short"),
        ("SUPABASE_SECRET_KEY", "sb_secret_with a space in it", "copy it again"),
        ("SUPABASE_SECRET_KEY", "eyJhbGciOiJIUzI1NiJ9.!!!!!!!!", "cannot be read"),
        ("SUPABASE_SECRET_KEY", legacy_key(role="anon"), "'anon', not 'service_role'"),
        ("SUPABASE_PUBLISHABLE_KEY", legacy_key(role="service_role"), "'service_role', not 'anon'"),
        ("SUPABASE_SECRET_KEY", legacy_key(role="service_role", ref="zyxwvuts"), "belongs to project 'zyxwvuts'"),
        ("SUPABASE_URL", "http://abcdefgh.supabase.co", "https://"),
        ("SUPABASE_URL", "https://abcdefgh.supabase.co/auth/v1", "bare address"),
        ("SUPABASE_URL", "https://user:password@abcdefgh.supabase.co", "bare address"),
        ("SUPABASE_URL", "https://[abc", "not an address"),
        ("SUPABASE_URL", "https://<ref>.supabase.co", "not an address"),
        ("SUPABASE_URL", "https://*.supabase.co", "not an address"),
        ("SUPABASE_URL", "https://.supabase.co", "not an address"),
        ("SUPABASE_URL", "https://abc..supabase.co", "not an address"),
        ("SUPABASE_URL", "https://abc def.supabase.co", "not an address"),
        ("SUPABASE_URL", f"https://{'a' * 64}.supabase.co", "not an address"),
        ("SUPABASE_URL", "https://\u202eabc.supabase.co", "not an address"),
        ("AUTH_CLIENT_IP_HEADER", "X Real IP", "is not the name of a header"),
        ("AUTH_CLIENT_IP_HEADER", "Forwarded", "have the proxy send X-Forwarded-For"),
        ("AUTH_TRUSTED_HOPS", "0", "must be between 1 and 16"),
        ("REDIS_URL", "localhost:6379", "must start with redis://"),
        ("REDIS_URL", "redis://:canary@localhost:port", "check port and options"),
        ("REDIS_URL", "redis://:canary@localhost/0?socket_timeout=soon", "check port and options"),
        ("REDIS_URL", "redis://:canary@localhost/0?no_such=option", "check port and options"),
        ("GUNICORN_WORKER_CLASS", "no.such.Worker", "must be one of velro_auth.server.worker.Worker, gthread"),
        ("CORS_ORIGINS", "https://[", "is not an origin"),
        ("CORS_ORIGINS", "https://app.example.com/path", "is not an origin"),
        ("AUTH_FORWARD_CLIENT_IP", "always", "must be one of auto, on, off"),
        ("CORS_ORIGINS", "[" * 60_000, "is no list in JSON"),
        ("PORT", "eighty", "digits only"),
        ("LOGIN_QUEUE_S", "soon", "like 0.5"),
        ("LOGIN_QUEUE_S", "nan", "like 0.5"),
        ("AUTH_PAGES", "perhaps", "true nor false"),
        ("AUTH_COOKIE_KEYS", f"[{'9' * 5000}]", "is no list in JSON"),
        ("AUTH_BRAND_LOGO", "\0.svg", "is no path of a file"),
        ("AUTH_COOKIE_KEYS", "\udcff" * 40, "no UTF-8"),
        ("METRICS_TOKEN", "canary\udcff", "no UTF-8"),
        ("AUTH_PAGES_DIR", "a" * 3000, "is not a folder that can be read"),
    ],
)
def test_a_mistake_says_what_to_do(variable: str, value: str, words: str) -> None:
    found = errors(**{variable: value})

    assert words in found[variable]
    assert "canary" not in str(found)


def test_a_list_tells_of_all_that_is_wrong_in_it() -> None:
    found = errors(CORS_ORIGINS="app.example.com,https://good.example.com,null")

    assert "write https://app.example.com" in found["CORS_ORIGINS"]
    assert "'null'" in found["CORS_ORIGINS"]


def test_a_comma_too_many_is_no_error() -> None:
    settings = Settings.from_environment({**GOOD, "CORS_ORIGINS": "https://a.example.com,, https://b.example.com,"})

    assert settings.cors_origins == ("https://a.example.com", "https://b.example.com")
    assert not settings.errors


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize("is_alone", [True, False], ids=["the address", "every variable"])
@pytest.mark.parametrize(
    "value",
    [
        "-1",
        "0",
        "99999999999999999999",
        "nan",
        "1e309",
        "é",
        "(",
        "[1,2]",
        "{",
        "redis://a:b",
        "http://[",
        "https://*.a",
        "[" * 60_000,
        f"[{'9' * 5000}]",
        "\0.svg",
        "a" * 3000,
        "a{99999999999}",
        # A byte that is no UTF-8, as Python shows it.
        "\udcff" * 40,
    ],
    ids=lambda value: repr(value[:20]),
)
def test_no_value_keeps_the_service_from_starting(
    value: str, is_alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong setting is told in the log and by the answers, not by a process that dies again and again."""
    monkeypatch.chdir(tmp_path)  # some of these are good names of files
    variables = ["SUPABASE_URL"] if is_alone else [spec.metadata["variable"] for spec in specs()]

    service = create_app(Settings.from_environment({**GOOD, **dict.fromkeys(variables, value)}))

    assert Client(service).get("/health").status_code == 200


def test_forwarding_by_force_needs_a_key_that_can() -> None:
    assert "sb_secret_" in errors(AUTH_FORWARD_CLIENT_IP="on", SUPABASE_SECRET_KEY="")["AUTH_FORWARD_CLIENT_IP"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:54321", "http://localhost:8001", "http://kong.railway.internal:8000"]
)
def test_plain_http_is_for_private_networks(url: str) -> None:
    assert errors(SUPABASE_URL=url) == {}


def test_origins_are_a_list_or_json() -> None:
    for given in (
        "https://a.example.com, https://B.example.com/",
        '["https://a.example.com", "https://b.example.com"]',
    ):
        settings = Settings.from_environment({**GOOD, "CORS_ORIGINS": given})

        assert settings.cors_origins == ("https://a.example.com", "https://b.example.com")
        assert settings.errors == ()


def test_a_key_is_not_in_the_repr_and_masked_when_shown() -> None:
    settings = Settings.from_environment(GOOD)

    assert "0123456789" not in repr(settings)
    for spec in specs():
        assert "0123456789" not in shown(settings, spec)


@pytest.mark.parametrize("variable", ["SUPABASE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_a_password_in_an_address_is_not_shown(variable: str) -> None:
    settings = Settings.from_environment({variable: "https://ada:p@ss@example.com/a@b"})

    [spec] = [spec for spec in specs() if spec.metadata["variable"] == variable]

    assert shown(settings, spec) == "https://…@example.com/a@b"


def test_a_short_secret_is_not_shown_whole() -> None:
    settings = Settings.from_environment({**GOOD, "METRICS_TOKEN": "scrape"})
    (spec,) = [spec for spec in specs() if spec.metadata["variable"] == "METRICS_TOKEN"]

    assert shown(settings, spec) == "s… (6 characters)"


@pytest.mark.parametrize("value", ["short", "r" * 31, "r" * 20 + " " + "r" * 20, "é" * 40])
def test_the_secret_of_a_gateway_is_long_and_fits_into_a_header(value: str) -> None:
    assert "AUTH_RELAY_SECRET" in str(errors(AUTH_RELAY_SECRET=value))
    assert "AUTH_RELAY_SECRET" not in str(errors(AUTH_RELAY_SECRET="r" * 32))


def test_a_mistake_never_repeats_a_key() -> None:
    for value in ("sb_publishable_canary", "canary", "eyJcanarycanarycanary", "sb_secret_ canary canary canary"):
        assert "canary" not in str(errors(SUPABASE_SECRET_KEY=value))


def test_config_check_exits_1_with_every_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**GOOD, "PORT": "eighty", "LOG_LEVEL": "loud"}.items():
        monkeypatch.setenv(name, value)

    result = CliRunner().invoke(main, ["config", "check"])

    assert result.exit_code == 1
    assert "wrong  PORT: " in result.output
    assert "wrong  LOG_LEVEL: " in result.output
    assert "0123456789" not in result.output

    monkeypatch.delenv("PORT")
    monkeypatch.delenv("LOG_LEVEL")
    assert CliRunner().invoke(main, ["config", "check"]).exit_code == 0


def test_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    """Or an edit of the file would change nothing, and nobody would know why."""
    file = tmp_path / "velro.env"
    file.write_text("PORT=9000\nCORS_ORIGINS=\nLOG_LEVEL=debug\nAUTH_ENV_FILE=/another\n")
    given = {**GOOD, "PORT": "7000", "CORS_ORIGINS": "https://a.example.com", "AUTH_REPLICAS": "2"}

    settings = Settings.from_environment({**given, "AUTH_ENV_FILE": str(file)})

    assert settings.errors == ()
    assert (settings.port, settings.log_level, settings.auth_replicas) == (9000, "debug", 2)
    assert settings.cors_origins == ()
    assert settings.auth_env_file == str(file)
    origins = {name: settings.origins[name] for name in ("PORT", "CORS_ORIGINS", "AUTH_REPLICAS", "AUTH_ENV_FILE")}
    assert origins == {
        "PORT": "file",
        "CORS_ORIGINS": "default",
        "AUTH_REPLICAS": "environment",
        "AUTH_ENV_FILE": "environment",
    }


def test_a_file_that_is_not_there_is_a_error() -> None:
    assert "cannot be read" in errors(AUTH_ENV_FILE="/nowhere/velro.env")["AUTH_ENV_FILE"]


def test_config_check_says_where_each_value_came_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "velro.env").write_text("LOG_LEVEL=debug\n")
    for name, value in {**GOOD, "AUTH_ENV_FILE": str(tmp_path / "velro.env")}.items():
        monkeypatch.setenv(name, value)

    result = CliRunner().invoke(main, ["config", "check"])

    rows = {row[0]: row[1:] for row in map(str.split, result.output.splitlines()) if row}
    assert rows["LOG_LEVEL"] == ["file", "debug"]
    assert rows["SUPABASE_URL"] == ["environment", GOOD["SUPABASE_URL"]]
    assert rows["AUTH_REPLICAS"] == ["default", "0"]


def test_a_mistake_reads_as_one_line() -> None:
    assert str(SettingError("PORT", "is taken")) == "PORT: is taken"


def test_a_variable_of_an_earlier_release_is_accepted_and_said_to_do_nothing() -> None:
    settings = Settings.from_environment({**GOOD, "LOGIN_GATE": "adaptive"})

    assert settings.errors == ()
    (advice,) = settings.advice
    assert advice.variable == "LOGIN_GATE"
    assert "does nothing any more" in advice.advice


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AUTH_COOKIE_SESSION", "AUTH_COOKIE_SESSIONS"),
        ("AUTH_COOKIE_KEY", "AUTH_COOKIE_KEYS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("SUPABASE_SERVICE_ROLE_KEYS", "SUPABASE_SERVICE_ROLE_KEY"),
        ("LOGIN_CONCURENCY", "LOGIN_CONCURRENCY"),
        ("REDIS_URI", "REDIS_URL"),
        # Of other programs.
        ("AUTH_SECRET", ""),
        ("AUTH_URL", ""),
        ("SUPABASE_DB_URL", ""),
        ("SUPABASE_ACCESS_TOKEN", ""),
        ("REDIS_TLS_URL", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        ("RAILWAY_SERVICE_ID", ""),
        ("LOGNAME", ""),
    ],
)
def test_a_misspelt_setting_is_pointed_out(name: str, meant: str) -> None:
    told = {found.variable: found.advice for found in Settings.from_environment({**GOOD, name: "1"}).advice}

    assert told == ({name: f"is no setting: did you mean {meant}?"} if meant else {})
    assert Settings.from_environment({**GOOD, name: " "}).advice == []


_NO_FOLDER = "its folder is missing, or closed to this process, so every record is lost: create or open it"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CORS_ORIGIN_REGEX", ".*", "matches every origin (https://somebody.invalid): name your own"),
        ("CORS_ORIGIN_REGEX", r"https://[a-z.]+", "matches every origin (https://somebody.invalid): name your own"),
        ("CORS_ORIGIN_REGEX", r"https://[a-z-]+\.example\.com", ""),
        ("AUDIT_FILE", "/nowhere/at/all/audit.jsonl", _NO_FOLDER),
        ("AUDIT_FILE", "/nowhere\0/audit.jsonl", _NO_FOLDER),
        ("CORS_ORIGIN_REGEX", "(", ""),
        ("AUDIT_FILE", "audit.jsonl", ""),
        ("AUDIT_FILE", "-", ""),
        ("SENTRY_DSN", "abc", "must start with http:// or https://"),
        ("SENTRY_DSN", "https://key@sentry.example/1", ""),
    ],
)
def test_a_value_that_cannot_be_meant_is_pointed_out(name: str, value: str, told: str) -> None:
    found = [advice.advice for advice in Settings.from_environment({**GOOD, name: value}).advice]

    assert found == ([told] if told else [])


def test_no_setting_is_taken_for_another_one_misspelt() -> None:
    known = [spec.metadata["variable"] for spec in specs()]

    assert not Settings.from_environment({**GOOD, **dict.fromkeys(known, "1")}).misspelt


def test_what_works_but_could_be_better_is_advice() -> None:
    def advice(**changes: str) -> list[str]:
        return [found.variable for found in Settings.from_environment({**GOOD, **changes}).advice]

    assert advice() == []
    assert advice(SUPABASE_SECRET_KEY="", AUTH_COOKIE_KEYS="k" * 40) == ["AUTH_FORWARD_CLIENT_IP"]
    assert advice(SUPABASE_SECRET_KEY="", AUTH_COOKIE_KEYS="k" * 40, AUTH_UPSTREAM_QUOTA="off") == []
    assert advice(SUPABASE_PUBLISHABLE_KEY="") == ["SUPABASE_PUBLISHABLE_KEY"]
    assert advice(SUPABASE_PUBLISHABLE_KEY="", AUTH_CAPTCHA="off") == []
    assert advice(SUPABASE_SECRET_KEY=legacy_key(role="service_role")) == [
        "AUTH_FORWARD_CLIENT_IP",
        "SUPABASE_SECRET_KEY",
    ]


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "::/0"}, "TRUSTED_PROXIES"),
        ({"AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": "http://auth.example.com"}, "AUTH_PUBLIC_URL"),
        ({"AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": "http://localhost:8000"}, None),
        ({"AUTH_COOKIE_SESSIONS": "1", "AUTH_PUBLIC_URL": "https://auth.example.com"}, None),
        ({"ALERT_WEBHOOK_URL": "ftp://hooks.example.com"}, "ALERT_WEBHOOK_URL"),
        ({"ALERT_WEBHOOK_URL": "https://hooks.example.com"}, None),
        ({"WEB_CONCURRENCY": "2"}, "REDIS_URL"),
        ({"WEB_CONCURRENCY": "2", "REDIS_URL": "redis://127.0.0.1:6379"}, None),
    ],
)
def test_what_opens_a_hole_or_cannot_work_is_advised(changes: dict[str, str], variable: str | None) -> None:
    found = [advice.variable for advice in Settings.from_environment({**GOOD, **changes}).advice]

    assert found == ([variable] if variable else [])


def test_without_a_secret_key_other_secrets_are_advised() -> None:
    def advice(**changes: str) -> list[str]:
        changes = {**GOOD, "SUPABASE_SECRET_KEY": "", "AUTH_UPSTREAM_QUOTA": "off", **changes}
        return [found.variable for found in Settings.from_environment(changes).advice]

    shared = {"REDIS_URL": "redis://127.0.0.1:6379"}
    assert advice() == ["AUTH_COOKIE_KEYS"]
    assert advice(**shared) == ["AUTH_COOKIE_KEYS", "AUTH_THROTTLE_SECRET"]
    assert advice(**shared, AUTH_COOKIE_KEYS="k" * 40) == ["AUTH_THROTTLE_SECRET"]
    assert advice(**shared, AUTH_COOKIE_KEYS="k" * 40, AUTH_THROTTLE_SECRET="s" * 40) == []


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"GUNICORN_THREADS": "8", "LOGIN_CONCURRENCY": "8"}, "LOGIN_CONCURRENCY"),
        ({"AUTH_P95_CRITICAL": "100"}, "AUTH_P95_CRITICAL"),
        ({"AUTH_CAPTCHA": "on", "SUPABASE_PUBLISHABLE_KEY": ""}, "AUTH_CAPTCHA"),
        ({"AUTH_CAPTCHA": "on", "AUTH_FORWARD_CLIENT_IP": "on"}, "AUTH_FORWARD_CLIENT_IP"),
    ],
)
def test_settings_that_contradict_each_other_are_errors(changes: dict[str, str], variable: str) -> None:
    assert list(errors(**changes)) == [variable]


def test_where_a_captcha_is_demanded_no_address_is_passed_on_and_the_quota_counts() -> None:
    settings = Settings.from_environment({**GOOD, "AUTH_CAPTCHA": "on"})

    assert (settings.forwards_client_ip, settings.keeps_quota) == (False, True)


def test_some_threads_are_never_a_login_s() -> None:
    for threads in range(2, 65):
        settings = Settings.from_environment({**GOOD, "GUNICORN_THREADS": str(threads)})

        assert 1 <= settings.login_permits <= settings.waiting_permits < threads
