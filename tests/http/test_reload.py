"""Every setting that may change at run time does, in an application that goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ENVIRONMENT
from velro_auth.app import Service, create_app
from velro_auth.config.settings import Settings, specs
from velro_auth.endpoints import Endpoint
from velro_auth.errors import InvalidCredentials
from velro_auth.guards import Guards
from velro_auth.guards.throttle import TooManyAttempts
from velro_auth.wiring.state import ApplicationState
from velro_auth.wiring.telemetry import slo_target


def state(service: Service) -> ApplicationState:
    return service._parts.state


def guards(service: Service) -> Guards:
    return service._parts.guards


def memory(service: Service) -> Any:
    return vars(guards(service).throttle)["_attempts"]


def endpoint(service: Service, name: str) -> Endpoint:
    return next(found for found in service._parts.endpoints if found.name == name)


RULES = str(Path(__file__).parents[2] / "examples" / "protected-site" / "rules.toml")


def page(service: Service) -> Any:
    return vars(endpoint(service, "page_login"))["page"]


#: Variable → another value, and where the service has it.
CHANGES: Mapping[str, tuple[str, Callable[[Service], object]]] = {
    "AUTH_FAST_LOGIN": ("off", lambda service: len(service._parts.fast)),
    "AUTH_FORWARD_CLIENT_IP": (
        "off",
        lambda service: vars(vars(service._parts.sessions.identity)["_calls"])["_forwards_address"],
    ),
    "AUTH_MAX_BODY_BYTES": ("2048", lambda service: vars(endpoint(service, "login"))["max_body_bytes"]),
    "AUTH_VERIFY_MODE": ("strict", lambda service: service._parts.sessions.is_strict),
    "AUTH_VERIFY_CACHE_S": ("5", lambda service: service._parts.sessions.introspector._remote._limits),
    "LOGIN_CONCURRENCY": ("5", lambda service: guards(service).asking.bulkhead.permits),
    "LOGIN_QUEUE_S": ("3", lambda service: guards(service).asking.bulkhead._wait_s),
    "AUTH_SESSION_CALLS_PER_S": ("3", lambda service: guards(service).sessions._per_s),
    "AUTH_FAILURE_FLOOR_MS": ("100", lambda service: guards(service).failure_delay._delay_s),
    "AUTH_THROTTLE_SCALE": ("2", lambda service: memory(service)._limits["pair"].burst),
    "AUTH_MAIL_DELAY_MS": ("10", lambda service: guards(service).mail_delay._delay_s),
    "AUTH_MAIL_BUDGET_PER_HOUR": ("7", lambda service: vars(guards(service).mails.budgets)["_windows"]["mail_service"]),
    "AUTH_GUARDS": ("report", lambda service: guards(service).mails.enforcement.is_on),
    "AUTH_REDIRECT_URLS": ("https://b.example.com", lambda service: state(service).current.settings.auth_redirect_urls),
    "AUTH_SUPABASE_API": ("on", lambda service: service._parts.supabase_api),
    "AUTH_CLIENT_KEYS": ("sb_publishable_" + "k" * 20, lambda service: state(service).current.settings.client_keys),
    "AUTH_PUBLIC_URL": ("https://b.example.com", lambda service: state(service).current.settings.auth_public_url),
    "AUTH_COOKIE_KEYS": ("k" * 40, lambda service: state(service).current.settings.auth_cookie_keys),
    "AUTH_COOKIE_SESSIONS": ("1", lambda service: type(vars(service._parts.verify)["endpoint"]).__name__),
    "AUTH_LOGIN_URL": ("https://b.example.com/in", lambda service: vars(service._parts.verify)["site"].login_url),
    "AUTH_RULES_FILE": (RULES, lambda service: vars(service._parts.verify)["site"].access),
    "AUTH_PAGES": ("1", lambda service: state(service).current.settings.auth_pages),
    "AUTH_PAGES_PROVIDERS": ("github", lambda service: vars(page(service))["providers"]),
    "AUTH_PAGES_DIR": ("docs", lambda service: vars(page(service).site.renderer)["_templates"].loader.searchpath),
    "AUTH_BRAND_NAME": ("Acme", lambda service: vars(page(service).site.renderer)["_shared"]["brand"].name),
    "AUTH_BRAND_LOGO": (
        "https://cdn.example.com/logo.svg",
        lambda service: vars(page(service).site.renderer)["_shared"]["logo"],
    ),
    "AUTH_BRAND_COLOR": ("#123456", lambda service: vars(page(service).site.renderer)["_assets"].version),
    "AUTH_RELAY_SECRET": ("r" * 40, lambda service: state(service).current.settings.auth_relay_secret),
    "AUTH_CHALLENGE": ("off", lambda service: vars(guards(service).throttle)["_is_challenging"]),
    "AUTH_REPLICAS": ("2", lambda service: memory(service)._limits["pair"].burst),
    "AUTH_UPSTREAM_QUOTA": ("on", lambda service: vars(guards(service).rate_limit)["_one_address"]),
    "UPSTREAM_QUOTA_BURST": ("7", lambda service: vars(guards(service).rate_limit).get("_burst")),
    "UPSTREAM_QUOTA_REFILL_S": ("7", lambda service: vars(guards(service).rate_limit).get("_refill_s")),
    "CORS_ORIGINS": ("https://b.example.com", lambda service: service._edge._cors.allows("https://b.example.com")),
    "CORS_ORIGIN_REGEX": ("https://[a-z]", lambda service: service._edge._cors.allows("https://z")),
    "CORS_ALLOW_HEADERS": ("x-own", lambda service: service._edge._cors.preflight),
    "TRUSTED_PROXIES": ("192.0.2.0/24", lambda service: service._edge._addresses.trusts("192.0.2.1")),
    "AUTH_CLIENT_IP_HEADER": ("X-Forwarded-For", lambda service: service._edge._addresses._key),
    "AUTH_TRUSTED_HOPS": ("2", lambda service: service._edge._addresses._hops),
    "LOG_LEVEL": ("error", lambda _: logging.getLogger().level),
    "LOG_PROBES_EVERY": ("7", lambda service: service._edge._log_quiet_every),
    "METRICS_TOKEN": ("secret", lambda service: vars(endpoint(service, "metrics"))["token"]),
    "AUTH_P95_WARNING": ("7", lambda service: state(service).telemetry.alerts._rules()[0].warning),
    "AUTH_P95_CRITICAL": ("700", lambda service: state(service).telemetry.alerts._rules()[0].critical),
    "AUTH_SUCCESS_RATE_MIN": ("90", lambda service: slo_target(state(service).current.settings)),
    "DOCS_ENABLED": ("off", lambda service: vars(endpoint(service, "docs"))["contract"].is_open),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set what a server would be started with; the log's level comes back at the end."""
    level = logging.getLogger().level

    def change(**variables: str) -> None:
        for name, value in {**ENVIRONMENT, **variables}.items():
            monkeypatch.setenv(name, value)

    change()
    yield change
    logging.getLogger().setLevel(level)


def test_the_table_has_every_setting_that_may_change() -> None:
    assert CHANGES.keys() == {spec.metadata["variable"] for spec in specs() if spec.metadata["at_run_time"]}


@pytest.mark.parametrize("variable", CHANGES)
def test_it_is_in_force_after_a_reload(environment: Callable[..., None], variable: str) -> None:
    value, read = CHANGES[variable]
    if variable.startswith("UPSTREAM_QUOTA"):
        environment(AUTH_UPSTREAM_QUOTA="on")
    if variable == "AUTH_TRUSTED_HOPS":
        environment(AUTH_CLIENT_IP_HEADER="X-Forwarded-For")
    if variable.startswith(("AUTH_PAGES", "AUTH_BRAND_")):
        environment(
            AUTH_PAGES=str(int(variable != "AUTH_PAGES")),
            AUTH_COOKIE_SESSIONS="1",
            AUTH_PUBLIC_URL="https://auth.example.com",
        )
    service = create_app(Settings.from_environment())
    logging.getLogger().setLevel("INFO")
    before, kept = (
        read(service),
        [state(service).upstream.transport, state(service).telemetry, service._parts.sessions.denied],
    )

    environment(**{variable: value})
    service.reload()

    assert read(service) != before
    assert [state(service).upstream.transport, state(service).telemetry, service._parts.sessions.denied] == kept


def test_permits_in_use_are_neither_lost_nor_doubled(environment: Callable[..., None]) -> None:
    """A login under way ends with the guards that it began with."""
    service = create_app(Settings.from_environment())
    before = guards(service)
    free = before.failure_delay.free

    with before.failure_delay.hold(0.0), before.asking.bulkhead.permit():
        environment(LOGIN_CONCURRENCY="1")
        service.reload()
        after = guards(service)

        assert after.asking.bulkhead is not before.asking.bulkhead
        assert (after.asking.bulkhead.in_use, after.failure_delay.free) == (1, free - 1)
        assert after.asking.breaker is before.asking.breaker

    assert (after.asking.bulkhead.in_use, after.failure_delay.free) == (0, free)


def test_what_was_counted_is_kept(environment: Callable[..., None]) -> None:
    service = create_app(Settings.from_environment())
    refused = [outcome_of_guess(service) for _ in range(100)][-1]
    assert refused is TooManyAttempts

    environment(AUTH_FAILURE_FLOOR_MS="100")
    service.reload()

    assert outcome_of_guess(service) is TooManyAttempts


def outcome_of_guess(service: Service) -> type[BaseException] | None:
    with pytest.raises((InvalidCredentials, TooManyAttempts)) as raised:
        guess(service)
    return raised.type


def guess(service: Service) -> None:
    with guards(service).throttle.attempt("ada@example.com", "192.0.2.1"):
        raise InvalidCredentials
